//! Which of the captures that pods ask for have room on the node. Pure.
//!
//! A capture that has room keeps it: the newest request is the one that is refused, also after a restart, because the order of the
//! captures is remembered. A change that needs no more room is always admitted. A change that needs more room than there is, is
//! refused, and the running capture continues unchanged. A capture uses the larger of what it may still write and its size on disk.
//!
//! A capture that is paused, or that has not started because its pod has no address, cannot write: it uses its files only, and
//! queues for room again before it continues. No namespace has more than its share, so that one namespace cannot keep all others
//! out. Retained files count for the node only: they are evicted as soon as a capture needs their room.

use std::collections::BTreeMap;

use crate::core::{
    annotations::ValidRequest,
    captures::{Capture, Lifecycle, Reservation},
    condition::StopReason,
    desired::PodRequest,
    name::Stem,
    refusal::Shortage,
    request::Target,
    world::World,
};

/// For each capture whose pod asks for something that is not carried out: the request that has room, or what is lacking.
pub type Admissions<'a> = BTreeMap<&'a Stem, Result<&'a ValidRequest, Shortage>>;

/// Decides on all waiting requests, in the order of the captures.
#[must_use]
pub fn admissions<'a>(world: &World<'a>) -> Admissions<'a> {
    let mut usage = TotalUsage::default();
    for (stem, capture) in world.captures.iter() {
        usage.add(stem, usage_of(world, stem, capture));
    }
    let waiting = |(stem, capture)| Some((stem, capture, waiting_request(world, stem, capture)?));
    let mut waiting: Vec<(&Stem, &Capture, Waiting)> = world.captures.iter().filter_map(waiting).collect();
    waiting.sort_by_key(|(_, capture, _)| capture.sequence);
    let mut admissions = BTreeMap::new();
    for (stem, capture, Waiting { valid, filter_is_unknown }) in waiting {
        let own = usage_of(world, stem, capture);
        usage.remove(stem, own);
        let admission = admit(world, stem, capture, valid, &usage);
        let request = &valid.request;
        let new = Usage { mb: own.mb.max(request.spec.files.into()), may_write: true, is_left_over: false };
        usage.add(stem, if admission.is_ok() && !request.paused { new } else { own });
        if !filter_is_unknown {
            admissions.insert(stem, admission.map(|()| valid));
        }
    }
    admissions
}

/// Whether a pod wants its capture to continue that has released its room: the capture queues again, as the last.
#[must_use]
pub fn rejoins(world: &World, stem: &Stem, capture: &Capture) -> bool {
    capture.reservation == Reservation::Released
        && any_waiting_request(world, stem, capture).is_some_and(|waiting| !waiting.valid.request.paused)
}

/// Whether a capture has room that it cannot use: it has not started and cannot start, or its pod must not be captured.
#[must_use]
pub fn is_idle(world: &World, stem: &Stem, capture: &Capture) -> bool {
    let cannot_run = own_request(world, stem, capture).is_some_and(|pod| match pod.target {
        Target::NoAddress => capture.first_started.is_none(),
        Target::Forbidden(_) => true,
        Target::At(_) | Target::Finished => false,
    });
    capture.reservation == Reservation::Held && !capture.has_process() && cannot_run
}

/// What the pod of a capture asks, unless a later pod has its name now.
#[must_use]
pub fn own_request<'a>(world: &World<'a>, stem: &Stem, capture: &Capture) -> Option<&'a PodRequest> {
    world.desired.request_of(stem).filter(|pod| capture.owner.as_ref() == Some(&pod.uid))
}

/// What one capture uses of the node.
#[derive(Clone, Copy)]
struct Usage {
    mb: u64,
    may_write: bool,
    /// Files that are retained, or were until they are removed, count for the node only.
    is_left_over: bool,
}

fn usage_of(world: &World, stem: &Stem, capture: &Capture) -> Usage {
    let has_finished = world.desired.request_of(stem).is_none_or(|pod| pod.target == Target::Finished);
    let is_active = capture.is_active() && capture.reservation == Reservation::Held && !has_finished;
    let admitted = capture.admitted.as_ref().filter(|_| is_active && !is_idle(world, stem, capture));
    let running = capture.last_start.as_ref().filter(|_| capture.has_process());
    let may_write =
        admitted.map(|valid| valid.request.spec.files).max(running.map(|start| start.invocation.spec.files));
    Usage {
        mb: capture.files_mb().max(may_write.unwrap_or_default().into()),
        may_write: capture.has_process() || admitted.is_some(),
        is_left_over: capture.left_over_since().is_some(),
    }
}

/// What several captures use together.
#[derive(Clone, Copy, Default)]
struct Sum {
    mb: u64,
    captures: u64,
}

/// What all captures use, on the node and in each namespace.
#[derive(Default)]
struct TotalUsage<'a> {
    node: Sum,
    namespaces: BTreeMap<&'a str, Sum>,
}

impl<'a> TotalUsage<'a> {
    fn add(&mut self, stem: &'a Stem, usage: Usage) {
        self.change(stem, usage, u64::saturating_add);
    }

    fn remove(&mut self, stem: &'a Stem, usage: Usage) {
        self.change(stem, usage, u64::saturating_sub);
    }

    fn change(&mut self, stem: &'a Stem, usage: Usage, change: impl Fn(u64, u64) -> u64) {
        let namespace = self.namespaces.entry(stem.namespace()).or_default();
        for sum in [Some(&mut self.node), Some(namespace).filter(|_| !usage.is_left_over)].into_iter().flatten() {
            sum.mb = change(sum.mb, usage.mb);
            sum.captures = change(sum.captures, usage.may_write.into());
        }
    }
}

/// A request that is not carried out.
struct Waiting<'a> {
    valid: &'a ValidRequest,
    /// tcpdump has not compiled its filter yet: the request keeps its place until then.
    filter_is_unknown: bool,
}

/// The waiting request of a capture. A capture that released its room has none before it queues again.
fn waiting_request<'a>(world: &World<'a>, stem: &Stem, capture: &Capture) -> Option<Waiting<'a>> {
    let is_queued = capture.reservation != Reservation::Released;
    any_waiting_request(world, stem, capture).filter(|waiting| waiting.valid.request.paused || is_queued)
}

fn any_waiting_request<'a>(world: &World<'a>, stem: &Stem, capture: &Capture) -> Option<Waiting<'a>> {
    let pod = own_request(world, stem, capture)?;
    let is_held = capture.reservation == Reservation::Held;
    let can_run = match pod.target {
        Target::At(_) => true,
        // A capture that has started keeps its room until its pod has an address again.
        Target::NoAddress => is_held && capture.first_started.is_some(),
        Target::Forbidden(_) | Target::Finished => false,
    };
    // While a capture that reached its limit stops, a change waits for that: it starts a new capture.
    let is_ending = matches!(capture.stop_reason(), Some(StopReason::Ended(_))) || capture.is_ending_by_incident();
    let is_finished = match capture.lifecycle {
        Lifecycle::Active => false,
        Lifecycle::Finished(_) => true,
        Lifecycle::Retained { .. } | Lifecycle::Removing { .. } => return None,
    };
    if !can_run || is_ending {
        return None;
    }
    let is_new = |valid: &&ValidRequest| {
        let needs_room = !is_held && !is_finished && !valid.request.paused;
        needs_room || capture.admitted.as_ref() != Some(valid)
    };
    let pending = pod.pending().map(|valid| Waiting { valid, filter_is_unknown: true });
    pending.or_else(|| pod.valid.as_ref().filter(is_new).map(|valid| Waiting { valid, filter_is_unknown: false }))
}

/// Whether there is room for a request, given what all other captures use.
fn admit(
    world: &World,
    stem: &Stem,
    capture: &Capture,
    valid: &ValidRequest,
    others: &TotalUsage,
) -> Result<(), Shortage> {
    let files = valid.request.spec.files;
    let admitted =
        capture.admitted.as_ref().filter(|_| capture.is_active() && capture.reservation == Reservation::Held);
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
    capture.disk_shortage(world.disk, files).map_or(Ok(()), Err)
}
