//! A capture's state, as one word, and the reason for it, as one sentence: what `status` shows to those who do not see the Events.
//! Pure.

use crate::{
    core::{
        captures::{Capture, Process},
        condition::{Condition, State, StopReason},
        disk::Disk,
        plan::{Assessment, Wanted},
        refusal::Shortage,
    },
    text::notice,
};

/// In which form `status` shows captures.
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

/// A capture's state and the reason for it, if there is one.
#[must_use]
pub fn status_of(capture: &Capture, assessment: Option<&Assessment>) -> (State, Option<String>) {
    if capture.is_removing() {
        return (State::Removing, None);
    }
    let Some(Assessment { wanted, condition }) = assessment else { return (State::Waiting, None) };
    let of_condition =
        condition.as_ref().map(|condition| notice::of_condition(condition, capture.running_files(), capture.files).1);
    let failure = match &capture.process {
        Process::Running { .. } => return (State::Capturing, of_condition),
        Process::Terminating { .. } | Process::Killing { .. } => {
            return (State::Stopped, Some("tcpdump is stopping".to_owned()));
        }
        Process::None => None,
        Process::Backoff { failure, .. } => Some(failure),
    };
    match (wanted, condition) {
        (_, Some(Condition::Missed)) => (State::Missed, of_condition),
        (Wanted::Stop(reason @ (StopReason::PodFinished | StopReason::Ended(_) | StopReason::Retained)), _) => {
            (State::Finished, halted(*reason, capture).or(of_condition))
        }
        (_, Some(condition)) => (state_of(condition), of_condition),
        (Wanted::Stop(reason), None) => (stopped_state(*reason), halted(*reason, capture)),
        (Wanted::Run(_), None) => match failure {
            None => (State::Waiting, None),
            Some(failure) => (State::Failed, Some(notice::failed(failure, capture.files))),
        },
    }
}

fn halted(reason: StopReason, capture: &Capture) -> Option<String> {
    match reason {
        StopReason::NothingAdmitted => None,
        // The numbers of the disk change all the time.
        StopReason::LowDisk => Some(notice::stop_reason(reason)),
        _ if !capture.has_captured() => Some(notice::stop_reason(reason)),
        _ => Some(notice::stopped(reason, &capture.summary(), Disk::default()).1),
    }
}

fn state_of(condition: &Condition) -> State {
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

fn stopped_state(reason: StopReason) -> State {
    match reason {
        StopReason::Paused => State::Paused,
        StopReason::PodFinished | StopReason::Ended(_) | StopReason::Retained => State::Finished,
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
    use std::time::{Duration, Instant};

    use super::*;
    use crate::core::{
        captures::{Lifecycle, Moment, Start},
        condition::EndedBy,
        notices::{Failure, FailureCause},
        refusal::Refusal,
        request::{CaptureSpec, Invocation},
    };

    const REFUSED: Option<Condition> = Some(Condition::Refused(Refusal::HostNetwork));

    fn invocation() -> Invocation {
        let spec = CaptureSpec { files: 5, filter: None, packets: None, snaplen: None };
        Invocation { spec, ips: Vec::new() }
    }

    fn assessed(wanted: Wanted, condition: Option<Condition>) -> Option<Assessment> {
        Some(Assessment { wanted, condition })
    }

    fn backoff() -> Process {
        let cause = FailureCause::NotStarted("no memory".to_owned());
        let failure = Failure { cause, failures: 1, retry_in: Duration::from_secs(1) };
        Process::Backoff { until: Instant::now(), failure }
    }

    #[test]
    fn a_running_capture_is_capturing_whatever_else_is_refused() {
        let assessment = assessed(Wanted::Run(invocation()), REFUSED);
        let start = Start { invocation: invocation(), at: Instant::now() };
        let capture =
            Capture { process: Process::Running { failures: 0 }, last_start: Some(start), ..Capture::default() };
        let (state, reason) = status_of(&capture, assessment.as_ref());
        assert!(state == State::Capturing && reason.unwrap().starts_with("the pod uses the node's network"));
        let (state, reason) = status_of(&Capture { process: Process::None, files: 2, ..capture }, assessment.as_ref());
        assert!(state == State::Refused && reason.unwrap().ends_with("nothing is captured; kept: 2 files"));
        assert_eq!(status_of(&Capture::default(), None), (State::Waiting, None));
        let lifecycle = Lifecycle::Removing { retained_since: None, failures: 0, retry_at: None };
        let removing = Capture { lifecycle, ..Capture::default() };
        assert_eq!(status_of(&removing, assessment.as_ref()), (State::Removing, None));
    }

    #[test]
    fn a_stopped_capture_says_why_no_tcpdump_is_wanted_whatever_happened_before() {
        let first_started = Some(Moment { at: Instant::now(), unix_s: 0 });
        for process in [Process::None, backoff()] {
            let capture = Capture { process, first_started, ..Capture::default() };
            for (reason, condition, state, text) in [
                (StopReason::Paused, None, State::Paused, "the capture is paused; "),
                (StopReason::PodFinished, None, State::Finished, "the pod has finished; "),
                (StopReason::Ended(EndedBy::Packets), REFUSED, State::Finished, "all requested copies of packets"),
                (StopReason::Retained, REFUSED, State::Finished, "the pod is gone; "),
                (StopReason::PodFinished, REFUSED, State::Finished, "the pod has finished; "),
                (StopReason::Paused, REFUSED, State::Refused, "the pod uses the node's network"),
                (StopReason::PodFinished, Some(Condition::Missed), State::Missed, "the pod finished before"),
                (StopReason::LowDisk, None, State::LowDisk, "the node's free disk space fell below the low watermark"),
                (StopReason::Stale, None, State::Stopped, "the API server has not answered for too long"),
            ] {
                let assessment = assessed(Wanted::Stop(reason), condition);
                let (found, shown) = status_of(&capture, assessment.as_ref());
                assert!(
                    found == state && shown.as_ref().is_some_and(|shown| shown.starts_with(text)),
                    "{reason:?}: {found:?} {shown:?}"
                );
            }
        }
        let failed = Capture { process: backoff(), ..Capture::default() };
        let (state, reason) = status_of(&failed, assessed(Wanted::Run(invocation()), None).as_ref());
        assert_eq!((state, reason.unwrap().split(';').next()), (State::Failed, Some("no memory")));
    }
}
