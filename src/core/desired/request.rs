//! What one pod asks for, and what of it stands.

use std::time::Instant;

use crate::core::{
    annotations::{Accepted, Annotations},
    captures::Standing,
    name::PodUid,
    observed_pod::ObservedPod,
    refusal::Refusal,
    request::{Asked, Place},
};

/// A pod that asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The pod's UID.
    pub uid: PodUid,
    /// When the pod was created, in seconds since 1970.
    pub created_s: i64,
    /// What its annotations ask at the moment; never [`Asked::Nothing`].
    pub asked: Asked,
    /// The last request that could be read, which stands until another can be.
    pub accepted: Option<Accepted>,
    /// Where the pod is.
    pub place: Place,
    /// Where it is by its own account.
    pub(super) reported: Place,
    /// Since when it has had no address.
    pub no_address_since: Option<Instant>,
    /// Whether this process saw it before its pod finished, or was told by the watch that it had: who finished before that is not
    /// told again by each process that begins.
    pub is_news: bool,
    /// What its pod's owner was told without regard to a slot.
    pub told: Option<Standing>,
    /// What waits for tcpdump's verdict on its filter, and since when.
    pub(super) unchecked: Option<(Accepted, Instant)>,
    /// What tcpdump's verdict was against.
    rejected: Option<(Annotations, Refusal)>,
}

impl Wish {
    /// What a look at a pod makes of the wish that was known of it, or of what it asked before this process began.
    #[must_use]
    pub fn after(
        known: Option<&Self>,
        recalled: Option<&Accepted>,
        seen: &ObservedPod,
        is_listed: bool,
        now: Instant,
    ) -> Option<Self> {
        let mut wish = Self {
            uid: seen.uid.clone(),
            created_s: seen.created_s,
            asked: seen.asked.clone(),
            accepted: known.map_or(recalled, |wish| wish.accepted.as_ref()).cloned(),
            place: seen.place.clone(),
            reported: seen.place.clone(),
            no_address_since: match seen.place {
                Place::NoAddress => Some(known.and_then(|wish| wish.no_address_since).unwrap_or(now)),
                Place::At(_) | Place::Forbidden(_) | Place::Finished => None,
            },
            is_news: !is_listed || seen.place != Place::Finished || known.is_some_and(|wish| wish.is_news),
            told: known.and_then(|wish| wish.told.clone()),
            unchecked: None,
            rejected: known.and_then(|wish| wish.rejected.clone()),
        };
        let request = match &seen.asked {
            Asked::Nothing => return None,
            Asked::Unreadable(_) => return Some(wish),
            Asked::Request(request) => request.clone(),
        };
        let filter = |accepted: &Accepted| accepted.request.capture.filter.clone();
        let new = Accepted { annotations: seen.annotations.clone(), request };
        let proven = filter(&new).is_none() || wish.accepted.as_ref().and_then(filter) == filter(&new);
        match &wish.rejected {
            _ if proven => (wish.accepted, wish.rejected) = (Some(new), None),
            Some((annotations, refusal)) if *annotations == new.annotations => {
                wish.asked = Asked::Unreadable(refusal.clone());
            }
            Some(_) | None => {
                let since = known.and_then(|wish| Some(wish.unchecked.as_ref()?.1)).unwrap_or(now);
                (wish.unchecked, wish.rejected) = (Some((new, since)), None);
            }
        }
        Some(wish)
    }

    /// The request that waits for tcpdump's verdict on its filter.
    #[must_use]
    pub fn pending(&self) -> Option<&Accepted> {
        self.unchecked.as_ref().map(|(accepted, _)| accepted)
    }

    /// Whether what is asked is what stands.
    pub(super) fn is_accepted(&self) -> bool {
        matches!(self.asked, Asked::Request(_)) && self.unchecked.is_none()
    }

    /// What waits for tcpdump's verdict waits behind all others.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let Some((_, since)) = &mut self.unchecked {
            *since = now;
        }
    }

    /// Takes in tcpdump's verdict on a request, if it still waits for that. One that asks for something else by now has had its
    /// turn, and waits behind all others: else who changes its filter again and again would be the only one to be compiled.
    pub(super) fn judge(&mut self, judged: &Accepted, verdict: &Result<(), Refusal>, now: Instant) {
        match &mut self.unchecked {
            Some((accepted, _)) if accepted == judged => (),
            Some((_, since)) => return *since = now,
            None => return,
        }
        self.unchecked = None;
        match verdict {
            Ok(()) => self.accepted = Some(judged.clone()),
            Err(refusal) => {
                self.asked = Asked::Unreadable(refusal.clone());
                self.rejected = Some((judged.annotations.clone(), refusal.clone()));
            }
        }
    }
}
