//! What could not be read, and what is counted as such. Pure.

/// What could not be read, in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Emptied by tcpdump before they were read to their end.
    pub emptied: usize,
    /// Removed before that.
    pub removed: usize,
    /// Cut off within a record, or not tcpdump's from some place on.
    pub broken: usize,
    /// Of another link type than the first file, or no pcap files.
    pub alien: usize,
    /// That could not be opened or read.
    pub unreadable: usize,
}

/// What came of reading a file as far as it goes.
#[derive(Clone, Copy)]
pub(super) enum Came {
    ToEnd { whole: bool },
    Broken,
    Unreadable,
    Emptied,
    Removed,
}

impl Losses {
    /// Takes note of what came of a file; to one that is finished nothing is added any more.
    pub(super) fn note(&mut self, came: Came, finished: bool) {
        match came {
            Came::ToEnd { whole } => self.broken += usize::from(!whole && finished),
            Came::Broken => self.broken += 1,
            Came::Unreadable => self.unreadable += 1,
            Came::Emptied => self.emptied += 1,
            Came::Removed => self.removed += 1,
        }
    }
}
