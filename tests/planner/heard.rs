//! What the contract makes of the words that were heard: written down anew, in another way than in `desired` and `plan`, so that
//! the two can be compared.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use packet_capture::core::{
    annotations::{Accepted, Annotations},
    captures::Standing,
    desired::{Check, WatchEvent},
    limits::Limits,
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
    refusal::Refusal,
    request::{Asked, Place},
};

/// All pods as they were last heard of, whether they ask for something or not.
#[derive(Default)]
pub struct Heard {
    pods: BTreeMap<Stem, ObservedPod>,
    list: Option<BTreeMap<Stem, (ObservedPod, Instant)>>,
    complete: bool,
    lost_since: Option<Instant>,
    waits_since: BTreeMap<PodUid, Instant>,
    /// The last readable request of each pod that has asked ever since.
    pub accepted: BTreeMap<PodUid, Accepted>,
    /// Requests with a filter that tcpdump has not compiled, and since when they wait for that.
    unchecked: BTreeMap<PodUid, (Accepted, Instant)>,
    /// Those that were seen before they finished, or whose finish the watch told.
    news: BTreeSet<PodUid>,
    /// What their owners were last told.
    told: BTreeMap<PodUid, Standing>,
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

impl Heard {
    /// What a controller that begins knows: the requests that an earlier one wrote down.
    pub fn after_restart(accepted: BTreeMap<PodUid, Accepted>) -> Self {
        Self { accepted, ..Self::default() }
    }

    pub fn hear(&mut self, word: &WatchEvent, now: Instant) {
        match word {
            WatchEvent::ListStarted => self.list = Some(BTreeMap::new()),
            WatchEvent::ListItem(seen) => {
                let list = self.list.as_mut().expect("a list has begun");
                list.insert(Stem::of(&seen.pod), (seen.clone(), now));
            }
            WatchEvent::ListDone => {
                self.pods.clear();
                for (seen, at) in self.list.take().expect("a list has begun").into_values() {
                    self.look(&seen, at, true);
                }
                let there = |uid: &PodUid| self.pods.values().any(|pod| pod.uid == *uid);
                self.unchecked.retain(|uid, _| there(uid));
                self.news.retain(|uid| there(uid));
                self.complete = true;
                self.lost_since = None;
            }
            WatchEvent::Applied(seen) => self.look(seen, now, false),
            WatchEvent::Deleted(seen) => {
                self.unchecked.remove(&seen.uid);
                self.news.remove(&seen.uid);
                if self.pod(&Stem::of(&seen.pod)).is_some_and(|pod| pod.uid == seen.uid) {
                    self.pods.remove(&Stem::of(&seen.pod));
                }
            }
            WatchEvent::Disconnected => {
                self.list = None;
                self.lost_since = self.lost_since.or(Some(now));
            }
        }
    }

    fn look(&mut self, seen: &ObservedPod, at: Instant, is_listed: bool) {
        let uid = &seen.uid;
        if seen.asked == Asked::Nothing {
            self.news.remove(uid);
            self.told.remove(uid);
        } else if !is_listed || seen.place != Place::Finished {
            self.news.insert(uid.clone());
        }
        match &seen.asked {
            Asked::Nothing => {
                self.accepted.remove(uid);
                self.waits_since.remove(uid);
                self.unchecked.remove(uid);
                self.rejected.remove(uid);
            }
            Asked::Request(request) => {
                let new = Accepted { annotations: seen.annotations.clone(), request: request.clone() };
                let filter = new.request.capture.filter.as_ref();
                let before = self.accepted.get(uid).and_then(|accepted| accepted.request.capture.filter.as_ref());
                if filter.is_none() || filter == before {
                    self.unchecked.remove(uid);
                    self.rejected.remove(uid);
                    self.accepted.insert(uid.clone(), new);
                } else if self.rejected.get(uid).is_some_and(|(rejected, _)| *rejected == new.annotations) {
                    self.unchecked.remove(uid);
                } else {
                    self.rejected.remove(uid);
                    self.unchecked.entry(uid.clone()).or_insert_with(|| (new.clone(), at)).0 = new.clone();
                }
            }
            Asked::Unreadable(_) => {
                self.unchecked.remove(uid);
            }
        }
        if seen.place != Place::NoAddress {
            self.waits_since.remove(uid);
        } else if seen.asked != Asked::Nothing {
            self.waits_since.entry(uid.clone()).or_insert(at);
        }
        self.pods.insert(Stem::of(&seen.pod), seen.clone());
    }

    pub fn is_complete(&self) -> bool {
        self.complete
    }

    fn pod(&self, stem: &Stem) -> Option<&ObservedPod> {
        self.pods.get(stem)
    }

    pub fn asking(&self, stem: &Stem) -> Option<&ObservedPod> {
        self.pod(stem).filter(|pod| pod.asked != Asked::Nothing)
    }

    /// What the words so far say of the capture of `owner`.
    pub fn fate(&self, stem: &Stem, owner: Option<&PodUid>) -> Fate {
        match (self.pod(stem), owner) {
            _ if !self.complete => Fate::Asked,
            (Some(pod), None) if pod.asked != Asked::Nothing => Fate::Asked,
            (_, None) => Fate::MustGo,
            (Some(pod), Some(owner)) => match (pod.asked != Asked::Nothing, pod.uid == *owner) {
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
        match (&pod.asked, &pod.place) {
            (Asked::Unreadable(refusal), _) => Some(refusal),
            (_, place) => match (rejected, place) {
                (Some((_, refusal)), _) | (None, Place::Forbidden(refusal)) => Some(refusal),
                (None, _) => None,
            },
        }
    }

    /// What is still to be said to the owner of a pod that finished and gets no slot.
    pub fn declined(&self, stem: &Stem) -> Option<Standing> {
        let pod = self.asking(stem).filter(|pod| pod.place == Place::Finished && self.news.contains(&pod.uid))?;
        let refused = self.refusal(stem).map(|refusal| Standing::Refused(refusal.clone()));
        let standing = refused.unwrap_or(Standing::Missed);
        (self.told.get(&pod.uid) != Some(&standing)).then_some(standing)
    }

    pub fn told(&mut self, uid: &PodUid, standing: Standing) {
        self.told.insert(uid.clone(), standing);
    }

    /// When a pod that has no address is to be told that it waits.
    pub fn told_of_wait_at(&self, stem: &Stem) -> Option<Instant> {
        let pod = self.asking(stem).filter(|_| self.refusal(stem).is_none())?;
        Some(*self.waits_since.get(&pod.uid)? + Duration::from_secs(10))
    }

    /// Those whose filter can be compiled now, and since when they wait for it.
    pub fn to_check(&self) -> BTreeMap<Stem, (Accepted, Instant)> {
        let at = |pod: &&ObservedPod| matches!(pod.place, Place::At(_));
        let pods = self.pods.values().filter(at);
        pods.filter_map(|pod| Some((Stem::of(&pod.pod), self.unchecked.get(&pod.uid)?.clone()))).collect()
    }

    /// What a pod asks that tcpdump has not compiled.
    pub fn pending(&self, uid: &PodUid) -> Option<&Accepted> {
        self.unchecked.get(uid).map(|(accepted, _)| accepted)
    }

    pub fn checked(&mut self, check: &Check, verdict: &Result<(), Refusal>, now: Instant) {
        let Some(pod) = self.pods.get(&check.stem) else { return };
        let uid = pod.uid.clone();
        match self.unchecked.get_mut(&uid) {
            Some((accepted, _)) if *accepted == check.accepted => (),
            // It had its turn, and asks for something else by now.
            Some((_, since)) => return *since = now,
            None => return,
        }
        let (accepted, _) = self.unchecked.remove(&uid).unwrap();
        match verdict {
            Ok(()) => {
                self.accepted.insert(uid, accepted);
            }
            Err(refusal) => {
                self.rejected.insert(uid, (accepted.annotations, refusal.clone()));
            }
        }
    }
}
