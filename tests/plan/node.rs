//! A node in miniature: what `run` does with the planner's actions, carried out on processes and files that exist in these maps
//! only, on a clock that is set by hand. Each action, and each state in which nothing is left to do, is held against the contract.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use packet_capture::{
    capture::{Counts, Limits, Stem, Uid},
    desired::{Desired, Word},
    plan::{Action, World, plan},
    slots::{Ended, Phase, Run, Slot, Slots, Standing, Why},
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
pub struct Process {
    pub stem: Stem,
    pub run: Run,
    /// How long after TERM it ends; `None`: not at all.
    term_takes: Option<Duration>,
    kill_takes: Duration,
    term_at: Option<Instant>,
    kill_at: Option<Instant>,
    dies_at: Option<Instant>,
}

/// The files of a stem.
pub struct Files {
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
    began: bool,
    told: Option<Standing>,
}

pub struct Node {
    pub random: Random,
    pub now: Instant,
    pub limits: Limits,
    pub server: Server,
    pub slots: Slots,
    pub processes: BTreeMap<Uid, Process>,
    pub files: BTreeMap<Stem, Files>,
    /// Each start so far.
    pub starts: Vec<(Stem, Run)>,
    pub wake_at: Option<Instant>,
    pub faults: bool,
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
        let dir = std::env::temp_dir().join(format!("packet-capture-plan-{}-{seed}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let limits =
            Limits { files_max: 100, stale_max: Duration::from_secs(40), host_network_namespaces: [].into() };
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
        assert_eq!(self.slots.owned_by(uid), Some(&process.stem), "the exit of {uid} is nobody's");
        let counts = process.kill_at.is_none().then_some(Counts { captured: 1, dropped: 0 });
        let ended = self.slots.exited(&process.stem, counts, self.now);
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
                assert!(owner.is_none() && self.heard.is_complete());
                assert_eq!(Some(&uid), self.heard.asking(stem).map(|pod| &pod.uid));
                if let Some(files) = self.files.get_mut(stem) {
                    files.owner = Some(uid.clone());
                }
                self.slots.open(stem, uid);
            }
            Action::Doom => {
                let must_go = self.files.get(stem).is_none_or(|files| files.must_go);
                assert!(must_go && self.heard.is_removal(stem, owner.as_ref()), "dooms {stem}, which is asked for");
                self.slots.doom(stem);
            }
            Action::Tell(standing) => {
                assert_ne!(standing, history.told, "repeats itself");
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
                if self.faults && files.is_some() && self.random.one_in(4) {
                    self.slots.not_removed(stem, self.now);
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
        assert!(kept.is_none_or(|files| !files.must_go && files.owner.as_ref() == Some(&uid)), "goes on with old files");
        let history = self.history.get_mut(stem).unwrap();
        if let Some((at, before)) = &history.started {
            let wait = if *before == run && history.failed { Duration::from_secs(1) } else { START_INTERVAL };
            assert!(self.now >= *at + wait, "starts {stem} too often");
        }
        *history = History { started: Some((self.now, run.clone())), began: true, failed: false, told: history.told.take() };
        self.slots.starting(stem, run.clone(), self.now, 1);
        self.save();
        if self.faults && self.random.one_in(6) {
            self.history.get_mut(stem).unwrap().failed = true;
            assert!(matches!(self.slots.ended(stem, self.now), Ended::Failed { .. }));
            return;
        }
        self.starts.push((stem.clone(), run.clone()));
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

    /// As `run` does it: not before the first complete list, and to the real file.
    fn save(&mut self) {
        if !self.heard.is_complete() {
            return;
        }
        self.saved.clear();
        for (stem, slot) in self.slots.iter().filter(|(_, slot)| !slot.doomed) {
            let uid = slot.owner.as_ref();
            let asking = self.heard.asking(stem).filter(|pod| Some(&pod.uid) == uid);
            let accepted = asking.and_then(|pod| Some((pod.uid.clone(), *self.heard.accepted.get(&pod.uid)?)));
            self.saved.extend(accepted);
        }
        for (stem, files) in &mut self.files {
            files.saved = files.must_go && self.slots.get(stem).is_some_and(|slot| slot.doomed);
        }
        if self.crash_in.is_some() {
            self.state.save(&self.slots, &self.desired).unwrap();
        }
    }

    /// The controller's end, and with it that of its container's processes; then what `run` does when it begins.
    fn crash(&mut self) {
        if self.random.one_in(6) {
            fs::write(self.dir.join(".state.json"), "{").unwrap();
        }
        self.state = StateFile::at(&self.dir);
        let entries = self.state.load();
        let readable = entries.is_ok();
        self.say(|| format!("crashes, state readable: {readable}"));
        let (saved, history) = (std::mem::take(&mut self.saved), std::mem::take(&mut self.history));
        self.heard = Heard::after_restart(if readable { saved.clone() } else { BTreeMap::new() });
        if readable {
            self.saved = saved;
        }
        self.processes.clear();
        self.server.hang_up();
        (self.slots, self.desired) = (Slots::default(), Desired::default());
        (self.crash_in, self.stopping, self.wake_at) = (None, false, None);
        for entry in entries.unwrap_or_default() {
            if let Some(annotations) = entry.annotations.clone().filter(|_| !entry.doomed) {
                self.desired.recall(Uid(entry.uid.clone()), annotations, &self.limits);
            }
            let began = history.get(&entry.stem()).is_some_and(|history| history.began) && entry.began_s.is_some();
            self.history.insert(entry.stem(), History { began, ..History::default() });
            self.slots.restore(entry.stem(), entry.slot());
        }
        for (stem, files) in &mut self.files {
            files.must_go = readable && files.saved;
            if self.slots.get(stem).is_none() {
                files.owner = None;
                self.slots.restore(stem.clone(), Slot { doomed: readable, ..Slot::default() });
            }
        }
        self.turn();
    }

    /// Asks the controller to end, lets it, and begins a new one.
    pub fn shut_down(&mut self) {
        self.say(|| "shuts down".into());
        self.crash_in = Some(u64::MAX);
        self.stopping = true;
        let starts = self.starts.len();
        let end = self.now + Duration::from_secs(8);
        self.turn();
        assert!(self.processes.values().all(|process| process.term_at.is_some()), "one is not asked to end");
        while let Some(at) = self.next_at().filter(|at| *at <= end && !self.processes.is_empty()) {
            self.now = at;
            self.turn();
        }
        assert!(self.processes.values().all(|process| process.kill_at.is_some()), "one is not ended");
        assert_eq!(self.starts.len(), starts);
        self.save();
        self.crash();
    }

    /// From now on the machine is in order.
    pub fn repair(&mut self) {
        self.faults = false;
        for process in self.processes.values_mut() {
            process.term_takes = Some(Duration::from_millis(30));
            process.dies_at = process.dies_at.filter(|_| process.term_at.is_some());
        }
    }

    /// What must hold whenever nothing is left to do.
    fn check(&self) {
        for (stem, slot) in self.slots.iter() {
            let process = slot.owner.as_ref().and_then(|uid| self.processes.get(uid));
            assert_eq!(slot.has_process(), process.is_some(), "the books of {stem} are wrong: {slot:?}");
            self.check_slot(stem, slot);
            if let Some(process) = process {
                assert_eq!(process.stem, *stem);
                self.check_process(process, slot);
            }
        }
        let of_slots: usize = self.slots.iter().filter(|(_, slot)| slot.has_process()).count();
        assert_eq!(of_slots, self.processes.len(), "a process is nobody's");
        if self.heard.is_complete() {
            for (stem, files) in &self.files {
                let slot = self.slots.get(stem).expect("files without a slot");
                assert!(!files.must_go || slot.doomed, "forgets that {stem} is to go");
                assert!(slot.owner.is_none() || slot.owner == files.owner, "{stem} changed hands");
            }
        }
    }

    fn check_process(&self, process: &Process, slot: &Slot) {
        let stem = &process.stem;
        if let Some(term_at) = process.term_at {
            let due_at = process.kill_at.unwrap_or(term_at) + GRACE;
            assert!(self.now < due_at, "KILL to {stem} is late");
            self.wakes_by(due_at);
            return;
        }
        assert_eq!((slot.phase, slot.last.as_ref(), slot.doomed), (Phase::Running, Some(&process.run), false));
        let wanted = self.heard.wanted(stem, self.now, &self.limits).expect("runs in vain");
        assert_eq!(wanted.ips, process.run.ips, "{stem} is captured at addresses that it left");
        self.heard.stale_at(&self.limits).into_iter().for_each(|at| self.wakes_by(at));
        if wanted != process.run {
            let due_at = self.history[stem].started.as_ref().unwrap().0 + START_INTERVAL;
            assert!(self.now < due_at, "{stem} is not restarted");
            self.wakes_by(due_at);
        }
    }

    fn check_slot(&self, stem: &Stem, slot: &Slot) {
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
        assert_eq!(slot.owner.as_ref(), self.heard.asking(stem).map(|pod| &pod.uid), "{stem} is nobody's");
        if self.stopping {
            return;
        }
        let history = self.history.get(stem).unwrap_or(const { &History::NEW });
        let standing = self.heard.standing(stem, history.began, self.now);
        assert_eq!((&slot.told, &history.told), (&standing, &standing), "{stem} is not told how it stands");
        if let Some(at) = self.heard.told_of_wait_at(stem).filter(|at| *at > self.now) {
            self.wakes_by(at);
        }
        let Ok(wanted) = self.heard.wanted(stem, self.now, &self.limits) else { return };
        let started = history.started.as_ref();
        let due_at = match slot.phase {
            Phase::Idle => started.expect("does not start").0 + START_INTERVAL,
            Phase::Backoff { until } if started.is_none_or(|(_, run)| *run == wanted) => until,
            Phase::Backoff { .. } => started.unwrap().0 + START_INTERVAL,
            Phase::Running | Phase::Terminating { .. } | Phase::Killing { .. } => return,
            Phase::Removing { .. } => panic!("removes {stem}, which is not doomed"),
        };
        assert!(self.now < due_at, "{stem} is not started");
        self.wakes_by(due_at);
    }

    fn wakes_by(&self, at: Instant) {
        assert!(self.wake_at.is_some_and(|wake_at| wake_at <= at), "sleeps through what is due");
    }

    /// Whether the node is as its pods ask, and nothing is left to wait for.
    pub fn check_converged(&self) {
        let (mut running, mut stems, mut owners) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for pod in self.server.pods() {
            let stem = Stem::of(&pod.pod);
            if self.heard.asking(&stem).is_some() {
                assert_eq!(self.heard.asking(&stem), Some(&pod));
                owners.insert((stem.clone(), Some(pod.uid.clone())));
                stems.insert(stem.clone());
            }
            running.extend(self.heard.wanted(&stem, self.now, &self.limits).ok().map(|run| (pod.uid, run)));
        }
        running.sort_by(|one, other| one.0.cmp(&other.0));
        let processes: Vec<_> = self.processes.iter().map(|(uid, process)| (uid.clone(), process.run.clone())).collect();
        assert_eq!(processes, running);
        assert_eq!(self.slots.iter().map(|(stem, _)| stem.clone()).collect::<BTreeSet<_>>(), stems);
        for (stem, files) in &self.files {
            assert!(owners.contains(&(stem.clone(), files.owner.clone())), "{stem} was left behind");
        }
        assert!(self.processes.values().all(|process| self.files.contains_key(&process.stem)));
        assert_eq!(self.wake_at, None);
    }
}

impl History {
    const NEW: Self = Self { started: None, failed: false, began: false, told: None };
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
