//! `follow`: a capture's packets as they come, until the capture or the reader ends.

use std::{
    fs::{self, File},
    io::{Read, pipe},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use packet_capture::{
    core::name::{PodName, Stem},
    files::capture_dir::CaptureDir,
    reading::{
        copy::{CopyRequest, copy},
        output::{AtInputEnd, Output},
    },
};
use serde_json::json;

use crate::{
    readers::get::{counts, entry, leave_state, node_with, with_json},
    support::{
        node::Node,
        packets::{HEADER_BYTES, append, header, number, numbered, read_so_far, record, write},
        process::until,
    },
};

/// A `follow` that runs.
struct Follow {
    child: Killed,
    stdin: Option<ChildStdin>,
    received: Arc<Mutex<Vec<u8>>>,
    receiver: Option<thread::JoinHandle<()>>,
}

impl Follow {
    fn start(node: &Node, arguments: &[&str]) -> Self {
        Self::start_with(node, arguments, Stdio::piped())
    }

    fn start_with(node: &Node, arguments: &[&str], stdin: Stdio) -> Self {
        let mut command = node.command();
        command.args([&["follow"], arguments].concat()).stdin(stdin).stdout(Stdio::piped());
        let mut child = command.stderr(File::create(node.path("said")).unwrap()).spawn().unwrap();
        let (stdin, received) = (child.stdin.take(), Arc::<Mutex<Vec<u8>>>::default());
        let (mut stdout, receiving) = (child.stdout.take().unwrap(), Arc::clone(&received));
        let receiver = thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                receiving.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Self { child: Killed(child), stdin, received, receiver: Some(receiver) }
    }

    fn numbers(&self) -> Vec<u32> {
        let received = self.received.lock().unwrap();
        let records = read_so_far(&received).map(|((_, records), _)| records).unwrap_or_default();
        records.iter().map(|read| number(&read.packet)).collect()
    }

    fn until_came(&self, expected: impl IntoIterator<Item = u32>) {
        let expected: Vec<u32> = expected.into_iter().collect();
        until(&format!("{expected:?}"), || {
            let numbers = self.numbers();
            assert!(numbers.len() <= expected.len() && expected.starts_with(&numbers), "{numbers:?}");
            (numbers == expected).then_some(())
        });
    }

    /// Waits for its end: the exit code, and what it said.
    fn until_ended(&mut self, node: &Node) -> (Option<i32>, String) {
        let status = until("the end of follow", || self.child.0.try_wait().unwrap());
        // What is still in the pipe.
        self.receiver.take().into_iter().for_each(|receiver| receiver.join().unwrap());
        (status.code(), fs::read_to_string(node.path("said")).unwrap())
    }

    /// Waits for its end with exit code 0, for this reason. It must have said the counts of what came, and nothing else but notes.
    /// Returns the notes.
    fn until_ended_well(&mut self, node: &Node, end: &str) -> Vec<String> {
        let (code, said) = self.until_ended(node);
        let (lines, json) = with_json(&said);
        let (notes, said): (Vec<String>, Vec<String>) = lines.into_iter().partition(|line| line.starts_with("note: "));
        assert_eq!((code, said), (Some(0), vec![counts(&self.received.lock().unwrap())]));
        assert_eq!(json["copy"]["end"], end);
        notes
    }
}

/// A child that does not survive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn file(node: &Node, index: u32) -> std::path::PathBuf {
    node.capture(&format!("captres-web.pcap{index}"))
}

#[test]
fn follow_gives_each_packet_once_over_rotations_and_restarts() {
    let node = node_with(&[("0", vec![])]);
    let mut follow = Follow::start(&node, &["web"]);
    until("the header", || (*follow.received.lock().unwrap() == header(276)).then_some(()));
    append(&file(&node, 0), &numbered(1..4));
    follow.until_came(1..4);
    // In pieces.
    let torn = numbered(4..6);
    append(&file(&node, 0), &torn[..80]);
    follow.until_came(1..5);
    append(&file(&node, 0), &torn[80..]);
    follow.until_came(1..6);
    // To the next file, and with the last of the one before.
    append(&file(&node, 0), &numbered(6..8));
    write(&file(&node, 1), &numbered(8..10));
    write(&file(&node, 2), &numbered(10..11));
    follow.until_came(1..11);
    // Once around.
    write(&file(&node, 0), &numbered(11..13));
    write(&file(&node, 1), &numbered(13..14));
    follow.until_came(1..14);
    // tcpdump is started again, for a ring of more files.
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    CaptureDir::at(&node.path("captures")).prepare(&stem, 12).unwrap();
    write(&node.capture("captres-web.pcap00"), &[]);
    append(&node.capture("captres-web.pcap00"), &numbered(14..15));
    follow.until_came(1..15);
    CaptureDir::at(&node.path("captures")).prepare(&stem, 12).unwrap();
    write(&node.capture("captres-web.pcap00"), &numbered(15..16));
    follow.until_came(1..16);
    drop(follow.stdin.take());
    follow.until_ended_well(&node, "interrupted");
}

#[test]
fn follow_of_a_ring_of_one_file_that_it_reads_in_time_has_no_loss() {
    let node = node_with(&[("", vec![])]);
    let mut follow = Follow::start(&node, &["web", "--all"]);
    // Full, as `-C 1` has it.
    let full: Vec<u8> =
        (1..21).flat_map(|number| record([number, 0], &[&[0; 50_000][..], &number.to_be_bytes()].concat())).collect();
    append(&node.capture("captres-web.pcap"), &full);
    follow.until_came(1..21);
    write(&node.capture("captres-web.pcap"), &numbered(21..22));
    follow.until_came(1..22);
    leave_state(&node, &[]);
    follow.until_ended_well(&node, "capture_ended");
}

#[test]
fn follow_counts_no_loss_when_a_file_is_emptied_that_it_has_read() {
    let node = node_with(&[("0", numbered(1..4)), ("1", numbered(4..7))]);
    let mut follow = Follow::start(&node, &["web"]);
    follow.until_came(1..7);
    // As tcpdump leaves it when it is started.
    write(&file(&node, 0), &[]);
    append(&file(&node, 1), &numbered(7..8));
    follow.until_came(1..8);
    append(&file(&node, 0), &numbered(8..9));
    follow.until_came(1..9);
    drop(follow.stdin.take());
    follow.until_ended_well(&node, "interrupted");
}

#[test]
fn follow_ends_with_the_capture_and_gives_its_last_packet() {
    let other = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut entry = entry();
        change(&mut entry);
        vec![entry]
    };
    let gone = "ended: its annotation was removed, or its pod is gone";
    for (entries, note) in [
        (vec![], gone),
        (other(&|entry| entry["state"] = "finished".into()), "finished"),
        (other(&|entry| entry["state"] = "missed".into()), "missed"),
        (other(&|entry| entry["uid"] = "2".into()), gone),
    ] {
        let node = node_with(&[("0", numbered(1..4)), ("1", numbered(4..7))]);
        let mut follow = Follow::start(&node, &["web"]);
        follow.until_came(1..7);
        append(&file(&node, 1), &numbered(7..9));
        // In this order: it must not have been seen to end before.
        for index in 0..2 {
            fs::remove_file(file(&node, index)).unwrap();
        }
        leave_state(&node, &entries);
        assert_eq!(follow.until_ended_well(&node, "capture_ended"), [format!("note: capture of default/web: {note}")]);
        assert_eq!(follow.numbers(), Vec::from_iter(1..9));
    }
}

#[test]
fn follow_is_not_ended_by_a_state_file_that_cannot_be_read() {
    let node = node_with(&[("0", numbered(1..4))]);
    let mut follow = Follow::start(&node, &["web"]);
    follow.until_came(1..4);
    node.leave(".state.json", "{");
    append(&file(&node, 0), &numbered(4..5));
    follow.until_came(1..5);
    fs::remove_file(node.capture(".state.json")).unwrap();
    append(&file(&node, 0), &numbered(5..6));
    follow.until_came(1..6);
    leave_state(&node, &[entry()]);
    append(&file(&node, 0), &numbered(6..7));
    follow.until_came(1..7);
    leave_state(&node, &[]);
    follow.until_ended_well(&node, "capture_ended");
}

#[test]
fn follow_ends_with_exit_code_0_when_its_reader_goes() {
    // Nothing to show, and nothing yet to begin with.
    for files in [&[][..], &[("0", vec![])], &[("0", numbered(1..4))]] {
        let node = node_with(files);
        let mut follow = Follow::start(&node, &["web"]);
        drop(follow.stdin.take());
        let (code, said) = follow.until_ended(&node);
        assert!(code == Some(0) && !said.contains("error"), "{said}");
    }
    // Standard output closed: while it waits, and while it writes more than a pipe holds.
    let more: Vec<u8> = (1..41).flat_map(|number| record([number, 0], &[0; 50_000])).collect();
    for records in [numbered(1..4), more] {
        let node = node_with(&[("0", records)]);
        let mut command = node.command();
        command.args(["follow", "web", "--all"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut header = [0; HEADER_BYTES];
        child.stdout.take().unwrap().read_exact(&mut header).unwrap();
        let ended = until("its end", || child.try_wait().unwrap());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(ended.code() == Some(0) && !said.contains("error"), "{ended} {said}");
    }
}

#[test]
fn follow_ends_when_the_other_end_of_its_socket_is_closed() {
    let node = node_with(&[("0", numbered(1..4))]);
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = node.command();
    command.args(["follow", "web"]).stdin(Stdio::piped()).stdout(OwnedFd::from(theirs)).stderr(Stdio::null());
    let mut child = Killed(command.spawn().unwrap());
    drop(command);
    (&ours).read_exact(&mut [0; HEADER_BYTES + 3 * 68]).unwrap();
    drop(ours);
    let ended = until("its end", || child.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn get_whose_reader_goes_is_exit_code_1_with_a_sentence() {
    let more: Vec<u8> = (1..41).flat_map(|number| record([number, 0], &[0; 50_000])).collect();
    let node = node_with(&[("0", more)]);
    let mut command = node.command();
    let mut child =
        command.args(["get", "web", "--all"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; HEADER_BYTES]).unwrap();
    let ended = until("its end", || child.try_wait().unwrap());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let (lines, json) = with_json(&said);
    assert_eq!((ended.code(), lines), (Some(1), vec!["error: the reader closed the connection".to_owned()]));
    assert_eq!(json["copy"]["end"], "interrupted");
}

#[test]
fn a_copy_whose_reader_stalls_says_so_in_its_error_and_in_its_json() {
    let more: Vec<u8> = (1..41).flat_map(|number| record([number, 0], &[0; 50_000])).collect();
    let node = node_with(&[("0", more)]);
    let pod = PodName { namespace: "default".into(), name: "web".into() };
    let ((_unread, out), (open, _open), null) = (pipe().unwrap(), pipe().unwrap(), File::open("/dev/null").unwrap());
    let closed = "ended after 0 s: standard input is closed, ";
    for (follow, at_input_end, input, error) in [
        (false, AtInputEnd::GoOn, null.as_fd(), "the reader has read nothing for 0 s"),
        (true, AtInputEnd::End, open.as_fd(), "the reader has read nothing for 0 s"),
        (true, AtInputEnd::End, null.as_fd(), closed),
    ] {
        let output = Output::new(out.as_fd(), input, at_input_end, Duration::from_millis(50)).unwrap();
        let request = CopyRequest { pod: &pod, all: true, follow, link_type: None, node: "node1" };
        let mut remarks = vec![];
        let copied = copy(&node.path("captures"), &request, output, &mut |remark| remarks.push(remark)).unwrap();
        let found = copied.result.unwrap_err().to_string();
        assert!(found.starts_with(error), "{found}");
        assert_eq!(remarks.len(), usize::from(error == closed), "{remarks:?}");
        let json: serde_json::Value = serde_json::from_str(&copied.json).unwrap();
        assert_eq!((&json["copy"]["end"], &json["node"]), (&json!("interrupted"), &json!("node1")));
    }
}

#[test]
fn the_last_line_has_the_condition_at_the_end_of_the_copy() {
    let node = node_with(&[("0", numbered(1..4))]);
    let pod = PodName { namespace: "default".into(), name: "web".into() };
    let entry_of = |state: &str| {
        let mut entry = entry();
        (entry["state"], entry["running"]) = (state.into(), false.into());
        entry
    };
    for (entries, state) in [(vec![entry_of("finished")], "finished"), (vec![], "removing")] {
        leave_state(&node, &[entry_of("paused")]);
        let (out, null) = (File::create(node.path("copy")).unwrap(), File::open("/dev/null").unwrap());
        let output = Output::new(out.as_fd(), null.as_fd(), AtInputEnd::GoOn, Duration::from_secs(50)).unwrap();
        let request = CopyRequest { pod: &pod, all: true, follow: false, link_type: None, node: "node1" };
        // It changes when the copy has said that it is paused.
        let copied = copy(&node.path("captures"), &request, output, &mut |_| leave_state(&node, &entries)).unwrap();
        let json: serde_json::Value = serde_json::from_str(&copied.json).unwrap();
        assert_eq!((&json["state"], &json["copy"]["packets"]), (&json!(state), &json!(3)));
    }
}

#[test]
fn follow_is_not_held_up_by_input_without_end() {
    let node = node_with(&[("0", numbered(1..4))]);
    // As good as without end, and always there to be read.
    let input = File::create_new(node.path("input")).unwrap();
    input.set_len(1 << 40).unwrap();
    let mut follow = Follow::start_with(&node, &["web"], File::open(node.path("input")).unwrap().into());
    follow.until_came(1..4);
    append(&file(&node, 0), &numbered(4..5));
    follow.until_came(1..5);
    leave_state(&node, &[]);
    follow.until_ended_well(&node, "capture_ended");
}

#[test]
fn follow_of_a_pod_on_the_nodes_network_is_refused_since_its_stream_would_be_captured_too() {
    let at_node = |addresses: &[&str]| {
        let mut entry = entry();
        entry["history"] = json!([{"since": "2026-01-02T03:04:05Z", "addresses": addresses, "files": 5}]);
        entry
    };
    let node = node_with(&[("0", numbered(0..3))]);
    leave_state(&node, &[at_node(&["10.0.0.1", "127.0.0.1"])]);
    let mut follow = Follow::start(&node, &["web"]);
    let (code, said) = follow.until_ended(&node);
    assert!(code == Some(1) && said.contains("uses the node's network") && said.contains("use `get`"), "{said}");
    assert!(follow.received.lock().unwrap().is_empty());
    let (code, _, said) = node.run_bytes(&["get", "--all", "web"]);
    assert_eq!(code, 0, "{said}");
    // One that comes there only while it is followed.
    leave_state(&node, &[at_node(&["10.0.0.1"])]);
    let mut follow = Follow::start(&node, &["--all", "web"]);
    follow.until_came(0..3);
    leave_state(&node, &[at_node(&["127.0.0.1"])]);
    let (code, said) = follow.until_ended(&node);
    assert_eq!((code, &with_json(&said).1["copy"]["end"]), (Some(1), &json!("failed")));
}
