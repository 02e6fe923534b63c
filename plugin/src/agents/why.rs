//! Why a packet-capture pod, or its node, does not work.

use serde_json::Value;

use super::{CONTAINER, Readiness, text};
use crate::printable::printable;

/// The longest reason: the kubelet's message about an image is shorter.
const REASON_MAX: usize = 300;

pub(super) fn readiness(pod: &Value) -> Readiness {
    if condition(pod, "Ready").is_some_and(|ready| text(ready, "/status") == "True") {
        return Readiness::Ready;
    }
    let container = named(pod, "/status/containerStatuses", CONTAINER);
    let state = |name: &str| container?.get("state")?.get(name);
    match (state("running"), state("waiting"), state("terminated")) {
        (Some(_), _, _) => {
            // The node's controller says nothing else of a pod on a node that is gone.
            Readiness::Unready(reason(condition(pod, "Ready")).unwrap_or_else(|| "it is not Ready".to_owned()))
        }
        (None, Some(state), _) | (None, None, Some(state)) => {
            Readiness::NotRunning(reason(Some(state)).unwrap_or_else(|| "its container does not run".to_owned()))
        }
        (None, None, None) => {
            let phase = text(pod, "/status/phase");
            let phase = if phase.is_empty() { "unknown" } else { phase };
            Readiness::NotRunning(printable(&format!("its phase is {phase}"), REASON_MAX))
        }
    }
}

pub(super) fn node(name: &str, node: &Value) -> Option<String> {
    let name = printable(name, REASON_MAX);
    if node.is_null() {
        return Some(format!("there is no node {name}"));
    }
    let ready = condition(node, "Ready")?;
    if text(ready, "/status") == "True" {
        return None;
    }
    let why = Some(text(ready, "/message")).filter(|message| !message.is_empty());
    let why = why.map(|message| format!(": {}", printable(message, REASON_MAX)));
    Some(format!("node {name} is NotReady{}", why.unwrap_or_default()))
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| text(condition, "/type") == kind)
}

fn named<'a>(object: &'a Value, list: &str, name: &str) -> Option<&'a Value> {
    object.pointer(list)?.as_array()?.iter().find(|item| text(item, "/name") == name)
}

fn reason(of: Option<&Value>) -> Option<String> {
    let (reason, message) = (text(of?, "/reason"), text(of?, "/message"));
    match (reason.is_empty(), message.is_empty()) {
        (true, true) => None,
        (true, false) => Some(printable(message, REASON_MAX)),
        (false, true) => Some(printable(reason, REASON_MAX)),
        (false, false) => Some(printable(&format!("{reason}: {message}"), REASON_MAX)),
    }
}
