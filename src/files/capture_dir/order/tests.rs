//! A ring as tcpdump writes it, by a clock that is set to anything, and restarts in between.

use super::*;
use crate::{
    core::name::{PodName, Stem},
    files::{
        capture_dir::renumber::{Step, renumber},
        pcap::LINUX_SLL2,
    },
};

const HOUR_S: i64 = 3600;

fn web() -> Stem {
    Stem::of(&PodName { namespace: "default".into(), name: "web".into() })
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn count(&mut self) -> u16 {
        u16::try_from(1 + self.below(13)).unwrap()
    }
}

/// How the last file of a tcpdump is left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Partial,
    Full,
    WithoutPacket,
}

/// The directory, and the truth about it: when each file was written, in turn.
#[derive(Default)]
struct Disk {
    files: Vec<(Found, u64)>,
    record: Option<Record>,
    written: u64,
    inodes: u64,
    clock_s: i64,
}

impl Disk {
    fn new() -> Self {
        Self { clock_s: 1_700_000_000, ..Self::default() }
    }

    /// A tcpdump writes so many files in turn. Before each the clock goes on, and is set to something else if `step` says so.
    fn write(&mut self, count: u16, files: u64, last: Last, mut step: impl FnMut() -> i64) {
        for n in 0..files {
            self.clock_s += 7 + step();
            let name = web().file(u16::try_from(n % u64::from(count)).unwrap(), count);
            let bytes = match last {
                _ if n + 1 < files => MB + 60,
                Last::Partial => MB / 2,
                Last::Full => MB + 1,
                Last::WithoutPacket => HEADER_BYTES as u64,
            };
            let mut head = [0; HEAD_BYTES];
            head[..HEADER_BYTES].copy_from_slice(&pcap::header(LINUX_SLL2));
            if bytes > EMPTY_BYTES_MAX {
                head[HEADER_BYTES..][..4].copy_from_slice(&u32::try_from(self.clock_s).unwrap().to_ne_bytes());
            }
            let written_ns = i128::from(self.clock_s + 5) * 1_000_000_000;
            // One that is there already is emptied, and keeps its inode.
            let before = self.files.iter().position(|(found, _)| found.file.name == name);
            let inode = before.map(|at| self.files.remove(at).0.file.inode);
            self.inodes += 1;
            let file = File { name, written_ns, bytes: Some(bytes), inode: inode.unwrap_or(self.inodes) };
            self.written += 1;
            self.files.push((Found { file, head }, self.written));
        }
    }

    /// What `CaptureDir::prepare` does, up to a crash after so many steps. True: it came to its end.
    fn prepare(&mut self, count: u16, steps_max: usize) -> bool {
        let ordered = order(self.files.iter().map(|(found, _)| found.clone()).collect(), self.record.as_ref());
        self.record = Some(Record::of(&ordered, count));
        let files: Vec<&File> = ordered.iter().map(|found| &found.file).collect();
        let steps = renumber(&files, &web(), count);
        for step in steps.iter().take(steps_max) {
            match step {
                Step::Drop(name) => self.files.retain(|(found, _)| found.file.name != *name),
                Step::Rename(from, to) => {
                    let file = self.files.iter_mut().find(|(found, _)| found.file.name == *from);
                    file.unwrap().0.file.name.clone_from(to);
                }
            }
        }
        steps.len() <= steps_max
    }

    /// When the files with a packet were written, the oldest first.
    fn truth(&self) -> Vec<u64> {
        let mut truth: Vec<u64> =
            self.files.iter().filter(|(found, _)| found.has_packet()).map(|(_, turn)| *turn).collect();
        truth.sort_unstable();
        truth
    }

    /// The same in the order of the indices.
    fn by_index(&self) -> Vec<u64> {
        let mut files: Vec<(&str, u64)> =
            self.files.iter().map(|(found, turn)| (found.file.name.as_str(), *turn)).collect();
        files.sort_unstable();
        files.into_iter().map(|(_, turn)| turn).collect()
    }

    /// Makes the ring ready, and fails unless exactly the newest stay, in their order.
    fn keeps_the_newest(&mut self, count: u16, crash_after: usize, what: &str) {
        let mut expected = self.truth();
        expected.drain(..expected.len().saturating_sub(count.into()));
        if !self.prepare(count, crash_after) {
            assert!(self.prepare(count, usize::MAX));
        }
        assert_eq!(self.by_index(), expected, "{what}");
    }
}

#[test]
fn the_newest_stay_whatever_the_clock_is_set_to() {
    let mut random = Random(0x2545_F491_4F6C_DD1D);
    for round in 0..3000 {
        let mut disk = Disk::new();
        let mut count = random.count();
        disk.prepare(count, usize::MAX);
        for restart in 0..6 {
            let files = random.below(2 * u64::from(count) + 3);
            let honest = random.below(2) == 0;
            let last = match random.below(4) {
                // A ring that is all full does not tell where it ends, but by its times.
                0 if files < u64::from(count) || honest => Last::Full,
                1 => Last::WithoutPacket,
                _ => Last::Partial,
            };
            // Between two of them it may be set to anything.
            disk.clock_s += i64::try_from(random.below(200)).unwrap() * HOUR_S - 100 * HOUR_S;
            disk.write(count, files, last, || match random.below(5) {
                0 if !honest => i64::try_from(random.below(20)).unwrap() * HOUR_S - 10 * HOUR_S,
                _ => 0,
            });
            count = random.count();
            let crash_after = usize::try_from(random.below(12)).unwrap();
            disk.keeps_the_newest(count, crash_after, &format!("round {round}, restart {restart}"));
        }
    }
}

#[test]
fn a_file_from_the_future_is_not_the_newest_for_ever() {
    let mut disk = Disk::new();
    disk.prepare(3, usize::MAX);
    disk.write(3, 1, Last::Partial, || 24 * HOUR_S);
    disk.keeps_the_newest(3, usize::MAX, "one file");
    disk.clock_s -= 24 * HOUR_S;
    for turn in 2..6 {
        disk.write(3, 1, Last::Partial, || 0);
        disk.keeps_the_newest(3, usize::MAX, "and another");
        assert_eq!(disk.by_index(), (turn - 2_u64.min(turn - 1)..=turn).collect::<Vec<_>>());
    }
}

#[test]
fn where_nothing_was_written_down_the_packets_times_count_before_the_files() {
    let mut disk = Disk::new();
    disk.write(5, 3, Last::Partial, || 0);
    // Touched by somebody.
    disk.files[0].0.file.written_ns = i128::MAX;
    disk.keeps_the_newest(2, usize::MAX, "by packets");

    let mut disk = Disk::new();
    disk.write(5, 3, Last::Partial, || 0);
    disk.files.iter_mut().for_each(|(found, _)| found.head = [b'x'; HEAD_BYTES]);
    disk.files.reverse();
    disk.keeps_the_newest(2, usize::MAX, "by the files' times");
}

#[test]
fn a_crash_before_the_first_step_makes_no_old_file_a_new_one() {
    let mut disk = Disk::new();
    disk.prepare(5, usize::MAX);
    disk.write(5, 5, Last::Partial, || 0);
    assert!(!disk.prepare(2, 0));
    disk.keeps_the_newest(2, usize::MAX, "after the crash");
}
