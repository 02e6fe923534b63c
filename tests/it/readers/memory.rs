//! A ring as large as they get, read in as little memory as a small one.

use std::{
    fs::File,
    io::{Read, Write},
    process::Stdio,
};

use packet_capture::core::name::{PodName, Stem};

use crate::{
    readers::get::{entry, leave_state, with_json},
    support::{
        node::Node,
        packets::{GONE, IN, PEER, POD, SLL2, header, record, udp},
        process::{peak_kb, state, until},
    },
};

const FILES: u16 = 1000;
const RECORDS: u32 = 700;
const DATA_BYTES: usize = 1376;
const RECORD_BYTES: usize = 16 + 48 + DATA_BYTES;
/// What the names and the beginnings of a thousand files take, with room; not two files.
const MORE_KB_MAX: u64 = 2 << 10;

/// Fills a ring of so many files on the disk, and not in memory.
fn fill(node: &Node, files: u16) {
    leave_state(node, &[entry()]);
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    for file in 0..files {
        let (first, mut bytes) = (u32::from(file) * RECORDS, header(SLL2));
        for number in first..first + RECORDS {
            let data = [&[b'.'; DATA_BYTES - 4][..], &number.to_be_bytes()].concat();
            bytes.extend(record([number, 0], &udp(GONE, IN, POD, PEER, &data)));
        }
        assert!(bytes.len() > 1_000_000);
        // The ring wrapped.
        let name = stem.file((file + files / 2) % files, files);
        File::create(node.capture(&name)).unwrap().write_all(&bytes).unwrap();
    }
}

/// Reads a ring of so many files, and returns the reader's peak memory at the beginning, in the middle and near the end, in kB.
fn peaks_kb(files: u16) -> Vec<u64> {
    let node = Node::new();
    fill(&node, files);
    let mut command = node.command();
    let mut child = command.args(["get", "web"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().try_into().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (packets, mut buffer, mut peaks) = (u32::from(files) * RECORDS, vec![0; RECORD_BYTES], Vec::new());
    stdout.read_exact(&mut buffer[..24]).unwrap();
    for number in 0..packets {
        stdout.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer[RECORD_BYTES - 4..], number.to_be_bytes());
        if [1, packets / 2, packets - RECORDS / 2].contains(&number) {
            // The pipe is full, and it waits until it is not.
            until("a reader that waits", || (state(pid) == Some('S')).then_some(()));
            peaks.push(peak_kb(pid));
        }
    }
    let (mut rest, mut said) = (Vec::new(), String::new());
    stdout.read_to_end(&mut rest).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success() && rest.is_empty(), "{said}");
    assert_eq!(with_json(&said).0, [format!("{packets} packets, {} bytes", packets as usize * RECORD_BYTES + 24)]);
    peaks
}

#[test]
#[ignore = "writes and reads 1 GB"]
fn get_of_a_thousand_files_takes_no_more_memory_than_of_one_however_slow_its_reader_is() {
    let [one, thousand] = [1, FILES].map(peaks_kb);
    println!("peak memory of get, in kB: of 1 file {one:?}, of {FILES} files {thousand:?}");
    assert!(thousand.iter().max() < one.iter().max().map(|peak| peak + MORE_KB_MAX).as_ref());
}
