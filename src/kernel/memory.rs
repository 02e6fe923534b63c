//! Who is killed first when memory runs out.

use std::{fs, io};

/// What makes a kill for lack of memory take this process first (proc_pid_oom_score_adj(5)): the most that there is.
const OOM_SCORE_MAX: &str = "1000";

/// Where the kernel kills a single process for memory, it is this one and no capture. With cgroup v2 the kubelet has the whole
/// container killed, so a bound on what may run is needed beside this. Raising the score needs no privilege.
///
/// # Errors
/// If it cannot be written: then the kernel chooses by size.
pub fn goes_first(process: &str) -> io::Result<()> {
    fs::write(format!("/proc/{process}/oom_score_adj"), OOM_SCORE_MAX)
}
