//! kubectl and the login plugins that it starts, as one group of processes where the platform has such groups. Elsewhere only kubectl
//! itself is ended.

#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// Makes the process the first of a group of its own.
#[cfg(unix)]
pub(super) fn separate(command: &mut Command) {
    command.process_group(0);
}

#[cfg(not(unix))]
pub(super) fn separate(_: &mut Command) {}

/// Kills the process, and its group if it is the first of one. It must not be reaped yet: its number is then still its own.
pub(super) fn kill(child: &mut Child) {
    #[cfg(unix)]
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
        // Fails for a process that shares our group, since no group has its number.
        let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    }
    let _ = child.kill();
}
