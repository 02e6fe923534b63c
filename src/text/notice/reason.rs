//! The Event that a pod's owner sees: its reason and its text. Pure.

use crate::core::name::{PodName, PodUid};

/// An Event on a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// The pod's namespace and name.
    pub pod: PodName,
    /// The pod's UID.
    pub uid: PodUid,
    /// The Event's reason.
    pub reason: Reason,
    /// The Event's message, of any length.
    pub text: String,
}

/// Why an Event is created: the Event's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// tcpdump runs.
    Started,
    /// It was stopped.
    Stopped,
    /// It was stopped for good: it came to its end, or the pod has finished.
    Finished,
    /// It was stopped for want of disk.
    LowDisk,
    /// It ended by itself, or could not be started.
    Failed,
    /// What was asked is not done.
    Refused,
    /// What is asked can be done again, after it could not.
    Accepted,
    /// The capture waits for the pod's address.
    Waiting,
    /// There was nothing left to capture.
    Missed,
    /// tcpdump does not end, or the files cannot be removed.
    Stuck,
}

impl Reason {
    /// The Event's `reason`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "CaptureStarted",
            Self::Stopped => "CaptureStopped",
            Self::Finished => "CaptureFinished",
            Self::LowDisk => "CaptureLowDisk",
            Self::Failed => "CaptureFailed",
            Self::Refused => "CaptureRefused",
            Self::Accepted => "CaptureAccepted",
            Self::Waiting => "CaptureWaiting",
            Self::Missed => "CaptureMissed",
            Self::Stuck => "CaptureStuck",
        }
    }

    /// Whether someone must look.
    #[must_use]
    pub fn is_warning(self) -> bool {
        match self {
            Self::LowDisk | Self::Failed | Self::Refused | Self::Missed | Self::Stuck => true,
            Self::Started | Self::Stopped | Self::Finished | Self::Accepted | Self::Waiting => false,
        }
    }

    /// The beginning of the log line about it.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Started => "capture started",
            Self::Stopped => "capture stopped",
            Self::Finished => "capture finished",
            Self::LowDisk => "capture stopped for want of disk",
            Self::Failed => "capture failed",
            Self::Refused => "capture refused",
            Self::Accepted => "capture accepted",
            Self::Waiting => "capture waiting",
            Self::Missed => "capture missed",
            Self::Stuck => "capture stuck",
        }
    }
}
