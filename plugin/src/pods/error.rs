//! Why no pods are found, as sentences.

use std::fmt;

use super::Scope;
use crate::{kubectl::Failure, printable::printable};

/// How much of a text of the user's is repeated.
const TEXT_MAX: usize = 300;

/// What is wrong with the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// It names no pod.
    Nothing,
    /// It names several, or has a selector too.
    TooMany,
    /// The selector is empty: it would mean every pod.
    EmptySelector,
    /// No pod can have this name.
    PodName(String),
    /// No namespace can have this name.
    Namespace(String),
    /// This is no KIND/NAME.
    Workload(String),
    /// KIND/NAME in all namespaces.
    WorkloadEverywhere(String),
}

/// Why no pods are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// A call of kubectl failed.
    Kubectl(Failure),
    /// What kubectl printed is no pod, or no list of pods.
    Malformed,
    /// There is no pod of this name.
    NoPod {
        /// The name.
        name: String,
        /// Where it was looked for.
        scope: Scope,
    },
    /// There is no such KIND/NAME.
    NoWorkload {
        /// KIND/NAME.
        name: String,
        /// Where it was looked for.
        scope: Scope,
    },
    /// This KIND/NAME selects no pods by labels.
    NoSelector(String),
    /// No pod matches.
    NoMatch {
        /// The selector.
        selector: String,
        /// Where it was looked for.
        scope: Scope,
    },
    /// More pods match than can be seen to at once.
    TooMany {
        /// How many match.
        count: usize,
        /// How many may.
        most: usize,
    },
    /// The pod has no node yet.
    NoNode {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl std::error::Error for Invalid {}
impl std::error::Error for Error {}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shown = |text: &str| printable(text, TEXT_MAX);
        match self {
            Self::Nothing => write!(f, "no pod is named; hint: give a POD, a KIND/NAME or -l SELECTOR"),
            Self::TooMany => {
                write!(f, "more than one target is named; hint: give one POD, one KIND/NAME or one -l SELECTOR")
            }
            Self::EmptySelector => write!(f, "the selector is empty and would mean every pod; hint: -l app=web"),
            Self::PodName(name) => write!(f, "{} is not a valid pod name; hint: kubectl get pods", shown(name)),
            Self::Namespace(name) => {
                write!(f, "{} is not a valid namespace name; hint: kubectl get namespaces", shown(name))
            }
            Self::Workload(name) => write!(f, "{} is not a valid KIND/NAME; hint: deploy/web", shown(name)),
            Self::WorkloadEverywhere(name) => {
                write!(f, "{} cannot be looked for in all namespaces; hint: -n NAMESPACE in place of -A", shown(name))
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Current => write!(f, "in the current namespace"),
            Self::Namespace(name) => write!(f, "in namespace {}", printable(name, TEXT_MAX)),
            Self::All => write!(f, "in any namespace"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let shown = |text: &str| printable(text, TEXT_MAX);
        match self {
            Self::Kubectl(failure) => write!(f, "cannot find the pods: {failure}"),
            Self::Malformed => {
                write!(
                    f,
                    "cannot read the pods that kubectl printed: it is not the JSON of pods; hint: kubectl get pods -o json"
                )
            }
            Self::NoPod { name, scope } => {
                write!(f, "there is no pod {} {scope}; hint: kubectl get pods{}", shown(name), other_place(scope))
            }
            Self::NoWorkload { name, scope } => {
                write!(f, "there is no {} {scope}; hint: name another namespace with -n", shown(name))
            }
            Self::NoSelector(name) => {
                write!(f, "{} selects no pods by labels; hint: name a pod, or use -l SELECTOR", shown(name))
            }
            Self::NoMatch { selector, scope } => {
                let selector = shown(selector);
                write!(
                    f,
                    "no pods match {selector} {scope}; hint: kubectl get pods -l '{selector}'{}",
                    other_place(scope)
                )
            }
            Self::TooMany { count, most } => {
                write!(
                    f,
                    "{count} pods match, and {most} at most can be seen to at once; hint: use a narrower selector"
                )
            }
            Self::NoNode { namespace, name } => {
                write!(f, "pod {namespace}/{name} has no node yet; hint: kubectl -n {namespace} describe pod {name}")
            }
        }
    }
}

fn other_place(scope: &Scope) -> &'static str {
    match scope {
        Scope::Current | Scope::Namespace(_) => " --all-namespaces",
        Scope::All => "",
    }
}
