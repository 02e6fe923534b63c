//! Which pods get a capture, a new one or one left over, and whose owners are told that the pod gets none. Pure.

use std::collections::BTreeMap;

use super::Action;
use crate::core::{
    admission,
    condition::Condition,
    desired::PodRequest,
    name::Stem,
    refusal::Shortage,
    request::{Parsed, Target},
    world::{RECORDS_MAX, RECORDS_MAX_PER_NAMESPACE, World},
};

/// How many captures are recorded, on the node and in each namespace.
#[derive(Clone, Default)]
pub(super) struct RecordCounts<'a> {
    node: usize,
    namespaces: BTreeMap<&'a str, usize>,
}

impl<'a> RecordCounts<'a> {
    pub(super) fn of(world: &World<'a>) -> Self {
        let mut counts = Self::default();
        world.captures.iter().for_each(|(stem, _)| counts.add(stem));
        counts
    }

    fn add(&mut self, stem: &'a Stem) {
        self.node += 1;
        *self.namespaces.entry(stem.namespace()).or_default() += 1;
    }

    /// What keeps one more capture of a stem's namespace from being recorded, if anything does.
    pub(super) fn shortage(&self, stem: &Stem) -> Option<Shortage> {
        let namespace = stem.namespace();
        if self.namespaces.get(namespace).is_some_and(|captures| *captures >= RECORDS_MAX_PER_NAMESPACE) {
            return Some(Shortage::Pods { namespace: Some(namespace.to_owned()), max: RECORDS_MAX_PER_NAMESPACE });
        }
        (self.node >= RECORDS_MAX).then_some(Shortage::Pods { namespace: None, max: RECORDS_MAX })
    }
}

/// Which pods get a capture, or a new place in the order of the captures; and which get none.
pub(super) fn openings<'a>(
    world: &'a World,
    mut records: RecordCounts<'a>,
) -> impl Iterator<Item = (Stem, Action)> + use<'a> {
    let is_new = |(stem, pod): &(&Stem, &PodRequest)| match world.captures.get(stem) {
        // Nothing is kept for a pod that has finished: there is nothing to capture any more.
        None => pod.target != Target::Finished || declined(pod, None).is_some(),
        Some(capture) => {
            (capture.owner.is_none() && !capture.is_removing()) || admission::rejoins(world, stem, capture)
        }
    };
    let mut new: Vec<(&Stem, &PodRequest)> = world.desired.requests().filter(is_new).collect();
    // Where nothing else tells which pod came first, the older pod did.
    new.sort_by_key(|(_, pod)| (pod.created_s, &pod.uid));
    new.into_iter().filter_map(move |(stem, pod)| {
        let is_there = world.captures.get(stem).is_some();
        let shortage = records.shortage(stem).filter(|_| !is_there);
        let action = if is_there || (pod.target != Target::Finished && shortage.is_none()) {
            Action::Open(pod.uid.clone())
        } else {
            Action::Decline(pod.uid.clone(), declined(pod, shortage)?)
        };
        if !is_there && matches!(action, Action::Open(_)) {
            records.add(stem);
        }
        Some((stem.clone(), action))
    })
}

/// The condition that the owner of a pod without a capture must still be notified of: no more captures can be recorded, or the pod has
/// finished.
fn declined(pod: &PodRequest, shortage: Option<Shortage>) -> Option<Condition> {
    let condition = match (&pod.parsed, &pod.target) {
        (_, Target::Finished) if !pod.is_news => return None,
        (Parsed::Invalid(refusal), _) => Condition::Refused(refusal.clone()),
        (Parsed::None | Parsed::Valid(_), Target::Finished) => Condition::Missed,
        (Parsed::None | Parsed::Valid(_), Target::NoAddress | Target::At(_) | Target::Forbidden(_)) => {
            Condition::Shortage(shortage?)
        }
    };
    (pod.notified.as_ref() != Some(&condition)).then_some(condition)
}
