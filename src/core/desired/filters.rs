//! Which filter tcpdump is to compile next, and what comes of its verdict.
//!
//! A request with a new filter is in force only when tcpdump has compiled the filter: until then the request before it stands.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::Desired;
use crate::core::{
    annotations::ValidRequest,
    name::{PodUid, Stem},
    refusal::Refusal,
    request::Target,
};

/// The shortest time between two compilations for one pod, so that a pod whose filter changes again and again keeps no core busy. The
/// first filter is compiled at once, and of the filters that follow within this time only the last one.
pub const COMPILE_INTERVAL: Duration = Duration::from_secs(2);

/// How long it is remembered that a namespace had its turn: longer than a queue of costly filters takes, and not for ever.
const SERVED_FOR: Duration = Duration::from_secs(300);

/// A filter for tcpdump to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterJob {
    /// The stem of the pod's files.
    pub stem: Stem,
    /// The pod's UID.
    pub uid: PodUid,
    /// The request that the filter is part of.
    pub valid: ValidRequest,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
}

/// What there is to compile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextFilter {
    /// This filter, now.
    Job(FilterJob),
    /// Nothing before this time: each pod that waits had its turn just now.
    NotBefore(Instant),
    /// Nothing, until a pod asks for another filter.
    None,
}

/// Who had a filter compiled, and when. Old turns are forgotten, so that there are only as many as there were compilations.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// The last turn of each pod, for [`COMPILE_INTERVAL`]; by stem, since another pod of the name gains no turn by that.
    pods: BTreeMap<Stem, Instant>,
    /// The last turn of each namespace, for [`SERVED_FOR`].
    namespaces: BTreeMap<String, Instant>,
}

impl Turns {
    /// A pod and its namespace had their turn.
    fn record(&mut self, stem: &Stem, now: Instant) {
        self.pods.retain(|_, at| *at + COMPILE_INTERVAL > now);
        self.pods.insert(stem.clone(), now);
        self.namespaces.retain(|_, at| *at + SERVED_FOR > now);
        self.namespaces.insert(stem.namespace().to_owned(), now);
    }

    /// When a pod may have its next turn, if not now.
    fn not_before(&self, stem: &Stem, now: Instant) -> Option<Instant> {
        self.pods.get(stem).map(|at| *at + COMPILE_INTERVAL).filter(|at| *at > now)
    }
}

impl Desired {
    /// The filter to be compiled next. The namespace whose last turn was longest ago comes first, so that no namespace keeps the others
    /// waiting; within the namespace the pod that has waited longest. A pod without an address waits for an address, too: whether its
    /// filter can match anything at all depends on that. A pod that had its turn just now waits, and nobody waits behind it.
    #[must_use]
    pub fn next_filter(&self, now: Instant) -> NextFilter {
        let (mut first, mut soonest) = (None, None::<Instant>);
        for (stem, pod) in self.pods.pending() {
            let (Some((valid, since)), Target::At(ips)) = (pod.pending_since(), &pod.target) else { continue };
            if let Some(at) = self.turns.not_before(stem, now) {
                soonest = Some(soonest.map_or(at, |soonest| soonest.min(at)));
                continue;
            }
            let rank = (self.turns.namespaces.get(stem.namespace()), since);
            if first.as_ref().is_none_or(|(foremost, _)| rank < *foremost) {
                let (stem, uid, valid, ips) = (stem.clone(), pod.uid.clone(), valid.clone(), ips.clone());
                first = Some((rank, FilterJob { stem, uid, valid, ips }));
            }
        }
        match (first, soonest) {
            (Some((_, job)), _) => NextFilter::Job(job),
            (None, Some(at)) => NextFilter::NotBefore(at),
            (None, None) => NextFilter::None,
        }
    }

    /// Takes in tcpdump's verdict on a filter. A verdict on what is no longer asked changes nothing but the order of the turns.
    pub fn resolve(&mut self, job: &FilterJob, verdict: &Result<(), Refusal>, now: Instant) {
        self.take_turn(job, now);
        self.pods.update(&job.stem, |pod| pod.resolve(job, verdict, now));
    }

    /// Takes in that a compilation came to no verdict: the filter waits behind all others.
    pub fn postpone(&mut self, job: &FilterJob, now: Instant) {
        self.take_turn(job, now);
        self.pods.update(&job.stem, |pod| pod.postpone(now));
    }

    fn take_turn(&mut self, job: &FilterJob, now: Instant) {
        self.changes += 1;
        self.turns.record(&job.stem, now);
    }
}

#[cfg(test)]
mod tests;
