//! The oracle's own books: one slot's life so far, in the words of the contract.

use std::time::{Duration, Instant};

use packet_capture::core::{
    annotations::ValidRequest,
    captures::{END_GRACE, Moment},
    condition::{Condition, EndedBy, StopReason},
    name::{PodUid, Stem},
    request::{Counts, Invocation, Target},
};

use super::{Node, START_INTERVAL, room::Verdicts};

#[derive(Clone, Debug, Default)]
pub struct ExpectedCapture {
    pub owner: Option<PodUid>,
    /// The place in the order of those that asked.
    pub target: u64,
    pub admitted: Option<ValidRequest>,
    /// It was given room, and has not left it to others since.
    pub holds: bool,
    /// It gave up its place in the order.
    pub rests: bool,
    /// When the first tcpdump was started.
    pub began: Option<Moment>,
    pub ended: Option<EndedBy>,
    pub retired: Option<Moment>,
    pub doomed: bool,
    pub counts: Counts,
    pub uncounted: u32,
    pub started: Option<(Instant, Invocation)>,
    /// How often in a row it failed, and when it last did.
    pub failures: u32,
    pub failed_at: Option<Instant>,
    /// A tcpdump was started, and was not seen to end.
    pub lives: bool,
    pub notified: Option<Condition>,
    pub notify_after: Option<Instant>,
    /// How often in a row the files could not be removed, and when that was last tried.
    pub unremoved: Option<(u32, Instant)>,
}

/// What of it the next controller knows.
#[derive(Clone, Debug)]
pub struct Saved(ExpectedCapture);

impl Saved {
    pub fn of(expected: &ExpectedCapture) -> Self {
        Self(ExpectedCapture {
            // What is to be removed is not to be asked for again.
            admitted: expected.admitted.clone().filter(|_| !expected.doomed),
            uncounted: expected.uncounted + u32::from(expected.lives),
            started: None,
            failures: 0,
            failed_at: None,
            lives: false,
            notified: None,
            notify_after: None,
            unremoved: None,
            ..expected.clone()
        })
    }

    pub fn admitted(&self) -> Option<(PodUid, ValidRequest)> {
        Some((self.0.owner.clone()?, self.0.admitted.clone()?))
    }

    /// The book as it is opened again, after so long by the clock on the wall.
    pub fn capture(&self, now: Moment) -> ExpectedCapture {
        let recall = |moment: Moment| {
            let ago_s = now.unix_s.saturating_sub(moment.unix_s);
            Moment { at: now.at - Duration::from_secs(ago_s), unix_s: moment.unix_s }
        };
        ExpectedCapture { began: self.0.began.map(recall), retired: self.0.retired.map(recall), ..self.0.clone() }
    }
}

impl ExpectedCapture {
    pub fn files(&self) -> u16 {
        self.admitted.as_ref().map_or(0, |admitted| admitted.request.spec.files)
    }

    pub fn packets_left(&self) -> Option<u32> {
        let packets = self.admitted.as_ref()?.request.spec.packets?;
        Some(packets.saturating_sub(u32::try_from(self.counts.captured).unwrap()))
    }

    /// When it may be started with this.
    pub fn startable_at(&self, run: &Invocation) -> Option<Instant> {
        let (started_at, before) = self.started.as_ref()?;
        match self.failed_at {
            Some(at) if before == run => Some(at + backoff(self.failures)),
            Some(_) | None => Some(*started_at + START_INTERVAL),
        }
    }

    /// It ended by itself.
    pub fn fail(&mut self, now: Instant) {
        let ran = self.started.as_ref().map(|(at, _)| now - *at).unwrap_or_default();
        self.failures = if ran >= Duration::from_secs(60) { 1 } else { self.failures + 1 };
        self.failed_at = Some(now);
    }

    /// When the duration's TERM is due.
    pub fn term_at(&self) -> Option<Instant> {
        assert_eq!(END_GRACE.as_secs(), 1);
        Some(self.began?.at + self.admitted.as_ref()?.request.duration? + END_GRACE)
    }

    /// All that has brought it to its end.
    pub fn ends(&self, now: Instant) -> Vec<EndedBy> {
        if let Some(by) = self.ended {
            return vec![by];
        }
        let packets = (self.packets_left() == Some(0)).then_some(EndedBy::Packets);
        let duration = self.term_at().filter(|at| now >= *at).map(|_| EndedBy::Duration);
        packets.into_iter().chain(duration).collect()
    }
}

/// 1, 2, 4 … seconds after the first, second, third … failure.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(300.min(1 << (failures - 1).min(9)))
}

/// What a pod's owner is to know.
#[derive(Debug)]
pub enum ExpectedCondition {
    Nothing,
    This(Condition),
    /// One of these.
    Shortage(Vec<Condition>),
}

impl ExpectedCondition {
    pub fn is(&self, notified: Option<&Condition>) -> bool {
        match self {
            Self::Nothing => notified.is_none(),
            Self::This(condition) => notified == Some(condition),
            Self::Shortage(any) => any.iter().any(|condition| Some(condition) == notified),
        }
    }

    /// Whether what was told is still the same news, if not the same sums.
    pub fn is_like(&self, notified: Option<&Condition>) -> bool {
        use packet_capture::core::refusal::Shortage;
        let is_like = |condition: &Condition| match (condition, notified) {
            (Condition::Shortage(new), Some(Condition::Shortage(notified))) => match (new, notified) {
                (Shortage::Budget { needs_mb: new, .. }, Shortage::Budget { needs_mb: notified, .. })
                | (
                    Shortage::NamespaceBudget { needs_mb: new, .. },
                    Shortage::NamespaceBudget { needs_mb: notified, .. },
                ) => new == notified,
                (new, notified) => std::mem::discriminant(new) == std::mem::discriminant(notified),
            },
            _ => false,
        };
        match self {
            Self::Nothing | Self::This(_) => self.is(notified),
            Self::Shortage(any) => any.iter().any(is_like),
        }
    }
}

impl Node {
    /// All reasons why no process may run for a stem now.
    pub(super) fn halts(&self, stem: &Stem) -> Vec<StopReason> {
        let Some(expected) = self.expected_captures.get(stem) else { return vec![StopReason::NothingAdmitted] };
        let mut all: Vec<StopReason> = expected.ends(self.now).into_iter().map(StopReason::Ended).collect();
        let mut when = |true_: bool, why| all.extend(true_.then_some(why));
        when(expected.doomed, StopReason::Gone);
        when(self.stopping, StopReason::Shutdown);
        when(expected.retired.is_some(), StopReason::Retained);
        when(expected.admitted.is_none() || !expected.holds, StopReason::NothingAdmitted);
        match self.expected_desired.asking(stem).map(|pod| &pod.target) {
            None => when(true, StopReason::Gone),
            Some(Target::Finished) => when(true, StopReason::PodFinished),
            Some(Target::NoAddress) => when(true, StopReason::NoAddress),
            Some(Target::Forbidden(_)) => when(true, StopReason::Forbidden),
            Some(Target::At(_)) => (),
        }
        when(self.expected_desired.stale_at(&self.limits).is_some_and(|at| self.now >= at), StopReason::Stale);
        when(expected.admitted.as_ref().is_some_and(|admitted| admitted.request.paused), StopReason::Paused);
        when(self.space.low, StopReason::LowDisk);
        all
    }

    /// What is to run for a stem, if nothing speaks against it.
    pub(super) fn wanted(&self, stem: &Stem) -> Option<Invocation> {
        let spec = self.expected_captures.get(stem)?.admitted.as_ref()?.request.spec.clone();
        match &self.expected_desired.asking(stem)?.target {
            Target::At(ips) if self.halts(stem).is_empty() => Some(Invocation { spec, ips: ips.clone() }),
            Target::At(_) | Target::NoAddress | Target::Forbidden(_) | Target::Finished => None,
        }
    }

    /// Whether a stem's capture would run, were it not for the free space.
    pub(super) fn waits_for_disk(&self, stem: &Stem) -> bool {
        let Some(expected) = self.expected_captures.get(stem) else { return false };
        let halts = self.halts(stem);
        let may_run = halts.is_empty() || halts == [StopReason::LowDisk];
        may_run && !self.has_process(stem) && self.lacks_disk(stem, expected.files()).is_some()
    }

    /// What the owner of a stem's pod is to know.
    pub(super) fn expected_condition(&self, stem: &Stem, verdicts: &Verdicts) -> ExpectedCondition {
        let (Some(expected), Some(pod)) = (self.expected_captures.get(stem), self.expected_desired.asking(stem)) else {
            return ExpectedCondition::Nothing;
        };
        if let Some(refusal) = self.expected_desired.refusal(stem) {
            return ExpectedCondition::This(Condition::Refused(refusal.clone()));
        }
        if pod.target == Target::Finished {
            let missed = expected.began.is_none() && self.count(stem) == 0;
            return if missed { ExpectedCondition::This(Condition::Missed) } else { ExpectedCondition::Nothing };
        }
        if let Some(Err(reasons)) = verdicts.get(stem) {
            return ExpectedCondition::Shortage(reasons.iter().cloned().map(Condition::Shortage).collect());
        }
        if pod.target == Target::NoAddress {
            let waits = self.expected_desired.told_of_wait_at(stem).is_some_and(|at| self.now >= at);
            return if waits { ExpectedCondition::This(Condition::Waiting) } else { ExpectedCondition::Nothing };
        }
        let is_paused = expected.admitted.as_ref().is_some_and(|admitted| admitted.request.paused);
        if is_paused && expected.began.is_none() && self.count(stem) == 0 && expected.ended.is_none() {
            return ExpectedCondition::This(Condition::Paused(stem.pod()));
        }
        match self.lacks_disk(stem, expected.files()) {
            Some(shortage) if self.waits_for_disk(stem) => {
                ExpectedCondition::Shortage(vec![Condition::Shortage(shortage)])
            }
            Some(_) | None => ExpectedCondition::Nothing,
        }
    }
}
