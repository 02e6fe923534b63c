//! The contract: what must hold of each action, and of each plan. What must hold at rest is in `rest`. These are properties of the
//! processes, files, pods and Events of the node, not a second planner.

mod flights;
mod rest;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use packet_capture::core::{
    annotations::ValidRequest,
    captures::{Capture, END_GRACE, Lifecycle, Process as Tcpdump, Reservation, START_INTERVAL},
    condition::{Condition, EndedBy, StopReason},
    name::Stem,
    notices::{Change, Notice},
    observed_pod::ObservedPod,
    plan::{Action, WAITING_AFTER},
    request::{Counts, Exit, Invocation, Target},
    world::{RECORDS_MAX, RECORDS_MAX_PER_NAMESPACE},
};

pub use flights::Flight;

use super::{Node, processes::Process};
use crate::seen::Fate;

/// The time between TERM and KILL, and between two KILLs.
const GRACE: Duration = Duration::from_secs(5);
/// The longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// What some captures use of the node.
#[derive(Debug, Default)]
struct Usage {
    mb: u64,
    captures: u64,
}

impl Node {
    fn capture(&self, stem: &Stem) -> &Capture {
        self.captures.get(stem).unwrap_or_else(|| panic!("there is no {stem}"))
    }

    /// The pod of a capture, if it asks for the capture.
    fn own(&self, stem: &Stem) -> Option<&ObservedPod> {
        self.seen.own(stem, self.captures.get(stem)?.owner.as_ref())
    }

    fn target(&self, stem: &Stem) -> Option<&Target> {
        self.own(stem).map(|pod| &pod.target)
    }

    fn is_stale(&self) -> bool {
        self.seen.lost_since.is_some_and(|since| self.now >= since + self.limits.stale_max)
    }

    fn is_paused(capture: &Capture) -> bool {
        capture.admitted.as_ref().is_some_and(|admitted| admitted.request.paused)
    }

    /// Whether a reason against a tcpdump is true.
    fn is_true(&self, stem: &Stem, reason: StopReason) -> bool {
        let capture = self.capture(stem);
        let wanted = self.wanted(stem);
        let running = self.process_of(stem).map(|process| &process.invocation);
        match reason {
            StopReason::Gone => capture.is_removing(),
            StopReason::Shutdown => self.stopping,
            StopReason::Retained => capture.retained_since().is_some(),
            StopReason::PodFinished => self.target(stem) == Some(&Target::Finished),
            StopReason::NoAddress => self.target(stem) == Some(&Target::NoAddress),
            StopReason::Forbidden => matches!(self.target(stem), Some(Target::Forbidden(_))),
            StopReason::NothingAdmitted => capture.admitted.is_none() || capture.reservation != Reservation::Held,
            StopReason::Paused => Self::is_paused(capture),
            StopReason::LowDisk => self.space.low,
            StopReason::Stale => self.is_stale(),
            StopReason::Ended(EndedBy::Packets) => capture.has_all_packets(),
            StopReason::Ended(EndedBy::Duration) => {
                let grace = if self.incident_is_due(stem) { Duration::ZERO } else { END_GRACE };
                let ends_at = capture.ends_at().filter(|at| capture.incident().is_none_or(|seen| *at <= seen.seen.at));
                ends_at.is_some_and(|at| self.now >= at + grace) || capture.ended_by() == Some(EndedBy::Duration)
            }
            StopReason::Ended(EndedBy::StopOn) => {
                let seen_at = capture.incident().map(|seen| seen.seen.at);
                let is_first = capture.ends_at().is_none_or(|at| seen_at.is_some_and(|seen_at| seen_at <= at))
                    || self.target(stem) == Some(&Target::Finished);
                (self.incident_is_due(stem) && is_first) || capture.ended_by() == Some(EndedBy::StopOn)
            }
            StopReason::Moved => wanted.is_some_and(|wanted| running.is_some_and(|run| run.ips != wanted.ips)),
            StopReason::Changed => wanted.is_some_and(|wanted| running.is_some_and(|run| run.spec != wanted.spec)),
        }
    }

    /// With what tcpdump is to run for a capture, if nothing speaks against it.
    fn wanted(&self, stem: &Stem) -> Option<Invocation> {
        let capture = self.captures.get(stem).filter(|capture| capture.is_active())?;
        let Some(Target::At(ips)) = self.target(stem) else { return None };
        let admitted = &capture.admitted.as_ref()?.request;
        let is_over = capture.has_all_packets() || capture.ends_at().is_some_and(|at| self.now >= at + END_GRACE);
        let is_over = is_over || self.incident_is_due(stem);
        let is_kept_back = self.stopping || self.space.low || self.is_stale();
        let may_run = capture.reservation == Reservation::Held && !admitted.paused && !is_over && !is_kept_back;
        may_run.then(|| Invocation { spec: admitted.spec.clone(), ips: ips.clone() })
    }

    /// Whether a capture ends now because of an incident: what is under way in the kernel has arrived, or is not awaited.
    fn incident_is_due(&self, stem: &Stem) -> bool {
        let capture = self.capture(stem);
        let is_awaited = self.process_of(stem).is_some() && self.target(stem) != Some(&Target::Finished);
        let grace = if is_awaited { END_GRACE } else { Duration::ZERO };
        capture.incident().is_some_and(|seen| self.now >= seen.seen.at + grace)
    }

    /// How many files more a start would bring, over those that are there or were reckoned with.
    fn new_files(&self, stem: &Stem, files: u16) -> u64 {
        let capture = self.capture(stem);
        let reckoned = capture.last_start.as_ref().map_or(0, |start| start.invocation.spec.files.into());
        u64::from(files).saturating_sub(reckoned.max(self.count(stem) as u64))
    }

    /// What must hold of an action that is about to be carried out.
    pub(super) fn check_action(&self, stem: &Stem, action: &Action) {
        let process = self.process_of(stem);
        match action {
            Action::Open(uid) => {
                assert!(self.seen.has_listed && !self.stopping, "opens {stem} out of time");
                let pod = self.seen.asking(stem).expect("opens a capture that nobody asks for");
                assert_eq!(pod.uid, *uid);
                let is_finished = pod.target == Target::Finished;
                match self.captures.get(stem) {
                    None => assert!(!is_finished && !self.is_full(stem), "keeps a record of {stem} for nothing"),
                    Some(capture) => assert!(
                        capture.owner.is_none() || capture.reservation == Reservation::Released,
                        "takes the place of {stem} in the order away"
                    ),
                }
            }
            Action::Decline(uid, condition) => {
                assert!(self.captures.get(stem).is_none() && !self.stopping, "declines {stem}, which has a capture");
                let pod = self.seen.asking(stem).expect("declines what nobody asks for");
                assert_eq!(pod.uid, *uid);
                let is_finished = pod.target == Target::Finished;
                assert!(is_finished || self.is_full(stem), "declines {stem}: {condition:?}");
                let told = self.desired.request_of(stem).and_then(|pod| pod.notified.as_ref());
                assert_ne!(told, Some(condition), "repeats itself");
            }
            Action::Release => {
                let capture = self.capture(stem);
                assert!(self.is_idle(stem, capture) && !self.stopping, "{stem} could use its room");
            }
            Action::Admit(valid) => {
                let capture = self.capture(stem);
                assert!(!self.stopping && !capture.is_removing() && capture.retained_since().is_none(), "{stem}");
                assert!(!capture.is_active() || !self.has_recorded(stem), "{stem} is to end first");
                let is_new = capture.admitted.as_ref() != Some(valid);
                assert!(is_new || capture.ended_by().is_none(), "{stem} begins anew for nothing");
                let uid = &self.own(stem).expect("admits what nobody asks for").uid;
                assert!(self.requested[uid].contains(&valid.request), "admits what {stem} never asked for");
            }
            Action::Learn(_) => self.check_recorded(stem, None),
            Action::RecordIncident(incident) => self.check_recorded(stem, Some(incident)),
            Action::Finish(by) => {
                assert!(process.is_none() && self.capture(stem).is_active(), "finishes {stem} out of time");
                assert!(self.is_true(stem, StopReason::Ended(*by)), "{stem} has not reached its limit");
            }
            Action::Retain => {
                let capture = self.capture(stem);
                assert_eq!(self.seen.fate(stem, capture.owner.as_ref()), Fate::PodGone, "retains {stem} with its pod");
                assert!(capture.has_captured() && !self.limits.keep_after_pod.is_zero(), "keeps {stem} for nothing");
            }
            Action::MarkForRemoval => self.check_marked(stem),
            Action::Notify(condition) => {
                let capture = self.capture(stem);
                assert!(!self.stopping && capture.notified != *condition, "repeats itself");
                let since = self.desired.request_of(stem).and_then(|pod| pod.no_address_since);
                let is_early = || since.is_none_or(|since| self.now < since + WAITING_AFTER);
                assert!(*condition != Some(Condition::Waiting) || !is_early(), "{stem} has not waited yet");
                assert!(capture.notify_after.is_none_or(|at| self.now >= at), "notifies before it may");
            }
            Action::Start(invocation) => self.check_start(stem, invocation),
            Action::Term(reason) => {
                assert!(process.is_some_and(|process| process.term_at.is_none()), "a TERM for nothing: {stem}");
                assert!(self.is_true(stem, *reason), "TERM to {stem} because of {reason:?}");
            }
            Action::Kill => {
                let process = process.expect("KILL to nobody");
                let (term_at, _) = process.term_at.expect("KILL before TERM");
                assert!(self.now >= process.kill_at.unwrap_or(term_at) + GRACE, "KILL too soon");
            }
            Action::Remove => {
                assert!(self.seen.has_listed && process.is_none(), "removes {stem} under a writer, or before a list");
                let must_go = self.files.get(stem).is_none_or(|files| files.must_go);
                let Lifecycle::Removing { retry_at, .. } = self.capture(stem).lifecycle else {
                    panic!("removes {stem}, which is asked for");
                };
                assert!(must_go, "removes {stem}, which is asked for");
                assert!(retry_at.is_none_or(|at| self.now >= at), "tries to remove {stem} too often");
                let due_at = self.unremoved.get(stem).map(|(failures, at)| *at + backoff(*failures));
                assert!(due_at.is_none_or(|at| self.now >= at), "tries to remove {stem} too often");
            }
        }
    }

    fn check_start(&self, stem: &Stem, invocation: &Invocation) {
        assert_eq!(self.wanted(stem).as_ref(), Some(invocation), "starts {stem}, of which something else is wanted");
        assert!(self.seen.has_listed && self.process_of(stem).is_none(), "a second writer for {stem}");
        let capture = self.capture(stem);
        let is_own = |files: &super::Files| !files.must_go && files.owner == capture.owner;
        assert!(self.files.get(stem).is_none_or(is_own), "adds to the files of another, or to files that must go");
        let uid = capture.owner.as_ref().unwrap();
        let spec = &invocation.spec;
        assert!(self.requested[uid].iter().any(|request| request.spec == *spec), "captures what nobody asked for");
        assert!(!self.lacks_disk(self.new_files(stem, spec.files)), "{stem} would fill the disk");
        let last = capture.last_start.as_ref();
        let is_same = last.is_some_and(|start| start.invocation == *invocation);
        match &capture.process {
            Tcpdump::Backoff { until, .. } if is_same => assert!(self.now >= *until, "starts {stem} before its wait"),
            _ => assert!(last.is_none_or(|start| self.now >= start.at + START_INTERVAL), "starts {stem} too often"),
        }
    }

    /// Files are given up only if their pod is gone or no longer asks, or where they stand for nothing.
    fn check_marked(&self, stem: &Stem) {
        let capture = self.capture(stem);
        let is_empty = !capture.has_captured() && self.count(stem) == 0;
        match self.seen.fate(stem, capture.owner.as_ref()) {
            Fate::MustGo => (),
            // Another pod needs the record of a pod that finished and left nothing.
            Fate::Asked => {
                let is_finished = self.target(stem) == Some(&Target::Finished);
                assert!(is_empty && is_finished && self.is_full(stem), "gives up {stem}, which is asked for");
            }
            Fate::PodGone if self.limits.keep_after_pod.is_zero() || is_empty => (),
            Fate::PodGone => {
                let since = capture.retained_since().unwrap_or_else(|| panic!("does not retain {stem}"));
                let is_over = self.now >= since.at + self.limits.keep_after_pod;
                let is_needed = self.space.low
                    || self.captures.iter().any(|(stem, _)| self.is_queued(stem) || self.waits_for_disk(stem));
                let is_none = self.process_of(stem).is_none() && self.count(stem) == 0;
                assert!(is_over || is_needed || is_none, "evicts {stem} for nobody");
            }
        }
    }

    /// What must hold of all actions of a plan together.
    pub(super) fn check_plan(&self, actions: &[(Stem, Action)]) {
        let opened = actions.iter().filter(|(_, action)| matches!(action, Action::Open(_)));
        let opened: Vec<_> =
            opened.map(|(stem, _)| self.seen.asking(stem).map(|pod| (pod.created_s, &pod.uid))).collect();
        assert!(opened.is_sorted(), "the younger pod comes first");
        let order = |stem: &Stem| self.capture(stem).sequence;
        let admitted = actions.iter().filter_map(|(stem, action)| match action {
            Action::Admit(valid) => Some((stem, valid)),
            _ => None,
        });
        let takes_room = |(stem, valid): &(&Stem, &ValidRequest)| {
            let capture = self.capture(stem);
            let is_held = capture.is_active() && capture.reservation == Reservation::Held;
            let held = if is_held { capture.admitted_files() } else { 0 };
            !valid.request.paused && valid.request.spec.files > held
        };
        let grown: BTreeSet<&Stem> = admitted.clone().filter(takes_room).map(|(stem, _)| stem).collect();
        // A flight recorder looks at the pod first, and what the pod asks is admitted in the next plan.
        let looks = |action: &Action| matches!(action, Action::Learn(_) | Action::RecordIncident(_));
        let looking = actions.iter().filter(|(_, action)| looks(action)).map(|(stem, _)| stem);
        let admitted: BTreeSet<&Stem> = admitted.map(|(stem, _)| stem).chain(looking).collect();
        // First come, first served: whoever waits had no room before those that came later got theirs.
        for stem in self.captures.iter().map(|(stem, _)| stem).filter(|stem| self.is_queued(stem)) {
            let later: BTreeSet<&Stem> = grown.iter().copied().filter(|other| order(other) > order(stem)).collect();
            let is_passed = !later.is_empty() && !admitted.contains(stem);
            let earlier = grown.iter().copied().filter(|other| order(other) < order(stem)).collect();
            assert!(!is_passed || !self.has_room(stem, &earlier), "{later:?} overtake {stem}");
        }
        let retained = self.captures.iter().filter_map(|(stem, capture)| Some((capture.retained_since()?.at, stem)));
        let evicted = |(at, stem): &(Instant, &Stem)| {
            let is_due = self.now >= *at + self.limits.keep_after_pod || self.count(stem) == 0;
            (!is_due).then(|| actions.contains(&((*stem).clone(), Action::MarkForRemoval)))
        };
        let (gone, kept): (Vec<_>, Vec<_>) = retained
            .filter(|(_, stem)| self.seen.fate(stem, self.capture(stem).owner.as_ref()) == Fate::PodGone)
            .filter_map(|retained| Some((evicted(&retained)?, retained.0)))
            .partition(|(is_evicted, _)| *is_evicted);
        let newest_gone = gone.iter().map(|(_, at)| at).max();
        assert!(newest_gone.is_none_or(|newest| kept.iter().all(|(_, at)| at >= newest)), "not the oldest goes first");
    }

    /// What must hold of a process that ended: that nothing it counted is lost, and what its owner is told.
    pub(super) fn check_exit(&self, process: &Process, before: &Capture, exit: &Exit, notice: Option<&Notice>) {
        let capture = self.capture(&process.stem);
        assert!(!capture.has_process());
        let Counts { captured, dropped } = exit.counts.unwrap_or_default();
        let counts = Counts { captured: before.counts.captured + captured, dropped: before.counts.dropped + dropped };
        let uncounted = before.uncounted + u32::from(exit.counts.is_none());
        assert_eq!((capture.counts, capture.uncounted), (counts, uncounted), "{} is miscounted", process.stem);
        let had_incident = before.is_active() && before.incident().is_some();
        let by_incident = StopReason::Ended(EndedBy::StopOn);
        match (process.term_at, &capture.process, notice.map(|notice| &notice.change)) {
            (Some(_), _, None) => assert!(capture.is_removing(), "{} stops without a word", process.stem),
            (Some((_, reason)), _, Some(Change::Stopped { reason: told, .. })) => {
                let is_end = matches!(reason, StopReason::Ended(_));
                let reason = match reason {
                    _ if is_end => reason,
                    _ if had_incident => by_incident,
                    _ if self.stopping => StopReason::Shutdown,
                    _ => reason,
                };
                assert_eq!(*told, reason);
            }
            (None, Tcpdump::Backoff { failure, .. }, told) => {
                assert!(!had_incident, "starts {} again", process.stem);
                assert_eq!(told.is_some(), failure.failures.is_power_of_two(), "tells of failure {}", failure.failures);
                let told_kept =
                    told.is_none_or(|change| matches!(change, Change::Failed { kept, .. } if *kept == capture.files));
                assert!(told_kept && capture.files == self.count(&process.stem), "{told:?}");
            }
            (None, Tcpdump::None, Some(Change::Stopped { reason, .. })) if had_incident => {
                assert_eq!(*reason, by_incident);
            }
            (None, Tcpdump::None, Some(Change::Stopped { reason, .. })) => {
                assert!(exit.in_order && capture.reached_packet_limit(), "{reason:?}");
                assert_eq!(capture.ended_by().is_some(), *reason == StopReason::Ended(EndedBy::Packets));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whether no more captures can be recorded, on the node or in the namespace.
    fn is_full(&self, stem: &Stem) -> bool {
        let of_namespace = self.captures.iter().filter(|(other, _)| other.namespace() == stem.namespace()).count();
        self.captures.len() >= RECORDS_MAX || of_namespace >= RECORDS_MAX_PER_NAMESPACE
    }

    /// Whether a capture was given room that it cannot use.
    fn is_idle(&self, stem: &Stem, capture: &Capture) -> bool {
        let cannot_run = self.target(stem).is_some_and(|target| match target {
            Target::NoAddress => capture.first_started.is_none(),
            Target::Forbidden(_) => true,
            Target::At(_) | Target::Finished => false,
        });
        capture.reservation == Reservation::Held && self.process_of(stem).is_none() && cannot_run
    }

    /// Whether the pod of a capture asks for something that is not carried out, or for a capture that has no room.
    fn is_queued(&self, stem: &Stem) -> bool {
        let capture = self.capture(stem);
        let can_run = self.asks_to_run(stem);
        let valid = self.desired.request_of(stem).and_then(|pod| pod.valid.as_ref());
        let lacks_room = capture.is_active() && capture.reservation == Reservation::Queued;
        // Whoever released its room takes a new place in the order first.
        let can_run = can_run && capture.reservation != Reservation::Released;
        can_run && (lacks_room || capture.admitted.as_ref() != valid)
    }

    /// Whether the pod of a capture can be captured, and its last valid request says so.
    fn asks_to_run(&self, stem: &Stem) -> bool {
        let capture = self.capture(stem);
        let pod = self.desired.request_of(stem).filter(|pod| Some(&pod.uid) == capture.owner.as_ref());
        let Some(valid) = pod.and_then(|pod| pod.valid.as_ref().filter(|_| pod.pending().is_none())) else {
            return false;
        };
        let is_ending = matches!(capture.stop_reason(), Some(StopReason::Ended(_)))
            || (capture.is_active() && self.has_recorded(stem));
        let is_over = is_ending || capture.is_removing() || capture.retained_since().is_some();
        let is_done = capture.ended_by().is_some() && capture.admitted.as_ref() == Some(valid);
        matches!(self.target(stem), Some(Target::At(_))) && !is_over && !is_done && !valid.request.paused
    }

    /// Whether an admitted capture without a process lacks space on the disk.
    fn waits_for_disk(&self, stem: &Stem) -> bool {
        let capture = self.capture(stem);
        let could_run = self.target(stem).is_some_and(|target| matches!(target, Target::At(_))) && capture.is_active();
        let could_run = could_run && !Self::is_paused(capture) && self.process_of(stem).is_none();
        could_run && self.lacks_disk(self.new_files(stem, capture.admitted_files()))
    }

    /// What all captures that this is true of use together: what is on the disk, or what may still be written, whichever is more.
    /// `pending` says how many files a request brings that keeps its place although tcpdump has not compiled its filter yet.
    fn usage(
        &self,
        is_counted: impl Fn(&Stem, &Capture) -> bool,
        pending: impl Fn(&Stem, &Capture) -> Option<u16>,
    ) -> Usage {
        let mut usage = Usage::default();
        for (stem, capture) in self.captures.iter().filter(|(stem, capture)| is_counted(stem, capture)) {
            let is_finished = self.target(stem).is_none_or(|target| *target == Target::Finished);
            let is_held = capture.is_active() && capture.reservation == Reservation::Held;
            let may_write = is_held && !is_finished && !self.is_idle(stem, capture);
            let admitted = if may_write { capture.admitted_files() } else { 0 };
            let running = self.process_of(stem).map(|process| process.invocation.spec.files);
            let pending = pending(stem, capture);
            let files = admitted.max(running.unwrap_or(0)).max(pending.unwrap_or(0));
            usage.mb += (self.count(stem) as u64).max(files.into());
            usage.captures += u64::from(may_write || running.is_some() || pending.is_some());
        }
        usage
    }

    /// Whether files of a namespace count as its share: not if they are retained, or were until they are removed.
    fn counts_for_namespace(capture: &Capture) -> bool {
        capture.left_over_since().is_none()
    }

    /// Whether what the pod of a capture asks for would have room, given what all others use, and what the plan gives to `earlier`.
    fn has_room(&self, stem: &Stem, earlier: &BTreeSet<&Stem>) -> bool {
        let capture = self.capture(stem);
        let Some(valid) = self.desired.request_of(stem).and_then(|pod| pod.valid.as_ref()) else { return false };
        let files = valid.request.spec.files;
        let is_held = capture.is_active() && capture.reservation == Reservation::Held;
        if valid.request.paused || (is_held && files <= capture.admitted_files()) {
            return true;
        }
        let pending = |other: &Stem, before: &Capture| {
            let valid = || self.desired.request_of(other)?.valid.as_ref();
            let given = earlier.contains(other).then(valid).flatten().map(|valid| valid.request.spec.files);
            given.or_else(|| self.pending_files(other, before, capture))
        };
        self.fits(stem, files, |_| true, pending) && !self.lacks_disk(self.new_files(stem, files))
    }

    /// How many files another capture asks for that keeps its place ahead of this one while its filter is compiled.
    fn pending_files(&self, other: &Stem, before: &Capture, capture: &Capture) -> Option<u16> {
        let request = &self.desired.request_of(other)?.pending()?.request;
        (before.sequence < capture.sequence && !request.paused).then_some(request.spec.files)
    }

    /// Whether so many files more of a capture are within the budgets of the node and of the namespace, with what those other captures
    /// use of the node that this is true of.
    fn fits(
        &self,
        stem: &Stem,
        files: u16,
        is_counted: impl Fn(&Capture) -> bool,
        pending: impl Fn(&Stem, &Capture) -> Option<u16>,
    ) -> bool {
        let within = |used: Usage, captures_max: u16, budget_mb: u32| {
            used.captures < captures_max.into() && used.mb + u64::from(files) <= budget_mb.into()
        };
        let in_namespace = |other: &Stem, capture: &Capture| {
            other != stem && other.namespace() == stem.namespace() && Self::counts_for_namespace(capture)
        };
        let node = self.usage(|other, capture| other != stem && is_counted(capture), &pending);
        let namespace = self.usage(in_namespace, &pending);
        let limits = &self.limits;
        within(node, limits.captures_max, limits.budget_mb)
            && within(namespace, limits.captures_max_per_namespace, limits.budget_mb_per_namespace)
    }

    /// Whether what the pod of a capture asks for would have room if the files of all retained captures were gone.
    fn has_room_without_retained(&self, stem: &Stem) -> bool {
        let is_retained = |capture: &Capture| capture.retained_since().is_some() && !capture.has_process();
        let retained = self.captures.iter().filter(|(_, capture)| is_retained(capture));
        let retained_mb: u64 = retained.map(|(stem, _)| self.count(stem) as u64).sum();
        if retained_mb == 0 {
            return false;
        }
        let capture = self.capture(stem);
        let Some(valid) = self.desired.request_of(stem).and_then(|pod| pod.valid.as_ref()) else { return false };
        let files = valid.request.spec.files;
        let is_held = capture.is_active() && capture.reservation == Reservation::Held;
        let fits = (is_held && files <= capture.admitted_files())
            || self.fits(
                stem,
                files,
                |other| !is_retained(other),
                |other, before| self.pending_files(other, before, capture),
            );
        let free_mb = self.space.disk.free_mb + retained_mb;
        fits && !self.space.low && free_mb >= super::LOW_WATERMARK_MB + self.new_files(stem, files)
    }
}

/// 1, 2, 4 … seconds, and no more than five minutes.
fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << (failures - 1).min(9)).min(RETRY_MAX)
}
