//! Annotate, capture, remove: what a pod's owner sees, and which files are in CAPTURE_DIR.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;

use crate::support::{
    api::Kind,
    node::Node,
    pod::{pod, web},
    process::{lives, until},
};

#[test]
fn an_annotated_pod_is_captured_with_the_documented_command_line() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let tcpdump = node.nth_start("web", 1);
    let path = node.capture("captres-web.pcap").display().to_string();
    assert_eq!(tcpdump.arguments, format!("-U -B 16384 -i any -C 1 -W 5 -w {path} host 10.0.0.1"));
    assert_eq!(controller.children(), [tcpdump.pid]);
    let message = node.until_event("web", "CaptureStarted");
    assert_eq!(
        message,
        format!(
            "tcpdump captures host 10.0.0.1 into {path}* of the packet-capture pod on node {}, 5 files of 1 MB, which keep the last 5 MB \
             of copies; ends 24h after its start; a copy is a packet as tcpdump sees it on one interface: most packets have several, \
             and `get` shows one copy of each packet",
            node.name
        )
    );
    let event = &node.api.events("web")[0];
    assert_eq!(event["type"], "Normal");
    assert_eq!(
        event["involvedObject"],
        json!({"apiVersion": "v1", "kind": "Pod", "namespace": "default", "name": "web", "uid": "uid-of-web"})
    );
    assert_eq!(event["source"], json!({"component": "packet-capture", "host": node.name}));
    let entry = &node.state()["web"];
    assert_eq!(entry["uid"], "uid-of-web");
    assert_eq!(entry["annotations"], json!({"tcpdump.antrea.io": "5"}));
    assert_eq!(entry["history"][0]["addresses"], json!(["10.0.0.1"]));
}

#[test]
fn the_controller_lists_this_nodes_pods_page_by_page_with_a_consistent_read() {
    let node = Node::new();
    (0..5).for_each(|n| node.api.put(&pod(&format!("pod-{n}")).asks("5")));
    let controller = node.start_ready();
    node.nth_start("pod-4", 1);
    let requests = |kind| node.api.requests(kind).into_iter().map(|request| request.target).collect::<Vec<_>>();
    let lists = [requests(Kind::List), requests(Kind::Page)].concat();
    assert_eq!(lists.len(), 5);
    for target in &lists {
        assert!(target.contains(&format!("fieldSelector=spec.nodeName%3D{}&", node.name)), "{target}");
        assert!(target.split('&').any(|part| part == "limit=1") && !target.contains("resourceVersion"), "{target}");
    }
    let watch = until("the watch", || requests(Kind::Watch).pop());
    assert!(watch.contains(&format!("fieldSelector=spec.nodeName%3D{}&", node.name)), "{watch}");
    assert!(watch.contains("timeoutSeconds=120") && watch.contains("resourceVersion=5"), "{watch}");
    node.until_heard(&controller);
    assert_eq!((node.api.count(Kind::Other), controller.children().len()), (0, 5));
}

#[test]
fn captures_and_the_state_file_are_for_root_only() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&node.capture("captres-web.pcap0")), 0o600);
    assert_eq!(mode(&node.capture(".state.json")), 0o600);
}

#[test]
fn a_removed_annotation_ends_tcpdump_and_deletes_exactly_its_files() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let neighbours = [pod("web-2"), pod("web.pcap1"), pod("web").in_namespace("prod").uid("uid-of-prod")];
    neighbours.iter().for_each(|neighbour| node.api.put(&neighbour.clone().asks("2")));
    let theirs = ["captres-web-2.pcap0", "captres-web.pcap1.pcap0", "captres-web_prod.pcap0"];
    until("the neighbours' files", || theirs.iter().all(|file| node.capture(file).exists()).then_some(()));
    node.leave("captres-web.pcapng", "somebody else's");
    let tcpdump = node.nth_start("web", 1);
    node.until_event("web", "CaptureStarted");

    node.api.put(&web().asks_nothing());
    let message = node.until_event("web", "CaptureStopped");
    assert_eq!(
        message,
        "the annotation or the pod is gone; 12 copies of packets captured, 3 dropped by the kernel; 1 file deleted"
    );
    let ended = node.noted().into_iter().filter(|noted| noted.what == "ended").map(|noted| noted.pid);
    assert_eq!(ended.collect::<Vec<_>>(), [tcpdump.pid], "TERM came to this one and no other");
    assert!(!controller.children().contains(&tcpdump.pid), "it is reaped");
    assert_eq!(node.file_names(), [theirs[0], theirs[1], "captres-web.pcapng", theirs[2]]);
    assert_eq!(controller.children().len(), neighbours.len());
    until("the state without the capture", || (!node.state().values().any(|e| e["uid"] == "uid-of-web")).then_some(()));
}

#[test]
fn a_deleted_pod_and_one_missing_from_a_complete_list_lose_their_files() {
    let node = Node::new();
    let _controller = node.start_ready();
    let (deleted, missing, stays) = (pod("deleted").asks("5"), pod("missing").asks("5"), pod("stays").asks("5"));
    for pod in [&deleted, &missing, &stays] {
        node.api.put(pod);
    }
    for name in ["deleted", "missing", "stays"] {
        node.nth_start(name, 1);
    }
    node.api.delete(&deleted);
    node.until_event("deleted", "CaptureStopped");
    assert_eq!(node.file_names(), ["captres-missing.pcap0", "captres-stays.pcap0"]);
    node.api.forget(&missing);
    node.api.send_error(410);
    node.until_event("missing", "CaptureStopped");
    assert_eq!(node.file_names(), ["captres-stays.pcap0"]);
    assert_eq!(node.starts("stays").len(), 1);
}

#[test]
fn a_pod_with_two_addresses_has_one_tcpdump_for_both() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web().at(&["fd00::1", "10.0.0.1"]));
    let tcpdump = node.nth_start("web", 1);
    assert!(tcpdump.arguments.ends_with("captres-web.pcap host 10.0.0.1 or host fd00::1"), "{tcpdump:?}");
    node.until_event("web", "CaptureStarted");
    assert_eq!(node.tcpdumps(), [tcpdump.pid]);
}

#[test]
fn empty_tcpdump_options_give_the_bare_command_line() {
    let node = Node::new().with("TCPDUMP_OPTIONS", "");
    let _controller = node.start_ready();
    node.api.put(&web().asks("1"));
    let tcpdump = node.nth_start("web", 1);
    let path = node.capture("captres-web.pcap").display().to_string();
    assert_eq!(tcpdump.arguments, format!("-i any -C 1 -W 1 -w {path} host 10.0.0.1"));
    assert!(
        node.until_event("web", "CaptureStarted")
            .contains("with one file, older packets are lost each time it fills up")
    );
}

#[test]
fn files_of_a_pod_outside_the_default_namespace_have_the_namespace_in_their_names() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web().in_namespace("prod"));
    assert!(node.nth_start("web_prod", 1).arguments.contains("captres-web_prod.pcap "));
    node.until_event("web", "CaptureStarted");
    let events = node.api.requests(Kind::Event);
    assert!(events.iter().all(|request| request.target.starts_with("/api/v1/namespaces/prod/events")), "{events:?}");
}

#[test]
fn a_pod_that_must_not_be_captured_is_refused_and_its_owner_told_why() {
    let node = Node::new().with("HOST_NETWORK_NAMESPACES", "trusted");
    let controller = node.start_ready();
    let on_host = |name, namespace| {
        let pod = pod(name).asks("5").in_namespace(namespace).at(&["192.0.2.1"]);
        pod.set("/spec", json!({"hostNetwork": true}))
    };
    node.api.put(&on_host("host", "default"));
    node.api.put(&pod("foreign").asks("5").at(&["192.0.2.1"]));
    node.api.put(&pod(&"n".repeat(250)).asks("5"));
    node.api.put(&on_host("let-through", "trusted"));
    node.until_heard(&controller);
    node.nth_start("let-through_trusted", 1);
    assert!(node.until_event("host", "CaptureRefused").contains("HOST_NETWORK_NAMESPACES"));
    assert!(node.until_event("foreign", "CaptureRefused").contains("\"192.0.2.1\" is the node's own address"));
    assert!(node.until_event(&"n".repeat(250), "CaptureRefused").contains("the file system allows 255"));
    assert_eq!(node.file_names(), ["captres-let-through_trusted.pcap0"]);
    assert_eq!(controller.children().len(), 1);
}

#[test]
fn a_finished_pod_is_no_longer_captured_and_keeps_its_files_until_it_goes() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web());
    let tcpdump = node.nth_start("web", 1);
    node.api.put(&web().in_phase("Succeeded"));
    let message = node.until_event("web", "CaptureFinished");
    assert!(message.contains("12 copies of packets captured") && message.contains("kept: 1 file"), "{message}");
    assert!(!lives(tcpdump.pid));
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    node.api.delete(&web());
    until("the files' end", || node.file_names().is_empty().then_some(()));

    node.api.put(&pod("late").asks("5").in_phase("Failed"));
    let message = node.until_event("late", "CaptureMissed");
    assert!(message.contains("finished before its packets could be captured"), "{message}");
    assert_eq!(node.starts("late"), []);
}

#[test]
fn the_controller_has_one_thread() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.until_event("web", "CaptureStarted");
    let status = fs::read_to_string(format!("/proc/{}/status", controller.pid())).unwrap();
    assert!(status.lines().any(|line| line == "Threads:\t1"), "{status}");
}
