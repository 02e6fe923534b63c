//! Who gets a slot, a new one or one left over, and who is told that there is none for it.

use std::collections::BTreeMap;

use super::Action;
use crate::core::{
    admission,
    captures::Condition,
    desired::PodRequest,
    name::Stem,
    refusal::Shortage,
    request::{Parsed, Target},
    world::{RECORDS_MAX, RECORDS_MAX_PER_NAMESPACE, World},
};

/// How many slots there are, for the node and for each namespace.
#[derive(Default)]
pub(super) struct CaptureCounts<'a> {
    node: usize,
    namespaces: BTreeMap<&'a str, usize>,
}

impl<'a> CaptureCounts<'a> {
    pub(super) fn of(world: &World<'a>) -> Self {
        let mut counts = Self::default();
        world.captures.iter().for_each(|(stem, _)| counts.add(stem));
        counts
    }

    fn add(&mut self, stem: &'a Stem) {
        self.node += 1;
        *self.namespaces.entry(stem.namespace()).or_default() += 1;
    }

    /// Why there is no slot for one more pod; `None` if there is one.
    pub(super) fn lacking(&self, stem: &Stem) -> Option<Shortage> {
        let namespace = stem.namespace();
        if self.namespaces.get(namespace).is_some_and(|captures| *captures >= RECORDS_MAX_PER_NAMESPACE) {
            return Some(Shortage::Pods { namespace: Some(namespace.to_owned()), max: RECORDS_MAX_PER_NAMESPACE });
        }
        (self.node >= RECORDS_MAX).then_some(Shortage::Pods { namespace: None, max: RECORDS_MAX })
    }
}

/// Who gets a slot, or a new place in the order; and who gets none.
pub(super) fn opened<'a>(world: &'a World) -> impl Iterator<Item = (Stem, Action)> + use<'a> {
    let is_new = |(stem, pod): &(&Stem, &PodRequest)| match world.captures.get(stem) {
        // Nothing is kept for a pod that has finished: there is nothing to capture any more.
        None => pod.target != Target::Finished || declined(pod, None).is_some(),
        Some(capture) => (capture.owner.is_none() && !capture.doomed) || admission::rejoins(world, stem, capture),
    };
    let mut new: Vec<(&Stem, &PodRequest)> = world.desired.requests().filter(is_new).collect();
    // Who opens first keeps the place: where nothing else tells who came first, the older pod did.
    new.sort_by_key(|(_, pod)| (pod.created_s, &pod.uid));
    let mut counts = CaptureCounts::of(world);
    new.into_iter().filter_map(move |(stem, pod)| {
        let is_there = world.captures.get(stem).is_some();
        let lacking = counts.lacking(stem).filter(|_| !is_there);
        let action = if is_there || (pod.target != Target::Finished && lacking.is_none()) {
            Action::Open(pod.uid.clone())
        } else {
            Action::Decline(pod.uid.clone(), declined(pod, lacking)?)
        };
        if !is_there && matches!(action, Action::Open(_)) {
            counts.add(stem);
        }
        Some((stem.clone(), action))
    })
}

/// What is still to be said to the owner of a pod that gets no slot, because slots are lacking or because the pod has finished.
fn declined(pod: &PodRequest, lacking: Option<Shortage>) -> Option<Condition> {
    let condition = match (&pod.parsed, &pod.target) {
        (_, Target::Finished) if !pod.is_news => return None,
        (Parsed::Invalid(refusal), _) => Condition::Refused(refusal.clone()),
        (Parsed::None | Parsed::Valid(_), Target::Finished) => Condition::Missed,
        (Parsed::None | Parsed::Valid(_), Target::NoAddress | Target::At(_) | Target::Forbidden(_)) => {
            Condition::Shortage(lacking?)
        }
    };
    (pod.notified.as_ref() != Some(&condition)).then_some(condition)
}
