//! What is desired: watch events folded into what each pod last readably asked for, and where it is. No I/O, no clock.
//!
//! A list is gathered aside and swapped in when it is complete, so that one which fails half-way changes nothing.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use crate::{
    capture::{Asked, Limits, Place, Request, Stem, Uid},
    pod::{self, Annotations, Seen},
};

/// What the API server has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A list begins; an earlier one that did not end is void.
    Listing,
    /// A pod of the list.
    Listed(Seen),
    /// The list is complete.
    ListDone,
    /// A pod was created or changed.
    Changed(Seen),
    /// A pod was deleted.
    Gone(Seen),
    /// The connection failed: from now on nothing is known of changes.
    Lost,
}

/// A pod that asks for something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The pod's UID.
    pub uid: Uid,
    /// When the pod was created, in seconds since 1970.
    pub created_s: i64,
    /// What its annotations ask at the moment; never [`Asked::Nothing`].
    pub asked: Asked,
    /// The last request that could be read, which stands until another can be.
    pub accepted: Option<Accepted>,
    /// Where the pod is.
    pub place: Place,
    /// Since when it has had no address.
    pub homeless_since: Option<Instant>,
}

/// A readable request with the annotations that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The annotations, word for word.
    pub annotations: Annotations,
    /// What they ask.
    pub request: Request,
}

/// The pods of this node that ask for a capture, by the stem of their files.
#[derive(Debug, Default)]
pub struct Desired {
    wishes: BTreeMap<Stem, Wish>,
    list: Option<BTreeMap<Stem, Wish>>,
    complete: bool,
    lost_since: Option<Instant>,
    recalled: HashMap<Uid, Accepted>,
}

impl Desired {
    /// Recalls what a pod readably asked for before this process began, for the case that its annotations no longer can be read.
    pub fn recall(&mut self, uid: Uid, annotations: Annotations, limits: &Limits) {
        if let Asked::Request(request) = pod::asked(&annotations, limits) {
            self.recalled.insert(uid, Accepted { annotations, request });
        }
    }

    /// Takes in one word of the API server, heard at `now`.
    pub fn hear(&mut self, word: Word, now: Instant) {
        match word {
            Word::Listing => self.list = Some(BTreeMap::new()),
            Word::Listed(seen) => {
                let (stem, wish) = (Stem::of(&seen.pod), self.wish(seen, now));
                if let (Some(list), Some(wish)) = (&mut self.list, wish) {
                    list.insert(stem, wish);
                }
            }
            Word::ListDone => {
                if let Some(list) = self.list.take() {
                    self.wishes = list;
                    self.complete = true;
                    self.lost_since = None;
                    self.recalled.clear();
                }
            }
            Word::Changed(seen) => {
                let stem = Stem::of(&seen.pod);
                match self.wish(seen, now) {
                    Some(wish) => self.wishes.insert(stem, wish),
                    None => self.wishes.remove(&stem),
                };
            }
            Word::Gone(seen) => {
                let stem = Stem::of(&seen.pod);
                if self.wishes.get(&stem).is_some_and(|wish| wish.uid == seen.uid) {
                    self.wishes.remove(&stem);
                }
            }
            Word::Lost => {
                self.list = None;
                self.lost_since.get_or_insert(now);
            }
        }
    }

    /// The wish for a stem's files, if any.
    #[must_use]
    pub fn wish_for(&self, stem: &Stem) -> Option<&Wish> {
        self.wishes.get(stem)
    }

    /// All wishes, by stem.
    pub fn wishes(&self) -> impl Iterator<Item = (&Stem, &Wish)> {
        self.wishes.iter()
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

    fn wish(&self, seen: Seen, now: Instant) -> Option<Wish> {
        let known = self.wishes.get(&Stem::of(&seen.pod)).filter(|wish| wish.uid == seen.uid);
        let accepted = match &seen.asked {
            Asked::Nothing => return None,
            Asked::Request(request) => {
                Some(Accepted { annotations: seen.annotations.clone(), request: request.clone() })
            }
            Asked::Unreadable(_) => match known {
                Some(wish) => wish.accepted.clone(),
                None => self.recalled.get(&seen.uid).cloned(),
            },
        };
        let homeless_since = match seen.place {
            Place::NoAddress => Some(known.and_then(|wish| wish.homeless_since).unwrap_or(now)),
            Place::At(_) | Place::Forbidden(_) | Place::Finished => None,
        };
        Some(Wish {
            uid: seen.uid,
            created_s: seen.created_s,
            asked: seen.asked,
            accepted,
            place: seen.place,
            homeless_since,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        capture::{PodName, Refusal},
        pod::ANNOTATION,
    };

    fn limits() -> Limits {
        Limits { files_max: 100, stale_max: Duration::from_secs(600), host_network_namespaces: [].into() }
    }

    fn seen(name: &str, uid: &str, value: Option<&str>) -> Seen {
        let annotations: Annotations =
            value.map(|value| (ANNOTATION.to_owned(), value.to_owned())).into_iter().collect();
        Seen {
            uid: Uid(uid.into()),
            pod: PodName { namespace: "default".into(), name: name.into() },
            created_s: 0,
            asked: pod::asked(&annotations, &limits()),
            annotations,
            place: Place::NoAddress,
        }
    }

    fn files(desired: &Desired, name: &str) -> Option<u16> {
        let stem = Stem::of(&PodName { namespace: "default".into(), name: name.into() });
        desired.wish_for(&stem)?.accepted.as_ref().map(|accepted| accepted.request.files)
    }

    fn after(words: impl IntoIterator<Item = Word>) -> Desired {
        let mut desired = Desired::default();
        words.into_iter().for_each(|word| desired.hear(word, Instant::now()));
        desired
    }

    #[test]
    fn a_list_that_fails_half_way_changes_nothing() {
        let (a, b) = (seen("a", "1", Some("5")), seen("b", "2", Some("6")));
        let full = [Word::Listing, Word::Listed(a), Word::Listed(b.clone()), Word::ListDone];
        let half = [Word::Listing, Word::Listed(b.clone()), Word::Lost];
        let desired = after(full.clone().into_iter().chain(half));
        assert_eq!((files(&desired, "a"), files(&desired, "b")), (Some(5), Some(6)));
        assert!(desired.lost_since().is_some());
        let again = [Word::Listing, Word::Listing, Word::Listed(b), Word::ListDone];
        let desired = after(full.into_iter().chain(again));
        assert_eq!((files(&desired, "a"), files(&desired, "b")), (None, Some(6)));
        assert!(desired.lost_since().is_none());
    }

    #[test]
    fn nothing_is_complete_before_the_first_list_is() {
        assert!(
            !after([Word::Listing, Word::Listed(seen("a", "1", Some("5"))), Word::Lost, Word::ListDone]).is_complete()
        );
        assert!(after([Word::Listing, Word::ListDone]).is_complete());
    }

    #[test]
    fn the_last_readable_request_stands_until_the_annotation_goes() {
        let change = |value| Word::Changed(seen("a", "1", value));
        let mut desired = after([change(Some("5")), change(Some("x"))]);
        assert_eq!(files(&desired, "a"), Some(5));
        let wish = desired.wishes().next().unwrap().1.clone();
        assert_eq!(wish.asked, Asked::Unreadable(Refusal::FileCount { value: "x".into(), max: 100 }));
        [change(None), change(Some("x"))].into_iter().for_each(|word| desired.hear(word, Instant::now()));
        assert_eq!(files(&desired, "a"), None);
    }

    #[test]
    fn another_pod_of_the_name_inherits_nothing_and_outlives_the_first_ones_end() {
        let reborn = [Word::Changed(seen("a", "1", Some("5"))), Word::Changed(seen("a", "2", Some("x")))];
        assert_eq!(files(&after(reborn), "a"), None);
        let reborn = [Word::Changed(seen("a", "2", Some("5"))), Word::Gone(seen("a", "1", None))];
        assert_eq!(files(&after(reborn), "a"), Some(5));
    }

    #[test]
    fn what_was_asked_before_a_restart_is_recalled_by_the_first_list_only() {
        let mut desired = Desired::default();
        desired.recall(Uid("1".into()), seen("a", "1", Some("7")).annotations, &limits());
        desired.recall(Uid("2".into()), seen("b", "2", Some("9")).annotations, &limits());
        for word in [Word::Listing, Word::Listed(seen("a", "1", Some("x"))), Word::ListDone] {
            desired.hear(word, Instant::now());
        }
        assert_eq!(files(&desired, "a"), Some(7));
        desired.hear(Word::Changed(seen("b", "2", Some("x"))), Instant::now());
        assert_eq!(files(&desired, "b"), None);
    }

    #[test]
    fn the_wait_for_an_address_counts_from_its_beginning() {
        let (start, mut desired) = (Instant::now(), Desired::default());
        desired.hear(Word::Changed(seen("a", "1", Some("5"))), start);
        desired.hear(Word::Changed(seen("a", "1", Some("6"))), start + Duration::from_secs(9));
        assert_eq!(desired.wishes().next().unwrap().1.homeless_since, Some(start));
    }
}
