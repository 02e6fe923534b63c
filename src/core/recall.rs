//! What this process takes over from the one before it: the captures that the state file remembers, and files that it does not. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use crate::core::{
    annotations::Annotations,
    captures::{Capture, Captures, Lifecycle, Reservation},
    desired::Desired,
    limits::Limits,
    name::Stem,
};

/// A capture as the state file remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// The capture without its admitted request.
    pub capture: Capture,
    /// The annotations of its admitted request, to be parsed again.
    pub annotations: Option<Annotations>,
    /// `None` in older state files, where whatever was admitted had room.
    pub reservation: Option<Reservation>,
    /// Where its tcpdump captured when the process before this one ended.
    pub captured_at: Option<Vec<IpAddr>>,
}

/// Takes over what an earlier process left. `remembered` is `None` if there is no state file that can be read; `files` has how many
/// files each stem has.
///
/// Files that a readable state file does not mention belong to no capture, and are removed. Without a state file they are kept until
/// the first list of pods says whether a pod asks for them.
pub fn recall(
    captures: &mut Captures,
    desired: &mut Desired,
    remembered: Option<BTreeMap<Stem, Remembered>>,
    files: &BTreeMap<Stem, usize>,
    limits: &Limits,
) {
    let has_state = remembered.is_some();
    for (stem, remembered) in remembered.unwrap_or_default() {
        let Remembered { mut capture, annotations, reservation, captured_at } = remembered;
        if let (Some(uid), Some(ips)) = (&capture.owner, captured_at) {
            desired.recall_at(uid.clone(), ips);
        }
        // A capture that is being removed must not be asked for again.
        let annotations = annotations.filter(|_| !capture.is_removing()).unwrap_or_default();
        capture.admitted = capture.owner.clone().and_then(|uid| desired.recall(uid, annotations, limits));
        capture.reservation = match (reservation, &capture.admitted) {
            (None | Some(Reservation::Held), None) => Reservation::Queued,
            (None, Some(valid)) if valid.request.paused => Reservation::Released,
            (None, Some(_)) => Reservation::Held,
            (Some(reservation), _) => reservation,
        };
        captures.restore(stem, capture);
    }
    for (stem, files) in files {
        if captures.get(stem).is_none() {
            let unasked = Lifecycle::Removing { retained_since: None, failures: 0, retry_at: None };
            let lifecycle = if has_state { unasked } else { Lifecycle::Active };
            captures.restore(stem.clone(), Capture { lifecycle, ..Capture::default() });
        }
        captures.counted(stem, *files);
    }
}
