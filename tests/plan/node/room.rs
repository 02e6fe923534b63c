//! Who has room: the contract's sums, over the files that there are and the oracle's own books.

use std::collections::BTreeMap;

use packet_capture::{
    annotations::Accepted,
    capture::{Place, Stem},
    plan::Action,
    refusal::NoRoom,
};

use super::Node;
use crate::heard::Fate;

/// Who asks for something that is not done, and either that it has room, or all reasons why it has none.
pub type Verdicts = BTreeMap<Stem, Result<Accepted, Vec<NoRoom>>>;

/// What a stem takes of what there is for all.
#[derive(Debug, Default)]
pub struct Takes {
    mb: u64,
    is_capture: bool,
}

impl Node {
    pub(super) fn has_process(&self, stem: &Stem) -> bool {
        self.processes.values().any(|process| process.stem == *stem)
    }

    /// Whether an admitted capture may still write more.
    fn goes_on(&self, stem: &Stem) -> bool {
        let Some(book) = self.books.get(stem).filter(|book| book.admitted.is_some()) else { return false };
        let over = book.ended.is_some() || book.retired.is_some() || book.doomed;
        !over && self.heard.asking(stem).is_some_and(|pod| pod.place != Place::Finished)
    }

    pub(super) fn takes(&self) -> BTreeMap<&Stem, Takes> {
        let mut all: BTreeMap<&Stem, Takes> = BTreeMap::new();
        for (stem, book) in &self.books {
            if self.goes_on(stem) {
                all.insert(stem, Takes { mb: book.files().into(), is_capture: true });
            }
        }
        let mut also = |stem, mb: u64, is_capture: bool| {
            let takes = all.entry(stem).or_default();
            takes.mb = takes.mb.max(mb);
            takes.is_capture |= is_capture;
        };
        self.files.iter().for_each(|(stem, files)| also(stem, files.count.into(), false));
        self.processes.values().for_each(|process| also(&process.stem, process.run.capture.files.into(), true));
        all
    }

    /// What a pod asks for that is not done.
    fn asks(&self, stem: &Stem) -> Option<&Accepted> {
        let book = self.books.get(stem).filter(|book| !book.doomed && book.retired.is_none())?;
        let pod = self.heard.asking(stem).filter(|pod| Some(&pod.uid) == book.owner.as_ref())?;
        let accepted = self.heard.accepted.get(&pod.uid)?;
        let somewhere = matches!(pod.place, Place::At(_) | Place::NoAddress);
        (somewhere && book.admitted.as_ref() != Some(accepted)).then_some(accepted)
    }

    /// The verdicts on all that is asked: who came first is served first.
    pub(super) fn verdicts(&self) -> Verdicts {
        if !self.heard.is_complete() {
            return Verdicts::new();
        }
        let mut takes = self.takes();
        let mut asking: Vec<(u64, &Stem)> = self.books.iter().map(|(stem, book)| (book.place, stem)).collect();
        asking.sort();
        let mut verdicts = Verdicts::new();
        for (_, stem) in asking {
            let Some(accepted) = self.asks(stem) else { continue };
            let reasons = self.reasons(stem, accepted, &takes);
            if !reasons.is_empty() {
                verdicts.insert(stem.clone(), Err(reasons));
                continue;
            }
            let takes = takes.entry(stem).or_default();
            takes.mb = takes.mb.max(accepted.request.capture.files.into());
            takes.is_capture = true;
            verdicts.insert(stem.clone(), Ok(accepted.clone()));
        }
        verdicts
    }

    /// All reasons why there is no room.
    fn reasons(&self, stem: &Stem, accepted: &Accepted, takes: &BTreeMap<&Stem, Takes>) -> Vec<NoRoom> {
        let (book, files) = (&self.books[stem], accepted.request.capture.files);
        if book.ended.is_none() && book.files() >= files {
            // A change that needs no more than there is.
            return Vec::new();
        }
        let others = || takes.iter().filter(|(other, _)| **other != stem).map(|(_, takes)| takes);
        let max = self.limits.captures_max;
        let full = others().filter(|takes| takes.is_capture).count() >= usize::from(max);
        let (needs_mb, budget_mb) = (u64::from(files), self.limits.budget_mb);
        let used_mb = others().map(|takes| takes.mb).sum::<u64>();
        let over = used_mb + needs_mb > u64::from(budget_mb);
        let captures = full.then_some(NoRoom::Captures { max });
        let budget = over.then_some(NoRoom::Budget { needs_mb, used_mb, budget_mb });
        captures.into_iter().chain(budget).chain(self.lacks_disk(stem, files)).collect()
    }

    /// Whether removing files would make room for someone.
    pub(super) fn needs_room(&self, verdicts: &Verdicts) -> bool {
        let by_files = |reasons: &Vec<NoRoom>| !reasons.iter().any(|reason| matches!(reason, NoRoom::Captures { .. }));
        self.space.low
            || verdicts.values().any(|verdict| verdict.as_ref().is_err_and(by_files))
            || self.books.keys().any(|stem| self.waits_for_disk(stem))
    }

    /// Whether what a pod waits for is not what its owner was last told, as nobody could be told more: then files may go too early
    /// or too late.
    pub(super) fn is_hushed(&self) -> bool {
        self.books.values().any(|book| book.quiet_until.is_some_and(|until| until > self.now))
    }

    /// Of those whose pods are gone, the ones that have been so for longest.
    pub(super) fn longest_retired(&self) -> Vec<&Stem> {
        let retired = || {
            self.books.iter().filter(|(_, book)| !book.doomed).filter_map(|(stem, book)| Some((book.retired?.at, stem)))
        };
        let first = retired().map(|(at, _)| at).min();
        retired().filter(|(at, _)| Some(*at) == first).map(|(_, stem)| stem).collect()
    }

    /// What is decided over all stems at once.
    pub(super) fn check_plan(&mut self, actions: &[(Stem, Action)]) {
        self.verdicts = self.verdicts();
        let admitted = actions.iter().filter_map(|(stem, action)| match action {
            Action::Admit(accepted) => Some((stem, accepted)),
            _ => None,
        });
        let fits = self.verdicts.iter().filter_map(|(stem, verdict)| Some((stem, verdict.as_ref().ok()?)));
        let fits = fits.filter(|_| !self.stopping);
        assert_eq!(admitted.collect::<BTreeMap<_, _>>(), fits.collect(), "admits others than those that have room");

        let opened = actions.iter().filter(|(_, action)| matches!(action, Action::Open(_)));
        let opened = opened.filter_map(|(stem, _)| self.heard.asking(stem)).map(|pod| (pod.created_s, &pod.uid));
        assert!(opened.collect::<Vec<_>>().is_sorted(), "the younger pod comes first");

        let mut gone_early = 0;
        for (stem, action) in actions {
            let book = self.books.get(stem).filter(|_| *action == Action::Doom);
            let Some(retired) = book.and_then(|book| book.retired) else { continue };
            let is_asked = self.heard.fate(stem, self.books[stem].owner.as_ref()) != Fate::PodGone;
            if is_asked || self.now >= retired.at + self.limits.keep_after_pod {
                continue;
            }
            gone_early += 1;
            assert!(self.needs_room(&self.verdicts) || self.is_hushed(), "the files of {stem} go too early");
            assert!(self.longest_retired().contains(&stem), "{stem} is not the first to go");
            assert!(!self.books.values().any(|book| book.doomed), "{stem} goes although others are going");
        }
        assert!(gone_early <= 1, "more files go than need to");
    }

    /// What the files and the captures may take together.
    pub(super) fn check_room(&self) {
        let takes = self.takes();
        let mb: u64 = takes.values().map(|takes| takes.mb).sum();
        assert!(mb <= u64::from(self.limits.budget_mb), "{mb} MB are more than there are: {takes:?}");
        let captures = takes.values().filter(|takes| takes.is_capture).count();
        assert!(captures <= usize::from(self.limits.captures_max), "{captures} captures are too many: {takes:?}");
    }
}
