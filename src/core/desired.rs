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
pub use request::Wish;

use crate::core::{
    annotations::{self, Accepted, Annotations},
    captures::Standing,
    limits::Limits,
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
    request::Asked,
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
    wishes: BTreeMap<Stem, Wish>,
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
    recalled: HashMap<PodUid, Accepted>,
    /// When a filter was last compiled for a stem; nothing older than [`CHECK_INTERVAL`] is kept.
    checked: BTreeMap<Stem, Instant>,
    /// When each namespace had a filter compiled last; nothing older than [`SERVED_FOR`](filters) is kept.
    served: BTreeMap<String, Instant>,
    changes: u64,
    /// Where captures went on when an earlier process ended.
    recalled_at: HashMap<PodUid, Vec<IpAddr>>,
    /// The node's own addresses.
    node: BTreeSet<IpAddr>,
    words: Order,
}

/// What was so before this process began came before all else.
const BEFORE: Order = 0;

impl Desired {
    /// Recalls what a pod readably asked for before this process began, for the case that its annotations no longer can be read.
    pub fn recall(&mut self, uid: PodUid, annotations: Annotations, limits: &Limits) -> Option<Accepted> {
        let Asked::Request(request) = annotations::asked(&annotations, limits) else { return None };
        let accepted = Accepted { annotations, request };
        self.recalled.insert(uid, accepted.clone());
        Some(accepted)
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
            self.pods.place_all(&self.node);
        }
        changed
    }

    /// Takes in one word of the API server, heard at `now`.
    pub fn hear(&mut self, word: WatchEvent, now: Instant) {
        match word {
            WatchEvent::ListStarted => {
                self.words += 1;
                self.list = Some(Pods::default());
            }
            WatchEvent::ListItem(seen) => {
                let wish = self.wish(&seen, true, now);
                if let Some(list) = &mut self.list {
                    let stem = Stem::of(&seen.pod);
                    let is_known = self.pods.uids.get(&stem) == Some(&seen.uid);
                    let recalled = self.recalled_at.get(&seen.uid);
                    let order = |ip| {
                        let known = is_known.then(|| self.pods.claims.since(&stem, ip)).flatten();
                        let recalled = || recalled.is_some_and(|ips| ips.contains(&ip)).then_some(BEFORE);
                        known.or_else(recalled).unwrap_or(self.words)
                    };
                    list.claims.set(&stem, &seen.claims, order);
                    list.uids.insert(stem, seen.uid.clone());
                    list.note(&seen, wish);
                }
            }
            WatchEvent::ListDone => {
                if let Some(list) = self.list.take() {
                    self.pods = list;
                    self.pods.place_all(&self.node);
                    self.complete = true;
                    self.lost_since = None;
                    self.recalled.clear();
                    self.changes += 1;
                    self.recalled_at.clear();
                }
            }
            WatchEvent::Applied(seen) => {
                self.words += 1;
                let stem = Stem::of(&seen.pod);
                if self.pods.uids.insert(stem.clone(), seen.uid.clone()).is_some_and(|uid| uid != seen.uid) {
                    self.claim(&stem, &[]);
                }
                self.claim(&stem, &seen.claims);
                let mut wish = self.wish(&seen, false, now);
                if let Some(wish) = &mut wish {
                    wish.place = self.pods.claims.place(&stem, &wish.reported, &self.node);
                }
                if self.wish_for(&stem) != wish.as_ref() {
                    self.changes += 1;
                }
                self.changes += u64::from(self.pods.note(&seen, wish));
            }
            WatchEvent::Deleted(seen) => {
                let stem = Stem::of(&seen.pod);
                if self.wish_for(&stem).is_some_and(|wish| wish.uid == seen.uid) {
                    self.pods.wishes.remove(&stem);
                    self.changes += 1;
                }
                self.changes += u64::from(self.pods.content.remove(&seen.uid));
                if self.pods.uids.get(&stem) == Some(&seen.uid) {
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
    pub fn told(&mut self, stem: &Stem, standing: &Standing) {
        if let Some(wish) = self.pods.wishes.get_mut(stem) {
            wish.told = Some(standing.clone());
            self.changes += 1;
            let uid = wish.uid.clone();
            let listed = self.list.as_mut().and_then(|list| list.wishes.get_mut(stem));
            if let Some(listed) = listed.filter(|listed| listed.uid == uid) {
                listed.told = Some(standing.clone());
            }
        }
    }

    /// The wish for a stem's files, if any.
    #[must_use]
    pub fn wish_for(&self, stem: &Stem) -> Option<&Wish> {
        self.pods.wishes.get(stem)
    }

    /// All wishes, by stem.
    pub fn wishes(&self) -> impl Iterator<Item = (&Stem, &Wish)> {
        self.pods.wishes.iter()
    }

    /// Whether a pod is there and asks for nothing.
    #[must_use]
    pub fn is_unannotated(&self, uid: &PodUid) -> bool {
        self.pods.content.contains(uid)
    }

    /// Whether a complete list was ever seen: before that, a missing pod proves nothing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Since when there has been no word from the API server.
    #[must_use]
    pub fn lost_since(&self) -> Option<Instant> {
        self.lost_since
    }

    /// A pod reports these addresses, which may change whose they are: others are where they say then, or no longer.
    fn claim(&mut self, stem: &Stem, ips: &[IpAddr]) {
        let order = self.words;
        for concerned in self.pods.claims.set(stem, ips, |_| order) {
            self.changes += u64::from(self.pods.place(&concerned, &self.node));
        }
    }

    fn wish(&self, seen: &ObservedPod, is_listed: bool, now: Instant) -> Option<Wish> {
        let known = self.wish_for(&Stem::of(&seen.pod)).filter(|wish| wish.uid == seen.uid);
        Wish::after(known, self.recalled.get(&seen.uid), seen, is_listed, now)
    }
}

impl Pods {
    /// Returns whether it is new that the pod asks for nothing.
    fn note(&mut self, seen: &ObservedPod, wish: Option<Wish>) -> bool {
        let stem = Stem::of(&seen.pod);
        match wish {
            Some(wish) => {
                self.content.remove(&seen.uid);
                self.wishes.insert(stem, wish);
                false
            }
            None => {
                self.wishes.remove(&stem);
                self.content.insert(seen.uid.clone())
            }
        }
    }

    /// Decides anew where a pod is that asks for a capture. Returns whether that is elsewhere than before.
    fn place(&mut self, stem: &Stem, node: &BTreeSet<IpAddr>) -> bool {
        let Some(wish) = self.wishes.get_mut(stem) else { return false };
        let place = self.claims.place(stem, &wish.reported, node);
        std::mem::replace(&mut wish.place, place) != wish.place
    }

    fn place_all(&mut self, node: &BTreeSet<IpAddr>) {
        for (stem, wish) in &mut self.wishes {
            wish.place = self.claims.place(stem, &wish.reported, node);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{annotations::ANNOTATION, name::PodName, refusal::Refusal, request::Place};

    pub fn seen(name: &str, uid: &str, value: Option<&str>) -> ObservedPod {
        let annotations: Annotations =
            value.map(|value| (ANNOTATION.to_owned(), value.to_owned())).into_iter().collect();
        ObservedPod {
            uid: PodUid(uid.into()),
            pod: PodName { namespace: "default".into(), name: name.into() },
            created_s: 0,
            asked: annotations::asked(&annotations, &Limits::default()),
            annotations,
            place: Place::NoAddress,
            claims: Vec::new(),
        }
    }

    pub fn files(desired: &Desired, name: &str) -> Option<u16> {
        let stem = Stem::of(&PodName { namespace: "default".into(), name: name.into() });
        desired.wish_for(&stem)?.accepted.as_ref().map(|accepted| accepted.request.capture.files)
    }

    pub fn after(words: impl IntoIterator<Item = WatchEvent>) -> Desired {
        let mut desired = Desired::default();
        words.into_iter().for_each(|word| desired.hear(word, Instant::now()));
        desired
    }

    #[test]
    fn a_list_that_fails_half_way_changes_nothing() {
        let (a, b) = (seen("a", "1", Some("5")), seen("b", "2", Some("6")));
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
                WatchEvent::ListItem(seen("a", "1", Some("5"))),
                WatchEvent::Disconnected,
                WatchEvent::ListDone
            ])
            .is_complete()
        );
        assert!(after([WatchEvent::ListStarted, WatchEvent::ListDone]).is_complete());
    }

    #[test]
    fn the_last_readable_request_stands_until_the_annotation_goes() {
        let change = |value| WatchEvent::Applied(seen("a", "1", value));
        let mut desired = after([change(Some("5")), change(Some("x"))]);
        assert_eq!(files(&desired, "a"), Some(5));
        let wish = desired.wishes().next().unwrap().1.clone();
        assert_eq!(wish.asked, Asked::Unreadable(Refusal::FileCount { value: "x".into(), max: 100 }));
        [change(None), change(Some("x"))].into_iter().for_each(|word| desired.hear(word, Instant::now()));
        assert_eq!(files(&desired, "a"), None);
    }

    #[test]
    fn another_pod_of_the_name_inherits_nothing_and_outlives_the_first_ones_end() {
        let reborn = [WatchEvent::Applied(seen("a", "1", Some("5"))), WatchEvent::Applied(seen("a", "2", Some("x")))];
        assert_eq!(files(&after(reborn), "a"), None);
        let reborn = [WatchEvent::Applied(seen("a", "2", Some("5"))), WatchEvent::Deleted(seen("a", "1", None))];
        assert_eq!(files(&after(reborn), "a"), Some(5));
    }

    #[test]
    fn what_was_asked_before_a_restart_is_recalled_by_the_first_list_only() {
        let mut desired = Desired::default();
        desired.recall(PodUid("1".into()), seen("a", "1", Some("7")).annotations, &Limits::default());
        desired.recall(PodUid("2".into()), seen("b", "2", Some("9")).annotations, &Limits::default());
        for word in [WatchEvent::ListStarted, WatchEvent::ListItem(seen("a", "1", Some("x"))), WatchEvent::ListDone] {
            desired.hear(word, Instant::now());
        }
        assert_eq!(files(&desired, "a"), Some(7));
        desired.hear(WatchEvent::Applied(seen("b", "2", Some("x"))), Instant::now());
        assert_eq!(files(&desired, "b"), None);
    }

    #[test]
    fn the_wait_for_an_address_counts_from_its_beginning() {
        let (start, mut desired) = (Instant::now(), Desired::default());
        desired.hear(WatchEvent::Applied(seen("a", "1", Some("5"))), start);
        desired.hear(WatchEvent::Applied(seen("a", "1", Some("6"))), start + Duration::from_secs(9));
        assert_eq!(desired.wishes().next().unwrap().1.no_address_since, Some(start));
    }

    #[test]
    fn a_pod_without_its_annotation_is_told_from_one_that_is_gone() {
        let mut desired =
            after([WatchEvent::Applied(seen("a", "1", Some("5"))), WatchEvent::Applied(seen("a", "1", None))]);
        assert!(desired.is_unannotated(&PodUid("1".into())));
        desired.hear(WatchEvent::Deleted(seen("a", "1", None)), Instant::now());
        assert!(!desired.is_unannotated(&PodUid("1".into())));
    }
}
