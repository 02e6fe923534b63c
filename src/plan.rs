//! The planner: compares what is desired with what is actual, and names what is to be done about it. Pure: no I/O, no clock, no log.
//!
//! Each pass names at most one action per stem. The caller carries them out, records in the slots what came of it, and plans
//! again until nothing is left to do. So missed events, failed removals, crashes and relists are one code path.

use std::time::{Duration, Instant};

use crate::{
    capture::{Asked, Limits, Place, Stem, Uid},
    desired::{Desired, Wish},
    slots::{Phase, Run, START_INTERVAL, Slot, Slots, Standing, Why},
};

/// How long a pod may be without an address before its owner is told that the capture waits for one.
pub const WAITING_AFTER: Duration = Duration::from_secs(10);

/// All that a decision depends on.
#[derive(Debug)]
pub struct World<'a> {
    /// The time.
    pub now: Instant,
    /// What the operator allows.
    pub limits: &'a Limits,
    /// What the pods ask.
    pub desired: &'a Desired,
    /// What there is.
    pub slots: &'a Slots,
    /// Whether this process is asked to end.
    pub stopping: bool,
}

/// Something to be done for one stem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Give the slot, a new one or one left over, to this pod.
    Open(Uid),
    /// Mark its files as to be removed.
    Doom,
    /// Tell the pod's owner how things stand, if there is something to tell.
    Tell(Option<Standing>),
    /// Start tcpdump.
    Start(Run),
    /// Ask it to end.
    Term(Why),
    /// End it.
    Kill,
    /// Remove the files, and the slot with them.
    Remove,
}

/// What is to be done now, and when to look again at the latest.
#[derive(Debug)]
pub struct Plan {
    /// At most one action per stem.
    pub actions: Vec<(Stem, Action)>,
    /// The next moment at which time alone makes something due.
    pub wake_at: Option<Instant>,
}

/// What is wanted of a slot's process.
enum Wanted {
    Run(Run),
    Halt(Why),
}

/// What is to be done in this world.
#[must_use]
pub fn plan(world: &World) -> Plan {
    let mut planner = Planner { world, wake_at: None };
    let mut actions = Vec::new();
    if world.desired.is_complete() && !world.stopping {
        let unopened = world.desired.wishes().filter(|(stem, _)| world.slots.get(stem).is_none());
        actions.extend(unopened.map(|(stem, wish)| (stem.clone(), Action::Open(wish.uid.clone()))));
    }
    for (stem, slot) in world.slots.iter() {
        actions.extend(planner.action(stem, slot).map(|action| (stem.clone(), action)));
    }
    Plan { actions, wake_at: planner.wake_at }
}

struct Planner<'a> {
    world: &'a World<'a>,
    wake_at: Option<Instant>,
}

impl Planner<'_> {
    fn action(&mut self, stem: &Stem, slot: &Slot) -> Option<Action> {
        let wish = self.world.desired.wish_for(stem);
        if !self.world.desired.is_complete() || slot.doomed {
            return self.move_on(slot, wish);
        }
        match (wish, &slot.owner) {
            (Some(wish), None) => Some(Action::Open(wish.uid.clone())),
            (Some(wish), Some(owner)) if wish.uid == *owner => {
                // Told last, so that what is said of the capture is what has become of it.
                self.move_on(slot, Some(wish)).or_else(|| self.tell(slot, wish))
            }
            (Some(_) | None, _) => Some(Action::Doom),
        }
    }

    /// What brings the slot's process and files nearer to what is wanted of them.
    fn move_on(&mut self, slot: &Slot, wish: Option<&Wish>) -> Option<Action> {
        let world = self.world;
        let startable_at = slot.started_at.map_or(world.now, |started| started + START_INTERVAL);
        match (slot.phase, self.wanted(slot, wish)) {
            (Phase::Idle, Wanted::Run(run)) => self.due(startable_at).then_some(Action::Start(run)),
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(Why::Gone)) => {
                world.desired.is_complete().then_some(Action::Remove)
            }
            (Phase::Idle | Phase::Backoff { .. }, Wanted::Halt(_)) => None,
            (Phase::Running, Wanted::Run(run)) => match &slot.last {
                Some(last) if *last == run => None,
                Some(last) if last.ips == run.ips => self.due(startable_at).then_some(Action::Term(Why::Changed)),
                Some(_) | None => Some(Action::Term(Why::Moved)),
            },
            (Phase::Running, Wanted::Halt(why)) => Some(Action::Term(why)),
            (Phase::Terminating { kill_at: at, .. } | Phase::Killing { again_at: at, .. }, _) => {
                self.due(at).then_some(Action::Kill)
            }
            (Phase::Backoff { until }, Wanted::Run(run)) => {
                let at = if slot.last.as_ref() == Some(&run) { until } else { startable_at };
                self.due(at).then_some(Action::Start(run))
            }
            (Phase::Removing { retry_at, .. }, _) => self.due(retry_at).then_some(Action::Remove),
        }
    }

    fn wanted(&mut self, slot: &Slot, wish: Option<&Wish>) -> Wanted {
        if slot.doomed {
            return Wanted::Halt(Why::Gone);
        }
        if self.world.stopping {
            return Wanted::Halt(Why::Shutdown);
        }
        let Some(wish) = wish else { return Wanted::Halt(Why::NothingReadable) };
        match (&wish.place, &wish.accepted) {
            (Place::Finished, _) => Wanted::Halt(Why::Finished),
            (Place::NoAddress, _) => Wanted::Halt(Why::NoAddress),
            (Place::Forbidden(_), _) => Wanted::Halt(Why::Forbidden),
            (Place::At(_), None) => Wanted::Halt(Why::NothingReadable),
            (Place::At(_), Some(_)) if self.is_stale() => Wanted::Halt(Why::Stale),
            (Place::At(ips), Some(accepted)) => {
                Wanted::Run(Run { request: accepted.request.clone(), ips: ips.clone() })
            }
        }
    }

    fn tell(&mut self, slot: &Slot, wish: &Wish) -> Option<Action> {
        let standing = self.standing(wish, slot);
        (standing != slot.told && !self.world.stopping).then_some(Action::Tell(standing))
    }

    fn standing(&mut self, wish: &Wish, slot: &Slot) -> Option<Standing> {
        match (&wish.asked, &wish.place) {
            (Asked::Unreadable(refusal), _) | (_, Place::Forbidden(refusal)) => {
                Some(Standing::Refused(refusal.clone()))
            }
            (_, Place::Finished) => slot.began_s.is_none().then_some(Standing::Missed),
            (_, Place::NoAddress) => {
                let since = wish.homeless_since.unwrap_or(self.world.now);
                self.due(since + WAITING_AFTER).then_some(Standing::Waiting)
            }
            (_, Place::At(_)) => None,
        }
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
