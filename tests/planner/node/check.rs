//! What must hold whenever nothing is left to do.

use std::time::{Duration, Instant};

use packet_capture::core::{
    captures::{Capture, Lifecycle, Process as Tcpdump},
    condition::StopReason,
    name::Stem,
    request::Target,
};

use super::{GRACE, Node, START_INTERVAL, expected::ExpectedCapture, process::Process, room::Verdicts};
use crate::expected_desired::Fate;

impl Node {
    /// What must hold whenever nothing is left to do.
    pub(super) fn check(&self) {
        let verdicts = self.verdicts();
        for (stem, capture) in self.captures.iter() {
            let process = capture.owner.as_ref().and_then(|uid| self.processes.get(uid));
            assert_eq!(capture.has_process(), process.is_some(), "the books of {stem} are wrong: {capture:?}");
            let expected = self.expected_captures.get(stem).expect("a slot that was never opened");
            check_book(stem, capture, expected);
            self.check_slot(stem, capture, expected, &verdicts);
            if let Some(process) = process {
                assert_eq!(process.stem, *stem);
                self.check_process(process, capture, expected);
            }
        }
        assert!(self.captures.iter().map(|(stem, _)| stem).eq(self.expected_captures.keys()), "a slot is gone");
        let mut order: Vec<_> = self.captures.iter().filter(|(_, capture)| capture.owner.is_some()).collect();
        order.sort_by_key(|(_, capture)| capture.sequence);
        assert!(
            order.iter().is_sorted_by_key(|(stem, _)| self.expected_captures[*stem].target),
            "forgets who was the first"
        );
        let of_slots: usize = self.captures.iter().filter(|(_, capture)| capture.has_process()).count();
        assert_eq!(of_slots, self.processes.len(), "a process is nobody's");
        self.check_room();
        if self.expected_desired.has_listed() {
            let defer_notice = self.server.pods().into_iter().map(|pod| Stem::of(&pod.name)).find(|stem| {
                !self.stopping
                    && !self.expected_captures.contains_key(stem)
                    && self.expected_desired.declined(stem).is_some()
            });
            assert_eq!(defer_notice, None, "a pod was missed in silence");
            for (stem, files) in &self.files {
                let capture = self.captures.get(stem).expect("files without a slot");
                assert!(!files.must_go || capture.is_removing(), "forgets that {stem} is to go");
                assert!(capture.owner.is_none() || capture.owner == files.owner, "{stem} changed hands");
            }
            let (least, _) = self.missing_mb(&verdicts);
            let kept = || {
                self.expected_captures
                    .iter()
                    .filter(|(_, expected)| expected.retired.is_some() && !expected.doomed)
                    .map(|(stem, _)| stem)
            };
            // How many files a process leaves is known when it has ended.
            let could = kept().next().is_some() && !kept().any(|stem| self.has_process(stem));
            assert!(!could || least == 0, "keeps files where {least} MB are needed");
        }
    }

    fn check_process(&self, process: &Process, capture: &Capture, expected: &ExpectedCapture) {
        let stem = &process.stem;
        if let Some((term_at, _)) = process.term_at {
            let due_at = process.kill_at.unwrap_or(term_at) + GRACE;
            assert!(self.now < due_at, "KILL to {stem} is late");
            return self.wakes_by(due_at);
        }
        let started = capture.last_start.as_ref().map(|start| &start.invocation);
        assert_eq!((capture.is_running(), started, capture.is_removing()), (true, Some(&process.run), false));
        assert_eq!(self.halts(stem), [], "{stem} runs in vain");
        let wanted = self.wanted(stem).expect("runs in vain");
        assert_eq!(wanted.ips, process.run.ips, "{stem} is captured at addresses that it left");
        self.expected_desired.stale_at(&self.limits).into_iter().for_each(|at| self.wakes_by(at));
        if wanted != process.run {
            let due_at = expected.started.as_ref().unwrap().0 + START_INTERVAL;
            assert!(self.now < due_at, "{stem} is not restarted");
            self.wakes_by(due_at);
        }
    }

    fn check_slot(&self, stem: &Stem, capture: &Capture, expected: &ExpectedCapture, verdicts: &Verdicts) {
        if !self.expected_desired.has_listed() {
            return assert!(!capture.has_process(), "runs before the first list");
        }
        if let Lifecycle::Removing { retry_at, .. } = capture.lifecycle {
            match (&capture.process, retry_at) {
                (Tcpdump::Terminating { .. } | Tcpdump::Killing { .. }, _) => (),
                (Tcpdump::None | Tcpdump::Backoff { .. }, Some(retry_at)) => {
                    assert!(retry_at <= self.now + Duration::from_secs(300));
                    self.wakes_by(retry_at);
                }
                (_, _) => panic!("{stem} is not removed: {capture:?}"),
            }
            return;
        }
        match self.expected_desired.fate(stem, expected.owner.as_ref()) {
            Fate::MustGo => panic!("{stem} is nobody's"),
            Fate::PodGone => {
                let retired = expected.retired.expect("a pod that is gone is forgotten");
                let due_at = retired.at + self.limits.keep_after_pod;
                assert!(self.now < due_at, "{stem} is kept for too long");
                return self.wakes_by(due_at);
            }
            Fate::Asked => assert_eq!(capture.owner.as_ref(), self.expected_desired.asking(stem).map(|pod| &pod.uid)),
        }
        if self.stopping {
            return;
        }
        assert!(!verdicts.get(stem).is_some_and(Result::is_ok), "{stem} has room and is not let in");
        assert!(!self.is_idle(stem) && !self.rejoins(stem), "{stem} has room in vain, or no place in the order");
        let finished = self.expected_desired.asking(stem).is_some_and(|pod| pod.target == Target::Finished);
        if expected.ended.is_none() && expected.admitted.is_some() && !finished {
            assert!(capture.has_process() || expected.ends(self.now).is_empty(), "the end of {stem} is not noted");
            expected.term_at().filter(|at| *at > self.now).into_iter().for_each(|at| self.wakes_by(at));
        }
        self.check_told(stem, capture, expected, verdicts);
        self.check_started(stem, capture, expected);
    }

    fn check_told(&self, stem: &Stem, capture: &Capture, expected: &ExpectedCapture, verdicts: &Verdicts) {
        assert_eq!((&capture.notified, capture.notify_after), (&expected.notified, expected.notify_after));
        let condition = self.expected_condition(stem, verdicts);
        // What may be done in a moment is not refused now.
        let is_early = self.space_is_being_freed() && verdicts.contains_key(stem);
        if !is_early && !condition.is_like(expected.notified.as_ref()) {
            let until = expected.notify_after.filter(|until| *until > self.now);
            let until = until.unwrap_or_else(|| panic!("{stem} was told {:?}, not {condition:?}", expected.notified));
            self.wakes_by(until);
        }
        if let (None, Some(at)) =
            (verdicts.get(stem), self.expected_desired.told_of_wait_at(stem).filter(|at| *at > self.now))
        {
            self.wakes_by(at);
        }
    }

    fn check_started(&self, stem: &Stem, capture: &Capture, expected: &ExpectedCapture) {
        let Some(wanted) = self.wanted(stem) else { return };
        if capture.has_process() || self.lacks_disk(stem, expected.files()).is_some() {
            return;
        }
        let due_at = expected.startable_at(&wanted).unwrap_or_else(|| panic!("does not start {stem}"));
        assert!(self.now < due_at, "{stem} is not started");
        self.wakes_by(due_at);
    }

    pub(super) fn wakes_by(&self, at: Instant) {
        assert!(self.wake_at.is_some_and(|wake_at| wake_at <= at), "sleeps through what is due");
    }
}

/// Whether the slot says what happened.
fn check_book(stem: &Stem, capture: &Capture, expected: &ExpectedCapture) {
    assert_eq!(
        (&capture.owner, &capture.admitted, capture.is_removing()),
        (&expected.owner, &expected.admitted, expected.doomed),
        "{stem}"
    );
    assert_eq!(
        (
            capture.first_started,
            capture.is_removing() || capture.ended_by() == expected.ended,
            capture.retained_since()
        ),
        (expected.began, true, expected.retired.filter(|_| !expected.doomed)),
        "{stem}"
    );
    assert_eq!((capture.counts, capture.uncounted), (expected.counts, expected.uncounted), "{stem} is miscounted");
    assert_eq!(capture.packets_left(), expected.packets_left(), "{stem}");
    assert!(capture.stop_reason() != Some(StopReason::Gone) || capture.is_removing(), "{stem} ends as if it were gone");
}
