//! How a capture is getting on, in a word and a sentence: what `status` shows, for those who do not see the Events.

use serde::{Deserialize, Serialize};

use super::standing;
use crate::{
    refusal::NoRoom,
    slots::{Phase, Slot, Standing, Why},
};

/// How a capture is getting on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// tcpdump runs.
    Capturing,
    /// It begins as soon as the pod has an address, or in a moment.
    #[default]
    Waiting,
    /// It was asked to pause.
    Paused,
    /// It came to its end, or the pod did.
    Finished,
    /// It does not run for the time being.
    Stopped,
    /// tcpdump ended by itself, or could not be started; it is tried again.
    Failed,
    /// What was asked is not done.
    Refused,
    /// The pod finished before it could begin.
    Missed,
    /// There is too little free space on the disk.
    LowDisk,
    /// The files are about to go.
    Removing,
}

impl State {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Capturing => "capturing",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Missed => "missed",
            Self::LowDisk => "lowdisk",
            Self::Removing => "removing",
        }
    }
}

/// How a capture is getting on, and what there is to say about that.
#[must_use]
pub fn situation(slot: &Slot) -> (State, Option<String>) {
    let running = slot.last.as_ref().filter(|_| slot.phase == Phase::Running).map(|run| run.capture.files);
    let told = slot.told.as_ref().map(|told| standing(told, running, slot.files).1);
    if slot.doomed {
        return (State::Removing, None);
    }
    match (slot.phase, &slot.told) {
        (Phase::Running, _) => (State::Capturing, told),
        (Phase::Terminating { .. } | Phase::Killing { .. }, _) => {
            (State::Stopped, Some("tcpdump was asked to end".to_owned()))
        }
        (Phase::Removing { .. }, _) => (State::Removing, None),
        (Phase::Idle | Phase::Backoff { .. }, Some(standing)) => (refused(standing), told),
        (Phase::Backoff { .. }, None) => (State::Failed, slot.said.clone()),
        (Phase::Idle, None) => (slot.stopped.map_or(State::Waiting, stopped), slot.said.clone()),
    }
}

fn refused(standing: &Standing) -> State {
    match standing {
        Standing::NoRoom(NoRoom::Disk { .. }) => State::LowDisk,
        Standing::Refused(_) | Standing::NoRoom(NoRoom::Captures { .. } | NoRoom::Budget { .. }) => State::Refused,
        Standing::Waiting => State::Waiting,
        Standing::Missed => State::Missed,
    }
}

fn stopped(why: Why) -> State {
    match why {
        Why::Paused => State::Paused,
        Why::Finished | Why::Ended(_) | Why::Retired => State::Finished,
        Why::LowDisk => State::LowDisk,
        Why::Gone => State::Removing,
        Why::NoAddress => State::Waiting,
        Why::Changed | Why::Moved | Why::Forbidden | Why::NothingAdmitted | Why::Stale | Why::Shutdown => {
            State::Stopped
        }
    }
}
