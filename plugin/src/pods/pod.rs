//! What is read of a pod's JSON.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use super::{error::Error, is_name};

/// The annotation that asks for a capture. Those of its options have this name, `/` and a word.
pub const ANNOTATION: &str = "tcpdump.antrea.io";

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRef {
    /// Its namespace: a valid name.
    pub namespace: String,
    /// Its name: a valid name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its node, if it has one: a valid name.
    pub node: Option<String>,
    /// Its phase: `Running`; empty if there is none.
    pub phase: String,
    /// Our annotations. Their texts are the user's, and not made printable.
    pub annotations: BTreeMap<String, String>,
    /// Its addresses, the first one of `status.podIP`.
    pub addresses: Vec<IpAddr>,
}

impl PodRef {
    /// Whether it has succeeded or failed.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Its node.
    ///
    /// # Errors
    /// If it has none yet.
    pub fn on_node(&self) -> Result<&str, Error> {
        let none = || Error::NoNode { namespace: self.namespace.clone(), name: self.name.clone() };
        self.node.as_deref().ok_or_else(none)
    }
}

/// The pods of a list.
pub(super) fn list(answer: &Value) -> Result<Vec<PodRef>, Error> {
    let items = answer.get("items").and_then(Value::as_array).ok_or(Error::Malformed)?;
    items.iter().map(pod).collect()
}

/// One pod, or none if the answer is null.
pub(super) fn one(answer: &Value) -> Result<Vec<PodRef>, Error> {
    if answer.is_null() { Ok(Vec::new()) } else { Ok(vec![pod(answer)?]) }
}

fn pod(pod: &Value) -> Result<PodRef, Error> {
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let node = Some(text("/spec/nodeName")).filter(|node| !node.is_empty());
    let (namespace, name, uid) = (text("/metadata/namespace"), text("/metadata/name"), text("/metadata/uid"));
    // These become arguments of kubectl and names of files.
    let good = is_name(&namespace) && is_name(&name) && node.as_deref().is_none_or(is_name);
    if !good || uid.is_empty() {
        return Err(Error::Malformed);
    }
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    let ours = |key: &str| key.strip_prefix(ANNOTATION).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let annotations = annotations.into_iter().flatten().filter(|(key, _)| ours(key));
    let annotations = annotations.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
    let all = pod.pointer("/status/podIPs").and_then(Value::as_array).into_iter().flatten();
    let mut addresses: Vec<IpAddr> = all.filter_map(|ip| ip.get("ip")?.as_str()?.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(text("/status/podIP").parse::<IpAddr>().ok());
    }
    Ok(PodRef { namespace, name, uid, node, phase: text("/status/phase"), annotations, addresses })
}
