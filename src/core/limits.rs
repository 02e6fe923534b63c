//! What the operator of the node allows, and what the captures' file system has room for. No I/O.

use std::{collections::BTreeSet, time::Duration};

/// A megabyte as tcpdump counts: a file of `-C 1`.
pub const MB: u64 = 1_000_000;

/// What the operator of the node allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most files that one capture may ask for.
    pub files_max: u16,
    /// The most megabytes that all captures together may take.
    pub budget_mb: u32,
    /// The most captures at once: so many that the container's memory holds them.
    pub captures_max: u16,
    /// The most captures of one namespace at once.
    pub captures_max_per_namespace: u16,
    /// The most megabytes that the captures of one namespace together may take.
    pub budget_mb_per_namespace: u32,
    /// The longest that a capture goes on, also one that asks for no end; `None`: for ever.
    pub duration_max: Option<Duration>,
    /// How much of each packet is kept at the most, in bytes, also where all of it is asked for.
    pub snaplen_max: Option<u32>,
    /// The least free space, in megabytes.
    pub free_mb_min: u32,
    /// The least free space, in hundredths of the file system.
    pub free_percent_min: u8,
    /// How long captures go on without word from the API server: meanwhile an address may have become another pod's.
    pub stale_max: Duration,
    /// How long the files of a deleted pod are kept.
    pub keep_after_pod: Duration,
    /// Namespaces whose pods on the host's network may be captured, although that shows the whole node's traffic.
    pub host_network_namespaces: BTreeSet<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files_max: 100,
            budget_mb: 1000,
            captures_max: 16,
            captures_max_per_namespace: 8,
            budget_mb_per_namespace: 500,
            duration_max: Some(Duration::from_secs(24 * 3600)),
            snaplen_max: None,
            free_mb_min: 200,
            // Below this the kubelet begins to evict pods (its `nodefs.available`).
            free_percent_min: 10,
            stale_max: Duration::from_secs(600),
            keep_after_pod: Duration::ZERO,
            host_network_namespaces: BTreeSet::new(),
        }
    }
}

/// The captures' file system, as last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Free space, in megabytes.
    pub free_mb: u64,
    /// The floor: the free space below which nothing is captured, in megabytes.
    pub floor_mb: u64,
    /// It was below the floor, and has not been above twice the floor since.
    pub low: bool,
}

impl Default for Disk {
    /// One that nothing is known of is in nobody's way.
    fn default() -> Self {
        Self { free_mb: u64::MAX, floor_mb: 0, low: false }
    }
}

impl Disk {
    /// After a look at a file system with so many bytes free of so many.
    #[must_use]
    pub fn seen(self, free: u64, total: u64, limits: &Limits) -> Self {
        let floor = (u64::from(limits.free_mb_min) * MB).max(total / 100 * u64::from(limits.free_percent_min));
        // What was stopped for want of space starts again only when there is plenty: else it would fill it at once, and stop.
        let low = free < if self.low { floor.saturating_mul(2) } else { floor };
        Self { free_mb: free / MB, floor_mb: floor.div_ceil(MB), low }
    }

    /// How much must be free before what was stopped goes on, in megabytes.
    #[must_use]
    pub fn plenty_mb(self) -> u64 {
        self.floor_mb.saturating_mul(2)
    }

    /// Whether so many megabytes more would leave the floor free.
    #[must_use]
    pub fn has_room_for(self, mb: u64) -> bool {
        !self.low && self.free_mb >= self.floor_mb.saturating_add(mb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_the_higher_of_the_two_and_left_only_above_twice_of_it() {
        let limits = Limits { free_mb_min: 200, free_percent_min: 10, ..Limits::default() };
        let look = |disk: Disk, free_mb: u64, total_mb: u64| disk.seen(free_mb * MB, total_mb * MB, &limits);
        let small = look(Disk::default(), 250, 1000);
        assert_eq!(small, Disk { free_mb: 250, floor_mb: 200, low: false });
        assert!(small.has_room_for(50) && !small.has_room_for(51));
        assert_eq!(look(Disk::default(), 500, 10_000).floor_mb, 1000);
        let low = look(small, 199, 1000);
        assert!(low.low && look(low, 399, 1000).low && !look(low, 400, 1000).low);
        assert!(!look(small, 200, 1000).low && !look(low, 399, 1000).has_room_for(0));
        assert!(Disk::default().has_room_for(u64::MAX));
    }
}
