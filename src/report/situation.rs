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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::refusal::Refusal;

    #[test]
    fn a_capture_that_runs_is_capturing_whatever_else_is_refused() {
        let told = Some(Standing::Refused(Refusal::HostNetwork));
        let slot = Slot { phase: Phase::Running, told: told.clone(), ..Slot::default() };
        let (state, reason) = situation(&slot);
        assert!(state == State::Capturing && reason.unwrap().starts_with("the pod uses the node's network"));
        let (state, reason) = situation(&Slot { phase: Phase::Idle, files: 2, ..slot });
        assert!(state == State::Refused && reason.unwrap().ends_with("nothing is captured; kept: 2 files"));
        assert_eq!(situation(&Slot::default()), (State::Waiting, None));
        assert_eq!(situation(&Slot { doomed: true, told, ..Slot::default() }), (State::Removing, None));
    }

    #[test]
    fn one_that_does_not_run_says_what_was_said_of_its_end() {
        let said = Some("it is paused".to_owned());
        let slot = |phase, stopped| Slot { phase, stopped, said: said.clone(), ..Slot::default() };
        for (why, state) in [
            (Why::Paused, State::Paused),
            (Why::Finished, State::Finished),
            (Why::LowDisk, State::LowDisk),
            (Why::Stale, State::Stopped),
        ] {
            assert_eq!(situation(&slot(Phase::Idle, Some(why))), (state, said.clone()));
        }
        let backoff = Phase::Backoff { until: Instant::now() };
        assert_eq!(situation(&slot(backoff, None)), (State::Failed, said.clone()));
    }
}
