//! What is known of one file of a ring, and how reading continues in it while tcpdump writes to it or empties it.

use std::{fs, io};

use super::{losses::ReadOutcome, open::read_at};
use crate::files::{
    capture_dir::File,
    pcap::{self, Bounds, HEADER_BYTES, Next, RECORD_HEADER_BYTES, Record},
};

/// How much is read at once, in bytes: many readers may run, in the memory that the captures need.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// The same while a record is longer than that: more than the longest record.
const PIECE_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(PIECE_BYTES_MAX > pcap::RECORD_BYTES_MAX);

/// The header of a file's first record: when and how long its first packet was. No two files of a ring begin with the same one.
pub(super) type FirstRecord = [u8; RECORD_HEADER_BYTES];

/// When a file was last written and how long it was, as a list of the files said. If both are the same, nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listing {
    written_ns: i128,
    bytes: Option<u64>,
}

impl Listing {
    pub(super) fn of(file: &File) -> Self {
        Self { written_ns: file.written_ns, bytes: file.bytes }
    }
}

/// How far one file is read.
#[derive(Debug)]
pub(super) struct FileProgress {
    pub first: FirstRecord,
    pub bounds: Bounds,
    /// The place behind the last record that was given out, in bytes from the file's beginning.
    pub read_to: u64,
    /// The file's listing when it was last read; `None` if it was not read yet.
    pub listed: Option<Listing>,
}

/// What can be had of one file.
#[derive(Debug)]
pub(super) enum FileState {
    /// Nothing, or nothing more: it cannot be opened, is damaged, or is no pcap file of the capture's link type. `first` is `None`
    /// where the file could not be opened. While the file is `listed` like this, it is not opened again.
    Unusable { first: Option<FirstRecord>, listed: Option<Listing> },
    /// Its records, and more may be added.
    Reading(FileProgress),
    /// It was read to its end, and nothing is added any more.
    Done(FileProgress),
}

impl FileState {
    pub(super) fn first(&self) -> Option<FirstRecord> {
        match self {
            Self::Unusable { first, .. } => *first,
            Self::Reading(progress) | Self::Done(progress) => Some(progress.first),
        }
    }

    /// The file's listing when it was last read or found unusable; `None` if it was not read yet.
    pub(super) fn listed(&self) -> Option<Listing> {
        match self {
            Self::Unusable { listed, .. } => *listed,
            Self::Reading(progress) | Self::Done(progress) => progress.listed,
        }
    }

    pub(super) fn progress(&self) -> Option<&FileProgress> {
        match self {
            Self::Unusable { .. } => None,
            Self::Reading(progress) | Self::Done(progress) => Some(progress),
        }
    }

    /// Whether there may be records in the file that were not given out.
    pub(super) fn may_have_more(&self, file: &File) -> bool {
        match self {
            Self::Unusable { .. } => false,
            Self::Reading(_) => true,
            Self::Done(progress) => progress.listed != Some(Listing::of(file)),
        }
    }
}

impl FileProgress {
    pub(super) fn begins_us(&self) -> u64 {
        pcap::time_us(&self.first)
    }

    /// Gives out what the file holds behind `read_to`, up to its last whole record.
    ///
    /// # Errors
    /// If `take` fails.
    pub(super) fn read_on(
        &mut self,
        file: &fs::File,
        piece: &mut Vec<u8>,
        take: &mut impl FnMut(Record) -> io::Result<()>,
    ) -> io::Result<ReadOutcome> {
        loop {
            let read = read_at(file, piece, self.read_to).and_then(|length| {
                let mut first = FirstRecord::default();
                let whole = read_at(file, &mut first, HEADER_BYTES as u64)? == first.len();
                Ok((length, whole && first == self.first))
            });
            let length = match read {
                Ok((length, true)) => length,
                Ok((_, false)) => return Ok(ReadOutcome::Overwritten),
                Err(_) => return Ok(ReadOutcome::Unreadable),
            };
            let mut rest = &piece[..length];
            let broken = loop {
                match pcap::next_in(rest, self.bounds) {
                    Next::Record(record) => {
                        take(record)?;
                        self.read_to += record.bytes().len() as u64;
                        rest = &rest[record.bytes().len()..];
                    }
                    Next::Incomplete => break false,
                    Next::Broken => break true,
                }
            };
            let unused = rest.len();
            if broken {
                let size = file.metadata().map_or(self.read_to + unused as u64, |status| status.len());
                return Ok(ReadOutcome::Broken { rest: size.saturating_sub(self.read_to) });
            }
            if length < piece.len() {
                resize(piece, PIECE_BYTES);
                return Ok(ReadOutcome::ToEnd { rest: unused as u64 });
            }
            if unused == length {
                resize(piece, PIECE_BYTES_MAX);
            }
        }
    }
}

/// Makes a buffer so long, and gives back what it had beyond that.
fn resize(piece: &mut Vec<u8>, bytes: usize) {
    if piece.len() != bytes {
        *piece = vec![0; bytes];
    }
}
