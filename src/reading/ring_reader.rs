//! A capture's packets, oldest first, read while tcpdump writes them. Takes no lock and talks to nobody.
//!
//! tcpdump empties the oldest file of the ring in place and fills it anew, so what is read may change at any moment. A file is
//! known by its inode, and what is in it by the header of its first record: after each piece that was read that header is read
//! again, and if it is another, the file was emptied meanwhile, and the piece is not used. What it holds then is the newest there
//! is, and is read in its turn. Two files are open at the most, so a reader that stands still keeps no more than that of what is deleted.
//!
//! A list of the files is not of one moment: one may be emptied and the next filled between two looks. So all are listed twice, and what
//! begins later than all that the first list showed waits for the next time. Whatever comes before it has been seen by then.

mod file;
mod losses;
mod open;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

pub use self::losses::Losses;
use self::{
    file::{PIECE_BYTES, read_on},
    losses::ReadOutcome,
    open::{LISTS_MAX, find, read_at},
};
use crate::{
    core::{limits::MB, name::Stem},
    files::{
        capture_dir::{CaptureDir, File},
        pcap::{self, Bounds, EMPTY_BYTES_MAX, HEADER_BYTES, Next, RECORD_HEADER_BYTES, Record},
    },
};

/// A file that is longer is full (`-C 1`): tcpdump adds nothing to it.
const FULL_BYTES: u64 = MB;

/// The header of a file's first record: when and how long its first packet was. No two files of a ring begin with the same one.
type FirstRecord = [u8; RECORD_HEADER_BYTES];

/// Reads one capture, each packet once.
#[derive(Debug)]
pub struct RingReader<'a> {
    ring: &'a CaptureDir,
    stem: &'a Stem,
    link_type: Option<u32>,
    known: BTreeMap<u64, FileProgress>,
    /// What begins later is not read yet, in microseconds since 1970.
    until_us: u64,
    /// The file that was read last, by its inode.
    last: Option<(u64, fs::File)>,
    piece: Vec<u8>,
    /// No tcpdump runs, so that nothing is added to the newest file either.
    finished: bool,
    /// Files that break off within their first record, by their inodes.
    torn_at_once: BTreeSet<u64>,
    /// In the last reading a file that was not finished broke off within a record.
    torn: bool,
    /// What could not be read so far.
    pub losses: Losses,
}

#[derive(Debug)]
struct FileProgress {
    first: FirstRecord,
    bounds: Bounds,
    /// Up to where it was read.
    read_to: u64,
    /// The time and the size that it was listed with before it was read: nothing has changed if they are the same.
    listed: (i128, u64),
    /// It was read to its end, and nothing is added to it any more.
    complete: bool,
    /// Its records can be given out.
    usable: bool,
    /// The last list lacked it. It is forgotten once two did: what is only being renamed must not be read again.
    missing_once: bool,
}

fn listing(file: &File) -> (i128, u64) {
    (file.written_ns, file.bytes.unwrap_or_default())
}

impl<'a> RingReader<'a> {
    /// A reader of the capture with this stem, which has read nothing yet.
    #[must_use]
    pub fn new(ring: &'a CaptureDir, stem: &'a Stem) -> Self {
        Self {
            ring,
            stem,
            link_type: None,
            known: BTreeMap::new(),
            until_us: 0,
            last: None,
            piece: vec![0; PIECE_BYTES],
            finished: false,
            torn_at_once: BTreeSet::new(),
            torn: false,
            losses: Losses::default(),
        }
    }

    /// Takes only files of this link type, if it is known already.
    pub fn expect(&mut self, link_type: Option<u32>) {
        self.link_type = self.link_type.or(link_type);
    }

    /// From here on it is known whether a tcpdump runs: if none does, the newest file is as finished as the others.
    pub fn set_finished(&mut self, finished: bool) {
        self.finished = finished;
    }

    /// Whether a file that may still be written to broke off within a record when it was last read.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// When the first packet was seen of those that are in the files, in microseconds since 1970.
    #[must_use]
    pub fn oldest_us(&self) -> Option<u64> {
        // Of one that is damaged some packets may have been read.
        let read = self.known.values().filter(|known| known.usable || known.read_to > HEADER_BYTES as u64);
        read.map(|known| pcap::time_us(&known.first)).min()
    }

    fn begin_us(&self) -> impl Iterator<Item = u64> {
        self.known.values().filter(|known| known.usable).map(|known| pcap::time_us(&known.first))
    }

    /// The link type of the packets, once there is a file with a header.
    #[must_use]
    pub fn link_type(&self) -> Option<u32> {
        self.link_type
    }

    /// Lists the files, and takes note of what is new.
    ///
    /// # Errors
    /// If they cannot be listed. A file that cannot be read is no error, but one of the [`losses`](Self::losses).
    pub fn look(&mut self) -> io::Result<Vec<File>> {
        let (mut lists, mut before) = (1, None);
        loop {
            self.until_us = self.begin_us().max().unwrap_or_default();
            let (mut files, undisturbed) = self.ring.list(self.stem)?;
            files.retain(|file| file.bytes.is_some());
            let moved = files.iter().filter(|file| !self.look_into(file)).count();
            // What was not where the list said is not known yet, so nothing can be said of what comes later.
            let listed = (moved == 0 && undisturbed).then(|| inodes(&files));
            if listed.is_some() && listed == before {
                return Ok(files);
            }
            if lists == LISTS_MAX {
                // Nothing is left out without a word, be it what comes next time; until then the order must stand.
                self.losses.removed += moved.max(usize::from(!undisturbed));
                if self.last.is_none() {
                    self.until_us = u64::MAX;
                }
                return Ok(files);
            }
            (lists, before) = (lists + 1, listed);
        }
    }

    /// Gives all records that are new in these files to `take`, oldest file first. Returns how many bytes they were.
    ///
    /// # Errors
    /// If `take` fails.
    pub fn read(&mut self, files: &[File], take: &mut impl FnMut(Record) -> io::Result<()>) -> io::Result<u64> {
        self.torn = false;
        let mut bytes = self.read_removed(files, take)?;
        self.look_for_torn_heads(files);
        // Without a packet yet: those to come are written there.
        let empty = files.iter().filter(|file| !self.known.contains_key(&file.inode));
        let empty_ns = empty.map(|file| file.written_ns).max();
        let mut changed: Vec<(u64, &File)> =
            files.iter().filter_map(|file| Some((self.begins_us(file)?, file))).collect();
        changed.sort_by_key(|(begins_us, file)| (*begins_us, file.written_ns));
        for (begins_us, file) in changed {
            let finished = self.finished || begins_us < self.until_us || empty_ns > Some(file.written_ns);
            bytes += self.read_file(file, finished, take)?;
        }
        Ok(bytes)
    }

    /// What was still to come of files that are gone: of the one that was read last it can be had.
    fn read_removed(&mut self, files: &[File], take: &mut impl FnMut(Record) -> io::Result<()>) -> io::Result<u64> {
        let (listed, mut bytes) = (inodes(files), 0);
        for (inode, known) in self.known.iter_mut().filter(|(inode, _)| !listed.contains(inode)) {
            match self.last.take_if(|(last, _)| last == inode) {
                _ if known.complete => (),
                Some((_, open)) => {
                    let from = known.read_to;
                    let came = read_on(&open, known, &mut self.piece, take)?;
                    self.losses.note(came, true, "one that is gone", known.read_to);
                    bytes += known.read_to - from;
                }
                None => self.losses.removed += 1,
            }
            known.complete = true;
        }
        self.known.retain(|inode, known| {
            let missing_once = !listed.contains(inode);
            !(std::mem::replace(&mut known.missing_once, missing_once) && missing_once)
        });
        Ok(bytes)
    }

    /// A file without one whole packet that is not the newest has lost that packet.
    fn look_for_torn_heads(&mut self, files: &[File]) {
        self.torn_at_once.retain(|inode| files.iter().any(|file| file.inode == *inode));
        for file in files.iter().filter(|file| !self.known.contains_key(&file.inode)) {
            let header = HEADER_BYTES as u64;
            let Some(rest @ 1..) = file.bytes.and_then(|bytes| bytes.checked_sub(header)) else { continue };
            if !self.finished && files.iter().all(|other| other.written_ns <= file.written_ns) {
                self.torn = true;
            } else if self.torn_at_once.insert(file.inode) {
                self.losses.note_broken(&file.name, header, rest);
            }
        }
    }

    /// Takes note of what is in a file. False: it is not where the listing said, and there may be a new one.
    fn look_into(&mut self, file: &File) -> bool {
        let listed = listing(file);
        let known = self.known.get(&file.inode);
        if known.is_some_and(|known| known.listed == listed) {
            return true;
        }
        let lost = usize::from(known.is_some_and(|known| !known.complete));
        let mut head = [0; HEADER_BYTES + RECORD_HEADER_BYTES];
        let opened = self.ring.read(&file.name).and_then(|(open, inode)| Ok((read_at(&open, &mut head, 0)?, inode)));
        let (length, first) = match opened {
            Ok((_, inode)) if inode != file.inode => return false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Ok((length, _)) => (length, head[HEADER_BYTES..].try_into().unwrap_or_default()),
            // Found out when it is read on.
            Err(_) if known.is_some() => return true,
            Err(_) => {
                self.losses.unreadable += 1;
                let (first, bounds) = (FirstRecord::default(), Bounds::NONE);
                self.known.insert(
                    file.inode,
                    FileProgress {
                        first,
                        bounds,
                        read_to: 0,
                        listed,
                        complete: true,
                        usable: false,
                        missing_once: false,
                    },
                );
                return true;
            }
        };
        let link_type = pcap::link_type(&head[..length]);
        self.link_type = self.link_type.or(link_type);
        if length < head.len() {
            // Without a packet yet, or again.
            self.losses.overwritten += lost;
            self.known.remove(&file.inode);
            return true;
        }
        if known.is_some_and(|known| known.first == first) {
            return true;
        }
        self.losses.overwritten += lost;
        let usable = link_type.is_some() && link_type == self.link_type;
        self.losses.foreign += usize::from(!usable);
        let (bounds, read_to) = (Bounds::of(&head), HEADER_BYTES as u64);
        let known =
            FileProgress { first, bounds, read_to, listed: (0, 0), complete: !usable, usable, missing_once: false };
        self.known.insert(file.inode, known);
        true
    }

    /// When the first packet was seen of a file that may have something new.
    fn begins_us(&self, file: &File) -> Option<u64> {
        let known = self.known.get(&file.inode)?;
        let begins_us = pcap::time_us(&known.first);
        let nothing_new = known.complete && known.listed == listing(file);
        (known.usable && !nothing_new && begins_us <= self.until_us).then_some(begins_us)
    }

    /// Reads a file from where it was read to; to one that is finished nothing was added after it was listed. Returns how many
    /// bytes were given out.
    fn read_file(
        &mut self,
        file: &File,
        finished: bool,
        take: &mut impl FnMut(Record) -> io::Result<()>,
    ) -> io::Result<u64> {
        let Some(mut known) = self.known.remove(&file.inode) else { return Ok(0) };
        let from = known.read_to;
        let opened = match self.last.take_if(|(last, _)| *last == file.inode) {
            Some((_, open)) => Ok(open),
            None => find(self.ring, self.stem, file),
        };
        let came = match opened {
            Ok(open) => {
                let came = read_on(&open, &mut known, &mut self.piece, take)?;
                self.last = Some((file.inode, open));
                came
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => ReadOutcome::Removed,
            Err(_) => ReadOutcome::Unreadable,
        };
        let (bytes, was_complete) = (known.read_to - from, known.complete);
        (known.listed, known.complete) = (listing(file), known.complete || finished || known.read_to > FULL_BYTES);
        known.usable &= !matches!(came, ReadOutcome::Broken { .. } | ReadOutcome::Unreadable);
        self.losses.note(came, finished && !was_complete, &file.name, known.read_to);
        self.torn |= !finished && matches!(came, ReadOutcome::ToEnd { rest: 1.. });
        if !matches!(came, ReadOutcome::Overwritten) {
            // One that was removed, too: if it was not, it must not be read again from its beginning.
            known.complete |= matches!(came, ReadOutcome::Removed | ReadOutcome::Broken { .. });
            self.known.insert(file.inode, known);
        }
        Ok(bytes)
    }
}

fn inodes(files: &[File]) -> BTreeSet<u64> {
    files.iter().map(|file| file.inode).collect()
}

/// When the oldest packet of a capture was seen, in microseconds since 1970, as far as its files can be read.
#[must_use]
pub fn oldest_us(ring: &CaptureDir, files: &[File]) -> Option<u64> {
    // Of each file: their own times do not tell the oldest where the clock was set back, or somebody touched one.
    let first_us = |file: &File| {
        let mut head = [0; HEADER_BYTES + RECORD_HEADER_BYTES];
        let length = read_at(&ring.read(&file.name).ok()?.0, &mut head, 0).ok()?;
        pcap::link_type(&head[..length])?;
        let first = &head[HEADER_BYTES..length];
        // A damaged one has no time.
        let damaged = matches!(pcap::next_in(first, Bounds::of(&head)), Next::Broken);
        Some(pcap::time_us(first.try_into().ok().filter(|_| !damaged)?))
    };
    files.iter().filter(|file| file.bytes > Some(EMPTY_BYTES_MAX)).filter_map(first_us).min()
}
