//! Changes of a captured pod: how many restarts a change costs, and which files stay.

use std::time::Instant;

use crate::support::{
    api::Kind,
    node::Node,
    pod::{Pod, pod, web},
    process::{lives, until},
};

#[test]
fn a_pod_without_an_address_is_captured_once_it_has_one() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web().at(&[]).in_phase("Pending"));
    node.until_heard(&controller);
    assert_eq!((node.starts("web"), node.api.events("web")), (vec![], vec![]));
    node.api.put(&web().in_phase("Pending"));
    assert!(node.nth_start("web", 1).arguments.ends_with("host 10.0.0.1"));
}

#[test]
fn a_pod_with_another_address_gets_another_tcpdump_and_without_an_address_none() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    let written = node.files()["captres-web.pcap0"].clone();
    node.api.put(&web().at(&[]));
    let message = node.until_event("web", "CaptureStopped");
    assert!(message.starts_with("the pod has no address;"), "{message}");
    assert!(!lives(first.pid));
    node.api.put(&web().at(&["10.0.0.2"]));
    let second = node.nth_start("web", 2);
    assert!(second.arguments.ends_with("host 10.0.0.2"), "{second:?}");
    assert!(node.files()["captres-web.pcap4"].starts_with(&written));
    assert_eq!(node.tcpdumps().len(), 1);
}

#[test]
fn an_address_that_comes_and_goes_costs_at_most_one_start_in_2_s() {
    let node = Node::new();
    let controller = node.start_ready();
    let since = Instant::now();
    node.api.put(&web());
    node.nth_start("web", 1);
    for _ in 0..5 {
        node.api.put(&web().at(&[]));
        until("tcpdump's end", || node.tcpdumps().is_empty().then_some(()));
        node.api.put(&web());
        node.until_heard(&controller);
    }
    node.nth_start("web", 2);
    let starts = node.starts("web").len();
    assert!(starts as u64 <= 1 + since.elapsed().as_secs() / 2, "{starts} in {:?}", since.elapsed());
}

#[test]
fn a_wider_ring_costs_one_restart_and_no_packet() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    // The files look as after two rotations: index 0 is the newest.
    let written = node.files()["captres-web.pcap0"].clone();
    for (index, age_s) in [(3, 200), (4, 100)] {
        let name = format!("captres-web.pcap{index}");
        node.leave(&name, &format!("packets of {age_s} s ago, longer than a header and more"));
        let file = std::fs::File::options().append(true).open(node.capture(&name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(age_s)).unwrap();
    }
    node.api.put(&web().asks("12"));
    let second = node.nth_start("web", 2);
    assert!(second.arguments.contains(" -W 12 -w "), "{second:?}");
    assert!(!lives(first.pid));
    assert_eq!(second.found, 3);
    let files = node.files();
    assert_eq!(
        node.file_names(),
        ["captres-web.pcap00", "captres-web.pcap09", "captres-web.pcap10", "captres-web.pcap11"]
    );
    assert!(files["captres-web.pcap09"].starts_with("packets of 200 s ago"));
    assert!(files["captres-web.pcap10"].starts_with("packets of 100 s ago"));
    assert_eq!(files["captres-web.pcap11"], format!("{written}last words of {}\n", first.pid));
    let started = until("the second start's event", || node.messages("web", "CaptureStarted").get(1).cloned());
    assert!(
        started.contains("12 files of 1 MB, which keep the last 12 MB of copies; kept: 3 older files"),
        "{started}"
    );
    node.until_heard(&controller);
    assert_eq!(node.starts("web").len(), 2);
}

#[test]
fn a_file_with_a_time_in_the_future_is_not_taken_for_the_newest() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web().asks("2"));
    node.nth_start("web", 1);
    node.api.put(&web().asks("3"));
    let second = node.nth_start("web", 2);
    // The time is one that a file has after the clock was set back.
    let file = std::fs::File::options().append(true).open(node.capture("captres-web.pcap2")).unwrap();
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(86_400)).unwrap();
    node.api.put(&web().asks("2"));
    let third = node.nth_start("web", 3);
    let files = node.files();
    for (name, pid) in [("captres-web.pcap0", third.pid), ("captres-web.pcap1", second.pid)] {
        assert!(files[name].starts_with(&format!("what tcpdump {pid} wrote")), "{name}: {files:?}");
    }
}

#[test]
fn the_last_of_a_burst_of_annotation_changes_wins_with_at_most_two_starts() {
    let node = Node::new();
    let controller = node.start_ready();
    for files in 1..=10 {
        node.api.put(&web().asks(&files.to_string()));
    }
    let last = until("a start with the last request", || {
        node.starts("web").into_iter().find(|start| start.arguments.contains(" -W 10 "))
    });
    node.until_heard(&controller);
    assert!(node.starts("web").len() <= 2, "{:?}", node.starts("web"));
    assert_eq!(node.tcpdumps(), [last.pid]);
}

#[test]
fn a_pod_change_that_does_not_concern_the_capture_does_nothing() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let tcpdump = node.nth_start("web", 1);
    node.until_event("web", "CaptureStarted");
    node.until_heard(&controller);
    until("the barrier's event", || (node.api.count(Kind::Event) == 2).then_some(()));
    let (lines, state) = (controller.log().lines().count(), node.state());
    node.api.put(&web().labelled("other"));
    node.api.put(&web().labelled("other").annotated("example.com/other", "6").in_phase("Pending"));
    node.until_heard(&controller);
    assert_eq!(controller.log().lines().count(), lines + 1, "{}", controller.log());
    assert_eq!((node.starts("web").len(), node.tcpdumps()), (1, vec![tcpdump.pid]));
    assert_eq!((node.api.count(Kind::List), node.api.count(Kind::Watch), node.api.count(Kind::Other)), (1, 1, 0));
    assert_eq!(node.api.events("web").len(), 1);
    assert_eq!(node.state()["web"], state["web"]);
}

#[test]
fn an_invalid_annotation_keeps_the_running_capture() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let tcpdump = node.nth_start("web", 1);
    for (n, value) in ["abc", "0", "-1", "+5", "05", "5x", " 5 ", "", "101"].iter().enumerate() {
        node.api.put(&web().asks(value));
        let message = until("a refusal", || node.messages("web", "CaptureRefused").get(n).cloned());
        let expected = format!(
            "annotation tcpdump.antrea.io=\"{value}\" is not a number of files from 1 to 100, written in digits without a \
             leading zero, such as \"5\"; kept: the capture with 5 files"
        );
        assert_eq!(message, expected);
    }
    node.until_heard(&controller);
    assert_eq!((node.starts("web").len(), node.tcpdumps()), (1, vec![tcpdump.pid]));
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    assert_eq!(node.state()["web"]["annotations"]["tcpdump.antrea.io"], "5");
}

#[test]
fn an_unknown_annotation_of_ours_is_refused() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web().annotated("tcpdump.antrea.io/fliter", "tcp"));
    let message = node.until_event("web", "CaptureRefused");
    assert!(message.contains("\"tcpdump.antrea.io/fliter\" is unknown"), "{message}");
    assert!(message.ends_with("; nothing is captured"), "{message}");
    node.until_heard(&controller);
    assert_eq!(node.starts("web"), []);
    node.api.put(&web());
    node.nth_start("web", 1);
}

#[test]
fn a_removed_annotation_does_not_come_back_as_the_last_valid_request() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    node.api.put(&web().asks_nothing());
    node.api.put(&web().asks("x"));
    until("the files' end", || node.file_names().is_empty().then_some(()));
    let message = node.until_event("web", "CaptureRefused");
    assert!(message.ends_with("; nothing is captured"), "{message}");
    node.until_heard(&controller);
    assert_eq!((node.starts("web").len(), node.tcpdumps()), (1, vec![]));
}

#[test]
fn a_removed_annotation_deletes_the_files_even_if_it_comes_back_at_once() {
    let node = Node::new();
    let controller = node.start_ready();
    node.hold("web");
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    node.api.put(&web().asks_nothing());
    node.api.put(&web());
    node.until_heard(&controller);
    assert!(lives(first.pid) && node.starts("web").len() == 1);
    node.release("web");
    assert_eq!(node.nth_start("web", 2).found, 0);
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
}

#[test]
fn an_annotation_removed_during_a_restart_of_tcpdump_is_reported_as_removed() {
    let node = Node::new();
    let controller = node.start_ready();
    node.hold("web");
    node.api.put(&web());
    node.nth_start("web", 1);
    node.api.put(&web().asks("6"));
    until("TERM", || node.noted().iter().any(|noted| noted.what == "ended").then_some(()));
    node.api.put(&web().asks_nothing());
    node.until_heard(&controller);
    node.release("web");
    until("the files' end", || node.file_names().is_empty().then_some(()));
    node.until_event("web", "CaptureStopped");
    assert!(!controller.log().contains("restarts at once"), "{}", controller.log());
}

#[test]
fn a_pods_successor_starts_after_its_tcpdump_has_ended_and_finds_no_file() {
    let node = Node::new();
    let controller = node.start_ready();
    let successor: Pod = web().uid("uid-of-successor").at(&["10.0.0.7"]);
    node.hold("web");
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    node.api.delete(&web());
    node.api.put(&successor);
    node.until_heard(&controller);
    assert!(lives(first.pid) && node.starts("web").len() == 1, "one writer for a file name");
    node.release("web");
    let second = node.nth_start("web", 2);
    assert_eq!(second.found, 0, "the old files were gone before");
    assert!(second.arguments.ends_with("host 10.0.0.7"));
    assert_eq!(node.state()["web"]["uid"], "uid-of-successor");
    // The same holds if no event reports the end of the earlier pod.
    node.api.forget(&successor);
    node.api.put(&web().uid("uid-of-third"));
    assert_eq!(node.nth_start("web", 3).found, 0);
    assert_eq!(node.tcpdumps().len(), 1);
    node.api.put(&pod("web").uid("uid-of-third"));
    until("the files' end", || node.file_names().is_empty().then_some(()));
}
