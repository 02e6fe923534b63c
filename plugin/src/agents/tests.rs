use serde_json::{Value, json};

use super::{Agents, Error, Place, Readiness, why};

fn agent(namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "metadata": {"namespace": namespace, "name": name,
            "ownerReferences": [{"kind": "DaemonSet", "name": "packet-capture", "controller": true}]},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "packet-capture", "state": {"running": {}}}]}
    })
}

fn agents(pods: &[Value]) -> Result<Agents, Error> {
    Agents::of(&json!({"items": pods}), &Place::Anywhere)
}

fn said<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    result.unwrap_err().to_string()
}

/// The pod with another state: not Ready.
fn unready(condition: Value, container: Value) -> Value {
    let mut pod = agent("kube-system", "pc-1", "w1");
    pod["status"] = json!({"phase": "Pending", "conditions": [condition], "containerStatuses": [container]});
    pod
}

#[test]
fn each_node_has_its_packet_capture_pod() {
    let found = agents(&[agent("capture", "pc-1", "w1"), agent("capture", "pc-2", "w2")]).unwrap();
    assert_eq!(
        (found.namespace.as_str(), found.daemonset.as_str(), found.by_node.len()),
        ("capture", "packet-capture", 2)
    );
    assert_eq!(
        (found.on("w2").unwrap().name.as_str(), &found.on("w2").unwrap().readiness),
        ("pc-2", &Readiness::Ready)
    );
    assert_eq!(
        said(found.on("w3")),
        "there is no packet-capture pod on node w3; hint: kubectl -n capture describe daemonset packet-capture"
    );
}

#[test]
fn of_two_on_a_node_the_one_that_stays_is_asked() {
    let mut going = agent("capture", "pc-1", "w1");
    going["metadata"]["deletionTimestamp"] = json!("2026-11-25T10:00:00Z");
    let stays = agent("capture", "pc-2", "w1");
    for pods in [[going.clone(), stays.clone()], [stays, going.clone()]] {
        assert_eq!(agents(&pods).unwrap().on("w1").unwrap().name, "pc-2");
    }
    assert_eq!(agents(&[going]).unwrap().on("w1").unwrap().name, "pc-1", "better than none");
}

#[test]
fn two_daemonsets_are_an_error_with_both_names() {
    let error = said(agents(&[agent("capture", "pc-1", "w1"), agent("kube-system", "pc-2", "w1")]));
    assert!(error.starts_with(
        "there are packet-capture pods of 2 DaemonSets: capture/packet-capture, kube-system/packet-capture; hint: choose one"
    ), "{error}");
}

#[test]
fn pods_that_only_have_the_labels_do_not_count() {
    let mut bare = agent("evil", "pc-1", "w1");
    bare["metadata"]["ownerReferences"] = json!([]);
    let mut owned = agent("evil", "pc-2", "w1");
    owned["metadata"]["ownerReferences"][0]["kind"] = json!("ReplicaSet");
    assert_eq!(agents(&[bare.clone(), owned]), Err(Error::None(Place::Anywhere)));
    let found = agents(&[bare, agent("kube-system", "pc-3", "w1")]).unwrap();
    assert_eq!(found.on("w1").unwrap().name, "pc-3");
}

#[test]
fn one_that_cannot_answer_says_why() {
    let waiting = json!({"name": "packet-capture", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no \u{1b}[2J image"}}});
    let found = agents(&[unready(json!({"type": "Ready", "status": "False"}), waiting)]).unwrap();
    assert_eq!(
        said(found.on("w1")),
        "packet-capture pod pc-1 on node w1 does not run: ImagePullBackOff: no ?[2J image; hint: kubectl -n kube-system describe pod pc-1"
    );
    let none = agents(&[unready(json!({}), json!({"name": "sidecar", "state": {"running": {}}}))]).unwrap();
    assert!(said(none.on("w1")).contains("does not run: its phase is Pending; hint: "));
}

#[test]
fn one_that_runs_and_is_not_ready_is_asked_nevertheless() {
    let running = json!({"name": "packet-capture", "state": {"running": {}}});
    let condition = json!({"type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "containers with unready status"});
    let found = agents(&[unready(condition, running)]).unwrap();
    let why = "ContainersNotReady: containers with unready status".to_owned();
    assert_eq!(found.on("w1").unwrap().readiness, Readiness::Unready(why));
}

#[test]
fn a_node_that_does_not_work_says_why() {
    let node = |status: &str| {
        json!({"status": {"conditions": [
        {"type": "DiskPressure", "status": "False"},
        {"type": "Ready", "status": status, "message": "Kubelet stopped posting node status."}]}})
    };
    assert_eq!(why::node("w1", &node("True")), None);
    let unknown = why::node("w1", &node("Unknown")).unwrap();
    assert_eq!(unknown, "node w1 is NotReady: Kubelet stopped posting node status.");
    assert_eq!(why::node("w1", &Value::Null).unwrap(), "there is no node w1");
}

#[test]
fn where_none_is_found_says_where_it_was_looked_for() {
    let none = |place| said(Agents::of(&json!({"items": []}), &place));
    assert!(
        none(Place::Named("x".to_owned()))
            .starts_with("there are no packet-capture pods in namespace x; hint: correct")
    );
    assert!(none(Place::Anywhere).contains("in any namespace; hint: have packet-capture installed"));
    assert!(none(Place::Usual).contains("in namespace kube-system, and you may not list the pods of all namespaces"));
    let pending = said(agents(&[agent("capture", "pc-1", "")]));
    assert_eq!(pending, "no packet-capture pod has a node yet; hint: kubectl -n capture describe pod pc-1");
    assert_eq!(agents(&[agent("capture", "pc-1", "w1"), agent("capture", "-x", "w1")]), Err(Error::Malformed));
}

#[test]
fn the_option_is_stronger_than_the_variable() {
    let named = |name: &str| Ok(Some(Place::Named(name.to_owned())));
    assert_eq!(Place::named(Some("a"), Some("b")), named("a"));
    assert_eq!(Place::named(None, Some("b")), named("b"));
    assert_eq!((Place::named(None, Some("")), Place::named(None, None)), (Ok(None), Ok(None)));
    assert!(
        said(Place::named(Some("-x"), None))
            .starts_with("-x is not a valid namespace name; hint: correct --capture-namespace")
    );
    assert_eq!(
        Place::Named("a".to_owned()).call().join(" "),
        "get pods --selector app=packet-capture --output=json --namespace=a"
    );
    assert!(Place::Anywhere.call().contains(&"--all-namespaces".to_owned()));
}
