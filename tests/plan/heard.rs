//! What the contract makes of the words that were heard: written down anew, in another way than in `desired` and `plan`, so that
//! the two can be compared.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use packet_capture::{
    capture::{Asked, Capture, Place, Stem, Uid},
    desired::Word,
    limits::Limits,
    pod::Seen,
    slots::{Run, Standing, Why},
};

/// All pods as they were last heard of, whether they ask for something or not.
#[derive(Default)]
pub struct Heard {
    pods: BTreeMap<Stem, Seen>,
    list: Option<BTreeMap<Stem, (Seen, Instant)>>,
    complete: bool,
    lost_since: Option<Instant>,
    waits_since: BTreeMap<Uid, Instant>,
    /// The last readable request of each pod that has asked ever since.
    pub accepted: BTreeMap<Uid, u16>,
}

impl Heard {
    /// What a controller that begins knows: the requests that an earlier one wrote down.
    pub fn after_restart(accepted: BTreeMap<Uid, u16>) -> Self {
        Self { accepted, ..Self::default() }
    }

    pub fn hear(&mut self, word: &Word, now: Instant) {
        match word {
            Word::Listing => self.list = Some(BTreeMap::new()),
            Word::Listed(seen) => {
                let list = self.list.as_mut().expect("a list has begun");
                list.insert(Stem::of(&seen.pod), (seen.clone(), now));
            }
            Word::ListDone => {
                self.pods.clear();
                for (seen, at) in self.list.take().expect("a list has begun").into_values() {
                    self.look(&seen, at);
                }
                self.complete = true;
                self.lost_since = None;
            }
            Word::Changed(seen) => self.look(seen, now),
            Word::Gone(seen) => {
                if self.pod(&Stem::of(&seen.pod)).is_some_and(|pod| pod.uid == seen.uid) {
                    self.pods.remove(&Stem::of(&seen.pod));
                }
            }
            Word::Lost => {
                self.list = None;
                self.lost_since = self.lost_since.or(Some(now));
            }
        }
    }

    fn look(&mut self, seen: &Seen, at: Instant) {
        match &seen.asked {
            Asked::Nothing => {
                self.accepted.remove(&seen.uid);
                self.waits_since.remove(&seen.uid);
            }
            Asked::Request(request) => {
                self.accepted.insert(seen.uid.clone(), request.capture.files);
            }
            Asked::Unreadable(_) => (),
        }
        if seen.place != Place::NoAddress {
            self.waits_since.remove(&seen.uid);
        } else if seen.asked != Asked::Nothing {
            self.waits_since.entry(seen.uid.clone()).or_insert(at);
        }
        self.pods.insert(Stem::of(&seen.pod), seen.clone());
    }

    pub fn is_complete(&self) -> bool {
        self.complete
    }

    fn pod(&self, stem: &Stem) -> Option<&Seen> {
        self.pods.get(stem)
    }

    pub fn asking(&self, stem: &Stem) -> Option<&Seen> {
        self.pod(stem).filter(|pod| pod.asked != Asked::Nothing)
    }

    /// Whether the words so far say that the files of `owner` are to go.
    pub fn is_removal(&self, stem: &Stem, owner: Option<&Uid>) -> bool {
        self.complete && self.asking(stem).is_none_or(|pod| owner.is_some_and(|owner| *owner != pod.uid))
    }

    /// Since when it has been too long without a word.
    pub fn stale_at(&self, limits: &Limits) -> Option<Instant> {
        Some(self.lost_since? + limits.stale_max)
    }

    /// What is to run for a stem, or why nothing is.
    pub fn wanted(&self, stem: &Stem, now: Instant, limits: &Limits) -> Result<Run, Why> {
        let pod = self.asking(stem).ok_or(Why::Gone)?;
        let files = self.accepted.get(&pod.uid).copied();
        match &pod.place {
            Place::Finished => Err(Why::Finished),
            Place::NoAddress => Err(Why::NoAddress),
            Place::Forbidden(_) => Err(Why::Forbidden),
            Place::At(ips) => {
                let files = files.ok_or(Why::NothingAdmitted)?;
                let stale = self.stale_at(limits).is_some_and(|at| now >= at);
                let capture = Capture { files, filter: None, packets: None, snaplen: None };
                if stale { Err(Why::Stale) } else { Ok(Run { capture, ips: ips.clone() }) }
            }
        }
    }

    /// What the pod's owner is to know.
    pub fn standing(&self, stem: &Stem, began: bool, now: Instant) -> Option<Standing> {
        let pod = self.asking(stem)?;
        if let Asked::Unreadable(refusal) = &pod.asked {
            return Some(Standing::Refused(refusal.clone()));
        }
        match &pod.place {
            Place::Forbidden(refusal) => Some(Standing::Refused(refusal.clone())),
            Place::Finished => (!began).then_some(Standing::Missed),
            Place::NoAddress => (now >= self.told_of_wait_at(stem)?).then_some(Standing::Waiting),
            Place::At(_) => None,
        }
    }

    /// When a pod that has no address is to be told that it waits.
    pub fn told_of_wait_at(&self, stem: &Stem) -> Option<Instant> {
        let pod = self.asking(stem).filter(|pod| matches!(pod.asked, Asked::Request(_)))?;
        Some(*self.waits_since.get(&pod.uid)? + Duration::from_secs(10))
    }
}
