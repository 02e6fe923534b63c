//! What is actual: one slot per stem, since the files are what can have one writer only. Each method is one fact that came
//! about, and moves a slot from one phase to the next. No I/O, no clock.

mod capture;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub use capture::{Capture, Condition, End, HistoryEntry, Moment, Phase, Reservation, StopReason};

use crate::core::{
    annotations::ValidRequest,
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
pub struct Captures {
    captures: BTreeMap<Stem, Capture>,
    sequence: u64,
    changes: u64,
}

impl Captures {
    /// A slot's state, if there is one.
    #[must_use]
    pub fn get(&self, stem: &Stem) -> Option<&Capture> {
        self.captures.get(stem)
    }

    /// How many slots there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.captures.len()
    }

    /// Whether there is no slot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.captures.is_empty()
    }

    /// How often a slot has changed so far: as long as this stays the same, so do the slots.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// All slots, by stem.
    pub fn iter(&self) -> impl Iterator<Item = (&Stem, &Capture)> {
        self.captures.iter()
    }

    /// The slot whose process captures a pod.
    #[must_use]
    pub fn capturing(&self, uid: &PodUid) -> Option<&Stem> {
        let capturing = |capture: &Capture| capture.has_process() && capture.owner.as_ref() == Some(uid);
        self.captures.iter().find(|(_, capture)| capturing(capture)).map(|(stem, _)| stem)
    }

    /// A slot that an earlier process left.
    pub fn restore(&mut self, stem: Stem, capture: Capture) {
        self.changes += 1;
        self.sequence = self.sequence.max(capture.sequence);
        self.captures.insert(stem, capture);
    }

    /// A pod asks for a capture for the first time, or for files that were left over, or wants to go on after it rested. It is
    /// the last in the order from now on.
    pub fn open(&mut self, stem: &Stem, uid: PodUid) {
        // One that the state file made up may be the highest there is.
        self.changes += 1;
        self.sequence = self.sequence.saturating_add(1);
        let capture = self.captures.entry(stem.clone()).or_default();
        (capture.owner, capture.sequence, capture.reservation) = (Some(uid), self.sequence, Reservation::Queued);
    }

    /// It cannot go on for the time being, and leaves its room to others.
    pub fn rest(&mut self, stem: &Stem) {
        self.change(stem, |capture| capture.reservation = Reservation::Released);
    }

    /// The files are to go.
    pub fn doom(&mut self, stem: &Stem) {
        self.change(stem, |capture| capture.doomed = true);
    }

    /// The pod is gone, and the files are to be kept for a time.
    pub fn retire(&mut self, stem: &Stem, now: Moment) {
        self.change(stem, |capture| capture.retired = Some(now));
    }

    /// There is room for what the pod asks; what is paused needs none. After an end it begins anew.
    pub fn admit(&mut self, stem: &Stem, valid: ValidRequest) {
        self.change(stem, |capture| {
            if capture.ended.take().is_some() {
                (capture.began, capture.counts, capture.uncounted) = (None, Counts::default(), 0);
            }
            capture.reservation = if valid.request.paused { Reservation::Released } else { Reservation::Held };
            capture.admitted = Some(valid);
        });
    }

    /// It came to its end while there was no process.
    pub fn end(&mut self, stem: &Stem, by: End) {
        self.change(stem, |capture| (capture.ended, capture.phase) = (Some(by), Phase::Idle));
    }

    /// The pod's owner was told how things stand.
    pub fn notified(&mut self, stem: &Stem, condition: Option<Condition>) {
        self.change(stem, |capture| (capture.notified, capture.notify_after) = (condition, None));
    }

    /// The pod's owner could not be told, and can be then.
    pub fn defer_notice(&mut self, stem: &Stem, notify_after: Instant) {
        self.change(stem, |capture| capture.notify_after = Some(notify_after));
    }

    /// So many files were counted while no process wrote them.
    pub fn counted(&mut self, stem: &Stem, files: usize) {
        self.change(stem, |capture| capture.files = files);
    }

    /// A start is about to be tried.
    pub fn starting(&mut self, stem: &Stem, run: Invocation, now: Moment) {
        self.change(stem, |capture| {
            if capture.last.as_ref() != Some(&run) {
                capture.failures = 0;
            }
            capture.remember(&run, now);
            capture.failure = None;
            capture.last = Some(run);
            capture.started_at = Some(now.at);
            capture.began.get_or_insert(now);
            capture.phase = Phase::Running;
        });
    }

    /// TERM was sent.
    pub fn terminated(&mut self, stem: &Stem, why: StopReason, now: Instant) {
        self.change(stem, |capture| capture.phase = Phase::Terminating { why, since: now, kill_at: now + TERM_GRACE });
    }

    /// KILL was sent. If the process is to be reported as stuck: for how long it has been.
    pub fn killed(&mut self, stem: &Stem, now: Instant) -> Option<Duration> {
        let capture = self.get_mut(stem)?;
        let again_at = now + KILL_INTERVAL;
        let (Phase::Terminating { why, since, .. } | Phase::Killing { why, since, .. }) = capture.phase else {
            return None;
        };
        let due_at = match capture.phase {
            Phase::Killing { warn_at, .. } => warn_at,
            Phase::Idle
            | Phase::Running
            | Phase::Terminating { .. }
            | Phase::Backoff { .. }
            | Phase::Removing { .. } => since + STUCK_AFTER,
        };
        let stuck = (now >= due_at).then(|| now - since);
        let warn_at = stuck.map_or(due_at, |stuck| now + stuck);
        capture.phase = Phase::Killing { why, since, again_at, warn_at };
        stuck
    }

    /// The process was reaped, in good order or not, after it had counted so much or did not say.
    pub fn exited(&mut self, stem: &Stem, in_order: bool, counts: Option<Counts>, now: Instant) -> Ended {
        self.change(stem, |capture| match counts {
            Some(counts) => {
                capture.counts.captured = capture.counts.captured.saturating_add(counts.captured);
                capture.counts.dropped = capture.counts.dropped.saturating_add(counts.dropped);
            }
            None => capture.uncounted = capture.uncounted.saturating_add(1),
        });
        match self.get_mut(stem) {
            Some(capture) if capture.phase == Phase::Running && in_order && capture.has_what_it_was_started_for() => {
                capture.phase = Phase::Idle;
                if !capture.has_its_packets() {
                    return Ended::Stopped(StopReason::Changed);
                }
                capture.ended = Some(End::Packets);
                Ended::Stopped(StopReason::Ended(End::Packets))
            }
            Some(_) | None => self.ended(stem, now),
        }
    }

    /// The process is gone, or could not be started.
    pub fn ended(&mut self, stem: &Stem, now: Instant) -> Ended {
        let Some(capture) = self.get_mut(stem) else { return Ended::Stopped(StopReason::Gone) };
        match capture.phase {
            Phase::Terminating { why, .. } | Phase::Killing { why, .. } => {
                capture.phase = Phase::Idle;
                if let StopReason::Ended(by) = why {
                    capture.ended = Some(by);
                }
                Ended::Stopped(if capture.doomed { StopReason::Gone } else { why })
            }
            Phase::Idle | Phase::Running | Phase::Backoff { .. } | Phase::Removing { .. } => {
                if capture.started_at.is_some_and(|started| now - started >= RECOVERED_AFTER) {
                    capture.failures = 0;
                }
                capture.failures = capture.failures.saturating_add(1);
                let retry_in = backoff(capture.failures);
                capture.phase = Phase::Backoff { until: now + retry_in };
                Ended::Failed { failures: capture.failures, retry_in }
            }
        }
    }

    /// This is what is said of how its last tcpdump failed.
    pub fn failed(&mut self, stem: &Stem, text: String) {
        self.change(stem, |capture| capture.failure = Some(text));
    }

    /// The files are gone, and the slot with them.
    pub fn removed(&mut self, stem: &Stem) -> Option<Capture> {
        self.changes += 1;
        self.captures.remove(stem)
    }

    /// The files could not be removed. Returns how often in a row that was so.
    pub fn not_removed(&mut self, stem: &Stem, now: Instant) -> u32 {
        let Some(capture) = self.get_mut(stem) else { return 0 };
        let failures = match capture.phase {
            Phase::Removing { failures, .. } => failures.saturating_add(1),
            Phase::Idle
            | Phase::Running
            | Phase::Terminating { .. }
            | Phase::Killing { .. }
            | Phase::Backoff { .. } => 1,
        };
        capture.phase = Phase::Removing { retry_at: now + backoff(failures), failures };
        failures
    }

    fn change(&mut self, stem: &Stem, change: impl FnOnce(&mut Capture)) {
        if let Some(capture) = self.get_mut(stem) {
            change(capture);
        }
    }

    /// The only way to a slot that is to be changed.
    fn get_mut(&mut self, stem: &Stem) -> Option<&mut Capture> {
        self.changes += 1;
        self.captures.get_mut(stem)
    }
}

/// 1, 2, 4 … seconds after the first, second, third … failure, up to the maximum.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
