//! What a pod's owner is told, as values: which change is worth an Event, and the facts that the Event states. Pure. The wording is
//! in [`text::notice`](crate::text::notice).

use std::time::Duration;

use crate::core::{
    annotations::ValidRequest,
    condition::{Condition, StopReason},
    disk::Disk,
    name::{PodUid, Stem},
    recorder::SeenIncident,
    request::{Counts, Exit, Invocation},
};

/// Something that the owner of a pod is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The stem of the capture, which names the pod.
    pub stem: Stem,
    /// The UID of the pod whose owner is told; `None` if the pod is not known: then only the log has it.
    pub uid: Option<PodUid>,
    /// What has changed.
    pub change: Change,
    /// What the owner knows of the capture's condition once the Event is out.
    pub conveys: Conveys,
}

/// Which condition the owner of the pod knows after the Event. Only an Event that conveys one is published again if it was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conveys {
    /// Nothing.
    Nothing,
    /// That this condition holds; `None`: that no condition holds any longer.
    Condition(Option<Condition>),
}

/// A change that is worth an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// tcpdump runs.
    Started {
        /// What it was started with.
        invocation: Invocation,
        /// The request that is carried out.
        admitted: Option<ValidRequest>,
        /// How many packets the capture still has to capture, if the request limits them.
        packets_left: Option<u32>,
        /// How many files of before are kept.
        kept: usize,
        /// The owner was told that the capture waits for the pod's address.
        waited_for_address: bool,
    },
    /// tcpdump ended as it was asked to, or the capture reached its own limit; the files stay.
    Stopped {
        /// Why.
        reason: StopReason,
        /// What was captured.
        summary: Summary,
        /// The free space, as last looked at.
        disk: Disk,
    },
    /// The files are removed, and the capture with them.
    Removed(Summary),
    /// Files of which no pod is known were removed.
    RemovedUnowned {
        /// How many.
        files: usize,
    },
    /// tcpdump ended without being asked to by the controller, or could not be started.
    Failed {
        /// How, and when it is started again.
        failure: Failure,
        /// How many files there are.
        kept: usize,
    },
    /// A condition begins to hold.
    Condition {
        /// The condition.
        condition: Condition,
        /// How many files the ring of the running tcpdump has, if one runs.
        running: Option<u16>,
        /// How many files there are, if none runs.
        kept: usize,
    },
    /// What the pod asks is no longer refused.
    AcceptedAgain {
        /// How many files the ring of the running tcpdump has, if one runs.
        running: Option<u16>,
        /// The capture reached its own limit before.
        has_finished: bool,
    },
    /// tcpdump does not end.
    Stuck {
        /// How long ago TERM was sent.
        since_term: Duration,
    },
    /// The tcpdump of an earlier pod of the same name does not end.
    DelayedByPredecessor,
    /// The files cannot be removed.
    NotRemoved {
        /// What the file system said.
        error: String,
        /// How often in a row.
        failures: u32,
    },
}

/// What a capture has captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What the tcpdumps counted together.
    pub counts: Counts,
    /// How many tcpdumps ended without a count.
    pub uncounted: u32,
    /// How many files there are, or were.
    pub files: usize,
    /// Whether a tcpdump was ever started.
    pub has_started: bool,
    /// How long the capture is to last, if the request limits that.
    pub duration: Option<Duration>,
    /// The incident that the capture was to stop on, if there was one.
    pub incident: Option<SeenIncident>,
}

/// A tcpdump that ended without being asked to by the controller, or could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened.
    pub cause: FailureCause,
    /// How often in a row, this time included.
    pub failures: u32,
    /// The wait until the next start.
    pub retry_in: Duration,
}

/// How a tcpdump failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// It could not be started: an error text.
    NotStarted(String),
    /// It ended without being asked to.
    Exited {
        /// How.
        exit: Exit,
        /// How long it ran.
        ran: Duration,
    },
}
