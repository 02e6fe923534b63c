//! The processes and the files of a node in miniature: how they begin, grow and end.

use std::time::{Duration, Instant};

use packet_capture::core::{
    captures::Process as Tcpdump,
    condition::StopReason,
    desired::{FilterJob, NextFilter},
    name::{PodName, PodUid, Stem},
    notices::Notice,
    refusal::Refusal,
    request::{Counts, Exit, Invocation},
};

use super::Node;

/// A tcpdump.
#[derive(Clone)]
pub struct Process {
    pub stem: Stem,
    pub invocation: Invocation,
    /// After how many packets it ends.
    packets: Option<u32>,
    /// When it ends by itself, it has them.
    reaches_them: bool,
    /// How long after TERM it ends; `None`: not at all.
    pub term_takes: Option<Duration>,
    kill_takes: Duration,
    /// When TERM was sent, and why.
    pub term_at: Option<(Instant, StopReason)>,
    pub kill_at: Option<Instant>,
    pub dies_at: Option<Instant>,
}

/// A tcpdump that compiles a filter.
pub struct Compilation {
    job: FilterJob,
    /// When it ends.
    pub until: Instant,
    /// What it says of the filter; `None`: it is ended before it can say anything.
    verdict: Option<Result<(), Refusal>>,
}

/// The files of a stem.
pub struct Files {
    pub owner: Option<PodUid>,
    pub count: u16,
    /// Their removal was seen: they must be removed, and nothing may be added to them.
    pub must_go: bool,
    /// The state file says so, too.
    pub saved: bool,
}

impl Process {
    /// How it ends, and what it says it counted.
    fn exit(&self, node: &mut Node) -> Exit {
        let most = self.packets.map_or(4, u64::from);
        let some = Some(Counts { captured: node.random.below(most + 1), dropped: node.random.below(3) });
        let all = Some(Counts { captured: most, dropped: 1 });
        let (in_order, counts) = match (self.kill_at, self.term_at) {
            (Some(_), _) => (false, None),
            (None, Some(_)) => (true, some),
            (None, None) if self.reaches_them => (true, all),
            (None, None) => node.random.pick(&[(false, None), (true, some), (false, some), (false, all)]),
        };
        Exit { in_order, how: "exited".to_owned(), last_line: String::new(), unfiltered: None, counts }
    }
}

impl Node {
    pub(super) fn start(&mut self, stem: &Stem, invocation: &Invocation) -> Option<Notice> {
        self.save();
        let kept = self.count(stem).min(invocation.spec.files.into());
        if self.faults && self.random.one_in(6) {
            if let Some(files) = self.files.get_mut(stem).filter(|_| self.random.one_in(2)) {
                files.count = files.count.min(invocation.spec.files);
            }
            let files = self.count(stem);
            return self.captures.not_started(stem, "no memory".to_owned(), files, self.now);
        }
        let capture = self.captures.get(stem).unwrap();
        let (uid, packets) = (capture.owner.clone().unwrap(), capture.packets_left());
        let is_told =
            matches!(capture.process, Tcpdump::Running { failures } if failures == 0 || failures.is_power_of_two());
        self.starts.push((stem.clone(), invocation.clone()));
        let new = Files { owner: Some(uid.clone()), count: 0, must_go: false, saved: false };
        self.files.entry(stem.clone()).or_insert(new).count = u16::try_from(kept.max(1)).unwrap();
        let process = self.process(stem, invocation.clone(), packets);
        self.processes.insert(uid, process);
        let notice = self.captures.started(stem, kept);
        assert_eq!(notice.is_some(), is_told, "tells too often that {stem} starts");
        notice
    }

    fn process(&mut self, stem: &Stem, invocation: Invocation, packets: Option<u32>) -> Process {
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
            invocation,
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

    pub(super) fn process_of(&self, stem: &Stem) -> Option<&Process> {
        self.processes.values().find(|process| process.stem == *stem)
    }

    fn process_mut(&mut self, stem: &Stem) -> &mut Process {
        self.processes.values_mut().find(|process| process.stem == *stem).expect("a signal to nobody")
    }

    pub(super) fn term(&mut self, stem: &Stem, reason: StopReason) -> Option<Notice> {
        let now = self.now;
        let process = self.process_mut(stem);
        process.term_at = Some((now, reason));
        let dies_at = process.term_takes.map(|takes| now + takes);
        process.dies_at = process.dies_at.into_iter().chain(dies_at).min();
        None
    }

    pub(super) fn kill(&mut self, stem: &Stem) -> Option<Notice> {
        let now = self.now;
        let process = self.process_mut(stem);
        process.kill_at = Some(now);
        process.dies_at = process.dies_at.into_iter().chain([now + process.kill_takes]).min();
        None
    }

    pub(super) fn take_over(&mut self, stem: &Stem, uid: &PodUid) -> Option<Notice> {
        if let Some(files) = self.files.get_mut(stem) {
            files.owner = Some(uid.clone());
        }
        let last = self.places.values().max().copied().unwrap_or_default();
        self.places.insert(stem.clone(), last + 1);
        None
    }

    pub(super) fn must_go(&mut self, stem: &Stem) -> Option<Notice> {
        if let Some(files) = self.files.get_mut(stem) {
            files.must_go = true;
        }
        None
    }

    pub(super) fn remove(&mut self, stem: &Stem) -> Option<Notice> {
        if self.faults && self.files.contains_key(stem) && self.random.one_in(2) {
            let failures = self.unremoved.get(stem).map_or(1, |(failures, _)| failures + 1);
            self.unremoved.insert(stem.clone(), (failures, self.now));
            let notice = self.captures.not_removed(stem, "device busy".to_owned(), self.now);
            assert_eq!(notice.is_some(), failures.is_power_of_two(), "tells of failure {failures}");
            return notice;
        }
        let files = self.count(stem);
        self.files.remove(stem);
        self.unremoved.remove(stem);
        self.places.remove(stem);
        self.flights.remove(stem);
        self.captures.removed(stem, files)
    }

    /// Takes in which processes have ended.
    pub(super) fn reap(&mut self) {
        let is_dead = |process: &Process| process.dies_at.is_some_and(|at| at <= self.now);
        for (uid, process) in self.processes.extract_if(.., |_, process| is_dead(process)).collect::<Vec<_>>() {
            let stem = &process.stem;
            assert_eq!(self.captures.stem_of(&uid), Some(stem), "the exit of {uid} is nobody's");
            let (exit, files) = (process.exit(self), self.count(stem));
            self.say(|| format!("{uid} exits: {exit:?}"));
            let before = self.captures.get(stem).unwrap().clone();
            let notice = self.captures.exited(stem, &exit, files, self.space.disk, self.stopping, self.now);
            self.check_exit(&process, &before, &exit, notice.as_ref());
            notice.into_iter().for_each(|notice| self.publish(&notice));
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
                files.count = (files.count + 1).min(process.invocation.spec.files);
            }
        }
    }

    /// As the controller does it: one filter at a time is compiled, and that takes its time.
    pub(super) fn compile_filters(&mut self) {
        loop {
            match self.compilation.take() {
                Some(Compilation { job, until, verdict }) if until <= self.now => {
                    self.say(|| format!("compiled for {}: {verdict:?}", job.stem));
                    match &verdict {
                        Some(verdict) => self.desired.resolve(&job, verdict, self.now),
                        None => self.desired.postpone(&job, self.now),
                    }
                }
                Some(compilation) => return self.compilation = Some(compilation),
                None => (),
            }
            self.compile_at = None;
            if self.stopping {
                return;
            }
            let job = match self.desired.next_filter(self.now) {
                NextFilter::Job(job) => job,
                NextFilter::NotBefore(at) => return self.compile_at = Some(at),
                NextFilter::None => return,
            };
            let until = self.now + Duration::from_millis(self.random.below(10_000));
            let verdict = match self.random.below(6) {
                0 | 1 => Some(Err(Refusal::FilterRejected { said: "no".into() })),
                2 if self.faults => None,
                _ => Some(Ok(())),
            };
            self.compilation = Some(Compilation { job, until, verdict });
        }
    }
}
