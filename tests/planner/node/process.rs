//! The processes and the files of a node in miniature: how they begin, grow and end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use packet_capture::core::{
    condition::{Condition, EndedBy, StopReason},
    desired::CHECK_INTERVAL,
    name::{PodName, PodUid, Stem},
    notices::{Change, Notice},
    refusal::Refusal,
    request::{Counts, Exit, Invocation},
};

use super::{Node, expected::backoff};

/// A tcpdump.
#[derive(Clone)]
pub struct Process {
    pub stem: Stem,
    pub run: Invocation,
    /// After how many packets it ends.
    packets: Option<u32>,
    /// When it ends by itself, it has them.
    reaches_them: bool,
    /// How long after TERM it ends; `None`: not at all.
    pub term_takes: Option<Duration>,
    pub kill_takes: Duration,
    /// When TERM was sent, and what for.
    pub term_at: Option<(Instant, StopReason)>,
    pub kill_at: Option<Instant>,
    pub dies_at: Option<Instant>,
}

/// The files of a stem.
pub struct Files {
    pub owner: Option<PodUid>,
    pub count: u16,
    /// A removal was seen: nothing may be added to them.
    pub must_go: bool,
    /// Even a controller that starts anew will know.
    pub saved: bool,
}

impl Process {
    /// Its ending: whether in good order, and what it says it counted.
    fn exit(&self, node: &mut Node) -> (bool, Option<Counts>) {
        let most = self.packets.map_or(4, u64::from);
        let some = Some(Counts { captured: node.random.below(most + 1), dropped: node.random.below(3) });
        let all = Some(Counts { captured: most, dropped: 1 });
        match (self.kill_at, self.term_at) {
            (Some(_), _) => (false, None),
            (None, Some(_)) => (true, some),
            (None, None) if self.reaches_them => (true, all),
            (None, None) => node.random.pick(&[(false, None), (true, some), (false, some), (false, all)]),
        }
    }
}

impl Node {
    pub(super) fn before_start(&mut self, stem: &Stem, run: &Invocation) {
        assert!(!self.stopping && self.expected_desired.has_listed(), "starts {stem} out of time");
        assert_eq!(Some(run), self.wanted(stem).as_ref(), "starts {stem}, which is halted by {:?}", self.halts(stem));
        assert_eq!(self.lacks_disk(stem, run.spec.files), None, "starts {stem} although the floor would be crossed");
        let (now, moment) = (self.now, self.moment());
        let expected = self.expected_captures.get_mut(stem).unwrap();
        let uid = expected.owner.clone().unwrap();
        assert_eq!(self.expected_desired.asking(stem).unwrap().uid, uid);
        assert!(!self.processes.values().any(|process| process.stem == *stem), "a second writer for {stem}");
        let kept = self.files.get(stem);
        assert!(
            kept.is_none_or(|files| !files.must_go && files.owner.as_ref() == Some(&uid)),
            "goes on with old files"
        );
        assert!(expected.startable_at(run).is_none_or(|at| now >= at), "starts {stem} too often");
        if expected.started.as_ref().is_none_or(|(_, before)| before != run) {
            expected.failures = 0;
        }
        (expected.started, expected.failed_at, expected.lives) = (Some((now, run.clone())), None, true);
        expected.began.get_or_insert(moment);
        assert_ne!(expected.packets_left(), Some(0), "starts {stem}, which has its packets");
    }

    pub(super) fn start(&mut self, stem: &Stem, run: &Invocation) {
        let run = run.clone();
        let expected = &self.expected_captures[stem];
        let (uid, began, packets) = (expected.owner.clone().unwrap(), expected.began, expected.packets_left());
        let capture = self.captures.get(stem).unwrap();
        assert_eq!((capture.first_started, capture.packets_left()), (began, packets));
        self.save();
        let kept = self.files.get(stem).map_or(0, |files| files.count.min(run.spec.files));
        if self.faults && self.random.one_in(6) {
            if let Some(files) = self.files.get_mut(stem).filter(|_| self.random.one_in(2)) {
                files.count = kept;
            }
            let notice = self.captures.not_started(stem, "no memory".to_owned(), self.count(stem), self.now);
            return self.fail(stem, notice);
        }
        let notice = self.captures.started(stem, kept.into());
        let expected = self.expected_captures.get_mut(stem).unwrap();
        assert_eq!(notice.is_some(), expected.failures == 0 || expected.failures.is_power_of_two());
        if matches!(expected.notified, Some(Condition::Shortage(_))) {
            (expected.notified, expected.notify_after) = (None, None);
        }
        self.starts.push((stem.clone(), run.clone()));
        let new = Files { owner: Some(uid.clone()), count: 0, must_go: false, saved: false };
        self.files.entry(stem.clone()).or_insert(new).count = kept.max(1);
        let process = self.process(stem, run, packets);
        self.processes.insert(uid, process);
    }

    fn process(&mut self, stem: &Stem, run: Invocation, packets: Option<u32>) -> Process {
        let (faults, random) = (self.faults, &mut self.random);
        let dies_hard = faults && random.one_in(8);
        let reaches_them = packets.is_some() && (!faults || random.one_in(2));
        let dies_in = |random: &mut super::Random, most_ms| Duration::from_millis(random.below(most_ms));
        let dies_at = match reaches_them {
            true => Some(self.now + dies_in(random, 20_000)),
            false => (faults && random.one_in(5)).then(|| self.now + dies_in(random, 90_000)),
        };
        Process {
            stem: stem.clone(),
            run,
            packets,
            reaches_them,
            term_takes: match faults {
                true => (!random.one_in(5)).then(|| Duration::from_millis(30 + random.below(200))),
                false => Some(Duration::from_millis(30)),
            },
            kill_takes: Duration::from_millis(random.below(if dies_hard { 70_000 } else { 100 })),
            term_at: None,
            kill_at: None,
            dies_at,
        }
    }

    pub(super) fn take_exit(&mut self, uid: &PodUid, process: &Process) {
        let stem = &process.stem;
        assert_eq!(self.captures.stem_of(uid), Some(stem), "the exit of {uid} is nobody's");
        let (in_order, counts) = process.exit(self);
        let (files, disk, stopping) = (self.count(stem), self.space.seen, self.stopping);
        let exit = Exit { in_order, how: "exited".into(), last_line: String::new(), unfiltered: None, counts };
        let notice = self.captures.exited(stem, &exit, files, disk, stopping, self.now);
        self.say(|| format!("{uid} ended in order: {in_order}, with {counts:?}: {notice:?}"));
        let expected = self.expected_captures.get_mut(stem).unwrap();
        expected.lives = false;
        match counts {
            Some(Counts { captured, dropped }) => {
                expected.counts.captured += captured;
                expected.counts.dropped += dropped;
            }
            None => expected.uncounted += 1,
        }
        let captured = counts.map(|counts| counts.captured);
        let has_all = in_order && process.packets.is_some() && process.packets.map(u64::from) == captured;
        let why = match process.term_at {
            Some(_) if expected.doomed => StopReason::Gone,
            Some((_, why)) => why,
            None if has_all && expected.packets_left() == Some(0) => StopReason::Ended(EndedBy::Packets),
            // More is asked for by now.
            None if has_all => StopReason::Changed,
            None => return self.fail(stem, notice),
        };
        expected.failures = 0;
        let told = match why {
            _ if expected.doomed => None,
            StopReason::Ended(_) => Some(why),
            _ if self.stopping => Some(StopReason::Shutdown),
            _ => Some(why),
        };
        let reason = notice.as_ref().map(|notice| match &notice.change {
            Change::Stopped { reason, .. } => *reason,
            other => panic!("{stem}: {other:?}"),
        });
        assert_eq!(reason, told, "{stem} stopped for another reason");
        if let Some(StopReason::Ended(by)) = process.term_at.map(|(_, why)| why).or(Some(why)) {
            expected.ended = Some(by);
        }
        if let Some(notice) = notice {
            self.publish(&notice);
        }
    }

    fn fail(&mut self, stem: &Stem, notice: Option<Notice>) {
        let expected = self.expected_captures.get_mut(stem).unwrap();
        expected.lives = false;
        expected.fail(self.now);
        let failures = expected.failures;
        assert_eq!(notice.is_some(), failures.is_power_of_two(), "{stem}");
        if let Some(Change::Failed { failure, .. }) = notice.map(|notice| notice.change) {
            assert_eq!((failure.failures, failure.retry_in), (failures, backoff(failures)), "{stem}");
        }
    }

    /// All tcpdumps end, and were not asked to.
    pub fn fail_all(&mut self) {
        self.processes.values_mut().for_each(|process| process.dies_at = Some(self.now));
        self.turn();
    }

    /// How many captures run.
    pub fn running(&self) -> usize {
        self.processes.len()
    }

    /// How many files a pod's capture has.
    pub fn kept(&self, pod: &PodName) -> usize {
        self.count(&Stem::of(pod))
    }

    pub(super) fn count(&self, stem: &Stem) -> usize {
        self.files.get(stem).map_or(0, |files| files.count.into())
    }

    /// The processes write a file more, or none.
    pub(super) fn write_some(&mut self) {
        for process in self.processes.values() {
            let files = self.files.get_mut(&process.stem).unwrap();
            if self.random.one_in(2) {
                files.count = (files.count + 1).min(process.run.spec.files);
            }
        }
    }

    /// As `run` does it: one filter at a time is compiled, and that takes its time.
    pub(super) fn check_filters(&mut self) {
        loop {
            match self.checking.take() {
                Some((check, at, verdict)) if at <= self.now => {
                    self.say(|| format!("compiled for {}: {verdict:?}", check.stem));
                    self.expected_desired.checked(&check, &verdict, self.now);
                    self.desired.checked(&check, &verdict, self.now);
                    self.checked_at.insert(check.stem, self.now);
                }
                Some(pending) => return self.checking = Some(pending),
                None => (),
            }
            if self.stopping {
                return;
            }
            self.check_at = None;
            let waiting = self.expected_desired.to_check();
            // Who had a turn just now waits for the next one.
            let later =
                |stem: &Stem| self.checked_at.get(stem).map(|at| *at + CHECK_INTERVAL).filter(|at| *at > self.now);
            let (waiting, due): (Vec<_>, Vec<_>) = waiting.iter().partition(|(stem, _)| later(stem).is_some());
            let check = match self.desired.next_check(self.now) {
                Ok(check) => check,
                Err(at) => {
                    assert!(due.is_empty(), "does not have all filters compiled");
                    assert_eq!(at, waiting.iter().filter_map(|(stem, _)| later(stem)).min());
                    return self.check_at = at;
                }
            };
            let due: BTreeMap<_, _> = due.into_iter().collect();
            let (valid, since) = due.get(&check.stem).expect("one that has its turn");
            assert_eq!(*valid, check.valid);
            assert!(due.values().all(|(_, other)| since <= other), "another filter waited longer");
            let at = self.now + Duration::from_millis(self.random.below(3000));
            let rejected = Refusal::FilterRejected { said: "no".into() };
            let verdict = if self.random.one_in(3) { Err(rejected) } else { Ok(()) };
            self.checking = Some((check, at, verdict));
        }
    }
}
