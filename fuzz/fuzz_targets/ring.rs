//! A ring is read whole, in order and each record once, whatever happens to its files between two steps of the reader and within them.
//!
//! An input is a byte that chooses the writer, and then pairs of bytes, each something that is done. A writer that behaves does what
//! tcpdump and the controller do: it adds records, at once or in pieces, empties the next file and fills it, is killed and started
//! again on renamed files, and has them removed. One that does not also writes anything anywhere, and puts other things in their place.

#![no_main]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::{FileExt, symlink},
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use libfuzzer_sys::fuzz_target;
use packet_capture::{core::{annotations::SNAPLEN_MAX, name::{PodName, Stem}}, files::{capture_dir::CaptureDir, pcap}, reading::ring_reader::RingReader};

const COUNTS: [u16; 4] = [3, 1, 2, 12];
/// Longer inputs say nothing new.
const DONE_MAX: usize = 150;
/// So often a file is filled as far as tcpdump fills it; it takes its time.
const FULL_MAX: usize = 1;

static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let dir = PathBuf::from(format!("/dev/shm/packet-capture-fuzz-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
});

fuzz_target!(|input: &[u8]| {
    let Some((&writer, rest)) = input.split_first() else { return };
    clear();
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    let ring = CaptureDir::at(&DIR);
    let world = RefCell::new(World::new(&ring, &stem, writer));
    let done = RefCell::new(rest.chunks_exact(2).take(DONE_MAX));
    let mut reader = RingReader::new(&ring, &stem);
    let mut given = Given { last: 0, numbers: Vec::new() };
    let next = || done.borrow_mut().next().map(|done| (done[0], done[1]));
    while let Some((what, how)) = next() {
        if what < 0x30 {
            pass(&mut reader, &world, &mut given, usize::from(how % 4), &next);
        } else {
            world.borrow_mut().act(what, how);
        }
    }
    // What was written before must not be missing once nothing is done any more.
    world.borrow_mut().complete();
    world.borrow_mut().remember();
    // From here on none writes, so that the newest file is as finished as the others.
    reader.set_finished(true);
    pass(&mut reader, &world, &mut given, 0, &|| None);
    let world = world.into_inner();
    if world.behaves {
        for number in world.numbers_on_disk() {
            assert!(
                given.numbers.contains(&number),
                "{number} was not given out; {:?}, {:?}",
                given.numbers,
                reader.losses
            );
        }
    }
});

struct Given {
    last: u32,
    numbers: Vec<u32>,
}

/// Looks and reads as the program does, while things are done: some of them in between, and others with each record that comes.
fn pass(
    reader: &mut RingReader,
    world: &RefCell<World>,
    given: &mut Given,
    in_between: usize,
    next: &dyn Fn() -> Option<(u8, u8)>,
) {
    let files = reader.look().unwrap();
    let act = || {
        next().is_some_and(|(what, how)| {
            world.borrow_mut().act(what, how);
            what >= 0x80
        })
    };
    for _ in 0..in_between {
        act();
    }
    let mut bytes = 0;
    let read = reader.read(&files, &mut |record| {
        bytes += record.bytes().len() as u64;
        world.borrow().judge(record.bytes(), given);
        while act() {}
        Ok(())
    });
    assert_eq!(read.unwrap(), bytes);
}

struct World<'a> {
    ring: &'a CaptureDir,
    stem: &'a Stem,
    behaves: bool,
    count: u16,
    /// The file that is written to, once there is one.
    index: Option<u16>,
    /// What is still to come of the last record.
    pending: Vec<u8>,
    clock: u64,
    next: u32,
    full: usize,
    written: BTreeMap<u32, Vec<u8>>,
    /// All that files have held, where anything is written.
    stood: Vec<Vec<u8>>,
}

impl<'a> World<'a> {
    fn new(ring: &'a CaptureDir, stem: &'a Stem, writer: u8) -> Self {
        Self {
            ring,
            stem,
            behaves: writer & 1 == 0,
            count: COUNTS[usize::from(writer >> 1) % 4],
            index: None,
            pending: Vec::new(),
            clock: 1,
            next: 1,
            full: 0,
            written: BTreeMap::new(),
            stood: Vec::new(),
        }
    }

    fn act(&mut self, what: u8, how: u8) {
        match what % 16 {
            0..6 => self.add(usize::from(how), usize::MAX),
            6 => self.add(32, usize::from(how)),
            7 | 8 => self.rotate(how),
            9 => self.restart(COUNTS[usize::from(how) % 4], how & 0x80 != 0),
            10 if self.behaves && self.full < FULL_MAX => {
                self.full += 1;
                (0..4).for_each(|_| self.add(250_100, usize::MAX));
            }
            11 if how < 0x40 => {
                self.ring.remove(self.stem).unwrap();
                (self.index, self.pending) = (None, Vec::new());
            }
            12.. if !self.behaves => self.misbehave(what, how),
            _ => self.complete(),
        }
        self.remember();
    }

    fn remember(&mut self) {
        if !self.behaves {
            let there = self.ring.files(self.stem).unwrap().into_iter().filter(|file| file.bytes.is_some());
            self.stood.extend(there.filter_map(|file| fs::read(DIR.join(file.name)).ok()));
            self.stood.dedup();
        }
    }

    fn path(&self) -> PathBuf {
        DIR.join(self.stem.file(self.index.unwrap_or_default(), self.count))
    }

    fn tick(&mut self, file: &File) {
        self.clock += 1;
        file.set_modified(UNIX_EPOCH + Duration::from_micros(self.clock)).unwrap();
    }

    fn append(&mut self, bytes: &[u8]) {
        // One that does not behave may have taken the file away, or put something else there.
        let Ok(mut file) = OpenOptions::new().append(true).open(self.path()) else { return };
        file.write_all(bytes).unwrap();
        self.tick(&file);
    }

    /// Writes what is still to come of a record.
    fn complete(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_empty() {
            self.append(&pending);
        }
    }

    /// Writes a record, or the beginning of one.
    fn add(&mut self, length: usize, at_once: usize) {
        self.complete();
        if self.index.is_none() {
            self.restart(self.count, true);
        }
        let record = record(self.next, length);
        let (now, later) = record.split_at(at_once.min(record.len()));
        self.append(now);
        self.pending = later.to_vec();
        self.written.insert(self.next, record);
        self.next += 1;
    }

    /// Empties the next file and begins it anew.
    fn rotate(&mut self, how: u8) {
        self.complete();
        let Some(index) = self.index else { return };
        self.index = Some((index + 1) % self.count);
        self.begin(how & 0x80 != 0);
        if how & 1 == 0 {
            self.add(usize::from(how), usize::MAX);
        }
    }

    fn begin(&mut self, with_header: bool) {
        let Ok(mut file) = File::create(self.path()) else { return };
        if with_header {
            file.write_all(&pcap::header(pcap::LINUX_SLL2)).unwrap();
            self.tick(&file);
        } else {
            self.tick(&file);
            self.pending = pcap::header(pcap::LINUX_SLL2).to_vec();
        }
    }

    /// Kills tcpdump and starts it again, for a ring of so many files.
    fn restart(&mut self, count: u16, with_header: bool) {
        self.pending.clear();
        match self.ring.prepare(self.stem, count) {
            Err(error) => assert!(!self.behaves, "{error}"),
            Ok(_) => (self.count, self.index) = (count, Some(0)),
        }
        self.begin(with_header);
    }

    fn misbehave(&mut self, what: u8, how: u8) {
        let path = |which: u8| DIR.join(self.stem.file(u16::from(which) % self.count, self.count));
        let _ = match what % 16 {
            12 => OpenOptions::new().write(true).open(path(how)).and_then(|file| {
                file.set_len(u64::from(what) + u64::from(how))?;
                self.tick(&file);
                Ok(())
            }),
            13 => OpenOptions::new().write(true).create(true).open(path(how)).and_then(|file| {
                let anything = [[what; 40], [how; 40]].concat();
                file.write_all_at(&anything[..usize::from(how >> 1).min(80)], u64::from(what) * 2)?;
                self.tick(&file);
                Ok(())
            }),
            14 => fs::rename(path(what), path(how)),
            _ => {
                let _ = fs::remove_file(path(what));
                match how % 4 {
                    0 => fs::create_dir(path(what)),
                    1 => symlink(path(how), path(what)),
                    2 => fs::hard_link(path(how), path(what)),
                    _ => Ok(()),
                }
            }
        };
    }

    /// Fails if a record that was given out is not one, or not in its turn.
    fn judge(&self, record: &[u8], given: &mut Given) {
        let kept = u32::from_ne_bytes(record[8..12].try_into().unwrap());
        assert!(record.len() == 16 + kept as usize && kept <= SNAPLEN_MAX);
        if self.behaves {
            let number = u32::from_ne_bytes(record[..4].try_into().unwrap());
            assert_eq!(self.written.get(&number).map(Vec::as_slice), Some(record), "nobody wrote that");
            assert!(given.last < number, "{number} after {}", given.last);
            given.last = number;
            given.numbers.push(number);
        } else if record.len() < 1000 {
            let stood = |held: &Vec<u8>| held.windows(record.len()).any(|part| part == record);
            assert!(self.stood.iter().rev().any(stood), "nobody wrote {record:?}");
        }
    }

    /// The numbers of the whole records in the files.
    fn numbers_on_disk(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        for file in self.ring.files(self.stem).unwrap() {
            let held = fs::read(DIR.join(file.name)).unwrap();
            let mut rest = held.get(pcap::HEADER_BYTES..).unwrap_or_default();
            while let pcap::Next::Record(record) = pcap::next(rest) {
                numbers.push(u32::from_ne_bytes(record.bytes()[..4].try_into().unwrap()));
                rest = &rest[record.bytes().len()..];
            }
        }
        numbers
    }
}

/// What tcpdump itself writes of the way of each packet, in bytes: no record is shorter.
const WAY_BYTES: usize = 20;

/// The record with this number: it is its time, and its packet begins with it.
fn record(number: u32, length: usize) -> Vec<u8> {
    let length = length + WAY_BYTES;
    let kept = u32::try_from(length).unwrap();
    let mut record = [number, 0, kept, kept, number].map(u32::to_ne_bytes).concat();
    record.resize(pcap::RECORD_HEADER_BYTES + length, b'.');
    record
}

fn clear() {
    for entry in fs::read_dir(&*DIR).unwrap() {
        let path = entry.unwrap().path();
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
    }
}
