//! What the state file carries from one controller to the next, however the first one ends.

use std::{fs, time::Duration};

use packet_capture::{
    core::{captures::Captures, desired::Desired, plan::plan, recall::recall},
    files::state_file::StateFile,
    text::status::status_of,
};

use super::{
    Node,
    expected::{ExpectedCapture, Saved},
};
use crate::expected_desired::ExpectedDesired;

impl Node {
    /// As `run` does it: not before the first complete list, and to the real file.
    pub(super) fn save(&mut self) {
        if !self.expected_desired.has_listed() || self.crash_in.is_none() {
            return;
        }
        let owned = self.expected_captures.iter().filter(|(_, expected)| expected.owner.is_some());
        self.saved = owned.map(|(stem, expected)| (stem.clone(), Saved::of(expected))).collect();
        for (stem, files) in &mut self.files {
            files.saved = files.must_go && self.expected_captures.get(stem).is_some_and(|expected| expected.doomed);
        }
        self.state.save(&self.captures, &plan(&self.world()).assessments, status_of).unwrap();
    }

    /// The controller's end, and with it that of its container's processes; then what `run` does when it begins.
    pub(super) fn crash(&mut self) {
        if self.faults && self.random.one_in(6) {
            fs::write(self.dir.join(".state.json"), "{").unwrap();
        }
        self.state = StateFile::at(&self.dir);
        let entries = self.state.load();
        let readable = matches!(entries, Ok(Some(_)));
        self.say(|| format!("crashes, state readable: {readable}"));
        if !readable {
            self.saved.clear();
        }
        if self.faults && self.random.one_in(8) {
            // Someone sets the clock on the wall, by an hour or less.
            self.wall_shift_s += self.random.below(7200);
            self.wall_shift_s -= 3600;
        }
        self.expected_desired =
            ExpectedDesired::after_restart(self.saved.values().filter_map(Saved::admitted).collect());
        self.processes.clear();
        self.server.hang_up();
        (self.captures, self.desired) = (Captures::default(), Desired::default());
        (self.crash_in, self.stopping, self.wake_at, self.checking) = (None, false, None, None);
        (self.checked_at, self.check_at, self.settled) = Default::default();
        let moment = self.moment();
        self.expected_captures = self.saved.iter().map(|(stem, saved)| (stem.clone(), saved.capture(moment))).collect();
        let entries = entries.ok().flatten();
        let remembered =
            entries.map(|entries| entries.iter().map(|entry| (entry.stem(), entry.remembered(moment))).collect());
        let files = self.files.iter().map(|(stem, files)| (stem.clone(), files.count.into())).collect();
        recall(&mut self.captures, &mut self.desired, remembered, &files, &self.limits);
        for (stem, files) in &mut self.files {
            files.must_go = readable && files.saved;
            if self.captures.get(stem).is_some_and(|capture| capture.owner.is_none()) {
                files.owner = None;
                self.expected_captures
                    .insert(stem.clone(), ExpectedCapture { doomed: readable, ..ExpectedCapture::default() });
            }
        }
        self.turn();
    }

    /// A new controller, after one that died at once and had written down all it knew.
    pub fn start_anew(&mut self) {
        self.crash_in = Some(u64::MAX);
        self.save();
        self.crash();
        self.server.list();
        self.listen();
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
