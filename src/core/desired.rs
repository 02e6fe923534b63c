//! What is desired: watch events folded into what each pod last readably asked for, and where it is. No I/O, no clock.
//!
//! A list is gathered aside and swapped in when it is complete, so that one which fails half-way changes nothing.

mod claims;
mod filters;
mod request;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    time::Instant,
};

use claims::{Claims, Order};
pub use filters::{CHECK_INTERVAL, Check};
pub use request::PodRequest;

use crate::core::{
    annotations::{self, Annotations, ValidRequest},
    condition::Condition,
    limits::Limits,
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
    request::Parsed,
};

/// What the API server has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// A list begins; an earlier one that did not end is void.
    ListStarted,
    /// A pod of the list.
    ListItem(ObservedPod),
    /// The list is complete.
    ListDone,
    /// A pod was created or changed.
    Applied(ObservedPod),
    /// A pod was deleted.
    Deleted(ObservedPod),
    /// The connection failed: from now on nothing is known of changes.
    Disconnected,
}

/// The pods of this node, by the stem of their files.
#[derive(Debug, Default)]
struct Pods {
    requests: BTreeMap<Stem, PodRequest>,
    /// Those that ask for nothing.
    content: HashSet<PodUid>,
    /// The addresses of all of them, and who had each name last: a pod of another UID is another pod.
    claims: Claims,
    uids: HashMap<Stem, PodUid>,
}

/// What is known of the pods of this node.
#[derive(Debug, Default)]
pub struct Desired {
    pods: Pods,
    list: Option<Pods>,
    complete: bool,
    lost_since: Option<Instant>,
    recalled: HashMap<PodUid, ValidRequest>,
    /// When a filter was last compiled for a stem; nothing older than [`CHECK_INTERVAL`] is kept.
    checked: BTreeMap<Stem, Instant>,
    /// When each namespace had a filter compiled last; nothing older than [`SERVED_FOR`](filters) is kept.
    served: BTreeMap<String, Instant>,
    changes: u64,
    /// Where captures went on when an earlier process ended.
    recalled_at: HashMap<PodUid, Vec<IpAddr>>,
    /// The node's own addresses.
    node: BTreeSet<IpAddr>,
    /// How many events there were so far: the order in which addresses were reported.
    observed: Order,
}

/// What was so before this process began came before all else.
const BEFORE: Order = 0;

impl Desired {
    /// Recalls what a pod readably asked for before this process began, for the case that its annotations no longer can be read.
    pub fn recall(&mut self, uid: PodUid, annotations: Annotations, limits: &Limits) -> Option<ValidRequest> {
        let Parsed::Valid(request) = annotations::parse(&annotations, limits) else { return None };
        let valid = ValidRequest { annotations, request };
        self.recalled.insert(uid, valid.clone());
        Some(valid)
    }

    /// Recalls where a pod's capture went on when an earlier process ended: until the first list is complete, that is proof enough
    /// that the pod had these addresses first.
    pub fn recall_at(&mut self, uid: PodUid, ips: Vec<IpAddr>) {
        self.recalled_at.insert(uid, ips);
    }

    /// The node has these addresses now. Says whether it had others before.
    pub fn node_has(&mut self, addresses: BTreeSet<IpAddr>) -> bool {
        let changed = self.node != addresses;
        if changed {
            self.changes += 1;
            self.node = addresses;
            self.pods.update_all_targets(&self.node);
        }
        changed
    }

    /// Takes in one word of the API server, heard at `now`.
    pub fn observe(&mut self, event: WatchEvent, now: Instant) {
        match event {
            WatchEvent::ListStarted => {
                self.observed += 1;
                self.list = Some(Pods::default());
            }
            WatchEvent::ListItem(observed) => {
                let pod = self.pod_request(&observed, true, now);
                if let Some(list) = &mut self.list {
                    let stem = Stem::of(&observed.name);
                    let is_known = self.pods.uids.get(&stem) == Some(&observed.uid);
                    let recalled = self.recalled_at.get(&observed.uid);
                    let order = |ip| {
                        let known = is_known.then(|| self.pods.claims.since(&stem, ip)).flatten();
                        let recalled = || recalled.is_some_and(|ips| ips.contains(&ip)).then_some(BEFORE);
                        known.or_else(recalled).unwrap_or(self.observed)
                    };
                    list.claims.set(&stem, &observed.claims, order);
                    list.uids.insert(stem, observed.uid.clone());
                    list.note(&observed, pod);
                }
            }
            WatchEvent::ListDone => {
                if let Some(list) = self.list.take() {
                    self.pods = list;
                    self.pods.update_all_targets(&self.node);
                    self.complete = true;
                    self.lost_since = None;
                    self.recalled.clear();
                    self.changes += 1;
                    self.recalled_at.clear();
                }
            }
            WatchEvent::Applied(observed) => {
                self.observed += 1;
                let stem = Stem::of(&observed.name);
                if self.pods.uids.insert(stem.clone(), observed.uid.clone()).is_some_and(|uid| uid != observed.uid) {
                    self.claim(&stem, &[]);
                }
                self.claim(&stem, &observed.claims);
                let mut pod = self.pod_request(&observed, false, now);
                if let Some(pod) = &mut pod {
                    pod.target = self.pods.claims.target(&stem, &pod.reported_target, &self.node);
                }
                if self.request_of(&stem) != pod.as_ref() {
                    self.changes += 1;
                }
                self.changes += u64::from(self.pods.note(&observed, pod));
            }
            WatchEvent::Deleted(observed) => {
                let stem = Stem::of(&observed.name);
                if self.request_of(&stem).is_some_and(|pod| pod.uid == observed.uid) {
                    self.pods.requests.remove(&stem);
                    self.changes += 1;
                }
                self.changes += u64::from(self.pods.content.remove(&observed.uid));
                if self.pods.uids.get(&stem) == Some(&observed.uid) {
                    self.pods.uids.remove(&stem);
                    self.claim(&stem, &[]);
                }
            }
            WatchEvent::Disconnected => {
                self.list = None;
                self.lost_since.get_or_insert(now);
                self.changes += 1;
            }
        }
    }

    /// How often what a decision depends on has changed so far: as long as this stays the same, so do the wishes.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A pod's owner was told how things stand, whether there is a slot for it or not.
    pub fn notified(&mut self, stem: &Stem, condition: &Condition) {
        if let Some(pod) = self.pods.requests.get_mut(stem) {
            pod.notified = Some(condition.clone());
            self.changes += 1;
            let uid = pod.uid.clone();
            let listed = self.list.as_mut().and_then(|list| list.requests.get_mut(stem));
            if let Some(listed) = listed.filter(|listed| listed.uid == uid) {
                listed.notified = Some(condition.clone());
            }
        }
    }

    /// The wish for a stem's files, if any.
    #[must_use]
    pub fn request_of(&self, stem: &Stem) -> Option<&PodRequest> {
        self.pods.requests.get(stem)
    }

    /// All wishes, by stem.
    pub fn requests(&self) -> impl Iterator<Item = (&Stem, &PodRequest)> {
        self.pods.requests.iter()
    }

    /// Whether a pod is there and asks for nothing.
    #[must_use]
    pub fn is_unannotated(&self, uid: &PodUid) -> bool {
        self.pods.content.contains(uid)
    }

    /// Whether a complete list was ever seen: before that, a missing pod proves nothing.
    #[must_use]
    pub fn has_listed(&self) -> bool {
        self.complete
    }

    /// Since when there has been no word from the API server.
    #[must_use]
    pub fn lost_since(&self) -> Option<Instant> {
        self.lost_since
    }

    /// A pod reports these addresses, which may change whose they are: others are where they say then, or no longer.
    fn claim(&mut self, stem: &Stem, ips: &[IpAddr]) {
        let order = self.observed;
        for concerned in self.pods.claims.set(stem, ips, |_| order) {
            self.changes += u64::from(self.pods.target(&concerned, &self.node));
        }
    }

    fn pod_request(&self, observed: &ObservedPod, is_listed: bool, now: Instant) -> Option<PodRequest> {
        let known = self.request_of(&Stem::of(&observed.name)).filter(|pod| pod.uid == observed.uid);
        PodRequest::after(known, self.recalled.get(&observed.uid), observed, is_listed, now)
    }
}

impl Pods {
    /// Returns whether it is new that the pod asks for nothing.
    fn note(&mut self, observed: &ObservedPod, pod: Option<PodRequest>) -> bool {
        let stem = Stem::of(&observed.name);
        match pod {
            Some(pod) => {
                self.content.remove(&observed.uid);
                self.requests.insert(stem, pod);
                false
            }
            None => {
                self.requests.remove(&stem);
                self.content.insert(observed.uid.clone())
            }
        }
    }

    /// Decides anew where a pod is that asks for a capture. Returns whether that is elsewhere than before.
    fn target(&mut self, stem: &Stem, node: &BTreeSet<IpAddr>) -> bool {
        let Some(pod) = self.requests.get_mut(stem) else { return false };
        let target = self.claims.target(stem, &pod.reported_target, node);
        std::mem::replace(&mut pod.target, target) != pod.target
    }

    fn update_all_targets(&mut self, node: &BTreeSet<IpAddr>) {
        for (stem, pod) in &mut self.requests {
            pod.target = self.claims.target(stem, &pod.reported_target, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{annotations::ANNOTATION, name::PodName, refusal::Refusal, request::Target};

    pub fn observed(name: &str, uid: &str, value: Option<&str>) -> ObservedPod {
        let annotations: Annotations =
            value.map(|value| (ANNOTATION.to_owned(), value.to_owned())).into_iter().collect();
        ObservedPod {
            uid: PodUid(uid.into()),
            name: PodName { namespace: "default".into(), name: name.into() },
            created_s: 0,
            parsed: annotations::parse(&annotations, &Limits::default()),
            annotations,
            target: Target::NoAddress,
            claims: Vec::new(),
        }
    }

    pub fn files(desired: &Desired, name: &str) -> Option<u16> {
        let stem = Stem::of(&PodName { namespace: "default".into(), name: name.into() });
        desired.request_of(&stem)?.valid.as_ref().map(|valid| valid.request.spec.files)
    }

    pub fn after(events: impl IntoIterator<Item = WatchEvent>) -> Desired {
        let mut desired = Desired::default();
        events.into_iter().for_each(|event| desired.observe(event, Instant::now()));
        desired
    }

    #[test]
    fn a_list_that_fails_half_way_changes_nothing() {
        let (a, b) = (observed("a", "1", Some("5")), observed("b", "2", Some("6")));
        let full =
            [WatchEvent::ListStarted, WatchEvent::ListItem(a), WatchEvent::ListItem(b.clone()), WatchEvent::ListDone];
        let half = [WatchEvent::ListStarted, WatchEvent::ListItem(b.clone()), WatchEvent::Disconnected];
        let desired = after(full.clone().into_iter().chain(half));
        assert_eq!((files(&desired, "a"), files(&desired, "b")), (Some(5), Some(6)));
        assert!(desired.lost_since().is_some());
        let again = [WatchEvent::ListStarted, WatchEvent::ListStarted, WatchEvent::ListItem(b), WatchEvent::ListDone];
        let desired = after(full.into_iter().chain(again));
        assert_eq!((files(&desired, "a"), files(&desired, "b")), (None, Some(6)));
        assert!(desired.lost_since().is_none());
    }

    #[test]
    fn nothing_is_complete_before_the_first_list_is() {
        assert!(
            !after([
                WatchEvent::ListStarted,
                WatchEvent::ListItem(observed("a", "1", Some("5"))),
                WatchEvent::Disconnected,
                WatchEvent::ListDone
            ])
            .has_listed()
        );
        assert!(after([WatchEvent::ListStarted, WatchEvent::ListDone]).has_listed());
    }

    #[test]
    fn the_last_readable_request_stands_until_the_annotation_goes() {
        let change = |value| WatchEvent::Applied(observed("a", "1", value));
        let mut desired = after([change(Some("5")), change(Some("x"))]);
        assert_eq!(files(&desired, "a"), Some(5));
        let pod = desired.requests().next().unwrap().1.clone();
        assert_eq!(pod.parsed, Parsed::Invalid(Refusal::FileCount { value: "x".into(), max: 100 }));
        [change(None), change(Some("x"))].into_iter().for_each(|event| desired.observe(event, Instant::now()));
        assert_eq!(files(&desired, "a"), None);
    }

    #[test]
    fn another_pod_of_the_name_inherits_nothing_and_outlives_the_first_ones_end() {
        let reborn =
            [WatchEvent::Applied(observed("a", "1", Some("5"))), WatchEvent::Applied(observed("a", "2", Some("x")))];
        assert_eq!(files(&after(reborn), "a"), None);
        let reborn =
            [WatchEvent::Applied(observed("a", "2", Some("5"))), WatchEvent::Deleted(observed("a", "1", None))];
        assert_eq!(files(&after(reborn), "a"), Some(5));
    }

    #[test]
    fn what_was_asked_before_a_restart_is_recalled_by_the_first_list_only() {
        let mut desired = Desired::default();
        desired.recall(PodUid("1".into()), observed("a", "1", Some("7")).annotations, &Limits::default());
        desired.recall(PodUid("2".into()), observed("b", "2", Some("9")).annotations, &Limits::default());
        for event in
            [WatchEvent::ListStarted, WatchEvent::ListItem(observed("a", "1", Some("x"))), WatchEvent::ListDone]
        {
            desired.observe(event, Instant::now());
        }
        assert_eq!(files(&desired, "a"), Some(7));
        desired.observe(WatchEvent::Applied(observed("b", "2", Some("x"))), Instant::now());
        assert_eq!(files(&desired, "b"), None);
    }

    #[test]
    fn the_wait_for_an_address_counts_from_its_beginning() {
        let (start, mut desired) = (Instant::now(), Desired::default());
        desired.observe(WatchEvent::Applied(observed("a", "1", Some("5"))), start);
        desired.observe(WatchEvent::Applied(observed("a", "1", Some("6"))), start + Duration::from_secs(9));
        assert_eq!(desired.requests().next().unwrap().1.no_address_since, Some(start));
    }

    #[test]
    fn a_pod_without_its_annotation_is_told_from_one_that_is_gone() {
        let mut desired =
            after([WatchEvent::Applied(observed("a", "1", Some("5"))), WatchEvent::Applied(observed("a", "1", None))]);
        assert!(desired.is_unannotated(&PodUid("1".into())));
        desired.observe(WatchEvent::Deleted(observed("a", "1", None)), Instant::now());
        assert!(!desired.is_unannotated(&PodUid("1".into())));
    }
}
