//! Failures of the API server: captures go on, no file is deleted, and a new list follows. The unit tests of `k8s::watch` show the
//! timeouts and waits with a paused clock; the tests here show that the controller survives each kind of answer.

use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{
    api::{Answer, Kind},
    node::Node,
    pod::{pod, web},
    process::{lives, until},
};

/// Calls `fail` while a capture runs, waits until the pods are listed again, and checks that the capture did not change. Returns the
/// number of logged failures.
fn goes_on(what: &str, fail: impl Fn(&Node)) -> usize {
    let node = Node::new();
    let controller = node.start_ready();
    node.leave("captres-web.pcap3", "of before");
    node.api.put(&web());
    let tcpdump = node.nth_start("web", 1);
    node.until_event("web", "CaptureStarted");
    let files = node.files();
    fail(&node);
    controller.until_logged("pods listed again");
    node.until_heard(&controller);
    assert_eq!(controller.children(), [tcpdump.pid], "{what}");
    assert_eq!((node.starts("web").len(), node.files()), (1, files), "{what}");
    assert_eq!(
        controller.logged("cannot watch the pods of node"),
        controller.logged("kept: 1 running capture"),
        "{what}"
    );
    controller.logged("cannot watch the pods of node")
}

#[test]
fn captures_go_on_whatever_a_list_is_answered_and_another_list_follows() {
    let list = |items| json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}).to_string();
    let answers = [
        Answer::Status(401),
        Answer::Status(403),
        Answer::Status(410),
        Answer::Status(429),
        Answer::Status(503),
        Answer::Cut,
        Answer::Raw("no JSON".to_owned()),
        Answer::Raw(String::new()),
        Answer::Raw(list(json!({"not": "a list"}))),
    ];
    thread::scope(|scope| {
        for answer in answers {
            scope.spawn(move || {
                let told = goes_on(&format!("{answer:?}"), |node| {
                    node.api.once(Kind::List, [answer.clone()]);
                    node.api.send_error(410);
                });
                assert_eq!(told, 2, "each answer is a failure of its own, and kube hides none: {answer:?}");
            });
        }
    });
}

#[test]
fn captures_go_on_whatever_a_watch_is_answered_and_a_list_follows() {
    let answers = [
        Answer::Status(401),
        Answer::Status(403),
        Answer::Status(410),
        Answer::Status(429),
        Answer::Status(503),
        Answer::Raw("no JSON".to_owned()),
        Answer::Raw(json!({"type": "ERROR", "object": {"code": 410, "message": "too old"}}).to_string()),
        Answer::Raw(json!({"type": "ERROR", "object": null}).to_string()),
    ];
    thread::scope(|scope| {
        for answer in answers {
            scope.spawn(move || {
                goes_on(&format!("{answer:?}"), |node| {
                    node.api.once(Kind::Watch, [answer.clone()]);
                    node.api.send_error(410);
                });
            });
        }
    });
}

#[test]
fn a_relist_that_fails_half_way_deletes_nothing() {
    // The second page breaks off, or its token has expired.
    thread::scope(|scope| {
        for answer in [Answer::Cut, Answer::Status(410)] {
            scope.spawn(|| fails_half_way(answer));
        }
    });
}

fn fails_half_way(answer: Answer) {
    let node = Node::new();
    let controller = node.start_ready();
    let names = ["a", "b", "c"];
    for name in names {
        node.api.put(&pod(name).asks("5"));
    }
    let pids = names.map(|name| node.nth_start(name, 1).pid);
    let files = node.files();
    node.api.once(Kind::Page, [Answer::Truth, answer]);
    node.api.send_error(410);
    until("the list after the one that failed", || (node.api.count(Kind::List) == 3).then_some(()));
    assert_eq!(node.files(), files);
    controller.until_logged("pods listed again");
    node.until_heard(&controller);
    assert!(pids.iter().all(|pid| lives(*pid)));
    assert_eq!(node.files(), files);
}

#[test]
fn no_file_is_deleted_before_the_first_complete_list() {
    let node = Node::new();
    node.api.page_size(1);
    node.api.put(&pod("first"));
    node.api.put(&web());
    node.leave("captres-gone.pcap0", "of a pod that does not ask any more, but who knows that yet");
    node.api.always(Kind::Page, Answer::Hang);
    let mut controller = node.start();
    until("the page that is not answered", || (node.api.count(Kind::Page) == 1).then_some(()));
    assert_eq!(node.run(&["health"]).0, 0);
    let (code, _, error) = node.run(&["health", "--ready"]);
    assert_eq!(
        (code, error.trim_end()),
        (1, "not ready: the pods of this node have not been listed yet; the log says why")
    );
    assert_eq!((node.file_names(), node.starts("web")), (vec!["captres-gone.pcap0".to_owned()], vec![]));
    node.api.recover();
    controller.until_logged("pods listed; ready");
    node.nth_start("web", 1);
    controller.until_logged("deleted 1 file that belongs to no pod stem=captres-gone");
    until("readiness", || (node.run(&["health", "--ready"]).0 == 0).then_some(()));
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    controller.signal(Signal::TERM);
    assert_eq!(controller.until_ended().0, 0);
}

#[test]
fn a_controller_that_is_not_allowed_to_list_says_what_to_do_and_becomes_ready_when_it_is() {
    let node = Node::new();
    node.api.once(Kind::List, [Answer::Status(401), Answer::Status(403)]);
    let controller = node.start();
    until("the second list", || (node.api.count(Kind::List) == 2).then_some(()));
    assert_eq!((node.run(&["health"]).0, node.run(&["health", "--ready"]).0), (0, 1));
    controller.until_logged("pods listed; ready");
    until("readiness", || (node.run(&["health", "--ready"]).0 == 0).then_some(()));
    assert_eq!(controller.logged("hint: the service account's token was not accepted"), 1);
    assert_eq!(controller.logged("hint: apply the ClusterRole and its binding in daemonset.yaml"), 1);
    assert!(controller.log().contains("cannot list resource") && controller.log().contains("(403 Forbidden)"));
    assert_eq!(controller.logged("ERROR"), 0, "kube's own lines are off");
}

#[test]
fn api_objects_of_a_strange_shape_do_no_harm() {
    let strange = [
        json!({"metadata": {}}),
        json!({"metadata": {"namespace": 5}, "spec": 5, "status": []}),
        json!({"metadata": {"name": "odd", "namespace": "default", "uid": {}, "annotations": {"tcpdump.antrea.io": "5"}}}),
        json!({"metadata": {"name": "odd", "namespace": "default", "uid": "u", "annotations": []}, "status": {"podIPs": 3}}),
        json!({"metadata": {"name": "../../etc", "namespace": "/", "uid": "u", "annotations": {"tcpdump.antrea.io": 5}}}),
    ];
    let node = Node::new();
    let mut items = strange.to_vec();
    items.extend([json!(5), json!(null), json!([]), json!({}), json!({"metadata": "x"}), web().0]);
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "0"}, "items": items});
    node.api.once(Kind::List, [Answer::Raw(list.to_string())]);
    let controller = node.start_ready();
    let tcpdump = node.nth_start("web", 1);
    for mut object in strange {
        object["metadata"]["resourceVersion"] = json!("5");
        for what in ["ADDED", "MODIFIED", "DELETED"] {
            node.api.send(&json!({"type": what, "object": object}).to_string());
        }
    }
    node.api.put(&web());
    node.until_heard(&controller);
    assert_eq!(controller.logged("cannot watch"), 0);
    assert_eq!((controller.children(), node.starts("web").len()), (vec![tcpdump.pid], 1));
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
}

#[test]
fn tcpdump_stops_after_max_stale_without_the_api_server_and_goes_on_with_its_files() {
    let node = Node::new().with("MAX_STALE", "2s");
    let controller = node.start_ready();
    node.api.put(&web());
    let first = node.nth_start("web", 1);
    let written = node.files()["captres-web.pcap0"].clone();
    node.until_event("web", "CaptureStarted");
    node.api.die();
    controller.until_logged("cannot watch the pods of node");
    assert!(lives(first.pid), "not at once");
    until("tcpdump's end", || (!lives(first.pid)).then_some(()));
    controller
        .until_logged("the API server has not answered for too long (MAX_STALE), so another pod may have the address by now; 12 copies of packets");
    assert_eq!(node.file_names(), ["captres-web.pcap0"]);
    node.api.recover();
    let second = node.nth_start("web", 2);
    assert_eq!(second.found, 1);
    assert!(node.files()["captres-web.pcap4"].starts_with(&written));
    assert!(
        node.until_event("web", "CaptureStopped")
            .ends_with("kept: 1 file; the capture resumes when the API server answers again")
    );
}

#[test]
fn a_watch_that_ends_is_resumed_without_a_list() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    node.api.end_watches();
    node.api.put(&pod("later").asks("5"));
    node.nth_start("later", 1);
    assert_eq!(node.api.count(Kind::Watch), 2);
    assert_eq!((node.api.count(Kind::List), controller.logged("cannot watch")), (1, 0));
}

#[test]
fn bookmarks_and_events_of_another_pod_uid_change_nothing() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web());
    node.nth_start("web", 1);
    node.until_heard(&controller);
    let bookmark = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "99"}});
    node.api.send(&json!({"type": "BOOKMARK", "object": bookmark}).to_string());
    let mut another = web().uid("uid-of-another").0;
    another["metadata"]["resourceVersion"] = json!("100");
    node.api.send(&json!({"type": "DELETED", "object": another}).to_string());
    node.until_heard(&controller);
    assert_eq!((controller.children().len(), controller.logged("cannot watch")), (1, 0));
}
