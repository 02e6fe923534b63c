//! Reads a capture's packets, oldest first, while tcpdump writes them. Takes no lock and asks no other process.
//!
//! tcpdump empties the oldest file of the ring in place and fills it again, so a file's content may change at any moment. The reader
//! knows a file by its inode, and its content by the header of its first record. After each piece the reader reads that header again; if it
//! has changed, tcpdump has emptied the file in between, and the reader does not use the piece. The file's new content is the newest of the
//! ring, and is read in its turn. At most two files are open at once, so a reader that waits keeps the space of at most two deleted files.
//!
//! A list of the files does not show one moment: tcpdump may empty one file and fill the next while the list is made. So the reader lists
//! all files twice. A file that begins later than all files of the first list waits for the next pass: by then every earlier file was seen.

mod file;
mod losses;
mod open;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io, mem,
};

pub use self::losses::{Damage, Losses};
use self::{
    file::{FileProgress, FileState, Listing, PIECE_BYTES},
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

/// Reads one capture, each record once.
#[derive(Debug)]
pub struct RingReader<'a> {
    ring: &'a CaptureDir,
    stem: &'a Stem,
    link_type: Option<u32>,
    /// The files that begin with a whole record header, by inode.
    known: BTreeMap<u64, KnownFile>,
    /// Files that begin later are not read yet, in microseconds since 1970.
    until_us: u64,
    last_read: Option<OpenFile>,
    piece: Vec<u8>,
    /// No tcpdump runs, so nothing is added to the newest file either.
    finished: bool,
    /// Files that break off within their first record, by inode.
    torn_at_once: BTreeSet<u64>,
    /// In the last pass a file that was not finished broke off within a record.
    torn: bool,
    /// The losses so far.
    pub losses: Losses,
}

#[derive(Debug)]
struct KnownFile {
    state: FileState,
    /// The last list did not have the file. It is forgotten once two lists do not: a file that is only being renamed must not be read
    /// again.
    missing_once: bool,
}

#[derive(Debug)]
struct OpenFile {
    inode: u64,
    file: fs::File,
}

/// Whether a file was where the list of files said.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    There,
    /// Another file has the name, or none has.
    Moved,
    /// The file cannot be opened, and nothing is known of it.
    Unreadable,
}

impl<'a> RingReader<'a> {
    /// A reader of the capture with this stem, before its first record.
    #[must_use]
    pub fn new(ring: &'a CaptureDir, stem: &'a Stem) -> Self {
        Self {
            ring,
            stem,
            link_type: None,
            known: BTreeMap::new(),
            until_us: 0,
            last_read: None,
            piece: vec![0; PIECE_BYTES],
            finished: false,
            torn_at_once: BTreeSet::new(),
            torn: false,
            losses: Losses::default(),
        }
    }

    /// Accepts only files of this link type, unless the reader knows another one already.
    pub fn expect(&mut self, link_type: Option<u32>) {
        self.link_type = self.link_type.or(link_type);
    }

    /// Begins again with the oldest record, and with no losses. Only the link type stays.
    pub fn start_over(&mut self) {
        let (link_type, finished) = (self.link_type, self.finished);
        *self = Self { link_type, finished, ..Self::new(self.ring, self.stem) };
    }

    /// Says whether no tcpdump runs any more: then nothing is added to the newest file either.
    pub fn set_finished(&mut self, finished: bool) {
        self.finished = finished;
    }

    /// Whether a file that tcpdump may still write to broke off within a record when it was last read.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    fn begin_us(&self) -> impl Iterator<Item = u64> {
        self.known.values().filter_map(|known| known.state.progress()).map(FileProgress::begins_us)
    }

    /// The link type of the capture, once there is a file with a header.
    #[must_use]
    pub fn link_type(&self) -> Option<u32> {
        self.link_type
    }

    /// Lists the files, and looks into the new ones.
    ///
    /// # Errors
    /// If the files cannot be listed. A file that cannot be read is no error, but one of the [`losses`](Self::losses).
    pub fn look(&mut self) -> io::Result<Vec<File>> {
        let (mut lists, mut before) = (1, None);
        loop {
            self.until_us = self.begin_us().max().unwrap_or_default();
            let (mut files, undisturbed) = self.ring.list(self.stem)?;
            files.retain(|file| file.bytes.is_some());
            let (mut moved, mut unreadable) = (0, Vec::new());
            for file in &files {
                match self.look_into(file) {
                    Presence::There => (),
                    Presence::Moved => moved += 1,
                    Presence::Unreadable => unreadable.push(file),
                }
            }
            // A file that moved was not looked into, so it is not known yet whether it begins before others.
            let listed = (moved == 0 && undisturbed).then(|| inodes(&files));
            let agreed = listed.is_some() && listed == before;
            if agreed || lists == LISTS_MAX {
                for file in unreadable {
                    self.losses.unreadable += 1;
                    self.learn(file, FileState::Unusable { first: None, listed: Some(Listing::of(file)) });
                }
            }
            if agreed {
                return Ok(files);
            }
            if lists == LISTS_MAX {
                // The files that moved count as lost, even if the next pass finds them: no file may be left out silently.
                self.losses.removed += moved.max(usize::from(!undisturbed));
                if self.last_read.is_none() {
                    self.until_us = u64::MAX;
                }
                return Ok(files);
            }
            (lists, before) = (lists + 1, listed);
        }
    }

    /// Gives all new records of these files to `take`, oldest file first. Returns the number of their bytes.
    ///
    /// # Errors
    /// If `take` fails.
    pub fn read(&mut self, files: &[File], take: &mut impl FnMut(Record) -> io::Result<()>) -> io::Result<u64> {
        self.torn = false;
        let mut bytes = self.read_removed(files, take)?;
        self.look_for_torn_heads(files);
        // A file without a packet yet: tcpdump writes the next packets there.
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

    /// Reads on in files that are gone: the one that was read last is still open.
    fn read_removed(&mut self, files: &[File], take: &mut impl FnMut(Record) -> io::Result<()>) -> io::Result<u64> {
        let (listed, mut bytes) = (inodes(files), 0);
        for (inode, known) in self.known.iter_mut().filter(|(inode, _)| !listed.contains(inode)) {
            let open = self.last_read.take_if(|last| last.inode == *inode);
            known.state = match mem::replace(&mut known.state, FileState::Unusable { first: None, listed: None }) {
                FileState::Reading(mut progress) => {
                    if let Some(OpenFile { file, .. }) = open {
                        let from = progress.read_to;
                        let outcome = progress.read_on(&file, &mut self.piece, take)?;
                        self.losses.note(outcome, true, "a file that is gone", progress.read_to);
                        bytes += progress.read_to - from;
                    } else {
                        self.losses.removed += 1;
                    }
                    FileState::Done(progress)
                }
                read @ (FileState::Done(_) | FileState::Unusable { .. }) => read,
            };
        }
        self.known.retain(|inode, known| {
            let missing = !listed.contains(inode);
            !(mem::replace(&mut known.missing_once, missing) && missing)
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

    /// Looks into a file that is new or has changed.
    fn look_into(&mut self, file: &File) -> Presence {
        let (known, listed) = (self.known.get(&file.inode).map(|known| &known.state), Some(Listing::of(file)));
        if known.is_some_and(|known| known.listed() == listed) {
            return Presence::There;
        }
        let mut head = [0; HEADER_BYTES + RECORD_HEADER_BYTES];
        let opened = self.ring.read(&file.name).and_then(|(open, inode)| Ok((read_at(&open, &mut head, 0)?, inode)));
        let length = match opened {
            Ok((_, inode)) if inode != file.inode => return Presence::Moved,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Presence::Moved,
            Ok((length, _)) => length,
            // Reading on in the file will count the loss.
            Err(_) if known.is_some() => return Presence::There,
            Err(_) => return Presence::Unreadable,
        };
        let overwritten = usize::from(matches!(known, Some(FileState::Reading(_))));
        let link_type = pcap::link_type(&head[..length]);
        self.link_type = self.link_type.or(link_type);
        if length < head.len() {
            // Without a packet yet, or again.
            self.losses.overwritten += overwritten;
            self.known.remove(&file.inode);
            return Presence::There;
        }
        let first = head[HEADER_BYTES..].try_into().unwrap_or_default();
        if known.and_then(FileState::first) == Some(first) {
            if matches!(known, Some(FileState::Unusable { .. })) {
                self.learn(file, FileState::Unusable { first: Some(first), listed });
            }
            return Presence::There;
        }
        self.losses.overwritten += overwritten;
        if link_type.is_none() || link_type != self.link_type {
            self.losses.foreign += 1;
            self.learn(file, FileState::Unusable { first: Some(first), listed });
        } else {
            let (bounds, read_to) = (Bounds::of(&head), HEADER_BYTES as u64);
            self.learn(file, FileState::Reading(FileProgress { first, bounds, read_to, listed: None }));
        }
        Presence::There
    }

    fn learn(&mut self, file: &File, state: FileState) {
        self.known.insert(file.inode, KnownFile { state, missing_once: false });
    }

    /// The time of the first packet of a file that may have new records.
    fn begins_us(&self, file: &File) -> Option<u64> {
        let state = &self.known.get(&file.inode)?.state;
        let begins_us = state.progress()?.begins_us();
        (state.may_have_more(file) && begins_us <= self.until_us).then_some(begins_us)
    }

    /// Reads on in a file. If it is `finished`, nothing was added to it after it was listed. Returns the number of bytes given out.
    fn read_file(
        &mut self,
        file: &File,
        finished: bool,
        take: &mut impl FnMut(Record) -> io::Result<()>,
    ) -> io::Result<u64> {
        let (mut progress, was_done) = match self.known.remove(&file.inode).map(|known| known.state) {
            Some(FileState::Reading(progress)) => (progress, false),
            Some(FileState::Done(progress)) => (progress, true),
            Some(FileState::Unusable { .. }) | None => return Ok(0),
        };
        let from = progress.read_to;
        let opened = match self.last_read.take_if(|last| last.inode == file.inode) {
            Some(OpenFile { file, .. }) => Ok(file),
            None => find(self.ring, self.stem, file),
        };
        let outcome = match opened {
            Ok(open) => {
                let outcome = progress.read_on(&open, &mut self.piece, take)?;
                self.last_read = Some(OpenFile { inode: file.inode, file: open });
                outcome
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => ReadOutcome::Removed,
            Err(_) => ReadOutcome::Unreadable,
        };
        self.losses.note(outcome, finished && !was_done, &file.name, progress.read_to);
        self.torn |= !finished && matches!(outcome, ReadOutcome::ToEnd { rest: 1.. });
        progress.listed = Some(Listing::of(file));
        let (bytes, first, listed) = (progress.read_to - from, Some(progress.first), progress.listed);
        match outcome {
            // Its new content is looked into in the next pass.
            ReadOutcome::Overwritten => (),
            ReadOutcome::Broken { .. } | ReadOutcome::Unreadable => {
                self.learn(file, FileState::Unusable { first, listed })
            }
            // If it was not removed after all, it must not be read again from its beginning.
            ReadOutcome::Removed => self.learn(file, FileState::Done(progress)),
            ReadOutcome::ToEnd { .. } if was_done || finished || progress.read_to > FULL_BYTES => {
                self.learn(file, FileState::Done(progress));
            }
            ReadOutcome::ToEnd { .. } => self.learn(file, FileState::Reading(progress)),
        }
        Ok(bytes)
    }
}

fn inodes(files: &[File]) -> BTreeSet<u64> {
    files.iter().map(|file| file.inode).collect()
}

/// The time of a capture's oldest packet, in microseconds since 1970; `None` if no file can be read.
#[must_use]
pub fn oldest_us(ring: &CaptureDir, files: &[File]) -> Option<u64> {
    // All files are opened: the times of their last writes do not tell the oldest where the clock was set back, or one was touched.
    let first_us = |file: &File| {
        let mut head = [0; HEADER_BYTES + RECORD_HEADER_BYTES];
        let length = read_at(&ring.read(&file.name).ok()?.0, &mut head, 0).ok()?;
        pcap::link_type(&head[..length])?;
        let first = &head[HEADER_BYTES..length];
        // A damaged record has no time.
        let damaged = matches!(pcap::next_in(first, Bounds::of(&head)), Next::Broken);
        Some(pcap::time_us(first.try_into().ok().filter(|_| !damaged)?))
    };
    files.iter().filter(|file| file.bytes > Some(EMPTY_BYTES_MAX)).filter_map(first_us).min()
}
