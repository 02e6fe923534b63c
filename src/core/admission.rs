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
    annotations::ValidRequest,
    captures::{Capture, Phase, Reservation, StopReason},
    desired::PodRequest,
    name::Stem,
    refusal::Shortage,
    request::Target,
    world::World,
};

/// What there is room for.
#[derive(Debug, Default)]
pub struct Admissions<'a> {
    /// What is to be said of each slot whose pod asks for something else than what is done.
    pub verdicts: BTreeMap<&'a Stem, Result<&'a ValidRequest, Shortage>>,
    /// The files of pods that are gone which are to go now, because someone else needs the room: the oldest.
    pub evicted: BTreeSet<&'a Stem>,
    /// Files are about to go: what finds no room may have some in a moment.
    pub space_is_being_freed: bool,
}

/// Who asks for something that is not done yet, and whether there is room for it.
#[must_use]
pub fn admissions<'a>(world: &World<'a>) -> Admissions<'a> {
    let mut sums = Sums::default();
    for (stem, capture) in world.captures.iter() {
        sums.add(stem, taken(world, stem, capture));
    }
    let mut asking: Vec<(&Stem, &Capture, Asks)> = world
        .captures
        .iter()
        .filter_map(|(stem, capture)| Some((stem, capture, asks(world, stem, capture)?)))
        .collect();
    asking.sort_by_key(|(_, capture, _)| capture.sequence);
    let mut verdicts = BTreeMap::new();
    for (stem, capture, asks) in asking {
        let own = taken(world, stem, capture);
        sums.remove(stem, own);
        let verdict = fits(world, stem, capture, asks.valid, &sums);
        let request = &asks.valid.request;
        let new = Taken { mb: own.mb.max(request.spec.files.into()), goes_on: true, is_retired: false };
        sums.add(stem, if verdict.is_ok() && !request.paused { new } else { own });
        if !asks.is_pending {
            verdicts.insert(stem, verdict.map(|()| asks.valid));
        }
    }
    let evicted = evicted(world, &verdicts);
    let space_is_being_freed =
        !evicted.is_empty() || world.captures.iter().any(|(_, capture)| is_being_removed(capture));
    Admissions { verdicts, evicted, space_is_being_freed }
}

/// Whether a pod wants its capture to go on that has rested meanwhile: it takes its place behind those that wait.
#[must_use]
pub fn rejoins(world: &World, stem: &Stem, capture: &Capture) -> bool {
    capture.reservation == Reservation::Released
        && may_ask(world, stem, capture).is_some_and(|asks| !asks.valid.request.paused)
}

/// Whether a capture has room that it cannot use: it has not begun, and cannot, or its pod is where it may not be captured.
#[must_use]
pub fn is_idle(world: &World, stem: &Stem, capture: &Capture) -> bool {
    let cannot_run = own_request(world, stem, capture).is_some_and(|pod| match pod.target {
        Target::NoAddress => capture.began.is_none(),
        Target::Forbidden(_) => true,
        Target::At(_) | Target::Finished => false,
    });
    capture.reservation == Reservation::Held && !capture.has_process() && cannot_run
}

/// Whether a slot is doomed, and nothing seems to keep it from going.
fn is_being_removed(capture: &Capture) -> bool {
    capture.doomed && !matches!(capture.phase, Phase::Killing { .. } | Phase::Removing { .. })
}

fn evicted<'a>(world: &World<'a>, verdicts: &BTreeMap<&Stem, Result<&ValidRequest, Shortage>>) -> BTreeSet<&'a Stem> {
    let mut retired: Vec<(&Stem, &Capture)> =
        world.captures.iter().filter(|(_, capture)| capture.retired.is_some() && !capture.doomed).collect();
    retired.sort_by_key(|(_, capture)| capture.retired.map(|retired| retired.at));
    let all_mb: u64 = retired.iter().map(|(_, capture)| capture.files_mb()).sum();
    let waiting =
        world.captures.iter().filter_map(|(stem, capture)| Some(missing_mb(&waits_for_disk(world, stem, capture)?)));
    let missing = verdicts.values().filter_map(|verdict| verdict.as_ref().err()).map(missing_mb).chain(waiting);
    // What would not be enough is not given.
    let enough = missing.filter(|mb| *mb <= all_mb).max().unwrap_or_default();
    let disk = world.disk;
    let for_disk = if disk.low { disk.high_watermark_mb().saturating_sub(disk.free_mb) } else { 0 };
    let coming: u64 = world
        .captures
        .iter()
        .filter(|(_, capture)| is_being_removed(capture))
        .map(|(_, capture)| capture.files_mb())
        .sum();
    let mut missing_mb = enough.max(for_disk).saturating_sub(coming);
    let mut first = BTreeSet::new();
    for (stem, capture) in retired {
        if missing_mb == 0 {
            break;
        }
        first.insert(stem);
        missing_mb = missing_mb.saturating_sub(capture.files_mb());
    }
    first
}

/// What the slot's own pod asks; not one that comes after it under the same name.
fn own_request<'a>(world: &World<'a>, stem: &Stem, capture: &Capture) -> Option<&'a PodRequest> {
    world.desired.request_of(stem).filter(|pod| capture.owner.as_ref() == Some(&pod.uid))
}

/// What a capture that was let in, and could go on, lacks on the disk.
fn waits_for_disk(world: &World, stem: &Stem, capture: &Capture) -> Option<Shortage> {
    let is_over = capture.doomed || capture.ended.is_some() || capture.retired.is_some();
    let could_run = capture.reservation == Reservation::Held && !capture.has_process() && !is_over;
    let admitted = &capture.admitted.as_ref().filter(|_| could_run)?.request;
    let pod = own_request(world, stem, capture)?;
    let is_wanted = matches!(pod.target, Target::At(_)) && !admitted.paused;
    is_wanted.then(|| on_disk(world, capture, admitted.spec.files).err())?
}

/// How many megabytes more would do.
fn missing_mb(shortage: &Shortage) -> u64 {
    match shortage {
        // Those are not refused for want of what the files of others take.
        Shortage::Captures { .. }
        | Shortage::NamespaceCaptures { .. }
        | Shortage::NamespaceBudget { .. }
        | Shortage::Pods { .. } => 0,
        Shortage::Budget { needs_mb, used_mb, budget_mb } => {
            used_mb.saturating_add(*needs_mb).saturating_sub((*budget_mb).into())
        }
        Shortage::Disk { needs_mb, free_mb, low_watermark_mb } => {
            low_watermark_mb.saturating_add(*needs_mb).saturating_sub(*free_mb)
        }
    }
}

/// What a start of these files would lack on the disk.
///
/// # Errors
/// If the floor would be crossed.
pub fn on_disk(world: &World, capture: &Capture, files: u16) -> Result<(), Shortage> {
    // What it ran with once was let in, and is not revoked.
    let written_mb = capture.last.as_ref().map_or(0, |run| run.spec.files.into()).max(capture.files_mb());
    let needs_mb = u64::from(files).saturating_sub(written_mb);
    let disk = world.disk;
    if disk.has_room_for(needs_mb) {
        return Ok(());
    }
    let low_watermark_mb = if disk.low { disk.high_watermark_mb() } else { disk.low_watermark_mb };
    Err(Shortage::Disk { needs_mb, free_mb: disk.free_mb, low_watermark_mb })
}

/// What a slot takes of what there is for all.
#[derive(Clone, Copy)]
struct Taken {
    mb: u64,
    goes_on: bool,
    is_retired: bool,
}

fn taken(world: &World, stem: &Stem, capture: &Capture) -> Taken {
    let finished = world.desired.request_of(stem).is_none_or(|pod| pod.target == Target::Finished);
    let is_over = capture.ended.is_some() || capture.retired.is_some() || capture.doomed || finished;
    let holds = capture.reservation == Reservation::Held && !is_over && !is_idle(world, stem, capture);
    let admitted = capture.admitted.as_ref().filter(|_| holds);
    let running = capture.last.as_ref().filter(|_| capture.has_process());
    let may_write = admitted.map(|valid| valid.request.spec.files).max(running.map(|run| run.spec.files));
    Taken {
        mb: capture.files_mb().max(may_write.unwrap_or_default().into()),
        goes_on: capture.has_process() || admitted.is_some(),
        is_retired: capture.retired.is_some(),
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
    valid: &'a ValidRequest,
    /// Its filter is still to be compiled: it holds its place until then.
    is_pending: bool,
}

/// What a slot's pod asks for now. What is to go on after a rest asks when it has its new place in the order.
fn asks<'a>(world: &World<'a>, stem: &Stem, capture: &Capture) -> Option<Asks<'a>> {
    may_ask(world, stem, capture)
        .filter(|asks| asks.valid.request.paused || capture.reservation != Reservation::Released)
}

fn may_ask<'a>(world: &World<'a>, stem: &Stem, capture: &Capture) -> Option<Asks<'a>> {
    let pod = own_request(world, stem, capture)?;
    let holds = capture.reservation == Reservation::Held;
    let can_run = match pod.target {
        Target::At(_) => true,
        // One that has begun keeps its room until it has an address again.
        Target::NoAddress => holds && capture.began.is_some(),
        Target::Forbidden(_) | Target::Finished => false,
    };
    // Once it is about to end, a change is for after the end: it begins anew.
    let is_ending = matches!(
        capture.phase,
        Phase::Terminating { why: StopReason::Ended(_), .. } | Phase::Killing { why: StopReason::Ended(_), .. }
    );
    if capture.doomed || capture.retired.is_some() || !can_run || is_ending {
        return None;
    }
    let is_new = |valid: &&ValidRequest| {
        let waits = !holds && capture.ended.is_none() && !valid.request.paused;
        waits || capture.admitted.as_ref() != Some(valid)
    };
    let pending = pod.pending().map(|valid| Asks { valid, is_pending: true });
    pending.or_else(|| pod.valid.as_ref().filter(is_new).map(|valid| Asks { valid, is_pending: false }))
}

/// Whether there is room beside what the others take.
fn fits(world: &World, stem: &Stem, capture: &Capture, valid: &ValidRequest, others: &Sums) -> Result<(), Shortage> {
    let files = valid.request.spec.files;
    let admitted =
        capture.admitted.as_ref().filter(|_| capture.ended.is_none() && capture.reservation == Reservation::Held);
    if valid.request.paused || admitted.is_some_and(|admitted| files <= admitted.request.spec.files) {
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
    on_disk(world, capture, files)
}
