//! All that a decision depends on, and how many captures can be remembered. Pure.

use std::time::Instant;

use crate::core::{captures::Captures, desired::Desired, disk::Disk, limits::Limits};

/// The most slots. A node runs some hundred pods, and may be configured for 1000 captures. So many slots of the largest size make a
/// state file that is still read: see `BYTES_MAX` in `state_file.rs`.
pub const RECORDS_MAX: usize = 1024;

/// The most slots of one namespace, so that its pods leave some to those of others.
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
