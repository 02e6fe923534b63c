//! What is actual: one slot per stem, since the files are what can have one writer only. Each method is one fact that came
//! about, and moves a slot from one phase to the next. No I/O, no clock.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::capture::{Counts, Refusal, Request, Stem, Uid};

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
/// A capture that ran as long as this has recovered: the next failure counts as its first.
pub const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// What a tcpdump is started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What was asked.
    pub request: Request,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
}

/// Why a capture does not run, or is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The annotation or the pod is gone: the files go too.
    Gone,
    /// The request changed; it starts again at once.
    Changed,
    /// The pod's addresses changed; it starts again at once.
    Moved,
    /// The pod has no address.
    NoAddress,
    /// The pod is where it may not be captured.
    Forbidden,
    /// The pod has finished.
    Finished,
    /// Nothing readable was asked.
    NothingReadable,
    /// There has been no word from the API server for too long.
    Stale,
    /// This process is asked to end.
    Shutdown,
}

/// What a pod's owner must know for as long as it holds; told when it begins to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// What the pod asks now is not done.
    Refused(Refusal),
    /// The capture waits for the pod's address.
    Waiting,
    /// The pod finished before it could be captured.
    Missed,
}

/// Where the process of a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    Idle,
    /// It captures.
    Running,
    /// It was sent TERM.
    Terminating {
        /// What for.
        why: Why,
        /// When.
        since: Instant,
        /// When it is sent KILL.
        kill_at: Instant,
    },
    /// It was sent KILL.
    Killing {
        /// What for.
        why: Why,
        /// When TERM was sent.
        since: Instant,
        /// When KILL is sent again.
        again_at: Instant,
        /// When it is reported as stuck.
        warn_at: Instant,
    },
    /// There is none: it failed, and is tried again later.
    Backoff {
        /// When.
        until: Instant,
    },
    /// There is none, and the files could not be removed.
    Removing {
        /// When that is tried again.
        retry_at: Instant,
        /// How often it failed.
        failures: u32,
    },
}

/// One stem's files, and who writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The pod that they belong to; `None` where that is not known.
    pub owner: Option<Uid>,
    /// The place in the order of all slots.
    pub sequence: u64,
    /// What was last started, or tried to.
    pub last: Option<Run>,
    /// When `last` was.
    pub started_at: Option<Instant>,
    /// When the first tcpdump of this owner was started, in seconds since 1970.
    pub began_s: Option<u64>,
    /// How often in a row it failed.
    pub failures: u32,
    /// What all tcpdumps of this owner counted together.
    pub counts: Counts,
    /// How many of them ended without saying what they counted.
    pub uncounted: u32,
    /// The files are to go, whatever is asked from now on.
    pub doomed: bool,
    /// What its pod's owner was last told.
    pub told: Option<Standing>,
    /// Where its process is.
    pub phase: Phase,
}

/// How a process ended, as far as the slot is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped(Why),
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
}

impl Slots {
    /// A slot's state, if there is one.
    #[must_use]
    pub fn get(&self, stem: &Stem) -> Option<&Slot> {
        self.slots.get(stem)
    }

    /// All slots, by stem.
    pub fn iter(&self) -> impl Iterator<Item = (&Stem, &Slot)> {
        self.slots.iter()
    }

    /// The slot whose process captures a pod.
    #[must_use]
    pub fn capturing(&self, uid: &Uid) -> Option<&Stem> {
        let capturing = |slot: &Slot| slot.has_process() && slot.owner.as_ref() == Some(uid);
        self.slots.iter().find(|(_, slot)| capturing(slot)).map(|(stem, _)| stem)
    }

    /// A slot that an earlier process left.
    pub fn restore(&mut self, stem: Stem, slot: Slot) {
        self.sequence = self.sequence.max(slot.sequence);
        self.slots.insert(stem, slot);
    }

    /// A pod asks for a capture for the first time, or for files that were left over.
    pub fn open(&mut self, stem: &Stem, uid: Uid) {
        self.sequence += 1;
        let slot = self.slots.entry(stem.clone()).or_default();
        (slot.owner, slot.sequence) = (Some(uid), self.sequence);
    }

    /// The files are to go.
    pub fn doom(&mut self, stem: &Stem) {
        self.change(stem, |slot| slot.doomed = true);
    }

    /// The pod's owner was told how things stand.
    pub fn told(&mut self, stem: &Stem, standing: Option<Standing>) {
        self.change(stem, |slot| slot.told = standing);
    }

    /// A start is about to be tried, at `now` and `now_s` seconds since 1970.
    pub fn starting(&mut self, stem: &Stem, run: Run, now: Instant, now_s: u64) {
        self.change(stem, |slot| {
            if slot.last.as_ref() != Some(&run) {
                slot.failures = 0;
            }
            slot.last = Some(run);
            slot.started_at = Some(now);
            slot.began_s.get_or_insert(now_s);
            slot.phase = Phase::Running;
        });
    }

    /// TERM was sent.
    pub fn terminated(&mut self, stem: &Stem, why: Why, now: Instant) {
        self.change(stem, |slot| slot.phase = Phase::Terminating { why, since: now, kill_at: now + TERM_GRACE });
    }

    /// KILL was sent. If the process is to be reported as stuck: for how long it has been.
    pub fn killed(&mut self, stem: &Stem, now: Instant) -> Option<Duration> {
        let slot = self.slots.get_mut(stem)?;
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

    /// The process was reaped, after it had counted so much or did not say.
    pub fn exited(&mut self, stem: &Stem, counts: Option<Counts>, now: Instant) -> Ended {
        self.change(stem, |slot| match counts {
            Some(counts) => {
                slot.counts.captured = slot.counts.captured.saturating_add(counts.captured);
                slot.counts.dropped = slot.counts.dropped.saturating_add(counts.dropped);
            }
            None => slot.uncounted = slot.uncounted.saturating_add(1),
        });
        self.ended(stem, now)
    }

    /// The process is gone, or could not be started.
    pub fn ended(&mut self, stem: &Stem, now: Instant) -> Ended {
        let Some(slot) = self.slots.get_mut(stem) else { return Ended::Stopped(Why::Gone) };
        match slot.phase {
            Phase::Terminating { why, .. } | Phase::Killing { why, .. } => {
                slot.phase = Phase::Idle;
                Ended::Stopped(if slot.doomed { Why::Gone } else { why })
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

    /// The files are gone, and the slot with them.
    pub fn removed(&mut self, stem: &Stem) -> Option<Slot> {
        self.slots.remove(stem)
    }

    /// The files could not be removed. Returns how often in a row that was so.
    pub fn not_removed(&mut self, stem: &Stem, now: Instant) -> u32 {
        let Some(slot) = self.slots.get_mut(stem) else { return 0 };
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
        if let Some(slot) = self.slots.get_mut(stem) {
            change(slot);
        }
    }
}

impl Slot {
    /// Whether a process writes the files, or may still do so.
    #[must_use]
    pub fn has_process(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Terminating { .. } | Phase::Killing { .. } => true,
            Phase::Idle | Phase::Backoff { .. } | Phase::Removing { .. } => false,
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            owner: None,
            sequence: 0,
            last: None,
            started_at: None,
            began_s: None,
            failures: 0,
            counts: Counts::default(),
            uncounted: 0,
            doomed: false,
            told: None,
            phase: Phase::Idle,
        }
    }
}

/// 1, 2, 4 … seconds after the first, second, third … failure, up to the maximum.
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::PodName;

    #[test]
    fn failures_back_off_from_1_s_to_300_s_and_are_forgotten_after_a_minute_of_running() {
        let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
        let run = Run { request: Request { files: 5 }, ips: vec![] };
        let (mut slots, mut now) = (Slots::default(), Instant::now());
        slots.open(&stem, Uid("1".into()));
        let mut fail_after = |ran: Duration, run: &Run| {
            slots.starting(&stem, run.clone(), now, 0);
            now += ran;
            slots.ended(&stem, now)
        };
        for (failures, wait_s) in
            [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 64), (8, 128), (9, 256), (10, 300), (11, 300)]
        {
            let retry_in = Duration::from_secs(wait_s);
            assert_eq!(fail_after(Duration::from_secs(1), &run), Ended::Failed { failures, retry_in });
        }
        assert_eq!(fail_after(RECOVERED_AFTER, &run), Ended::Failed { failures: 1, retry_in: BACKOFF_MIN });
        assert_eq!(fail_after(BACKOFF_MIN, &run), Ended::Failed { failures: 2, retry_in: BACKOFF_MIN * 2 });
        let other = Run { request: Request { files: 6 }, ips: vec![] };
        assert_eq!(fail_after(BACKOFF_MIN, &other), Ended::Failed { failures: 1, retry_in: BACKOFF_MIN });
    }

    #[test]
    fn a_process_that_does_not_die_is_reported_after_30_s_and_then_ever_more_rarely() {
        let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
        let (mut slots, start) = (Slots::default(), Instant::now());
        slots.open(&stem, Uid("1".into()));
        slots.starting(&stem, Run { request: Request { files: 5 }, ips: vec![] }, start, 0);
        slots.terminated(&stem, Why::Gone, start);
        let reports: Vec<u64> = (1..=60)
            .map(|n| start + TERM_GRACE * n)
            .filter_map(|now| slots.killed(&stem, now).map(|stuck| stuck.as_secs()))
            .collect();
        assert_eq!(reports, [30, 60, 120, 240]);
    }
}
