//! The limits of a node: the newest request is refused, keeps its turn over a restart, and starts when there is room.

use serde_json::json;

use crate::support::{
    node::Node,
    pod::{Pod, pod},
    process::{lives, until},
};

fn created(name: &str, second: u8) -> Pod {
    pod(name).set("/metadata/creationTimestamp", json!(format!("2026-01-02T03:04:{second:02}Z")))
}

/// A node with a limit. One namespace may use all of it.
fn roomy(name: &str, value: &str) -> Node {
    Node::new().with("MAX_CAPTURES_PER_NAMESPACE", "1000").with("NAMESPACE_BUDGET_MB", "1000000").with(name, value)
}

#[test]
fn captures_beyond_the_maximum_are_refused_newest_first_and_start_when_one_ends() {
    let node = roomy("MAX_CAPTURES", "2");
    // The pods are listed together, and their names are in the other order: the age decides.
    for (name, second) in [("c", 1), ("b", 2), ("a", 3)] {
        node.api.put(&created(name, second).asks("5"));
    }
    let controller = node.start_ready();
    let message = node.until_event("a", "CaptureRefused");
    let text = "this node already runs 2 of at most 2 captures (MAX_CAPTURES); the capture starts when one of them ends or is paused; \
                nothing is captured";
    assert_eq!(message, text);
    node.until_heard(&controller);
    node.crash(controller);
    let controller = node.start_ready();
    for name in ["b", "c"] {
        node.nth_start(name, 2);
    }
    node.until_heard(&controller);
    assert_eq!(node.starts("a"), []);
    node.api.put(&created("c", 1));
    node.nth_start("a", 1);
    assert!(node.messages("a", "CaptureRefused").len() <= 2, "told once by each process");
}

#[test]
fn a_finished_capture_makes_room_for_another_but_its_files_count() {
    let node = roomy("NODE_BUDGET_MB", "6").with("MAX_CAPTURES", "1");
    let _controller = node.start_ready();
    node.api.put(&pod("short").asks("5").with("duration", "1s"));
    node.nth_start("short", 1);
    node.api.put(&pod("next").asks("5"));
    node.until_event("next", "CaptureRefused");
    // One of the five files was written.
    node.nth_start("next", 1);
    node.until_event("short", "CaptureFinished");
    node.api.put(&pod("third").asks("1"));
    node.until_event("third", "CaptureRefused");
}

#[test]
fn the_sum_of_all_capture_files_stays_within_the_budget() {
    let node = roomy("NODE_BUDGET_MB", "12");
    let controller = node.start_ready();
    node.api.put(&pod("a").asks("5"));
    let first = node.nth_start("a", 1);
    node.api.put(&pod("b").asks("8"));
    let message = node.until_event("b", "CaptureRefused");
    let text = "the capture needs 8 MB, and other captures of this node use 5 MB: together 13 MB of at most 12 MB (NODE_BUDGET_MB); the request takes effect when";
    assert!(message.starts_with(text), "{message}");
    node.api.put(&pod("c").asks("7"));
    let c = node.nth_start("c", 1);
    // A change that needs more is refused, and the running capture goes on.
    node.api.put(&pod("a").asks("6"));
    let message = node.until_event("a", "CaptureRefused");
    assert!(
        message.starts_with(
            "the capture needs 6 MB, and other captures of this node use 7 MB: together 13 MB of at most 12 MB"
        ),
        "{message}"
    );
    assert!(message.ends_with("; kept: the capture with 5 files"), "{message}");
    node.api.put(&pod("a").asks("5"));
    node.until_event("a", "CaptureAccepted");
    node.until_heard(&controller);
    assert!(lives(first.pid) && lives(c.pid) && node.starts("b").is_empty());
    // A change that needs less is always admitted, and makes room.
    node.api.put(&pod("c").asks("2"));
    node.nth_start("c", 2);
    node.api.delete(&pod("a").asks("5"));
    let started = node.nth_start("b", 1);
    assert!(started.arguments.contains(" -W 8 "));
    until("the start's event", || node.messages("b", "CaptureStarted").pop());
    assert_eq!(node.messages("b", "CaptureAccepted"), [""; 0], "the start says enough");
}

#[test]
fn no_capture_starts_on_a_disk_with_too_little_free_space() {
    let node = Node::new().with("MIN_FREE_MB", "100000000");
    let controller = node.start_ready();
    node.api.put(&pod("web").asks("5"));
    let message = node.until_event("web", "CaptureRefused");
    assert!(
        message.starts_with("the capture needs 5 MB and 200000000 MB must stay free (MIN_FREE_MB, MIN_FREE_PERCENT), but the node's disk has "),
        "{message}"
    );
    assert!(controller.log().contains("free disk space is below the low watermark: captures stop"));
    node.until_heard(&controller);
    assert_eq!((node.starts("web").len(), node.messages("web", "CaptureRefused").len()), (0, 1));
}

#[test]
fn the_files_of_a_deleted_pod_are_kept_for_as_long_as_the_operator_says() {
    let node = Node::new().with("KEEP_AFTER_POD", "5s");
    let controller = node.start_ready();
    for name in ["web", "other"] {
        node.api.put(&pod(name).asks("5"));
        node.nth_start(name, 1);
    }
    node.api.put(&pod("other"));
    until("the end of the other's files", || (node.file_names() == ["captres-web.pcap0"]).then_some(()));
    node.api.delete(&pod("web").asks("5"));
    let message = node.until_event("web", "CaptureStopped");
    assert!(message.contains("kept: 1 file; the files are kept for a limited time"), "{message}");
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    until("the files' end", || node.file_names().is_empty().then_some(()));
    node.until_heard(&controller);
    assert_eq!(node.state().get("web"), None);
}

#[test]
fn the_files_of_a_deleted_pod_are_the_first_to_go_when_another_needs_the_room() {
    let node = roomy("NODE_BUDGET_MB", "6").with("KEEP_AFTER_POD", "1h");
    let controller = node.start_ready();
    node.api.put(&pod("web").asks("5"));
    node.nth_start("web", 1);
    node.api.delete(&pod("web").asks("5"));
    node.until_event("web", "CaptureStopped");
    controller.crash();
    let controller = node.start_ready();
    node.until_heard(&controller);
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    node.api.put(&pod("small").asks("5"));
    node.nth_start("small", 1);
    assert_eq!(node.paths("captres-web").len(), 1, "one file is one megabyte, and there is room");
    node.api.put(&pod("small").asks("6"));
    assert!(node.nth_start("small", 2).arguments.contains(" -W 6 "));
    assert!(node.paths("captres-web").is_empty());
}
