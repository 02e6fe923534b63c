//! The pods of a node: which of them ask for a capture, and which of them has an address.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use super::{
    PodRequest,
    claims::{Claims, Order},
};
use crate::core::{
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
};

/// The pods of this node.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// The pods that ask for something, by the stem of their files.
    requests: BTreeMap<Stem, PodRequest>,
    /// Those of them whose filter waits for a verdict: a node may have thousands of pods that ask for none.
    pending: BTreeSet<Stem>,
    /// The pods that ask for nothing.
    pub(super) unannotated: HashSet<PodUid>,
    /// The addresses of all pods.
    claims: Claims,
    /// Which pod had each name last: a pod of another UID is another pod.
    uids: HashMap<Stem, PodUid>,
}

impl Pods {
    /// Takes in a pod of a list: what it asks, and since when it claims each of its addresses. [`Self::update_all_targets`] is to follow.
    pub(super) fn list(
        &mut self,
        observed: &ObservedPod,
        request: Option<PodRequest>,
        order: impl Fn(IpAddr) -> Order,
    ) {
        let stem = Stem::of(&observed.name);
        self.claims.set(&stem, &observed.claims, order);
        self.uids.insert(stem, observed.uid.clone());
        self.insert(observed, request);
    }

    /// Takes in a pod that was created or changed. Returns how much of what a decision depends on has changed.
    pub(super) fn apply(
        &mut self,
        observed: &ObservedPod,
        mut request: Option<PodRequest>,
        order: Order,
        node: &BTreeSet<IpAddr>,
    ) -> u64 {
        let stem = Stem::of(&observed.name);
        let mut changes = 0;
        if self.uids.insert(stem.clone(), observed.uid.clone()).is_some_and(|uid| uid != observed.uid) {
            changes += self.claim(&stem, &[], order, node);
        }
        changes += self.claim(&stem, &observed.claims, order, node);
        if let Some(pod) = &mut request {
            pod.target = self.claims.target(&stem, &pod.reported_target, node);
        }
        changes += u64::from(self.requests.get(&stem) != request.as_ref());
        changes + u64::from(self.insert(observed, request))
    }

    /// Takes in that a pod was deleted. Returns how much of what a decision depends on has changed.
    pub(super) fn delete(&mut self, observed: &ObservedPod, order: Order, node: &BTreeSet<IpAddr>) -> u64 {
        let stem = Stem::of(&observed.name);
        let mut changes = u64::from(self.unannotated.remove(&observed.uid));
        if self.requests.get(&stem).is_some_and(|pod| pod.uid == observed.uid) {
            self.requests.remove(&stem);
            self.note_pending(&stem);
            changes += 1;
        }
        if self.uids.get(&stem) == Some(&observed.uid) {
            self.uids.remove(&stem);
            changes += self.claim(&stem, &[], order, node);
        }
        changes
    }

    /// The request of the pod whose files have this stem.
    pub(super) fn request(&self, stem: &Stem) -> Option<&PodRequest> {
        self.requests.get(stem)
    }

    /// All requests.
    pub(super) fn requests(&self) -> impl Iterator<Item = (&Stem, &PodRequest)> {
        self.requests.iter()
    }

    /// The requests whose filter waits for a verdict.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&Stem, &PodRequest)> {
        self.pending.iter().filter_map(|stem| self.requests.get_key_value(stem))
    }

    /// Changes a request, if there is one. Returns whether there is.
    pub(super) fn update(&mut self, stem: &Stem, change: impl FnOnce(&mut PodRequest)) -> bool {
        let request = self.requests.get_mut(stem);
        let is_there = request.map(change).is_some();
        self.note_pending(stem);
        is_there
    }

    fn note_pending(&mut self, stem: &Stem) {
        if self.requests.get(stem).is_some_and(|pod| pod.pending().is_some()) {
            self.pending.insert(stem.clone());
        } else {
            self.pending.remove(stem);
        }
    }

    /// Since when a pod claims an address.
    pub(super) fn claims_since(&self, observed: &ObservedPod, ip: IpAddr) -> Option<Order> {
        let stem = Stem::of(&observed.name);
        let is_known = self.uids.get(&stem) == Some(&observed.uid);
        is_known.then(|| self.claims.since(&stem, ip)).flatten()
    }

    pub(super) fn update_all_targets(&mut self, node: &BTreeSet<IpAddr>) {
        for (stem, pod) in &mut self.requests {
            pod.target = self.claims.target(stem, &pod.reported_target, node);
        }
    }

    /// Returns whether it is new that the pod asks for nothing.
    fn insert(&mut self, observed: &ObservedPod, request: Option<PodRequest>) -> bool {
        let stem = Stem::of(&observed.name);
        let is_news = match request {
            Some(request) => {
                self.unannotated.remove(&observed.uid);
                self.requests.insert(stem.clone(), request);
                false
            }
            None => {
                self.requests.remove(&stem);
                self.unannotated.insert(observed.uid.clone())
            }
        };
        self.note_pending(&stem);
        is_news
    }

    /// A pod claims these addresses, and no others: other pods may gain or lose one by that. Returns how many targets have changed.
    fn claim(&mut self, stem: &Stem, ips: &[IpAddr], order: Order, node: &BTreeSet<IpAddr>) -> u64 {
        let concerned = self.claims.set(stem, ips, |_| order);
        concerned.iter().map(|stem| u64::from(self.update_target(stem, node))).sum()
    }

    /// Decides again where a pod that asks can be captured. Returns whether that has changed.
    fn update_target(&mut self, stem: &Stem, node: &BTreeSet<IpAddr>) -> bool {
        let Some(pod) = self.requests.get_mut(stem) else { return false };
        let target = self.claims.target(stem, &pod.reported_target, node);
        std::mem::replace(&mut pod.target, target) != pod.target
    }
}
