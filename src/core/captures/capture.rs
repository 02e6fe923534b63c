//! One capture: whose it is, where it is in its life, and where its tcpdump is.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::core::{
    annotations::ValidRequest,
    condition::{Condition, EndedBy, StopReason},
    disk::Disk,
    name::PodUid,
    notices::{Failure, Summary},
    recorder::{Recorder, SeenIncident, StopOn},
    refusal::Shortage,
    request::{CaptureSpec, Counts, Invocation},
};

/// How many entries of a capture's history are remembered. A pod's address changes rarely, and a filter is found in a few attempts.
/// Each entry takes up to 700 bytes in the state file, which must stay small enough to be read again.
const HISTORY_MAX: usize = 5;

/// A moment, by the monotonic clock and by the wall clock, which the next process has, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The monotonic clock.
    pub at: Instant,
    /// The wall clock, in seconds since 1970.
    pub unix_s: u64,
}

impl Moment {
    /// The moment at which the wall clock showed `unix_s`, seen from `self`. A moment in the future counts as `self`.
    #[must_use]
    pub fn recall(self, unix_s: u64) -> Self {
        let ago = Duration::from_secs(self.unix_s.saturating_sub(unix_s));
        Self { at: self.at.checked_sub(ago).unwrap_or(self.at), unix_s }
    }
}

/// Whether a capture has room reserved on the node. Only with a reservation its ring counts as the size that it may grow to.
/// The words in the state file are older than these names.
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

/// Where a capture is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifecycle {
    /// Its pod asks for it, or it is not known yet which pod does.
    #[default]
    Active,
    /// It reached its own limit: its files stay, and tcpdump is not started again before the request changes.
    Finished(EndedBy),
    /// Its pod is gone, and its files are kept for a time.
    Retained {
        /// Since when the pod is gone.
        since: Moment,
        /// The limit that it had reached before, if it had.
        ended_by: Option<EndedBy>,
    },
    /// Its files are to be removed, whatever any pod asks from now on.
    Removing {
        /// Since when the pod is gone, if the files were retained before.
        retained_since: Option<Moment>,
        /// How often in a row the files could not be removed.
        failures: u32,
        /// When that is tried again, if it failed.
        retry_at: Option<Instant>,
    },
}

/// Where the tcpdump of a capture is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Process {
    /// There is none.
    #[default]
    None,
    /// It captures.
    Running {
        /// How often in a row it had failed before this start. A tcpdump that was asked to end, for whatever reason, ends the row.
        failures: u32,
    },
    /// It was sent TERM.
    Terminating {
        /// Why.
        reason: StopReason,
        /// When TERM was sent.
        since: Instant,
        /// When KILL is sent.
        kill_at: Instant,
    },
    /// It was sent KILL.
    Killing {
        /// Why TERM was sent.
        reason: StopReason,
        /// When TERM was sent.
        since: Instant,
        /// When KILL is sent again.
        again_at: Instant,
        /// When it is reported as stuck.
        warn_at: Instant,
    },
    /// There is none: it failed, and is started again later.
    Backoff {
        /// When.
        until: Instant,
        /// How it failed.
        failure: Failure,
    },
}

/// What was captured from some time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// From when, in seconds since 1970.
    pub since_s: u64,
    /// With what tcpdump was started, its number of packets aside.
    pub invocation: Invocation,
}

/// A start of tcpdump, or an attempt at one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// With what.
    pub invocation: Invocation,
    /// When.
    pub at: Instant,
}

/// One capture: one ring of files, the tcpdump that writes it, and what is known of both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// The pod that the files belong to; `None` where that is not known.
    pub owner: Option<PodUid>,
    /// The place in the order of all captures: the lowest came first.
    pub sequence: u64,
    /// The last request that there was room for: what is carried out.
    pub admitted: Option<ValidRequest>,
    /// Whether it has room reserved.
    pub reservation: Reservation,
    /// Where it is in its life.
    pub lifecycle: Lifecycle,
    /// Where its tcpdump is.
    pub process: Process,
    /// Its flight recorder.
    pub recorder: Recorder,
    /// The last start of tcpdump by this process.
    pub last_start: Option<Start>,
    /// When the first tcpdump was started for what is carried out, by this process or an earlier one.
    pub first_started: Option<Moment>,
    /// What has been captured in turn, the newest last.
    pub history: Vec<HistoryEntry>,
    /// What all tcpdumps since `first_started` counted together.
    pub counts: Counts,
    /// How many of them ended without a count.
    pub uncounted: u32,
    /// How many files there are while no process writes them.
    pub files: usize,
    /// The condition that the owner of its pod was last notified of.
    pub notified: Option<Condition>,
    /// The owner was notified that the capture waits for the pod's address, and tcpdump has not been started since.
    pub waited_for_address: bool,
    /// Until when the owner cannot be notified, because there were too many Events.
    pub notify_after: Option<Instant>,
}

impl Capture {
    /// Whether a process writes the files, or may still do so.
    #[must_use]
    pub fn has_process(&self) -> bool {
        match self.process {
            Process::Running { .. } | Process::Terminating { .. } | Process::Killing { .. } => true,
            Process::None | Process::Backoff { .. } => false,
        }
    }

    /// Whether a tcpdump captures, and was not asked to end.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.process, Process::Running { .. })
    }

    /// Whether its pod asks for it, and it may capture.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.lifecycle == Lifecycle::Active
    }

    /// Whether its files are to be removed.
    #[must_use]
    pub fn is_removing(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Removing { .. })
    }

    /// Since when its pod is gone, if its files are kept all the same.
    #[must_use]
    pub fn retained_since(&self) -> Option<Moment> {
        match self.lifecycle {
            Lifecycle::Retained { since, .. } => Some(since),
            Lifecycle::Active | Lifecycle::Finished(_) | Lifecycle::Removing { .. } => None,
        }
    }

    /// Since when its pod is gone, if its files are retained, or were before they are removed.
    #[must_use]
    pub fn left_over_since(&self) -> Option<Moment> {
        match self.lifecycle {
            Lifecycle::Removing { retained_since, .. } => retained_since,
            Lifecycle::Active | Lifecycle::Finished(_) | Lifecycle::Retained { .. } => self.retained_since(),
        }
    }

    /// The limit of its own that it reached, if it did.
    #[must_use]
    pub fn ended_by(&self) -> Option<EndedBy> {
        match self.lifecycle {
            Lifecycle::Finished(by) => Some(by),
            Lifecycle::Retained { ended_by, .. } => ended_by,
            Lifecycle::Active | Lifecycle::Removing { .. } => None,
        }
    }

    /// Why its tcpdump was asked to end, while that has not ended.
    #[must_use]
    pub fn stop_reason(&self) -> Option<StopReason> {
        match self.process {
            Process::Terminating { reason, .. } | Process::Killing { reason, .. } => Some(reason),
            Process::None | Process::Running { .. } | Process::Backoff { .. } => None,
        }
    }

    /// How many files the ring of the running tcpdump has, if one runs.
    #[must_use]
    pub fn running_files(&self) -> Option<u16> {
        self.last_start.as_ref().filter(|_| self.is_running()).map(|start| start.invocation.spec.files)
    }

    /// How many files the ring of the admitted request has.
    #[must_use]
    pub fn admitted_files(&self) -> u16 {
        self.admitted.as_ref().map_or(0, |admitted| admitted.request.spec.files)
    }

    /// Whether there is, or has been, anything to keep.
    #[must_use]
    pub fn has_captured(&self) -> bool {
        self.first_started.is_some() || self.files > 0
    }

    /// The most that the files take while no process writes them, in megabytes.
    #[must_use]
    pub fn files_mb(&self) -> u64 {
        self.files.try_into().unwrap_or(u64::MAX)
    }

    /// Whether its owner was last notified that the disk has too little free space.
    #[must_use]
    pub fn was_told_of_low_disk(&self) -> bool {
        matches!(self.notified, Some(Condition::Shortage(Shortage::Disk { .. })))
    }

    /// What a start with a ring of so many files would lack on the disk, if anything.
    #[must_use]
    pub fn disk_shortage(&self, disk: Disk, files: u16) -> Option<Shortage> {
        // The ring that tcpdump was last started with had room, and that room is not taken back.
        let written_mb = self.last_start.as_ref().map_or(0, |start| start.invocation.spec.files.into());
        disk.shortage_of(u64::from(files).saturating_sub(self.files_mb().max(written_mb)))
    }

    /// What has been captured so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            counts: self.counts,
            uncounted: self.uncounted,
            files: self.files,
            has_started: self.first_started.is_some(),
            duration: self.admitted.as_ref().and_then(|admitted| admitted.request.duration),
            incident: self.incident().cloned(),
        }
    }

    /// Adds to the history what is captured from now on, if it differs from what was captured before.
    pub fn remember(&mut self, invocation: &Invocation, now: Moment) {
        // A capture with fewer packets left is the same capture.
        let spec = CaptureSpec { packets: None, ..invocation.spec.clone() };
        let invocation = Invocation { spec, ips: invocation.ips.clone() };
        if self.history.last().is_some_and(|entry| entry.invocation == invocation) {
            return;
        }
        if self.history.len() >= HISTORY_MAX {
            // An entry whose addresses stand in the next one, too, can be spared: the addresses tell whose the packets are.
            let spare = self.history.windows(2).position(|two| two[0].invocation.ips == two[1].invocation.ips);
            self.history.remove(spare.unwrap_or(0));
        }
        self.history.push(HistoryEntry { since_s: now.unix_s, invocation });
    }

    /// How many packets it still has to capture, if the request limits them.
    #[must_use]
    pub fn packets_left(&self) -> Option<u32> {
        let packets = self.admitted.as_ref()?.request.spec.packets?;
        Some(packets.saturating_sub(u32::try_from(self.counts.captured).unwrap_or(u32::MAX)))
    }

    /// Whether it has as many packets as the request says.
    #[must_use]
    pub fn has_all_packets(&self) -> bool {
        self.packets_left() == Some(0)
    }

    /// Whether it has as many packets as its last tcpdump was to bring it to. The request may say more by now.
    #[must_use]
    pub fn reached_packet_limit(&self) -> bool {
        let packets = self.last_start.as_ref().and_then(|start| start.invocation.spec.packets);
        packets.is_some_and(|packets| self.counts.captured >= packets.into())
    }

    /// What the admitted request is to stop on. A paused capture waits for no incident: its ring would not show what led to it.
    #[must_use]
    pub fn stop_on(&self) -> StopOn {
        let request = self.admitted.as_ref().map(|admitted| &admitted.request);
        request.filter(|request| !request.paused).map_or(StopOn::NOTHING, |request| request.stop_on)
    }

    /// The incident that it was to stop on, if there was one.
    #[must_use]
    pub fn incident(&self) -> Option<&SeenIncident> {
        match &self.recorder {
            Recorder::Stopped(seen) => Some(seen),
            Recorder::Off | Recorder::Waiting(_) => None,
        }
    }

    /// Whether it is about to end because of an incident. Nothing that comes later is the reason of its end.
    #[must_use]
    pub fn is_ending_by_incident(&self) -> bool {
        self.is_active() && self.incident().is_some()
    }

    /// When it has lasted as long as the request says.
    #[must_use]
    pub fn ends_at(&self) -> Option<Instant> {
        self.first_started?.at.checked_add(self.admitted.as_ref()?.request.duration?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recalled_moment_is_as_long_ago_as_the_wall_clock_says_and_never_in_the_future() {
        let now = Moment { at: Instant::now(), unix_s: 1000 };
        assert_eq!(now.recall(940).at, now.at - Duration::from_secs(60));
        assert_eq!(now.recall(1060).at, now.at);
    }
}
