//! A lock for unit tests. A new process holds a copy of each descriptor of this process until it has executed its program, so a test
//! whose result depends on when a descriptor is closed must not run beside a test that starts a process.

use std::sync::{Mutex, MutexGuard, PoisonError};

static LOCK: Mutex<()> = Mutex::new(());

/// Held by a test that starts processes, or that closes a descriptor on which others wait.
#[derive(Debug)]
pub struct TestLock {
    _guard: MutexGuard<'static, ()>,
}

/// Waits until no other such test runs.
pub fn acquire() -> TestLock {
    TestLock { _guard: LOCK.lock().unwrap_or_else(PoisonError::into_inner) }
}
