//! Who has room: the contract's sums, over the files that there are and the oracle's own books.

use std::collections::BTreeMap;

use packet_capture::core::{
    annotations::ValidRequest, condition::StopReason, name::Stem, plan::Action, refusal::Shortage, request::Target,
};

use super::{FLOOR_MB, Node, process::Process};
use crate::expected_desired::Fate;

/// Who asks for something that is not done, and either that it has room, or all reasons why it has none.
pub type Verdicts = BTreeMap<Stem, Result<ValidRequest, Vec<Shortage>>>;

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
        let Some(expected) = self.expected_captures.get(stem).filter(|expected| expected.admitted.is_some()) else {
            return false;
        };
        let over = expected.ended.is_some() || expected.retired.is_some() || expected.doomed;
        expected.holds
            && !self.is_idle(stem)
            && !over
            && self.expected_desired.asking(stem).is_some_and(|pod| pod.target != Target::Finished)
    }

    /// Whether it was given room that it cannot use.
    pub(super) fn is_idle(&self, stem: &Stem) -> bool {
        let expected = &self.expected_captures[stem];
        let pod = self.expected_desired.asking(stem).filter(|pod| Some(&pod.uid) == expected.owner.as_ref());
        let is_kept_out = pod.is_some_and(|pod| match pod.target {
            Target::NoAddress => expected.began.is_none(),
            Target::Forbidden(_) => true,
            Target::At(_) | Target::Finished => false,
        });
        expected.holds && is_kept_out && !self.has_process(stem)
    }

    /// Whether it rested, and its pod wants it to go on.
    pub(super) fn rejoins(&self, stem: &Stem) -> bool {
        let wants = self.could_ask(stem).is_some_and(|(valid, _)| !valid.request.paused);
        wants && self.expected_captures[stem].rests
    }

    pub(super) fn takes(&self) -> BTreeMap<&Stem, Takes> {
        let mut all: BTreeMap<&Stem, Takes> = BTreeMap::new();
        for (stem, expected) in &self.expected_captures {
            if self.goes_on(stem) {
                all.insert(stem, Takes { mb: expected.files().into(), is_capture: true });
            }
        }
        let mut also = |stem, mb: u64, is_capture: bool| {
            let takes = all.entry(stem).or_default();
            takes.mb = takes.mb.max(mb);
            takes.is_capture |= is_capture;
        };
        self.files.iter().for_each(|(stem, files)| also(stem, files.count.into(), false));
        self.processes.values().for_each(|process| also(&process.stem, process.run.spec.files.into(), true));
        all
    }

    /// What a pod asks for that is not done, and whether it waits for its filter to be compiled.
    fn asks(&self, stem: &Stem) -> Option<(&ValidRequest, bool)> {
        self.could_ask(stem).filter(|(valid, _)| valid.request.paused || !self.expected_captures[stem].rests)
    }

    fn could_ask(&self, stem: &Stem) -> Option<(&ValidRequest, bool)> {
        let expected =
            self.expected_captures.get(stem).filter(|expected| !expected.doomed && expected.retired.is_none())?;
        let pod = self.expected_desired.asking(stem).filter(|pod| Some(&pod.uid) == expected.owner.as_ref())?;
        let ends = |process: &Process| matches!(process.term_at, Some((_, StopReason::Ended(_))));
        let had_address = expected.holds && expected.began.is_some();
        let somewhere = matches!(pod.target, Target::At(_)) || (pod.target == Target::NoAddress && had_address);
        if !somewhere || self.processes.get(&pod.uid).is_some_and(ends) {
            return None;
        }
        if let Some(pending) = self.expected_desired.pending(&pod.uid) {
            return Some((pending, true));
        }
        let valid = self.expected_desired.valid.get(&pod.uid)?;
        let needs_room = !valid.request.paused && !expected.holds && expected.ended.is_none();
        (needs_room || expected.admitted.as_ref() != Some(valid)).then_some((valid, false))
    }

    /// The verdicts on all that is asked: who came first is served first.
    pub(super) fn verdicts(&self) -> Verdicts {
        if !self.expected_desired.has_listed() {
            return Verdicts::new();
        }
        let mut takes = self.takes();
        let mut asking: Vec<(u64, &Stem)> =
            self.expected_captures.iter().map(|(stem, expected)| (expected.target, stem)).collect();
        asking.sort();
        let mut verdicts = Verdicts::new();
        for (_, stem) in asking {
            let Some((valid, is_pending)) = self.asks(stem) else { continue };
            let reasons = self.reasons(stem, valid, &takes);
            if !reasons.is_empty() && is_pending {
                continue;
            } else if !reasons.is_empty() {
                verdicts.insert(stem.clone(), Err(reasons));
                continue;
            }
            if !valid.request.paused {
                let takes = takes.entry(stem).or_default();
                takes.mb = takes.mb.max(valid.request.spec.files.into());
                takes.is_capture = true;
            }
            if !is_pending {
                verdicts.insert(stem.clone(), Ok(valid.clone()));
            }
        }
        verdicts
    }

    /// All reasons why there is no room.
    fn reasons(&self, stem: &Stem, valid: &ValidRequest, takes: &BTreeMap<&Stem, Takes>) -> Vec<Shortage> {
        let (expected, files) = (&self.expected_captures[stem], valid.request.spec.files);
        if valid.request.paused || (expected.holds && expected.ended.is_none() && expected.files() >= files) {
            // It needs nothing, or no more than there is.
            return Vec::new();
        }
        let others = || takes.iter().filter(|(other, _)| **other != stem).map(|(_, takes)| takes);
        let max = self.limits.captures_max;
        let captures = others().filter(|takes| takes.is_capture).count() as u64;
        let (needs_mb, budget_mb) = (u64::from(files), self.limits.budget_mb);
        let used_mb = others().map(|takes| takes.mb).sum::<u64>();
        let over = used_mb + needs_mb > u64::from(budget_mb);
        let captures = (captures >= max.into()).then_some(Shortage::Captures { captures, max });
        let budget = over.then_some(Shortage::Budget { needs_mb, used_mb, budget_mb });
        let of_share = self.lacks_share(stem, needs_mb, takes);
        captures.into_iter().chain(budget).chain(of_share).chain(self.lacks_disk(stem, files)).collect()
    }

    /// What of its share a namespace has taken already.
    fn lacks_share(&self, stem: &Stem, needs_mb: u64, takes: &BTreeMap<&Stem, Takes>) -> Vec<Shortage> {
        let namespace = stem.pod().namespace;
        // The files of pods that are gone are in nobody's way.
        let is_gone = |stem: &Stem| {
            self.expected_captures.get(stem).is_some_and(|expected| {
                if expected.doomed { !self.has_process(stem) } else { expected.retired.is_some() }
            })
        };
        let others = takes.iter().filter(|(other, _)| **other != stem && other.pod().namespace == namespace);
        let others: Vec<&Takes> = others.filter(|(other, _)| !is_gone(other)).map(|(_, takes)| takes).collect();
        let (max, share_mb) = (self.limits.captures_max_per_namespace, self.limits.budget_mb_per_namespace);
        let captures = others.iter().filter(|takes| takes.is_capture).count() as u64;
        let used_mb = others.iter().map(|takes| takes.mb).sum::<u64>();
        let over = used_mb + needs_mb > share_mb.into() && share_mb < self.limits.budget_mb;
        let full = captures >= max.into() && max < self.limits.captures_max;
        let full = full.then(|| Shortage::NamespaceCaptures { namespace: namespace.clone(), captures, max });
        full.into_iter()
            .chain(over.then_some(Shortage::NamespaceBudget { namespace, needs_mb, used_mb, share_mb }))
            .collect()
    }

    /// Files that are about to go, as far as can be foreseen.
    fn is_being_removed(&self, stem: &Stem) -> bool {
        let expected = &self.expected_captures[stem];
        let killed = self.processes.values().any(|process| process.stem == *stem && process.kill_at.is_some());
        expected.doomed && expected.unremoved.is_none() && !killed
    }

    pub(super) fn space_is_being_freed(&self) -> bool {
        self.expected_captures.keys().any(|stem| self.is_being_removed(stem))
    }

    /// How many megabytes would have to go, at the least and at the most; nothing is given for what would not have room then.
    pub(super) fn missing_mb(&self, verdicts: &Verdicts) -> (u64, u64) {
        let mb = |stem: &Stem| u64::try_from(self.count(stem)).unwrap();
        let all = self
            .expected_captures
            .iter()
            .filter(|(_, expected)| expected.retired.is_some() && !expected.doomed)
            .map(|(stem, _)| mb(stem));
        let all: u64 = all.sum();
        let missing_mb = |shortage: &Shortage| match *shortage {
            Shortage::Captures { .. }
            | Shortage::NamespaceCaptures { .. }
            | Shortage::NamespaceBudget { .. }
            | Shortage::Pods { .. } => u64::MAX,
            Shortage::Budget { needs_mb, used_mb, budget_mb } => used_mb + needs_mb - u64::from(budget_mb),
            Shortage::Disk { needs_mb, free_mb, low_watermark_mb } => {
                (low_watermark_mb + needs_mb).saturating_sub(free_mb)
            }
        };
        let asking = verdicts.values().filter_map(|verdict| verdict.as_ref().err().cloned());
        let waiting = self.expected_captures.iter().filter(|(stem, _)| self.waits_for_disk(stem));
        let waiting = waiting.filter_map(|(stem, expected)| Some(vec![self.lacks_disk(stem, expected.files())?]));
        let low = if self.space.low { 2 * FLOOR_MB - self.space.free_mb } else { 0 };
        let (mut least, mut most) = (low, low);
        for reasons in asking.chain(waiting) {
            let all_lacks = || reasons.iter().map(missing_mb);
            let fits = |mb: &u64| *mb <= all;
            least = least.max(all_lacks().max().filter(fits).unwrap_or_default());
            if all_lacks().all(|mb| mb != u64::MAX) {
                most = most.max(all_lacks().filter(fits).max().unwrap_or_default());
            }
        }
        let coming: u64 = self.expected_captures.keys().filter(|stem| self.is_being_removed(stem)).map(mb).sum();
        (least.saturating_sub(coming), most.saturating_sub(coming))
    }

    /// What is decided over all stems at once.
    pub(super) fn check_plan(&mut self, actions: &[(Stem, Action)]) {
        (self.verdicts, self.space_is_being_freed) = (self.verdicts(), self.space_is_being_freed());
        let admitted = actions.iter().filter_map(|(stem, action)| match action {
            Action::Admit(valid) => Some((stem, valid)),
            _ => None,
        });
        let fits = self.verdicts.iter().filter_map(|(stem, verdict)| Some((stem, verdict.as_ref().ok()?)));
        let fits = fits.filter(|_| !self.stopping);
        assert_eq!(admitted.collect::<BTreeMap<_, _>>(), fits.collect(), "admits others than those that have room");

        let opened = actions.iter().filter(|(_, action)| matches!(action, Action::Open(_)));
        let opened =
            opened.filter_map(|(stem, _)| self.expected_desired.asking(stem)).map(|pod| (pod.created_s, &pod.uid));
        assert!(opened.collect::<Vec<_>>().is_sorted(), "the younger pod comes first");

        let (_, most) = self.missing_mb(&self.verdicts);
        let keep = self.limits.keep_after_pod;
        let kept =
            self.expected_captures.iter().filter(|(_, expected)| !expected.doomed).filter_map(|(stem, expected)| {
                // What has no file is not kept.
                let is_kept = self.expected_desired.fate(stem, expected.owner.as_ref()) == Fate::PodGone
                    && (self.count(stem) > 0 || self.has_process(stem));
                expected
                    .retired
                    .filter(|retired| is_kept && self.now < retired.at + keep)
                    .map(|retired| (retired.at, stem))
            });
        let (gone, kept): (Vec<_>, Vec<_>) =
            kept.partition(|(_, stem)| actions.contains(&((*stem).clone(), Action::MarkForRemoval)));
        let last = gone.iter().max();
        assert!(
            last.is_none_or(|(last, _)| kept.iter().all(|(at, _)| at >= last)),
            "others are the first to go: {gone:?}"
        );
        let but_one: usize = gone.iter().map(|(_, stem)| self.count(stem)).sum::<usize>();
        let but_one = but_one - last.map_or(0, |(_, stem)| self.count(stem));
        let is_uncounted = gone.iter().any(|(_, stem)| self.has_process(stem));
        let is_due = gone.is_empty() || is_uncounted || (but_one as u64) < most;
        assert!(is_due, "{most} MB are missing, and more go than that: {gone:?}");
    }

    /// What the files and the captures may take together.
    pub(super) fn check_room(&self) {
        let takes = self.takes();
        let mb: u64 = takes.values().map(|takes| takes.mb).sum();
        assert!(mb <= u64::from(self.limits.budget_mb), "{mb} MB are more than there are: {takes:?}");
        let captures = takes.values().filter(|takes| takes.is_capture).count();
        assert!(captures <= usize::from(self.limits.captures_max), "{captures} captures are too many: {takes:?}");
        for namespace in ["default", "prod"] {
            let holds = |stem: &Stem| self.goes_on(stem) && stem.pod().namespace == namespace;
            let of_it: Vec<&Takes> = takes.iter().filter(|(stem, _)| holds(stem)).map(|(_, takes)| takes).collect();
            let mb: u64 = of_it.iter().map(|takes| takes.mb).sum();
            assert!(mb <= self.limits.budget_mb_per_namespace.into(), "{namespace} has {mb} MB: {takes:?}");
            let max = usize::from(self.limits.captures_max_per_namespace);
            assert!(of_it.len() <= max, "{namespace} has more captures than its share: {takes:?}");
        }
    }
}
