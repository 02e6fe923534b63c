//! The flight recorder: a capture ends when its pod breaks down, and says why.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    node::Node,
    pod::{Pod, web},
    process::{lives, until},
};

const STARTED: &str = "2026-11-25T14:00:00Z";
const ENDED: &str = "2026-11-25T14:03:22Z";

/// The pod, whose capture is to stop on an incident.
fn recorded() -> Pod {
    web().with("stop-on", "restart,unready")
}

fn ready(status: &str, since: &str) -> Value {
    json!([{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": status, "lastTransitionTime": since}])
}

fn running(pod: Pod) -> Pod {
    let app = json!({"name": "app", "restartCount": 0, "state": {"running": {"startedAt": STARTED}}, "lastState": {}});
    pod.add("/status/containerStatuses", json!([app])).add("/status/conditions", ready("True", STARTED))
}

fn killed(pod: Pod) -> Pod {
    let end = json!({"exitCode": 137, "reason": "OOMKilled", "startedAt": STARTED, "finishedAt": ENDED});
    let app = json!({"name": "app", "restartCount": 0, "state": {"terminated": end}});
    pod.add("/status/containerStatuses", json!([app])).add("/status/conditions", ready("False", ENDED))
}

fn started_again(pod: Pod) -> Pod {
    let end = json!({"exitCode": 137, "reason": "OOMKilled", "startedAt": STARTED, "finishedAt": ENDED});
    let state = json!({"running": {"startedAt": "2026-11-25T14:03:23Z"}});
    let app = json!({"name": "app", "restartCount": 1, "state": state, "lastState": {"terminated": end}});
    pod.add("/status/containerStatuses", json!([app])).add("/status/conditions", ready("True", "2026-11-25T14:03:23Z"))
}

#[test]
fn a_container_that_fails_ends_the_capture_a_second_later_for_good_until_the_annotations_change() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&running(recorded()));
    let tcpdump = node.nth_start("web", 1);
    assert!(
        node.until_event("web", "CaptureStarted")
            .contains("; ends 24h after its start or on container failure or unready;")
    );
    let killed_at = Instant::now();
    node.api.put(&killed(recorded()));
    let message = node.until_event("web", "CaptureFinished");
    assert!(killed_at.elapsed() >= Duration::from_secs(1) && !lives(tcpdump.pid));
    let why = format!("container app of this pod ended with 137 (OOMKilled) at {ENDED}; seen at 2");
    assert!(
        message.starts_with(&why) && message.contains("; kept: 1 file, up to the last 1 MB of copies; "),
        "{message}"
    );
    node.api.put(&started_again(recorded()));
    node.until_heard(&controller);
    let entry = &node.state()["web"];
    let incident = json!({"kind": "restart", "container": "app", "exit_code": 137, "reason": "OOMKilled", "at": ENDED,
        "others": 0, "seen": entry["incident"]["seen"], "captured": true});
    assert_eq!(
        (&entry["state"], &entry["ended"], &entry["incident"]),
        (&json!("finished"), &json!("stop-on"), &incident)
    );
    assert!(entry["reason"].as_str().unwrap().starts_with(&why));
    assert_eq!(node.starts("web").len(), 1);
    node.api.put(&started_again(recorded().with("duration", "1h")));
    node.nth_start("web", 2);
    until("the next recorder", || node.state()["web"]["recorder"].is_object().then_some(()));
    assert_eq!(node.state()["web"]["incident"], Value::Null);
}

#[test]
fn an_incident_that_no_controller_saw_is_seen_by_the_next_one_which_starts_nothing() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&running(recorded()));
    node.nth_start("web", 1);
    until("the recorder", || node.state()["web"]["recorder"].is_object().then_some(()));
    node.crash(controller);
    node.api.put(&started_again(recorded()));
    let controller = node.start_ready();
    assert!(
        node.until_event("web", "CaptureFinished")
            .starts_with("container app of this pod ended with 137 (OOMKilled) at ")
    );
    node.crash(controller);
    let controller = node.start_ready();
    node.until_heard(&controller);
    assert_eq!((node.starts("web").len(), node.file_names()), (1, vec!["captres-web.pcap0".to_owned()]));
    assert_eq!(node.messages("web", "CaptureFinished").len(), 1);
}

#[test]
fn an_incident_during_an_outage_is_seen_in_the_next_list() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&running(recorded()));
    let tcpdump = node.nth_start("web", 1);
    node.until_heard(&controller);
    // The list that follows the outage shows the pod as if nothing had happened, but for the count and the times.
    node.api.die();
    controller.until_logged("cannot watch");
    node.api.put(&started_again(recorded()));
    assert!(lives(tcpdump.pid));
    node.api.recover();
    node.until_event("web", "CaptureFinished");
    assert_eq!(node.starts("web").len(), 1);
}

#[test]
fn an_invalid_value_and_a_pod_with_too_many_containers_are_refused() {
    let node = Node::new();
    let controller = node.start_ready();
    node.api.put(&web().with("stop-on", "crash"));
    let message = node.until_event("web", "CaptureRefused");
    let expected = "annotation tcpdump.antrea.io/stop-on=\"crash\" is not \"restart\", \"unready\" or \"restart,unready\"; nothing is captured";
    assert_eq!(message, expected);
    // A pod that has only just been created has no status yet.
    let many: Vec<Value> = (0..33).map(|n| json!({"name": format!("c{n}")})).collect();
    node.api.put(&recorded().add("/spec/containers", json!(many)));
    let message = until("the second refusal", || node.messages("web", "CaptureRefused").get(1).cloned());
    assert!(
        message.starts_with("annotation tcpdump.antrea.io/stop-on cannot be used: the pod has more than 32 containers")
    );
    node.until_heard(&controller);
    assert_eq!(node.starts("web").len(), 0);
}
