//! In which order the files of a ring were written, whatever the clock was set to in between. Pure.
//!
//! A file's time and those of its packets come from the same clock. When it is set back, what comes next looks older than what was
//! there. So the order is written down before each start of tcpdump, with what tells each file's contents. A file that is still the
//! same at the next start is older than all that this tcpdump wrote. What it wrote is in the order of the indices, since tcpdump
//! begins at index 0. Once it has filled the ring, it begins at index 0 again: then the one file that is not full is the newest, and
//! the next one the oldest.
//!
//! The times decide where nothing else can: where no order was written down, where the files are not as a tcpdump leaves them, and
//! where tcpdump has filled the ring and its newest file is just full. It is so between two packets of some hundred that a file has.

use serde::{Deserialize, Serialize};

use super::File;
use crate::{
    core::{limits::MB, name::Stem},
    files::pcap::{self, EMPTY_BYTES_MAX, HEADER_BYTES},
};

/// How much is looked at of each file, in bytes: its header, and that of its first record.
pub(super) const HEAD_BYTES: usize = EMPTY_BYTES_MAX as usize;

/// A file, and what it begins with; zeros where it is shorter, or cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub file: File,
    pub head: [u8; HEAD_BYTES],
}

/// What was known of a ring before a tcpdump was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// How many files that tcpdump was to write.
    count: u16,
    /// The files that there were, the oldest first.
    files: Vec<Mark>,
}

/// What tells a file's contents from those that it had before, or has later. A new name changes none of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    inode: u64,
    bytes: u64,
    head: Vec<u8>,
}

impl Record {
    /// What is to be written down of these files, the oldest first, before a tcpdump with `-W count`.
    pub(super) fn of(ordered: &[Found], count: u16) -> Self {
        Self { count, files: ordered.iter().map(Found::mark).collect() }
    }
}

impl Found {
    fn mark(&self) -> Mark {
        Mark { inode: self.file.inode, bytes: self.file.bytes.unwrap_or_default(), head: self.head.to_vec() }
    }

    fn has_packet(&self) -> bool {
        self.file.bytes > Some(EMPTY_BYTES_MAX)
    }

    /// tcpdump went on to the next file: it does so before the first packet that comes when a file is longer than this.
    fn is_full(&self) -> bool {
        self.file.bytes > Some(MB)
    }

    fn first_packet_ns(&self) -> Option<i128> {
        pcap::link_type(&self.head)?;
        let header = self.head[HEADER_BYTES..].try_into().ok()?;
        self.has_packet().then(|| i128::from(pcap::time_us(header)) * 1000)
    }
}

/// The files of a ring, the oldest first, given what was written down before the last tcpdump was started.
pub(super) fn order(mut files: Vec<Found>, before: Option<&Record>) -> Vec<Found> {
    let Some(before) = before else {
        sort_by_time(&mut files);
        return files;
    };
    let place = |found: &Found| {
        let mark = found.mark();
        before.files.iter().position(|file| *file == mark)
    };
    let (mut ordered, mut written): (Vec<Found>, Vec<Found>) =
        files.into_iter().partition(|found| place(found).is_some());
    ordered.sort_by_cached_key(place);
    written.sort_by_cached_key(index);
    let in_turn = written.iter().enumerate().all(|(at, found)| index(found) == Some(at));
    let may_have_begun_anew = ordered.is_empty() && written.len() >= usize::from(before.count);
    let unfinished: Vec<usize> = (0..written.len()).filter(|at| !written[*at].is_full()).collect();
    match unfinished[..] {
        [] if in_turn && !may_have_begun_anew => (),
        [at] if in_turn && (may_have_begun_anew || at + 1 == written.len()) => written.rotate_left(at + 1),
        // No tcpdump leaves it like this, or the end cannot be told.
        _ => sort_by_time(&mut written),
    }
    ordered.extend(written);
    ordered
}

fn index(found: &Found) -> Option<usize> {
    let (_, digits) = Stem::of_file(&found.file.name)?;
    if digits.is_empty() { Some(0) } else { digits.parse().ok() }
}

/// By when their first packets were seen, or when they were last written to where that cannot be told of all.
fn sort_by_time(files: &mut [Found]) {
    let of_packets = files.iter().all(|found| !found.has_packet() || found.first_packet_ns().is_some());
    let time = |found: &Found| found.first_packet_ns().filter(|_| of_packets).unwrap_or(found.file.written_ns);
    files.sort_by_cached_key(|found| (time(found), found.file.name.clone()));
}

#[cfg(test)]
mod tests;
