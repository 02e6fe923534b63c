//! Forged addresses: whoever may patch a pod's status can write any address into it.

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
    // The same holds for the other address family and for another notation of the address.
    for (n, ip) in ["10.0.0.1", "::ffff:10.0.0.1"].into_iter().enumerate() {
        node.api.put(&thief(ip));
        let message = until("the refusal", || node.messages("thief", "CaptureRefused").get(n).cloned());
        // At the second time there are files, and a tcpdump that is about to end.
        let kept = if n == 0 { "; nothing is captured" } else { "; nothing is captured; kept: 1 file" };
        assert!(message.contains(OF_ANOTHER) && message.ends_with(kept), "{message}");
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
    // When a pod is gone, the next pod may have its address.
    node.api.delete(&web());
    let third = node.nth_start("thief_elsewhere", 3);
    assert!(third.arguments.ends_with("host 10.0.0.1"), "{third:?}");
    assert!(
        node.starts("thief_elsewhere").iter().rev().skip(1).all(|start| start.arguments.ends_with("host 10.0.0.99"))
    );
}

#[test]
fn an_unannotated_pods_address_is_not_captured_for_another_pod() {
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
fn two_pods_with_one_address_from_the_beginning_are_not_captured_until_one_is_gone() {
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
fn a_pod_that_reports_the_nodes_own_address_is_refused_whatever_its_host_ips_are() {
    let node = Node::new();
    let controller = node.start_ready();
    let is_routed = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    // A machine without a network has no address; `real_tcpdump` shows the same in a network namespace.
    if let Some(own) = netlink::addresses().unwrap().into_iter().find(is_routed) {
        node.api.put(&thief(&own.to_string()).set("/status/hostIP", json!("203.0.113.9")));
        let message = node.until_event("thief", "CaptureRefused");
        assert!(message.contains(&format!("\"{own}\" is the node's own address")), "{message}");
        node.until_heard(&controller);
        assert!(controller.children().is_empty());
    }
}
