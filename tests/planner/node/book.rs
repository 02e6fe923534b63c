//! The oracle's own books: one slot's life so far, in the words of the contract.

use std::time::{Duration, Instant};

use packet_capture::core::{
    annotations::Accepted,
    captures::{END_GRACE, End, Moment, Standing, StopReason},
    name::{PodUid, Stem},
    request::{Counts, Invocation, Place},
};

use super::{Node, START_INTERVAL, room::Verdicts};

#[derive(Clone, Debug, Default)]
pub struct Book {
    pub owner: Option<PodUid>,
    /// The place in the order of those that asked.
    pub place: u64,
    pub admitted: Option<Accepted>,
    /// It was given room, and has not left it to others since.
    pub holds: bool,
    /// It gave up its place in the order.
    pub rests: bool,
    /// When the first tcpdump was started.
    pub began: Option<Moment>,
    pub ended: Option<End>,
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
    pub told: Option<Standing>,
    pub quiet_until: Option<Instant>,
    /// How often in a row the files could not be removed, and when that was last tried.
    pub unremoved: Option<(u32, Instant)>,
}

/// What of it the next controller knows.
#[derive(Clone, Debug)]
pub struct Saved(Book);

impl Saved {
    pub fn of(book: &Book) -> Self {
        Self(Book {
            // What is to be removed is not to be asked for again.
            admitted: book.admitted.clone().filter(|_| !book.doomed),
            uncounted: book.uncounted + u32::from(book.lives),
            started: None,
            failures: 0,
            failed_at: None,
            lives: false,
            told: None,
            quiet_until: None,
            unremoved: None,
            ..book.clone()
        })
    }

    pub fn admitted(&self) -> Option<(PodUid, Accepted)> {
        Some((self.0.owner.clone()?, self.0.admitted.clone()?))
    }

    /// The book as it is opened again, after so long by the clock on the wall.
    pub fn book(&self, now: Moment) -> Book {
        let recall = |moment: Moment| {
            let ago_s = now.unix_s.saturating_sub(moment.unix_s);
            Moment { at: now.at - Duration::from_secs(ago_s), unix_s: moment.unix_s }
        };
        Book { began: self.0.began.map(recall), retired: self.0.retired.map(recall), ..self.0.clone() }
    }
}

impl Book {
    pub fn files(&self) -> u16 {
        self.admitted.as_ref().map_or(0, |admitted| admitted.request.capture.files)
    }

    pub fn packets_left(&self) -> Option<u32> {
        let packets = self.admitted.as_ref()?.request.capture.packets?;
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
    pub fn ends(&self, now: Instant) -> Vec<End> {
        if let Some(by) = self.ended {
            return vec![by];
        }
        let packets = (self.packets_left() == Some(0)).then_some(End::Packets);
        let duration = self.term_at().filter(|at| now >= *at).map(|_| End::Duration);
        packets.into_iter().chain(duration).collect()
    }
}

/// 1, 2, 4 … seconds after the first, second, third … failure.
pub fn backoff(failures: u32) -> Duration {
    Duration::from_secs(300.min(1 << (failures - 1).min(9)))
}

/// What a pod's owner is to know.
#[derive(Debug)]
pub enum Expected {
    Nothing,
    This(Standing),
    /// One of these.
    Shortage(Vec<Standing>),
}

impl Expected {
    pub fn is(&self, told: Option<&Standing>) -> bool {
        match self {
            Self::Nothing => told.is_none(),
            Self::This(standing) => told == Some(standing),
            Self::Shortage(any) => any.iter().any(|standing| Some(standing) == told),
        }
    }

    /// Whether what was told is still the same news, if not the same sums.
    pub fn is_like(&self, told: Option<&Standing>) -> bool {
        use packet_capture::core::refusal::Shortage;
        let is_like = |standing: &Standing| match (standing, told) {
            (Standing::Shortage(new), Some(Standing::Shortage(told))) => match (new, told) {
                (Shortage::Budget { needs_mb: new, .. }, Shortage::Budget { needs_mb: told, .. })
                | (Shortage::NamespaceBudget { needs_mb: new, .. }, Shortage::NamespaceBudget { needs_mb: told, .. }) => {
                    new == told
                }
                (new, told) => std::mem::discriminant(new) == std::mem::discriminant(told),
            },
            _ => false,
        };
        match self {
            Self::Nothing | Self::This(_) => self.is(told),
            Self::Shortage(any) => any.iter().any(is_like),
        }
    }
}

impl Node {
    /// All reasons why no process may run for a stem now.
    pub(super) fn halts(&self, stem: &Stem) -> Vec<StopReason> {
        let Some(book) = self.books.get(stem) else { return vec![StopReason::NothingAdmitted] };
        let mut all: Vec<StopReason> = book.ends(self.now).into_iter().map(StopReason::Ended).collect();
        let mut when = |true_: bool, why| all.extend(true_.then_some(why));
        when(book.doomed, StopReason::Gone);
        when(self.stopping, StopReason::Shutdown);
        when(book.retired.is_some(), StopReason::Retired);
        when(book.admitted.is_none() || !book.holds, StopReason::NothingAdmitted);
        match self.heard.asking(stem).map(|pod| &pod.place) {
            None => when(true, StopReason::Gone),
            Some(Place::Finished) => when(true, StopReason::Finished),
            Some(Place::NoAddress) => when(true, StopReason::NoAddress),
            Some(Place::Forbidden(_)) => when(true, StopReason::Forbidden),
            Some(Place::At(_)) => (),
        }
        when(self.heard.stale_at(&self.limits).is_some_and(|at| self.now >= at), StopReason::Stale);
        when(book.admitted.as_ref().is_some_and(|admitted| admitted.request.paused), StopReason::Paused);
        when(self.space.low, StopReason::LowDisk);
        all
    }

    /// What is to run for a stem, if nothing speaks against it.
    pub(super) fn wanted(&self, stem: &Stem) -> Option<Invocation> {
        let capture = self.books.get(stem)?.admitted.as_ref()?.request.capture.clone();
        match &self.heard.asking(stem)?.place {
            Place::At(ips) if self.halts(stem).is_empty() => Some(Invocation { capture, ips: ips.clone() }),
            Place::At(_) | Place::NoAddress | Place::Forbidden(_) | Place::Finished => None,
        }
    }

    /// Whether a stem's capture would run, were it not for the free space.
    pub(super) fn waits_for_disk(&self, stem: &Stem) -> bool {
        let Some(book) = self.books.get(stem) else { return false };
        let halts = self.halts(stem);
        let may_run = halts.is_empty() || halts == [StopReason::LowDisk];
        may_run && !self.has_process(stem) && self.lacks_disk(stem, book.files()).is_some()
    }

    /// What the owner of a stem's pod is to know.
    pub(super) fn expected(&self, stem: &Stem, verdicts: &Verdicts) -> Expected {
        let (Some(book), Some(pod)) = (self.books.get(stem), self.heard.asking(stem)) else { return Expected::Nothing };
        if let Some(refusal) = self.heard.refusal(stem) {
            return Expected::This(Standing::Refused(refusal.clone()));
        }
        if pod.place == Place::Finished {
            let missed = book.began.is_none() && self.count(stem) == 0;
            return if missed { Expected::This(Standing::Missed) } else { Expected::Nothing };
        }
        if let Some(Err(reasons)) = verdicts.get(stem) {
            return Expected::Shortage(reasons.iter().cloned().map(Standing::Shortage).collect());
        }
        if pod.place == Place::NoAddress {
            let waits = self.heard.told_of_wait_at(stem).is_some_and(|at| self.now >= at);
            return if waits { Expected::This(Standing::Waiting) } else { Expected::Nothing };
        }
        let is_paused = book.admitted.as_ref().is_some_and(|admitted| admitted.request.paused);
        if is_paused && book.began.is_none() && self.count(stem) == 0 && book.ended.is_none() {
            return Expected::This(Standing::Paused(stem.pod()));
        }
        match self.lacks_disk(stem, book.files()) {
            Some(no_room) if self.waits_for_disk(stem) => Expected::Shortage(vec![Standing::Shortage(no_room)]),
            Some(_) | None => Expected::Nothing,
        }
    }
}
