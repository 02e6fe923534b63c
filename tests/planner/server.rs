//! A model of the API server: pods that come, change and go, and the events that a watch yields.

use std::collections::{BTreeMap, VecDeque};

use packet_capture::core::{
    annotations::{Annotations, parse},
    desired::WatchEvent,
    limits::Limits,
    name::{PodName, PodUid},
    observed_pod::ObservedPod,
    recorder::PodStatus,
    request::{Parsed, Target},
};

use crate::{
    asks::{annotations, target},
    life::{Happening, Life},
};

/// Marsaglia's xorshift: the same sequence for the same seed, on every machine.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        random.below(1);
        random
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone()
    }
}

#[derive(Clone)]
struct Pod {
    uid: PodUid,
    created_s: i64,
    annotations: Annotations,
    target: Target,
}

/// The pods of one node, and what of them an open watch has yet to tell.
pub struct Server {
    limits: Limits,
    pods: BTreeMap<PodName, Pod>,
    uids: u64,
    /// What has happened to each pod so far, also to those that are gone.
    lives: BTreeMap<PodUid, Life>,
    queue: Option<VecDeque<WatchEvent>>,
}

impl Server {
    pub fn new(limits: &Limits) -> Self {
        Self { limits: limits.clone(), pods: BTreeMap::new(), uids: 0, lives: BTreeMap::new(), queue: None }
    }

    pub fn pods(&self) -> Vec<ObservedPod> {
        self.pods.keys().map(|name| self.observed(name)).collect()
    }

    /// Begins a list, of the pods as they are now; what happens from now on follows it.
    pub fn list(&mut self) {
        let pods = self.pods().into_iter().map(WatchEvent::ListItem);
        self.queue = Some([WatchEvent::ListStarted].into_iter().chain(pods).chain([WatchEvent::ListDone]).collect());
    }

    /// Breaks the connection: what was not told yet never will be.
    pub fn hang_up(&mut self) {
        self.queue = None;
    }

    pub fn is_connected(&self) -> bool {
        self.queue.is_some()
    }

    pub fn next_event(&mut self) -> Option<WatchEvent> {
        self.queue.as_mut()?.pop_front()
    }

    /// Lets something happen to one of the pods.
    pub fn change(&mut self, random: &mut Random) {
        let names = [
            ("default", "a"),
            ("default", "a.pcap1"),
            ("default", "b"),
            ("default", "c"),
            ("prod", "a"),
            ("prod", "d"),
        ];
        let (namespace, name) = random.pick(&names);
        let name = PodName { namespace: namespace.into(), name: name.into() };
        if self.pods.contains_key(&name) {
            // One update shows it together with what else changes.
            if random.one_in(2) {
                self.life_of(&name).happen_any(random);
            }
            match random.below(24) {
                0..=2 => self.delete(&name),
                3 => {
                    self.delete(&name);
                    self.create(&name, annotations(random), target(random));
                }
                4..=10 => self.annotate(&name, annotations(random)),
                11 => {
                    // taken away, and there again at once
                    let before = self.pods[&name].annotations.clone();
                    self.annotate(&name, Annotations::new());
                    self.annotate(&name, before);
                }
                12..=17 => self.move_to(&name, target(random)),
                _ => self.tell(&name),
            }
        } else {
            self.create(&name, annotations(random), target(random));
        }
    }

    pub fn create(&mut self, name: &PodName, annotations: Annotations, target: Target) {
        self.uids += 1;
        let uid = PodUid(format!("uid-{}", self.uids));
        // Two in a second, and UIDs that do not tell which of them was the first.
        let created_s = i64::try_from(self.uids / 2).unwrap();
        self.lives.insert(uid.clone(), Life::new(self.lives.len() + 1));
        self.pods.insert(name.clone(), Pod { uid, created_s, annotations, target });
        self.tell(name);
    }

    pub fn annotate(&mut self, name: &PodName, annotations: Annotations) {
        self.pods.get_mut(name).unwrap().annotations = annotations;
        self.tell(name);
    }

    pub fn move_to(&mut self, name: &PodName, to: Target) {
        let pod = self.pods.get_mut(name).unwrap();
        if pod.target != Target::Finished {
            pod.target = to;
        }
        self.tell(name);
    }

    /// Lets things happen to a pod at once.
    pub fn happen(&mut self, name: &PodName, all: &[Happening]) {
        self.life_of(name).happen(all);
        self.tell(name);
    }

    fn life_of(&mut self, name: &PodName) -> &mut Life {
        self.lives.get_mut(&self.pods[name].uid).unwrap()
    }

    /// What has happened to a pod so far.
    pub fn life(&self, uid: &PodUid) -> &Life {
        &self.lives[uid]
    }

    pub fn delete(&mut self, name: &PodName) {
        let observed = self.observed(name);
        self.pods.remove(name);
        self.say(WatchEvent::Deleted(observed));
    }

    fn tell(&mut self, name: &PodName) {
        self.say(WatchEvent::Applied(self.observed(name)));
    }

    fn say(&mut self, event: WatchEvent) {
        if let Some(queue) = &mut self.queue {
            queue.push_back(event);
        }
    }

    fn observed(&self, name: &PodName) -> ObservedPod {
        let Pod { uid, created_s, annotations, target } = self.pods[name].clone();
        let parsed = parse(&annotations, &self.limits);
        // Two may well report the same address: who of them has it is for a test of its own (`addresses`).
        let is_unannotated = parsed == Parsed::None;
        let status = if is_unannotated { PodStatus::default() } else { self.lives[&uid].status().clone() };
        ObservedPod { uid, name: name.clone(), created_s, annotations, parsed, target, claims: Vec::new(), status }
    }
}
