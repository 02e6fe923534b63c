//! Who gets a slot, a new one or one left over, and who is told that there is none for it.

use super::{Action, World};
use crate::{
    capture::{Asked, Place, Stem},
    desired::Wish,
    refusal::NoRoom,
    room,
    slots::Standing,
};

/// The most slots. A node runs some hundred pods, and may be configured for 1000 captures. So many slots of the largest size make a
/// state file that is still read: see `BYTES_MAX` in `state.rs`.
pub const SLOTS_MAX: usize = 1024;

/// Who gets a slot, or a new place in the order; and who gets none.
pub(super) fn opened<'a>(world: &'a World) -> impl Iterator<Item = (Stem, Action)> + use<'a> {
    let is_new = |(stem, wish): &(&Stem, &Wish)| match world.slots.get(stem) {
        // Nothing is kept for a pod that has finished: there is nothing to capture any more.
        None => wish.place != Place::Finished || declined(wish).is_some(),
        Some(slot) => (slot.owner.is_none() && !slot.doomed) || room::rejoins(world, stem, slot),
    };
    let mut new: Vec<(&Stem, &Wish)> = world.desired.wishes().filter(is_new).collect();
    // Who opens first keeps the place: where nothing else tells who came first, the older pod did.
    new.sort_by_key(|(_, wish)| (wish.created_s, &wish.uid));
    let mut left = SLOTS_MAX.saturating_sub(world.slots.len());
    new.into_iter().filter_map(move |(stem, wish)| {
        let is_there = world.slots.get(stem).is_some();
        let opens = is_there || (wish.place != Place::Finished && left > 0);
        left -= usize::from(opens && !is_there);
        let action =
            if opens { Action::Open(wish.uid.clone()) } else { Action::Decline(wish.uid.clone(), declined(wish)?) };
        Some((stem.clone(), action))
    })
}

/// What is still to be said to the owner of a pod that gets no slot.
fn declined(wish: &Wish) -> Option<Standing> {
    let standing = match (&wish.asked, &wish.place) {
        (_, Place::Finished) if !wish.is_news => return None,
        (Asked::Unreadable(refusal), _) => Standing::Refused(refusal.clone()),
        (Asked::Nothing | Asked::Request(_), Place::Finished) => Standing::Missed,
        (Asked::Nothing | Asked::Request(_), Place::NoAddress | Place::At(_) | Place::Forbidden(_)) => {
            Standing::NoRoom(NoRoom::Pods { max: SLOTS_MAX })
        }
    };
    (wish.told.as_ref() != Some(&standing)).then_some(standing)
}
