//! What is desired: watch events folded into the last valid request of each pod, and where the pod can be captured. No I/O, no clock.
//!
//! A list is gathered as it comes and read when it is complete, so that a list that fails half-way changes nothing, and whatever
//! happens while it comes (a verdict on a filter, a notice) need be recorded once only.

mod claims;
mod filters;
mod pods;
mod request;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    time::Instant,
};

use claims::Order;
use filters::Turns;
pub use filters::{COMPILE_INTERVAL, FilterJob, NextFilter};
use pods::Pods;
pub use request::PodRequest;

use crate::core::{
    annotations::{self, Annotations, ValidRequest},
    condition::Condition,
    limits::Limits,
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
    request::Parsed,
};

/// What the API server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A list begins; an earlier list that is not complete is void.
    ListStarted,
    /// A pod of the list.
    ListItem(ObservedPod),
    /// The list is complete.
    ListDone,
    /// A pod was created or changed.
    Applied(ObservedPod),
    /// A pod was deleted.
    Deleted(ObservedPod),
    /// The connection failed: from now on no change is seen.
    Disconnected,
}

/// How much is known of the pods of this node.
#[derive(Debug)]
enum Sync {
    /// No list was complete yet, so that a missing pod proves nothing.
    Starting { recalled: HashMap<PodUid, Recalled> },
    /// The last list, and all changes since then.
    Synced,
    /// The last list, and the changes until the connection failed.
    Lost { since: Instant },
}

/// What an earlier process knew of a pod.
#[derive(Debug, Default)]
struct Recalled {
    /// The request in force, if it still is valid.
    valid: Option<ValidRequest>,
    /// The addresses at which the pod was captured.
    ips: Vec<IpAddr>,
}

/// Where a pod was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    List,
    Watch,
}

/// What is known of the pods of this node.
#[derive(Debug)]
pub struct Desired {
    pods: Pods,
    /// The pods of a list that is not complete yet.
    list: Option<Vec<ObservedPod>>,
    sync: Sync,
    turns: Turns,
    changes: u64,
    /// The node's own addresses.
    node: BTreeSet<IpAddr>,
    /// The number of lists and changes so far: the order in which addresses were claimed.
    observed: Order,
}

/// The order of claims that are older than this process.
const BEFORE: Order = 0;

impl Default for Desired {
    fn default() -> Self {
        Self {
            pods: Pods::default(),
            list: None,
            sync: Sync::Starting { recalled: HashMap::new() },
            turns: Turns::default(),
            changes: 0,
            node: BTreeSet::new(),
            observed: BEFORE,
        }
    }
}

impl Desired {
    /// Recalls the annotations of the request that was in force when an earlier process ended, for a pod whose annotations are no
    /// longer valid. Returns the request, if these annotations make a valid one.
    pub fn recall(&mut self, uid: PodUid, annotations: Annotations, limits: &Limits) -> Option<ValidRequest> {
        let Parsed::Valid(request) = annotations::parse(&annotations, limits) else { return None };
        let valid = ValidRequest { annotations, request };
        if let Some(recalled) = self.recalled(uid) {
            recalled.valid = Some(valid.clone());
        }
        Some(valid)
    }

    /// Recalls the addresses at which a pod was captured when an earlier process ended: until the first list is complete, that is
    /// proof enough that the pod claimed these addresses first.
    pub fn recall_at(&mut self, uid: PodUid, ips: Vec<IpAddr>) {
        if let Some(recalled) = self.recalled(uid) {
            recalled.ips = ips;
        }
    }

    fn recalled(&mut self, uid: PodUid) -> Option<&mut Recalled> {
        match &mut self.sync {
            Sync::Starting { recalled } => Some(recalled.entry(uid).or_default()),
            Sync::Synced | Sync::Lost { .. } => None,
        }
    }

    /// Takes in which addresses the node has. Returns whether the node had others before.
    pub fn node_has(&mut self, addresses: BTreeSet<IpAddr>) -> bool {
        let changed = self.node != addresses;
        if changed {
            self.changes += 1;
            self.node = addresses;
            self.pods.update_all_targets(&self.node);
        }
        changed
    }

    /// Takes in an event that was received at `now`.
    pub fn observe(&mut self, event: WatchEvent, now: Instant) {
        match event {
            WatchEvent::ListStarted => self.list = Some(Vec::new()),
            WatchEvent::ListItem(observed) => {
                // A pod outside a list is the rest of a list that has failed, and may be older than what the watch has said since.
                // The next list has the pod again, as it is then.
                if let Some(list) = &mut self.list {
                    list.push(observed);
                }
            }
            WatchEvent::ListDone => {
                // The end of a list that has failed proves of no pod that it is gone.
                if let Some(list) = self.list.take() {
                    self.replace(&list, now);
                }
            }
            WatchEvent::Applied(observed) => {
                self.observed += 1;
                let request = self.request_after(&observed, Source::Watch, now);
                self.changes += self.pods.apply(&observed, request, self.observed, &self.node);
            }
            WatchEvent::Deleted(observed) => {
                self.changes += self.pods.delete(&observed, self.observed, &self.node);
            }
            WatchEvent::Disconnected => {
                self.list = None;
                if matches!(self.sync, Sync::Synced) {
                    self.sync = Sync::Lost { since: now };
                }
                self.changes += 1;
            }
        }
    }

    /// Puts the pods of a complete list in the place of those that were known.
    fn replace(&mut self, list: &[ObservedPod], now: Instant) {
        self.observed += 1;
        let mut pods = Pods::default();
        for observed in list {
            let order = |ip| {
                let was_captured_at =
                    || self.recalled_of(&observed.uid).is_some_and(|recalled| recalled.ips.contains(&ip));
                let known = self.pods.claims_since(observed, ip);
                known.or_else(|| was_captured_at().then_some(BEFORE)).unwrap_or(self.observed)
            };
            pods.list(observed, self.request_after(observed, Source::List, now), order);
        }
        pods.update_all_targets(&self.node);
        self.pods = pods;
        self.sync = Sync::Synced;
        self.changes += 1;
    }

    /// How often what a decision depends on has changed so far: as long as this number stays the same, all requests do.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Takes in that the owner of a pod was notified of a condition, whether the pod has a capture or not.
    pub fn notified(&mut self, stem: &Stem, uid: &PodUid, condition: &Condition) {
        let is_there = self.request_of(stem).is_some_and(|pod| pod.uid == *uid)
            && self.pods.update(stem, |pod| pod.notified = Some(condition.clone()));
        self.changes += u64::from(is_there);
    }

    /// The request of the pod whose files have this stem, if the pod asks for anything.
    #[must_use]
    pub fn request_of(&self, stem: &Stem) -> Option<&PodRequest> {
        self.pods.request(stem)
    }

    /// All requests, by the stem of their files.
    pub fn requests(&self) -> impl Iterator<Item = (&Stem, &PodRequest)> {
        self.pods.requests()
    }

    /// Whether a pod exists and asks for nothing.
    #[must_use]
    pub fn is_unannotated(&self, uid: &PodUid) -> bool {
        self.pods.unannotated.contains(uid)
    }

    /// Whether a list was ever complete: before that, a missing pod proves nothing.
    #[must_use]
    pub fn has_listed(&self) -> bool {
        match self.sync {
            Sync::Starting { .. } => false,
            Sync::Synced | Sync::Lost { .. } => true,
        }
    }

    /// Since when changes may have been missed. Before the first list nothing runs that could be out of date.
    #[must_use]
    pub fn lost_since(&self) -> Option<Instant> {
        match self.sync {
            Sync::Lost { since } => Some(since),
            Sync::Starting { .. } | Sync::Synced => None,
        }
    }

    fn recalled_of(&self, uid: &PodUid) -> Option<&Recalled> {
        match &self.sync {
            Sync::Starting { recalled } => recalled.get(uid),
            Sync::Synced | Sync::Lost { .. } => None,
        }
    }

    fn request_after(&self, observed: &ObservedPod, source: Source, now: Instant) -> Option<PodRequest> {
        let known = self.request_of(&Stem::of(&observed.name)).filter(|pod| pod.uid == observed.uid);
        let recalled = self.recalled_of(&observed.uid).and_then(|recalled| recalled.valid.as_ref());
        PodRequest::after(known, recalled, observed, source, now)
    }
}

#[cfg(test)]
mod tests;
