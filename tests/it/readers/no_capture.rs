//! `get` and `follow` without a capture: they say where the pod is, and what can be done.

use crate::{
    readers::get::{entry, get, leave_state},
    support::{
        api::{Answer, Kind},
        node::Node,
        packets::{numbered, write},
        pod::{Pod, pod, web},
    },
};

/// What is said when there is nothing of this pod, by `get` and by `follow`, which end with exit code 1 and no packet.
fn both(node: &Node, name: &str) -> [String; 2] {
    ["get", "follow"].map(|verb| {
        let (code, out, error) = node.run(&[verb, name]);
        assert!(code == 1 && out.is_empty() && error.lines().count() == 1, "{verb}: {code} {out} {error}");
        error.trim_end().to_owned()
    })
}

/// The same, where both say the same.
fn said(node: &Node, name: &str) -> String {
    let [get, follow] = both(node, name);
    assert_eq!(get, follow);
    get
}

fn on(pod: Pod, node: &str) -> Pod {
    pod.set("/spec/nodeName", node.into())
}

#[test]
fn get_and_follow_say_where_a_pod_is_that_is_not_captured_here() {
    let node = Node::new();
    let here = node.name.clone();
    let begins = "error: no capture of default/web on this node; ";
    assert_eq!(said(&node, "web"), format!("{begins}there is no such pod"));
    node.api.put(&on(web(), "node2"));
    assert_eq!(said(&node, "web"), format!("{begins}it runs on node2"));
    node.api.put(&on(web(), ""));
    assert_eq!(said(&node, "web"), format!("{begins}it is not scheduled yet"));
    node.api.put(&on(web(), &here));
    assert_eq!(
        said(&node, "default/web"),
        format!("{begins}its capture has not begun; see `kubectl -n default describe pod web`")
    );
    node.api.put(&on(pod("web"), &here));
    assert_eq!(
        said(&node, "web"),
        format!("{begins}it asks for none; hint: kubectl -n default annotate pod web tcpdump.antrea.io=5")
    );
    // The one of that namespace is asked for, and no other.
    assert_eq!(said(&node, "prod/web"), "error: no capture of prod/web on this node; there is no such pod");
    node.api.put(&on(web().in_namespace("prod"), "node3"));
    assert_eq!(said(&node, "prod/web"), "error: no capture of prod/web on this node; it runs on node3");
    assert_eq!((node.api.count(Kind::Other), node.api.count(Kind::List)), (0, 0));
}

#[test]
fn get_and_follow_say_why_the_api_server_does_not_tell_where_a_pod_is() {
    let node = Node::new();
    let begins = "error: no capture of default/web on this node; cannot find out which node the pod runs on: ";
    for (answer, said_why) in [
        (Answer::Status(403), "pods is forbidden"),
        (Answer::Status(503), "currently unable"),
        (Answer::Raw("{".to_owned()), ""),
        (Answer::Cut, ""),
        (Answer::Hang, "the API server does not answer"),
    ] {
        node.api.always(Kind::Find, answer.clone());
        for said in both(&node, "web") {
            assert!(said.starts_with(begins) && said.contains(said_why), "{answer:?}: {said}");
        }
    }
    node.api.die();
    for node in [node, Node::new().with("KUBECONFIG", "/nowhere")] {
        assert!(both(&node, "web").iter().all(|said| said.starts_with(begins)));
    }
}

#[test]
fn get_of_a_capture_does_not_ask_the_api_server() {
    let node = Node::new();
    leave_state(&node, &[entry()]);
    write(&node.capture("captres-web.pcap0"), &numbered(1..4));
    get(&node, &["web"]);
    assert_eq!([Kind::Find, Kind::List, Kind::Other].map(|kind| node.api.count(kind)), [0; 3]);
}
