//! What one pod asks for, and which of its requests is in force.

use std::time::Instant;

use super::{FilterJob, Source};
use crate::core::{
    annotations::{Annotations, ValidRequest},
    condition::Condition,
    name::PodUid,
    observed_pod::ObservedPod,
    recorder::{PodStatus, StopOn},
    refusal::Refusal,
    request::{Parsed, Target},
};

/// A pod that asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRequest {
    /// The pod's UID.
    pub uid: PodUid,
    /// The time of the pod's creation, in seconds since 1970.
    pub created_s: i64,
    /// What the pod's annotations ask at the moment; never [`Parsed::None`].
    pub parsed: Parsed,
    /// The request in force: the last valid one, until another one is valid and tcpdump takes its filter.
    pub valid: Option<ValidRequest>,
    /// Where the pod can be captured.
    pub target: Target,
    /// Where the pod could be captured if all addresses that it reports were its own.
    pub(super) reported_target: Target,
    /// What a flight recorder compares; `None` if the pod has never asked for one.
    pub status: Option<PodStatus>,
    /// Since when the pod has had no address.
    pub no_address_since: Option<Instant>,
    /// Whether this process saw the pod before it finished, or saw it finish. The owner of any other finished pod was notified by an
    /// earlier process.
    pub is_news: bool,
    /// The last condition that the pod's owner was notified of, whether the pod has a capture or not.
    pub notified: Option<Condition>,
    /// The filter that is not in force, if the pod asks for one.
    filter: Option<NewFilter>,
}

/// A filter that a pod asks for and that is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
enum NewFilter {
    /// The request waits for tcpdump's verdict on its filter.
    Pending { valid: ValidRequest, since: Instant },
    /// The verdict was a refusal. It holds for these annotations, word for word: a change of any of them is another try.
    Refused { annotations: Annotations, refusal: Refusal },
}

impl PodRequest {
    /// The pod's request after `observed`, if the pod asks for anything. `known` is the same pod's request before that; `recalled` is
    /// the request that was in force when an earlier process ended.
    #[must_use]
    pub(super) fn after(
        known: Option<&Self>,
        recalled: Option<&ValidRequest>,
        observed: &ObservedPod,
        source: Source,
        now: Instant,
    ) -> Option<Self> {
        let is_news = source == Source::Watch || observed.target != Target::Finished;
        let mut pod = Self {
            uid: observed.uid.clone(),
            created_s: observed.created_s,
            parsed: observed.parsed.clone(),
            valid: known.map_or(recalled, |pod| pod.valid.as_ref()).cloned(),
            target: observed.target.clone(),
            reported_target: observed.target.clone(),
            status: None,
            no_address_since: match observed.target {
                Target::NoAddress => Some(known.and_then(|pod| pod.no_address_since).unwrap_or(now)),
                Target::At(_) | Target::Forbidden(_) | Target::Finished => None,
            },
            is_news: is_news || known.is_some_and(|pod| pod.is_news),
            notified: known.and_then(|pod| pod.notified.clone()),
            filter: known.and_then(|pod| pod.filter.clone()),
        };
        match &observed.parsed {
            Parsed::None => return None,
            // An invalid request loses its place among those that wait; a refusal is not forgotten.
            Parsed::Invalid(_) => drop(pod.filter.take_if(|filter| matches!(filter, NewFilter::Pending { .. }))),
            Parsed::Valid(request) => {
                pod.ask(ValidRequest { annotations: observed.annotations.clone(), request: request.clone() }, now);
            }
        }
        // What is admitted may be older than both.
        let records = |valid: &ValidRequest| valid.request.stop_on != StopOn::NOTHING;
        let has_recorded = known.map_or_else(|| recalled.is_some_and(records), |pod| pod.status.is_some());
        if has_recorded || pod.valid.iter().chain(pod.pending()).any(records) {
            pod.status = Some(observed.status.clone());
        }
        Some(pod)
    }

    /// A valid request is in force at once if it has no filter, or the same filter as the request in force.
    fn ask(&mut self, new: ValidRequest, now: Instant) {
        let filter = |valid: &ValidRequest| valid.request.spec.filter.clone();
        if filter(&new).is_none() || self.valid.as_ref().and_then(filter) == filter(&new) {
            (self.valid, self.filter) = (Some(new), None);
            return;
        }
        self.filter = Some(match self.filter.take() {
            Some(NewFilter::Refused { annotations, refusal }) if annotations == new.annotations => {
                self.parsed = Parsed::Invalid(refusal.clone());
                NewFilter::Refused { annotations, refusal }
            }
            Some(NewFilter::Pending { since, .. }) => NewFilter::Pending { valid: new, since },
            Some(NewFilter::Refused { .. }) | None => NewFilter::Pending { valid: new, since: now },
        });
    }

    /// The request that waits for tcpdump's verdict on its filter.
    #[must_use]
    pub fn pending(&self) -> Option<&ValidRequest> {
        self.pending_since().map(|(valid, _)| valid)
    }

    /// The request that waits for tcpdump's verdict on its filter, and since when it waits.
    pub(super) fn pending_since(&self) -> Option<(&ValidRequest, Instant)> {
        match &self.filter {
            Some(NewFilter::Pending { valid, since }) => Some((valid, *since)),
            Some(NewFilter::Refused { .. }) | None => None,
        }
    }

    /// The pending filter, if there is one, waits behind all others.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let Some(NewFilter::Pending { since, .. }) = &mut self.filter {
            *since = now;
        }
    }

    /// Takes in tcpdump's verdict on a filter. A pod that asks for something else by now had its turn, and waits behind all others:
    /// otherwise a pod that changes its filter again and again would be the only one whose filter is compiled.
    pub(super) fn resolve(&mut self, job: &FilterJob, verdict: &Result<(), Refusal>, now: Instant) {
        if self.uid != job.uid || self.pending() != Some(&job.valid) {
            return self.postpone(now);
        }
        let ValidRequest { annotations, .. } = job.valid.clone();
        self.filter = match verdict {
            Ok(()) => {
                self.valid = Some(job.valid.clone());
                None
            }
            Err(refusal) => {
                self.parsed = Parsed::Invalid(refusal.clone());
                Some(NewFilter::Refused { annotations, refusal: refusal.clone() })
            }
        };
    }
}
