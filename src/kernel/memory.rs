//! Who is killed first when memory runs out.

use std::{fs, io};

/// What makes a kill for lack of memory take this process first (proc_pid_oom_score_adj(5)): the most that there is.
const OOM_SCORE_MAX: &str = "1000";

/// If the container runs out of memory, this process goes first, and no capture pays for it. Raising it needs no privilege.
///
/// # Errors
/// If it cannot be written: then the kernel chooses by size.
pub fn goes_first(process: &str) -> io::Result<()> {
    fs::write(format!("/proc/{process}/oom_score_adj"), OOM_SCORE_MAX)
}
