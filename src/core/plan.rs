//! The planner: compares what is desired with what is actual, and names what is to be done about it. Pure: no I/O, no clock, no log.
//!
//! Each pass names at most one action per stem. The caller carries them out, records in the slots what came of it, and plans
//! again until nothing is left to do. So missed events, failed removals, crashes and relists are one code path.

mod opened;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use opened::CaptureCounts;

use crate::core::{
    admission::{self, Admissions},
    annotations::ValidRequest,
    captures::{Capture, Condition, END_GRACE, End, Phase, Reservation, START_INTERVAL, StopReason},
    desired::PodRequest,
    name::{PodUid, Stem},
    request::{Invocation, Parsed, Target},
    world::World,
};

/// How long a pod may be without an address before its owner is told that the capture waits for one.
pub const WAITING_AFTER: Duration = Duration::from_secs(10);

/// Something to be done for one stem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the slot, a new one or one left over, to this pod; or give the pod's own slot a new place in the order.
    Open(PodUid),
    /// Tell the pod's owner why it gets no slot.
    Decline(PodUid, Condition),
    /// Take note that it cannot use its room, and leave that to others.
    Release,
    /// Do from now on what the pod asks, as there is room for it.
    Admit(ValidRequest),
    /// Take note that it came to its end while there was no process.
    End(End),
    /// Take note that its pod is gone, and keep its files for a time.
    Retain,
    /// Mark its files as to be removed.
    MarkForRemoval,
    /// Tell the pod's owner how things stand, if there is something to tell.
    Notify(Option<Condition>),
    /// Start tcpdump.
    Start(Invocation),
    /// Ask it to end.
    Term(StopReason),
    /// End it.
    Kill,
    /// Remove the files, and the slot with them.
    Remove,
}

/// How things stand with a slot, whatever is being done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// Why no process is wanted, if none is.
    pub halt: Option<StopReason>,
    /// What its pod's owner must know.
    pub condition: Option<Condition>,
}

/// What is to be done now, and when to look again at the latest.
#[derive(Debug)]
pub struct Plan {
    /// At most one action per stem.
    pub actions: Vec<(Stem, Action)>,
    /// The next moment at which time alone makes something due.
    pub wake_at: Option<Instant>,
    /// How things stand with each slot.
    pub outlooks: BTreeMap<Stem, Outlook>,
}

/// What is wanted of a slot's process.
enum Wanted {
    Invocation(Invocation),
    Halt(StopReason),
}

/// What is to be done in this world.
#[must_use]
pub fn plan(world: &World) -> Plan {
    let known = world.desired.has_listed();
    let room = if known { admission::admissions(world) } else { Admissions::default() };
    let mut planner = Planner { world, room, counts: CaptureCounts::of(world), wake_at: None };
    let mut actions = Vec::new();
    if known && !world.stopping {
        actions.extend(opened::opened(world));
    }
    let mut outlooks = BTreeMap::new();
    for (stem, capture) in world.captures.iter() {
        actions.extend(planner.action(stem, capture).map(|action| (stem.clone(), action)));
        outlooks.insert(stem.clone(), planner.outlook(stem, capture));
    }
    Plan { actions, wake_at: planner.wake_at, outlooks }
}

struct Planner<'a> {
    world: &'a World<'a>,
    room: Admissions<'a>,
    counts: CaptureCounts<'a>,
    wake_at: Option<Instant>,
}

impl Planner<'_> {
    fn action(&mut self, stem: &Stem, capture: &Capture) -> Option<Action> {
        let pod = self.world.desired.request_of(stem);
        if !self.world.desired.has_listed() || capture.doomed {
            return self.step_process(capture, pod);
        }
        match (pod, &capture.owner) {
            (Some(_), None) => None,
            (Some(pod), Some(owner)) if pod.uid == *owner && capture.retired.is_none() => {
                if !self.world.stopping {
                    if let Some(Ok(valid)) = self.room.verdicts.get(stem) {
                        return Some(Action::Admit((*valid).clone()));
                    }
                    if admission::rejoins(self.world, stem, capture) {
                        return None; // Opened in this pass.
                    }
                    if admission::is_idle(self.world, stem, capture) {
                        return Some(Action::Release);
                    }
                    if self.makes_way(stem, capture, pod) {
                        return Some(Action::MarkForRemoval);
                    }
                }
                // Told last, so that what is said of the capture is what has become of it.
                self.step_process(capture, Some(pod)).or_else(|| self.tell(stem, capture, pod))
            }
            (None, Some(owner)) if capture.has_captured() && !self.world.desired.is_unannotated(owner) => {
                self.keep(stem, capture)
            }
            (Some(_) | None, _) => Some(Action::MarkForRemoval),
        }
    }

    /// Whether a slot is kept only so that `status` shows it, and the place is needed: its pod finished and was not captured.
    fn makes_way(&self, stem: &Stem, capture: &Capture, pod: &PodRequest) -> bool {
        let is_done = pod.target == Target::Finished && !capture.has_captured() && pod.notified.is_some();
        is_done && self.counts.lacking(stem).is_some()
    }

    /// What becomes of the files of a pod that is gone.
    fn keep(&mut self, stem: &Stem, capture: &Capture) -> Option<Action> {
        let keep = self.world.limits.keep_after_pod;
        let Some(retired) = capture.retired else {
            return Some(if keep.is_zero() { Action::MarkForRemoval } else { Action::Retain });
        };
        let is_empty = !capture.has_process() && capture.files == 0;
        if is_empty || self.room.evicted.contains(stem) || self.due(retired.at + keep) {
            return Some(Action::MarkForRemoval);
        }
        self.step_process(capture, None)
    }

    /// What brings the slot's process and files nearer to what is wanted of them.
    fn step_process(&mut self, capture: &Capture, pod: Option<&PodRequest>) -> Option<Action> {
        let world = self.world;
        let startable_at = capture.started_at.map_or(world.now, |started| started + START_INTERVAL);
        match (capture.phase, self.wanted(capture, pod)) {
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Invocation(run))
                if admission::on_disk(world, capture, run.spec.files).is_err() =>
            {
                None
            }
            (Phase::Idle, Wanted::Invocation(run)) => self.due(startable_at).then_some(Action::Start(run)),
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(StopReason::Ended(by))) => {
                (capture.ended.is_none() && world.desired.has_listed()).then_some(Action::End(by))
            }
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(StopReason::Gone)) => {
                world.desired.has_listed().then_some(Action::Remove)
            }
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(_)) => None,
            (Phase::Running, Wanted::Invocation(run)) => match &capture.last {
                Some(last) if *last == run => None,
                Some(last) if last.ips == run.ips => {
                    self.due(startable_at).then_some(Action::Term(StopReason::Changed))
                }
                Some(_) | None => Some(Action::Term(StopReason::Moved)),
            },
            (Phase::Running, Wanted::Halt(why)) => Some(Action::Term(why)),
            (Phase::Terminating { kill_at: at, .. } | Phase::Killing { again_at: at, .. }, _) => {
                self.due(at).then_some(Action::Kill)
            }
            (Phase::Backoff { until }, Wanted::Invocation(run)) => {
                let at = if capture.last.as_ref() == Some(&run) { until } else { startable_at };
                self.due(at).then_some(Action::Start(run))
            }
            (Phase::Removing { retry_at, .. }, _) => self.due(retry_at).then_some(Action::Remove),
        }
    }

    fn wanted(&mut self, capture: &Capture, pod: Option<&PodRequest>) -> Wanted {
        if capture.doomed {
            return Wanted::Halt(StopReason::Gone);
        }
        if self.world.stopping {
            return Wanted::Halt(StopReason::Shutdown);
        }
        if capture.retired.is_some() {
            return Wanted::Halt(StopReason::Retired);
        }
        if pod.is_some_and(|pod| pod.target == Target::Finished) {
            return Wanted::Halt(StopReason::Finished);
        }
        if let Some(by) = self.ended(capture) {
            return Wanted::Halt(StopReason::Ended(by));
        }
        if pod.is_some_and(|pod| pod.target == Target::NoAddress) {
            return Wanted::Halt(StopReason::NoAddress);
        }
        let (Some(pod), Some(admitted)) = (pod, &capture.admitted) else {
            return Wanted::Halt(StopReason::NothingAdmitted);
        };
        match &pod.target {
            Target::Finished => Wanted::Halt(StopReason::Finished),
            Target::NoAddress => Wanted::Halt(StopReason::NoAddress),
            Target::Forbidden(_) => Wanted::Halt(StopReason::Forbidden),
            Target::At(_) if self.is_stale() => Wanted::Halt(StopReason::Stale),
            Target::At(_) if admitted.request.paused => Wanted::Halt(StopReason::Paused),
            Target::At(_) if capture.reservation != Reservation::Held => Wanted::Halt(StopReason::NothingAdmitted),
            Target::At(_) if self.world.disk.low => Wanted::Halt(StopReason::LowDisk),
            Target::At(ips) => Wanted::Invocation(Invocation { spec: admitted.request.spec.clone(), ips: ips.clone() }),
        }
    }

    fn ended(&mut self, capture: &Capture) -> Option<End> {
        let by_duration = |planner: &mut Self| capture.ends_at().is_some_and(|at| planner.due(at + END_GRACE));
        capture
            .ended
            .or_else(|| capture.has_its_packets().then_some(End::Packets))
            .or_else(|| by_duration(self).then_some(End::Duration))
    }

    fn outlook(&mut self, stem: &Stem, capture: &Capture) -> Outlook {
        let pod = self.world.desired.request_of(stem).filter(|pod| Some(&pod.uid) == capture.owner.as_ref());
        let halt = match self.wanted(capture, pod) {
            Wanted::Invocation(_) => None,
            Wanted::Halt(why) => Some(why),
        };
        let condition = pod.and_then(|pod| self.condition(stem, pod, capture));
        // The numbers of what is lacking change all the time.
        Outlook {
            halt,
            condition: if is_notified(condition.as_ref(), capture) { capture.notified.clone() } else { condition },
        }
    }

    fn tell(&mut self, stem: &Stem, capture: &Capture, pod: &PodRequest) -> Option<Action> {
        let condition = self.condition(stem, pod, capture);
        if is_notified(condition.as_ref(), capture)
            || self.world.stopping
            || capture.notify_after.is_some_and(|until| !self.due(until))
        {
            return None;
        }
        Some(Action::Notify(condition))
    }

    fn condition(&mut self, stem: &Stem, pod: &PodRequest, capture: &Capture) -> Option<Condition> {
        match (&pod.parsed, &pod.target) {
            (Parsed::Invalid(refusal), _) | (_, Target::Forbidden(refusal)) => {
                return Some(Condition::Refused(refusal.clone()));
            }
            (_, Target::Finished) => return (!capture.has_captured()).then_some(Condition::Missed),
            (_, Target::NoAddress | Target::At(_)) => (),
        }
        if let Some(Err(shortage)) = self.room.verdicts.get(stem) {
            // What may be done in a moment is not refused now.
            return if self.room.space_is_being_freed {
                capture.notified.clone()
            } else {
                Some(Condition::Shortage(shortage.clone()))
            };
        }
        if pod.target == Target::NoAddress {
            let since = pod.no_address_since.unwrap_or(self.world.now);
            return self.due(since + WAITING_AFTER).then_some(Condition::Waiting);
        }
        let is_paused = capture.admitted.as_ref().is_some_and(|admitted| admitted.request.paused);
        if is_paused && !capture.has_captured() && capture.ended.is_none() {
            return Some(Condition::Paused(stem.pod()));
        }
        let files = match self.wanted(capture, Some(pod)) {
            Wanted::Invocation(run) if !capture.has_process() => run.spec.files,
            Wanted::Halt(StopReason::LowDisk) if !capture.has_process() => {
                capture.admitted.as_ref()?.request.spec.files
            }
            Wanted::Invocation(_) | Wanted::Halt(_) => return None,
        };
        admission::on_disk(self.world, capture, files).err().map(Condition::Shortage)
    }

    fn is_stale(&mut self) -> bool {
        let stale_max = self.world.limits.stale_max;
        self.world.desired.lost_since().is_some_and(|since| self.due(since + stale_max))
    }

    /// Whether `at` has come; if not, the caller is to look again then.
    fn due(&mut self, at: Instant) -> bool {
        let due = self.world.now >= at;
        if !due {
            self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        due
    }
}

fn is_notified(condition: Option<&Condition>, capture: &Capture) -> bool {
    match (condition, &capture.notified) {
        (Some(Condition::Shortage(new)), Some(Condition::Shortage(notified))) => new.is_same_kind(notified),
        (condition, notified) => condition == notified.as_ref(),
    }
}
