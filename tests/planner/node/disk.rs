//! The captures' file system: its free space rises and falls for reasons of its own, and with the captures' files.

use packet_capture::core::{disk::Disk, limits::MB};

use super::Node;

/// The least free space.
pub const LOW_WATERMARK_MB: u64 = 20;

/// All space: two hundredths of it are less than the low watermark.
const TOTAL_MB: u64 = 500;

pub struct Space {
    /// What would be free without the captures.
    pub base_mb: u64,
    /// As the code under test has it.
    pub disk: Disk,
    /// Free space fell below the low watermark, and has not reached twice of it since.
    pub low: bool,
}

impl Default for Space {
    fn default() -> Self {
        Self { base_mb: 300, disk: Disk::default(), low: false }
    }
}

impl Node {
    pub(super) fn free_mb(&self) -> u64 {
        let written: u64 = self.files.values().map(|files| u64::from(files.count)).sum();
        self.space.base_mb.saturating_sub(written)
    }

    pub(super) fn look_at_disk(&mut self) {
        let free_mb = self.free_mb();
        let space = &mut self.space;
        space.disk = space.disk.observe(free_mb * MB, TOTAL_MB * MB, &self.limits);
        space.low = free_mb < LOW_WATERMARK_MB || (space.low && free_mb < 2 * LOW_WATERMARK_MB);
        assert_eq!((space.disk.low, space.disk.free_mb), (space.low, free_mb), "does not know what is low");
    }

    /// Makes so much free, all files of captures included.
    pub fn free(&mut self, mb: u64) {
        self.space.base_mb = mb + self.space.base_mb - self.free_mb();
        self.turn();
    }

    /// Whether a file system with so many more files would be too full.
    pub(super) fn lacks_disk(&self, files: u64) -> bool {
        self.space.low || self.space.disk.free_mb < LOW_WATERMARK_MB + files
    }
}
