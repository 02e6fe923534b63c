//! Why there is no packet-capture pod to ask, as sentences.

use std::fmt;

use super::{Agent, LABELS, NAMESPACE_USUAL, NAMESPACE_VARIABLE, Place};
use crate::{kubectl::Failure, printable::printable};

/// Why there is no packet-capture pod to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A call of kubectl failed.
    Kubectl(Failure),
    /// What kubectl printed is no list of pods.
    Malformed,
    /// No namespace can have this name.
    InvalidNamespace(String),
    /// There is no packet-capture pod there.
    None(Place),
    /// There are several DaemonSets: their namespaces and names.
    Several(Vec<String>),
    /// No packet-capture pod has a node.
    NoNodes {
        /// Their namespace.
        namespace: String,
        /// One of them.
        pod: String,
    },
    /// There is none on this node.
    NoneOnNode {
        /// The node.
        node: String,
        /// The namespace of the others.
        namespace: String,
        /// The DaemonSet of the others.
        daemonset: String,
    },
    /// The one on the node does not run.
    NotRunning {
        /// That one.
        agent: Box<Agent>,
        /// Why it does not.
        why: String,
    },
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Kubectl(failure) => write!(f, "cannot find the packet-capture pods: {failure}"),
            Self::Malformed => write!(
                f,
                "cannot read the packet-capture pods that kubectl printed: it is not the JSON of pods; hint: kubectl get pods -A -l {LABELS} -o json"
            ),
            Self::InvalidNamespace(name) => write!(
                f,
                "{} is not a valid namespace name; hint: correct --capture-namespace or {NAMESPACE_VARIABLE}",
                printable(name, 300)
            ),
            Self::None(Place::Named(namespace)) => write!(
                f,
                "there are no packet-capture pods in namespace {namespace}; hint: correct --capture-namespace or {NAMESPACE_VARIABLE}, or leave it out"
            ),
            Self::None(Place::Anywhere) => write!(
                f,
                "there are no packet-capture pods in any namespace; hint: have packet-capture installed in the cluster"
            ),
            Self::None(Place::Usual) => write!(
                f,
                "there are no packet-capture pods in namespace {NAMESPACE_USUAL}, and you may not list the pods of all namespaces; hint: \
                 --capture-namespace NAMESPACE"
            ),
            Self::Several(names) => write!(
                f,
                "there are packet-capture pods of {} DaemonSets: {}; hint: choose one with --capture-namespace, and have the other deleted: \
                 two of them capture each pod twice",
                names.len(),
                printable(&names.join(", "), 500)
            ),
            Self::NoNodes { namespace, pod } => {
                write!(f, "no packet-capture pod has a node yet; hint: kubectl -n {namespace} describe pod {pod}")
            }
            Self::NoneOnNode { node, namespace, daemonset } => write!(
                f,
                "there is no packet-capture pod on node {}; hint: kubectl -n {namespace} describe daemonset {daemonset}",
                printable(node, 300)
            ),
            Self::NotRunning { agent, why } => {
                let Agent { namespace, name, node, .. } = agent.as_ref();
                write!(
                    f,
                    "packet-capture pod {name} on node {node} does not run: {why}; hint: kubectl -n {namespace} describe pod {name}"
                )
            }
        }
    }
}
