//! A node in miniature: the real books and the real planner, with processes, files and a clock that exist in this struct only. What
//! the controller does with an action is done here, too, except that a system call is a change of these maps. Each action, and each
//! state in which nothing is left to do, is held against the [`contract`].

mod contract;
mod disk;
mod processes;
mod restart;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use packet_capture::{
    core::{
        apply,
        captures::{Capture, Captures, Moment},
        condition::{Condition, State, StopReason},
        desired::{Desired, WatchEvent},
        limits::Limits,
        name::{PodName, PodUid, Stem},
        notices::{Change, Conveys, Notice},
        plan::{Action, plan},
        request::{Invocation, Parsed, Request},
        world::{Revision, World},
    },
    files::state_file::StateFile,
    text::status::status_of,
};

use crate::{
    seen::{Fate, Seen},
    server::{Random, Server},
};
use contract::Flight;
pub use disk::LOW_WATERMARK_MB;
use disk::Space;
use processes::{Compilation, Files, Process};

const PASSES_MAX: usize = 16;
/// What the wall clock shows at first.
const UNIX_S: u64 = 1_800_000_000;
/// The most conditions that one owner is notified of in one turn: an edit is accepted, then finds no room, and then lacks another thing.
const NOTIFIES_MAX: usize = 3;

pub struct Node {
    pub random: Random,
    epoch: Instant,
    now: Instant,
    wall_shift_s: u64,
    pub limits: Limits,
    pub server: Server,
    captures: Captures,
    desired: Desired,
    seen: Seen,
    /// Every valid request of each pod so far.
    requested: BTreeMap<PodUid, Vec<Request>>,
    processes: BTreeMap<PodUid, Process>,
    files: BTreeMap<Stem, Files>,
    space: Space,
    compilation: Option<Compilation>,
    compile_at: Option<Instant>,
    /// The order in which the captures were opened.
    places: BTreeMap<Stem, u64>,
    /// How often in a row the files of a stem could not be removed, and when that was last tried.
    unremoved: BTreeMap<Stem, (u32, Instant)>,
    /// The condition that the last Event of this controller for each owner conveyed.
    conveyed: BTreeMap<PodUid, Condition>,
    /// The last change that each owner was told of, whether the API server took the Event or not.
    told: BTreeMap<PodUid, Change>,
    /// Those whose owners were told why they get no capture.
    declined: Vec<PodName>,
    /// Each start so far.
    pub starts: Vec<(Stem, Invocation)>,
    /// Why each capture stopped whose owner was told so.
    pub stops: Vec<StopReason>,
    wake_at: Option<Instant>,
    /// What the last plan that left nothing to do was made of.
    settled: Option<Revision>,
    faults: bool,
    stopping: bool,
    dir: PathBuf,
    state: StateFile,
    /// The captures that the state file holds.
    saved: BTreeMap<Stem, Capture>,
    /// What each flight recorder was shown.
    flights: BTreeMap<Stem, Flight>,
    /// The places and flights as they were when the state file was written.
    saved_places: BTreeMap<Stem, u64>,
    saved_flights: BTreeMap<Stem, Flight>,
    /// After how many more actions the controller is killed. Until that is set, the state file need not be written.
    crash_in: Option<u64>,
    trace: bool,
}

impl Node {
    pub fn new(seed: u64, limits: Limits, trace: bool) -> Self {
        // In memory where there is such a place: thousands of state files are written and renamed.
        let shm = PathBuf::from("/dev/shm");
        let dir = if shm.is_dir() { shm } else { std::env::temp_dir() };
        // Tests share the process, and may share a seed.
        static NODES: AtomicU32 = AtomicU32::new(0);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let dir = dir.join(format!("packet-capture-plan-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        // So that hours ago is a time that the clock knows.
        let epoch = Instant::now() + Duration::from_secs(100 * 3600);
        Self {
            random: Random::new(seed),
            epoch,
            now: epoch,
            wall_shift_s: 100 * 3600,
            server: Server::new(&limits),
            limits,
            captures: Captures::default(),
            desired: Desired::default(),
            seen: Seen::default(),
            requested: BTreeMap::new(),
            processes: BTreeMap::new(),
            files: BTreeMap::new(),
            space: Space::default(),
            compilation: None,
            compile_at: None,
            places: BTreeMap::new(),
            unremoved: BTreeMap::new(),
            conveyed: BTreeMap::new(),
            told: BTreeMap::new(),
            declined: Vec::new(),
            starts: Vec::new(),
            stops: Vec::new(),
            wake_at: None,
            settled: None,
            faults: true,
            stopping: false,
            state: StateFile::at(&dir),
            dir,
            saved: BTreeMap::new(),
            flights: BTreeMap::new(),
            saved_places: BTreeMap::new(),
            saved_flights: BTreeMap::new(),
            crash_in: None,
            trace,
        }
    }

    /// The limits of a node on which not everything has room.
    pub fn limits(random: &mut Random) -> Limits {
        Limits {
            budget_mb: random.pick(&[8, 12, 12, 1000]),
            captures_max: random.pick(&[2, 2, 3, 100]),
            captures_max_per_namespace: random.pick(&[1, 2, 100]),
            budget_mb_per_namespace: random.pick(&[5, 8, 1000]),
            duration_max: random.pick(&[None, None, Some(Duration::from_secs(120))]),
            free_mb_min: u32::try_from(LOW_WATERMARK_MB).unwrap(),
            free_percent_min: 2,
            stale_max: Duration::from_secs(40),
            keep_after_pod: Duration::from_secs(random.pick(&[0, 30])),
            ..Limits::default()
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", what());
        }
    }

    fn moment(&self) -> Moment {
        let unix_s = UNIX_S + self.wall_shift_s + (self.now - self.epoch).as_secs();
        Moment { at: self.now, unix_s }
    }

    /// One of the things that can happen, and the loop's turn that it wakes.
    pub fn step(&mut self) {
        match self.random.below(22) {
            0..=5 => self.server.change(&mut self.random),
            6..=10 => return self.observe_some(),
            11 if self.server.is_connected() && self.random.one_in(3) => {
                self.server.hang_up();
                self.observe(WatchEvent::Disconnected);
            }
            11 | 12 => return if self.server.is_connected() { self.observe_some() } else { self.server.list() },
            13 if self.random.one_in(4) => self.server.list(),
            13..=17 => self.wait(),
            18 => {
                let running: Vec<PodUid> = self.processes.keys().cloned().collect();
                if !running.is_empty() {
                    let uid = self.random.pick(&running);
                    self.say(|| format!("{uid} exits by itself"));
                    self.processes.get_mut(&uid).unwrap().dies_at = Some(self.now);
                }
            }
            19 | 20 => self.space.base_mb = self.random.pick(&[8, 21, 25, 30, 42, 50, 300, 300]),
            _ => {
                if self.random.one_in(3) {
                    self.crash_in = Some(self.random.below(5));
                    self.save();
                    self.observe_some();
                    return self.crash();
                }
            }
        }
        self.turn();
    }

    fn observe_some(&mut self) {
        for _ in 0..=self.random.below(4) {
            let Some(event) = self.server.next_event() else { return };
            self.observe(event);
            self.turn();
        }
    }

    /// Observes all that the server has to tell.
    pub fn listen(&mut self) {
        while let Some(event) = self.server.next_event() {
            self.observe(event);
            self.turn();
        }
    }

    pub fn observe(&mut self, event: WatchEvent) {
        self.say(|| format!("observes {event:?}"));
        self.seen.observe(&event, self.now);
        if let WatchEvent::ListItem(pod) | WatchEvent::Applied(pod) = &event
            && let Parsed::Valid(request) = &pod.parsed
        {
            self.requested.entry(pod.uid.clone()).or_default().push(request.clone());
        }
        self.desired.observe(event, self.now);
        for (stem, files) in &mut self.files {
            let has_captured = self.captures.get(stem).is_some_and(Capture::has_captured) || files.count > 0;
            files.must_go |= match self.seen.fate(stem, files.owner.as_ref()) {
                Fate::Asked => false,
                Fate::PodGone => self.limits.keep_after_pod.is_zero() || !has_captured,
                Fate::MustGo => true,
            };
        }
    }

    /// The next moment at which the loop wakes without being told anything.
    fn next_at(&self) -> Option<Instant> {
        let dies_at = self.processes.values().filter_map(|process| process.dies_at);
        let compiled_at = self.compilation.iter().map(|compilation| compilation.until);
        let look_at = (self.free_mb() != self.space.disk.free_mb).then(|| self.now + Duration::from_secs(1));
        dies_at.chain(compiled_at).chain(self.compile_at).chain(self.wake_at).chain(look_at).min()
    }

    fn wait(&mut self) {
        let at = self.next_at().unwrap_or(self.now + Duration::from_secs(1 + self.random.below(20)));
        let left = at.saturating_duration_since(self.now);
        self.now += match self.random.below(10) {
            0..=5 => left,
            6..=8 => left * u32::try_from(self.random.below(100)).unwrap() / 100,
            _ => left + Duration::from_millis(self.random.below(3000)),
        };
        self.write_some();
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

    /// As the controller's turn: takes in what has ended, and does what is to be done.
    pub fn turn(&mut self) {
        self.reap();
        self.look_at_disk();
        self.compile_filters();
        if self.settle() {
            self.check_rest();
            self.note_rest();
        } else {
            self.crash();
        }
    }

    fn world(&self) -> World<'_> {
        World {
            now: self.now,
            limits: &self.limits,
            desired: &self.desired,
            captures: &self.captures,
            disk: self.space.disk,
            stopping: self.stopping,
        }
    }

    /// How many captures there are, running or not.
    pub fn captures(&self) -> usize {
        self.captures.len()
    }

    /// Those whose owners were told why they get no capture, in turn.
    pub fn declined(&self) -> Vec<PodName> {
        self.declined.clone()
    }

    /// Whether a capture knows of an incident of its pod.
    pub fn had_incident(&self, pod: &PodName) -> bool {
        self.captures.get(&Stem::of(pod)).unwrap().incident().is_some()
    }

    /// What `status` shows of a pod's capture.
    pub fn state(&self, pod: &PodName) -> (State, String) {
        let stem = Stem::of(pod);
        let plan = plan(&self.world());
        let (state, reason) = status_of(self.captures.get(&stem).unwrap(), plan.assessments.get(&stem));
        (state, reason.unwrap_or_default())
    }

    /// Plans and carries out until nothing is left to do. Returns false if the controller is killed on the way.
    fn settle(&mut self) -> bool {
        let mut notifies: BTreeMap<Stem, usize> = BTreeMap::new();
        // Then the controller does not plan at all.
        let is_idle = self.settled == Some(self.world().revision()) && self.wake_at.is_none_or(|at| at > self.now);
        for _ in 0..PASSES_MAX {
            let plan = plan(&self.world());
            let is_same = plan.actions.is_empty() && plan.wake_at == self.wake_at;
            assert!(!is_idle || is_same, "there is something to do although nothing has changed: {:?}", plan.actions);
            if plan.actions.is_empty() {
                self.settled = Some(self.world().revision());
                assert!(plan.wake_at.is_none_or(|at| at > self.now), "wakes in the past");
                self.wake_at = plan.wake_at;
                return true;
            }
            let stems: BTreeSet<&Stem> = plan.actions.iter().map(|(stem, _)| stem).collect();
            assert_eq!(stems.len(), plan.actions.len(), "two actions for one stem");
            self.check_plan(&plan.actions);
            for (stem, action) in plan.actions {
                if self.crash_in == Some(0) {
                    return false;
                }
                self.crash_in = self.crash_in.map(|actions| actions - 1);
                self.say(|| format!("  {stem} {action:?}"));
                if matches!(action, Action::Notify(_)) {
                    let notifies = notifies.entry(stem.clone()).or_default();
                    *notifies += 1;
                    assert!(*notifies <= NOTIFIES_MAX, "notifies too much of {stem}");
                }
                self.check_action(&stem, &action);
                self.carry_out(&stem, &action);
            }
            self.save();
        }
        panic!("the plan does not settle");
    }

    /// As the controller does it.
    fn carry_out(&mut self, stem: &Stem, action: &Action) {
        let (disk, now) = (self.space.disk, self.moment());
        if matches!(action, Action::Notify(_)) && !self.captures.get(stem).is_some_and(Capture::is_running) {
            self.captures.counted(stem, self.count(stem));
        }
        self.note(stem, action);
        for notice in apply::apply(&mut self.captures, &self.desired, disk, stem, action, now) {
            self.publish(&notice);
        }
        let notice = match action {
            Action::Start(invocation) => self.start(stem, invocation),
            Action::Term(reason) => self.term(stem, *reason),
            Action::Kill => self.kill(stem),
            Action::Remove => self.remove(stem),
            Action::Open(uid) => self.take_over(stem, uid),
            Action::MarkForRemoval => self.must_go(stem),
            Action::Decline(..) => {
                self.declined.push(stem.pod());
                None
            }
            Action::Release
            | Action::Admit(_)
            | Action::Learn(_)
            | Action::RecordIncident(_)
            | Action::Finish(_)
            | Action::Retain
            | Action::Notify(_) => None,
        };
        notice.into_iter().for_each(|notice| self.publish(&notice));
    }

    /// The Event of a notice is created, or there are too many.
    fn publish(&mut self, notice: &Notice) {
        self.say(|| format!("    publishes {notice:?}"));
        let is_refused = notice.conveys != Conveys::Nothing && self.faults && self.random.one_in(5);
        let retry_at = is_refused.then(|| self.now + Duration::from_secs(1 + self.random.below(30)));
        if let Some(uid) = notice.uid.clone().filter(|_| !is_refused) {
            if let Conveys::Condition(Some(condition)) = &notice.conveys {
                self.conveyed.insert(uid.clone(), condition.clone());
            }
            if let Change::Stopped { reason, .. } = &notice.change {
                self.stops.push(*reason);
            }
            self.told.insert(uid, notice.change.clone());
        }
        apply::published(&mut self.captures, &mut self.desired, notice, retry_at);
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

impl Drop for Node {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
