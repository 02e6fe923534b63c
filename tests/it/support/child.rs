//! The controller as a child process.

use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::process::{signal, state, until};

/// A controller. It is killed when it is dropped.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    pub fn start(command: &mut Command, log: PathBuf) -> Self {
        let child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        Self { child, log }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    /// The controller's log so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// The number of log lines that contain a text.
    pub fn logged(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    pub fn until_logged(&self, text: &str) {
        until(&format!("{text:?} in the log"), || (self.logged(text) > 0).then_some(()));
    }

    pub fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// Waits for the end of the controller. Returns the exit code (128 + the number of the signal that ended it), and how long it took.
    pub fn until_ended(&mut self) -> (i32, Duration) {
        let since = Instant::now();
        let status = until("the controller's end", || self.child.try_wait().unwrap());
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
        (code.unwrap(), since.elapsed())
    }

    /// Kills the controller, as a crash would end it.
    pub fn crash(mut self) {
        self.signal(Signal::KILL);
        assert_eq!(self.until_ended().0, 128 + 9);
    }

    /// The child processes that have ended and were not reaped.
    pub fn zombies(&self) -> Vec<i32> {
        self.children().into_iter().filter(|pid| state(*pid) == Some('Z')).collect()
    }

    pub fn children(&self) -> Vec<i32> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of the controller:\n{}", self.log());
        }
    }
}
