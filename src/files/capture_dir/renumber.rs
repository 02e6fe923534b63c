//! How a ring goes on after a restart: which files go, and what the others are named then. Pure.
//!
//! tcpdump always begins at index 0 and truncates that file, so a plain restart would destroy the newest packets as likely as
//! the oldest. Before each start the files are therefore renamed: oldest to newest to the highest indices, so that index 0 is
//! free or the oldest. The order is `order`'s, and renaming does not change it: a crash between any two steps leaves files that
//! the next start puts in the same order.

use std::collections::BTreeMap;

use super::File;
use crate::{core::name::Stem, files::pcap::EMPTY_BYTES_MAX};

/// One step on the way from the files of an earlier tcpdump to those that the next one is to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Remove this file.
    Drop(String),
    /// Rename a file to a name that is free.
    Rename(String, String),
}

/// The steps that make `files`, the oldest first, ready for a ring of `count` files: those without a packet and the oldest beyond
/// `count` go, the others move to the highest indices in their order.
#[must_use]
pub fn renumber(files: &[&File], stem: &Stem, count: u16) -> Vec<Step> {
    let mut kept: Vec<&File> = files.iter().copied().filter(|file| file.bytes > Some(EMPTY_BYTES_MAX)).collect();
    let kept = kept.split_off(kept.len().saturating_sub(count.into()));
    let dropped = files.iter().filter(|file| !kept.iter().any(|kept| kept.name == file.name));
    let mut steps: Vec<Step> = dropped.map(|file| Step::Drop(file.name.clone())).collect();
    let first = usize::from(count) - kept.len();
    let targets = (first..).map(|index| stem.file(u16::try_from(index).unwrap_or(u16::MAX), count));
    let mut moves: BTreeMap<String, String> = kept.iter().map(|file| file.name.clone()).zip(targets).collect();
    moves.retain(|from, to| from != to);
    loop {
        if let Some(from) = moves.keys().find(|from| !moves.contains_key(&moves[*from])).cloned() {
            let to = moves.remove(&from).unwrap_or_default();
            steps.push(Step::Rename(from, to));
        } else if let Some((from, to)) = moves.pop_first() {
            // Only cycles are left, all within the new width and of two files or more: the name without a digit is free.
            let spare = stem.base();
            steps.push(Step::Rename(from, spare.clone()));
            moves.insert(spare, to);
        } else {
            return steps;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{File, Stem, Step};
    use crate::core::name::PodName;

    fn web() -> Stem {
        Stem::of(&PodName { namespace: "default".into(), name: "web".into() })
    }

    /// Files as an age for each name: the higher, the newer.
    fn files(names: &[(&str, i128)]) -> Vec<File> {
        let file = |(end, age): &(&str, i128)| File {
            name: format!("captres-web.pcap{end}"),
            written_ns: *age,
            bytes: Some(1_000_000),
            inode: 0,
        };
        names.iter().map(file).collect()
    }

    /// The steps for files whose age is their order.
    fn renumber(files: &[File], stem: &Stem, count: u16) -> Vec<Step> {
        let mut ordered: Vec<&File> = files.iter().collect();
        ordered.sort_by_key(|file| file.written_ns);
        super::renumber(&ordered, stem, count)
    }

    /// Carries out a step, and fails if it would destroy a file that is to stay.
    fn carry_out(files: &mut Vec<File>, step: &Step) {
        match step {
            Step::Drop(name) => files.retain(|file| file.name != *name),
            Step::Rename(from, to) => {
                assert!(!files.iter().any(|file| file.name == *to), "{to} is taken");
                assert_eq!(Stem::of_file(to).map(|(stem, _)| stem), Some(web()));
                files.iter_mut().find(|file| file.name == *from).unwrap().name.clone_from(to);
            }
        }
    }

    /// The ages that stand at the end, by index; each intermediate listing, too, must lead there if the work starts again.
    fn settle(start: Vec<File>, count: u16) -> Vec<Option<i128>> {
        let run = |mut files: Vec<File>, crash_after: usize| {
            renumber(&files, &web(), count).iter().take(crash_after).for_each(|step| carry_out(&mut files, step));
            files
        };
        let end = |files: &[File]| -> Vec<Option<i128>> {
            let at =
                |index| files.iter().find(|file| file.name == web().file(index, count)).map(|file| file.written_ns);
            (0..count).map(at).collect()
        };
        let all = run(start.clone(), usize::MAX);
        assert!(renumber(&all, &web(), count).is_empty(), "a second preparation finds nothing to do");
        for crash_after in 0..renumber(&start, &web(), count).len() {
            let resumed = run(run(start.clone(), crash_after), usize::MAX);
            assert_eq!(end(&resumed), end(&all), "after a crash at step {crash_after} of {start:?}");
            assert_eq!(resumed.len(), all.len());
        }
        end(&all)
    }

    #[test]
    fn the_newest_end_at_the_highest_indices() {
        let some = |ages: &[i128]| ages.iter().map(|age| (*age > 0).then_some(*age)).collect::<Vec<_>>();
        assert_eq!(settle(vec![], 5), some(&[0; 5]));
        assert_eq!(settle(files(&[("0", 1)]), 5), some(&[0, 0, 0, 0, 1]));
        assert_eq!(settle(files(&[("0", 1), ("1", 2), ("2", 3)]), 5), some(&[0, 0, 1, 2, 3]));
        // a ring that wrapped: index 1 holds the oldest
        assert_eq!(settle(files(&[("0", 4), ("1", 1), ("2", 2), ("3", 3)]), 4), some(&[1, 2, 3, 4]));
        // two cycles at once
        assert_eq!(settle(files(&[("0", 2), ("1", 1), ("2", 4), ("3", 3)]), 4), some(&[1, 2, 3, 4]));
        // narrower, wider, and to a single file
        assert_eq!(settle(files(&[("00", 3), ("01", 1), ("02", 2)]), 2), some(&[2, 3]));
        assert_eq!(settle(files(&[("0", 3), ("1", 1), ("2", 2)]), 12)[9..], some(&[1, 2, 3]));
        assert_eq!(settle(files(&[("0", 3), ("1", 1), ("2", 2)]), 1), some(&[3]));
        assert_eq!(settle(files(&[("", 7)]), 2), some(&[0, 7]));
    }

    #[test]
    fn any_listing_settles_whatever_the_crash() {
        let mut random = 0x2545_F491_4F6C_DD1D_u64;
        for round in 0..3000 {
            let mut next = |below: u64| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                random % below
            };
            let (old, new) = (u16::try_from(1 + next(13)).unwrap(), u16::try_from(1 + next(13)).unwrap());
            let mut start = Vec::new();
            for index in 0..old {
                if next(4) > 0 {
                    let written_ns = i128::from(next(1000)) * 100 + i128::from(index);
                    start.push(File { name: web().file(index, old), written_ns, bytes: Some(41), inode: 0 });
                }
            }
            if next(3) == 0 && old > 1 {
                start.push(File { name: web().base(), written_ns: 7, bytes: Some(41), inode: 0 });
            }
            let kept = start.len().min(new.into());
            let mut ages: Vec<i128> = start.iter().map(|file| file.written_ns).collect();
            ages.sort_unstable();
            let mut expected = vec![None; usize::from(new) - kept];
            expected.extend(ages[ages.len() - kept..].iter().copied().map(Some));
            assert_eq!(settle(start.clone(), new), expected, "round {round}: {start:?} to {new}");
        }
    }

    #[test]
    fn files_without_a_packet_and_what_is_no_regular_file_are_dropped() {
        let mut start = files(&[("0", 1), ("1", 2), ("2", 3), ("3", 4)]);
        start[1].bytes = Some(24);
        start[2].bytes = None;
        start[3].bytes = Some(0);
        assert_eq!(settle(start, 5), [None, None, None, None, Some(1)]);
    }
}
