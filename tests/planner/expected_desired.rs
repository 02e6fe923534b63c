//! What the contract makes of the words that were heard: written down anew, in another way than in `desired` and `plan`, so that
//! the two can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use packet_capture::core::{
    annotations::{Annotations, ValidRequest},
    condition::Condition,
    desired::{Check, WatchEvent},
    limits::Limits,
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
    refusal::Refusal,
    request::{Parsed, Target},
};

/// All pods as they were last heard of, whether they ask for something or not.
#[derive(Default)]
pub struct ExpectedDesired {
    pods: BTreeMap<Stem, ObservedPod>,
    list: Option<BTreeMap<Stem, (ObservedPod, Instant)>>,
    complete: bool,
    lost_since: Option<Instant>,
    waits_since: BTreeMap<PodUid, Instant>,
    /// The last readable request of each pod that has asked ever since.
    pub valid: BTreeMap<PodUid, ValidRequest>,
    /// Requests with a filter that tcpdump has not compiled, and since when they wait for that.
    unchecked: BTreeMap<PodUid, (ValidRequest, Instant)>,
    /// Those that were seen before they finished, or whose finish the watch told.
    news: BTreeSet<PodUid>,
    /// What their owners were last told.
    notified: BTreeMap<PodUid, Condition>,
    /// Annotations with a filter that tcpdump does not compile.
    rejected: BTreeMap<PodUid, (Annotations, Refusal)>,
}

/// What the words so far say of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its pod asks for it.
    Asked,
    /// Its pod is gone, and nobody else asks for the files of that name.
    PodGone,
    /// Its files are to go.
    MustGo,
}

impl ExpectedDesired {
    /// What a controller that begins knows: the requests that an earlier one wrote down.
    pub fn after_restart(valid: BTreeMap<PodUid, ValidRequest>) -> Self {
        Self { valid, ..Self::default() }
    }

    pub fn observe(&mut self, event: &WatchEvent, now: Instant) {
        match event {
            WatchEvent::ListStarted => self.list = Some(BTreeMap::new()),
            WatchEvent::ListItem(observed) => {
                let list = self.list.as_mut().expect("a list has begun");
                list.insert(Stem::of(&observed.name), (observed.clone(), now));
            }
            WatchEvent::ListDone => {
                self.pods.clear();
                for (observed, at) in self.list.take().expect("a list has begun").into_values() {
                    self.look(&observed, at, true);
                }
                let there = |uid: &PodUid| self.pods.values().any(|pod| pod.uid == *uid);
                self.unchecked.retain(|uid, _| there(uid));
                self.news.retain(|uid| there(uid));
                self.complete = true;
                self.lost_since = None;
            }
            WatchEvent::Applied(observed) => self.look(observed, now, false),
            WatchEvent::Deleted(observed) => {
                self.unchecked.remove(&observed.uid);
                self.news.remove(&observed.uid);
                if self.pod(&Stem::of(&observed.name)).is_some_and(|pod| pod.uid == observed.uid) {
                    self.pods.remove(&Stem::of(&observed.name));
                }
            }
            WatchEvent::Disconnected => {
                self.list = None;
                self.lost_since = self.lost_since.or(Some(now));
            }
        }
    }

    fn look(&mut self, observed: &ObservedPod, at: Instant, is_listed: bool) {
        let uid = &observed.uid;
        if observed.parsed == Parsed::None {
            self.news.remove(uid);
            self.notified.remove(uid);
        } else if !is_listed || observed.target != Target::Finished {
            self.news.insert(uid.clone());
        }
        match &observed.parsed {
            Parsed::None => {
                self.valid.remove(uid);
                self.waits_since.remove(uid);
                self.unchecked.remove(uid);
                self.rejected.remove(uid);
            }
            Parsed::Valid(request) => {
                let new = ValidRequest { annotations: observed.annotations.clone(), request: request.clone() };
                let filter = new.request.spec.filter.as_ref();
                let before = self.valid.get(uid).and_then(|valid| valid.request.spec.filter.as_ref());
                if filter.is_none() || filter == before {
                    self.unchecked.remove(uid);
                    self.rejected.remove(uid);
                    self.valid.insert(uid.clone(), new);
                } else if self.rejected.get(uid).is_some_and(|(rejected, _)| *rejected == new.annotations) {
                    self.unchecked.remove(uid);
                } else {
                    self.rejected.remove(uid);
                    self.unchecked.entry(uid.clone()).or_insert_with(|| (new.clone(), at)).0 = new.clone();
                }
            }
            Parsed::Invalid(_) => {
                self.unchecked.remove(uid);
            }
        }
        if observed.target != Target::NoAddress {
            self.waits_since.remove(uid);
        } else if observed.parsed != Parsed::None {
            self.waits_since.entry(uid.clone()).or_insert(at);
        }
        self.pods.insert(Stem::of(&observed.name), observed.clone());
    }

    pub fn has_listed(&self) -> bool {
        self.complete
    }

    fn pod(&self, stem: &Stem) -> Option<&ObservedPod> {
        self.pods.get(stem)
    }

    pub fn asking(&self, stem: &Stem) -> Option<&ObservedPod> {
        self.pod(stem).filter(|pod| pod.parsed != Parsed::None)
    }

    /// What the words so far say of the capture of `owner`.
    pub fn fate(&self, stem: &Stem, owner: Option<&PodUid>) -> Fate {
        match (self.pod(stem), owner) {
            _ if !self.complete => Fate::Asked,
            (Some(pod), None) if pod.parsed != Parsed::None => Fate::Asked,
            (_, None) => Fate::MustGo,
            (Some(pod), Some(owner)) => match (pod.parsed != Parsed::None, pod.uid == *owner) {
                (true, true) => Fate::Asked,
                (true, false) | (false, true) => Fate::MustGo,
                (false, false) => Fate::PodGone,
            },
            (None, Some(_)) => Fate::PodGone,
        }
    }

    /// Since when it has been too long without a word.
    pub fn stale_at(&self, limits: &Limits) -> Option<Instant> {
        Some(self.lost_since? + limits.stale_max)
    }

    /// Why what the pod asks now is refused for good.
    pub fn refusal(&self, stem: &Stem) -> Option<&Refusal> {
        let pod = self.asking(stem)?;
        let rejected = self.rejected.get(&pod.uid).filter(|(annotations, _)| *annotations == pod.annotations);
        match (&pod.parsed, &pod.target) {
            (Parsed::Invalid(refusal), _) => Some(refusal),
            (_, target) => match (rejected, target) {
                (Some((_, refusal)), _) | (None, Target::Forbidden(refusal)) => Some(refusal),
                (None, _) => None,
            },
        }
    }

    /// What is still to be said to the owner of a pod that finished and gets no slot.
    pub fn declined(&self, stem: &Stem) -> Option<Condition> {
        let pod = self.asking(stem).filter(|pod| pod.target == Target::Finished && self.news.contains(&pod.uid))?;
        let refused = self.refusal(stem).map(|refusal| Condition::Refused(refusal.clone()));
        let condition = refused.unwrap_or(Condition::Missed);
        (self.notified.get(&pod.uid) != Some(&condition)).then_some(condition)
    }

    pub fn notified(&mut self, uid: &PodUid, condition: Condition) {
        self.notified.insert(uid.clone(), condition);
    }

    /// When a pod that has no address is to be told that it waits.
    pub fn told_of_wait_at(&self, stem: &Stem) -> Option<Instant> {
        let pod = self.asking(stem).filter(|_| self.refusal(stem).is_none())?;
        Some(*self.waits_since.get(&pod.uid)? + Duration::from_secs(10))
    }

    /// Those whose filter can be compiled now, and since when they wait for it.
    pub fn to_check(&self) -> BTreeMap<Stem, (ValidRequest, Instant)> {
        let at = |pod: &&ObservedPod| matches!(pod.target, Target::At(_));
        let pods = self.pods.values().filter(at);
        pods.filter_map(|pod| Some((Stem::of(&pod.name), self.unchecked.get(&pod.uid)?.clone()))).collect()
    }

    /// What a pod asks that tcpdump has not compiled.
    pub fn pending(&self, uid: &PodUid) -> Option<&ValidRequest> {
        self.unchecked.get(uid).map(|(valid, _)| valid)
    }

    pub fn checked(&mut self, check: &Check, verdict: &Result<(), Refusal>, now: Instant) {
        let Some(pod) = self.pods.get(&check.stem) else { return };
        let uid = pod.uid.clone();
        match self.unchecked.get_mut(&uid) {
            Some((valid, _)) if *valid == check.valid => (),
            // It had its turn, and asks for something else by now.
            Some((_, since)) => return *since = now,
            None => return,
        }
        let (valid, _) = self.unchecked.remove(&uid).unwrap();
        match verdict {
            Ok(()) => {
                self.valid.insert(uid, valid);
            }
            Err(refusal) => {
                self.rejected.insert(uid, (valid.annotations, refusal.clone()));
            }
        }
    }
}
