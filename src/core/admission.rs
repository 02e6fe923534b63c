//! Which of the captures that are asked for have room on the node. No I/O, no clock.
//!
//! What runs stays in: the newest wish is the one that is refused, also after a restart, since the order of the slots is
//! remembered. A change that needs no more than there is always has room; one that needs more is refused, and what runs goes on.
//! The files of a capture count as what is on the disk or what it may still write, whichever is more, until they are removed.
//!
//! What is paused, or has not begun because its pod has no address, may not write: it counts as its files only, and needs room
//! again when it is to go on. No namespace has more than its share, so that nobody's captures keep out all others. The files of
//! pods that are gone count for the node only: they go as soon as anyone needs their room.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{
    annotations::Accepted,
    captures::{Claim, Phase, Slot, StopReason},
    desired::Wish,
    name::Stem,
    refusal::Shortage,
    request::Place,
    world::World,
};

/// What there is room for.
#[derive(Debug, Default)]
pub struct Admissions<'a> {
    /// What is to be said of each slot whose pod asks for something else than what is done.
    pub verdicts: BTreeMap<&'a Stem, Result<&'a Accepted, Shortage>>,
    /// The files of pods that are gone which are to go now, because someone else needs the room: the oldest.
    pub first_to_go: BTreeSet<&'a Stem>,
    /// Files are about to go: what finds no room may have some in a moment.
    pub is_coming: bool,
}

/// Who asks for something that is not done yet, and whether there is room for it.
#[must_use]
pub fn admissions<'a>(world: &World<'a>) -> Admissions<'a> {
    let mut sums = Sums::default();
    for (stem, slot) in world.slots.iter() {
        sums.add(stem, taken(world, stem, slot));
    }
    let mut asking: Vec<(&Stem, &Slot, Asks)> =
        world.slots.iter().filter_map(|(stem, slot)| Some((stem, slot, asks(world, stem, slot)?))).collect();
    asking.sort_by_key(|(_, slot, _)| slot.sequence);
    let mut verdicts = BTreeMap::new();
    for (stem, slot, asks) in asking {
        let own = taken(world, stem, slot);
        sums.remove(stem, own);
        let verdict = fits(world, stem, slot, asks.accepted, &sums);
        let request = &asks.accepted.request;
        let new = Taken { mb: own.mb.max(request.capture.files.into()), goes_on: true, is_retired: false };
        sums.add(stem, if verdict.is_ok() && !request.paused { new } else { own });
        if !asks.is_pending {
            verdicts.insert(stem, verdict.map(|()| asks.accepted));
        }
    }
    let first_to_go = first_to_go(world, &verdicts);
    let is_coming = !first_to_go.is_empty() || world.slots.iter().any(|(_, slot)| goes_soon(slot));
    Admissions { verdicts, first_to_go, is_coming }
}

/// Whether a pod wants its capture to go on that has rested meanwhile: it takes its place behind those that wait.
#[must_use]
pub fn rejoins(world: &World, stem: &Stem, slot: &Slot) -> bool {
    slot.claim == Claim::Rests && may_ask(world, stem, slot).is_some_and(|asks| !asks.accepted.request.paused)
}

/// Whether a capture has room that it cannot use: it has not begun, and cannot, or its pod is where it may not be captured.
#[must_use]
pub fn is_idle(world: &World, stem: &Stem, slot: &Slot) -> bool {
    let cannot_run = own_wish(world, stem, slot).is_some_and(|wish| match wish.place {
        Place::NoAddress => slot.began.is_none(),
        Place::Forbidden(_) => true,
        Place::At(_) | Place::Finished => false,
    });
    slot.claim == Claim::Holds && !slot.has_process() && cannot_run
}

/// Whether a slot is doomed, and nothing seems to keep it from going.
fn goes_soon(slot: &Slot) -> bool {
    slot.doomed && !matches!(slot.phase, Phase::Killing { .. } | Phase::Removing { .. })
}

fn first_to_go<'a>(world: &World<'a>, verdicts: &BTreeMap<&Stem, Result<&Accepted, Shortage>>) -> BTreeSet<&'a Stem> {
    let mut retired: Vec<(&Stem, &Slot)> =
        world.slots.iter().filter(|(_, slot)| slot.retired.is_some() && !slot.doomed).collect();
    retired.sort_by_key(|(_, slot)| slot.retired.map(|retired| retired.at));
    let all_mb: u64 = retired.iter().map(|(_, slot)| slot.files_mb()).sum();
    let waiting = world.slots.iter().filter_map(|(stem, slot)| Some(lacks(&waits_for_disk(world, stem, slot)?)));
    let missing = verdicts.values().filter_map(|verdict| verdict.as_ref().err()).map(lacks).chain(waiting);
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
fn waits_for_disk(world: &World, stem: &Stem, slot: &Slot) -> Option<Shortage> {
    let is_over = slot.doomed || slot.ended.is_some() || slot.retired.is_some();
    let could_run = slot.claim == Claim::Holds && !slot.has_process() && !is_over;
    let admitted = &slot.admitted.as_ref().filter(|_| could_run)?.request;
    let wish = own_wish(world, stem, slot)?;
    let is_wanted = matches!(wish.place, Place::At(_)) && !admitted.paused;
    is_wanted.then(|| on_disk(world, slot, admitted.capture.files).err())?
}

/// How many megabytes more would do.
fn lacks(no_room: &Shortage) -> u64 {
    match no_room {
        // Those are not refused for want of what the files of others take.
        Shortage::Captures { .. }
        | Shortage::NamespaceCaptures { .. }
        | Shortage::NamespaceBudget { .. }
        | Shortage::Pods { .. } => 0,
        Shortage::Budget { needs_mb, used_mb, budget_mb } => {
            used_mb.saturating_add(*needs_mb).saturating_sub((*budget_mb).into())
        }
        Shortage::Disk { needs_mb, free_mb, floor_mb } => floor_mb.saturating_add(*needs_mb).saturating_sub(*free_mb),
    }
}

/// What a start of these files would lack on the disk.
///
/// # Errors
/// If the floor would be crossed.
pub fn on_disk(world: &World, slot: &Slot, files: u16) -> Result<(), Shortage> {
    // What it ran with once was let in, and is not revoked.
    let written_mb = slot.last.as_ref().map_or(0, |run| run.capture.files.into()).max(slot.files_mb());
    let needs_mb = u64::from(files).saturating_sub(written_mb);
    let disk = world.disk;
    if disk.has_room_for(needs_mb) {
        return Ok(());
    }
    let floor_mb = if disk.low { disk.plenty_mb() } else { disk.floor_mb };
    Err(Shortage::Disk { needs_mb, free_mb: disk.free_mb, floor_mb })
}

/// What a slot takes of what there is for all.
#[derive(Clone, Copy)]
struct Taken {
    mb: u64,
    goes_on: bool,
    is_retired: bool,
}

fn taken(world: &World, stem: &Stem, slot: &Slot) -> Taken {
    let finished = world.desired.wish_for(stem).is_none_or(|wish| wish.place == Place::Finished);
    let is_over = slot.ended.is_some() || slot.retired.is_some() || slot.doomed || finished;
    let holds = slot.claim == Claim::Holds && !is_over && !is_idle(world, stem, slot);
    let admitted = slot.admitted.as_ref().filter(|_| holds);
    let running = slot.last.as_ref().filter(|_| slot.has_process());
    let may_write = admitted.map(|accepted| accepted.request.capture.files).max(running.map(|run| run.capture.files));
    Taken {
        mb: slot.files_mb().max(may_write.unwrap_or_default().into()),
        goes_on: slot.has_process() || admitted.is_some(),
        is_retired: slot.retired.is_some(),
    }
}

/// What several slots take together.
#[derive(Clone, Copy, Default)]
struct Sum {
    mb: u64,
    captures: u64,
}

/// What all slots take, for the node and for each namespace.
#[derive(Default)]
struct Sums<'a> {
    node: Sum,
    namespaces: BTreeMap<&'a str, Sum>,
}

impl<'a> Sums<'a> {
    fn add(&mut self, stem: &'a Stem, taken: Taken) {
        self.each(stem, taken, u64::saturating_add);
    }

    fn remove(&mut self, stem: &'a Stem, taken: Taken) {
        self.each(stem, taken, u64::saturating_sub);
    }

    fn each(&mut self, stem: &'a Stem, taken: Taken, change: impl Fn(u64, u64) -> u64) {
        let namespace = self.namespaces.entry(stem.namespace()).or_default();
        for sum in [Some(&mut self.node), Some(namespace).filter(|_| !taken.is_retired)].into_iter().flatten() {
            sum.mb = change(sum.mb, taken.mb);
            sum.captures = change(sum.captures, taken.goes_on.into());
        }
    }
}

/// What a slot's pod asks for and is not done.
struct Asks<'a> {
    accepted: &'a Accepted,
    /// Its filter is still to be compiled: it holds its place until then.
    is_pending: bool,
}

/// What a slot's pod asks for now. What is to go on after a rest asks when it has its new place in the order.
fn asks<'a>(world: &World<'a>, stem: &Stem, slot: &Slot) -> Option<Asks<'a>> {
    may_ask(world, stem, slot).filter(|asks| asks.accepted.request.paused || slot.claim != Claim::Rests)
}

fn may_ask<'a>(world: &World<'a>, stem: &Stem, slot: &Slot) -> Option<Asks<'a>> {
    let wish = own_wish(world, stem, slot)?;
    let holds = slot.claim == Claim::Holds;
    let can_run = match wish.place {
        Place::At(_) => true,
        // One that has begun keeps its room until it has an address again.
        Place::NoAddress => holds && slot.began.is_some(),
        Place::Forbidden(_) | Place::Finished => false,
    };
    // Once it is about to end, a change is for after the end: it begins anew.
    let is_ending = matches!(
        slot.phase,
        Phase::Terminating { why: StopReason::Ended(_), .. } | Phase::Killing { why: StopReason::Ended(_), .. }
    );
    if slot.doomed || slot.retired.is_some() || !can_run || is_ending {
        return None;
    }
    let is_new = |accepted: &&Accepted| {
        let waits = !holds && slot.ended.is_none() && !accepted.request.paused;
        waits || slot.admitted.as_ref() != Some(accepted)
    };
    let pending = wish.pending().map(|accepted| Asks { accepted, is_pending: true });
    pending.or_else(|| wish.accepted.as_ref().filter(is_new).map(|accepted| Asks { accepted, is_pending: false }))
}

/// Whether there is room beside what the others take.
fn fits(world: &World, stem: &Stem, slot: &Slot, accepted: &Accepted, others: &Sums) -> Result<(), Shortage> {
    let files = accepted.request.capture.files;
    let admitted = slot.admitted.as_ref().filter(|_| slot.ended.is_none() && slot.claim == Claim::Holds);
    if accepted.request.paused || admitted.is_some_and(|admitted| files <= admitted.request.capture.files) {
        return Ok(());
    }
    let (limits, needs_mb) = (world.limits, u64::from(files));
    let namespace = || stem.namespace().to_owned();
    let Sum { mb: used_mb, captures } = others.namespaces.get(stem.namespace()).copied().unwrap_or_default();
    let (max, share_mb) = (limits.captures_max_per_namespace, limits.budget_mb_per_namespace);
    if captures >= max.into() && max < limits.captures_max {
        return Err(Shortage::NamespaceCaptures { namespace: namespace(), captures, max });
    }
    if used_mb.saturating_add(needs_mb) > share_mb.into() && share_mb < limits.budget_mb {
        return Err(Shortage::NamespaceBudget { namespace: namespace(), needs_mb, used_mb, share_mb });
    }
    let Sum { mb: used_mb, captures } = others.node;
    if captures >= limits.captures_max.into() {
        return Err(Shortage::Captures { captures, max: limits.captures_max });
    }
    if used_mb.saturating_add(needs_mb) > limits.budget_mb.into() {
        return Err(Shortage::Budget { needs_mb, used_mb, budget_mb: limits.budget_mb });
    }
    on_disk(world, slot, files)
}
