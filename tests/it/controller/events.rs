//! Events as the API server sees them.

use std::{collections::BTreeSet, thread, time::Duration};

use crate::support::{
    api::{Answer, Kind},
    node::Node,
    pod::{pod, web},
    process::until,
};

#[test]
fn an_event_that_is_refused_for_good_is_not_sent_again() {
    let refuse = |code| {
        let node = Node::new();
        let controller = node.start_ready();
        node.api.once(Kind::Event, [Answer::Status(code)]);
        node.api.put(&web());
        node.until_event("web", "CaptureStarted");
        controller.until_logged("no event pod=default/web");
        // Events go out one after the other: with a later one there, the earlier one is done with.
        node.api.put(&pod("later").asks("5"));
        node.until_event("later", "CaptureStarted");
        assert_eq!((node.api.events("web").len(), controller.logged("no event")), (1, 1), "{code}");
        assert_eq!(controller.children().len(), 2, "{code}");
        assert_eq!(controller.logged("hint: apply the ClusterRole"), usize::from(code == 403));
    };
    thread::scope(|scope| [403, 404, 422].into_iter().for_each(|code| drop(scope.spawn(move || refuse(code)))));
}

#[test]
fn an_event_that_meets_a_busy_api_server_is_sent_again_after_a_wait() {
    let node = Node::new();
    let _controller = node.start_ready();
    node.api.once(Kind::Event, [Answer::Status(429)]);
    node.api.put(&web());
    let events = until("the second attempt", || Some(node.api.events("web")).filter(|events| events.len() == 2));
    assert_eq!(events[0], events[1], "under the same name, so that it cannot come twice");
    let posts = node.api.requests(Kind::Event);
    assert!(posts[1].at - posts[0].at >= Duration::from_secs(1));
}

#[test]
#[ignore = "takes 7 s"]
fn an_event_is_given_up_after_four_attempts() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.always(Kind::Event, Answer::Status(503));
    node.api.put(&web());
    controller.until_logged("no event pod=default/web");
    assert_eq!(node.api.events("web").len(), 4);
}

#[test]
#[ignore = "takes 11 s"]
fn an_event_that_is_not_answered_is_sent_again_and_delays_no_capture() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.once(Kind::Event, [Answer::Hang]);
    node.api.put(&web());
    until("the attempt", || (node.api.count(Kind::Event) == 1).then_some(()));
    node.api.put(&pod("other").asks("5"));
    node.nth_start("other", 1);
    node.until_heard(&controller);
    assert_eq!(node.api.count(Kind::Event), 1);
    node.until_event("other", "CaptureStarted");
    assert_eq!(node.api.events("web").len(), 2);
}

#[test]
fn two_events_that_differ_in_their_text_alone_are_two_and_a_pod_gets_ten_in_a_burst() {
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
fn a_users_text_can_neither_pass_for_ours_nor_be_too_long() {
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
