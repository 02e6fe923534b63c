//! How a capture stands, as data: what its pod's owner must know, why no tcpdump is wanted, what ended it, and the word that
//! `status` shows. Pure.

use serde::{Deserialize, Serialize};

use crate::core::{
    name::PodName,
    refusal::{Refusal, Shortage},
};

/// What a pod's owner must know for as long as it holds. The owner is notified when it begins to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The pod asks for something that cannot be done.
    Refused(Refusal),
    /// The pod asks for something that the node has no room for now.
    Shortage(Shortage),
    /// The capture waits for the pod's address.
    Waiting,
    /// The pod finished before it could be captured.
    Missed,
    /// The capture of this pod was paused before it started for the first time.
    Paused(PodName),
}

impl Condition {
    /// Whether the owner of a pod who was notified of `self` knows `other`, too: the numbers of a shortage change all the time.
    #[must_use]
    pub fn is_same_news(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Shortage(one), Self::Shortage(other)) => one.is_same_kind(other),
            (one, other) => one == other,
        }
    }
}

/// What ended a capture for good: a limit of its own, or an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// It lasted as long as the request says.
    Duration,
    /// It has as many packets as the request says.
    Packets,
    /// There was an incident that it was to stop on.
    StopOn,
}

/// Why a capture has no tcpdump, or why its tcpdump is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The annotation or the pod is gone: the files are removed next.
    Gone,
    /// The request changed: tcpdump is started again.
    Changed,
    /// The pod's addresses changed: tcpdump is started again.
    Moved,
    /// The pod has no address.
    NoAddress,
    /// The pod reports an address at which it must not be captured.
    Forbidden,
    /// The pod has finished.
    PodFinished,
    /// Nothing was admitted: the pod asks for nothing valid that the node has room for.
    NothingAdmitted,
    /// The request asks for a pause.
    Paused,
    /// The capture reached its own limit.
    Ended(EndedBy),
    /// The file system has too little free space.
    LowDisk,
    /// The pod is gone, and its files are kept for a time.
    Retained,
    /// The API server has not answered for too long.
    Stale,
    /// This process is asked to end.
    Shutdown,
}

/// The state of a capture, as `status` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// tcpdump runs.
    Capturing,
    /// The capture starts as soon as the pod has an address, or in a moment.
    #[default]
    Waiting,
    /// The request asks for a pause.
    Paused,
    /// The capture reached its own limit, or the pod has finished.
    Finished,
    /// tcpdump is stopped for the time being.
    Stopped,
    /// tcpdump ended without being asked to, or could not be started. It is started again later.
    Failed,
    /// The pod asks for something that is not done.
    Refused,
    /// The pod finished before it could be captured.
    Missed,
    /// There is too little free space on the disk.
    LowDisk,
    /// The files are being removed.
    Removing,
}

impl State {
    /// The word that `status` shows.
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
