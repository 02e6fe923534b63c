//! What must hold when all is quiet and all was heard: the node is as its pods ask, as far as there is room.

use std::collections::BTreeSet;

use packet_capture::core::{
    name::Stem,
    request::{Asked, Place},
};

use super::Node;

impl Node {
    /// Whether the node is as its pods ask, and nothing is left to wait for.
    pub fn check_converged(&self) {
        let (mut running, mut stems, verdicts) = (Vec::new(), BTreeSet::new(), self.verdicts());
        for pod in self.server.pods() {
            let stem = Stem::of(&pod.pod);
            if pod.asked == Asked::Nothing {
                continue;
            }
            assert_eq!(self.heard.asking(&stem), Some(&pod), "did not hear of {stem}");
            if pod.place == Place::Finished && self.slots.get(&stem).is_none() {
                assert_eq!((self.heard.declined(&stem), self.files.contains_key(&stem)), (None, false));
                continue;
            }
            let (slot, book) = (self.slots.get(&stem).expect("a pod that asks has a slot"), &self.books[&stem]);
            assert_eq!((slot.owner.as_ref(), slot.doomed), (Some(&pod.uid), false));
            let has_room = self.lacks_disk(&stem, book.files()).is_none();
            running.extend(self.wanted(&stem).filter(|_| has_room).map(|run| (pod.uid.clone(), run)));
            assert!(self.expected(&stem, &verdicts).is_like(slot.told.as_ref()), "{stem} does not know how it stands");
            stems.insert(stem);
        }
        running.sort_by(|one, other| one.0.cmp(&other.0));
        let processes: Vec<_> =
            self.processes.iter().map(|(uid, process)| (uid.clone(), process.run.clone())).collect();
        assert_eq!(processes, running);
        assert!(verdicts.values().all(Result::is_err), "one that has room waits");
        assert!(self.slots.iter().map(|(stem, _)| stem).eq(&stems), "a slot is left that nobody asks for");
        for (stem, files) in &self.files {
            assert_eq!(files.owner, self.books[stem].owner, "{stem} was left behind");
        }
        assert!(self.processes.values().all(|process| self.files.contains_key(&process.stem)));
        assert!(self.checking.is_none());
        assert_eq!(self.wake_at, None);
    }
}
