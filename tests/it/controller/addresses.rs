//! Forged addresses: a pod's status says where it is, and whoever may patch that may write what he likes.

use std::net::IpAddr;

use packet_capture::kernel::netlink;
use serde_json::json;

use crate::support::{
    node::Node,
    pod::{Pod, pod, web},
    process::{lives, until},
};

const OF_ANOTHER: &str = "is that of another live pod of the node, which reported it first, so the capture would show packets that are not the pod's";

fn thief(ip: &str) -> Pod {
    pod("thief").in_namespace("elsewhere").asks("5").at(&[ip])
}

#[test]
fn a_pod_that_reports_anothers_address_is_refused_and_the_other_keeps_its_capture_through_lists_and_crashes() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    // An address of the other family and one written in another way are the same.
    for (n, ip) in ["10.0.0.1", "::ffff:10.0.0.1"].into_iter().enumerate() {
        node.api.put(&thief(ip));
        let message = until("the refusal", || node.messages("thief", "CaptureRefused").get(n).cloned());
        assert!(message.contains(OF_ANOTHER) && message.contains("; nothing is captured"), "{message}");
        node.api.put(&thief("10.0.0.99"));
        node.nth_start("thief_elsewhere", n + 1);
    }
    node.api.put(&thief("10.0.0.1"));
    until("the end of the thief's tcpdump", || (controller.children() == [first.pid]).then_some(()));
    node.until_heard(&controller);
    assert!(lives(first.pid) && node.messages("web", "CaptureRefused").is_empty());
    node.crash(controller);
    let controller = node.start_ready();
    let second = node.nth_start("web", 2);
    node.until_heard(&controller);
    assert_eq!(controller.children(), [second.pid]);
    // With the pod its address goes to whoever comes next.
    node.api.delete(&web());
    let third = node.nth_start("thief_elsewhere", 3);
    assert!(third.arguments.ends_with("host 10.0.0.1"), "{third:?}");
    assert!(
        node.starts("thief_elsewhere").iter().rev().skip(1).all(|start| start.arguments.ends_with("host 10.0.0.99"))
    );
}

#[test]
fn a_pod_that_asks_for_nothing_is_not_captured_for_another_either() {
    let node = Node::new();
    let silent = pod("silent").at(&["10.0.0.7", "fd00::7"]);
    node.api.put(&silent);
    let controller = node.start_ready();
    node.api.put(&thief("fd00::7"));
    let message = node.until_event("thief", "CaptureRefused");
    assert!(message.contains("\"fd00::7\"") && message.contains(OF_ANOTHER), "{message}");
    node.until_heard(&controller);
    assert!(node.starts("thief_elsewhere").is_empty());
    node.api.put(&silent.in_phase("Succeeded"));
    node.nth_start("thief_elsewhere", 1);
}

#[test]
fn where_two_pods_report_an_address_from_the_beginning_neither_is_captured_until_one_is_gone() {
    let node = Node::new();
    node.api.put(&web());
    node.api.put(&thief("10.0.0.1"));
    let controller = node.start_ready();
    for name in ["web", "thief"] {
        let message = node.until_event(name, "CaptureRefused");
        assert!(message.contains("it is not known which of them had it first"), "{message}");
    }
    node.until_heard(&controller);
    assert!(controller.children().is_empty());
    node.api.delete(&thief("10.0.0.1"));
    node.nth_start("web", 1);
}

#[test]
fn the_nodes_own_address_is_refused_whatever_the_pod_says_that_the_nodes_are() {
    let node = Node::new();
    let controller = node.start_ready();
    let is_routed = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    // A machine without a network has none; the same is tried in a network namespace (`real`).
    if let Some(own) = netlink::addresses().unwrap().into_iter().find(is_routed) {
        node.api.put(&thief(&own.to_string()).set("/status/hostIP", json!("203.0.113.9")));
        let message = node.until_event("thief", "CaptureRefused");
        assert!(message.contains(&format!("\"{own}\" is the node's own address")), "{message}");
        node.until_heard(&controller);
        assert!(controller.children().is_empty());
    }
}
