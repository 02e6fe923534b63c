//! Which of the captures that are asked for have room on the node. No I/O, no clock.
//!
//! What was let in stays in: the newest wish is the one that is refused, also after a restart, since the order of the slots is
//! remembered. A change that needs no more than there is always has room; one that needs more is refused, and what runs goes on.
//! The files of a capture count as what is on the disk or what it may still write, whichever is more, until they are removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    annotations::Accepted,
    capture::{Place, Stem},
    desired::Wish,
    plan::World,
    refusal::NoRoom,
    slots::{Phase, Slot, Why},
};

/// What there is room for.
#[derive(Debug, Default)]
pub struct Room<'a> {
    /// What is to be said of each slot whose pod asks for something else than what is done.
    pub verdicts: BTreeMap<&'a Stem, Result<&'a Accepted, NoRoom>>,
    /// The files of pods that are gone which are to go now, because someone else needs the room: the oldest.
    pub first_to_go: BTreeSet<&'a Stem>,
    /// Files are about to go: what finds no room may have some in a moment.
    pub is_coming: bool,
}

/// Who asks for something that is not done yet, and whether there is room for it.
#[must_use]
pub fn room<'a>(world: &World<'a>) -> Room<'a> {
    let mut taken: BTreeMap<&Stem, Taken> =
        world.slots.iter().map(|(stem, slot)| (stem, taken(world, stem, slot))).collect();
    let mut asking: Vec<(&Stem, &Slot, Asks)> =
        world.slots.iter().filter_map(|(stem, slot)| Some((stem, slot, asks(world, stem, slot)?))).collect();
    asking.sort_by_key(|(_, slot, _)| slot.sequence);
    let mut verdicts = BTreeMap::new();
    for (stem, slot, asks) in asking {
        let others = taken.iter().filter(|(other, _)| **other != stem).map(|(_, taken)| taken);
        let verdict = fits(world, slot, asks.accepted, others);
        if verdict.is_ok() {
            let files = u64::from(asks.accepted.request.capture.files);
            let mb = taken.get(stem).map_or(files, |taken| taken.mb.max(files));
            taken.insert(stem, Taken { mb, goes_on: true });
        }
        if !asks.is_pending {
            verdicts.insert(stem, verdict.map(|()| asks.accepted));
        }
    }
    let first_to_go = first_to_go(world, &verdicts);
    let is_coming = !first_to_go.is_empty() || world.slots.iter().any(|(_, slot)| goes_soon(slot));
    Room { verdicts, first_to_go, is_coming }
}

/// Whether a slot is doomed, and nothing seems to keep it from going.
fn goes_soon(slot: &Slot) -> bool {
    slot.doomed && !matches!(slot.phase, Phase::Killing { .. } | Phase::Removing { .. })
}

fn first_to_go<'a>(world: &World<'a>, verdicts: &BTreeMap<&Stem, Result<&Accepted, NoRoom>>) -> BTreeSet<&'a Stem> {
    let mut retired: Vec<(&Stem, &Slot)> =
        world.slots.iter().filter(|(_, slot)| slot.retired.is_some() && !slot.doomed).collect();
    retired.sort_by_key(|(_, slot)| slot.retired.map(|retired| retired.at));
    let all_mb: u64 = retired.iter().map(|(_, slot)| slot.files_mb()).sum();
    let waiting = world.slots.iter().filter_map(|(stem, slot)| waits_for_disk(world, stem, slot));
    let missing = verdicts.values().filter_map(|verdict| verdict.err()).chain(waiting).map(|no_room| lacks(&no_room));
    // What would not be enough is not given.
    let enough = missing.filter(|mb| *mb <= all_mb).max().unwrap_or_default();
    let disk = world.disk;
    let for_disk = if disk.low { disk.plenty_mb().saturating_sub(disk.free_mb) } else { 0 };
    let coming: u64 = world.slots.iter().filter(|(_, slot)| goes_soon(slot)).map(|(_, slot)| slot.files_mb()).sum();
    let mut missing_mb = enough.max(for_disk).saturating_sub(coming);
    let mut first = BTreeSet::new();
    for (stem, slot) in retired {
        if missing_mb == 0 {
            break;
        }
        first.insert(stem);
        missing_mb = missing_mb.saturating_sub(slot.files_mb());
    }
    first
}

/// What the slot's own pod asks; not one that comes after it under the same name.
fn own_wish<'a>(world: &World<'a>, stem: &Stem, slot: &Slot) -> Option<&'a Wish> {
    world.desired.wish_for(stem).filter(|wish| slot.owner.as_ref() == Some(&wish.uid))
}

/// What a capture that was let in, and could go on, lacks on the disk.
fn waits_for_disk(world: &World, stem: &Stem, slot: &Slot) -> Option<NoRoom> {
    let could_run = !slot.has_process() && !slot.doomed && slot.ended.is_none() && slot.retired.is_none();
    let admitted = &slot.admitted.as_ref().filter(|_| could_run)?.request;
    let wish = own_wish(world, stem, slot)?;
    let is_wanted = matches!(wish.place, Place::At(_)) && !admitted.paused;
    is_wanted.then(|| on_disk(world, slot, admitted.capture.files).err())?
}

/// How many megabytes more would do.
fn lacks(no_room: &NoRoom) -> u64 {
    match no_room {
        NoRoom::Captures { .. } => 0,
        NoRoom::Budget { needs_mb, used_mb, budget_mb } => {
            used_mb.saturating_add(*needs_mb).saturating_sub((*budget_mb).into())
        }
        NoRoom::Disk { needs_mb, free_mb, floor_mb } => floor_mb.saturating_add(*needs_mb).saturating_sub(*free_mb),
    }
}

/// What a start of these files would lack on the disk.
///
/// # Errors
/// If the floor would be crossed.
pub fn on_disk(world: &World, slot: &Slot, files: u16) -> Result<(), NoRoom> {
    // What it ran with once was let in, and is not revoked.
    let written_mb = slot.last.as_ref().map_or(0, |run| run.capture.files.into()).max(slot.files_mb());
    let needs_mb = u64::from(files).saturating_sub(written_mb);
    let disk = world.disk;
    if disk.has_room_for(needs_mb) {
        return Ok(());
    }
    let floor_mb = if disk.low { disk.plenty_mb() } else { disk.floor_mb };
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
    Taken {
        mb: slot.files_mb().max(admitted.into()).max(running.into()),
        goes_on: slot.has_process() || (goes_on && slot.admitted.is_some()),
    }
}

/// What a slot's pod asks for and is not done.
struct Asks<'a> {
    accepted: &'a Accepted,
    /// Its filter is still to be compiled: it holds its place until then.
    is_pending: bool,
}

fn asks<'a>(world: &World<'a>, stem: &Stem, slot: &Slot) -> Option<Asks<'a>> {
    let wish = own_wish(world, stem, slot)?;
    let somewhere = match wish.place {
        Place::At(_) | Place::NoAddress => true,
        Place::Forbidden(_) | Place::Finished => false,
    };
    // Once it is about to end, a change is for after the end: it begins anew.
    let is_ending =
        matches!(slot.phase, Phase::Terminating { why: Why::Ended(_), .. } | Phase::Killing { why: Why::Ended(_), .. });
    if slot.doomed || slot.retired.is_some() || !somewhere || is_ending {
        return None;
    }
    let pending = wish.pending().map(|accepted| Asks { accepted, is_pending: true });
    let accepted = wish.accepted.as_ref().filter(|accepted| slot.admitted.as_ref() != Some(accepted));
    pending.or(accepted.map(|accepted| Asks { accepted, is_pending: false }))
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
        return Err(NoRoom::Captures { captures, max: limits.captures_max });
    }
    let needs_mb = u64::from(files);
    if used_mb.saturating_add(needs_mb) > u64::from(limits.budget_mb) {
        return Err(NoRoom::Budget { needs_mb, used_mb, budget_mb: limits.budget_mb });
    }
    on_disk(world, slot, files)
}
