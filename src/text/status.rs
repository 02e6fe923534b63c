//! How a capture is getting on, in a word and a sentence: what `status` shows, for those who do not see the Events.

use crate::core::{
    captures::{Capture, Condition, Phase, StopReason},
    condition::State,
    disk::Disk,
    plan::Outlook,
    refusal::Shortage,
};
use crate::text::notice;

/// How captures are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A table.
    #[default]
    Table,
    /// A table with more columns.
    Wide,
    /// One line of JSON for each.
    Json,
}

/// How a capture is getting on, and what there is to say about that.
#[must_use]
pub fn situation(capture: &Capture, outlook: &Outlook) -> (State, Option<String>) {
    let running = capture.last.as_ref().filter(|_| capture.phase == Phase::Running).map(|run| run.spec.files);
    let notified = outlook.condition.as_ref().map(|condition| notice::condition(condition, running, capture.files).1);
    if capture.doomed {
        return (State::Removing, None);
    }
    match capture.phase {
        Phase::Running => (State::Capturing, notified),
        Phase::Terminating { .. } | Phase::Killing { .. } => {
            (State::Stopped, Some("tcpdump was asked to end".to_owned()))
        }
        Phase::Removing { .. } => (State::Removing, None),
        Phase::Idle | Phase::Backoff { .. } => match (outlook.halt, &outlook.condition) {
            (_, Some(Condition::Missed)) => (State::Missed, notified),
            (Some(why @ (StopReason::Finished | StopReason::Ended(_) | StopReason::Retired)), _) => {
                (State::Finished, halted(why, capture).or(notified))
            }
            (_, Some(condition)) => (refused(condition), notified),
            (Some(why), None) => (resting(why), halted(why, capture)),
            (None, None) if capture.phase == Phase::Idle => (State::Waiting, None),
            (None, None) => (State::Failed, capture.failure.clone()),
        },
    }
}

fn halted(why: StopReason, capture: &Capture) -> Option<String> {
    match why {
        StopReason::NothingAdmitted => None,
        // The numbers of the disk change all the time.
        StopReason::LowDisk => Some(without_numbers(why)),
        _ if !capture.has_captured() => Some(without_numbers(why)),
        _ => Some(notice::stopped(why, capture, Disk::default()).1),
    }
}

fn without_numbers(why: StopReason) -> String {
    let (because, next) = notice::halted(why);
    format!("{because}; {next}")
}

fn refused(condition: &Condition) -> State {
    match condition {
        Condition::Shortage(Shortage::Disk { .. }) => State::LowDisk,
        Condition::Refused(_)
        | Condition::Shortage(
            Shortage::Captures { .. }
            | Shortage::Budget { .. }
            | Shortage::NamespaceCaptures { .. }
            | Shortage::NamespaceBudget { .. }
            | Shortage::Pods { .. },
        ) => State::Refused,
        Condition::Paused(_) => State::Paused,
        Condition::Waiting => State::Waiting,
        Condition::Missed => State::Missed,
    }
}

fn resting(why: StopReason) -> State {
    match why {
        StopReason::Paused => State::Paused,
        StopReason::Finished | StopReason::Ended(_) | StopReason::Retired => State::Finished,
        StopReason::LowDisk => State::LowDisk,
        StopReason::Gone => State::Removing,
        StopReason::NoAddress | StopReason::NothingAdmitted => State::Waiting,
        StopReason::Changed | StopReason::Moved | StopReason::Forbidden | StopReason::Stale | StopReason::Shutdown => {
            State::Stopped
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::core::{
        captures::{End, Moment},
        refusal::Refusal,
    };

    const REFUSED: Option<Condition> = Some(Condition::Refused(Refusal::HostNetwork));

    #[test]
    fn a_capture_that_runs_is_capturing_whatever_else_is_refused() {
        let outlook = Outlook { halt: None, condition: REFUSED };
        let capture = Capture { phase: Phase::Running, ..Capture::default() };
        let (state, reason) = situation(&capture, &outlook);
        assert!(state == State::Capturing && reason.unwrap().starts_with("the pod uses the node's network"));
        let (state, reason) = situation(&Capture { phase: Phase::Idle, files: 2, ..capture }, &outlook);
        assert!(state == State::Refused && reason.unwrap().ends_with("nothing is captured; kept: 2 files"));
        assert_eq!(situation(&Capture::default(), &Outlook::default()), (State::Waiting, None));
        assert_eq!(situation(&Capture { doomed: true, ..Capture::default() }, &outlook), (State::Removing, None));
    }

    #[test]
    fn one_that_does_not_run_says_why_none_is_wanted_whatever_it_did_before() {
        let began = Some(Moment { at: Instant::now(), unix_s: 0 });
        let backoff = Phase::Backoff { until: Instant::now() };
        for phase in [Phase::Idle, backoff] {
            let capture = Capture { phase, began, failure: Some("tcpdump exited 1".to_owned()), ..Capture::default() };
            for (why, condition, state, text) in [
                (StopReason::Paused, None, State::Paused, "it is paused; "),
                (StopReason::Finished, None, State::Finished, "the pod has finished; "),
                (StopReason::Ended(End::Packets), REFUSED, State::Finished, "it has all the copies of packets"),
                (StopReason::Retired, REFUSED, State::Finished, "the pod is gone; "),
                (StopReason::Finished, REFUSED, State::Finished, "the pod has finished; "),
                (StopReason::Paused, REFUSED, State::Refused, "the pod uses the node's network"),
                (StopReason::Finished, Some(Condition::Missed), State::Missed, "the pod finished before"),
                (StopReason::LowDisk, None, State::LowDisk, "the node's disk ran low"),
                (StopReason::Stale, None, State::Stopped, "no word from the API server"),
            ] {
                let (found, reason) = situation(&capture, &Outlook { halt: Some(why), condition });
                assert!(
                    found == state && reason.as_ref().is_some_and(|reason| reason.starts_with(text)),
                    "{why:?}: {found:?} {reason:?}"
                );
            }
        }
        let capture = Capture { phase: backoff, failure: Some("tcpdump exited 1".to_owned()), ..Capture::default() };
        assert_eq!(situation(&capture, &Outlook::default()), (State::Failed, capture.failure.clone()));
    }
}
