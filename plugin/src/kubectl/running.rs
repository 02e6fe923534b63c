//! A process that is ended and reaped when its owner lets go of it.

use std::{
    io,
    mem::take,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use super::{failure::Cause, group, output::Output};

/// How often it is looked whether the process has ended: often enough for nobody to notice, seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(5);
/// How long an output may stay open after the process: kubectl writes all before it exits, so there is only a pipe to be emptied.
const DRAIN_MAX: Duration = Duration::from_secs(1);
/// How long a killed process is waited for: one that hangs in the kernel is left to the system.
const REAP_MAX: Duration = Duration::from_secs(2);

/// A process, not reaped yet.
#[derive(Debug)]
pub(super) struct Running {
    pub child: Child,
}

/// What it printed, and its exit code.
pub(super) struct Printed {
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Running {
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        command.spawn().map(|child| Self { child })
    }

    /// Reads both outputs to their ends, and waits for the process.
    pub(super) fn output(mut self, time_max: Option<Duration>, bytes_max: usize) -> Result<Printed, Cause> {
        let started = Instant::now();
        let output = Output::default();
        if let Some(stdout) = self.child.stdout.take() {
            output.collect_stdout(stdout, bytes_max);
        }
        if let Some(stderr) = self.child.stderr.take() {
            output.collect_stderr(stderr);
        }
        let mut exited = None;
        loop {
            if exited.is_none() {
                exited = self.exited()?.map(|code| (code, Instant::now()));
            }
            let mut buffers = output.wait(POLL);
            if buffers.too_long {
                return Err(Cause::SaidTooMuch(bytes_max));
            }
            match exited {
                Some((code, at)) if buffers.open == 0 || at.elapsed() >= DRAIN_MAX => {
                    return match buffers.error.take() {
                        Some(error) => Err(Cause::Unwatched(error)),
                        None => {
                            Ok(Printed { code, stdout: take(&mut buffers.stdout), stderr: take(&mut buffers.stderr) })
                        }
                    };
                }
                Some(_) => (),
                None => {
                    if let Some(limit) = time_max.filter(|limit| started.elapsed() >= *limit) {
                        let stderr = String::from_utf8_lossy(&buffers.stderr).into_owned();
                        return Err(Cause::TookTooLong { limit, stderr });
                    }
                    let outputs_ended = buffers.open == 0;
                    drop(buffers);
                    if outputs_ended {
                        thread::sleep(POLL);
                    }
                }
            }
        }
    }

    /// The exit code, or `Some(None)` for a signal, if the process has ended.
    pub(super) fn exited(&mut self) -> Result<Option<Option<i32>>, Cause> {
        match self.child.try_wait() {
            Ok(status) => Ok(status.map(|status| status.code())),
            Err(error) => Err(Cause::Unwatched(error.to_string())),
        }
    }

    /// The same, waiting for `time` at most.
    pub(super) fn exited_within(&mut self, time: Duration) -> Result<Option<Option<i32>>, Cause> {
        let started = Instant::now();
        loop {
            let exited = self.exited()?;
            if exited.is_some() || started.elapsed() >= time {
                return Ok(exited);
            }
            thread::sleep(POLL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.exited() {
            group::kill(&mut self.child);
            let _ = self.exited_within(REAP_MAX);
        }
    }
}
