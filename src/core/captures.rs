//! What is actual: one slot per stem, since the files are what can have one writer only. Each method is one fact that came
//! about, and moves a slot from one phase to the next. No I/O, no clock.

mod capture;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub use capture::{Claim, End, HistoryEntry, Moment, Phase, Slot, Standing, StopReason};

use crate::core::{
    annotations::Accepted,
    name::{PodUid, Stem},
    request::{Counts, Invocation},
};

/// How long tcpdump has to write what it holds after TERM; it was measured to take 30 ms.
pub const TERM_GRACE: Duration = Duration::from_secs(5);
/// Between two KILLs of a process that does not die of the first: one in an uninterruptible sleep takes it when that ends.
pub const KILL_INTERVAL: Duration = Duration::from_secs(5);
/// How long after TERM a process that is still there is first reported as stuck; then after twice that, and so on.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// The shortest time between two starts of one capture, so that a burst of changes costs one restart, or two.
pub const START_INTERVAL: Duration = Duration::from_secs(2);
/// The wait after a first failure; it doubles with each further one.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How long after its end a capture goes on: the kernel hands packets over in blocks, and those of the last half second come late.
pub const END_GRACE: Duration = Duration::from_secs(1);
/// A capture that ran as long as this has recovered: the next failure counts as its first.
pub const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// How a process ended, as far as the slot is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped(StopReason),
    /// It was not: this many times in a row, and it is tried again after this wait.
    Failed {
        /// Failures in a row, this one included.
        failures: u32,
        /// The wait.
        retry_in: Duration,
    },
}

/// All slots of this node.
#[derive(Debug, Default)]
pub struct Slots {
    slots: BTreeMap<Stem, Slot>,
    sequence: u64,
    changes: u64,
}

impl Slots {
    /// A slot's state, if there is one.
    #[must_use]
    pub fn get(&self, stem: &Stem) -> Option<&Slot> {
        self.slots.get(stem)
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How often a slot has changed so far: as long as this stays the same, so do the slots.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// All slots, by stem.
    pub fn iter(&self) -> impl Iterator<Item = (&Stem, &Slot)> {
        self.slots.iter()
    }

    /// The slot whose process captures a pod.
    #[must_use]
    pub fn capturing(&self, uid: &PodUid) -> Option<&Stem> {
        let capturing = |slot: &Slot| slot.has_process() && slot.owner.as_ref() == Some(uid);
        self.slots.iter().find(|(_, slot)| capturing(slot)).map(|(stem, _)| stem)
    }

    /// A slot that an earlier process left.
    pub fn restore(&mut self, stem: Stem, slot: Slot) {
        self.changes += 1;
        self.sequence = self.sequence.max(slot.sequence);
        self.slots.insert(stem, slot);
    }

    /// A pod asks for a capture for the first time, or for files that were left over, or wants to go on after it rested. It is
    /// the last in the order from now on.
    pub fn open(&mut self, stem: &Stem, uid: PodUid) {
        // One that the state file made up may be the highest there is.
        self.changes += 1;
        self.sequence = self.sequence.saturating_add(1);
        let slot = self.slots.entry(stem.clone()).or_default();
        (slot.owner, slot.sequence, slot.claim) = (Some(uid), self.sequence, Claim::Waits);
    }

    /// It cannot go on for the time being, and leaves its room to others.
    pub fn rest(&mut self, stem: &Stem) {
        self.change(stem, |slot| slot.claim = Claim::Rests);
    }

    /// The files are to go.
    pub fn doom(&mut self, stem: &Stem) {
        self.change(stem, |slot| slot.doomed = true);
    }

    /// The pod is gone, and the files are to be kept for a time.
    pub fn retire(&mut self, stem: &Stem, now: Moment) {
        self.change(stem, |slot| slot.retired = Some(now));
    }

    /// There is room for what the pod asks; what is paused needs none. After an end it begins anew.
    pub fn admit(&mut self, stem: &Stem, accepted: Accepted) {
        self.change(stem, |slot| {
            if slot.ended.take().is_some() {
                (slot.began, slot.counts, slot.uncounted) = (None, Counts::default(), 0);
            }
            slot.claim = if accepted.request.paused { Claim::Rests } else { Claim::Holds };
            slot.admitted = Some(accepted);
        });
    }

    /// It came to its end while there was no process.
    pub fn end(&mut self, stem: &Stem, by: End) {
        self.change(stem, |slot| (slot.ended, slot.phase) = (Some(by), Phase::Idle));
    }

    /// The pod's owner was told how things stand.
    pub fn told(&mut self, stem: &Stem, standing: Option<Standing>) {
        self.change(stem, |slot| (slot.told, slot.quiet_until) = (standing, None));
    }

    /// The pod's owner could not be told, and can be then.
    pub fn untold(&mut self, stem: &Stem, quiet_until: Instant) {
        self.change(stem, |slot| slot.quiet_until = Some(quiet_until));
    }

    /// So many files were counted while no process wrote them.
    pub fn counted(&mut self, stem: &Stem, files: usize) {
        self.change(stem, |slot| slot.files = files);
    }

    /// A start is about to be tried.
    pub fn starting(&mut self, stem: &Stem, run: Invocation, now: Moment) {
        self.change(stem, |slot| {
            if slot.last.as_ref() != Some(&run) {
                slot.failures = 0;
            }
            slot.remember(&run, now);
            slot.failure = None;
            slot.last = Some(run);
            slot.started_at = Some(now.at);
            slot.began.get_or_insert(now);
            slot.phase = Phase::Running;
        });
    }

    /// TERM was sent.
    pub fn terminated(&mut self, stem: &Stem, why: StopReason, now: Instant) {
        self.change(stem, |slot| slot.phase = Phase::Terminating { why, since: now, kill_at: now + TERM_GRACE });
    }

    /// KILL was sent. If the process is to be reported as stuck: for how long it has been.
    pub fn killed(&mut self, stem: &Stem, now: Instant) -> Option<Duration> {
        let slot = self.get_mut(stem)?;
        let again_at = now + KILL_INTERVAL;
        let (Phase::Terminating { why, since, .. } | Phase::Killing { why, since, .. }) = slot.phase else {
            return None;
        };
        let due_at = match slot.phase {
            Phase::Killing { warn_at, .. } => warn_at,
            Phase::Idle
            | Phase::Running
            | Phase::Terminating { .. }
            | Phase::Backoff { .. }
            | Phase::Removing { .. } => since + STUCK_AFTER,
        };
        let stuck = (now >= due_at).then(|| now - since);
        let warn_at = stuck.map_or(due_at, |stuck| now + stuck);
        slot.phase = Phase::Killing { why, since, again_at, warn_at };
        stuck
    }

    /// The process was reaped, in good order or not, after it had counted so much or did not say.
    pub fn exited(&mut self, stem: &Stem, in_order: bool, counts: Option<Counts>, now: Instant) -> Ended {
        self.change(stem, |slot| match counts {
            Some(counts) => {
                slot.counts.captured = slot.counts.captured.saturating_add(counts.captured);
                slot.counts.dropped = slot.counts.dropped.saturating_add(counts.dropped);
            }
            None => slot.uncounted = slot.uncounted.saturating_add(1),
        });
        match self.get_mut(stem) {
            Some(slot) if slot.phase == Phase::Running && in_order && slot.has_what_it_was_started_for() => {
                slot.phase = Phase::Idle;
                if !slot.has_its_packets() {
                    return Ended::Stopped(StopReason::Changed);
                }
                slot.ended = Some(End::Packets);
                Ended::Stopped(StopReason::Ended(End::Packets))
            }
            Some(_) | None => self.ended(stem, now),
        }
    }

    /// The process is gone, or could not be started.
    pub fn ended(&mut self, stem: &Stem, now: Instant) -> Ended {
        let Some(slot) = self.get_mut(stem) else { return Ended::Stopped(StopReason::Gone) };
        match slot.phase {
            Phase::Terminating { why, .. } | Phase::Killing { why, .. } => {
                slot.phase = Phase::Idle;
                if let StopReason::Ended(by) = why {
                    slot.ended = Some(by);
                }
                Ended::Stopped(if slot.doomed { StopReason::Gone } else { why })
            }
            Phase::Idle | Phase::Running | Phase::Backoff { .. } | Phase::Removing { .. } => {
                if slot.started_at.is_some_and(|started| now - started >= RECOVERED_AFTER) {
                    slot.failures = 0;
                }
                slot.failures = slot.failures.saturating_add(1);
                let retry_in = backoff(slot.failures);
                slot.phase = Phase::Backoff { until: now + retry_in };
                Ended::Failed { failures: slot.failures, retry_in }
            }
        }
    }

    /// This is what is said of how its last tcpdump failed.
    pub fn failed(&mut self, stem: &Stem, text: String) {
        self.change(stem, |slot| slot.failure = Some(text));
    }

    /// The files are gone, and the slot with them.
    pub fn removed(&mut self, stem: &Stem) -> Option<Slot> {
        self.changes += 1;
        self.slots.remove(stem)
    }

    /// The files could not be removed. Returns how often in a row that was so.
    pub fn not_removed(&mut self, stem: &Stem, now: Instant) -> u32 {
        let Some(slot) = self.get_mut(stem) else { return 0 };
        let failures = match slot.phase {
            Phase::Removing { failures, .. } => failures.saturating_add(1),
            Phase::Idle
            | Phase::Running
            | Phase::Terminating { .. }
            | Phase::Killing { .. }
            | Phase::Backoff { .. } => 1,
        };
        slot.phase = Phase::Removing { retry_at: now + backoff(failures), failures };
        failures
    }

    fn change(&mut self, stem: &Stem, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.get_mut(stem) {
            change(slot);
        }
    }

    /// The only way to a slot that is to be changed.
    fn get_mut(&mut self, stem: &Stem) -> Option<&mut Slot> {
        self.changes += 1;
        self.slots.get_mut(stem)
    }
}

/// 1, 2, 4 … seconds after the first, second, third … failure, up to the maximum.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
