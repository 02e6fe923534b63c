//! Which retained files are removed before their time, because a capture needs their room or the disk is low: the oldest first, and no
//! more than needed. Pure.

use std::collections::BTreeSet;

use crate::core::{
    admission::{self, Admissions},
    captures::{Capture, Lifecycle, Process, Reservation},
    name::Stem,
    refusal::Shortage,
    request::Target,
    world::World,
};

/// The captures whose retained files are to be removed now.
#[must_use]
pub fn evicted<'a>(world: &World<'a>, admissions: &Admissions) -> BTreeSet<&'a Stem> {
    let retained =
        world.captures.iter().filter_map(|(stem, capture)| Some((capture.retained_since()?.at, stem, capture)));
    let mut retained: Vec<_> = retained.collect();
    retained.sort_by_key(|(since, ..)| *since);
    let retained_mb: u64 = retained.iter().map(|(_, _, capture)| capture.files_mb()).sum();
    let refused = admissions.values().filter_map(|admission| admission.as_ref().err().map(missing_mb));
    let stopped = world
        .captures
        .iter()
        .filter_map(|(stem, capture)| waits_for_disk(world, stem, capture).map(|shortage| missing_mb(&shortage)));
    // For a capture that would have no room even then, nothing is evicted.
    let enough = refused.chain(stopped).filter(|mb| *mb <= retained_mb).max().unwrap_or_default();
    let disk = world.disk;
    let for_disk = if disk.low { disk.high_watermark_mb().saturating_sub(disk.free_mb) } else { 0 };
    let being_freed = world.captures.iter().filter(|(_, capture)| is_being_removed(capture));
    let being_freed: u64 = being_freed.map(|(_, capture)| capture.files_mb()).sum();
    let mut missing_mb = enough.max(for_disk).saturating_sub(being_freed);
    let mut evicted = BTreeSet::new();
    for (_, stem, capture) in retained {
        if missing_mb == 0 {
            break;
        }
        evicted.insert(stem);
        missing_mb = missing_mb.saturating_sub(capture.files_mb());
    }
    evicted
}

/// Whether the files of a capture are about to be removed, and nothing seems to delay that.
#[must_use]
pub fn is_being_removed(capture: &Capture) -> bool {
    let is_stuck = matches!(capture.process, Process::Killing { .. });
    matches!(capture.lifecycle, Lifecycle::Removing { failures: 0, .. }) && !is_stuck
}

/// What an admitted capture lacks on the disk, if it could run otherwise.
fn waits_for_disk(world: &World, stem: &Stem, capture: &Capture) -> Option<Shortage> {
    let could_run = capture.is_active() && capture.reservation == Reservation::Held && !capture.has_process();
    let admitted = &capture.admitted.as_ref().filter(|_| could_run)?.request;
    let has_address = matches!(admission::own_request(world, stem, capture)?.target, Target::At(_));
    capture.disk_shortage(world.disk, admitted.spec.files).filter(|_| has_address && !admitted.paused)
}

/// How many megabytes have to be freed for a capture that lacks this.
fn missing_mb(shortage: &Shortage) -> u64 {
    match shortage {
        // No files of others are in the way of these.
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
