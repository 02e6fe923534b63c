//! Which pods are meant by POD, KIND/NAME and `-l SELECTOR`, in one namespace or in all.
//!
//! `Finding` is the pure part: it says which call of kubectl is next, and reads the answer. `find` makes the calls.

mod error;
mod pod;
mod selector;

use serde_json::Value;

pub use self::{
    error::{Error, Invalid},
    pod::{ANNOTATION, PodRef},
};
use crate::kubectl::{Failure, Kubectl};

/// How many pods may be meant at once: each costs some calls of kubectl, and a larger number is rather an error in the selector.
const PODS_MAX: usize = 500;

/// What the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// POD or pod/POD.
    Pod(String),
    /// KIND/NAME, of whatever kind: it has a selector, or is refused.
    Workload(String),
    /// `-l SELECTOR`.
    Selector(String),
}

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the namespace of the user's context.
    Current,
    /// In this namespace.
    Namespace(String),
    /// In all namespaces.
    All,
}

/// Pods that have succeeded or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// They count, if they are among many.
    Included,
    /// They are left out, if they are among many: there is nothing to capture.
    LeftOut,
}

impl Wanted {
    /// What the words of the command line and its `-l` mean.
    ///
    /// # Errors
    /// If there is not exactly one of them, or a name that no pod can have.
    pub fn parse(targets: &[String], selector: Option<&str>) -> Result<Self, Invalid> {
        match (targets, selector) {
            ([], None) => Err(Invalid::Nothing),
            ([], Some(selector)) if selector.trim().is_empty() => Err(Invalid::EmptySelector),
            ([], Some(selector)) => Ok(Self::Selector(selector.to_owned())),
            ([target], None) => Self::of_target(target),
            (_, _) => Err(Invalid::TooMany),
        }
    }

    fn of_target(target: &str) -> Result<Self, Invalid> {
        match target.split_once('/') {
            Some(("pod" | "pods" | "po", name)) => Self::of_pod(name),
            Some((kind, name)) => {
                // A kind may be written with its group: rollout.argoproj.io.
                let good = is_name(&kind.to_ascii_lowercase()) && is_name(name);
                if good { Ok(Self::Workload(target.to_owned())) } else { Err(Invalid::Workload(target.to_owned())) }
            }
            None => Self::of_pod(target),
        }
    }

    fn of_pod(name: &str) -> Result<Self, Invalid> {
        if is_name(name) { Ok(Self::Pod(name.to_owned())) } else { Err(Invalid::PodName(name.to_owned())) }
    }
}

impl Scope {
    /// What `-n` and `-A` mean.
    ///
    /// # Errors
    /// If the name is one that no namespace can have.
    pub fn parse(namespace: Option<&str>, all: bool) -> Result<Self, Invalid> {
        match namespace {
            _ if all => Ok(Self::All),
            None => Ok(Self::Current),
            Some(name) if is_name(name) && !name.contains('.') => Ok(Self::Namespace(name.to_owned())),
            Some(name) => Err(Invalid::Namespace(name.to_owned())),
        }
    }

    fn flags(&self) -> Vec<String> {
        match self {
            Self::Current => Vec::new(),
            Self::Namespace(name) => vec![format!("--namespace={name}")],
            Self::All => vec!["--all-namespaces".to_owned()],
        }
    }
}

/// Whether a pod can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 253
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
        && name.chars().all(|c| alphanumeric(c) || c == '-' || c == '.')
}

/// The search for pods, call by call.
#[derive(Clone, Debug)]
pub struct Finding {
    wanted: Wanted,
    scope: Scope,
    finished: Finished,
    /// The selector to list by, once it is known.
    selector: Option<String>,
}

/// What comes after an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The next call of kubectl: its answer is JSON.
    Ask(Vec<String>),
    /// The pods, in the order of their namespaces and names; at least one.
    Found(Vec<PodRef>),
}

impl Finding {
    /// A search.
    ///
    /// # Errors
    /// If KIND/NAME is looked for in all namespaces: kubectl cannot.
    pub fn new(wanted: Wanted, scope: Scope, finished: Finished) -> Result<Self, Invalid> {
        let selector = match &wanted {
            Wanted::Workload(name) if scope == Scope::All => return Err(Invalid::WorkloadEverywhere(name.clone())),
            Wanted::Pod(_) | Wanted::Workload(_) => None,
            Wanted::Selector(selector) => Some(selector.clone()),
        };
        Ok(Self { wanted, scope, finished, selector })
    }

    /// The first call.
    #[must_use]
    pub fn first(&self) -> Vec<String> {
        match &self.wanted {
            // A name in all namespaces is a list.
            Wanted::Pod(name) if self.scope == Scope::All => {
                self.get(&["pods", &format!("--field-selector=metadata.name={name}")])
            }
            // The right to get one pod is enough.
            Wanted::Pod(name) => self.get(&["pod", name, "--ignore-not-found"]),
            Wanted::Workload(name) => self.get(&[name, "--ignore-not-found"]),
            Wanted::Selector(selector) => self.list(selector),
        }
    }

    /// What the answer to the last call means.
    ///
    /// # Errors
    /// If there is no such pod or workload, no pod matches, too many do, or the answer makes no sense.
    pub fn next(&mut self, answer: &Value) -> Result<Step, Error> {
        match (&self.wanted, &self.selector) {
            (Wanted::Pod(name), _) => {
                let pods = if self.scope == Scope::All { pod::list(answer)? } else { pod::one(answer)? };
                let none = || Error::NoPod { name: name.clone(), scope: self.scope.clone() };
                self.found(pods, none)
            }
            (Wanted::Workload(name), None) => {
                if answer.is_null() {
                    return Err(Error::NoWorkload { name: name.clone(), scope: self.scope.clone() });
                }
                let selector = selector::of(answer).ok_or_else(|| Error::NoSelector(name.clone()))?;
                let call = self.list(&selector);
                self.selector = Some(selector);
                Ok(Step::Ask(call))
            }
            (Wanted::Workload(_) | Wanted::Selector(_), selector) => {
                let selector = selector.clone().unwrap_or_default();
                self.found(pod::list(answer)?, || Error::NoMatch { selector, scope: self.scope.clone() })
            }
        }
    }

    fn found(&self, mut pods: Vec<PodRef>, none: impl FnOnce() -> Error) -> Result<Step, Error> {
        match pods.len() {
            0 => Err(none()),
            count if count > PODS_MAX => Err(Error::TooMany { count, most: PODS_MAX }),
            _ => {
                pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
                Ok(Step::Found(pods))
            }
        }
    }

    fn list(&self, selector: &str) -> Vec<String> {
        let selector = format!("--selector={selector}");
        match self.finished {
            Finished::Included => self.get(&["pods", &selector]),
            Finished::LeftOut => {
                let live = "--field-selector=status.phase!=Succeeded,status.phase!=Failed";
                self.get(&["pods", &selector, live])
            }
        }
    }

    fn get(&self, what: &[&str]) -> Vec<String> {
        let mut args = vec!["get".to_owned()];
        args.extend(what.iter().map(|&word| word.to_owned()));
        args.push("--output=json".to_owned());
        args.extend(self.scope.flags());
        args
    }
}

/// Makes the calls of a search.
///
/// # Errors
/// If a call fails, or its answer is an error.
pub fn find(kubectl: &Kubectl, finding: Finding) -> Result<Vec<PodRef>, Error> {
    find_with(finding, |call| kubectl.json(call))
}

fn find_with(
    mut finding: Finding,
    mut ask: impl FnMut(&[String]) -> Result<Value, Failure>,
) -> Result<Vec<PodRef>, Error> {
    let mut call = finding.first();
    loop {
        match finding.next(&ask(&call).map_err(Error::Kubectl)?)? {
            Step::Ask(next) => call = next,
            Step::Found(pods) => return Ok(pods),
        }
    }
}

#[cfg(test)]
mod tests;
