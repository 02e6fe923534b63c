//! Which of the captures that are asked for have room on the node. No I/O, no clock.
//!
//! What was let in stays in: the newest wish is the one that is refused, also after a restart, since the order of the slots is
//! remembered. A change that needs no more than there is always has room; one that needs more is refused, and what runs goes on.
//! The files of a capture count as what is on the disk or what it may still write, whichever is more, until they are removed.

use std::collections::BTreeMap;

use crate::{
    annotations::Accepted,
    capture::{Place, Stem},
    plan::World,
    refusal::NoRoom,
    slots::Slot,
};

/// What is to be said of each slot whose pod asks for something else than what is done.
pub type Room = BTreeMap<Stem, Result<Accepted, NoRoom>>;

/// Who asks for something that is not done yet, and whether there is room for it.
#[must_use]
pub fn room(world: &World) -> Room {
    let slots: BTreeMap<&Stem, &Slot> = world.slots.iter().collect();
    let mut taken: BTreeMap<&Stem, Taken> =
        slots.iter().map(|(stem, slot)| (*stem, taken(world, stem, slot))).collect();
    let mut asking: Vec<(&Stem, &Slot, &Accepted)> =
        slots.iter().filter_map(|(stem, slot)| Some((*stem, *slot, asks(world, stem, slot)?))).collect();
    asking.sort_by_key(|(_, slot, _)| slot.sequence);
    let mut room = Room::new();
    for (stem, slot, accepted) in asking {
        let others = taken.iter().filter(|(other, _)| **other != stem).map(|(_, taken)| taken);
        let verdict = fits(world, slot, accepted, others);
        if verdict.is_ok() {
            let files = u64::from(accepted.request.capture.files);
            let mb = taken.get(stem).map_or(files, |taken| taken.mb.max(files));
            taken.insert(stem, Taken { mb, goes_on: true });
        }
        room.insert(stem.clone(), verdict.map(|()| accepted.clone()));
    }
    room
}

/// What a start of these files would lack on the disk.
///
/// # Errors
/// If the floor would be crossed.
pub fn on_disk(world: &World, slot: &Slot, files: u16) -> Result<(), NoRoom> {
    let written = match (&slot.last, slot.has_process()) {
        (Some(run), true) => run.capture.files.into(),
        (Some(_) | None, _) => slot.files,
    };
    let needs_mb = u64::from(files).saturating_sub(u64::try_from(written).unwrap_or(u64::MAX));
    let disk = world.disk;
    if disk.has_room_for(needs_mb) {
        return Ok(());
    }
    let floor_mb = if disk.low { disk.floor_mb.saturating_mul(2) } else { disk.floor_mb };
    Err(NoRoom::Disk { needs_mb, free_mb: disk.free_mb, floor_mb })
}

/// What a slot takes of what there is for all.
struct Taken {
    mb: u64,
    goes_on: bool,
}

fn taken(world: &World, stem: &Stem, slot: &Slot) -> Taken {
    let finished = world.desired.wish_for(stem).is_none_or(|wish| wish.place == Place::Finished);
    let goes_on = slot.ended.is_none() && slot.retired.is_none() && !slot.doomed && !finished;
    let admitted = slot.admitted.as_ref().filter(|_| goes_on).map_or(0, |accepted| accepted.request.capture.files);
    let running = slot.last.as_ref().filter(|_| slot.has_process()).map_or(0, |run| run.capture.files);
    let on_disk = u64::try_from(slot.files).unwrap_or(u64::MAX);
    Taken {
        mb: on_disk.max(admitted.into()).max(running.into()),
        goes_on: slot.has_process() || (goes_on && slot.admitted.is_some()),
    }
}

/// What a slot's pod asks for and is not done.
fn asks<'a>(world: &'a World, stem: &Stem, slot: &Slot) -> Option<&'a Accepted> {
    let wish = world.desired.wish_for(stem).filter(|wish| slot.owner.as_ref() == Some(&wish.uid))?;
    let somewhere = match wish.place {
        Place::At(_) | Place::NoAddress => true,
        Place::Forbidden(_) | Place::Finished => false,
    };
    let idle = slot.doomed || slot.retired.is_some() || !somewhere;
    wish.accepted.as_ref().filter(|accepted| !idle && slot.admitted.as_ref() != Some(accepted))
}

fn fits<'a>(
    world: &World,
    slot: &Slot,
    accepted: &Accepted,
    others: impl Iterator<Item = &'a Taken>,
) -> Result<(), NoRoom> {
    let files = accepted.request.capture.files;
    let admitted = slot.admitted.as_ref().filter(|_| slot.ended.is_none());
    if admitted.is_some_and(|admitted| files <= admitted.request.capture.files) {
        return Ok(());
    }
    let (mut used_mb, mut captures) = (0_u64, 0_u16);
    for other in others {
        used_mb = used_mb.saturating_add(other.mb);
        captures = captures.saturating_add(other.goes_on.into());
    }
    let limits = world.limits;
    if captures >= limits.captures_max {
        return Err(NoRoom::Captures { max: limits.captures_max });
    }
    let needs_mb = u64::from(files);
    if used_mb.saturating_add(needs_mb) > u64::from(limits.budget_mb) {
        return Err(NoRoom::Budget { needs_mb, used_mb, budget_mb: limits.budget_mb });
    }
    on_disk(world, slot, files)
}
