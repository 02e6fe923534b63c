//! A tcpdump that was started and has not been reaped. The only file that knows a process ID.
//!
//! A child that has not been reaped keeps its process ID, so that a signal reaches no other process; a signal to a child that has ended
//! goes nowhere, which is no error.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::{self, Command, ExitStatus, Stdio},
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, prlimit, setpriority_process, waitpid,
};

use crate::{kernel::memory, process::stderr::Stderr};

/// The highest niceness that there is.
const NICE_MAX: i32 = 19;

/// A tcpdump, and what it says on standard error.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    pub(super) stderr: Stderr,
}

/// The program, on the PATH.
pub(super) fn tcpdump() -> Command {
    Command::new("tcpdump")
}

impl Child {
    /// Starts tcpdump. Waits until the program is executed.
    ///
    /// # Errors
    /// If it could not be started.
    pub(super) fn spawn(mut tcpdump: Command) -> io::Result<Self> {
        let (stderr, end) = Stderr::pipe()?;
        // A group of its own: what a terminal sends to this process, such as Ctrl-C, must not reach it.
        tcpdump.env("LC_ALL", "C").process_group(0).stdout(Stdio::null()).stderr(end);
        Ok(Self { process: tcpdump.spawn()?, stderr })
    }

    /// The process ID, for the log.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Sends these signals, one after the other.
    pub(super) fn signal(&self, signals: &[Signal]) {
        for signal in signals {
            if let Err(error) = kill_process(self.pid(), *signal) {
                log::error!("cannot signal tcpdump pid={} signal={signal:?} error={error}", self.id());
            }
        }
    }

    /// Reads what the process has said, and reaps the process if it has ended. Returns how it ended. Never waits.
    pub(super) fn try_reap(&mut self) -> Option<ExitStatus> {
        self.stderr.read();
        let status = self.process.try_wait().ok()??;
        self.stderr.read();
        Some(status)
    }

    /// Has the kernel end the process when it has taken this much of a processor, in seconds: with XCPU, which tells that from other
    /// ends. The process gets the processor last, and where the kernel kills a single process for memory, it is the first. None of
    /// this needs a right; a failure is no reason to do without the process.
    pub(super) fn give_way(&self, cpu_s: u64) {
        let limit = Rlimit { current: Some(cpu_s), maximum: Some(cpu_s + 1) };
        let limited = prlimit(Some(self.pid()), Resource::Cpu, limit).map(drop).map_err(io::Error::from);
        let nice = setpriority_process(Some(self.pid()), NICE_MAX).map_err(io::Error::from);
        for error in [limited, nice, memory::goes_first(&self.id().to_string())].into_iter().filter_map(Result::err) {
            log::debug!("cannot have a compilation give way pid={} error={error}", self.id());
        }
    }
}

/// Reaps the children of others whose parent is gone: what an exec in the container leaves falls to its first process.
pub(super) fn reap_orphans<'a>(own: impl Iterator<Item = &'a Child> + Clone) {
    if process::id() != 1 {
        return;
    }
    let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        if !own.clone().any(|child| child.pid() == pid) {
            // The orphan is still alive, or was reaped: both are well.
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}
