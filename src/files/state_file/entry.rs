//! One slot as the state file has it.

use std::net::IpAddr;

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde::{Deserialize, Serialize};

use crate::core::{
    annotations::{Annotations, ValidRequest},
    captures::{Capture, End, HistoryEntry, Moment, Reservation},
    condition::State,
    name::{PodName, PodUid, Stem},
    request::{CaptureSpec, Counts, Invocation},
};

/// The longest reason that is remembered, in bytes: as long as an Event.
const REASON_BYTES_MAX: usize = 1024;

/// One slot as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    #[serde(rename = "pod")]
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// How it is getting on.
    #[serde(default)]
    pub state: State,
    /// What there is to say about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The place in the order of all captures.
    pub sequence: u64,
    /// The annotations that are carried out, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Whether room is reserved for it. Absent in files of before version 1.3, where whatever was admitted had room.
    #[serde(default, rename = "claim", skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// What has been captured in turn, the newest last.
    #[serde(default)]
    pub history: Vec<HistoryRecord>,
    /// When the first tcpdump was started of what is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// What brought it to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<End>,
    /// Since when its pod has been gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Time>,
    /// Packets that tcpdump counted until it last ended.
    #[serde(default)]
    pub captured: u64,
    /// Packets that the kernel lost until then.
    #[serde(default)]
    pub dropped: u64,
    /// How many tcpdumps ended without saying what they counted.
    #[serde(default)]
    pub uncounted: u32,
    /// Its tcpdump had been started and not ended.
    #[serde(default)]
    pub running: bool,
    /// Its files are to be removed, whatever the pod asks now.
    #[serde(default)]
    pub doomed: bool,
}

/// What was captured from some time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryRecord {
    /// From when.
    pub since: Time,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// How many files the ring had.
    pub files: u16,
    /// Which of the pod's packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How much of each, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
}

impl HistoryRecord {
    fn of(past: &HistoryEntry) -> Self {
        let Invocation { spec, ips } = &past.run;
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
        HistoryEntry { since_s: seconds(&since), run: Invocation { spec, ips: addresses } }
    }
}

impl Entry {
    /// A slot as it is remembered; one without an owner is not.
    pub(super) fn of(stem: &Stem, capture: &Capture, (state, reason): (State, Option<String>)) -> Option<Self> {
        let PodName { namespace, name } = stem.pod();
        let owner = capture.owner.as_ref()?;
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
            began: capture.began.and_then(|began| time(began.unix_s)),
            ended: capture.ended,
            retired: capture.retired.and_then(|retired| time(retired.unix_s)),
            captured: capture.counts.captured,
            dropped: capture.counts.dropped,
            uncounted: capture.uncounted,
            running: capture.has_process(),
            doomed: capture.doomed,
        })
    }

    /// The stem of the entry's files.
    #[must_use]
    pub fn stem(&self) -> Stem {
        Stem::of(&PodName { namespace: self.namespace.clone(), name: self.name.clone() })
    }

    /// Where its tcpdump captured when the process ended, if it did.
    #[must_use]
    pub fn captured_at(&self) -> Option<&[IpAddr]> {
        Some(&self.history.last().filter(|_| self.running && !self.doomed)?.addresses)
    }

    pub(super) fn names_a_pod(&self) -> bool {
        Stem::of_file(&self.stem().base()).is_some_and(|(stem, _)| stem == self.stem())
    }

    /// The slot as it was, without a process, and with what its annotations are read as.
    #[must_use]
    pub fn capture(&self, admitted: Option<ValidRequest>, now: Moment) -> Capture {
        let reservation = match (self.reservation, &admitted) {
            (None | Some(Reservation::Held), None) => Reservation::Queued,
            (None, Some(valid)) if valid.request.paused => Reservation::Released,
            (None, Some(_)) => Reservation::Held,
            (Some(reservation), _) => reservation,
        };
        Capture {
            owner: Some(PodUid(self.uid.clone())),
            sequence: self.sequence,
            admitted,
            reservation,
            history: self.history.iter().map(HistoryRecord::past).collect(),
            began: self.began.as_ref().map(|began| now.recall(seconds(began))),
            ended: self.ended,
            retired: self.retired.as_ref().map(|retired| now.recall(seconds(retired))),
            counts: Counts { captured: self.captured, dropped: self.dropped },
            // What a tcpdump counted died with the process that it would have told.
            uncounted: self.uncounted.saturating_add(self.running.into()),
            doomed: self.doomed,
            ..Capture::default()
        }
    }
}

fn time(unix_s: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(unix_s).ok()?).ok().map(Time)
}

fn seconds(time: &Time) -> u64 {
    time.0.as_second().try_into().unwrap_or_default()
}
