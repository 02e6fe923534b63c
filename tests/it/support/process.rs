//! Processes: waiting for them, signals, memory.

use std::{
    fs,
    io::Read,
    os::fd::AsFd,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};

/// The longest wait for anything: long, because the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The time between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// Polls `look` until it returns something. Panics after [`PATIENCE`].
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).unwrap_or_else(|| panic!("waited for this in vain: {what}"))
}

/// Polls `look` until it returns something, or until `limit` has passed.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let give_up_at = Instant::now() + limit;
    loop {
        let seen = look();
        if seen.is_some() || Instant::now() >= give_up_at {
            return seen;
        }
        thread::sleep(INTERVAL);
    }
}

/// Reads `length` bytes from a child process.
pub fn read_exactly(from: &mut (impl Read + AsFd), length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    until(&format!("{length} bytes"), || {
        let ready = poll(&mut [PollFd::new(&*from, PollFlags::IN)], Some(&Timespec::default())).unwrap() > 0;
        let mut buffer = vec![0; length - bytes.len()];
        let read = if ready { from.read(&mut buffer).unwrap() } else { 0 };
        bytes.extend_from_slice(&buffer[..read]);
        (bytes.len() == length).then_some(())
    });
    bytes
}

/// A process's state in /proc: `S`, `T`, `Z` …; `None` if the process is gone.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Sets the peak memory of a process to its current memory.
pub fn forget_peak(pid: i32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// The peak memory of a process, in kB.
pub fn peak_kb(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    peak.trim().parse().unwrap()
}

/// Whether a process has not ended. A stopped process has not ended.
pub fn lives(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

pub fn signal(pid: i32, signal: Signal) {
    // The process may have ended already.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}
