//! All that a decision depends on, and how many captures can be remembered. Pure.

use std::time::Instant;

use crate::core::{captures::Captures, desired::Desired, disk::Disk, limits::Limits};

/// The most captures that are recorded, whether they run or not. A node runs some hundred pods, and may be configured for 1000
/// captures. A state file with so many records of the largest size can still be read: see `BYTES_MAX` in `state_file.rs`.
pub const RECORDS_MAX: usize = 1024;

/// The most recorded captures of one namespace, so that other namespaces always have some.
pub const RECORDS_MAX_PER_NAMESPACE: usize = RECORDS_MAX / 2;

/// All that a decision depends on.
#[derive(Debug)]
pub struct World<'a> {
    /// The time.
    pub now: Instant,
    /// What the operator allows.
    pub limits: &'a Limits,
    /// What the pods ask.
    pub desired: &'a Desired,
    /// What there is.
    pub captures: &'a Captures,
    /// The file system of the captures.
    pub disk: Disk,
    /// Whether this process is asked to end.
    pub stopping: bool,
}

/// All that a plan depends on, the time aside. As long as it stays the same, and no time that the last plan named has come, there is
/// nothing to plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    desired: u64,
    captures: u64,
    disk: Disk,
    stopping: bool,
}

impl World<'_> {
    /// The revision of this world.
    #[must_use]
    pub fn revision(&self) -> Revision {
        let Self { desired, captures, disk, stopping, .. } = *self;
        Revision { desired: desired.changes(), captures: captures.changes(), disk, stopping }
    }
}
