//! Files that are damaged or break off: no packet is made up, and a warning says how many bytes are not copied, and from where on.

use std::fs;

use packet_capture::{
    core::name::{PodName, Stem},
    files::{capture_dir::CaptureDir, pcap},
    reading::ring_reader::RingReader,
};
use serde_json::Value;

use crate::{
    readers::get::{entry, get, leave_state, node_with},
    support::{
        node::Node,
        packets::{HEADER_BYTES, SLL2, append, header, numbered, numbers, record, set_written, write},
    },
};

/// How many bytes a record of `numbered` has.
const RECORD: usize = 68;

/// What is said of one file that is not copied from some place on.
fn told(records: usize, rest: usize, file: &str) -> Vec<String> {
    let (place, bytes) = (HEADER_BYTES + records * RECORD, if rest == 1 { "byte was" } else { "bytes were" });
    vec![format!(
        "warning: 1 file was cut off within a packet or damaged; all packets before that were copied; {rest} {bytes} not copied, \
         from byte {place} of captres-web.pcap{file} on"
    )]
}

fn got(node: &Node) -> (Vec<u32>, Vec<String>) {
    let (out, said) = get(node, &["web"]);
    (numbers(&out), said.into_iter().filter(|line| !line.starts_with("note: ")).collect())
}

/// Leaves an entry that says so of its tcpdump.
fn leave_running(node: &Node, state: &str, running: bool) {
    let mut entry = entry();
    (entry["state"], entry["running"]) = (Value::from(state), Value::from(running));
    leave_state(node, &[entry]);
}

#[test]
fn get_warns_of_an_older_file_that_breaks_off_and_reads_all_others() {
    let torn = [numbered(1..4), numbered(4..5)[..20].to_vec()].concat();
    let node = node_with(&[("0", torn.clone()), ("1", numbered(5..7))]);
    assert_eq!(got(&node), (vec![1, 2, 3, 5, 6], told(3, 20, "0")));
    // As after a tcpdump that was killed, when the next one has no packet yet.
    let node = node_with(&[("0", vec![]), ("1", torn)]);
    set_written(&node.capture("captres-web.pcap1"), 1000).unwrap();
    assert_eq!(got(&node), (vec![1, 2, 3], told(3, 20, "1")));
    // Within its first packet.
    let node = node_with(&[("0", numbered(1..3)), ("1", numbered(3..4)[..9].to_vec())]);
    set_written(&node.capture("captres-web.pcap1"), 1000).unwrap();
    assert_eq!(got(&node), (vec![1, 2], told(0, 9, "1")));
}

#[test]
fn get_warns_of_bytes_that_tcpdump_cannot_have_written_in_any_file() {
    // Microseconds, what was kept, and of how much: more than a second has, than a packet, than there was, less than any packet.
    for header in [[4, 1_000_000, 52, 52], [4, 0, 262_145, 262_145], [4, 0, 52, 51], [4, 0, 19, 60], [0; 4]] {
        let damage = [header.map(u32::to_ne_bytes).concat(), numbered(4..6)].concat();
        let broken = [numbered(1..4), damage.clone()].concat();
        let node = node_with(&[("0", broken.clone()), ("1", numbered(6..7))]);
        assert_eq!(got(&node), (vec![1, 2, 3, 6], told(3, damage.len(), "0")), "{header:?}");
        assert_eq!(got(&node_with(&[("0", broken)])), (vec![1, 2, 3], told(3, damage.len(), "0")), "{header:?}");
    }
}

#[test]
fn get_makes_no_packets_of_nuls_that_a_loss_of_power_leaves() {
    for (records, nuls) in [(3, 4096), (3, 16), (3, 12), (0, 4096)] {
        let bytes = [numbered(1..=records), vec![0; nuls]].concat();
        let node = node_with(&[("0", bytes)]);
        let expected = (Vec::from_iter(1..=records), told(records as usize, nuls, "0"));
        assert_eq!(got(&node), expected, "{nuls} NULs after {records}");
        let status = node.run(&["status"]).1;
        assert!(!status.contains("2050") && !status.contains("20000d"), "{status}");
    }
    // In the middle of a packet, and over the next ones: what is whole comes, what is not is told.
    let mut bytes = numbered(1..101);
    bytes[30 * RECORD + 40..50 * RECORD].fill(0);
    let (numbers, said) = got(&node_with(&[("0", bytes)]));
    assert_eq!((numbers.len(), said), (31, told(31, 69 * RECORD, "0")));
}

#[test]
fn a_packet_longer_than_its_files_snaplen_is_damage() {
    let node = node_with(&[]);
    let mut head = header(SLL2);
    head[16..20].copy_from_slice(&52_u32.to_ne_bytes());
    let longer = record([3, 0], &[0; 53]);
    fs::write(node.capture("captres-web.pcap0"), [head, numbered(1..3), longer.clone()].concat()).unwrap();
    assert_eq!(got(&node), (vec![1, 2], told(2, longer.len(), "0")));
}

#[test]
fn the_newest_file_is_finished_once_no_tcpdump_runs() {
    // A length that may be one, and goes beyond the end; a packet and a header that are cut off.
    let longer = [[4_u32, 0, 200_000, 200_000].map(u32::to_ne_bytes).concat(), numbered(5..8)].concat();
    for rest in [longer, numbered(4..5)[..60].to_vec(), numbered(4..5)[..1].to_vec()] {
        let node = node_with(&[("0", [numbered(1..4), rest.clone()].concat())]);
        assert_eq!(got(&node), (vec![1, 2, 3], vec![]), "tcpdump may be about to write the rest");
        for state in ["finished", "paused"] {
            leave_running(&node, state, false);
            assert_eq!(got(&node), (vec![1, 2, 3], told(3, rest.len(), "0")), "{state}");
        }
    }
    let node = node_with(&[("", numbered(1..2)[..7].to_vec())]);
    leave_running(&node, "finished", false);
    assert_eq!(got(&node), (vec![], told(0, 7, "")));
}

#[test]
fn follow_warns_of_a_damaged_capture_once() {
    let node = node_with(&[("0", [numbered(1..4), vec![0; 4096]].concat()), ("1", numbered(5..7))]);
    leave_running(&node, "finished", false);
    append(&node.capture("captres-web.pcap1"), &numbered(7..8)[..30]);
    let (code, out, error) = node.run_bytes(&["follow", "web"]);
    assert_eq!((code, numbers(&out)), (0, vec![1, 2, 3, 5, 6]));
    let warnings: Vec<&str> = error.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert_eq!(
        warnings,
        [
            "warning: 2 files were cut off within a packet or damaged; all packets before that were copied; 4126 bytes were not copied, \
          the last of them from byte 160 of captres-web.pcap1 on"
        ]
    );
}

#[test]
fn a_file_of_another_link_type_is_not_opened_again_until_it_changes() {
    let node = node_with(&[("0", numbered(1..3))]);
    let (ring, stem) = (
        CaptureDir::at(&node.path("captures")),
        Stem::of(&PodName { namespace: "default".into(), name: "web".into() }),
    );
    let other = node.capture("captres-web.pcap1");
    fs::write(&other, [header(1), record([3, 0], &[0; 52])].concat()).unwrap();
    set_written(&other, 1000).unwrap();
    let mut reader = RingReader::new(&ring, &stem);
    reader.expect(Some(SLL2));
    let mut found = 0;
    let mut pass = || {
        let files = reader.look().unwrap();
        let take = &mut |_: pcap::Record| {
            found += 1;
            Ok(())
        };
        reader.read(&files, take).unwrap();
        (found, reader.losses.foreign)
    };
    assert_eq!((pass(), pass()), ((2, 1), (2, 1)));
    // Another content of the same length and time is not noticed: this shows that the file was not opened.
    write(&other, &numbered(4..5));
    set_written(&other, 1000).unwrap();
    assert_eq!(pass(), (2, 1));
    set_written(&other, 2000).unwrap();
    assert_eq!(pass(), (3, 1));
}
