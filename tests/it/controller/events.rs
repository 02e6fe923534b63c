//! Events as the API server receives them. The unit tests of `k8s::events` show waits, repetitions and the bound for each pod.

use std::collections::BTreeSet;

use crate::support::{
    api::{Answer, Kind},
    node::Node,
    pod::{pod, web},
    process::until,
};

#[test]
fn an_event_is_sent_again_after_429_and_given_up_after_403_and_neither_delays_a_capture() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.once(Kind::Event, [Answer::Status(429), Answer::Truth, Answer::Status(403)]);
    node.api.put(&web());
    let events = until("the second attempt", || Some(node.api.events("web")).filter(|events| events.len() == 2));
    assert_eq!(events[0], events[1], "the name is the same, so that the Event cannot be created twice");
    node.api.put(&pod("refused").asks("5"));
    controller.until_logged("no event pod=default/refused");
    assert_eq!(controller.logged("hint: apply the ClusterRole"), 1);
    // Events are sent one after the other: once a later Event has arrived, the earlier one is not sent again.
    node.api.put(&pod("later").asks("5"));
    node.until_event("later", "CaptureStarted");
    assert_eq!((node.api.events("refused").len(), controller.logged("no event")), (1, 1));
    assert_eq!(controller.children().len(), 3);
}

#[test]
fn an_event_that_is_not_answered_delays_no_capture() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.once(Kind::Event, [Answer::Hang]);
    node.api.put(&web());
    until("the request", || (node.api.count(Kind::Event) == 1).then_some(()));
    node.api.put(&pod("other").asks("5"));
    node.nth_start("other", 1);
    node.until_heard(&controller);
    assert_eq!(node.api.count(Kind::Event), 1);
}

#[test]
fn events_that_differ_only_in_their_text_are_all_sent_and_a_pod_gets_ten_in_a_burst() {
    let node = Node::new();
    let controller = node.start_ready();
    for n in 1..=15 {
        node.api.put(&web().asks(&format!("x{n}")));
    }
    node.until_heard(&controller);
    node.until_event("barrier-1", "CaptureRefused");
    let messages = node.messages("web", "CaptureRefused");
    let expected = |n| format!("annotation tcpdump.antrea.io=\"x{n}\" is not");
    assert_eq!(messages.len(), 10);
    assert!((1..=10).zip(&messages).all(|(n, message)| message.starts_with(&expected(n))), "{messages:?}");
    let names: BTreeSet<_> = node.api.events("web").iter().map(|event| event["metadata"]["name"].to_string()).collect();
    assert_eq!(names.len(), 10);
    assert_eq!(controller.logged("capture refused pod=default/web "), 11, "the rest waits until it can be told");
}

#[test]
fn an_annotations_text_is_escaped_and_cut_in_events_and_log_lines() {
    let node = Node::new();
    let controller = node.start_ready();
    let texts = [
        "5\n2026-01-01T00:00:00Z INFO capture started pod=default/other",
        "\u{1b}[31m\u{202e}\"; kept: nothing\r\0",
        &"\u{1f980}".repeat(50_000),
    ];
    for (n, text) in texts.iter().enumerate() {
        node.api.put(&pod(&format!("value-{n}")).asks(text));
        node.api.put(&pod(&format!("key-{n}")).asks("5").annotated(&format!("tcpdump.antrea.io/{text}"), ""));
    }
    node.until_heard(&controller);
    node.until_event("barrier-1", "CaptureRefused");
    for (pod, n) in (0..texts.len()).flat_map(|n| [("value", n), ("key", n)]) {
        let messages = node.messages(&format!("{pod}-{n}"), "CaptureRefused");
        let [message] = &messages[..] else { panic!("{messages:?}") };
        assert!(message.len() <= 1024 && !message.contains(char::is_control), "{message}");
        assert!(message.chars().all(|c| c.is_ascii() || c == '…'), "{message}");
    }
    assert!(!controller.log().lines().any(|line| line.starts_with("2026")), "{}", controller.log());
    assert!(controller.log().lines().all(|line| line.len() < 2000 && !line.contains('\u{1b}')), "{}", controller.log());
    assert_eq!(controller.log().lines().filter(|line| !line.starts_with('[')).count(), 0);
}
