//! What the watch events so far say of each pod, and so of each capture's files: which may go, and which must stay.

use std::{collections::BTreeMap, time::Instant};

use packet_capture::core::{
    desired::WatchEvent,
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
    request::Parsed,
};

/// All pods as they were last seen, whether they ask for a capture or not.
#[derive(Default)]
pub struct Seen {
    pods: BTreeMap<Stem, ObservedPod>,
    list: Option<BTreeMap<Stem, ObservedPod>>,
    pub has_listed: bool,
    pub lost_since: Option<Instant>,
}

/// What the events so far say of the files of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Their pod asks for them.
    Asked,
    /// Their pod is gone, and no other pod asks for files of that name.
    PodGone,
    /// They are to be removed.
    MustGo,
}

impl Seen {
    pub fn observe(&mut self, event: &WatchEvent, now: Instant) {
        match event {
            WatchEvent::ListStarted => self.list = Some(BTreeMap::new()),
            WatchEvent::ListItem(pod) => {
                self.list.as_mut().expect("a list has begun").insert(Stem::of(&pod.name), pod.clone());
            }
            WatchEvent::ListDone => {
                self.pods = self.list.take().expect("a list has begun");
                (self.has_listed, self.lost_since) = (true, None);
            }
            WatchEvent::Applied(pod) => {
                self.pods.insert(Stem::of(&pod.name), pod.clone());
            }
            WatchEvent::Deleted(pod) => {
                let stem = Stem::of(&pod.name);
                if self.pods.get(&stem).is_some_and(|known| known.uid == pod.uid) {
                    self.pods.remove(&stem);
                }
            }
            WatchEvent::Disconnected => {
                self.list = None;
                self.lost_since.get_or_insert(now);
            }
        }
    }

    /// The pod of a stem, if it asks for a capture.
    pub fn asking(&self, stem: &Stem) -> Option<&ObservedPod> {
        self.pods.get(stem).filter(|pod| pod.parsed != Parsed::None)
    }

    /// The pod with this UID, if it asks for a capture.
    pub fn own(&self, stem: &Stem, owner: Option<&PodUid>) -> Option<&ObservedPod> {
        self.asking(stem).filter(|pod| Some(&pod.uid) == owner)
    }

    /// What is to become of the files of `owner`.
    pub fn fate(&self, stem: &Stem, owner: Option<&PodUid>) -> Fate {
        let Some(owner) = owner else {
            let is_asked = !self.has_listed || self.asking(stem).is_some();
            return if is_asked { Fate::Asked } else { Fate::MustGo };
        };
        match self.pods.get(stem) {
            _ if !self.has_listed => Fate::Asked,
            None => Fate::PodGone,
            Some(pod) => match (pod.parsed != Parsed::None, pod.uid == *owner) {
                (true, true) => Fate::Asked,
                (true, false) | (false, true) => Fate::MustGo,
                (false, false) => Fate::PodGone,
            },
        }
    }
}
