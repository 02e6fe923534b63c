//! A node in miniature: what `run` does with the planner's actions, carried out on processes and files that exist in these maps
//! only, on a clock that is set by hand. Each action, and each state in which nothing is left to do, is held against the contract.

mod check;
mod restart;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use packet_capture::{
    capture::{Counts, Stem, Uid},
    desired::{Desired, Word},
    limits::{Disk, Limits},
    plan::{Action, World, plan},
    slots::{Ended, Moment, Run, Slots, Standing, Why},
    state::StateFile,
};

use crate::{
    heard::Heard,
    server::{Random, Server},
};

const PASSES_MAX: usize = 16;
const GRACE: Duration = Duration::from_secs(5);
const START_INTERVAL: Duration = Duration::from_secs(2);

/// A tcpdump.
#[derive(Clone)]
struct Process {
    stem: Stem,
    run: Run,
    /// How long after TERM it ends; `None`: not at all.
    term_takes: Option<Duration>,
    kill_takes: Duration,
    term_at: Option<Instant>,
    kill_at: Option<Instant>,
    dies_at: Option<Instant>,
}

/// The files of a stem.
struct Files {
    owner: Option<Uid>,
    /// A removal was seen: nothing may be added to them.
    must_go: bool,
    /// Even a controller that starts anew will know.
    saved: bool,
}

/// One slot's life so far, in the words of the contract.
#[derive(Default)]
struct History {
    started: Option<(Instant, Run)>,
    failed: bool,
    /// When the first tcpdump was started.
    began_s: Option<u64>,
    told: Option<Standing>,
    /// How often in a row the files could not be removed, and when that was last tried.
    unremoved: Option<(u32, Instant)>,
}

pub struct Node {
    pub random: Random,
    now: Instant,
    limits: Limits,
    pub server: Server,
    slots: Slots,
    processes: BTreeMap<Uid, Process>,
    files: BTreeMap<Stem, Files>,
    /// Each start so far.
    pub starts: Vec<Run>,
    wake_at: Option<Instant>,
    faults: bool,
    heard: Heard,
    desired: Desired,
    stopping: bool,
    history: BTreeMap<Stem, History>,
    dir: PathBuf,
    state: StateFile,
    saved: BTreeMap<Uid, u16>,
    /// After how many more actions the controller is killed. Until that is set, the state file need not be written.
    crash_in: Option<u64>,
    trace: bool,
}

impl Node {
    pub fn new(seed: u64, trace: bool) -> Self {
        // In memory where there is such a place: thousands of state files are written and renamed.
        let shm = PathBuf::from("/dev/shm");
        let dir = if shm.is_dir() { shm } else { std::env::temp_dir() };
        let dir = dir.join(format!("packet-capture-plan-{}-{seed}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let limits = Limits { duration_max: None, stale_max: Duration::from_secs(40), ..Limits::default() };
        Self {
            random: Random::new(seed),
            now: Instant::now(),
            server: Server::new(&limits),
            limits,
            slots: Slots::default(),
            processes: BTreeMap::new(),
            files: BTreeMap::new(),
            starts: Vec::new(),
            wake_at: None,
            faults: true,
            heard: Heard::default(),
            desired: Desired::default(),
            stopping: false,
            history: BTreeMap::new(),
            state: StateFile::at(&dir),
            dir,
            saved: BTreeMap::new(),
            crash_in: None,
            trace,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", what());
        }
    }

    /// One of the things that can happen, and the loop's turn that it wakes.
    pub fn step(&mut self) {
        match self.random.below(20) {
            0..=5 => self.server.change(&mut self.random),
            6..=10 => return self.hear_some(),
            11 if self.server.is_connected() && self.random.one_in(3) => {
                self.server.hang_up();
                self.hear(Word::Lost);
            }
            11 | 12 => return if self.server.is_connected() { self.hear_some() } else { self.server.list() },
            13 if self.random.one_in(4) => self.server.list(),
            13..=17 => self.wait(),
            18 => {
                let running: Vec<Uid> = self.processes.keys().cloned().collect();
                if !running.is_empty() {
                    let uid = self.random.pick(&running);
                    self.say(|| format!("{uid} exits by itself"));
                    self.processes.get_mut(&uid).unwrap().dies_at = Some(self.now);
                }
            }
            _ => {
                if self.random.one_in(3) {
                    self.crash_in = Some(self.random.below(5));
                    self.save();
                    self.hear_some();
                    return self.crash();
                }
            }
        }
        self.turn();
    }

    fn hear_some(&mut self) {
        for _ in 0..=self.random.below(4) {
            let Some(word) = self.server.next_word() else { return };
            self.hear(word);
            self.turn();
        }
    }

    /// Hears all that the server has to say.
    pub fn listen(&mut self) {
        while let Some(word) = self.server.next_word() {
            self.hear(word);
            self.turn();
        }
    }

    pub fn hear(&mut self, word: Word) {
        self.say(|| format!("hears {word:?}"));
        self.heard.hear(&word, self.now);
        self.desired.hear(word, self.now);
        for (stem, files) in &mut self.files {
            files.must_go |= self.heard.is_removal(stem, files.owner.as_ref());
        }
    }

    /// The next moment at which the loop wakes without being told anything.
    fn next_at(&self) -> Option<Instant> {
        self.processes.values().filter_map(|process| process.dies_at).chain(self.wake_at).min()
    }

    fn wait(&mut self) {
        let at = self.next_at().unwrap_or(self.now + Duration::from_secs(1 + self.random.below(20)));
        let left = at.saturating_duration_since(self.now);
        self.now += match self.random.below(10) {
            0..=5 => left,
            6..=8 => left * u32::try_from(self.random.below(100)).unwrap() / 100,
            _ => left + Duration::from_millis(self.random.below(3000)),
        };
    }

    /// Lets time pass, with a turn whenever something is due.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.now = at;
            self.turn();
        }
        self.now = end;
        self.turn();
    }

    /// Waits for what is due and for nothing else, until nothing is.
    pub fn pass_until_quiet(&mut self) {
        for _ in 0..500 {
            let Some(at) = self.next_at() else { return };
            assert!(at >= self.now, "waits for the past");
            self.now = at;
            self.turn();
        }
        panic!("never comes to rest");
    }

    /// As `run`'s turn: takes in what has ended, and does what is to be done.
    pub fn turn(&mut self) {
        let dead = |process: &Process| process.dies_at.is_some_and(|at| at <= self.now);
        for (uid, process) in self.processes.extract_if(.., |_, process| dead(process)).collect::<Vec<_>>() {
            self.take_exit(&uid, &process);
        }
        if self.settle() {
            self.check();
        } else {
            self.crash();
        }
    }

    fn take_exit(&mut self, uid: &Uid, process: &Process) {
        assert_eq!(self.slots.capturing(uid), Some(&process.stem), "the exit of {uid} is nobody's");
        let counts = process.kill_at.is_none().then_some(Counts { captured: 3, dropped: 2 });
        let counted = |node: &Self| {
            let slot = node.slots.get(&process.stem).unwrap();
            (slot.counts.captured, slot.counts.dropped, slot.uncounted)
        };
        let (captured, dropped, uncounted) = counted(self);
        let ended = self.slots.exited(&process.stem, counts.is_some(), counts, self.now);
        let expected = match counts {
            Some(counts) => (captured + counts.captured, dropped + counts.dropped, uncounted),
            None => (captured, dropped, uncounted + 1),
        };
        assert_eq!(counted(self), expected, "miscounts");
        self.say(|| format!("{uid} ended: {ended:?}"));
        match ended {
            Ended::Stopped(_) => assert!(process.term_at.is_some(), "{uid} was not asked to end"),
            Ended::Failed { retry_in, .. } => {
                assert!(process.term_at.is_none(), "{uid} was asked to end");
                assert!((1..=300).contains(&retry_in.as_secs()));
                self.history.get_mut(&process.stem).unwrap().failed = true;
            }
        }
    }

    /// Whether it came to an end, and was not killed on the way.
    fn settle(&mut self) -> bool {
        for _ in 0..PASSES_MAX {
            let world = World {
                now: self.now,
                limits: &self.limits,
                desired: &self.desired,
                slots: &self.slots,
                disk: Disk::default(),
                stopping: self.stopping,
            };
            let plan = plan(&world);
            if plan.actions.is_empty() {
                assert!(plan.wake_at.is_none_or(|at| at > self.now), "wakes in the past");
                self.wake_at = plan.wake_at;
                return true;
            }
            let stems: BTreeSet<&Stem> = plan.actions.iter().map(|(stem, _)| stem).collect();
            assert_eq!(stems.len(), plan.actions.len(), "two actions for one stem");
            for (stem, action) in plan.actions {
                if self.crash_in == Some(0) {
                    return false;
                }
                self.crash_in = self.crash_in.map(|actions| actions - 1);
                self.say(|| format!("  {stem} {action:?}"));
                self.carry_out(&stem, action);
            }
            self.save();
        }
        panic!("the plan does not settle");
    }

    fn carry_out(&mut self, stem: &Stem, action: Action) {
        let history = self.history.entry(stem.clone()).or_default();
        let slot = self.slots.get(stem);
        let owner = slot.and_then(|slot| slot.owner.clone());
        match action {
            Action::Open(uid) => {
                assert!(owner.is_none() && self.heard.is_complete() && !self.stopping, "opens {stem} out of time");
                assert_eq!(Some(&uid), self.heard.asking(stem).map(|pod| &pod.uid));
                let slot_is_old = slot.is_some();
                if let Some(files) = self.files.get_mut(stem) {
                    files.owner = Some(uid.clone());
                }
                let newest = self.slots.iter().map(|(_, slot)| slot.sequence).max().unwrap_or_default();
                self.slots.open(stem, uid);
                assert!(slot_is_old || self.slots.get(stem).unwrap().sequence > newest, "{stem} is not the newest");
            }
            Action::Admit(accepted) => {
                let asked = self.heard.accepted.get(owner.as_ref().unwrap());
                assert_eq!(Some(&accepted.request.capture.files), asked, "admits what {stem} does not ask");
                self.slots.admit(stem, accepted);
            }
            Action::End(_) | Action::Retire => panic!("nobody asked for an end, or to keep files"),
            Action::Doom => {
                let must_go = self.files.get(stem).is_none_or(|files| files.must_go);
                assert!(must_go && self.heard.is_removal(stem, owner.as_ref()), "dooms {stem}, which is asked for");
                self.slots.doom(stem);
            }
            Action::Tell(standing) => {
                assert!(!self.stopping && standing != history.told, "repeats itself, or talks when it is to go");
                history.told.clone_from(&standing);
                self.slots.told(stem, standing);
            }
            Action::Start(run) => self.start(stem, run),
            Action::Term(why) => {
                let slot = slot.unwrap();
                let process = self.processes.get_mut(&owner.unwrap()).expect("TERM to nobody");
                assert!(process.term_at.is_none(), "a second TERM");
                let reason = match self.heard.wanted(stem, self.now, &self.limits) {
                    _ if slot.doomed => Some(Why::Gone),
                    _ if self.stopping => Some(Why::Shutdown),
                    Err(why) => Some(why),
                    Ok(run) if run.ips != process.run.ips => Some(Why::Moved),
                    Ok(run) => (run != process.run).then_some(Why::Changed),
                };
                assert_eq!(Some(why), reason, "TERM to {stem}");
                process.term_at = Some(self.now);
                let dies_at = process.term_takes.map(|takes| self.now + takes);
                process.dies_at = process.dies_at.into_iter().chain(dies_at).min();
                self.slots.terminated(stem, why, self.now);
            }
            Action::Kill => {
                let process = self.processes.get_mut(&owner.unwrap()).expect("KILL to nobody");
                let last = process.kill_at.or(process.term_at).expect("KILL before TERM");
                assert!(self.now >= last + GRACE, "KILL too soon");
                process.kill_at = Some(self.now);
                process.dies_at = process.dies_at.into_iter().chain([self.now + process.kill_takes]).min();
                self.slots.killed(stem, self.now);
            }
            Action::Remove => {
                assert!(self.heard.is_complete(), "removes before the first list");
                assert!(!self.processes.values().any(|process| process.stem == *stem), "removes under a writer");
                let files = self.files.get(stem);
                assert!(files.is_none_or(|files| files.must_go), "removes what is asked for");
                let failures = history.unremoved.map_or(0, |(failures, at)| {
                    let wait = Duration::from_secs(300.min(1 << (failures - 1)));
                    assert!(self.now >= at + wait, "removes {stem} too often");
                    failures
                });
                if self.faults && files.is_some() && self.random.one_in(2) {
                    history.unremoved = Some((failures + 1, self.now));
                    assert_eq!(self.slots.not_removed(stem, self.now), failures + 1);
                } else {
                    self.files.remove(stem);
                    self.history.remove(stem);
                    self.slots.removed(stem).expect("a slot");
                }
            }
        }
    }

    fn start(&mut self, stem: &Stem, run: Run) {
        assert!(!self.stopping && self.heard.is_complete(), "starts {stem} out of time");
        assert_eq!(Ok(&run), self.heard.wanted(stem, self.now, &self.limits).as_ref());
        let uid = self.slots.get(stem).unwrap().owner.clone().unwrap();
        assert_eq!(self.heard.asking(stem).unwrap().uid, uid);
        assert!(!self.processes.values().any(|process| process.stem == *stem), "a second writer for {stem}");
        let kept = self.files.get(stem);
        assert!(
            kept.is_none_or(|files| !files.must_go && files.owner.as_ref() == Some(&uid)),
            "goes on with old files"
        );
        let history = self.history.get_mut(stem).unwrap();
        if let Some((at, before)) = &history.started {
            let wait = if *before == run && history.failed { Duration::from_secs(1) } else { START_INTERVAL };
            assert!(self.now >= *at + wait, "starts {stem} too often");
        }
        let now_s = 1 + self.starts.len() as u64;
        let began_s = history.began_s.unwrap_or(now_s);
        *history = History {
            started: Some((self.now, run.clone())),
            began_s: Some(began_s),
            failed: false,
            told: history.told.take(),
            unremoved: None,
        };
        self.slots.starting(stem, run.clone(), Moment { at: self.now, unix_s: now_s });
        assert_eq!(self.slots.get(stem).unwrap().began.map(|began| began.unix_s), Some(began_s));
        self.save();
        if self.faults && self.random.one_in(6) {
            self.history.get_mut(stem).unwrap().failed = true;
            assert!(matches!(self.slots.ended(stem, self.now), Ended::Failed { .. }));
            return;
        }
        self.starts.push(run.clone());
        self.files.entry(stem.clone()).or_insert(Files { owner: Some(uid.clone()), must_go: false, saved: false });
        let faults = self.faults;
        let random = &mut self.random;
        let dies_hard = faults && random.one_in(8);
        let process = Process {
            stem: stem.clone(),
            run,
            term_takes: (!faults || !random.one_in(5)).then(|| Duration::from_millis(30 + random.below(200))),
            kill_takes: Duration::from_millis(random.below(if dies_hard { 70_000 } else { 100 })),
            term_at: None,
            kill_at: None,
            dies_at: (faults && random.one_in(5)).then(|| self.now + Duration::from_millis(random.below(90_000))),
        };
        self.processes.insert(uid, process);
    }

    /// From now on the machine is in order.
    pub fn repair(&mut self) {
        self.faults = false;
        for process in self.processes.values_mut() {
            process.term_takes = Some(Duration::from_millis(30));
            process.dies_at = process.dies_at.filter(|_| process.term_at.is_some());
        }
    }
}

impl History {
    const NEW: Self = Self { started: None, failed: false, began_s: None, told: None, unremoved: None };
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
