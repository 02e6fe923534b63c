//! How a capture stands, in a word: what `status` shows. Pure.

use serde::{Deserialize, Serialize};

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
