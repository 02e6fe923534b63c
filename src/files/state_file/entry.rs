//! One capture as the state file has it, and as `status -o json` shows it.

use std::net::IpAddr;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde::{Deserialize, Serialize};

use crate::core::{
    annotations::Annotations,
    captures::{Capture, HistoryEntry, Lifecycle, Moment, Reservation},
    condition::{EndedBy, State},
    name::{PodName, PodUid, Stem},
    recall::Remembered,
    recorder::{Baseline, ContainerEnd, Incident, Recorder, SeenIncident},
    request::{CaptureSpec, Counts, Invocation},
};

/// The longest reason that is saved, in bytes: as long as an Event's message.
const REASON_BYTES_MAX: usize = 1024;

/// One capture as the state file has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    #[serde(rename = "pod")]
    pub name: String,
    /// The pod's UID.
    pub uid: String,
    /// The capture's state, as `status` shows it.
    #[serde(default)]
    pub state: State,
    /// The reason for the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The place in the order of all captures.
    pub sequence: u64,
    /// The annotations of the admitted request, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Whether room is reserved for it. Absent in older files, where whatever was admitted had room.
    #[serde(default, rename = "claim", skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// What was captured over time, the newest record last.
    #[serde(default)]
    pub history: Vec<HistoryRecord>,
    /// When the first tcpdump was started for what is carried out.
    #[serde(default, rename = "began", skip_serializing_if = "Option::is_none")]
    pub first_started: Option<Time>,
    /// The limit of its own that it reached.
    #[serde(default, rename = "ended", skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// The incident that it was to stop on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentRecord>,
    /// What the pod's status is compared with, to see an incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorder: Option<Baseline>,
    /// Since when its pod is gone.
    #[serde(default, rename = "retired", skip_serializing_if = "Option::is_none")]
    pub retained_since: Option<Time>,
    /// Packets that tcpdump counted until it last ended.
    #[serde(default)]
    pub captured: u64,
    /// Copies that the kernel dropped until then.
    #[serde(default)]
    pub dropped: u64,
    /// How many tcpdumps ended before they reported their counts.
    #[serde(default)]
    pub uncounted: u32,
    /// Whether tcpdump ran when the file was written.
    #[serde(default)]
    pub running: bool,
    /// Its files are to be removed, whatever the pod asks now.
    #[serde(default, rename = "doomed")]
    pub removing: bool,
}

/// What was captured from a point in time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// The point in time.
    pub since: Time,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// How many files the ring had.
    pub files: u16,
    /// The filter, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How many bytes of each packet were kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
}

/// An incident.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentRecord {
    #[serde(flatten)]
    what: IncidentKind,
    /// When the pod's status changed, as the kubelet says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Time>,
    /// When the controller saw it.
    seen: Time,
    /// Whether tcpdump ran then.
    captured: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum IncidentKind {
    Restart {
        container: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// How many more containers had an incident at the same time.
        #[serde(default)]
        others: usize,
    },
    Unready,
}

impl IncidentRecord {
    fn of(seen: &SeenIncident) -> Self {
        let SeenIncident { incident, seen, was_captured } = seen.clone();
        let (what, at_s) = match incident {
            Incident::Restart { container, end: None, others } => {
                (IncidentKind::Restart { container, exit_code: None, reason: None, others }, None)
            }
            Incident::Restart { container, end: Some(ContainerEnd { exit_code, reason, at_s }), others } => {
                (IncidentKind::Restart { container, exit_code: Some(exit_code), reason, others }, at_s)
            }
            Incident::Unready { since_s } => (IncidentKind::Unready, since_s),
        };
        let seen = time(seen.unix_s).unwrap_or(Time(Timestamp::UNIX_EPOCH));
        Self { what, at: at_s.and_then(time), seen, captured: was_captured }
    }

    fn seen(&self, now: Moment) -> SeenIncident {
        let Self { what, at, seen, captured } = self.clone();
        let at_s = at.as_ref().map(seconds);
        let incident = match what {
            IncidentKind::Restart { container, exit_code, reason, others } => {
                let end = exit_code.map(|exit_code| ContainerEnd { exit_code, reason, at_s });
                Incident::Restart { container, end, others }
            }
            IncidentKind::Unready => Incident::Unready { since_s: at_s },
        };
        SeenIncident { incident, seen: now.recall(seconds(&seen)), was_captured: captured }
    }
}

impl HistoryRecord {
    fn of(past: &HistoryEntry) -> Self {
        let Invocation { spec, ips } = &past.invocation;
        let CaptureSpec { files, filter, packets: _, snaplen } = spec.clone();
        Self {
            since: time(past.since_s).unwrap_or(Time(Timestamp::UNIX_EPOCH)),
            addresses: ips.clone(),
            files,
            filter,
            snaplen,
        }
    }

    fn past(&self) -> HistoryEntry {
        let Self { since, addresses, files, filter, snaplen } = self.clone();
        let spec = CaptureSpec { files, filter, packets: None, snaplen };
        HistoryEntry { since_s: seconds(&since), invocation: Invocation { spec, ips: addresses } }
    }
}

impl Entry {
    /// The entry of a capture; `None` for a capture without an owner.
    pub(super) fn of(stem: &Stem, capture: &Capture, (state, reason): (State, Option<String>)) -> Option<Self> {
        let PodName { namespace, name } = stem.pod();
        let owner = capture.owner.as_ref()?;
        let recorder = match &capture.recorder {
            Recorder::Waiting(baseline) if capture.is_active() => Some(baseline.clone()),
            Recorder::Off | Recorder::Waiting(_) | Recorder::Stopped(_) => None,
        };
        let reason = reason.map(|mut reason| {
            reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
            reason
        });
        Some(Self {
            namespace,
            name,
            uid: owner.0.clone(),
            state,
            reason,
            sequence: capture.sequence,
            annotations: capture.admitted.as_ref().map(|valid| valid.annotations.clone()),
            reservation: Some(capture.reservation),
            history: capture.history.iter().map(HistoryRecord::of).collect(),
            first_started: capture.first_started.and_then(|moment| time(moment.unix_s)),
            ended_by: capture.ended_by(),
            incident: capture.incident().map(IncidentRecord::of),
            recorder,
            retained_since: capture.left_over_since().and_then(|moment| time(moment.unix_s)),
            captured: capture.counts.captured,
            dropped: capture.counts.dropped,
            uncounted: capture.uncounted,
            running: capture.has_process(),
            removing: capture.is_removing(),
        })
    }

    /// The stem of the entry's files.
    #[must_use]
    pub fn stem(&self) -> Stem {
        Stem::of(&PodName { namespace: self.namespace.clone(), name: self.name.clone() })
    }

    pub(super) fn names_a_pod(&self) -> bool {
        Stem::of_file(&self.stem().base()).is_some_and(|(stem, _)| stem == self.stem())
    }

    /// The capture as it was, without its process and its admitted request. `now` is what its moments are seen from.
    #[must_use]
    pub fn remembered(&self, now: Moment) -> Remembered {
        let recall = |time: &Time| now.recall(seconds(time));
        let lifecycle = match (self.removing, &self.retained_since, self.ended_by) {
            (true, since, _) => {
                Lifecycle::Removing { retained_since: since.as_ref().map(recall), failures: 0, retry_at: None }
            }
            (false, Some(since), ended_by) => Lifecycle::Retained { since: recall(since), ended_by },
            (false, None, Some(by)) => Lifecycle::Finished(by),
            (false, None, None) => Lifecycle::Active,
        };
        let recorder = match (&self.incident, &self.recorder) {
            (Some(incident), _) => Recorder::Stopped(incident.seen(now)),
            (None, Some(baseline)) => Recorder::Waiting(baseline.clone()),
            (None, None) => Recorder::Off,
        };
        let capture = Capture {
            owner: Some(PodUid(self.uid.clone())),
            recorder,
            sequence: self.sequence,
            lifecycle,
            history: self.history.iter().map(HistoryRecord::past).collect(),
            first_started: self.first_started.as_ref().map(recall),
            counts: Counts { captured: self.captured, dropped: self.dropped },
            // The count of a running tcpdump died with the process that would have read it.
            uncounted: self.uncounted.saturating_add(self.running.into()),
            ..Capture::default()
        };
        let last = self.history.last().filter(|_| self.running && !self.removing);
        Remembered {
            capture,
            annotations: self.annotations.clone(),
            reservation: self.reservation,
            captured_at: last.map(|record| record.addresses.clone()),
        }
    }
}

fn time(unix_s: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(unix_s).ok()?).ok().map(Time)
}

fn seconds(time: &Time) -> u64 {
    time.0.as_second().try_into().unwrap_or_default()
}
