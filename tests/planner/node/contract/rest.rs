//! The contract at rest: what must hold whenever nothing is left to do, and when all is quiet.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use packet_capture::core::{
    captures::{Capture, END_GRACE, Lifecycle, Process as Tcpdump, Reservation, START_INTERVAL},
    condition::Condition,
    name::Stem,
    notices::Change,
    plan::WAITING_AFTER,
    request::{Parsed, Target},
};

use super::{
    super::{Node, processes::Process},
    GRACE, RETRY_MAX,
};
use crate::seen::Fate;

impl Node {
    /// What must hold whenever nothing is left to do.
    pub(in crate::node) fn check_rest(&self) {
        for (stem, files) in &self.files {
            let capture = self.capture(stem);
            assert!(!self.seen.has_listed || !files.must_go || capture.is_removing(), "forgets that {stem} is to go");
            assert!(capture.owner == files.owner, "{stem} changed hands");
        }
        for (stem, capture) in self.captures.iter() {
            let process = capture.owner.as_ref().and_then(|uid| self.processes.get(uid));
            assert_eq!(capture.has_process(), process.is_some(), "the books of {stem} are wrong: {capture:?}");
            process.inspect(|process| self.check_process(stem, process));
            self.check_flight(stem, capture);
            if self.seen.has_listed {
                self.check_capture(stem, capture);
            }
        }
        let with_process = self.captures.iter().filter(|(_, capture)| capture.has_process()).count();
        assert_eq!(with_process, self.processes.len(), "a process is nobody's");
        self.check_budget();
        let mut order: Vec<_> = self.captures.iter().filter(|(_, capture)| capture.owner.is_some()).collect();
        order.sort_by_key(|(_, capture)| capture.sequence);
        assert!(order.iter().is_sorted_by_key(|(stem, _)| self.places[*stem]), "forgets who came first");
        if self.seen.has_listed && !self.stopping {
            let asking = self.server.pods().into_iter().map(|pod| Stem::of(&pod.name));
            let silent = asking.filter(|stem| self.captures.get(stem).is_none()).find(|stem| {
                let pod = self.seen.asking(stem).filter(|pod| pod.target != Target::Finished);
                pod.is_some_and(|pod| !self.told.contains_key(&pod.uid))
            });
            assert_eq!(silent, None, "a pod gets no capture, and its owner is not told");
        }
    }

    fn check_process(&self, stem: &Stem, process: &Process) {
        assert_eq!(process.stem, *stem);
        if let Some((term_at, _)) = process.term_at {
            let due_at = process.kill_at.unwrap_or(term_at) + GRACE;
            assert!(self.now < due_at, "KILL to {stem} is late");
            return self.wakes_by(due_at);
        }
        let wanted = self.wanted(stem).unwrap_or_else(|| panic!("{stem} runs in vain"));
        assert_eq!(wanted.ips, process.invocation.ips, "{stem} is captured at addresses that its pod left");
        let capture = self.capture(stem);
        if wanted != process.invocation {
            let due_at = capture.last_start.as_ref().unwrap().at + START_INTERVAL;
            assert!(self.now < due_at, "{stem} is not restarted");
            self.wakes_by(due_at);
        }
        let ends_at = capture.ends_at().map(|at| at + END_GRACE);
        let stale_at = self.seen.lost_since.map(|since| since + self.limits.stale_max);
        let stops_at = capture.incident().map(|seen| seen.seen.at + END_GRACE);
        ends_at.into_iter().chain(stale_at).chain(stops_at).for_each(|at| self.wakes_by(at));
    }

    fn check_capture(&self, stem: &Stem, capture: &Capture) {
        match capture.lifecycle {
            Lifecycle::Removing { retry_at: Some(at), .. } if !capture.has_process() => {
                assert!(at <= self.now + RETRY_MAX);
                return self.wakes_by(at);
            }
            Lifecycle::Removing { .. } => {
                return assert!(capture.stop_reason().is_some(), "{stem} is not removed: {capture:?}");
            }
            Lifecycle::Retained { since, .. } => {
                assert_eq!(self.seen.fate(stem, capture.owner.as_ref()), Fate::PodGone, "retains {stem}");
                assert!(capture.has_process() || capture.files > 0, "retains nothing of {stem}");
                let is_needed = self.space.low && !capture.has_process() && !self.space_is_being_freed();
                assert!(!is_needed, "retains {stem} although the disk is low");
                let due_at = since.at + self.limits.keep_after_pod;
                assert!(self.now < due_at, "{stem} is retained for too long");
                return self.wakes_by(due_at);
            }
            Lifecycle::Active | Lifecycle::Finished(_) => (),
        }
        assert_eq!(self.seen.fate(stem, capture.owner.as_ref()), Fate::Asked, "keeps {stem}, for which nobody asks");
        if self.stopping {
            return;
        }
        assert!(!self.is_idle(stem, capture), "{stem} has room in vain");
        let is_released = capture.reservation == Reservation::Released;
        assert!(!is_released || !self.asks_to_run(stem), "{stem} has no place in the order");
        assert!(!self.is_queued(stem) || !self.has_room(stem, &BTreeSet::new()), "{stem} has room and is not admitted");
        let lacks_room = self.is_queued(stem) || self.waits_for_disk(stem);
        let would_help = lacks_room && !self.space_is_being_freed() && self.has_room_without_retained(stem);
        assert!(!would_help, "keeps the files of others although {stem} needs their room");
        if let (None, Some(wanted)) = (self.process_of(stem), self.wanted(stem))
            && !self.lacks_disk(self.new_files(stem, wanted.spec.files))
        {
            let start = capture.last_start.as_ref().unwrap_or_else(|| panic!("does not start {stem}"));
            let at = match &capture.process {
                Tcpdump::Backoff { until, .. } if start.invocation == wanted => *until,
                _ => start.at + START_INTERVAL,
            };
            assert!(self.now < at, "does not start {stem}");
            self.wakes_by(at);
        }
        self.check_told(stem, capture);
    }

    /// No silence: the owner of a pod that is not captured as it asks knows why, or will at a moment that is known.
    fn check_told(&self, stem: &Stem, capture: &Capture) {
        let Some(pod) = self.own(stem) else { return };
        let parsed = self.desired.request_of(stem).map(|pod| (&pod.parsed, &pod.target));
        let refusal = match parsed {
            Some((Parsed::Invalid(refusal), _) | (_, Target::Forbidden(refusal))) => Some(refusal),
            _ => None,
        };
        if let Some(condition) = &capture.notified {
            let conveyed = self.conveyed.get(&pod.uid);
            assert!(conveyed == Some(condition), "thinks that the owner of {stem} knows {condition:?}: {conveyed:?}");
        }
        let told = match &capture.notified {
            Some(Condition::Refused(told)) => Some(told),
            Some(Condition::Shortage(_) | Condition::Waiting | Condition::Missed | Condition::Paused(_)) | None => None,
        };
        if let Some(at) = capture.notify_after.filter(|at| *at > self.now) {
            return if refusal != told {
                self.wakes_by(at)
            };
        }
        assert_eq!(refusal, told, "the owner of {stem} does not know it");
        if capture.notified.is_some() {
            return;
        }
        let is_pending = self.desired.request_of(stem).is_some_and(|pod| pod.pending().is_some());
        // Who asked for a pause, or whose pod has finished, knows it. An API server that does not answer takes no Event.
        let is_known = Self::is_paused(capture) || pod.target == Target::Finished;
        if self.process_of(stem).is_some() || is_pending || is_known || self.is_stale() {
            return;
        }
        let since = self.desired.request_of(stem).and_then(|pod| pod.no_address_since);
        if let Some(at) = since.map(|since| since + WAITING_AFTER).filter(|at| *at > self.now) {
            return self.wakes_by(at);
        }
        let is_explained = match self.told.get(&pod.uid) {
            Some(Change::AcceptedAgain { has_finished, .. }) => *has_finished,
            None | Some(Change::Started { .. }) => false,
            Some(Change::Stopped { .. } | Change::Failed { .. } | Change::Condition { .. } | Change::Stuck { .. }) => {
                true
            }
            Some(Change::Removed(_) | Change::RemovedUnowned { .. }) => false,
            Some(Change::DelayedByPredecessor | Change::NotRemoved { .. }) => true,
        };
        let starts_soon = self.wanted(stem).is_some() || self.space_is_being_freed();
        assert!(is_explained || starts_soon || self.is_new(stem), "{stem} is not captured, and nobody is told why");
    }

    fn space_is_being_freed(&self) -> bool {
        // Not of a tcpdump that does not end, and of files that cannot be removed.
        let proceeds = |capture: &Capture| matches!(capture.lifecycle, Lifecycle::Removing { failures: 0, .. });
        let is_stuck = |capture: &Capture| matches!(capture.process, Tcpdump::Killing { .. });
        self.captures.iter().any(|(_, capture)| proceeds(capture) && !is_stuck(capture))
    }

    /// Whether this controller has nothing to say of a capture yet: it took it over as it was.
    fn is_new(&self, stem: &Stem) -> bool {
        let capture = self.capture(stem);
        capture.last_start.is_none() && capture.has_captured()
    }

    /// The files and the captures of the node, and of each namespace, never take more than they may.
    fn check_budget(&self) {
        let limits = &self.limits;
        let node = self.usage(|_, _| true, |_, _| None);
        let mb_max = u64::from(limits.budget_mb);
        assert!(node.mb <= mb_max && node.captures <= limits.captures_max.into(), "too much: {node:?}");
        let namespaces: BTreeSet<&str> = self.captures.iter().map(|(stem, _)| stem.namespace()).collect();
        for namespace in namespaces {
            let is_counted = |stem: &Stem, capture: &Capture| {
                let may_write = capture.is_active() && capture.reservation == Reservation::Held;
                stem.namespace() == namespace && may_write && Self::counts_for_namespace(capture)
            };
            let used = self.usage(is_counted, |_, _| None);
            assert!(used.mb <= limits.budget_mb_per_namespace.into(), "{namespace} has too much: {used:?}");
            assert!(used.captures <= limits.captures_max_per_namespace.into(), "{namespace} has too many: {used:?}");
        }
    }

    /// What must hold when all is quiet and all was observed: the node is as its pods ask, as far as there is room.
    pub fn check_converged(&self) {
        let mut running = BTreeMap::new();
        let mut stems = BTreeSet::new();
        for pod in self.server.pods().into_iter().filter(|pod| pod.parsed != Parsed::None) {
            let stem = Stem::of(&pod.name);
            assert_eq!(self.seen.asking(&stem), Some(&pod), "did not observe {stem}");
            let Some(capture) = self.captures.get(&stem) else {
                assert_eq!((&pod.target, self.files.contains_key(&stem)), (&Target::Finished, false), "forgets {stem}");
                continue;
            };
            assert_eq!((capture.owner.as_ref(), capture.is_removing()), (Some(&pod.uid), false));
            if let (Parsed::Valid(request), Target::At(_)) = (&pod.parsed, &pod.target) {
                let is_refused = matches!(capture.notified, Some(Condition::Refused(_) | Condition::Shortage(_)));
                let admitted = capture.admitted.as_ref().map(|admitted| &admitted.request);
                assert!(is_refused || admitted == Some(request), "{stem} is not done as it asks: {capture:?}");
            }
            let wanted = self.wanted(&stem);
            let wanted = wanted.filter(|wanted| !self.lacks_disk(self.new_files(&stem, wanted.spec.files)));
            running.extend(wanted.map(|wanted| (pod.uid.clone(), wanted)));
            stems.insert(stem);
        }
        let processes: BTreeMap<_, _> =
            self.processes.iter().map(|(uid, process)| (uid.clone(), process.invocation.clone())).collect();
        assert_eq!(processes, running);
        assert!(self.captures.iter().map(|(stem, _)| stem).eq(&stems), "a capture is left that nobody asks for");
        assert!(self.processes.values().all(|process| self.files.contains_key(&process.stem)));
        assert!(self.compilation.is_none());
        assert_eq!(self.wake_at, None);
    }

    fn wakes_by(&self, at: Instant) {
        assert!(self.wake_at.is_some_and(|wake_at| wake_at <= at), "sleeps through what is due");
    }
}
