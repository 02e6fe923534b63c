//! What could not be read, and what is counted as such. Pure.

/// What could not be read, in files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Emptied by tcpdump before they were read to their end.
    pub overwritten: usize,
    /// Removed before that.
    pub removed: usize,
    /// Cut off within a record, or not tcpdump's from some place on.
    pub broken: usize,
    /// What stands in these behind that place, in bytes.
    pub broken_bytes: u64,
    /// The last of these, and its place.
    pub broken_at: Option<(String, u64)>,
    /// Of another link type than the first file, or no pcap files.
    pub foreign: usize,
    /// That could not be opened or read.
    pub unreadable: usize,
}

/// What came of reading a file as far as it goes; `rest` is how many bytes of it were not used.
#[derive(Clone, Copy)]
pub(super) enum ReadOutcome {
    ToEnd { rest: u64 },
    Broken { rest: u64 },
    Unreadable,
    Overwritten,
    Removed,
}

impl Losses {
    /// Takes note of what came of a file up to a place; to one that is finished nothing is added any more.
    pub(super) fn note(&mut self, came: ReadOutcome, finished: bool, name: &str, place: u64) {
        match came {
            ReadOutcome::ToEnd { rest } if rest > 0 && finished => self.note_broken(name, place, rest),
            ReadOutcome::ToEnd { .. } => (),
            ReadOutcome::Broken { rest } => self.note_broken(name, place, rest),
            ReadOutcome::Unreadable => self.unreadable += 1,
            ReadOutcome::Overwritten => self.overwritten += 1,
            ReadOutcome::Removed => self.removed += 1,
        }
    }

    pub(super) fn note_broken(&mut self, name: &str, place: u64, rest: u64) {
        self.broken += 1;
        self.broken_bytes += rest;
        self.broken_at = Some((name.to_owned(), place));
    }

    /// What has been lost since it was this.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let broken = self.broken.saturating_sub(before.broken);
        Self {
            overwritten: self.overwritten.saturating_sub(before.overwritten),
            removed: self.removed.saturating_sub(before.removed),
            broken,
            broken_bytes: self.broken_bytes.saturating_sub(before.broken_bytes),
            broken_at: self.broken_at.clone().filter(|_| broken > 0),
            foreign: self.foreign.saturating_sub(before.foreign),
            unreadable: self.unreadable.saturating_sub(before.unreadable),
        }
    }
}
