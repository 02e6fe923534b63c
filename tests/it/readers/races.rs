//! Readers of a ring while a thread writes it as tcpdump does: it empties files in place and fills them again, and now and then it starts
//! again on files that were renamed as `files::capture_dir` does it.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use packet_capture::{
    core::name::{PodName, Stem},
    files::capture_dir::CaptureDir,
    reading::ring_reader::{Losses, RingReader},
};

use crate::{
    readers::get::{counts, with_json},
    support::{
        node::Node,
        packets::{GONE, IN, PEER, POD, SLL2, header, number, numbers, record, udp},
    },
};

const FILES: u16 = 12;
const FILE_BYTES: usize = 64_000;
/// So many files are filled before tcpdump is started anew.
const FILES_A_START: u32 = 40;

fn web() -> Stem {
    Stem::of(&PodName { namespace: "default".into(), name: "web".into() })
}

/// Writes records whose numbers rise, until it is told to end. Returns the last number.
fn write_ring(dir: &Path, over: &AtomicBool, restarts: bool) -> u32 {
    let (ring, stem, mut next, mut starts) = (CaptureDir::at(dir), web(), 1, 0);
    while !over.load(Ordering::Relaxed) {
        ring.prepare(&stem, FILES).unwrap();
        for file in 0..if restarts { FILES_A_START } else { u32::MAX } {
            let index = u16::try_from(file % u32::from(FILES)).unwrap();
            let path = dir.join(stem.file(index, FILES));
            fill(&path, &mut next, starts);
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
        starts += 1;
    }
    next - 1
}

/// Fills one file as `tcpdump -U` does: each record is written at once, those above 4 kB in pieces, the header with the first.
fn fill(path: &Path, next: &mut u32, start: u32) {
    let mut file = BufWriter::with_capacity(4096, File::create(path).unwrap());
    file.write_all(&header(SLL2)).unwrap();
    let mut length = 24;
    while length <= FILE_BYTES {
        let data = vec![b'.'; 100 + (*next as usize * 7919) % if next.is_multiple_of(50) { 9000 } else { 900 }];
        let packet = udp(GONE, IN, POD, PEER, &[data.as_slice(), &next.to_be_bytes()].concat());
        let record = record([*next / 1_000_000, *next % 1_000_000], &packet);
        file.write_all(&record).unwrap();
        file.flush().unwrap();
        length += record.len();
        *next += 1;
    }
    // A tcpdump that is killed may leave a record that is not whole.
    if start % 3 == 2 && next.is_multiple_of(40) {
        file.write_all(&[1; 9]).unwrap();
    }
    thread::yield_now();
}

/// Fails if the numbers do not rise. Returns how many there were.
fn rise(what: &str, numbers: &[u32]) -> usize {
    for two in numbers.windows(2) {
        assert!(two[0] < two[1], "{what}: {} is followed by {}", two[0], two[1]);
    }
    numbers.len()
}

/// One reader for each pass, as `get` does. Returns how many packets it has read. What a restart overwrites is not always the oldest here,
/// where many files are written in one tick of the clock, so then something may be lacking in the middle.
fn get_in_library(dir: &Path, restarts: bool) -> (usize, Losses) {
    let (ring, stem) = (CaptureDir::at(dir), web());
    let mut reader = RingReader::new(&ring, &stem);
    let (mut read, mut counted) = (Vec::new(), 0);
    let files = reader.look().unwrap();
    let bytes = reader.read(&files, &mut |record| {
        counted += record.bytes().len() as u64;
        read.push(number(record.packet()));
        Ok(())
    });
    assert_eq!(bytes.unwrap(), counted);
    let gap = read.windows(2).find(|two| two[0] + 1 < two[1]);
    assert!(
        restarts || gap.is_none() || reader.losses != Losses::default(),
        "nothing is said of what is lacking: {gap:?}"
    );
    (rise("a reader that reads once", &read), reader.losses)
}

/// Races readers with a writer for a time. Returns how many results there were, and packets in them.
fn race(node: &Node, time: Duration, restarts: bool) -> [u32; 3] {
    let dir: PathBuf = node.path("captures");
    node.leave(
        ".state.json",
        r#"{"version": 2, "captures": [{"namespace": "default", "pod": "web", "uid": "1", "sequence": 1}]}"#,
    );
    let (over, reads) = (AtomicBool::new(false), [const { AtomicU32::new(0) }; 3]);
    let end = Instant::now() + time;
    let until_end = |which: usize, work: &mut dyn FnMut() -> usize| {
        let _end_with_this = EndsWithThis(&over);
        while Instant::now() < end && !over.load(Ordering::Relaxed) {
            let packets = u32::try_from(work()).unwrap();
            reads[which].fetch_add(packets, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| write_ring(&dir, &over, restarts));
        scope.spawn(|| until_end(0, &mut || get_in_library(&dir, restarts).0));
        scope.spawn(|| {
            let (ring, stem, mut last) = (CaptureDir::at(&dir), web(), 0);
            let mut reader = RingReader::new(&ring, &stem);
            until_end(1, &mut || {
                let mut packets = 0;
                let files = reader.look().unwrap();
                let read = reader.read(&files, &mut |record| {
                    let number = number(record.packet());
                    assert!(last < number, "a reader that follows: {last} is followed by {number}");
                    (last, packets) = (number, packets + 1);
                    Ok(())
                });
                read.unwrap();
                packets
            });
        });
        until_end(2, &mut || {
            let (code, out, error) = node.run_bytes(&["get", "web", "--all"]);
            assert_eq!((code, with_json(&error).0.pop()), (0, Some(counts(&out))), "{error}");
            rise("the binary", &numbers(&out))
        });
    });
    let _ = fs::remove_file(dir.join(".state.json"));
    reads.map(AtomicU32::into_inner)
}

/// Tells the others to end, however this ends.
struct EndsWithThis<'a>(&'a AtomicBool);

impl Drop for EndsWithThis<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_ring_that_turns_is_read_in_order_whole_and_never_twice() {
    let reads = race(&Node::new(), Duration::from_millis(1500), false);
    assert!(reads.iter().all(|packets| *packets > 0), "{reads:?}");
}

#[test]
fn a_ring_on_which_tcpdump_restarts_is_read_in_order_whole_and_never_twice() {
    let reads = race(&Node::new(), Duration::from_millis(1500), true);
    assert!(reads.iter().all(|packets| *packets > 0), "{reads:?}");
}

#[test]
fn a_ring_that_is_renamed_all_the_time_is_read_to_its_newest_packet() {
    const RENAMED: u16 = 30;
    let node = Node::new();
    let (dir, over, mut next) = (node.path("captures"), AtomicBool::new(false), 1);
    (0..RENAMED).for_each(|index| fill(&dir.join(web().file(index, RENAMED)), &mut next, 0));
    let end = Instant::now() + Duration::from_secs(1);
    thread::scope(|scope| {
        let _end_with_this = EndsWithThis(&over);
        scope.spawn(|| {
            // Another width of the index gives all of them other names, and back.
            while !over.load(Ordering::Relaxed) {
                for count in [RENAMED, 101] {
                    CaptureDir::at(&dir).prepare(&web(), count).unwrap();
                }
            }
        });
        while Instant::now() < end {
            let (packets, losses) = get_in_library(&dir, false);
            // Renamed without end, a file may never be found; not without a word.
            let all = packets == next as usize - 1;
            assert!(all || losses.removed > 0, "{packets} of {}, and nothing is said of it", next - 1);
        }
    });
}

#[test]
#[ignore = "a soak of a minute: the same races as above, for longer"]
fn a_ring_is_read_in_order_whole_and_never_twice_for_a_minute() {
    let reads = [false, true].map(|restarts| race(&Node::new(), Duration::from_secs(30), restarts));
    println!("packets read once, followed, and by the binary, without and with restarts: {reads:?}");
}
