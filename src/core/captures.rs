//! All captures of this node, by stem: a stem's files can have one writer only. Each method is one fact that came about: it changes
//! one capture, and may return a notice for the owner of its pod. Pure.

mod capture;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

pub use capture::{Capture, HistoryEntry, Lifecycle, Moment, Process, Reservation, Start};

use crate::core::{
    annotations::ValidRequest,
    condition::{Condition, EndedBy, StopReason},
    disk::Disk,
    name::{PodUid, Stem},
    notices::{Change, Conveys, Failure, FailureCause, Notice},
    recorder::{Baseline, Incident, Recorder, SeenIncident},
    request::{Counts, Exit, Invocation},
};

/// How long tcpdump has after TERM to write the packets that it holds. It was measured to take 30 ms.
pub const TERM_GRACE: Duration = Duration::from_secs(5);
/// The time between two KILLs. A process in an uninterruptible sleep dies of a KILL only when the sleep ends.
const KILL_INTERVAL: Duration = Duration::from_secs(5);
/// How long after TERM a process that is still there is first reported as stuck. Later reports come after twice that, four times that …
pub const STUCK_AFTER: Duration = Duration::from_secs(30);
/// The shortest time between two starts of one capture, so that a burst of changes costs one restart, or two. After a failure only the
/// wait after the failure counts.
pub const START_INTERVAL: Duration = Duration::from_secs(2);
/// The wait after the first failure. It doubles with each further failure.
pub const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
pub const BACKOFF_MAX: Duration = Duration::from_secs(300);
/// How long tcpdump continues after the end of the duration, and after an incident. The kernel delivers packets in blocks, up to 1 s late
/// (libpcap's time-out, as tcpdump sets it), and tcpdump has to write them before it sees TERM.
pub const END_GRACE: Duration = Duration::from_millis(1250);
/// A tcpdump that ran as long as this has recovered: its next failure counts as the first.
pub const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// All captures of this node.
#[derive(Debug, Default)]
pub struct Captures {
    by_stem: BTreeMap<Stem, Capture>,
    sequence: u64,
    changes: u64,
}

impl Captures {
    /// The capture of a stem, if there is one.
    #[must_use]
    pub fn get(&self, stem: &Stem) -> Option<&Capture> {
        self.by_stem.get(stem)
    }

    /// How many captures there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_stem.len()
    }

    /// Whether there is no capture.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_stem.is_empty()
    }

    /// How often a capture has changed so far. As long as this number stays the same, so do all captures.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// All captures, by stem.
    pub fn iter(&self) -> impl Iterator<Item = (&Stem, &Capture)> {
        self.by_stem.iter()
    }

    /// The stem whose files the process of this pod writes.
    #[must_use]
    pub fn stem_of(&self, uid: &PodUid) -> Option<&Stem> {
        let is_written = |capture: &Capture| capture.has_process() && capture.owner.as_ref() == Some(uid);
        self.by_stem.iter().find(|(_, capture)| is_written(capture)).map(|(stem, _)| stem)
    }

    /// Adds a capture that an earlier process left.
    pub fn restore(&mut self, stem: Stem, capture: Capture) {
        self.changes += 1;
        self.sequence = self.sequence.max(capture.sequence);
        self.by_stem.insert(stem, capture);
    }

    /// A pod asks for a capture for the first time, or for files that were left over, or wants to continue after it released its
    /// room. The capture is the last in the order from now on.
    pub fn open(&mut self, stem: &Stem, uid: PodUid) {
        self.changes += 1;
        // A forged state file may hold the highest number that there is.
        self.sequence = self.sequence.saturating_add(1);
        let capture = self.by_stem.entry(stem.clone()).or_default();
        (capture.owner, capture.sequence, capture.reservation) = (Some(uid), self.sequence, Reservation::Queued);
    }

    /// The capture cannot continue for now, and leaves its room to others.
    pub fn release(&mut self, stem: &Stem) {
        self.change(stem, |capture| capture.reservation = Reservation::Released);
    }

    /// The files are to be removed, whatever is asked from now on.
    pub fn mark_for_removal(&mut self, stem: &Stem) {
        self.change(stem, |capture| {
            let retained_since = capture.left_over_since();
            capture.lifecycle = Lifecycle::Removing { retained_since, failures: 0, retry_at: None };
        });
    }

    /// The pod is gone, and the files are to be kept for a time.
    pub fn retain(&mut self, stem: &Stem, now: Moment) {
        self.change(stem, |capture| {
            capture.lifecycle = Lifecycle::Retained { since: now, ended_by: capture.ended_by() };
        });
    }

    /// There is room for what the pod asks. A paused request needs none. A finished capture starts as a new one. A flight recorder that is
    /// to stop on the same incidents as before continues.
    pub fn admit(&mut self, stem: &Stem, valid: ValidRequest) {
        self.change(stem, |capture| {
            if let Lifecycle::Finished(_) = capture.lifecycle {
                capture.lifecycle = Lifecycle::Active;
                (capture.first_started, capture.counts, capture.uncounted) = (None, Counts::default(), 0);
                capture.recorder = Recorder::Off;
            }
            capture.reservation = if valid.request.paused { Reservation::Released } else { Reservation::Held };
            let before = capture.stop_on();
            capture.admitted = Some(valid);
            if capture.stop_on() != before {
                capture.recorder = Recorder::Off;
            }
        });
    }

    /// The next status of the pod is to be compared with this.
    pub fn learned(&mut self, stem: &Stem, baseline: Baseline) {
        self.change(stem, |capture| capture.recorder = Recorder::Waiting(baseline));
    }

    /// There was an incident that the capture was to stop on.
    pub fn saw_incident(&mut self, stem: &Stem, incident: Incident, now: Moment) {
        self.change(stem, |capture| {
            let was_captured = capture.is_running();
            capture.recorder = Recorder::Stopped(SeenIncident { incident, seen: now, was_captured });
        });
    }

    /// The capture reached its own limit while there was no process.
    pub fn finish(&mut self, stem: &Stem, by: EndedBy, disk: Disk) -> Option<Notice> {
        self.change(stem, |capture| {
            (capture.lifecycle, capture.process) = (Lifecycle::Finished(by), Process::None);
        });
        self.stopped(stem, StopReason::Ended(by), disk)
    }

    /// So many files were counted while no process wrote them.
    pub fn counted(&mut self, stem: &Stem, files: usize) {
        self.change(stem, |capture| capture.files = files);
    }

    /// tcpdump is about to be started.
    pub fn starting(&mut self, stem: &Stem, invocation: Invocation, now: Moment) {
        self.change(stem, |capture| {
            let is_same = capture.last_start.as_ref().is_some_and(|start| start.invocation == invocation);
            let failures = match &capture.process {
                Process::Backoff { failure, .. } if is_same => failure.failures,
                Process::None
                | Process::Running { .. }
                | Process::Terminating { .. }
                | Process::Killing { .. }
                | Process::Backoff { .. } => 0,
            };
            capture.remember(&invocation, now);
            capture.last_start = Some(Start { invocation, at: now.at });
            capture.first_started.get_or_insert(now);
            capture.process = Process::Running { failures };
        });
    }

    /// tcpdump was started, and keeps so many files of before.
    pub fn started(&mut self, stem: &Stem, kept: usize) -> Option<Notice> {
        self.counted(stem, kept);
        let capture = self.get_mut(stem)?;
        let (Process::Running { failures }, Some(start)) = (&capture.process, &capture.last_start) else { return None };
        // A capture that fails again and again says as rarely that it was started as that it failed.
        let is_told = *failures == 0 || failures.is_power_of_two();
        let change = Change::Started {
            invocation: start.invocation.clone(),
            admitted: capture.admitted.clone(),
            packets_left: capture.packets_left(),
            kept,
            waited_for_address: capture.waited_for_address,
        };
        capture.waited_for_address &= !is_told;
        // The start says that the shortage is over.
        if matches!(capture.notified, Some(Condition::Shortage(_))) {
            (capture.notified, capture.notify_after) = (None, None);
        }
        is_told.then(|| self.notice(stem, change))
    }

    /// tcpdump could not be started, and there are so many files.
    pub fn not_started(&mut self, stem: &Stem, error: String, files: usize, now: Instant) -> Option<Notice> {
        self.counted(stem, files);
        self.failed(stem, FailureCause::NotStarted(error), now)
    }

    /// TERM was sent.
    pub fn terminated(&mut self, stem: &Stem, reason: StopReason, now: Instant) {
        self.change(stem, |capture| {
            capture.process = Process::Terminating { reason, since: now, kill_at: now + TERM_GRACE };
        });
    }

    /// KILL was sent. Returns for how long the process has been stuck, if that is to be reported.
    pub fn killed(&mut self, stem: &Stem, now: Instant) -> Option<Duration> {
        let capture = self.get_mut(stem)?;
        let (reason, since, due_at) = match capture.process {
            Process::Terminating { reason, since, .. } => (reason, since, since + STUCK_AFTER),
            Process::Killing { reason, since, warn_at, .. } => (reason, since, warn_at),
            Process::None | Process::Running { .. } | Process::Backoff { .. } => return None,
        };
        let since_term = (now >= due_at).then(|| now - since);
        let warn_at = since_term.map_or(due_at, |since_term| now + since_term);
        capture.process = Process::Killing { reason, since, again_at: now + KILL_INTERVAL, warn_at };
        since_term
    }

    /// The process of a capture was reaped, and left so many files. A process that ends while `stopping` was ended for that, whatever
    /// it was asked to end for.
    pub fn exited(
        &mut self,
        stem: &Stem,
        exit: &Exit,
        files: usize,
        disk: Disk,
        stopping: bool,
        now: Instant,
    ) -> Option<Notice> {
        self.counted(stem, files);
        let capture = self.get_mut(stem)?;
        match exit.counts {
            Some(counts) => {
                capture.counts.captured = capture.counts.captured.saturating_add(counts.captured);
                capture.counts.dropped = capture.counts.dropped.saturating_add(counts.dropped);
            }
            None => capture.uncounted = capture.uncounted.saturating_add(1),
        }
        let reason = match capture.stop_reason() {
            Some(reason @ StopReason::Ended(_)) => reason,
            _ if capture.is_ending_by_incident() => StopReason::Ended(EndedBy::StopOn),
            Some(reason) => reason,
            None if !exit.in_order || !capture.reached_packet_limit() => {
                let ran = capture.last_start.as_ref().map_or(Duration::ZERO, |start| now - start.at);
                return self.failed(stem, FailureCause::Exited { exit: exit.clone(), ran }, now);
            }
            None if capture.has_all_packets() => StopReason::Ended(EndedBy::Packets),
            // The request says more packets by now.
            None => StopReason::Changed,
        };
        capture.process = Process::None;
        if let StopReason::Ended(by) = reason {
            match &mut capture.lifecycle {
                Lifecycle::Active => capture.lifecycle = Lifecycle::Finished(by),
                Lifecycle::Retained { ended_by, .. } => *ended_by = Some(by),
                Lifecycle::Finished(_) | Lifecycle::Removing { .. } => (),
            }
        }
        if capture.is_removing() {
            // The owner is told when the files are gone.
            return None;
        }
        let is_end = matches!(reason, StopReason::Ended(_));
        self.stopped(stem, if stopping && !is_end { StopReason::Shutdown } else { reason }, disk)
    }

    /// The files are removed, so many of them, and the capture with them.
    pub fn removed(&mut self, stem: &Stem, files: usize) -> Option<Notice> {
        self.changes += 1;
        let mut capture = self.by_stem.remove(stem)?;
        let has_captured = capture.first_started.is_some() || files > 0;
        capture.files = files;
        let change = match &capture.owner {
            None => Change::RemovedUnowned { files },
            Some(_) => Change::Removed(capture.summary()),
        };
        let notice = Notice { stem: stem.clone(), uid: capture.owner, change, conveys: Conveys::Nothing };
        (notice.uid.is_none() || has_captured).then_some(notice)
    }

    /// The files could not be removed.
    pub fn not_removed(&mut self, stem: &Stem, error: String, now: Instant) -> Option<Notice> {
        let Lifecycle::Removing { failures, retry_at, .. } = &mut self.get_mut(stem)?.lifecycle else { return None };
        *failures = failures.saturating_add(1);
        *retry_at = Some(now + backoff(*failures));
        let failures = *failures;
        failures.is_power_of_two().then(|| self.notice(stem, Change::NotRemoved { error, failures }))
    }

    /// The notice that a condition begins to hold, or that none holds any longer.
    pub fn condition_notice(&mut self, stem: &Stem, condition: Option<Condition>) -> Option<Notice> {
        let capture = self.get(stem)?;
        let (running, kept) = (capture.running_files(), capture.files);
        let accepted_again = Change::AcceptedAgain { running, has_finished: capture.ended_by().is_some() };
        let change = match (&condition, &capture.notified) {
            (Some(condition), _) => Some(Change::Condition { condition: condition.clone(), running, kept }),
            (None, Some(Condition::Refused(_))) => Some(accepted_again),
            // The start of a tcpdump says enough.
            (None, Some(Condition::Shortage(_))) if running.is_some() => Some(accepted_again),
            (
                None,
                Some(Condition::Shortage(_) | Condition::Waiting | Condition::Missed | Condition::Paused(_)) | None,
            ) => None,
        };
        let Some(change) = change else {
            self.notified(stem, condition);
            return None;
        };
        Some(Notice { conveys: Conveys::Condition(condition), ..self.notice(stem, change) })
    }

    /// The owner of the pod knows how the capture stands.
    pub fn notified(&mut self, stem: &Stem, condition: Option<Condition>) {
        self.change(stem, |capture| {
            capture.waited_for_address |= condition == Some(Condition::Waiting);
            (capture.notified, capture.notify_after) = (condition, None);
        });
    }

    /// The owner of the pod cannot be notified before `until`.
    pub fn defer_notice(&mut self, stem: &Stem, until: Instant) {
        self.change(stem, |capture| capture.notify_after = Some(until));
    }

    /// A notice that says nothing of the condition.
    pub fn notice(&self, stem: &Stem, change: Change) -> Notice {
        let uid = self.get(stem).and_then(|capture| capture.owner.clone());
        Notice { stem: stem.clone(), uid, change, conveys: Conveys::Nothing }
    }

    fn stopped(&self, stem: &Stem, reason: StopReason, disk: Disk) -> Option<Notice> {
        let capture = self.get(stem)?;
        let shortage = capture.disk_shortage(disk, capture.admitted_files());
        // Who is told that the disk is low knows that the capture waits for space.
        let shortage = shortage.filter(|_| reason == StopReason::LowDisk).map(Condition::Shortage);
        let conveys = shortage.map_or(Conveys::Nothing, |shortage| Conveys::Condition(Some(shortage)));
        let change = Change::Stopped { reason, summary: capture.summary(), disk };
        Some(Notice { conveys, ..self.notice(stem, change) })
    }

    /// Reports the first failure in a row, the second, the fourth, the eighth …
    fn failed(&mut self, stem: &Stem, cause: FailureCause, now: Instant) -> Option<Notice> {
        let capture = self.get_mut(stem)?;
        let has_recovered = capture.last_start.as_ref().is_some_and(|start| now - start.at >= RECOVERED_AFTER);
        let before = match capture.process {
            Process::Running { failures } if !has_recovered => failures,
            Process::Running { .. }
            | Process::None
            | Process::Terminating { .. }
            | Process::Killing { .. }
            | Process::Backoff { .. } => 0,
        };
        let failures = before.saturating_add(1);
        let failure = Failure { cause, failures, retry_in: backoff(failures) };
        capture.process = Process::Backoff { until: now + failure.retry_in, failure: failure.clone() };
        let kept = capture.files;
        failures.is_power_of_two().then(|| self.notice(stem, Change::Failed { failure, kept }))
    }

    fn change(&mut self, stem: &Stem, change: impl FnOnce(&mut Capture)) {
        if let Some(capture) = self.get_mut(stem) {
            change(capture);
        }
    }

    /// The only way to a capture that is to be changed.
    fn get_mut(&mut self, stem: &Stem) -> Option<&mut Capture> {
        self.changes += 1;
        self.by_stem.get_mut(stem)
    }
}

/// 1, 2, 4 … seconds after the first, second, third … failure, up to [`BACKOFF_MAX`].
fn backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    BACKOFF_MIN.saturating_mul(1 << doublings).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
