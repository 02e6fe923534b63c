//! The optional annotations: which arguments tcpdump gets, when a capture ends, and that an invalid value never captures more than
//! was requested.

use std::{
    fs,
    time::{Duration, Instant},
};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{
    child::Controller,
    node::Node,
    pod::{Pod, pod, web},
    process::{lives, until},
};

fn until_idle(node: &Node, controller: &Controller) {
    node.until_heard(controller);
    until("the end of every tcpdump", || controller.children().is_empty().then_some(()));
}

#[test]
fn a_filter_goes_last_in_one_argument_and_only_once_tcpdump_has_compiled_it() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.put(&web().with("filter", "tcp port 443").with("packets", "100").with("snaplen", "100"));
    let path = node.capture("captres-web.pcap").display().to_string();
    let tcpdump = node.nth_start("web", 1);
    let expression = "(host 10.0.0.1) and (tcp port 443)";
    let expected = format!("-U -B 16384 -i any -C 1 -W 5 -s 120 -c 100 -w {path} -- {expression}");
    assert_eq!(tcpdump.arguments, expected);
    let arguments = fs::read(format!("/proc/{}/cmdline", tcpdump.pid)).unwrap();
    assert!(String::from_utf8_lossy(&arguments).ends_with(&format!("\0--\0{expression}\0")));
    let message = node.until_event("web", "CaptureStarted");
    assert!(message.starts_with(&format!("tcpdump captures {expression} into ")), "{message}");
    let rest = "5 files of 1 MB, which keep the last 5 MB of copies; only the first 100 bytes of each packet; ends after 100 copies of packets or \
                24h after its start; a copy is a packet as tcpdump sees it on one interface: most packets have several, and `get` shows one copy of each packet";
    assert!(message.ends_with(rest), "{message}");
}

#[test]
fn a_filter_that_tcpdump_rejects_starts_nothing_and_stops_nothing() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web().with("filter", "igmp"));
    let message = node.until_event("web", "CaptureRefused");
    let said =
        "annotation tcpdump.antrea.io/filter cannot be used: tcpdump says \"syntax error in the script's opinion\"";
    assert_eq!(message.replace('\\', ""), format!("{said}; nothing is captured"));
    node.api.put(&web().with("filter", "udp"));
    let tcpdump = node.nth_start("web", 1);
    node.api.put(&web().asks("7").with("filter", "igmp"));
    let message = until("the second refusal", || node.messages("web", "CaptureRefused").get(1).cloned());
    assert!(message.ends_with("; kept: the capture with 5 files"), "{message}");
    node.until_heard(&controller);
    assert!(lives(tcpdump.pid) && node.starts("web").len() == 1);
}

#[test]
fn a_filter_that_compiles_too_long_is_refused_and_delays_no_other_pod() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web().with("filter", "pim"));
    until("the compilation", || (!controller.children().is_empty()).then_some(()));
    node.api.put(&pod("other").asks("5"));
    node.nth_start("other", 1);
    assert_eq!(node.messages("web", "CaptureRefused"), [""; 0]);
    node.api.put(&pod("third").asks("5").with("filter", "udp"));
    let message = node.until_event("web", "CaptureRefused");
    assert!(message.contains("tcpdump did not compile the filter within 1 s; shorten the filter"), "{message}");
    node.nth_start("third", 1);
    assert_eq!((node.starts("web").len(), controller.children().len(), controller.zombies()), (0, 2, vec![]));
}

#[test]
fn a_killed_filter_compilation_is_tried_again_and_rejects_no_filter() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web().with("filter", "pim"));
    let compiler = until("the compilation", || controller.children().first().copied());
    kill_process(Pid::from_raw(compiler).unwrap(), Signal::KILL).unwrap();
    controller.until_logged("a filter could not be compiled in time on this machine");
    assert!(node.messages("web", "CaptureRefused").is_empty());
    let again = until("another", || controller.children().first().copied().filter(|pid| *pid != compiler));
    assert!(lives(again) && node.messages("web", "CaptureRefused").is_empty());
    node.until_event("web", "CaptureRefused");
}

#[test]
fn one_invalid_option_refuses_a_new_capture_and_keeps_a_running_one() {
    let bad = [
        (
            "filter",
            "port 80) or (port 443",
            "/filter cannot be used: \")\" at character 8 closes a bracket that was never",
        ),
        ("filter", " ", "/filter cannot be used: the filter is empty"),
        ("duration", "25h", "/duration=\"25h\" is not a time from 1s to 24h, such as \"30s\", \"5m\" or \"1h\""),
        ("packets", "0", "/packets=\"0\" is not a number of copies of packets from 1 to 1000000000, such as"),
        (
            "snaplen",
            "99",
            "/snaplen=\"99\" is not a number of bytes from 100 to 262144, such as \"128\": the headers of IPv6",
        ),
        ("pause", "yes", "/pause=\"yes\" is not \"true\"; to capture, remove the annotation"),
    ];
    let node = Node::new();
    let controller = node.start_ready();
    let web = |n: usize| pod(&format!("web-{n}"));
    for (n, (key, value, _)) in bad.iter().enumerate() {
        node.api.put(&web(n).asks("5").with(key, value));
    }
    node.until_heard(&controller);
    for (n, (_, _, text)) in bad.iter().enumerate() {
        let message = node.until_event(&format!("web-{n}"), "CaptureRefused");
        assert!(message.contains(text) && message.ends_with("; nothing is captured"), "{message}");
        node.api.put(&web(n).asks("5"));
    }
    let running: Vec<i32> = (0..bad.len()).map(|n| node.nth_start(&format!("web-{n}"), 1).pid).collect();
    for (n, (key, value, _)) in bad.iter().enumerate() {
        node.api.put(&web(n).asks("9").with(key, value));
    }
    node.until_heard(&controller);
    for (n, pid) in running.into_iter().enumerate() {
        let refused =
            until("the second refusal", || node.messages(&format!("web-{n}"), "CaptureRefused").get(1).cloned());
        assert!(refused.ends_with("; kept: the capture with 5 files"), "{refused}");
        assert!(lives(pid) && node.starts(&format!("web-{n}")).len() == 1);
    }
}

#[test]
fn a_capture_ends_after_its_duration_and_starts_again_only_for_a_changed_request() {
    let node = Node::new();
    let controller = node.start_ready();
    let lasting = |time| web().with("duration", time);
    node.api.put(&lasting("1s"));
    let (began, first) = (Instant::now(), node.nth_start("web", 1));
    let message = node.until_event("web", "CaptureFinished");
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    let text = "the duration of 1s is over; 12 copies of packets captured, 3 dropped by the kernel; kept: 1 file; the files stay until the";
    assert!(message.starts_with(text) && !lives(first.pid), "{message}");
    node.api.put(&lasting("1s").labelled("changed"));
    node.until_heard(&controller);
    node.crash(controller);
    let controller = node.start_ready();
    node.until_heard(&controller);
    assert_eq!((node.starts("web").len(), node.file_names().len(), controller.children()), (1, 1, vec![]));
    node.api.put(&lasting("1h"));
    assert_eq!(node.nth_start("web", 2).found, 1);
    node.api.put(&lasting("1h").asks_nothing());
    until("the files' end", || node.file_names().is_empty().then_some(()));
}

#[test]
fn a_duration_counts_on_while_the_controller_is_away_and_through_an_edit() {
    let node = Node::new();
    let now = Timestamp::now();
    let entry = |name: &str, began: Timestamp| {
        format!(
            r#"{{"namespace": "default", "pod": "{name}", "uid": "uid-of-{name}", "sequence": 1, "began": "{began}",
            "annotations": {{"tcpdump.antrea.io": "5", "tcpdump.antrea.io/duration": "1m"}}, "running": true}}"#
        )
    };
    let (over, ahead) =
        (entry("over", now - SignedDuration::from_secs(62)), entry("ahead", now + SignedDuration::from_hours(1)));
    node.leave(".state.json", &format!(r#"{{"version": 2, "captures": [{over}, {ahead}]}}"#));
    for name in ["over", "ahead"] {
        node.leave(&format!("captres-{name}.pcap0"), "packets of before, longer than a header");
        node.api.put(&pod(name).asks("5").with("duration", "1m"));
    }
    let controller = node.start_ready();
    let message = node.until_event("over", "CaptureFinished");
    assert!(message.starts_with("the duration of 1m is over") && message.contains("kept: 1 file"), "{message}");
    node.nth_start("ahead", 1);
    node.until_heard(&controller);
    assert_eq!(node.starts("over"), []);
    // After an edit of a running capture the duration still counts from the first start.
    node.api.put(&web().with("duration", "1h"));
    let first = node.nth_start("web", 1);
    let began = node.state()["web"]["began"].clone();
    node.api.put(&web().with("duration", "1s"));
    node.until_event("web", "CaptureFinished");
    assert!(!lives(first.pid) && node.starts("web").len() == 1);
    assert_eq!(node.state()["web"]["began"], began);
}

#[test]
fn a_packet_limit_counts_over_restarts_and_ends_the_capture() {
    let node = Node::new();
    let controller = node.start_ready();
    let counting = |count| web().with("packets", count);
    node.api.put(&counting("100"));
    assert!(node.nth_start("web", 1).arguments.contains(" -c 100 -w "));
    node.tcpdump_is("web", "enough");
    node.api.put(&counting("100").at(&["10.0.0.2"]));
    assert!(node.nth_start("web", 2).arguments.contains(" -c 88 -w "));
    let message = node.until_event("web", "CaptureFinished");
    assert!(
        message.starts_with("all requested copies of packets are captured; 100 copies of packets captured"),
        "{message}"
    );
    node.api.put(&counting("100").at(&["10.0.0.3"]));
    until_idle(&node, &controller);
    node.crash(controller);
    let controller = node.start_ready();
    until_idle(&node, &controller);
    assert_eq!((node.starts("web").len(), node.file_names().len()), (2, 2));
    node.tcpdump_is("web", "polite");
    node.api.put(&counting("101"));
    assert!(node.nth_start("web", 3).arguments.contains(" -c 101 -w "));
}

#[test]
fn a_tcpdump_that_ends_before_its_packet_limit_is_a_failure() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.tcpdump_is("web", "enough");
    node.api.put(&web().with("packets", "1000"));
    let message = node.until_event("web", "CaptureFailed");
    assert!(message.starts_with("tcpdump exited 0 after "), "{message}");
    assert!(node.nth_start("web", 2).arguments.contains(" -c 912 -w "));
}

#[test]
fn a_paused_capture_keeps_its_files_and_goes_on_with_the_ring() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    let paused: Pod = web().with("pause", "true");
    node.api.put(&paused);
    let message = node.until_event("web", "CaptureStopped");
    assert!(message.starts_with("the capture is paused; 12 copies of packets captured"), "{message}");
    until_idle(&node, &controller);
    node.crash(controller);
    let controller = node.start_ready();
    until_idle(&node, &controller);
    assert_eq!((node.starts("web").len(), node.file_names().len()), (1, 1));
    node.api.put(&web());
    let second = node.nth_start("web", 2);
    assert!(second.found == 1 && !lives(first.pid));
}

#[test]
fn a_finished_capture_starts_again_after_a_pause() {
    let node = Node::new();
    let controller = node.start_ready();
    let short = || web().with("duration", "1s");
    node.api.put(&short());
    node.until_event("web", "CaptureFinished");
    node.api.put(&short().with("pause", "true"));
    until_idle(&node, &controller);
    node.api.put(&short());
    node.nth_start("web", 2);
}

#[test]
fn the_operators_maxima_bound_a_capture_that_sets_no_limit() {
    let node = Node::new().with("MAX_DURATION", "1s").with("MAX_SNAPLEN", "128");
    let _controller = node.start_ready();
    node.api.put(&web());
    node.api.put(&pod("other").asks("5").with("snaplen", "4000"));
    for name in ["web", "other"] {
        assert!(node.nth_start(name, 1).arguments.contains(" -s 148 -w "));
        node.until_event(name, "CaptureFinished");
    }
}
