//! What must hold when all is quiet and all was heard: the node is as its pods ask, as far as there is room.

use std::collections::BTreeSet;

use packet_capture::core::{
    name::Stem,
    request::{Parsed, Target},
};

use super::Node;

impl Node {
    /// Whether the node is as its pods ask, and nothing is left to wait for.
    pub fn check_converged(&self) {
        let (mut running, mut stems, verdicts) = (Vec::new(), BTreeSet::new(), self.verdicts());
        for pod in self.server.pods() {
            let stem = Stem::of(&pod.name);
            if pod.parsed == Parsed::None {
                continue;
            }
            assert_eq!(self.expected_desired.asking(&stem), Some(&pod), "did not hear of {stem}");
            if pod.target == Target::Finished && self.captures.get(&stem).is_none() {
                assert_eq!((self.expected_desired.declined(&stem), self.files.contains_key(&stem)), (None, false));
                continue;
            }
            let (capture, expected) =
                (self.captures.get(&stem).expect("a pod that asks has a slot"), &self.expected_captures[&stem]);
            assert_eq!((capture.owner.as_ref(), capture.is_removing()), (Some(&pod.uid), false));
            let has_room = self.lacks_disk(&stem, expected.files()).is_none();
            running.extend(self.wanted(&stem).filter(|_| has_room).map(|run| (pod.uid.clone(), run)));
            assert!(
                self.expected_condition(&stem, &verdicts).is_like(capture.notified.as_ref()),
                "{stem} does not know how it stands"
            );
            stems.insert(stem);
        }
        running.sort_by(|one, other| one.0.cmp(&other.0));
        let processes: Vec<_> =
            self.processes.iter().map(|(uid, process)| (uid.clone(), process.run.clone())).collect();
        assert_eq!(processes, running);
        assert!(verdicts.values().all(Result::is_err), "one that has room waits");
        assert!(self.captures.iter().map(|(stem, _)| stem).eq(&stems), "a slot is left that nobody asks for");
        for (stem, files) in &self.files {
            assert_eq!(files.owner, self.expected_captures[stem].owner, "{stem} was left behind");
        }
        assert!(self.processes.values().all(|process| self.files.contains_key(&process.stem)));
        assert!(self.checking.is_none());
        assert_eq!(self.wake_at, None);
    }
}
