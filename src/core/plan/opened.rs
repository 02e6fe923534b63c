//! Who gets a slot, a new one or one left over, and who is told that there is none for it.

use std::collections::BTreeMap;

use super::Action;
use crate::core::{
    admission,
    captures::Standing,
    desired::Wish,
    name::Stem,
    refusal::Shortage,
    request::{Asked, Place},
    world::{SLOTS_MAX, SLOTS_MAX_PER_NAMESPACE, World},
};

/// How many slots there are, for the node and for each namespace.
#[derive(Default)]
pub(super) struct SlotCounts<'a> {
    node: usize,
    namespaces: BTreeMap<&'a str, usize>,
}

impl<'a> SlotCounts<'a> {
    pub(super) fn of(world: &World<'a>) -> Self {
        let mut counts = Self::default();
        world.slots.iter().for_each(|(stem, _)| counts.add(stem));
        counts
    }

    fn add(&mut self, stem: &'a Stem) {
        self.node += 1;
        *self.namespaces.entry(stem.namespace()).or_default() += 1;
    }

    /// Why there is no slot for one more pod; `None` if there is one.
    pub(super) fn lacking(&self, stem: &Stem) -> Option<Shortage> {
        let namespace = stem.namespace();
        if self.namespaces.get(namespace).is_some_and(|slots| *slots >= SLOTS_MAX_PER_NAMESPACE) {
            return Some(Shortage::Pods { namespace: Some(namespace.to_owned()), max: SLOTS_MAX_PER_NAMESPACE });
        }
        (self.node >= SLOTS_MAX).then_some(Shortage::Pods { namespace: None, max: SLOTS_MAX })
    }
}

/// Who gets a slot, or a new place in the order; and who gets none.
pub(super) fn opened<'a>(world: &'a World) -> impl Iterator<Item = (Stem, Action)> + use<'a> {
    let is_new = |(stem, wish): &(&Stem, &Wish)| match world.slots.get(stem) {
        // Nothing is kept for a pod that has finished: there is nothing to capture any more.
        None => wish.place != Place::Finished || declined(wish, None).is_some(),
        Some(slot) => (slot.owner.is_none() && !slot.doomed) || admission::rejoins(world, stem, slot),
    };
    let mut new: Vec<(&Stem, &Wish)> = world.desired.wishes().filter(is_new).collect();
    // Who opens first keeps the place: where nothing else tells who came first, the older pod did.
    new.sort_by_key(|(_, wish)| (wish.created_s, &wish.uid));
    let mut counts = SlotCounts::of(world);
    new.into_iter().filter_map(move |(stem, wish)| {
        let is_there = world.slots.get(stem).is_some();
        let lacking = counts.lacking(stem).filter(|_| !is_there);
        let action = if is_there || (wish.place != Place::Finished && lacking.is_none()) {
            Action::Open(wish.uid.clone())
        } else {
            Action::Decline(wish.uid.clone(), declined(wish, lacking)?)
        };
        if !is_there && matches!(action, Action::Open(_)) {
            counts.add(stem);
        }
        Some((stem.clone(), action))
    })
}

/// What is still to be said to the owner of a pod that gets no slot, because slots are lacking or because the pod has finished.
fn declined(wish: &Wish, lacking: Option<Shortage>) -> Option<Standing> {
    let standing = match (&wish.asked, &wish.place) {
        (_, Place::Finished) if !wish.is_news => return None,
        (Asked::Unreadable(refusal), _) => Standing::Refused(refusal.clone()),
        (Asked::Nothing | Asked::Request(_), Place::Finished) => Standing::Missed,
        (Asked::Nothing | Asked::Request(_), Place::NoAddress | Place::At(_) | Place::Forbidden(_)) => {
            Standing::Shortage(lacking?)
        }
    };
    (wish.told.as_ref() != Some(&standing)).then_some(standing)
}
