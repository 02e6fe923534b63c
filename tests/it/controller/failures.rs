//! tcpdump processes that crash, do not end, freeze, or flood standard error.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{
    node::Node,
    pod::{pod, web},
    process::{lives, signal, state, until},
};

#[test]
fn a_crash_of_tcpdump_is_reported_with_its_last_line_and_restarted_ever_later() {
    let node = Node::new();
    let controller = node.start_ready();
    node.tcpdump_is("web", "crash");
    node.api.put(&web());
    let message = node.until_event("web", "CaptureFailed");
    assert!(message.starts_with("tcpdump exited 1 after 0."), "{message}");
    assert!(
        message.ends_with("s: \"eth9: No such device exists\"; trying again in 1 s (failure 1); kept: 1 file"),
        "{message}"
    );
    assert_eq!(controller.children(), [] as [i32; 0]);
    node.nth_start("web", 2);
    let message = until("the second failure's event", || node.messages("web", "CaptureFailed").get(1).cloned());
    assert!(message.ends_with("trying again in 2 s (failure 2); kept: 2 files"), "{message}");
    node.tcpdump_is("web", "polite");
    assert_eq!(node.nth_start("web", 3).found, 2, "what was written before is still there");
    node.api.put(&web().asks_nothing());
    until("the files' end", || node.file_names().is_empty().then_some(()));
    node.until_heard(&controller);
    assert_eq!(node.starts("web").len(), 3);
}

#[test]
fn a_killed_tcpdump_is_started_again_and_its_files_kept() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    let written = node.files()["captres-web.pcap0"].clone();
    signal(first.pid, Signal::KILL);
    let message = node.until_event("web", "CaptureFailed");
    assert!(message.starts_with("tcpdump was ended by signal 9 after "), "{message}");
    let second = node.nth_start("web", 2);
    assert_eq!((second.found, &node.files()["captres-web.pcap4"]), (1, &written));
    assert_eq!(controller.children(), [second.pid]);
    node.api.put(&web().asks_nothing());
    let message = node.until_event("web", "CaptureStopped");
    assert!(message.contains("(1 tcpdump ended before it reported its counts)"), "{message}");
}

#[test]
fn a_tcpdump_that_ends_by_itself_is_a_failure_even_with_exit_code_0() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.tcpdump_is("web", "done");
    node.api.put(&web());
    let message = node.until_event("web", "CaptureFailed");
    assert!(message.starts_with("tcpdump exited 0 after "), "{message}");
    assert!(message.contains("trying again in 1 s (failure 1)"), "{message}");
}

#[test]
fn an_annotation_change_or_removal_does_not_wait_for_the_backoff() {
    let node = Node::new();
    let controller = node.start_ready();
    node.tcpdump_is("web", "crash");
    node.api.put(&web());
    until("the second failure", || node.messages("web", "CaptureFailed").get(1).cloned());
    node.api.put(&web().asks_nothing());
    until("the files' end", || node.file_names().is_empty().then_some(()));
    node.until_heard(&controller);
    assert_eq!(node.starts("web").len(), 2);
}

#[test]
fn an_event_says_that_tcpdump_is_missing() {
    let node = Node::new();
    let node = {
        let path = node.path("run").display().to_string();
        node.with("PATH", &path)
    };
    let controller = node.start_ready();
    node.api.put(&web());
    let message = node.until_event("web", "CaptureFailed");
    assert!(message.starts_with("cannot start tcpdump: "), "{message}");
    assert!(message.contains("No such file or directory") && message.contains("trying again in 1 s"), "{message}");
    assert_eq!(controller.children(), [] as [i32; 0]);
    node.api.put(&web().asks_nothing());
    until("the capture's end", || node.state().is_empty().then_some(()));
}

#[test]
fn a_tcpdump_that_ignores_term_is_killed_after_5_s_and_delays_nobody() {
    let node = Node::new();
    let controller = node.start_ready();
    node.tcpdump_is("deaf", "deaf");
    node.api.put(&pod("deaf").asks("5"));
    let deaf = node.nth_start("deaf", 1);
    let asked_at = Instant::now();
    node.api.put(&pod("deaf"));
    node.api.put(&web());
    node.nth_start("web", 1);
    node.until_event("web", "CaptureStarted");
    node.api.put(&pod("web"));
    node.until_event("web", "CaptureStopped");
    assert!(lives(deaf.pid), "it is still there when another capture has come and gone");
    assert_eq!(node.file_names(), ["captres-deaf.pcap0"], "and as long as it is its files stay");
    let message = node.until_event("deaf", "CaptureStopped");
    assert!(asked_at.elapsed() >= Duration::from_secs(5));
    assert!(!lives(deaf.pid));
    assert!(message.ends_with(" (1 tcpdump ended before it reported its counts); 1 file deleted"), "{message}");
    assert_eq!((node.file_names(), controller.zombies()), (vec![], vec![]));
}

#[test]
fn a_frozen_tcpdump_ends() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.tcpdump_is("web", "frozen");
    node.api.put(&web());
    let frozen = node.nth_start("web", 1);
    until("the freeze", || (state(frozen.pid) == Some('T')).then_some(()));
    node.api.put(&web().asks_nothing());
    let message = node.until_event("web", "CaptureStopped");
    assert!(message.contains("12 copies of packets captured"), "it ended in good order: {message}");
}

#[test]
fn a_tcpdump_that_floods_standard_error_delays_nobody() {
    let node = Node::new();
    let controller = node.start_ready();
    node.tcpdump_is("chatter", "chatter");
    node.api.put(&pod("chatter").asks("5"));
    node.nth_start("chatter", 1);
    for n in 1..=20 {
        node.api.put(&web().asks(&n.to_string()));
        node.until_heard(&controller);
    }
    node.nth_start("web", 1);
    node.api.put(&pod("chatter"));
    let message = node.until_event("chatter", "CaptureStopped");
    assert!(message.ends_with("1 file deleted") && message.len() < 200, "{message}");
}

#[test]
fn a_storm_of_changes_ends_with_the_last_requests_and_no_unreaped_tcpdump() {
    let node = Node::new();
    let controller = node.start_ready();
    let names: Vec<String> = (0..8).map(|n| format!("pod-{n}")).collect();
    node.tcpdump_is("pod-3", "crash");
    for round in 0..6 {
        for (n, name) in names.iter().enumerate() {
            let (pod, asks) = (pod(name).uid(&format!("uid-{n}-{}", round / 3)), (round + n) % 3 != 0);
            node.api.put(&if asks { pod.asks(&(1 + (round + n) % 4).to_string()) } else { pod });
        }
    }
    node.tcpdump_is("pod-3", "polite");
    // The last round was 5: pods 1, 4 and 7 have no annotation, and pod n asks for 1 + (5 + n) % 4 files.
    let wanted: Vec<(String, String)> =
        [0, 2, 3, 5, 6].map(|n| (format!("captres-pod-{n}"), format!(" -W {} ", 1 + (5 + n) % 4))).into();
    until("what was last asked", || {
        let alive: Vec<_> = node.noted().into_iter().filter(|n| n.what == "started" && lives(n.pid)).collect();
        let as_asked = |(stem, files): &(String, String)| {
            alive.iter().any(|n| n.stem == *stem && n.arguments.contains(files.as_str()))
        };
        (alive.len() == wanted.len() && wanted.iter().all(as_asked)).then_some(())
    });
    until("no other files", || {
        let stems: std::collections::BTreeSet<_> =
            node.file_names().iter().map(|name| name.split_once(".pcap").unwrap().0.to_owned()).collect();
        (stems == wanted.iter().map(|(stem, _)| stem.clone()).collect()).then_some(())
    });
    node.until_heard(&controller);
    assert_eq!((controller.zombies(), controller.children().len()), (vec![], wanted.len()));
    assert_eq!(node.tcpdumps().len(), wanted.len());
    assert_eq!(controller.logged("the plan is not complete after"), 0);
}
