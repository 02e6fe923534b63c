//! What must hold whenever nothing is left to do, and when all is quiet.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use packet_capture::{
    capture::Stem,
    slots::{Phase, Slot},
};

use super::{GRACE, History, Node, Process, START_INTERVAL};

impl Node {
    /// What must hold whenever nothing is left to do.
    pub(super) fn check(&self) {
        for (stem, slot) in self.slots.iter() {
            let process = slot.owner.as_ref().and_then(|uid| self.processes.get(uid));
            assert_eq!(slot.has_process(), process.is_some(), "the books of {stem} are wrong: {slot:?}");
            self.check_slot(stem, slot);
            if let Some(process) = process {
                assert_eq!(process.stem, *stem);
                self.check_process(process, slot);
            }
        }
        let of_slots: usize = self.slots.iter().filter(|(_, slot)| slot.has_process()).count();
        assert_eq!(of_slots, self.processes.len(), "a process is nobody's");
        if self.heard.is_complete() {
            for (stem, files) in &self.files {
                let slot = self.slots.get(stem).expect("files without a slot");
                assert!(!files.must_go || slot.doomed, "forgets that {stem} is to go");
                assert!(slot.owner.is_none() || slot.owner == files.owner, "{stem} changed hands");
            }
        }
    }

    fn check_process(&self, process: &Process, slot: &Slot) {
        let stem = &process.stem;
        if let Some(term_at) = process.term_at {
            let due_at = process.kill_at.unwrap_or(term_at) + GRACE;
            assert!(self.now < due_at, "KILL to {stem} is late");
            self.wakes_by(due_at);
            return;
        }
        assert_eq!((slot.phase, slot.last.as_ref(), slot.doomed), (Phase::Running, Some(&process.run), false));
        let wanted = self.heard.wanted(stem, self.now, &self.limits).expect("runs in vain");
        assert_eq!(wanted.ips, process.run.ips, "{stem} is captured at addresses that it left");
        self.heard.stale_at(&self.limits).into_iter().for_each(|at| self.wakes_by(at));
        if wanted != process.run {
            let due_at = self.history[stem].started.as_ref().unwrap().0 + START_INTERVAL;
            assert!(self.now < due_at, "{stem} is not restarted");
            self.wakes_by(due_at);
        }
    }

    fn check_slot(&self, stem: &Stem, slot: &Slot) {
        if !self.heard.is_complete() {
            return assert!(!slot.has_process(), "runs before the first list");
        }
        if slot.doomed {
            return match slot.phase {
                Phase::Removing { retry_at, .. } => {
                    assert!(retry_at <= self.now + Duration::from_secs(300));
                    self.wakes_by(retry_at);
                }
                Phase::Terminating { .. } | Phase::Killing { .. } => (),
                Phase::Idle | Phase::Running | Phase::Backoff { .. } => panic!("{stem} is not removed: {slot:?}"),
            };
        }
        assert_eq!(slot.owner.as_ref(), self.heard.asking(stem).map(|pod| &pod.uid), "{stem} is nobody's");
        if self.stopping {
            return;
        }
        let history = self.history.get(stem).unwrap_or(const { &History::NEW });
        let standing = self.heard.standing(stem, history.began_s.is_some(), self.now);
        assert_eq!((&slot.told, &history.told), (&standing, &standing), "{stem} is not told how it stands");
        if let Some(at) = self.heard.told_of_wait_at(stem).filter(|at| *at > self.now) {
            self.wakes_by(at);
        }
        let Ok(wanted) = self.heard.wanted(stem, self.now, &self.limits) else { return };
        let started = history.started.as_ref();
        let due_at = match slot.phase {
            Phase::Idle => started.expect("does not start").0 + START_INTERVAL,
            Phase::Backoff { until } if started.is_none_or(|(_, run)| *run == wanted) => until,
            Phase::Backoff { .. } => started.unwrap().0 + START_INTERVAL,
            Phase::Running | Phase::Terminating { .. } | Phase::Killing { .. } => return,
            Phase::Removing { .. } => panic!("removes {stem}, which is not doomed"),
        };
        assert!(self.now < due_at, "{stem} is not started");
        self.wakes_by(due_at);
    }

    fn wakes_by(&self, at: Instant) {
        assert!(self.wake_at.is_some_and(|wake_at| wake_at <= at), "sleeps through what is due");
    }

    /// Whether the node is as its pods ask, and nothing is left to wait for.
    pub fn check_converged(&self) {
        let (mut running, mut stems, mut owners) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for pod in self.server.pods() {
            let stem = Stem::of(&pod.pod);
            if self.heard.asking(&stem).is_some() {
                assert_eq!(self.heard.asking(&stem), Some(&pod));
                owners.insert((stem.clone(), Some(pod.uid.clone())));
                stems.insert(stem.clone());
            }
            running.extend(self.heard.wanted(&stem, self.now, &self.limits).ok().map(|run| (pod.uid, run)));
        }
        running.sort_by(|one, other| one.0.cmp(&other.0));
        let processes: Vec<_> =
            self.processes.iter().map(|(uid, process)| (uid.clone(), process.run.clone())).collect();
        assert_eq!(processes, running);
        assert_eq!(self.slots.iter().map(|(stem, _)| stem.clone()).collect::<BTreeSet<_>>(), stems);
        for (stem, files) in &self.files {
            assert!(owners.contains(&(stem.clone(), files.owner.clone())), "{stem} was left behind");
        }
        assert!(self.processes.values().all(|process| self.files.contains_key(&process.stem)));
        assert_eq!(self.wake_at, None);
    }
}
