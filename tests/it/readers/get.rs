//! `get`: what is in a capture's files, whole, in order, and told apart from what could not be read.

use std::{fs, os::unix::fs::symlink, path::Path};

use packet_capture::{
    core::name::{PodName, Stem},
    files::capture_dir::CaptureDir,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};

use crate::support::{
    node::Node,
    packets::{HEADER_BYTES, SLL2, append, header, numbered, numbers, read, record, set_written, write},
};

/// The state file's entry of `web`, which is at the address of the packets' pod.
pub fn entry() -> Value {
    json!({
        "namespace": "default", "pod": "web", "uid": "1", "sequence": 1, "state": "capturing", "running": true,
        "history": [{"since": "2026-01-02T03:04:05Z", "addresses": ["10.0.0.1"], "files": 5}],
    })
}

/// Leaves a state file with these entries, at once as the controller does it.
pub fn leave_state(node: &Node, entries: &[Value]) {
    node.leave(".state.json.new", &json!({"version": 2, "captures": entries}).to_string());
    fs::rename(node.capture(".state.json.new"), node.capture(".state.json")).unwrap();
}

/// A node on which `web` is captured, into these files.
pub fn node_with(files: &[(&str, Vec<u8>)]) -> Node {
    let node = Node::new();
    leave_state(&node, &[entry()]);
    for (end, records) in files {
        write(&node.capture(&format!("captres-web.pcap{end}")), records);
    }
    node
}

/// Runs `get`, which must succeed and count what it gives. Returns that, and its warnings and notes.
pub fn get(node: &Node, arguments: &[&str]) -> (Vec<u8>, Vec<String>) {
    let (code, out, error) = node.run_bytes(&[&["get"], arguments].concat());
    assert_eq!(code, 0, "{error}");
    let (mut said, json) = with_json(&error);
    assert_eq!(said.pop(), Some(counts(&out)));
    assert_eq!((&json["version"], &json["copy"]["end"]), (&json!(1), &json!("complete")));
    assert_eq!((&json["copy"]["packets"], &json["copy"]["bytes"]), (&json!(read(&out).1.len()), &json!(out.len())));
    let warnings = said.iter().filter(|line| line.starts_with("warning: ")).count();
    assert_eq!(json["copy"]["warnings"].as_array().unwrap().len(), warnings, "{json}");
    (out, said)
}

/// The lines on standard error, of which the last one must be JSON, in ASCII.
pub fn with_json(error: &str) -> (Vec<String>, Value) {
    let mut lines: Vec<String> = error.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_default();
    assert!(last.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{last}");
    (lines, serde_json::from_str(&last).unwrap_or_else(|_| panic!("no JSON at the end of {error}")))
}

/// What a copy says for people of this pcap file.
pub fn counts(out: &[u8]) -> String {
    let packets = read(out).1.len();
    format!("{packets} {}, {} bytes", if packets == 1 { "packet" } else { "packets" }, out.len())
}

/// The numbers of the packets that `get web` gives, and what it warns of.
fn got(node: &Node) -> (Vec<u32>, Vec<String>) {
    let (out, warnings) = get(node, &["web"]);
    assert_eq!(read(&out).0, SLL2);
    (numbers(&out), warnings)
}

fn quiet(numbers: impl IntoIterator<Item = u32>) -> (Vec<u32>, Vec<String>) {
    (numbers.into_iter().collect(), vec![])
}

#[test]
fn get_gives_packets_in_the_order_of_time_whatever_the_files_are_named() {
    // A ring that wrapped: index 1 holds the oldest.
    let node = node_with(&[("0", numbered(7..10)), ("1", numbered(1..4)), ("2", numbered(4..7))]);
    assert_eq!(got(&node), quiet(1..10));
    // Nor does it matter when they were written.
    set_written(&node.capture("captres-web.pcap1"), 4_000_000_000).unwrap();
    assert_eq!(got(&node), quiet(1..10));
    // With two digits, and those of another pod beside them.
    let node = node_with(&[("09", numbered(1..4)), ("10", numbered(4..7)), ("00", numbered(7..8))]);
    write(&node.capture("captres-web.pcap0.pcap0"), &numbered(1..100));
    write(&node.capture("captres-web_prod.pcap0"), &numbered(11..12));
    assert_eq!(got(&node), quiet(1..8));
    assert_eq!(numbers(&get(&node, &["prod/web"]).0), [11]);
}

#[test]
fn get_reads_a_ring_of_one_file_which_has_no_index() {
    assert_eq!(got(&node_with(&[("", numbered(1..4))])), quiet(1..4));
}

#[test]
fn get_reads_a_ring_that_was_renamed_as_one() {
    let node = node_with(&[("0", numbered(7..10)), ("1", numbered(1..4)), ("2", numbered(4..7))]);
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    for (seconds, index) in [(1, 1), (2, 2), (3, 0)] {
        set_written(&node.capture(&format!("captres-web.pcap{index}")), seconds).unwrap();
    }
    let ring = CaptureDir::at(&node.path("captures"));
    ring.prepare(&stem, 12).unwrap();
    write(&node.capture("captres-web.pcap00"), &numbered(10..12));
    assert_eq!(got(&node), quiet(1..12));
    ring.prepare(&stem, 2).unwrap();
    write(&node.capture("captres-web.pcap0"), &numbered(12..13));
    assert_eq!(got(&node), quiet(10..13));
}

#[test]
fn get_does_not_warn_of_files_without_a_packet() {
    let node = node_with(&[("0", numbered(1..3)), ("1", vec![]), ("2", vec![])]);
    fs::write(node.capture("captres-web.pcap2"), "").unwrap();
    fs::write(node.capture("captres-web.pcap3"), &header(SLL2)[..20]).unwrap();
    assert_eq!(got(&node), quiet(1..3));
}

#[test]
fn get_of_a_capture_without_a_packet_is_an_empty_pcap_file() {
    for files in [&[][..], &[("0", vec![])]] {
        let node = node_with(files);
        let (out, said) = get(&node, &["web"]);
        let empty = "note: capture of default/web: capturing: its files hold no packet yet".to_owned();
        assert_eq!((out, said), (header(SLL2), vec![empty]));
    }
}

#[test]
fn get_reads_files_without_an_entry() {
    let node = node_with(&[("0", numbered(1..4))]);
    leave_state(&node, &[]);
    assert_eq!(numbers(&get(&node, &["web", "--all"]).0), [1, 2, 3]);
    fs::remove_file(node.capture(".state.json")).unwrap();
    assert_eq!(numbers(&get(&node, &["web", "--all"]).0), [1, 2, 3]);
}

#[test]
fn get_leaves_out_a_packet_that_is_just_being_written() {
    let torn = numbered(7..9);
    for cut in [1, 8, 15, 16, 40, 60] {
        let newest = [numbered(4..7), torn[..cut].to_vec()].concat();
        assert_eq!(got(&node_with(&[("0", newest), ("1", numbered(1..4))])), quiet(1..7), "{cut} bytes");
    }
}

#[test]
fn get_opens_regular_files_only() {
    let node = node_with(&[("0", numbered(1..4))]);
    let elsewhere = node.path("elsewhere");
    write(&elsewhere, &numbered(4..7));
    symlink(&elsewhere, node.capture("captres-web.pcap1")).unwrap();
    symlink(node.path("captures"), node.capture("captres-web.pcap2")).unwrap();
    fs::create_dir(node.capture("captres-web.pcap3")).unwrap();
    mknodat(CWD, node.capture("captres-web.pcap4"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(got(&node), quiet(1..4));
}

#[test]
fn get_warns_of_a_file_of_another_kind_and_leaves_it_out() {
    let foreign = vec!["warning: 1 file was skipped: it is not a pcap file of the capture's link type".to_owned()];
    let records = [1_u32, 2, 3].map(|number| record([number, 0], &[0; 60])).concat();
    for other in [header(1), b"not a pcap file at all, ".to_vec(), header(SLL2).into_iter().rev().collect()] {
        let node = node_with(&[("0", numbered(1..4))]);
        fs::write(node.capture("captres-web.pcap1"), [other, records.clone()].concat()).unwrap();
        assert_eq!(got(&node), (vec![1, 2, 3], foreign.clone()));
    }
    // Where all are of that kind it is the capture's, and packets of it tell no interface.
    let node = node_with(&[]);
    fs::write(node.capture("captres-web.pcap0"), [header(1), records].concat()).unwrap();
    let (out, warnings) = get(&node, &["web"]);
    assert_eq!((read(&out).0, read(&out).1.len(), out.len()), (1, 3, HEADER_BYTES + 3 * 76));
    assert_eq!(
        warnings,
        [
            "warning: packets of link type 1 do not name their interface: all copies of each packet are shown, as with --all"
        ]
    );
}

#[test]
fn get_gives_a_packet_of_the_greatest_length_whole() {
    let node = node_with(&[("0", record([1, 0], &vec![7; 262_144])), ("1", numbered(2..3))]);
    let (out, _) = get(&node, &["web", "--all"]);
    let lengths: Vec<usize> = read(&out).1.iter().map(|read| read.packet.len()).collect();
    assert_eq!(lengths, [262_144, 52]);
}

#[test]
fn get_reads_the_ring_without_a_readable_state_file_and_warns() {
    let node = node_with(&[("0", numbered(1..4))]);
    for text in ["{", r#"{"version": 1, "captures": []}"#] {
        node.leave(".state.json", text);
        let (out, warnings) = get(&node, &["web"]);
        assert_eq!(numbers(&out), [1, 2, 3]);
        assert!(warnings[0].starts_with("warning: the pod's addresses are not known ("), "{warnings:?}");
        for arguments in [&["get", "other"][..], &["follow", "other"], &["status"]] {
            let (code, out, error) = node.run(arguments);
            let said = error.lines().last().unwrap_or_default();
            let sentence = "error: cannot read the captures of this node: ";
            assert!(code == 1 && out.is_empty() && said.starts_with(sentence), "{arguments:?}: {code} {error}");
        }
    }
}

#[test]
fn get_and_follow_refuse_an_invalid_name_with_exit_code_2() {
    let node = node_with(&[]);
    for name in
        ["../captures/captres-web", "a/b/c", "default/", "/web", "Web", "we*", "web_prod", ".", "", "we\u{1b}[2Jb"]
    {
        for verb in ["get", "follow"] {
            let (code, out, error) = node.run(&[verb, name]);
            let plain = !error.chars().any(|c| c.is_control() && c != '\n');
            assert!(
                code == 2 && out.is_empty() && plain && error.contains("not a valid pod name"),
                "{name:?}: {error}"
            );
        }
    }
}

#[test]
fn get_to_a_full_disk_is_exit_code_1_with_a_sentence() {
    let node = node_with(&[("0", numbered(1..4))]);
    let full = fs::OpenOptions::new().write(true).open(Path::new("/dev/full")).unwrap();
    let output = node.command().args(["get", "web"]).stdout(full).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let (said, json) = with_json(&error);
    assert_eq!(said, ["error: cannot write to standard output: No space left on device (os error 28)"]);
    assert_eq!(json["copy"]["end"], "failed");
    append(&node.capture("captres-web.pcap0"), &numbered(4..5));
    assert_eq!(got(&node), quiet(1..5));
}

#[test]
fn the_last_line_has_all_that_status_shows_of_the_capture() {
    let node = node_with(&[("0", numbered(1..3)), ("1", numbered(3..4))]).with("NODE_NAME", "node1");
    fs::write(node.capture("captres-web.pcap2"), [&header(1)[..], &record([9, 0], &[0; 60])].concat()).unwrap();
    let error = node.run_bytes(&["get", "web"]).2;
    // The kubectl plugin reads the numbers with a regular expression that expects these keys in this order.
    let begins = r#"{"version":1,"copy":{"end":"complete","packets":3,"bytes":228,"warnings":["#;
    assert!(error.lines().last().unwrap().starts_with(begins), "{error}");
    let (_, mut json) = with_json(&error);
    let mut status: Value = serde_json::from_str(&node.run(&["status", "-o", "json"]).1).unwrap();
    status["version"] = json!(1);
    let warnings = json!([{"kind": "foreign", "files": 1}]);
    status["copy"] = json!({"end": "complete", "packets": 3, "bytes": 24 + 3 * 68, "warnings": warnings});
    assert_eq!(json, status);
    assert_eq!((json["node"].take(), json["bytes"].take()), (json!("node1"), json!(2 * 24 + 3 * 68 + 24 + 76)));
    // Without an entry in the state file, only the copy can be described.
    leave_state(&node, &[]);
    let (_, json) = with_json(&node.run_bytes(&["get", "web", "--all"]).2);
    assert_eq!(json.as_object().unwrap().keys().collect::<Vec<_>>(), ["copy", "version"]);
}
