//! Counts the files of a ring that could not be read whole. Pure.

/// How many files could not be read whole, by cause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Overwritten by tcpdump before they were read to their end.
    pub overwritten: usize,
    /// Removed before that.
    pub removed: usize,
    /// Cut off within a record, or not tcpdump's from some place on.
    pub broken: usize,
    /// The bytes behind the first damage of each of these files, in sum.
    pub broken_bytes: u64,
    /// The last of these files.
    pub broken_at: Option<Damage>,
    /// Of another link type than the first file, or no pcap files.
    pub foreign: usize,
    /// Could not be opened or read.
    pub unreadable: usize,
}

/// The first damage of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// The file's name.
    pub file: String,
    /// How many bytes of the file come before the damage.
    pub offset: u64,
}

/// How the reading of a file ended; `rest` is how many bytes behind the last whole record were not used.
#[derive(Clone, Copy)]
pub(super) enum ReadOutcome {
    ToEnd { rest: u64 },
    Broken { rest: u64 },
    Unreadable,
    Overwritten,
    Removed,
}

impl Losses {
    /// Counts the loss that a file means which was read up to an offset. Nothing is added to a file that is `finished`.
    pub(super) fn note(&mut self, outcome: ReadOutcome, finished: bool, name: &str, offset: u64) {
        match outcome {
            ReadOutcome::ToEnd { rest } if rest > 0 && finished => self.note_broken(name, offset, rest),
            ReadOutcome::ToEnd { .. } => (),
            ReadOutcome::Broken { rest } => self.note_broken(name, offset, rest),
            ReadOutcome::Unreadable => self.unreadable += 1,
            ReadOutcome::Overwritten => self.overwritten += 1,
            ReadOutcome::Removed => self.removed += 1,
        }
    }

    pub(super) fn note_broken(&mut self, name: &str, offset: u64, rest: u64) {
        self.broken += 1;
        self.broken_bytes += rest;
        self.broken_at = Some(Damage { file: name.to_owned(), offset });
    }

    /// The losses after `before`.
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
