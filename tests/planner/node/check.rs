//! What must hold whenever nothing is left to do.

use std::time::{Duration, Instant};

use packet_capture::core::{
    captures::{Phase, Slot, StopReason},
    name::Stem,
    request::Place,
};

use super::{GRACE, Node, START_INTERVAL, book::Book, process::Process, room::Verdicts};
use crate::heard::Fate;

impl Node {
    /// What must hold whenever nothing is left to do.
    pub(super) fn check(&self) {
        let verdicts = self.verdicts();
        for (stem, slot) in self.slots.iter() {
            let process = slot.owner.as_ref().and_then(|uid| self.processes.get(uid));
            assert_eq!(slot.has_process(), process.is_some(), "the books of {stem} are wrong: {slot:?}");
            let book = self.books.get(stem).expect("a slot that was never opened");
            check_book(stem, slot, book);
            self.check_slot(stem, slot, book, &verdicts);
            if let Some(process) = process {
                assert_eq!(process.stem, *stem);
                self.check_process(process, slot, book);
            }
        }
        assert!(self.slots.iter().map(|(stem, _)| stem).eq(self.books.keys()), "a slot is gone");
        let mut order: Vec<_> = self.slots.iter().filter(|(_, slot)| slot.owner.is_some()).collect();
        order.sort_by_key(|(_, slot)| slot.sequence);
        assert!(order.iter().is_sorted_by_key(|(stem, _)| self.books[*stem].place), "forgets who was the first");
        let of_slots: usize = self.slots.iter().filter(|(_, slot)| slot.has_process()).count();
        assert_eq!(of_slots, self.processes.len(), "a process is nobody's");
        self.check_room();
        if self.heard.is_complete() {
            let untold =
                self.server.pods().into_iter().map(|pod| Stem::of(&pod.pod)).find(|stem| {
                    !self.stopping && !self.books.contains_key(stem) && self.heard.declined(stem).is_some()
                });
            assert_eq!(untold, None, "a pod was missed in silence");
            for (stem, files) in &self.files {
                let slot = self.slots.get(stem).expect("files without a slot");
                assert!(!files.must_go || slot.doomed, "forgets that {stem} is to go");
                assert!(slot.owner.is_none() || slot.owner == files.owner, "{stem} changed hands");
            }
            let (least, _) = self.missing_mb(&verdicts);
            let kept =
                || self.books.iter().filter(|(_, book)| book.retired.is_some() && !book.doomed).map(|(stem, _)| stem);
            // How many files a process leaves is known when it has ended.
            let could = kept().next().is_some() && !kept().any(|stem| self.has_process(stem));
            assert!(!could || least == 0, "keeps files where {least} MB are needed");
        }
    }

    fn check_process(&self, process: &Process, slot: &Slot, book: &Book) {
        let stem = &process.stem;
        if let Some((term_at, _)) = process.term_at {
            let due_at = process.kill_at.unwrap_or(term_at) + GRACE;
            assert!(self.now < due_at, "KILL to {stem} is late");
            return self.wakes_by(due_at);
        }
        assert_eq!((slot.phase, slot.last.as_ref(), slot.doomed), (Phase::Running, Some(&process.run), false));
        assert_eq!(self.halts(stem), [], "{stem} runs in vain");
        let wanted = self.wanted(stem).expect("runs in vain");
        assert_eq!(wanted.ips, process.run.ips, "{stem} is captured at addresses that it left");
        self.heard.stale_at(&self.limits).into_iter().for_each(|at| self.wakes_by(at));
        if wanted != process.run {
            let due_at = book.started.as_ref().unwrap().0 + START_INTERVAL;
            assert!(self.now < due_at, "{stem} is not restarted");
            self.wakes_by(due_at);
        }
    }

    fn check_slot(&self, stem: &Stem, slot: &Slot, book: &Book, verdicts: &Verdicts) {
        if !self.heard.is_complete() {
            return assert!(!slot.has_process(), "runs before the first list");
        }
        if slot.doomed {
            return match slot.phase {
                Phase::Removing { retry_at, .. } => {
                    assert!(retry_at <= self.now + Duration::from_secs(300));
                    self.wakes_by(retry_at);
                }
                Phase::Terminating { .. } | Phase::Killing { .. } => (),
                Phase::Idle | Phase::Running | Phase::Backoff { .. } => panic!("{stem} is not removed: {slot:?}"),
            };
        }
        match self.heard.fate(stem, book.owner.as_ref()) {
            Fate::MustGo => panic!("{stem} is nobody's"),
            Fate::PodGone => {
                let retired = book.retired.expect("a pod that is gone is forgotten");
                let due_at = retired.at + self.limits.keep_after_pod;
                assert!(self.now < due_at, "{stem} is kept for too long");
                return self.wakes_by(due_at);
            }
            Fate::Asked => assert_eq!(slot.owner.as_ref(), self.heard.asking(stem).map(|pod| &pod.uid)),
        }
        if self.stopping {
            return;
        }
        assert!(!verdicts.get(stem).is_some_and(Result::is_ok), "{stem} has room and is not let in");
        assert!(!self.is_idle(stem) && !self.rejoins(stem), "{stem} has room in vain, or no place in the order");
        let finished = self.heard.asking(stem).is_some_and(|pod| pod.place == Place::Finished);
        if book.ended.is_none() && book.admitted.is_some() && !finished {
            assert!(slot.has_process() || book.ends(self.now).is_empty(), "the end of {stem} is not noted");
            book.term_at().filter(|at| *at > self.now).into_iter().for_each(|at| self.wakes_by(at));
        }
        self.check_told(stem, slot, book, verdicts);
        self.check_started(stem, slot, book);
    }

    fn check_told(&self, stem: &Stem, slot: &Slot, book: &Book, verdicts: &Verdicts) {
        assert_eq!((&slot.told, slot.quiet_until), (&book.told, book.quiet_until));
        let expected = self.expected(stem, verdicts);
        // What may be done in a moment is not refused now.
        let is_early = self.is_coming() && verdicts.contains_key(stem);
        if !is_early && !expected.is_like(book.told.as_ref()) {
            let until = book.quiet_until.filter(|until| *until > self.now);
            let until = until.unwrap_or_else(|| panic!("{stem} was told {:?}, not {expected:?}", book.told));
            self.wakes_by(until);
        }
        if let (None, Some(at)) = (verdicts.get(stem), self.heard.told_of_wait_at(stem).filter(|at| *at > self.now)) {
            self.wakes_by(at);
        }
    }

    fn check_started(&self, stem: &Stem, slot: &Slot, book: &Book) {
        let Some(wanted) = self.wanted(stem) else { return };
        if slot.has_process() || self.lacks_disk(stem, book.files()).is_some() {
            return;
        }
        let due_at = book.startable_at(&wanted).unwrap_or_else(|| panic!("does not start {stem}"));
        assert!(self.now < due_at, "{stem} is not started");
        self.wakes_by(due_at);
    }

    pub(super) fn wakes_by(&self, at: Instant) {
        assert!(self.wake_at.is_some_and(|wake_at| wake_at <= at), "sleeps through what is due");
    }
}

/// Whether the slot says what happened.
fn check_book(stem: &Stem, slot: &Slot, book: &Book) {
    assert_eq!((&slot.owner, &slot.admitted, slot.doomed), (&book.owner, &book.admitted, book.doomed), "{stem}");
    assert_eq!((slot.began, slot.ended, slot.retired), (book.began, book.ended, book.retired), "{stem}");
    assert_eq!((slot.counts, slot.uncounted), (book.counts, book.uncounted), "{stem} is miscounted");
    assert_eq!(slot.packets_left(), book.packets_left(), "{stem}");
    let is_gone = matches!(slot.phase, Phase::Terminating { why: StopReason::Gone, .. });
    assert!(!is_gone || slot.doomed, "{stem} ends as if it were gone");
}
