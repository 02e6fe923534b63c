//! The packet-capture pods of the cluster: which one is on which node, and whether it is Ready, or why not.
//!
//! They are found by the labels of their DaemonSet, in the namespace that the user names, else in any that the user may see. A user who
//! may not list the pods of all namespaces is asked about `kube-system` only.

mod error;
mod why;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::error::Error;
use crate::{
    kubectl::{Failure, Kubectl},
    pods::is_name,
};

/// The labels of the DaemonSet's pods.
pub const LABELS: &str = "app=packet-capture";
/// The container that packet-capture runs in.
pub const CONTAINER: &str = "packet-capture";
/// The environment variable that names the namespace.
pub const NAMESPACE_VARIABLE: &str = "PACKET_CAPTURE_NAMESPACE";
/// Where packet-capture is if nothing else is known.
const NAMESPACE_USUAL: &str = "kube-system";

/// The packet-capture pods of one DaemonSet, by their nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agents {
    /// Their namespace.
    pub namespace: String,
    /// Their DaemonSet.
    pub daemonset: String,
    /// At least one, by the node.
    pub by_node: BTreeMap<String, Agent>,
}

/// A packet-capture pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: String,
    /// Whether it works.
    pub readiness: Readiness,
}

/// Whether a packet-capture pod works, as far as the API server knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It runs and is not Ready, for this reason: it may answer.
    Unready(String),
    /// Its container does not run, for this reason: it cannot answer.
    NotRunning(String),
}

impl Agents {
    /// The packet-capture pod of a node.
    ///
    /// # Errors
    /// If there is none, or it cannot answer.
    pub fn on(&self, node: &str) -> Result<&Agent, Error> {
        let agent = self.by_node.get(node).ok_or_else(|| Error::NoneOnNode {
            node: node.to_owned(),
            namespace: self.namespace.clone(),
            daemonset: self.daemonset.clone(),
        })?;
        match &agent.readiness {
            Readiness::NotRunning(why) => Err(Error::NotRunning { agent: Box::new(agent.clone()), why: why.clone() }),
            Readiness::Ready | Readiness::Unready(_) => Ok(agent),
        }
    }

    /// The packet-capture pods in a list of pods.
    ///
    /// # Errors
    /// If there are none, they belong to several DaemonSets, or this is no list of pods.
    pub fn of(pods: &Value, place: &Place) -> Result<Self, Error> {
        let items = pods.get("items").and_then(Value::as_array).ok_or(Error::Malformed)?;
        let mut daemonsets: BTreeMap<(String, String), Vec<(Going, Agent)>> = BTreeMap::new();
        let mut without_node = None;
        for pod in items {
            // Anybody may give a pod these labels.
            let Some(daemonset) = owner(pod) else { continue };
            let (namespace, name) = (text(pod, "/metadata/namespace"), text(pod, "/metadata/name"));
            if !is_name(namespace) || !is_name(name) || !is_name(daemonset) {
                return Err(Error::Malformed);
            }
            let found = daemonsets.entry((namespace.to_owned(), daemonset.to_owned())).or_default();
            let node = text(pod, "/spec/nodeName");
            if !is_name(node) {
                without_node = Some(name.to_owned());
                continue;
            }
            let going = if pod.pointer("/metadata/deletionTimestamp").is_some() { Going::Soon } else { Going::No };
            let (namespace, name, node) = (namespace.to_owned(), name.to_owned(), node.to_owned());
            found.push((going, Agent { namespace, name, node, readiness: why::readiness(pod) }));
        }
        let names: Vec<String> = daemonsets.keys().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
        if names.len() > 1 {
            return Err(Error::Several(names));
        }
        let Some(((namespace, daemonset), mut found)) = daemonsets.pop_first() else {
            return Err(Error::None(place.clone()));
        };
        // Of two on a node, the one that stays is Ready or about to be.
        found.sort_by(|(a_going, a), (b_going, b)| (b_going, &b.readiness).cmp(&(a_going, &a.readiness)));
        let by_node: BTreeMap<_, _> = found.into_iter().map(|(_, agent)| (agent.node.clone(), agent)).collect();
        match without_node {
            Some(pod) if by_node.is_empty() => Err(Error::NoNodes { namespace, pod }),
            _ => Ok(Self { namespace, daemonset, by_node }),
        }
    }
}

/// Whether a pod is being deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Going {
    No,
    Soon,
}

/// Where to look for packet-capture pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the namespace that the user named.
    Named(String),
    /// In all namespaces.
    Anywhere,
    /// In `kube-system`, since the user may not list the pods of all namespaces.
    Usual,
}

impl Place {
    /// What `--capture-namespace`, or else `PACKET_CAPTURE_NAMESPACE`, says; `None` if neither is set.
    ///
    /// # Errors
    /// If no namespace can have that name.
    pub fn named(option: Option<&str>, variable: Option<&str>) -> Result<Option<Self>, Error> {
        match option.or(variable.filter(|name| !name.is_empty())) {
            None => Ok(None),
            Some(name) if is_name(name) && !name.contains('.') => Ok(Some(Self::Named(name.to_owned()))),
            Some(name) => Err(Error::InvalidNamespace(name.to_owned())),
        }
    }

    /// The call that lists the packet-capture pods there, as JSON.
    #[must_use]
    pub fn call(&self) -> Vec<String> {
        let scope = match self {
            Self::Named(name) => format!("--namespace={name}"),
            Self::Anywhere => "--all-namespaces".to_owned(),
            Self::Usual => format!("--namespace={NAMESPACE_USUAL}"),
        };
        ["get", "pods", "--selector", LABELS, "--output=json", &scope].map(ToOwned::to_owned).to_vec()
    }
}

/// The call that says `yes` if the user may list the pods of all namespaces. To ask costs one short call; to try would put kubectl's
/// complaint on the terminal, which the first call has.
#[must_use]
pub fn may_list_everywhere() -> Vec<String> {
    ["auth", "can-i", "list", "pods", "--all-namespaces"].map(ToOwned::to_owned).to_vec()
}

/// Finds the packet-capture pods: in `named`, if that is set.
///
/// # Errors
/// If a call fails, or there are none, or they belong to several DaemonSets.
pub fn find(kubectl: &Kubectl, named: Option<Place>) -> Result<Agents, Error> {
    let place = match named {
        Some(place) => place,
        None => {
            let answer = kubectl.answer(&may_list_everywhere()).map_err(Error::Kubectl)?;
            if answer.stdout.trim() == "yes" { Place::Anywhere } else { Place::Usual }
        }
    };
    Agents::of(&kubectl.json(&place.call()).map_err(Error::Kubectl)?, &place)
}

/// Why the node itself does not work, as a clause such as `node w1 is NotReady: Kubelet stopped posting node status.`; `None` if it
/// works, or the user may not know.
#[must_use]
pub fn node_trouble(kubectl: &Kubectl, node: &str) -> Option<String> {
    let answer: Result<Value, Failure> = kubectl.json(&["get", "node", node, "--ignore-not-found", "--output=json"]);
    why::node(node, &answer.ok()?)
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The DaemonSet that a pod belongs to.
fn owner(pod: &Value) -> Option<&str> {
    let owners = pod.pointer("/metadata/ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
    (text(owner, "/kind") == "DaemonSet").then(|| text(owner, "/name"))
}

#[cfg(test)]
mod tests;
