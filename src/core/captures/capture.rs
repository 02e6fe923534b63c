//! What is known of one stem's files, and of the process that writes them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::core::{
    annotations::ValidRequest,
    name::{PodName, PodUid},
    refusal::{Refusal, Shortage},
    request::{CaptureSpec, Counts, Invocation},
};

/// How much of what was captured in turn is remembered. A pod's address changes rarely, and a filter is found in a few attempts.
/// Each takes up to 700 bytes in the state file, which must stay small enough to be read again.
const HISTORY_MAX: usize = 5;

/// A moment, by the clock that only goes on and by the one that the next process will have, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock.
    pub at: Instant,
    /// Seconds since 1970.
    pub unix_s: u64,
}

impl Moment {
    /// The moment that the clock on the wall showed `unix_s`, seen from now; one that seems to lie ahead is now.
    #[must_use]
    pub fn recall(self, unix_s: u64) -> Self {
        let ago = Duration::from_secs(self.unix_s.saturating_sub(unix_s));
        Self { at: self.at.checked_sub(ago).unwrap_or(self.at), unix_s }
    }
}

/// What brought a capture to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum End {
    /// It lasted as long as it was to.
    Duration,
    /// It has as many packets as it was to have.
    Packets,
}

/// Why a capture does not run, or is about to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The annotation or the pod is gone: the files go too.
    Gone,
    /// The request changed; it starts again at once.
    Changed,
    /// The pod's addresses changed; it starts again at once.
    Moved,
    /// The pod has no address.
    NoAddress,
    /// The pod is where it may not be captured.
    Forbidden,
    /// The pod has finished.
    Finished,
    /// Nothing was asked that is readable and has room.
    NothingAdmitted,
    /// It was asked to pause.
    Paused,
    /// It came to its end.
    Ended(End),
    /// The file system has too little free space.
    LowDisk,
    /// The pod is gone, and its files are kept for a time.
    Retired,
    /// There has been no word from the API server for too long.
    Stale,
    /// This process is asked to end.
    Shutdown,
}

/// What a pod's owner must know for as long as it holds; told when it begins to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// What the pod asks now is not done.
    Refused(Refusal),
    /// It will be done when there is room.
    Shortage(Shortage),
    /// The capture waits for the pod's address.
    Waiting,
    /// The pod finished before it could be captured.
    Missed,
    /// The capture of this pod was paused before it ever began.
    Paused(PodName),
}

/// Whether a capture has room reserved on the node. Only with a reservation its ring counts as the size that it may grow to.
/// The words in the state file are those of version 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reservation {
    /// None is wanted for now: the capture counts as the files that it has. Before it continues it needs a reservation as a new
    /// capture does, behind those that are queued already.
    #[default]
    #[serde(rename = "rests")]
    Released,
    /// The capture has its place in the queue for room.
    #[serde(rename = "waits")]
    Queued,
    /// The capture has its room, which is never taken back from it, only released.
    #[serde(rename = "holds")]
    Held,
}

/// Where the process of a slot is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// There is none.
    #[default]
    Idle,
    /// It captures.
    Running,
    /// It was sent TERM.
    Terminating {
        /// What for.
        why: StopReason,
        /// When.
        since: Instant,
        /// When it is sent KILL.
        kill_at: Instant,
    },
    /// It was sent KILL.
    Killing {
        /// What for.
        why: StopReason,
        /// When TERM was sent.
        since: Instant,
        /// When KILL is sent again.
        again_at: Instant,
        /// When it is reported as stuck.
        warn_at: Instant,
    },
    /// There is none: it failed, and is tried again later.
    Backoff {
        /// When.
        until: Instant,
    },
    /// There is none, and the files could not be removed.
    Removing {
        /// When that is tried again.
        retry_at: Instant,
        /// How often it failed.
        failures: u32,
    },
}

/// What was captured from some time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// From when, in seconds since 1970.
    pub since_s: u64,
    /// What.
    pub run: Invocation,
}

/// One stem's files, and who writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// The pod that they belong to; `None` where that is not known.
    pub owner: Option<PodUid>,
    /// The place in the order of all slots.
    pub sequence: u64,
    /// The last request that there was room for: what is done.
    pub admitted: Option<ValidRequest>,
    /// Whether it has its room.
    pub reservation: Reservation,
    /// What was last started, or tried to.
    pub last: Option<Invocation>,
    /// When `last` was.
    pub started_at: Option<Instant>,
    /// When the first tcpdump was started of what is done now.
    pub began: Option<Moment>,
    /// What has been captured in turn, the newest last.
    pub history: Vec<HistoryEntry>,
    /// What was said of its failure, if that is how its last tcpdump ended.
    pub failure: Option<String>,
    /// What brought it to its end, if anything has.
    pub ended: Option<End>,
    /// How many files there are while no process writes them.
    pub files: usize,
    /// Since when the pod has been gone, where its files are kept all the same.
    pub retired: Option<Moment>,
    /// How often in a row it failed.
    pub failures: u32,
    /// What all tcpdumps since it began counted together.
    pub counts: Counts,
    /// How many of them ended without saying what they counted.
    pub uncounted: u32,
    /// The files are to go, whatever is asked from now on.
    pub doomed: bool,
    /// What its pod's owner was last told.
    pub notified: Option<Condition>,
    /// When there may be more to tell, where there has been too much already.
    pub notify_after: Option<Instant>,
    /// Where its process is.
    pub phase: Phase,
}

impl Capture {
    /// Whether a process writes the files, or may still do so.
    #[must_use]
    pub fn has_process(&self) -> bool {
        match self.phase {
            Phase::Running | Phase::Terminating { .. } | Phase::Killing { .. } => true,
            Phase::Idle | Phase::Backoff { .. } | Phase::Removing { .. } => false,
        }
    }

    /// Whether there is, or has been, anything to keep.
    #[must_use]
    pub fn has_captured(&self) -> bool {
        self.began.is_some() || self.files > 0
    }

    /// What the files take at the most while no process writes them, in megabytes.
    #[must_use]
    pub fn files_mb(&self) -> u64 {
        self.files.try_into().unwrap_or(u64::MAX)
    }

    /// Whether it waits for free space on the disk.
    #[must_use]
    pub fn waits_for_disk(&self) -> bool {
        matches!(self.notified, Some(Condition::Shortage(Shortage::Disk { .. })))
    }

    /// Takes note of what is captured from now on, if it is something else than before.
    pub fn remember(&mut self, run: &Invocation, now: Moment) {
        // How many are still to come is no other capture.
        let run = Invocation { spec: CaptureSpec { packets: None, ..run.spec.clone() }, ips: run.ips.clone() };
        if self.history.last().is_some_and(|past| past.run == run) {
            return;
        }
        if self.history.len() >= HISTORY_MAX {
            // Rather one whose addresses are remembered without it: they tell whose the packets are.
            let spare = self.history.windows(2).position(|two| two[0].run.ips == two[1].run.ips);
            self.history.remove(spare.unwrap_or(0));
        }
        self.history.push(HistoryEntry { since_s: now.unix_s, run });
    }

    /// How many packets it was to have and has not.
    #[must_use]
    pub fn packets_left(&self) -> Option<u32> {
        let packets = self.admitted.as_ref()?.request.spec.packets?;
        Some(packets.saturating_sub(u32::try_from(self.counts.captured).unwrap_or(u32::MAX)))
    }

    /// Whether it has as many packets as it was to have.
    #[must_use]
    pub fn has_its_packets(&self) -> bool {
        self.packets_left() == Some(0)
    }

    /// Whether the last tcpdump was to end after so many packets as there are by now; more may have been asked for meanwhile.
    #[must_use]
    pub fn has_what_it_was_started_for(&self) -> bool {
        let packets = self.last.as_ref().and_then(|run| run.spec.packets);
        packets.is_some_and(|packets| self.counts.captured >= packets.into())
    }

    /// When it has lasted as long as it was to.
    #[must_use]
    pub fn ends_at(&self) -> Option<Instant> {
        self.began?.at.checked_add(self.admitted.as_ref()?.request.duration?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_recalled_as_long_ago_as_the_clock_on_the_wall_says_and_never_ahead() {
        let now = Moment { at: Instant::now(), unix_s: 1000 };
        assert_eq!(now.recall(940).at, now.at - Duration::from_secs(60));
        assert_eq!(now.recall(1060).at, now.at);
    }
}
