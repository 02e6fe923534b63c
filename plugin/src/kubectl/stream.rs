//! A call whose output is read while it runs.

use std::{
    process::{ChildStdin, ChildStdout},
    time::{Duration, Instant},
};

use super::{
    failure::{Cause, Failure},
    output::Output,
    running::Running,
};

/// A running `kubectl exec -i`. It is ended when this is dropped.
#[derive(Debug)]
pub struct Stream {
    running: Running,
    call: String,
    stdout: Option<ChildStdout>,
    /// Held open: the remote process ends when its standard input does.
    stdin: Option<ChildStdin>,
    said: Output,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The exit code; `None` if a signal ended kubectl.
    pub code: Option<i32>,
    /// The end of its standard error.
    pub stderr: String,
}

impl Stream {
    pub(super) fn of(mut running: Running, call: String) -> Self {
        let said = Output::default();
        if let Some(stderr) = running.child.stderr.take() {
            said.collect_stderr(stderr);
        }
        let (stdout, stdin) = (running.child.stdout.take(), running.child.stdin.take());
        Self { running, call, stdout, stdin, said }
    }

    /// The standard output; `None` if it was taken before.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Closes the standard input: the remote process ends then.
    pub fn hang_up(&mut self) {
        self.stdin = None;
    }

    /// Waits until the process ends, for `time` at most, and says how. What it has not ended by then is ended.
    ///
    /// # Errors
    /// If it did not end, or cannot be watched.
    pub fn finish(mut self, time: Duration) -> Result<Ended, Failure> {
        let started = Instant::now();
        let exited = self.running.exited_within(time);
        let mut open = true;
        while open && exited.is_ok() && started.elapsed() < time {
            open = self.said.wait(time.saturating_sub(started.elapsed())).open > 0;
        }
        let stderr = String::from_utf8_lossy(&self.said.lock().stderr).into_owned();
        match exited {
            Ok(Some(code)) => Ok(Ended { code, stderr }),
            Ok(None) => Err(Failure::of_call(self.call, Cause::TookTooLong { limit: time, stderr })),
            Err(cause) => Err(Failure::of_call(self.call, cause)),
        }
    }
}
