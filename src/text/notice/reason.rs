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
    /// tcpdump was started.
    Started,
    /// tcpdump was stopped.
    Stopped,
    /// tcpdump was stopped for good: the capture is complete, or the pod has finished.
    Finished,
    /// tcpdump was stopped because the disk has too little free space.
    LowDisk,
    /// tcpdump exited without being stopped, or could not be started.
    Failed,
    /// The request is not carried out.
    Refused,
    /// The request can be carried out again, after it was refused.
    Accepted,
    /// The capture waits for the pod's address.
    Waiting,
    /// The pod finished before it could be captured.
    Missed,
    /// tcpdump does not exit, or the files cannot be deleted.
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

    /// Whether the Event has type Warning: someone must look at it.
    #[must_use]
    pub fn is_warning(self) -> bool {
        match self {
            Self::LowDisk | Self::Failed | Self::Refused | Self::Missed | Self::Stuck => true,
            Self::Started | Self::Stopped | Self::Finished | Self::Accepted | Self::Waiting => false,
        }
    }

    /// The first words of the log line.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Started => "capture started",
            Self::Stopped => "capture stopped",
            Self::Finished => "capture finished",
            Self::LowDisk => "capture stopped, too little free disk space",
            Self::Failed => "capture failed",
            Self::Refused => "capture refused",
            Self::Accepted => "capture accepted",
            Self::Waiting => "capture waiting",
            Self::Missed => "capture missed",
            Self::Stuck => "capture stuck",
        }
    }
}
