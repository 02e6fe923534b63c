//! Shutdown by SIGTERM: all captures end in parallel, all files stay, and the controller ends within 10 s.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::{
    api::{Answer, Kind},
    node::Node,
    pod::{pod, web},
    process::{lives, until},
};

#[test]
fn sigterm_ends_all_captures_in_parallel_and_keeps_their_files() {
    let node = Node::new();
    let mut controller = node.start_ready();
    let names = ["a", "b", "c"];
    for name in names {
        node.hold(name);
        node.api.put(&pod(name).asks("5"));
    }
    let pids = names.map(|name| node.nth_start(name, 1).pid);
    controller.signal(Signal::TERM);
    until("TERM at each", || (node.noted().iter().filter(|noted| noted.what == "ended").count() == 3).then_some(()));
    assert!(pids.iter().all(|pid| lives(*pid)));
    names.iter().for_each(|name| node.release(name));
    assert_eq!(controller.until_ended().0, 0);
    assert!(!pids.iter().any(|pid| lives(*pid)));
    assert_eq!(node.file_names(), ["captres-a.pcap0", "captres-b.pcap0", "captres-c.pcap0"]);
    for name in names {
        let message = node.until_event(name, "CaptureStopped");
        assert!(message.starts_with("packet-capture is shutting down; 12 copies of packets captured"), "{message}");
        assert!(message.contains("kept: 1 file") && message.contains("not an upgrade"), "{message}");
    }
    assert_eq!(controller.logged("shutting down captures=3"), 1);
}

#[test]
fn an_idle_controller_ends_at_once_on_sigint() {
    let node = Node::new();
    let mut controller = node.start_ready();
    controller.signal(Signal::INT);
    let (code, took) = controller.until_ended();
    assert!(code == 0 && took < Duration::from_secs(5), "{code} {took:?}");
}

#[test]
fn a_tcpdump_that_ignores_term_is_killed_after_5_s_or_at_once_by_a_second_term() {
    for (terms, exit_code, took_s) in [(1, 0, 4.9..10.0), (2, 1, 0.0..4.0)] {
        let node = Node::new();
        let mut controller = node.start_ready();
        node.tcpdump_is("web", "deaf");
        node.api.put(&web());
        let deaf = node.nth_start("web", 1);
        controller.signal(Signal::TERM);
        controller.until_logged("shutting down captures=1");
        if terms == 2 {
            controller.signal(Signal::TERM);
        }
        let (code, took) = controller.until_ended();
        assert!(code == exit_code && took_s.contains(&took.as_secs_f64()), "{terms}: {code} {took:?}");
        until("tcpdump's end", || (!lives(deaf.pid)).then_some(()));
        assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    }
}

#[test]
fn an_api_server_that_does_not_answer_does_not_delay_the_shutdown() {
    let node = Node::new();
    let mut controller = node.start_ready();
    node.api.put(&web());
    node.until_event("web", "CaptureStarted");
    node.api.always(Kind::Event, Answer::Hang);
    node.api.always(Kind::List, Answer::Hang);
    node.api.send_error(410);
    until("the list that is not answered", || (node.api.count(Kind::List) == 2).then_some(()));
    controller.signal(Signal::TERM);
    let (code, took) = controller.until_ended();
    assert!(code == 0 && took < Duration::from_secs(8), "{code} {took:?}");
    assert_eq!((node.file_names(), node.tcpdumps()), (vec!["captres-web.pcap0".to_owned()], vec![]));
}
