//! Carrying out an action, and what the contract says of it at that moment.

use packet_capture::core::{
    apply,
    condition::{Condition, EndedBy, StopReason},
    name::{PodUid, Stem},
    notices::{Conveys, Notice},
    plan::Action,
    refusal::Shortage,
    request::{Counts, Target},
    world::{RECORDS_MAX, RECORDS_MAX_PER_NAMESPACE},
};

use super::{
    GRACE, Node,
    expected::{ExpectedCondition, backoff},
};
use crate::expected_desired::Fate;

impl Node {
    pub(super) fn carry_out(&mut self, stem: &Stem, action: Action) {
        let recorded = action.clone();
        self.before(stem, action);
        let (disk, moment) = (self.space.seen, self.moment());
        let notices = apply::apply(&mut self.captures, &self.desired, disk, stem, &recorded, moment);
        if let (Action::Notify(condition), []) = (&recorded, &notices[..]) {
            let expected = self.expected_captures.get_mut(stem).unwrap();
            (expected.notified, expected.notify_after) = (condition.clone(), None);
        }
        for notice in notices {
            self.publish(&notice);
        }
        match recorded {
            Action::Start(invocation) => self.start(stem, &invocation),
            Action::Remove => self.remove(stem),
            _ => (),
        }
    }

    /// The Event of a notice is created, or there are too many.
    pub(super) fn publish(&mut self, notice: &Notice) {
        let is_condition = notice.conveys != Conveys::Nothing;
        let refused = is_condition && self.faults && self.random.one_in(5);
        let retry_at = refused.then(|| self.now + std::time::Duration::from_secs(1 + self.random.below(30)));
        if let (Conveys::Condition(condition), Some(uid)) = (&notice.conveys, &notice.uid) {
            let is_own = self.captures.get(&notice.stem).is_some_and(|capture| capture.owner.as_ref() == Some(uid));
            if let Some(expected) = self.expected_captures.get_mut(&notice.stem).filter(|_| is_own) {
                match retry_at {
                    Some(at) => expected.notify_after = Some(at),
                    None => (expected.notified, expected.notify_after) = (condition.clone(), None),
                }
            }
            if let Some(condition) = condition.clone().filter(|_| retry_at.is_none() || !is_own) {
                self.expected_desired.notified(uid, condition);
            }
        }
        apply::published(&mut self.captures, &mut self.desired, notice, retry_at);
    }

    fn before(&mut self, stem: &Stem, action: Action) {
        match action {
            Action::Open(uid) => self.open(stem, uid),
            Action::Decline(uid, condition) => self.decline(stem, &uid, condition),
            Action::Release => {
                assert!(self.is_idle(stem) && !self.stopping, "{stem} could use its room");
                let expected = self.expected_captures.get_mut(stem).unwrap();
                (expected.holds, expected.rests) = (false, true);
            }
            Action::Admit(valid) => {
                assert_eq!(self.verdicts.get(stem), Some(&Ok(valid.clone())));
                let expected = self.expected_captures.get_mut(stem).unwrap();
                if expected.ended.take().is_some() {
                    (expected.began, expected.counts, expected.uncounted) = (None, Counts::default(), 0);
                }
                (expected.holds, expected.rests) = (!valid.request.paused, valid.request.paused);
                expected.admitted = Some(valid.clone());
            }
            Action::Finish(by) => self.end(stem, by),
            Action::Retain => {
                let moment = self.moment();
                let expected = self.expected_captures.get_mut(stem).unwrap();
                assert_eq!(
                    self.expected_desired.fate(stem, expected.owner.as_ref()),
                    Fate::PodGone,
                    "retires {stem} with its pod"
                );
                let has_files = self.files.get(stem).is_some_and(|files| files.count > 0);
                let is_kept = (expected.began.is_some() || has_files) && !self.limits.keep_after_pod.is_zero();
                assert!(is_kept && expected.retired.is_none() && !expected.doomed, "keeps {stem} for nothing");
                expected.retired = Some(moment);
            }
            Action::MarkForRemoval => self.doom(stem),
            Action::Notify(condition) => self.tell(stem, condition),
            Action::Start(invocation) => self.before_start(stem, &invocation),
            Action::Term(why) => self.term(stem, why),
            Action::Kill => {
                let owner = self.expected_captures[stem].owner.as_ref().unwrap();
                let process = self.processes.get_mut(owner).expect("KILL to nobody");
                let (term_at, _) = process.term_at.expect("KILL before TERM");
                let last = process.kill_at.unwrap_or(term_at);
                assert!(self.now >= last + GRACE, "KILL too soon");
                process.kill_at = Some(self.now);
                process.dies_at = process.dies_at.into_iter().chain([self.now + process.kill_takes]).min();
            }
            Action::Remove => (),
        }
    }

    /// Whether there is no slot for another pod, on the node or in this one's namespace.
    fn lacks_slots(&self, stem: &Stem) -> bool {
        let of_namespace = self.captures.iter().filter(|(other, _)| other.namespace() == stem.namespace()).count();
        self.captures.len() >= RECORDS_MAX || of_namespace >= RECORDS_MAX_PER_NAMESPACE
    }

    /// A pod that finished before it was captured gets no slot, and its owner is told once.
    fn decline(&mut self, stem: &Stem, uid: &PodUid, condition: Condition) {
        assert!(
            self.expected_desired.has_listed() && !self.stopping && !self.expected_captures.contains_key(stem),
            "declines {stem}"
        );
        assert_eq!(Some(uid), self.expected_desired.asking(stem).map(|pod| &pod.uid));
        let is_full = self.lacks_slots(stem) && matches!(condition, Condition::Shortage(Shortage::Pods { .. }));
        assert!(
            is_full || self.expected_desired.declined(stem).as_ref() == Some(&condition),
            "declines {stem} for another reason"
        );
        self.declined.push(stem.pod());
    }

    fn open(&mut self, stem: &Stem, uid: PodUid) {
        let (is_old, rejoins) =
            (self.captures.get(stem).is_some(), self.expected_captures.contains_key(stem) && self.rejoins(stem));
        let is_over = self.expected_desired.asking(stem).is_some_and(|pod| pod.target == Target::Finished);
        assert!(is_old || !is_over, "keeps something for {stem}, which has finished");
        let newest = self.captures.iter().map(|(_, capture)| capture.sequence).max().unwrap_or_default();
        let last = self.expected_captures.values().map(|expected| expected.target).max().unwrap_or_default();
        let expected = self.expected_captures.entry(stem.clone()).or_default();
        let is_due = (expected.owner.is_none() || rejoins) && self.expected_desired.has_listed() && !self.stopping;
        assert!(is_due, "opens {stem} out of time");
        assert_eq!(Some(&uid), self.expected_desired.asking(stem).map(|pod| &pod.uid));
        (expected.owner, expected.target) = (Some(uid.clone()), last + 1);
        (expected.holds, expected.rests) = (false, false);
        if let Some(files) = self.files.get_mut(stem) {
            files.owner = Some(uid.clone());
        }
        let _ = newest;
    }

    fn end(&mut self, stem: &Stem, by: EndedBy) {
        assert!(
            self.expected_desired.has_listed() && !self.stopping && !self.has_process(stem),
            "ends {stem} out of time"
        );
        let finished = self.expected_desired.asking(stem).is_some_and(|pod| pod.target == Target::Finished);
        assert!(!finished, "ends {stem}, whose pod has");
        let expected = self.expected_captures.get_mut(stem).unwrap();
        assert!(
            expected.ended.is_none() && expected.ends(self.now).contains(&by),
            "{stem} has not come to its end: {expected:?}"
        );
        (expected.ended, expected.failed_at, expected.failures) = (Some(by), None, 0);
    }

    fn doom(&mut self, stem: &Stem) {
        let is_full = self.lacks_slots(stem);
        let expected = self.expected_captures.get_mut(stem).unwrap();
        let has_files = self.files.get(stem).is_some_and(|files| files.count > 0);
        let kept = (expected.began.is_some() || has_files) && !self.limits.keep_after_pod.is_zero();
        match self.expected_desired.fate(stem, expected.owner.as_ref()) {
            // It finished, and there is nothing of it to keep: another needs its place in the books.
            Fate::Asked if is_full && !kept => (),
            Fate::Asked => panic!("dooms {stem}, which is asked for"),
            // Whether it is time for it is decided over all stems at once.
            Fate::PodGone => assert!(!kept || expected.retired.is_some(), "does not keep {stem}"),
            Fate::MustGo => (),
        }
        expected.doomed = true;
        if let Some(files) = self.files.get_mut(stem) {
            files.must_go = true;
        }
    }

    fn tell(&mut self, stem: &Stem, condition: Option<Condition>) {
        let expected = self.expected_condition(stem, &self.verdicts);
        assert!(expected.is(condition.as_ref()), "tells {stem} {condition:?}, not {expected:?}");
        let is_early = self.space_is_being_freed
            && self.verdicts.contains_key(stem)
            && matches!(condition, Some(Condition::Shortage(_)));
        assert!(!is_early, "refuses {stem} what may be done in a moment");
        let expected = self.expected_captures.get_mut(stem).unwrap();
        let repeats = match (&condition, &expected.notified) {
            (Some(Condition::Shortage(shortage)), _) => {
                ExpectedCondition::Shortage(vec![Condition::Shortage(shortage.clone())])
                    .is_like(expected.notified.as_ref())
            }
            (condition, notified) => condition == notified,
        };
        assert!(!self.stopping && !repeats, "repeats itself, or talks when it is to go");
        assert!(expected.notify_after.is_none_or(|until| self.now >= until), "talks although it was asked not to");
    }

    fn term(&mut self, stem: &Stem, why: StopReason) {
        let (halts, wanted) = (self.halts(stem), self.wanted(stem));
        let owner = self.expected_captures[stem].owner.as_ref().unwrap();
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
    }

    fn remove(&mut self, stem: &Stem) {
        assert!(self.expected_desired.has_listed(), "removes before the first list");
        assert!(!self.has_process(stem), "removes under a writer");
        let expected = self.expected_captures.get_mut(stem).unwrap();
        let files = self.files.get(stem);
        assert!(expected.doomed && files.is_none_or(|files| files.must_go), "removes what is asked for");
        let failures = expected.unremoved.map_or(0, |(failures, at)| {
            assert!(self.now >= at + backoff(failures), "removes {stem} too often");
            failures
        });
        if self.faults && files.is_some() && self.random.one_in(2) {
            expected.unremoved = Some((failures + 1, self.now));
            let notice = self.captures.not_removed(stem, "no".into(), self.now);
            assert_eq!(notice.is_some(), (failures + 1).is_power_of_two());
        } else {
            let count = files.map_or(0, |files| files.count.into());
            let notice = self.captures.removed(stem, count);
            self.files.remove(stem);
            let expected = self.expected_captures.remove(stem).unwrap();
            assert_eq!(notice.is_some(), expected.owner.is_none() || expected.began.is_some() || count > 0);
        }
    }
}
