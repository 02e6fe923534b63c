//! What one pod asks for, and what of it stands.

use std::time::Instant;

use crate::core::{
    annotations::{Annotations, ValidRequest},
    condition::Condition,
    name::PodUid,
    observed_pod::ObservedPod,
    refusal::Refusal,
    request::{Parsed, Target},
};

/// A pod that asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRequest {
    /// The pod's UID.
    pub uid: PodUid,
    /// When the pod was created, in seconds since 1970.
    pub created_s: i64,
    /// What its annotations ask at the moment; never [`Parsed::None`].
    pub parsed: Parsed,
    /// The last request that could be read, which stands until another can be.
    pub valid: Option<ValidRequest>,
    /// Where the pod is.
    pub target: Target,
    /// Where it is by its own account.
    pub(super) reported_target: Target,
    /// Since when it has had no address.
    pub no_address_since: Option<Instant>,
    /// Whether this process saw it before its pod finished, or was told by the watch that it had: who finished before that is not
    /// told again by each process that begins.
    pub is_news: bool,
    /// What its pod's owner was told without regard to a slot.
    pub notified: Option<Condition>,
    /// What waits for tcpdump's verdict on its filter, and since when.
    pub(super) unchecked: Option<(ValidRequest, Instant)>,
    /// What tcpdump's verdict was against.
    rejected: Option<(Annotations, Refusal)>,
}

impl PodRequest {
    /// What a look at a pod makes of the wish that was known of it, or of what it asked before this process began.
    #[must_use]
    pub fn after(
        known: Option<&Self>,
        recalled: Option<&ValidRequest>,
        observed: &ObservedPod,
        is_listed: bool,
        now: Instant,
    ) -> Option<Self> {
        let mut pod = Self {
            uid: observed.uid.clone(),
            created_s: observed.created_s,
            parsed: observed.parsed.clone(),
            valid: known.map_or(recalled, |pod| pod.valid.as_ref()).cloned(),
            target: observed.target.clone(),
            reported_target: observed.target.clone(),
            no_address_since: match observed.target {
                Target::NoAddress => Some(known.and_then(|pod| pod.no_address_since).unwrap_or(now)),
                Target::At(_) | Target::Forbidden(_) | Target::Finished => None,
            },
            is_news: !is_listed || observed.target != Target::Finished || known.is_some_and(|pod| pod.is_news),
            notified: known.and_then(|pod| pod.notified.clone()),
            unchecked: None,
            rejected: known.and_then(|pod| pod.rejected.clone()),
        };
        let request = match &observed.parsed {
            Parsed::None => return None,
            Parsed::Invalid(_) => return Some(pod),
            Parsed::Valid(request) => request.clone(),
        };
        let filter = |valid: &ValidRequest| valid.request.spec.filter.clone();
        let new = ValidRequest { annotations: observed.annotations.clone(), request };
        let proven = filter(&new).is_none() || pod.valid.as_ref().and_then(filter) == filter(&new);
        match &pod.rejected {
            _ if proven => (pod.valid, pod.rejected) = (Some(new), None),
            Some((annotations, refusal)) if *annotations == new.annotations => {
                pod.parsed = Parsed::Invalid(refusal.clone());
            }
            Some(_) | None => {
                let since = known.and_then(|pod| Some(pod.unchecked.as_ref()?.1)).unwrap_or(now);
                (pod.unchecked, pod.rejected) = (Some((new, since)), None);
            }
        }
        Some(pod)
    }

    /// The request that waits for tcpdump's verdict on its filter.
    #[must_use]
    pub fn pending(&self) -> Option<&ValidRequest> {
        self.unchecked.as_ref().map(|(valid, _)| valid)
    }

    /// Whether what is asked is what stands.
    pub(super) fn is_in_force(&self) -> bool {
        matches!(self.parsed, Parsed::Valid(_)) && self.unchecked.is_none()
    }

    /// What waits for tcpdump's verdict waits behind all others.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let Some((_, since)) = &mut self.unchecked {
            *since = now;
        }
    }

    /// Takes in tcpdump's verdict on a request, if it still waits for that. One that asks for something else by now has had its
    /// turn, and waits behind all others: else who changes its filter again and again would be the only one to be compiled.
    pub(super) fn judge(&mut self, judged: &ValidRequest, verdict: &Result<(), Refusal>, now: Instant) {
        match &mut self.unchecked {
            Some((valid, _)) if valid == judged => (),
            Some((_, since)) => return *since = now,
            None => return,
        }
        self.unchecked = None;
        match verdict {
            Ok(()) => self.valid = Some(judged.clone()),
            Err(refusal) => {
                self.parsed = Parsed::Invalid(refusal.clone());
                self.rejected = Some((judged.annotations.clone(), refusal.clone()));
            }
        }
    }
}
