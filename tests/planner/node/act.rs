//! Carrying out an action, and what the contract says of it at that moment.

use packet_capture::core::{
    captures::{End, Standing, StopReason},
    name::{PodUid, Stem},
    plan::Action,
    refusal::Shortage,
    request::{Counts, Place},
    world::{SLOTS_MAX, SLOTS_MAX_PER_NAMESPACE},
};

use super::{
    GRACE, Node,
    book::{Expected, backoff},
};
use crate::heard::Fate;

impl Node {
    pub(super) fn carry_out(&mut self, stem: &Stem, action: Action) {
        match action {
            Action::Open(uid) => self.open(stem, uid),
            Action::Decline(uid, standing) => self.decline(stem, &uid, standing),
            Action::Rest => {
                assert!(self.is_idle(stem) && !self.stopping, "{stem} could use its room");
                let book = self.books.get_mut(stem).unwrap();
                (book.holds, book.rests) = (false, true);
                self.slots.rest(stem);
            }
            Action::Admit(accepted) => {
                assert_eq!(self.verdicts.get(stem), Some(&Ok(accepted.clone())));
                let book = self.books.get_mut(stem).unwrap();
                if book.ended.take().is_some() {
                    (book.began, book.counts, book.uncounted) = (None, Counts::default(), 0);
                }
                (book.holds, book.rests) = (!accepted.request.paused, accepted.request.paused);
                book.admitted = Some(accepted.clone());
                self.slots.admit(stem, accepted);
            }
            Action::End(by) => self.end(stem, by),
            Action::Retire => {
                let moment = self.moment();
                let book = self.books.get_mut(stem).unwrap();
                assert_eq!(self.heard.fate(stem, book.owner.as_ref()), Fate::PodGone, "retires {stem} with its pod");
                let has_files = self.files.get(stem).is_some_and(|files| files.count > 0);
                let is_kept = (book.began.is_some() || has_files) && !self.limits.keep_after_pod.is_zero();
                assert!(is_kept && book.retired.is_none() && !book.doomed, "keeps {stem} for nothing");
                book.retired = Some(moment);
                self.slots.retire(stem, moment);
            }
            Action::Doom => self.doom(stem),
            Action::Tell(standing) => self.tell(stem, standing),
            Action::Start(run) => self.start(stem, run),
            Action::Term(why) => self.term(stem, why),
            Action::Kill => {
                let owner = self.books[stem].owner.as_ref().unwrap();
                let process = self.processes.get_mut(owner).expect("KILL to nobody");
                let (term_at, _) = process.term_at.expect("KILL before TERM");
                let last = process.kill_at.unwrap_or(term_at);
                assert!(self.now >= last + GRACE, "KILL too soon");
                process.kill_at = Some(self.now);
                process.dies_at = process.dies_at.into_iter().chain([self.now + process.kill_takes]).min();
                self.slots.killed(stem, self.now);
            }
            Action::Remove => self.remove(stem),
        }
    }

    /// Whether there is no slot for another pod, on the node or in this one's namespace.
    fn lacks_slots(&self, stem: &Stem) -> bool {
        let of_namespace = self.slots.iter().filter(|(other, _)| other.namespace() == stem.namespace()).count();
        self.slots.len() >= SLOTS_MAX || of_namespace >= SLOTS_MAX_PER_NAMESPACE
    }

    /// A pod that finished before it was captured gets no slot, and its owner is told once.
    fn decline(&mut self, stem: &Stem, uid: &PodUid, standing: Standing) {
        assert!(self.heard.is_complete() && !self.stopping && !self.books.contains_key(stem), "declines {stem}");
        assert_eq!(Some(uid), self.heard.asking(stem).map(|pod| &pod.uid));
        let is_full = self.lacks_slots(stem) && matches!(standing, Standing::Shortage(Shortage::Pods { .. }));
        assert!(is_full || self.heard.declined(stem).as_ref() == Some(&standing), "declines {stem} for another reason");
        self.declined.push(stem.pod());
        self.desired.told(stem, &standing);
        self.heard.told(uid, standing);
    }

    fn open(&mut self, stem: &Stem, uid: PodUid) {
        let (is_old, rejoins) = (self.slots.get(stem).is_some(), self.books.contains_key(stem) && self.rejoins(stem));
        let is_over = self.heard.asking(stem).is_some_and(|pod| pod.place == Place::Finished);
        assert!(is_old || !is_over, "keeps something for {stem}, which has finished");
        let newest = self.slots.iter().map(|(_, slot)| slot.sequence).max().unwrap_or_default();
        let last = self.books.values().map(|book| book.place).max().unwrap_or_default();
        let book = self.books.entry(stem.clone()).or_default();
        let is_due = (book.owner.is_none() || rejoins) && self.heard.is_complete() && !self.stopping;
        assert!(is_due, "opens {stem} out of time");
        assert_eq!(Some(&uid), self.heard.asking(stem).map(|pod| &pod.uid));
        (book.owner, book.place) = (Some(uid.clone()), last + 1);
        (book.holds, book.rests) = (false, false);
        if let Some(files) = self.files.get_mut(stem) {
            files.owner = Some(uid.clone());
        }
        self.slots.open(stem, uid);
        assert!((is_old && !rejoins) || self.slots.get(stem).unwrap().sequence > newest, "{stem} is not the newest");
    }

    fn end(&mut self, stem: &Stem, by: End) {
        assert!(self.heard.is_complete() && !self.stopping && !self.has_process(stem), "ends {stem} out of time");
        let finished = self.heard.asking(stem).is_some_and(|pod| pod.place == Place::Finished);
        assert!(!finished, "ends {stem}, whose pod has");
        let book = self.books.get_mut(stem).unwrap();
        assert!(book.ended.is_none() && book.ends(self.now).contains(&by), "{stem} has not come to its end: {book:?}");
        (book.ended, book.failed_at) = (Some(by), None);
        self.slots.end(stem, by);
    }

    fn doom(&mut self, stem: &Stem) {
        let is_full = self.lacks_slots(stem);
        let book = self.books.get_mut(stem).unwrap();
        let has_files = self.files.get(stem).is_some_and(|files| files.count > 0);
        let kept = (book.began.is_some() || has_files) && !self.limits.keep_after_pod.is_zero();
        match self.heard.fate(stem, book.owner.as_ref()) {
            // It finished, and there is nothing of it to keep: another needs its place in the books.
            Fate::Asked if is_full && !kept => (),
            Fate::Asked => panic!("dooms {stem}, which is asked for"),
            // Whether it is time for it is decided over all stems at once.
            Fate::PodGone => assert!(!kept || book.retired.is_some(), "does not keep {stem}"),
            Fate::MustGo => (),
        }
        book.doomed = true;
        if let Some(files) = self.files.get_mut(stem) {
            files.must_go = true;
        }
        self.slots.doom(stem);
    }

    fn tell(&mut self, stem: &Stem, standing: Option<Standing>) {
        let expected = self.expected(stem, &self.verdicts);
        assert!(expected.is(standing.as_ref()), "tells {stem} {standing:?}, not {expected:?}");
        let is_early =
            self.is_coming && self.verdicts.contains_key(stem) && matches!(standing, Some(Standing::Shortage(_)));
        assert!(!is_early, "refuses {stem} what may be done in a moment");
        let book = self.books.get_mut(stem).unwrap();
        let repeats = match (&standing, &book.told) {
            (Some(Standing::Shortage(no_room)), _) => {
                Expected::Shortage(vec![Standing::Shortage(no_room.clone())]).is_like(book.told.as_ref())
            }
            (standing, told) => standing == told,
        };
        assert!(!self.stopping && !repeats, "repeats itself, or talks when it is to go");
        assert!(book.quiet_until.is_none_or(|until| self.now >= until), "talks although it was asked not to");
        if self.faults && self.random.one_in(5) {
            let until = self.now + std::time::Duration::from_secs(1 + self.random.below(30));
            book.quiet_until = Some(until);
            self.slots.untold(stem, until);
        } else {
            (book.told, book.quiet_until) = (standing.clone(), None);
            if let Some(standing) = &standing {
                self.desired.told(stem, standing);
                let uid = self.books[stem].owner.clone().unwrap();
                self.heard.told(&uid, standing.clone());
            }
            self.slots.told(stem, standing);
        }
    }

    fn term(&mut self, stem: &Stem, why: StopReason) {
        let (halts, wanted) = (self.halts(stem), self.wanted(stem));
        let owner = self.books[stem].owner.as_ref().unwrap();
        let process = self.processes.get_mut(owner).expect("TERM to nobody");
        assert!(process.term_at.is_none(), "a second TERM");
        let is_right = match wanted {
            None => halts.contains(&why),
            Some(run) if run.ips != process.run.ips => why == StopReason::Moved,
            Some(run) => run != process.run && why == StopReason::Changed,
        };
        assert!(is_right, "TERM to {stem} because of {why:?}, not {halts:?}");
        process.term_at = Some((self.now, why));
        let dies_at = process.term_takes.map(|takes| self.now + takes);
        process.dies_at = process.dies_at.into_iter().chain(dies_at).min();
        self.slots.terminated(stem, why, self.now);
    }

    fn remove(&mut self, stem: &Stem) {
        assert!(self.heard.is_complete(), "removes before the first list");
        assert!(!self.has_process(stem), "removes under a writer");
        let book = self.books.get_mut(stem).unwrap();
        let files = self.files.get(stem);
        assert!(book.doomed && files.is_none_or(|files| files.must_go), "removes what is asked for");
        let failures = book.unremoved.map_or(0, |(failures, at)| {
            assert!(self.now >= at + backoff(failures), "removes {stem} too often");
            failures
        });
        if self.faults && files.is_some() && self.random.one_in(2) {
            book.unremoved = Some((failures + 1, self.now));
            assert_eq!(self.slots.not_removed(stem, self.now), failures + 1);
        } else {
            self.files.remove(stem);
            self.books.remove(stem);
            self.slots.removed(stem).expect("a slot");
        }
    }
}
