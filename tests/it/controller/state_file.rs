//! State files that are damaged, replaced or cannot be written.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use crate::support::{
    node::Node,
    pod::{pod, web},
    process::until,
};

const PACKETS: &str = "packets of before, more than the two headers that are nothing";

/// Starts a controller on an unreadable state file: requested captures go on with their files, all other files are removed, and the
/// controller logs one warning.
fn adopts(node: &Node) {
    node.leave("captres-web.pcap2", PACKETS);
    node.leave("captres-gone.pcap0", PACKETS);
    node.leave("captres-web.pcapng", "somebody else's");
    node.api.put(&web());
    let controller = node.start_ready();
    assert_eq!(node.nth_start("web", 1).found, 1);
    until("the others' end", || (!node.capture("captres-gone.pcap0").exists()).then_some(()));
    assert_eq!(node.file_names(), ["captres-web.pcap0", "captres-web.pcap4", "captres-web.pcapng"]);
    assert_eq!(node.files()["captres-web.pcap4"], PACKETS);
    assert_eq!(controller.logged("cannot read the state file"), 1);
    assert_eq!(node.state()["web"]["uid"], "uid-of-web");
}

fn entry(namespace: &str, name: &str) -> serde_json::Value {
    json!({"namespace": namespace, "pod": name, "uid": format!("uid-of-{name}"), "sequence": 1})
}

#[test]
fn a_state_file_that_is_no_json_is_replaced() {
    let node = Node::new();
    node.leave(".state.json", "{\"version\": 2, \"captures\": [{\"namesp");
    adopts(&node);
}

#[test]
fn a_state_file_of_a_version_to_come_is_replaced() {
    let node = Node::new();
    node.leave(".state.json", &json!({"version": 1, "captures": [entry("default", "web")]}).to_string());
    adopts(&node);
}

#[test]
fn a_state_file_without_end_is_replaced() {
    let node = Node::new();
    let captures = vec![entry("default", "web"); 200_000];
    node.leave(".state.json", &json!({"version": 2, "captures": captures}).to_string());
    adopts(&node);
}

#[test]
fn a_state_file_that_is_a_link_is_not_followed() {
    let node = Node::new();
    let elsewhere = node.path("run/elsewhere");
    let text = json!({"version": 2, "captures": []}).to_string();
    fs::write(&elsewhere, &text).unwrap();
    symlink(&elsewhere, node.capture(".state.json")).unwrap();
    adopts(&node);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), text);
}

#[test]
fn a_link_in_the_place_of_the_next_state_file_is_not_followed() {
    let node = Node::new();
    let outside = node.path("run/outside");
    fs::write(&outside, PACKETS).unwrap();
    symlink(&outside, node.capture(".state.json.new")).unwrap();
    let _controller = node.start_ready();
    node.api.put(&web());
    node.until_event("web", "CaptureStarted");
    assert_eq!(fs::read_to_string(&outside).unwrap(), PACKETS);
    assert!(fs::symlink_metadata(node.capture(".state.json")).unwrap().is_file());
}

#[test]
fn files_that_are_missing_from_a_readable_state_file_are_removed() {
    let node = Node::new();
    node.leave(".state.json", &json!({"version": 2, "captures": [entry("default", "web")]}).to_string());
    node.leave("captres-web.pcap2", PACKETS);
    node.leave("captres-other.pcap2", PACKETS);
    node.api.put(&web());
    node.api.put(&pod("other").asks("5"));
    let _controller = node.start_ready();
    assert_eq!((node.nth_start("web", 1).found, node.nth_start("other", 1).found), (1, 0));
}

#[test]
fn a_state_file_entry_that_names_no_pod_has_no_effect() {
    let node = Node::new();
    let outside = node.path("run/captres-web.pcap0");
    fs::write(&outside, PACKETS).unwrap();
    let names = ["../../etc", "../run/captres-web", "", "*", "web/../web", "web_default", "WEB", "web.pcap0\0"];
    let mut captures: Vec<_> = names.iter().map(|name| entry("default", name)).collect();
    captures.extend(["..", "../run", "", "*", "a.b"].map(|namespace| entry(namespace, "web")));
    captures.push(entry("default", "web"));
    node.leave(".state.json", &json!({"version": 2, "captures": captures}).to_string());
    node.leave("captres-web.pcap2", PACKETS);
    node.api.put(&web());
    let controller = node.start_ready();
    assert_eq!(node.nth_start("web", 1).found, 1);
    node.until_heard(&controller);
    assert!(node.state().keys().all(|name| name == "web" || name.starts_with("barrier-")), "{:?}", node.state());
    assert_eq!(fs::read_to_string(outside).unwrap(), PACKETS);
    assert_eq!(controller.logged("removed"), 0);
}

#[test]
fn a_state_file_that_cannot_be_written_prevents_the_capture_and_the_owner_is_told() {
    let node = Node::new();
    fs::create_dir(node.capture(".state.json.new")).unwrap();
    let controller = node.start_ready();
    node.api.put(&web());
    let message = node.until_event("web", "CaptureFailed");
    assert!(message.contains("Is a directory"), "{message}");
    assert_eq!(node.starts("web"), []);
    assert!(controller.logged("cannot write the state file") >= 1);
    fs::remove_dir(node.capture(".state.json.new")).unwrap();
    node.nth_start("web", 1);
    assert_eq!(node.state()["web"]["uid"], "uid-of-web");
}
