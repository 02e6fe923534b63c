//! The planner: compares what is desired with what there is, and names what is to be done. Pure: no I/O, no clock, no log.
//!
//! Each pass names at most one action per stem. The caller records each action ([`apply`](crate::core::apply)), makes the system call,
//! reports what came of it, and plans again until nothing is left to do. So missed events, failed removals, crashes and relists are
//! one code path.

mod opening;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use opening::RecordCounts;

use crate::core::{
    admission::{self, Admissions},
    annotations::ValidRequest,
    captures::{Capture, END_GRACE, Lifecycle, Process, Reservation, START_INTERVAL},
    condition::{Condition, EndedBy, StopReason},
    desired::PodRequest,
    eviction,
    name::{PodUid, Stem},
    recorder::{Baseline, Incident, Observation, Recorder, StopOn},
    request::{Invocation, Parsed, Target},
    world::World,
};

/// How long a pod may be without an address before its owner is notified that the capture waits for one.
pub const WAITING_AFTER: Duration = Duration::from_secs(10);

/// Something to be done for one stem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give a capture, a new one or one left over, to this pod; or give the pod's own capture a new place in the order.
    Open(PodUid),
    /// Notify the owner of a pod why it gets no capture.
    Decline(PodUid, Condition),
    /// Leave the room of a capture that cannot use it to others.
    Release,
    /// Carry out from now on what the pod asks, since there is room for it.
    Admit(ValidRequest),
    /// Record what the pod's status is to be compared with from now on.
    Learn(Baseline),
    /// Record that there was an incident that the capture is to stop on.
    RecordIncident(Incident),
    /// Record that a capture without a process reached its own limit.
    Finish(EndedBy),
    /// Record that the pod is gone, and keep the files for a time.
    Retain,
    /// Record that the files are to be removed.
    MarkForRemoval,
    /// Notify the pod's owner of the condition that holds, or that none holds any longer.
    Notify(Option<Condition>),
    /// Start tcpdump.
    Start(Invocation),
    /// Send TERM to tcpdump.
    Term(StopReason),
    /// Send KILL to tcpdump.
    Kill,
    /// Remove the files, and the capture with them.
    Remove,
}

/// What is wanted of a capture's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A tcpdump that was started with this.
    Run(Invocation),
    /// No tcpdump.
    Stop(StopReason),
}

/// How a capture stands, whatever is being done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// What is wanted of its process.
    pub wanted: Wanted,
    /// What its pod's owner must know.
    pub condition: Option<Condition>,
}

/// What is to be done now, and when to plan again at the latest.
#[derive(Debug)]
pub struct Plan {
    /// At most one action per stem.
    pub actions: Vec<(Stem, Action)>,
    /// The next moment at which time alone makes something due.
    pub wake_at: Option<Instant>,
    /// How each capture stands.
    pub assessments: BTreeMap<Stem, Assessment>,
}

/// What is to be done in this world.
#[must_use]
pub fn plan(world: &World) -> Plan {
    let has_listed = world.desired.has_listed();
    let admissions = if has_listed { admission::admissions(world) } else { Admissions::new() };
    let evicted = if has_listed { eviction::evicted(world, &admissions) } else { BTreeSet::new() };
    let is_any_removed = world.captures.iter().any(|(_, capture)| eviction::is_being_removed(capture));
    let space_is_being_freed = !evicted.is_empty() || is_any_removed;
    let records = RecordCounts::of(world);
    let mut actions = Vec::new();
    if has_listed && !world.stopping {
        actions.extend(opening::openings(world, records.clone()));
    }
    let mut planner = Planner { world, admissions, evicted, space_is_being_freed, records, wake_at: None };
    let mut assessments = BTreeMap::new();
    for (stem, capture) in world.captures.iter() {
        let assessment = planner.assess(stem, capture);
        actions.extend(planner.action(stem, capture, &assessment).map(|action| (stem.clone(), action)));
        assessments.insert(stem.clone(), assessment);
    }
    Plan { actions, wake_at: planner.wake_at, assessments }
}

/// What the status of its pod says to a capture that is to stop on an incident.
fn recorded(capture: &Capture, pod: &PodRequest) -> Option<Action> {
    let stop_on = Some(capture.stop_on()).filter(|stop_on| capture.is_active() && *stop_on != StopOn::NOTHING)?;
    let status = pod.status.as_ref()?;
    match &capture.recorder {
        Recorder::Off => Some(Action::Learn(Baseline::of(stop_on, status))),
        Recorder::Waiting(baseline) => match baseline.observe(status, stop_on) {
            Observation::Nothing => None,
            Observation::Learned(baseline) => Some(Action::Learn(baseline)),
            Observation::Incident(incident) => Some(Action::RecordIncident(incident)),
        },
        Recorder::Stopped(_) => None,
    }
}

struct Planner<'a> {
    world: &'a World<'a>,
    admissions: Admissions<'a>,
    evicted: BTreeSet<&'a Stem>,
    space_is_being_freed: bool,
    records: RecordCounts<'a>,
    wake_at: Option<Instant>,
}

impl Planner<'_> {
    fn assess(&mut self, stem: &Stem, capture: &Capture) -> Assessment {
        let pod = admission::own_request(self.world, stem, capture);
        let wanted = self.wanted(capture, pod);
        let condition = pod.and_then(|pod| self.condition(stem, pod, capture, &wanted));
        // The condition that the owner was notified of stays as it was, although the numbers of a shortage change all the time.
        let known =
            capture.notified.as_ref().filter(|known| condition.as_ref().is_some_and(|new| known.is_same_news(new)));
        Assessment { wanted, condition: known.cloned().or(condition) }
    }

    fn action(&mut self, stem: &Stem, capture: &Capture, assessment: &Assessment) -> Option<Action> {
        let desired = self.world.desired;
        if !desired.has_listed() || capture.is_removing() {
            return self.step_process(capture, &assessment.wanted);
        }
        let own = admission::own_request(self.world, stem, capture).filter(|_| capture.retained_since().is_none());
        match (own, desired.request_of(stem), &capture.owner) {
            (Some(pod), _, _) => self.own_action(stem, capture, pod, assessment),
            // Opened in this pass.
            (None, Some(_), None) => None,
            (None, None, Some(owner)) if capture.has_captured() && !desired.is_unannotated(owner) => {
                self.retain(stem, capture, &assessment.wanted)
            }
            (None, Some(_) | None, _) => Some(Action::MarkForRemoval),
        }
    }

    /// What is to be done for a capture whose pod asks for it.
    fn own_action(
        &mut self,
        stem: &Stem,
        capture: &Capture,
        pod: &PodRequest,
        assessment: &Assessment,
    ) -> Option<Action> {
        if !self.world.stopping {
            if admission::rejoins(self.world, stem, capture) {
                return None; // Opened in this pass.
            }
            // Before a change is admitted: it may have come after the incident.
            if let Some(action) = recorded(capture, pod) {
                return Some(action);
            }
            if let Some(Ok(valid)) = self.admissions.get(stem) {
                return Some(Action::Admit((*valid).clone()));
            }
            if admission::is_idle(self.world, stem, capture) {
                return Some(Action::Release);
            }
            if self.makes_way(stem, capture, pod) {
                return Some(Action::MarkForRemoval);
            }
        }
        // The owner is notified last, so that the notice states what has become of the capture.
        self.step_process(capture, &assessment.wanted).or_else(|| self.notify(capture, &assessment.condition))
    }

    /// Whether a capture is there only so that `status` shows it, and its record is needed: its pod finished and was not captured.
    fn makes_way(&self, stem: &Stem, capture: &Capture, pod: &PodRequest) -> bool {
        let is_done = pod.target == Target::Finished && !capture.has_captured() && pod.notified.is_some();
        is_done && self.records.shortage(stem).is_some()
    }

    /// What becomes of the files of a pod that is gone.
    fn retain(&mut self, stem: &Stem, capture: &Capture, wanted: &Wanted) -> Option<Action> {
        let keep = self.world.limits.keep_after_pod;
        let Some(since) = capture.retained_since() else {
            return Some(if keep.is_zero() { Action::MarkForRemoval } else { Action::Retain });
        };
        let is_empty = !capture.has_process() && capture.files == 0;
        if is_empty || self.evicted.contains(stem) || self.wait_until(since.at + keep) {
            return Some(Action::MarkForRemoval);
        }
        self.step_process(capture, wanted)
    }

    /// The next action for the process or the files of a capture.
    fn step_process(&mut self, capture: &Capture, wanted: &Wanted) -> Option<Action> {
        let world = self.world;
        let last = capture.last_start.as_ref();
        let startable_at = last.map_or(world.now, |start| start.at + START_INTERVAL);
        match (&capture.process, wanted) {
            (Process::None | Process::Backoff { .. }, Wanted::Run(run))
                if capture.disk_shortage(world.disk, run.spec.files).is_some() =>
            {
                None
            }
            (Process::None, Wanted::Run(run)) => self.wait_until(startable_at).then(|| Action::Start(run.clone())),
            (Process::Backoff { until, .. }, Wanted::Run(run)) => {
                let is_same = last.is_some_and(|start| start.invocation == *run);
                self.wait_until(if is_same { *until } else { startable_at }).then(|| Action::Start(run.clone()))
            }
            (Process::None | Process::Backoff { .. }, Wanted::Stop(StopReason::Ended(by))) => {
                (capture.is_active() && world.desired.has_listed()).then_some(Action::Finish(*by))
            }
            (Process::None | Process::Backoff { .. }, Wanted::Stop(_)) => self.remove(capture),
            (Process::Running { .. }, Wanted::Run(run)) => match last.map(|start| &start.invocation) {
                Some(last) if last == run => None,
                Some(last) if last.ips == run.ips => {
                    self.wait_until(startable_at).then_some(Action::Term(StopReason::Changed))
                }
                Some(_) | None => Some(Action::Term(StopReason::Moved)),
            },
            (Process::Running { .. }, Wanted::Stop(reason)) => Some(Action::Term(*reason)),
            (Process::Terminating { kill_at: at, .. } | Process::Killing { again_at: at, .. }, _) => {
                self.wait_until(*at).then_some(Action::Kill)
            }
        }
    }

    /// Removes the files of a capture without a process, if they are to be removed.
    fn remove(&mut self, capture: &Capture) -> Option<Action> {
        match capture.lifecycle {
            Lifecycle::Removing { .. } if !self.world.desired.has_listed() => None,
            Lifecycle::Removing { retry_at, .. } => {
                retry_at.is_none_or(|at| self.wait_until(at)).then_some(Action::Remove)
            }
            Lifecycle::Active | Lifecycle::Finished(_) | Lifecycle::Retained { .. } => None,
        }
    }

    /// What is wanted of a capture's process. The first reason against a tcpdump counts.
    fn wanted(&mut self, capture: &Capture, pod: Option<&PodRequest>) -> Wanted {
        if capture.is_removing() {
            return Wanted::Stop(StopReason::Gone);
        }
        if self.world.stopping {
            return Wanted::Stop(StopReason::Shutdown);
        }
        if capture.retained_since().is_some() {
            return Wanted::Stop(StopReason::Retained);
        }
        let target = pod.map(|pod| &pod.target);
        if let Some(by) = self.ended_by(capture, target == Some(&Target::Finished)) {
            return Wanted::Stop(StopReason::Ended(by));
        }
        let ips = match target {
            Some(Target::Finished) => return Wanted::Stop(StopReason::PodFinished),
            Some(Target::NoAddress) => return Wanted::Stop(StopReason::NoAddress),
            Some(Target::Forbidden(_)) => return Wanted::Stop(StopReason::Forbidden),
            None => return Wanted::Stop(StopReason::NothingAdmitted),
            Some(Target::At(ips)) => ips,
        };
        match &capture.admitted {
            None => Wanted::Stop(StopReason::NothingAdmitted),
            Some(_) if self.is_stale() => Wanted::Stop(StopReason::Stale),
            Some(admitted) if admitted.request.paused => Wanted::Stop(StopReason::Paused),
            Some(_) if capture.reservation != Reservation::Held => Wanted::Stop(StopReason::NothingAdmitted),
            Some(_) if self.world.disk.low => Wanted::Stop(StopReason::LowDisk),
            Some(admitted) => Wanted::Run(Invocation { spec: admitted.request.spec.clone(), ips: ips.clone() }),
        }
    }

    /// Which limit of its own a capture has reached. The first one counts.
    fn ended_by(&mut self, capture: &Capture, pod_has_finished: bool) -> Option<EndedBy> {
        let stopped_on = capture.incident().map(|seen| (seen.seen.at, EndedBy::StopOn));
        if pod_has_finished {
            // Another pod may get the address at any moment. That the pod has finished says more than any limit but this one.
            let ended_by = capture.ended_by().or(stopped_on.map(|(_, by)| by));
            return ended_by.filter(|by| *by == EndedBy::StopOn);
        }
        let has_all_packets = capture.has_all_packets().then_some(EndedBy::Packets);
        if let Some(by) = capture.ended_by().or(has_all_packets) {
            return Some(by);
        }
        let is_over = capture.ends_at().map(|at| (at, EndedBy::Duration));
        let (at, by) = is_over.into_iter().chain(stopped_on).min_by_key(|(at, _)| *at)?;
        // Nothing is under way to a tcpdump that is not there, and none is started after an incident.
        let is_late = stopped_on.is_some() && !capture.has_process();
        self.wait_until(if is_late { at } else { at + END_GRACE }).then_some(by)
    }

    fn notify(&mut self, capture: &Capture, condition: &Option<Condition>) -> Option<Action> {
        if *condition == capture.notified || self.world.stopping {
            return None;
        }
        capture.notify_after.is_none_or(|at| self.wait_until(at)).then(|| Action::Notify(condition.clone()))
    }

    /// What the pod's owner must know.
    fn condition(&mut self, stem: &Stem, pod: &PodRequest, capture: &Capture, wanted: &Wanted) -> Option<Condition> {
        match (&pod.parsed, &pod.target) {
            (Parsed::Invalid(refusal), _) | (_, Target::Forbidden(refusal)) => {
                return Some(Condition::Refused(refusal.clone()));
            }
            (_, Target::Finished) => return (!capture.has_captured()).then_some(Condition::Missed),
            (_, Target::NoAddress | Target::At(_)) => (),
        }
        if let Some(Err(shortage)) = self.admissions.get(stem) {
            // A shortage that may be over in a moment is no news.
            let known = capture.notified.clone().filter(|known| matches!(known, Condition::Shortage(_)));
            return if self.space_is_being_freed { known } else { Some(Condition::Shortage(shortage.clone())) };
        }
        if pod.target == Target::NoAddress {
            let since = pod.no_address_since.unwrap_or(self.world.now);
            return self.wait_until(since + WAITING_AFTER).then_some(Condition::Waiting);
        }
        let is_paused = capture.admitted.as_ref().is_some_and(|admitted| admitted.request.paused);
        if is_paused && !capture.has_captured() && capture.ended_by().is_none() {
            return Some(Condition::Paused(stem.pod()));
        }
        let files = match wanted {
            Wanted::Run(run) => run.spec.files,
            Wanted::Stop(StopReason::LowDisk) => capture.admitted_files(),
            Wanted::Stop(_) => return None,
        };
        capture.disk_shortage(self.world.disk, files).filter(|_| !capture.has_process()).map(Condition::Shortage)
    }

    fn is_stale(&mut self) -> bool {
        let stale_max = self.world.limits.stale_max;
        self.world.desired.lost_since().is_some_and(|since| self.wait_until(since + stale_max))
    }

    /// Whether `at` has come. If not, the plan wakes the caller then.
    fn wait_until(&mut self, at: Instant) -> bool {
        let has_come = self.world.now >= at;
        if !has_come {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        has_come
    }
}
