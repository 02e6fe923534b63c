//! The free space of the captures' file system, with a low and a high watermark. Pure.

use crate::core::limits::{Limits, MB};

/// The captures' file system, as last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Free space, in megabytes.
    pub free_mb: u64,
    /// The floor: the free space below which nothing is captured, in megabytes.
    pub low_watermark_mb: u64,
    /// It was below the floor, and has not been above twice the floor since.
    pub low: bool,
}

impl Default for Disk {
    /// One that nothing is known of is in nobody's way.
    fn default() -> Self {
        Self { free_mb: u64::MAX, low_watermark_mb: 0, low: false }
    }
}

impl Disk {
    /// After a look at a file system with so many bytes free of so many.
    #[must_use]
    pub fn seen(self, free: u64, total: u64, limits: &Limits) -> Self {
        let floor = (u64::from(limits.free_mb_min) * MB).max(total / 100 * u64::from(limits.free_percent_min));
        // What was stopped for want of space starts again only when there is plenty: else it would fill it at once, and stop.
        let low = free < if self.low { floor.saturating_mul(2) } else { floor };
        Self { free_mb: free / MB, low_watermark_mb: floor.div_ceil(MB), low }
    }

    /// How much must be free before what was stopped goes on, in megabytes.
    #[must_use]
    pub fn high_watermark_mb(self) -> u64 {
        self.low_watermark_mb.saturating_mul(2)
    }

    /// Whether so many megabytes more would leave the floor free.
    #[must_use]
    pub fn has_room_for(self, mb: u64) -> bool {
        !self.low && self.free_mb >= self.low_watermark_mb.saturating_add(mb)
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
        assert_eq!(small, Disk { free_mb: 250, low_watermark_mb: 200, low: false });
        assert!(small.has_room_for(50) && !small.has_room_for(51));
        assert_eq!(look(Disk::default(), 500, 10_000).low_watermark_mb, 1000);
        let low = look(small, 199, 1000);
        assert!(low.low && look(low, 399, 1000).low && !look(low, 400, 1000).low);
        assert!(!look(small, 200, 1000).low && !look(low, 399, 1000).has_room_for(0));
        assert!(Disk::default().has_room_for(u64::MAX));
    }
}
