//! The free space of the captures' file system, with a low and a high watermark. Pure.

use crate::core::{
    limits::{Limits, MB},
    refusal::Shortage,
};

/// The free space of the captures' file system, when it was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Free space, in megabytes.
    pub free_mb: u64,
    /// The free space below which all captures stop, in megabytes.
    pub low_watermark_mb: u64,
    /// Free space fell below the low watermark, and has not reached the high watermark since.
    pub low: bool,
}

impl Default for Disk {
    /// A file system that was not looked at yet stops no capture.
    fn default() -> Self {
        Self { free_mb: u64::MAX, low_watermark_mb: 0, low: false }
    }
}

impl Disk {
    /// The file system after another look at it, which found so many bytes free of so many bytes.
    #[must_use]
    pub fn observe(self, free: u64, total: u64, limits: &Limits) -> Self {
        let low_watermark = (u64::from(limits.free_mb_min) * MB).max(total / 100 * u64::from(limits.free_percent_min));
        // Captures that stopped continue only above the high watermark: otherwise they would fill the space at once, and stop again.
        let low = free < if self.low { low_watermark.saturating_mul(2) } else { low_watermark };
        Self { free_mb: free / MB, low_watermark_mb: low_watermark.div_ceil(MB), low }
    }

    /// How much must be free before stopped captures continue, in megabytes.
    #[must_use]
    pub fn high_watermark_mb(self) -> u64 {
        self.low_watermark_mb.saturating_mul(2)
    }

    /// What is lacking for so many megabytes more, if anything.
    #[must_use]
    pub fn shortage_of(self, needs_mb: u64) -> Option<Shortage> {
        let Self { free_mb, low_watermark_mb, low } = self;
        let must_stay_mb = if low { self.high_watermark_mb() } else { low_watermark_mb };
        let has_room = !low && free_mb >= low_watermark_mb.saturating_add(needs_mb);
        (!has_room).then_some(Shortage::Disk { needs_mb, free_mb, low_watermark_mb: must_stay_mb })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_low_watermark_is_the_higher_limit_and_captures_continue_at_twice_the_low_watermark() {
        let limits = Limits { free_mb_min: 200, free_percent_min: 10, ..Limits::default() };
        let look = |disk: Disk, free_mb: u64, total_mb: u64| disk.observe(free_mb * MB, total_mb * MB, &limits);
        let small = look(Disk::default(), 250, 1000);
        assert_eq!(small, Disk { free_mb: 250, low_watermark_mb: 200, low: false });
        assert!(small.shortage_of(50).is_none() && small.shortage_of(51).is_some());
        assert_eq!(look(Disk::default(), 500, 10_000).low_watermark_mb, 1000);
        let low = look(small, 199, 1000);
        assert!(low.low && look(low, 399, 1000).low && !look(low, 400, 1000).low);
        assert!(!look(small, 200, 1000).low && look(low, 399, 1000).shortage_of(0).is_some());
        assert!(Disk::default().shortage_of(u64::MAX).is_none());
    }
}
