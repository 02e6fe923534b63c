//! Processes, and waiting for what they do.

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

/// The longest that anything is waited for: much, for a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked for.
const INTERVAL: Duration = Duration::from_millis(10);

/// Polls for something until it is there. Fails if it does not come.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, look).unwrap_or_else(|| panic!("waited for this in vain: {what}"))
}

/// Polls for something until it is there, or the time is over.
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

/// Waits for so many bytes from a child.
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

/// A process's state as /proc has it: `S`, `T`, `Z` …; `None` if it is gone.
pub fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Lets the most memory of a process be what it has now.
pub fn forget_peak(pid: i32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
}

/// The most memory that a process has had so far, in kB.
pub fn peak_kb(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
    peak.trim().parse().unwrap()
}

/// Whether a process runs, or may again.
pub fn lives(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

pub fn signal(pid: i32, signal: Signal) {
    // Gone already is as good.
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}
