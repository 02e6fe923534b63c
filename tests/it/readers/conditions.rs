//! `get` and `follow` of a capture that does not run: they give the header and the reason at once, and say each change once.

use std::{
    fs::{self, File},
    process::{Child, ChildStdin, Stdio},
};

use serde_json::{Value, json};

use crate::{
    readers::get::{get, leave_state, node_with, with_json},
    support::{
        node::Node,
        packets::{HEADER_BYTES, SLL2, header, numbered, record, write},
        process::{read_exactly, until},
    },
};

/// The state file's entry of a capture of `web` that does not run.
fn resting(state: &str, reason: Option<&str>) -> Value {
    let mut entry = json!({
        "namespace": "default", "pod": "web", "uid": "1", "sequence": 1, "state": state, "running": false,
        "history": [{"since": "2026-01-02T03:04:05Z", "addresses": ["10.0.0.1"], "files": 5}],
    });
    if let Some(reason) = reason {
        entry["reason"] = reason.into();
    }
    entry
}

/// A `follow` whose header has come.
struct Follow {
    child: Child,
    stdin: Option<ChildStdin>,
    header: Vec<u8>,
}

impl Follow {
    fn start(node: &Node, environment: &[(&str, &str)]) -> Self {
        let mut command = node.command();
        command.args(["follow", "web"]).envs(environment.iter().copied()).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(File::create(node.path("said")).unwrap());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let header = read_exactly(child.stdout.as_mut().unwrap(), HEADER_BYTES);
        Self { child, stdin, header }
    }

    fn until_said(&self, node: &Node, lines: &[&str]) {
        let said = || fs::read_to_string(node.path("said")).unwrap();
        until(&format!("{lines:?}"), || (said().lines().eq(lines.iter().copied())).then_some(()));
    }

    /// What it said in all, once its reader has gone.
    fn end(mut self, node: &Node) -> String {
        drop(self.stdin.take());
        assert_eq!(until("its end", || self.child.try_wait().unwrap()).code(), Some(0));
        fs::read_to_string(node.path("said")).unwrap()
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const CONDITIONS: [(&str, Option<&str>); 8] = [
    ("refused", Some("annotation tcpdump.antrea.io/filter=\"host example.com\" is refused; nothing is captured")),
    ("paused", Some("the capture is paused; the capture resumes when annotation tcpdump.antrea.io/pause is removed")),
    ("waiting", Some("the capture begins as soon as the pod has an IP address")),
    ("failed", Some("tcpdump exited 1 after 0.1 s; trying again in 8 s (failure 4); kept: 0 files")),
    ("lowdisk", Some("the node's free disk space fell below the low watermark (MIN_FREE_MB, MIN_FREE_PERCENT)")),
    ("stopped", Some("tcpdump is stopping")),
    ("waiting", None),
    ("removing", None),
];

#[test]
fn get_and_follow_of_a_capture_that_does_not_run_give_the_header_and_the_reason_at_once() {
    for (state, reason) in CONDITIONS {
        let node = node_with(&[]);
        leave_state(&node, &[resting(state, reason)]);
        let note = match reason {
            Some(reason) => format!("note: capture of default/web: {state}: {reason}"),
            None => format!("note: capture of default/web: {state}"),
        };
        let follow = Follow::start(&node, &[]);
        assert_eq!(follow.header, header(SLL2));
        follow.until_said(&node, &[&note]);
        assert_eq!(with_json(&follow.end(&node)).0, [note.as_str(), "0 packets, 24 bytes"]);
        assert_eq!(get(&node, &["web"]), (header(SLL2), vec![note.clone()]));
        assert_eq!(get(&node, &["web", "--all"]), (header(SLL2), vec![note.clone()]));
        // Also where there are packets.
        write(&node.capture("captres-web.pcap0"), &numbered(1..4));
        assert_eq!(get(&node, &["web"]).1, [note]);
    }
}

#[test]
fn follow_says_each_change_of_the_capture_once() {
    let node = node_with(&[("0", vec![])]);
    let follow = Follow::start(&node, &[]);
    let mut said: Vec<String> = vec![];
    let mut change = |state: &str, reason: Option<&str>| {
        let mut entry = resting(state, reason);
        entry["running"] = (state == "capturing").into();
        leave_state(&node, &[entry.clone()]);
        said.push(match reason {
            Some(reason) => format!("note: capture of default/web: {state}: {reason}"),
            None => format!("note: capture of default/web: {state}"),
        });
        follow.until_said(&node, &said.iter().map(String::as_str).collect::<Vec<_>>());
        // Something else is another, and the same is written once more.
        entry["captured"] = 17.into();
        leave_state(&node, &[entry]);
    };
    change(
        "paused",
        Some("the capture is paused; the capture resumes when annotation tcpdump.antrea.io/pause is removed"),
    );
    change("capturing", None);
    change("refused", Some("the pod uses the node's network"));
    change("capturing", Some("another value is refused; kept: the capture with 5 files"));
    change("capturing", None);
}

#[test]
fn follow_says_changes_at_most_once_a_second() {
    let node = node_with(&[("0", vec![])]);
    let _follow = Follow::start(&node, &[]);
    let began = std::time::Instant::now();
    let mut failures = 0;
    while began.elapsed().as_millis() < 2500 {
        failures += 1;
        leave_state(&node, &[resting("failed", Some(&format!("tcpdump exited 1 (failure {failures})")))]);
        until("a while", || (began.elapsed().as_millis() >= failures * 20).then_some(()));
    }
    let last = format!("note: capture of default/web: failed: tcpdump exited 1 (failure {failures})");
    until("the last", || fs::read_to_string(node.path("said")).unwrap().ends_with(&format!("{last}\n")).then_some(()));
    let lines = fs::read_to_string(node.path("said")).unwrap().lines().count() as u64;
    assert!(lines <= began.elapsed().as_secs() + 2, "{lines} lines in {:?}", began.elapsed());
}

#[test]
fn follow_gives_the_header_of_tcpdumps_options_and_warns_of_other_files_at_once() {
    let node = node_with(&[]);
    leave_state(&node, &[resting("paused", Some("it is paused"))]);
    let cooked = Follow::start(&node, &[("TCPDUMP_OPTIONS", "-U -y LINUX_SLL")]);
    assert_eq!(cooked.header, header(113));
    drop(cooked);
    let mut follow = Follow::start(&node, &[("TCPDUMP_OPTIONS", "-U")]);
    let other = [header(113), record([1, 0], &[0; 60])].concat();
    fs::write(node.capture("captres-web.pcap0"), other).unwrap();
    let note = "note: capture of default/web: paused: it is paused";
    let foreign = "warning: 1 file was skipped: it is not a pcap file of the capture's link type";
    follow.until_said(&node, &[note, foreign]);
    write(&node.capture("captres-web.pcap1"), &numbered(2..4));
    assert_eq!(read_exactly(follow.child.stdout.as_mut().unwrap(), 2 * 68), numbered(2..4));
    assert!(follow.end(&node).starts_with(&format!("{note}\n{foreign}\n")));
}

#[test]
fn a_hostile_reason_reaches_no_terminal() {
    let node = node_with(&[]);
    leave_state(&node, &[resting("refused", Some("\u{1b}[31mred\n\u{202e}\u{9b}31m"))]);
    let (_, said) = get(&node, &["web"]);
    assert_eq!(said, [r"note: capture of default/web: refused: \u{1b}[31mred\n\u{202e}\u{9b}31m"]);
}
