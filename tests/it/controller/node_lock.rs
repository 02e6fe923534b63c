//! The node lock: one controller for a node, and no capture while an orphaned tcpdump still writes. The unit test of
//! `kernel::node_lock` shows the timeout.

use rustix::process::Signal;

use crate::support::{
    node::Node,
    pod::{pod, web},
    process::{lives, signal, until},
};

#[test]
fn a_controller_after_a_crash_waits_for_orphaned_tcpdumps_and_goes_on_with_their_files() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.api.put(&pod("gone").asks("3"));
    let (first, gone) = (node.nth_start("web", 1), node.nth_start("gone", 1));
    let written = node.files()["captres-web.pcap0"].clone();
    let began = node.state()["web"]["began"].clone();
    controller.crash();
    assert!(lives(first.pid) && lives(gone.pid));
    node.api.put(&pod("gone"));

    let next = node.start();
    next.until_logged("waiting for another controller of this node, or a tcpdump that one left, to end");
    signal(gone.pid, Signal::KILL);
    until("the end of one of them", || (!lives(gone.pid)).then_some(()));
    assert_eq!(next.log().lines().count(), 1, "it goes on waiting for the other: {}", next.log());
    signal(first.pid, Signal::KILL);
    next.until_logged("pods listed; ready");
    let second = node.nth_start("web", 2);
    assert_eq!(second.found, 1);
    assert_eq!(node.files()["captres-web.pcap4"], written);
    until("the other's files' end", || (!node.capture("captres-gone.pcap0").exists()).then_some(()));
    assert_eq!(node.starts("gone").len(), 1);
    assert_eq!((&node.state()["web"]["uid"], &node.state()["web"]["began"]), (&"uid-of-web".into(), &began));
}

#[test]
fn a_second_controller_waits_and_touches_nothing() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let tcpdump = node.nth_start("web", 1);
    let mut second = node.start();
    second.until_logged("waiting for another controller of this node");
    second.signal(Signal::TERM);
    assert_eq!(second.until_ended().0, 0);
    node.until_heard(&controller);
    assert_eq!((node.tcpdumps(), node.starts("web").len()), (vec![tcpdump.pid], 1));
    assert_eq!(node.run(&["health", "--ready"]).0, 0, "the first one's");
}
