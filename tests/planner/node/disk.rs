//! The captures' file system: its free space rises and falls for reasons of its own, and with the captures' files.

use packet_capture::core::{disk::Disk, limits::MB, name::Stem, refusal::Shortage};

use super::Node;

/// The least free space.
pub const FLOOR_MB: u64 = 20;

/// All space: two hundredths of it are less than the floor.
const TOTAL_MB: u64 = 500;

pub struct Space {
    /// What would be free without the captures.
    pub base_mb: u64,
    /// As the code under test has it.
    pub seen: Disk,
    /// What was free at the last look.
    pub free_mb: u64,
    /// It was below the floor, and not above twice the floor since.
    pub low: bool,
}

impl Default for Space {
    fn default() -> Self {
        Self { base_mb: 300, seen: Disk::default(), free_mb: 300, low: false }
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
        space.seen = space.seen.observe(free_mb * MB, TOTAL_MB * MB, &self.limits);
        space.free_mb = free_mb;
        space.low = free_mb < FLOOR_MB || (space.low && free_mb < 2 * FLOOR_MB);
        assert_eq!((space.seen.low, space.seen.free_mb), (space.low, free_mb), "does not know what is low");
    }

    /// Makes so much free, all files of captures included.
    pub fn free(&mut self, mb: u64) {
        self.space.base_mb = mb + self.space.base_mb - self.free_mb();
        self.turn();
    }

    /// What so many files of a stem would lack.
    pub(super) fn lacks_disk(&self, stem: &Stem, files: u16) -> Option<Shortage> {
        // What it was started with was reckoned with then.
        let started = self
            .expected_captures
            .get(stem)
            .and_then(|expected| expected.started.as_ref())
            .map_or(0, |(_, run)| run.spec.files);
        let written = self.files.get(stem).map_or(0, |files| files.count).max(started);
        let (needs_mb, free_mb) = (u64::from(files.saturating_sub(written)), self.space.free_mb);
        let low_watermark_mb = if self.space.low { 2 * FLOOR_MB } else { FLOOR_MB };
        let missing_mb = self.space.low || free_mb < FLOOR_MB + needs_mb;
        missing_mb.then_some(Shortage::Disk { needs_mb, free_mb, low_watermark_mb })
    }
}
