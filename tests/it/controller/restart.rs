//! A restarted controller: it knows the earlier process only by the capture files and the state file.

use rustix::process::Signal;

use crate::support::{
    child::Controller,
    node::Node,
    pod::{pod, web},
    process::until,
};

/// A node whose controller has seen that `web` lost its annotation, and waits for the end of the tcpdump of `web`.
fn removing() -> (Node, Controller) {
    let node = Node::new();
    let controller = node.start_ready();
    node.hold("web");
    node.api.put(&web());
    node.nth_start("web", 1);
    node.api.put(&web().asks_nothing());
    until("the removal in the state file", || (node.state()["web"]["doomed"] == true).then_some(()));
    (node, controller)
}

#[test]
fn the_last_valid_request_survives_a_restart() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    node.api.put(&web().asks("x"));
    node.until_heard(&controller);
    node.crash(controller);
    let controller = node.start_ready();
    let second = node.nth_start("web", 2);
    assert!(second.arguments.contains(" -W 5 -w ") && second.found == 1, "{second:?}");
    // The last valid request is forgotten with the annotation.
    node.api.put(&web().asks_nothing());
    until("the files' end", || node.file_names().is_empty().then_some(()));
    node.api.put(&web().asks("x"));
    node.until_heard(&controller);
    node.crash(controller);
    let controller = node.start_ready();
    node.until_heard(&controller);
    assert_eq!((node.starts("web").len(), node.file_names()), (2, vec![]));
}

#[test]
fn a_pod_replaced_while_the_controller_was_down_does_not_inherit_the_files() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    node.crash(controller);
    node.api.put(&web().uid("uid-of-successor"));
    let _controller = node.start_ready();
    assert_eq!(node.nth_start("web", 2).found, 0);
    assert_eq!(node.state()["web"]["uid"], "uid-of-successor");
}

#[test]
fn a_removed_annotation_is_not_recalled_after_a_restart() {
    let (node, controller) = removing();
    node.api.put(&web().asks("abc"));
    node.until_heard(&controller);
    node.crash(controller);
    let controller = node.start_ready();
    node.until_heard(&controller);
    assert_eq!((node.starts("web").len(), node.file_names()), (1, vec![]));
}

#[test]
fn a_removal_that_was_observed_is_completed_after_a_restart() {
    let (node, controller) = removing();
    node.crash(controller);
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    node.api.put(&web());
    let _controller = node.start_ready();
    assert_eq!(node.nth_start("web", 2).found, 0);
}

#[test]
fn a_finished_pods_files_survive_a_restart() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    node.api.put(&web().in_phase("Succeeded"));
    node.until_event("web", "CaptureFinished");
    node.crash(controller);
    let controller = node.start_ready();
    node.until_heard(&controller);
    assert_eq!((node.file_names(), node.starts("web").len()), (vec!["captres-web.pcap0".to_owned()], 1));
    assert_eq!(node.messages("web", "CaptureMissed"), [] as [String; 0]);
}

#[test]
fn a_shutdown_keeps_the_files_and_the_next_controller_goes_on_with_them() {
    let node = Node::new();
    let mut controller = node.start_ready();
    node.api.put(&web());
    node.api.put(&pod("gone").asks("5"));
    node.nth_start("web", 1);
    node.nth_start("gone", 1);
    controller.signal(Signal::TERM);
    assert_eq!(controller.until_ended().0, 0);
    node.api.delete(&pod("gone"));
    let _controller = node.start_ready();
    assert_eq!(node.nth_start("web", 2).found, 1);
    until("the end of the files of the pod that went", || (!node.capture("captres-gone.pcap0").exists()).then_some(()));
}

#[test]
fn packets_counted_before_a_crash_or_a_shutdown_are_remembered() {
    for signal in [Signal::TERM, Signal::KILL] {
        let node = Node::new();
        let mut controller = node.start_ready();
        node.api.put(&web());
        node.nth_start("web", 1);
        node.api.put(&web().at(&[]));
        until("the count in the state file", || (node.state()["web"]["captured"] == 12).then_some(()));
        controller.signal(signal);
        controller.until_ended();
        let _controller = node.start_ready();
        node.api.put(&web().asks_nothing());
        until("the count", || {
            node.messages("web", "CaptureStopped").iter().any(|text| text.contains("gone; 12 copies")).then_some(())
        });
    }
}

#[test]
fn packets_counted_during_a_shutdown_are_remembered() {
    let node = Node::new();
    let mut controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    controller.signal(Signal::TERM);
    assert_eq!(controller.until_ended().0, 0);
    let _controller = node.start_ready();
    node.nth_start("web", 2);
    node.api.put(&web().asks_nothing());
    until("the sum", || {
        node.messages("web", "CaptureStopped").iter().any(|text| text.contains("gone; 24 copies")).then_some(())
    });
}

#[test]
fn a_refusal_after_a_restart_names_the_capture_that_goes_on() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    node.api.put(&web().asks("x"));
    node.until_event("web", "CaptureRefused");
    node.crash(controller);
    let _controller = node.start_ready();
    node.nth_start("web", 2);
    let message = until("the second refusal", || node.messages("web", "CaptureRefused").get(1).cloned());
    assert!(message.ends_with("; kept: the capture with 5 files"), "{message}");
}
