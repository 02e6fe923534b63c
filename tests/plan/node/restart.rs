//! What the state file carries from one controller to the next, however the first one ends.

use std::{collections::BTreeMap, fs, time::Duration};

use packet_capture::{
    capture::Uid,
    desired::Desired,
    slots::{Moment, Slot, Slots},
    state::StateFile,
};

use super::{History, Node};
use crate::heard::Heard;

impl Node {
    /// As `run` does it: not before the first complete list, and to the real file.
    pub(super) fn save(&mut self) {
        if !self.heard.is_complete() {
            return;
        }
        self.saved.clear();
        for (_, slot) in self.slots.iter() {
            let uid = slot.owner.as_ref();
            let admitted = slot.admitted.as_ref().map(|accepted| accepted.request.capture.files);
            self.saved.extend(uid.cloned().zip(admitted));
        }
        for (stem, files) in &mut self.files {
            files.saved = files.must_go && self.slots.get(stem).is_some_and(|slot| slot.doomed);
        }
        if self.crash_in.is_some() {
            self.state.save(&self.slots).unwrap();
        }
    }

    /// The controller's end, and with it that of its container's processes; then what `run` does when it begins.
    pub(super) fn crash(&mut self) {
        if self.random.one_in(6) {
            fs::write(self.dir.join(".state.json"), "{").unwrap();
        }
        self.state = StateFile::at(&self.dir);
        let entries = self.state.load();
        let readable = matches!(entries, Ok(Some(_)));
        self.say(|| format!("crashes, state readable: {readable}"));
        let (saved, history) = (std::mem::take(&mut self.saved), std::mem::take(&mut self.history));
        self.heard = Heard::after_restart(if readable { saved.clone() } else { BTreeMap::new() });
        if readable {
            self.saved = saved;
        }
        self.processes.clear();
        self.server.hang_up();
        (self.slots, self.desired) = (Slots::default(), Desired::default());
        (self.crash_in, self.stopping, self.wake_at) = (None, false, None);
        for entry in entries.ok().flatten().unwrap_or_default() {
            let annotations = entry.annotations.clone().unwrap_or_default();
            let admitted = self.desired.recall(Uid(entry.uid.clone()), annotations, &self.limits);
            let began_s = history.get(&entry.stem()).and_then(|history| history.began_s);
            assert_eq!(entry.began_s, began_s, "forgets when {} began", entry.stem());
            self.history.insert(entry.stem(), History { began_s, ..History::default() });
            self.slots.restore(entry.stem(), entry.slot(admitted, Moment { at: self.now, unix_s: u64::MAX }));
        }
        for (stem, files) in &mut self.files {
            files.must_go = readable && files.saved;
            if self.slots.get(stem).is_none() {
                files.owner = None;
                self.slots.restore(stem.clone(), Slot { doomed: readable, ..Slot::default() });
            }
        }
        self.turn();
    }

    /// Asks the controller to end, lets it, and begins a new one.
    pub fn shut_down(&mut self) {
        self.say(|| "shuts down".into());
        self.crash_in = Some(u64::MAX);
        self.stopping = true;
        let starts = self.starts.len();
        let end = self.now + Duration::from_secs(8);
        self.turn();
        assert!(self.processes.values().all(|process| process.term_at.is_some()), "one is not asked to end");
        while let Some(at) = self.next_at().filter(|at| *at <= end && !self.processes.is_empty()) {
            self.now = at;
            self.turn();
        }
        assert!(self.processes.values().all(|process| process.kill_at.is_some()), "one is not ended");
        assert_eq!(self.starts.len(), starts);
        self.save();
        self.crash();
    }
}
