//! The planner: compares what is desired with what is actual, and names what is to be done about it. Pure: no I/O, no clock, no log.
//!
//! Each pass names at most one action per stem. The caller carries them out, records in the slots what came of it, and plans
//! again until nothing is left to do. So missed events, failed removals, crashes and relists are one code path.

mod opened;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use opened::SlotCounts;

use crate::core::{
    admission::{self, Admissions},
    annotations::Accepted,
    captures::{Claim, END_GRACE, End, Phase, START_INTERVAL, Slot, Standing, StopReason},
    desired::Wish,
    name::{PodUid, Stem},
    request::{Asked, Invocation, Place},
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
    Decline(PodUid, Standing),
    /// Take note that it cannot use its room, and leave that to others.
    Rest,
    /// Do from now on what the pod asks, as there is room for it.
    Admit(Accepted),
    /// Take note that it came to its end while there was no process.
    End(End),
    /// Take note that its pod is gone, and keep its files for a time.
    Retire,
    /// Mark its files as to be removed.
    Doom,
    /// Tell the pod's owner how things stand, if there is something to tell.
    Tell(Option<Standing>),
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
    pub standing: Option<Standing>,
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
    let known = world.desired.is_complete();
    let room = if known { admission::admissions(world) } else { Admissions::default() };
    let mut planner = Planner { world, room, counts: SlotCounts::of(world), wake_at: None };
    let mut actions = Vec::new();
    if known && !world.stopping {
        actions.extend(opened::opened(world));
    }
    let mut outlooks = BTreeMap::new();
    for (stem, slot) in world.slots.iter() {
        actions.extend(planner.action(stem, slot).map(|action| (stem.clone(), action)));
        outlooks.insert(stem.clone(), planner.outlook(stem, slot));
    }
    Plan { actions, wake_at: planner.wake_at, outlooks }
}

struct Planner<'a> {
    world: &'a World<'a>,
    room: Admissions<'a>,
    counts: SlotCounts<'a>,
    wake_at: Option<Instant>,
}

impl Planner<'_> {
    fn action(&mut self, stem: &Stem, slot: &Slot) -> Option<Action> {
        let wish = self.world.desired.wish_for(stem);
        if !self.world.desired.is_complete() || slot.doomed {
            return self.move_on(slot, wish);
        }
        match (wish, &slot.owner) {
            (Some(_), None) => None,
            (Some(wish), Some(owner)) if wish.uid == *owner && slot.retired.is_none() => {
                if !self.world.stopping {
                    if let Some(Ok(accepted)) = self.room.verdicts.get(stem) {
                        return Some(Action::Admit((*accepted).clone()));
                    }
                    if admission::rejoins(self.world, stem, slot) {
                        return None; // Opened in this pass.
                    }
                    if admission::is_idle(self.world, stem, slot) {
                        return Some(Action::Rest);
                    }
                    if self.makes_way(stem, slot, wish) {
                        return Some(Action::Doom);
                    }
                }
                // Told last, so that what is said of the capture is what has become of it.
                self.move_on(slot, Some(wish)).or_else(|| self.tell(stem, slot, wish))
            }
            (None, Some(owner)) if slot.has_captured() && !self.world.desired.is_unannotated(owner) => {
                self.keep(stem, slot)
            }
            (Some(_) | None, _) => Some(Action::Doom),
        }
    }

    /// Whether a slot is kept only so that `status` shows it, and the place is needed: its pod finished and was not captured.
    fn makes_way(&self, stem: &Stem, slot: &Slot, wish: &Wish) -> bool {
        let is_done = wish.place == Place::Finished && !slot.has_captured() && wish.told.is_some();
        is_done && self.counts.lacking(stem).is_some()
    }

    /// What becomes of the files of a pod that is gone.
    fn keep(&mut self, stem: &Stem, slot: &Slot) -> Option<Action> {
        let keep = self.world.limits.keep_after_pod;
        let Some(retired) = slot.retired else {
            return Some(if keep.is_zero() { Action::Doom } else { Action::Retire });
        };
        let is_empty = !slot.has_process() && slot.files == 0;
        if is_empty || self.room.first_to_go.contains(stem) || self.due(retired.at + keep) {
            return Some(Action::Doom);
        }
        self.move_on(slot, None)
    }

    /// What brings the slot's process and files nearer to what is wanted of them.
    fn move_on(&mut self, slot: &Slot, wish: Option<&Wish>) -> Option<Action> {
        let world = self.world;
        let startable_at = slot.started_at.map_or(world.now, |started| started + START_INTERVAL);
        match (slot.phase, self.wanted(slot, wish)) {
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Invocation(run))
                if admission::on_disk(world, slot, run.capture.files).is_err() =>
            {
                None
            }
            (Phase::Idle, Wanted::Invocation(run)) => self.due(startable_at).then_some(Action::Start(run)),
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(StopReason::Ended(by))) => {
                (slot.ended.is_none() && world.desired.is_complete()).then_some(Action::End(by))
            }
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(StopReason::Gone)) => {
                world.desired.is_complete().then_some(Action::Remove)
            }
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(_)) => None,
            (Phase::Running, Wanted::Invocation(run)) => match &slot.last {
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
                let at = if slot.last.as_ref() == Some(&run) { until } else { startable_at };
                self.due(at).then_some(Action::Start(run))
            }
            (Phase::Removing { retry_at, .. }, _) => self.due(retry_at).then_some(Action::Remove),
        }
    }

    fn wanted(&mut self, slot: &Slot, wish: Option<&Wish>) -> Wanted {
        if slot.doomed {
            return Wanted::Halt(StopReason::Gone);
        }
        if self.world.stopping {
            return Wanted::Halt(StopReason::Shutdown);
        }
        if slot.retired.is_some() {
            return Wanted::Halt(StopReason::Retired);
        }
        if wish.is_some_and(|wish| wish.place == Place::Finished) {
            return Wanted::Halt(StopReason::Finished);
        }
        if let Some(by) = self.ended(slot) {
            return Wanted::Halt(StopReason::Ended(by));
        }
        if wish.is_some_and(|wish| wish.place == Place::NoAddress) {
            return Wanted::Halt(StopReason::NoAddress);
        }
        let (Some(wish), Some(admitted)) = (wish, &slot.admitted) else {
            return Wanted::Halt(StopReason::NothingAdmitted);
        };
        match &wish.place {
            Place::Finished => Wanted::Halt(StopReason::Finished),
            Place::NoAddress => Wanted::Halt(StopReason::NoAddress),
            Place::Forbidden(_) => Wanted::Halt(StopReason::Forbidden),
            Place::At(_) if self.is_stale() => Wanted::Halt(StopReason::Stale),
            Place::At(_) if admitted.request.paused => Wanted::Halt(StopReason::Paused),
            Place::At(_) if slot.claim != Claim::Holds => Wanted::Halt(StopReason::NothingAdmitted),
            Place::At(_) if self.world.disk.low => Wanted::Halt(StopReason::LowDisk),
            Place::At(ips) => {
                Wanted::Invocation(Invocation { capture: admitted.request.capture.clone(), ips: ips.clone() })
            }
        }
    }

    fn ended(&mut self, slot: &Slot) -> Option<End> {
        let by_duration = |planner: &mut Self| slot.ends_at().is_some_and(|at| planner.due(at + END_GRACE));
        slot.ended
            .or_else(|| slot.has_its_packets().then_some(End::Packets))
            .or_else(|| by_duration(self).then_some(End::Duration))
    }

    fn outlook(&mut self, stem: &Stem, slot: &Slot) -> Outlook {
        let wish = self.world.desired.wish_for(stem).filter(|wish| Some(&wish.uid) == slot.owner.as_ref());
        let halt = match self.wanted(slot, wish) {
            Wanted::Invocation(_) => None,
            Wanted::Halt(why) => Some(why),
        };
        let standing = wish.and_then(|wish| self.standing(stem, wish, slot));
        // The numbers of what is lacking change all the time.
        Outlook { halt, standing: if is_told(standing.as_ref(), slot) { slot.told.clone() } else { standing } }
    }

    fn tell(&mut self, stem: &Stem, slot: &Slot, wish: &Wish) -> Option<Action> {
        let standing = self.standing(stem, wish, slot);
        if is_told(standing.as_ref(), slot)
            || self.world.stopping
            || slot.quiet_until.is_some_and(|until| !self.due(until))
        {
            return None;
        }
        Some(Action::Tell(standing))
    }

    fn standing(&mut self, stem: &Stem, wish: &Wish, slot: &Slot) -> Option<Standing> {
        match (&wish.asked, &wish.place) {
            (Asked::Unreadable(refusal), _) | (_, Place::Forbidden(refusal)) => {
                return Some(Standing::Refused(refusal.clone()));
            }
            (_, Place::Finished) => return (!slot.has_captured()).then_some(Standing::Missed),
            (_, Place::NoAddress | Place::At(_)) => (),
        }
        if let Some(Err(no_room)) = self.room.verdicts.get(stem) {
            // What may be done in a moment is not refused now.
            return if self.room.is_coming { slot.told.clone() } else { Some(Standing::Shortage(no_room.clone())) };
        }
        if wish.place == Place::NoAddress {
            let since = wish.no_address_since.unwrap_or(self.world.now);
            return self.due(since + WAITING_AFTER).then_some(Standing::Waiting);
        }
        let is_paused = slot.admitted.as_ref().is_some_and(|admitted| admitted.request.paused);
        if is_paused && !slot.has_captured() && slot.ended.is_none() {
            return Some(Standing::Paused(stem.pod()));
        }
        let files = match self.wanted(slot, Some(wish)) {
            Wanted::Invocation(run) if !slot.has_process() => run.capture.files,
            Wanted::Halt(StopReason::LowDisk) if !slot.has_process() => slot.admitted.as_ref()?.request.capture.files,
            Wanted::Invocation(_) | Wanted::Halt(_) => return None,
        };
        admission::on_disk(self.world, slot, files).err().map(Standing::Shortage)
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

fn is_told(standing: Option<&Standing>, slot: &Slot) -> bool {
    match (standing, &slot.told) {
        (Some(Standing::Shortage(new)), Some(Standing::Shortage(told))) => new.is_as(told),
        (standing, told) => standing == told.as_ref(),
    }
}
