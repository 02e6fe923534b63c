//! A capture's packets, oldest first, read while tcpdump writes them. Takes no lock and talks to nobody.
//!
//! tcpdump empties the oldest file of the ring in place and fills it anew, so what is read may change at any moment. A file is
//! known by its inode, and what is in it by the header of its first record: after each piece that was read that header is read
//! again, and if it is another, the file was emptied meanwhile, and the piece is not used. What it holds then is the newest there
//! is, and is read in its turn. Two files are open at the most, so a reader that stands still keeps no more than that of what is deleted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::FileExt,
};

use crate::{
    capture::Stem,
    pcap::{self, HEADER_BYTES, Next, RECORD_HEADER_BYTES, Record},
    ring::{File, Ring},
};

/// How much is read at once, in bytes: more than the longest record.
const PIECE_BYTES: usize = 1 << 20;
const _: () = assert!(PIECE_BYTES > pcap::RECORD_BYTES_MAX);

/// How often the files are listed before those are read that stayed where they were: a restart renames them, within milliseconds.
const LISTS_MAX: usize = 8;

/// The header of a file's first record: when and how long its first packet was. No two files of a ring begin with the same one.
type First = [u8; RECORD_HEADER_BYTES];

/// Reads one capture, each packet once.
#[derive(Debug)]
pub struct Reader<'a> {
    ring: &'a Ring,
    stem: &'a Stem,
    link_type: Option<u32>,
    known: BTreeMap<u64, Known>,
    /// The file that was read last, by its inode.
    last: Option<(u64, fs::File)>,
    piece: Vec<u8>,
    /// What could not be read so far.
    pub losses: Losses,
}

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

#[derive(Debug)]
struct Known {
    first: First,
    /// Up to where it was read.
    read_to: u64,
    /// The time and the size that it was listed with before it was read: nothing has changed if they are the same.
    listed: (i128, u64),
    /// It was read to its end, and is not the newest any more.
    complete: bool,
    /// Its records can be given out.
    usable: bool,
}

fn listing(file: &File) -> (i128, u64) {
    (file.written_ns, file.bytes.unwrap_or_default())
}

/// What came of reading a file as far as it goes.
#[derive(Clone, Copy)]
enum Came {
    ToEnd { whole: bool },
    Broken,
    Unreadable,
    Emptied,
    Removed,
}

impl<'a> Reader<'a> {
    /// A reader of the capture with this stem, which has read nothing yet.
    #[must_use]
    pub fn new(ring: &'a Ring, stem: &'a Stem) -> Self {
        let (known, losses) = (BTreeMap::new(), Losses::default());
        Self { ring, stem, link_type: None, known, last: None, piece: vec![0; PIECE_BYTES], losses }
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
        let mut lists = 1;
        loop {
            let mut files = self.ring.files(self.stem)?;
            files.retain(|file| file.bytes.is_some());
            let moved = files.iter().filter(|file| !self.look_into(file)).count();
            if moved == 0 || lists == LISTS_MAX {
                self.losses.removed += moved;
                return Ok(files);
            }
            lists += 1;
        }
    }

    /// Gives all records that are new in these files to `take`, oldest file first. Returns how many bytes they were.
    ///
    /// # Errors
    /// If `take` fails.
    pub fn read(&mut self, files: &[File], take: &mut impl FnMut(Record) -> io::Result<()>) -> io::Result<u64> {
        let mut bytes = self.read_removed(files, take)?;
        let newest_ns = files.iter().map(|file| file.written_ns).max().unwrap_or_default();
        let mut changed: Vec<(u64, &File)> =
            files.iter().filter_map(|file| Some((self.begins_us(file)?, file))).collect();
        changed.sort_by_key(|(begins_us, file)| (*begins_us, file.written_ns));
        for (_, file) in changed {
            bytes += self.read_file(file, newest_ns, take)?;
        }
        for file in files.iter().filter(|file| file.written_ns < newest_ns) {
            self.known.entry(file.inode).and_modify(|known| known.complete = true);
        }
        Ok(bytes)
    }

    /// What was still to come of files that are gone: of the one that was read last it can be had.
    fn read_removed(&mut self, files: &[File], take: &mut impl FnMut(Record) -> io::Result<()>) -> io::Result<u64> {
        let listed: BTreeSet<u64> = files.iter().map(|file| file.inode).collect();
        let mut bytes = 0;
        for (inode, mut known) in self.known.extract_if(.., |inode, _| !listed.contains(inode)) {
            match self.last.take_if(|(last, _)| *last == inode) {
                _ if known.complete => (),
                Some((_, open)) => {
                    let from = known.read_to;
                    copy(&open, &mut known, &mut self.piece, take)?;
                    bytes += known.read_to - from;
                }
                None => self.losses.removed += 1,
            }
        }
        Ok(bytes)
    }

    /// Takes note of what is in a file. False: it is not where the listing said, and there may be a new one.
    fn look_into(&mut self, file: &File) -> bool {
        let listed = listing(file);
        let known = self.known.get(&file.inode);
        if known.is_some_and(|known| known.listed == listed) {
            return true;
        }
        let mut head = [0; HEADER_BYTES + RECORD_HEADER_BYTES];
        let opened = self.ring.read(&file.name).and_then(|(open, inode)| Ok((read_at(&open, &mut head, 0)?, inode)));
        let (length, first) = match opened {
            Ok((_, inode)) if inode != file.inode => return false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return false,
            Ok((length, _)) => (length, head[HEADER_BYTES..].try_into().unwrap_or_default()),
            Err(_) => {
                self.losses.unreadable += 1;
                let first = First::default();
                self.known.insert(file.inode, Known { first, read_to: 0, listed, complete: true, usable: false });
                return true;
            }
        };
        let link_type = pcap::link_type(&head[..length]);
        self.link_type = self.link_type.or(link_type);
        if length < head.len() || known.is_some_and(|known| known.first == first) {
            // Without a packet yet, or known: it has grown.
            return true;
        }
        self.losses.emptied += usize::from(known.is_some_and(|known| !known.complete));
        let usable = link_type.is_some() && link_type == self.link_type;
        self.losses.alien += usize::from(!usable);
        let read_to = HEADER_BYTES as u64;
        self.known.insert(file.inode, Known { first, read_to, listed: (0, 0), complete: !usable, usable });
        true
    }

    /// When the first packet was seen of a file that has something new.
    fn begins_us(&self, file: &File) -> Option<u64> {
        let known = self.known.get(&file.inode)?;
        (known.usable && known.listed != listing(file)).then(|| pcap::time_us(&known.first))
    }

    /// Reads a file from where it was read to. Returns how many bytes were given out.
    fn read_file(
        &mut self,
        file: &File,
        newest_ns: i128,
        take: &mut impl FnMut(Record) -> io::Result<()>,
    ) -> io::Result<u64> {
        let Some(mut known) = self.known.remove(&file.inode) else { return Ok(0) };
        let from = known.read_to;
        let came = match find(self.ring, self.stem, file) {
            Ok(open) => {
                let came = copy(&open, &mut known, &mut self.piece, take)?;
                self.last = Some((file.inode, open));
                came
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Came::Removed,
            Err(_) => Came::Unreadable,
        };
        let bytes = known.read_to - from;
        known.listed = listing(file);
        match came {
            Came::ToEnd { whole } => self.losses.broken += usize::from(!whole && file.written_ns < newest_ns),
            Came::Broken => (self.losses.broken, known.usable) = (self.losses.broken + 1, false),
            Came::Unreadable => (self.losses.unreadable, known.usable) = (self.losses.unreadable + 1, false),
            Came::Emptied => self.losses.emptied += 1,
            Came::Removed => self.losses.removed += 1,
        }
        if !matches!(came, Came::Emptied | Came::Removed) {
            self.known.insert(file.inode, known);
        }
        Ok(bytes)
    }
}

/// Opens a file by its listing, or by where it is by now: a restart renames the files.
fn find(ring: &Ring, stem: &Stem, file: &File) -> io::Result<fs::File> {
    let mut name = file.name.clone();
    for _ in 0..LISTS_MAX {
        match ring.read(&name) {
            Ok((open, inode)) if inode == file.inode => return Ok(open),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => (),
        }
        let files = ring.files(stem)?;
        let Some(moved) = files.into_iter().find(|moved| moved.inode == file.inode) else { break };
        name = moved.name;
    }
    Err(io::ErrorKind::NotFound.into())
}

fn copy(
    file: &fs::File,
    known: &mut Known,
    piece: &mut [u8],
    take: &mut impl FnMut(Record) -> io::Result<()>,
) -> io::Result<Came> {
    loop {
        let read = read_at(file, piece, known.read_to).and_then(|length| {
            let mut first = First::default();
            let whole = read_at(file, &mut first, HEADER_BYTES as u64)? == first.len();
            Ok((length, whole && first == known.first))
        });
        let length = match read {
            Ok((length, true)) => length,
            Ok((_, false)) => return Ok(Came::Emptied),
            Err(_) => return Ok(Came::Unreadable),
        };
        let mut rest = &piece[..length];
        let broken = loop {
            match pcap::next(rest) {
                Next::Record(record) => {
                    take(record)?;
                    known.read_to += record.bytes().len() as u64;
                    rest = &rest[record.bytes().len()..];
                }
                Next::Incomplete => break false,
                Next::Broken => break true,
            }
        };
        if broken {
            return Ok(Came::Broken);
        }
        if length < piece.len() {
            return Ok(Came::ToEnd { whole: rest.is_empty() });
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// When the oldest packet of a capture was seen, in microseconds since 1970, as far as its files can be read.
#[must_use]
pub fn oldest_us(ring: &Ring, files: &[File]) -> Option<u64> {
    let with_packets = files.iter().filter(|file| file.bytes > Some((HEADER_BYTES + RECORD_HEADER_BYTES) as u64));
    let oldest = with_packets.min_by_key(|file| file.written_ns)?;
    let mut head = [0; HEADER_BYTES + RECORD_HEADER_BYTES];
    let length = read_at(&ring.read(&oldest.name).ok()?.0, &mut head, 0).ok()?;
    pcap::link_type(&head[..length])?;
    Some(pcap::time_us(head[HEADER_BYTES..length].try_into().ok()?))
}
