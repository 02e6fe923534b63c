//! Which process the kernel kills first when memory runs out.

use std::{fs, io};

/// The highest score: the kernel kills the process with this score first (proc_pid_oom_score_adj(5)).
const OOM_SCORE_MAX: &str = "1000";

/// Makes the kernel kill `process` (a process ID or `self`) before any capture when memory runs out. With cgroup v2 the kubelet makes the
/// kernel kill the whole container, so the number of processes needs a bound as well. Raising the score needs no privilege.
///
/// # Errors
/// If the score cannot be written: the kernel then chooses by size.
pub fn goes_first(process: &str) -> io::Result<()> {
    fs::write(format!("/proc/{process}/oom_score_adj"), OOM_SCORE_MAX)
}
