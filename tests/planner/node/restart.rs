//! What the state file carries from one controller to the next, however the first one ends.

use std::{fs, time::Duration};

use packet_capture::{
    core::{
        captures::{Capture, Captures, Lifecycle},
        desired::Desired,
        name::Stem,
        plan::plan,
        recall::recall,
        recorder::Recorder,
    },
    files::state_file::StateFile,
    text::status::status_of,
};

use super::Node;
use crate::seen::Seen;

impl Node {
    /// As the controller does it: not before the first complete list, and to the real file.
    pub(super) fn save(&mut self) {
        if !self.seen.has_listed || self.crash_in.is_none() {
            return;
        }
        let owned = self.captures.iter().filter(|(_, capture)| capture.owner.is_some());
        self.saved = owned.map(|(stem, capture)| (stem.clone(), capture.clone())).collect();
        (self.saved_places, self.saved_flights) = (self.places.clone(), self.flights.clone());
        for (stem, files) in &mut self.files {
            files.saved = files.must_go && self.captures.get(stem).is_some_and(Capture::is_removing);
        }
        self.state.save(&self.captures, &plan(&self.world()).assessments, status_of).unwrap();
    }

    /// The controller's end, and with it that of its container's processes; then what the next controller does when it begins.
    pub(super) fn crash(&mut self) {
        if self.faults && self.random.one_in(6) {
            fs::write(self.dir.join(".state.json"), "{").unwrap();
        }
        self.state = StateFile::at(&self.dir);
        let entries = self.state.load().ok().flatten();
        let has_state = entries.is_some();
        self.say(|| format!("crashes, state readable: {has_state}"));
        if self.faults && self.random.one_in(8) {
            // Someone sets the wall clock, by an hour or less.
            self.wall_shift_s += self.random.below(7200);
            self.wall_shift_s -= 3600;
        }
        self.processes.clear();
        self.server.hang_up();
        (self.captures, self.desired, self.seen) = (Captures::default(), Desired::default(), Seen::default());
        (self.crash_in, self.stopping, self.wake_at, self.settled) = (None, false, None, None);
        (self.compilation, self.compile_at) = (None, None);
        let (places, flights) = (self.saved_places.clone(), self.saved_flights.clone());
        (self.places, self.flights) = if has_state { (places, flights) } else { Default::default() };
        self.unremoved.clear();
        self.conveyed.clear();
        let now = self.moment();
        let remembered =
            entries.map(|entries| entries.iter().map(|entry| (entry.stem(), entry.remembered(now))).collect());
        let files = self.files.iter().map(|(stem, files)| (stem.clone(), files.count.into())).collect();
        recall(&mut self.captures, &mut self.desired, remembered, &files, &self.limits);
        if has_state {
            self.saved.iter().for_each(|(stem, saved)| self.check_recalled(stem, saved));
        }
        for (stem, files) in &mut self.files {
            let capture = self.captures.get(stem).expect("files without a capture");
            files.owner = capture.owner.clone();
            files.must_go = has_state && (files.saved || files.owner.is_none());
            assert_eq!(capture.is_removing(), files.must_go, "{stem}");
        }
        self.saved.clear();
        self.turn();
    }

    /// What the next controller knows of a capture is what the last one wrote down.
    fn check_recalled(&self, stem: &Stem, saved: &Capture) {
        let recalled = self.captures.get(stem).unwrap_or_else(|| panic!("{stem} is forgotten"));
        assert_eq!((&recalled.owner, recalled.sequence), (&saved.owner, saved.sequence), "{stem}");
        assert_eq!((recalled.is_removing(), recalled.ended_by()), (saved.is_removing(), saved.ended_by()), "{stem}");
        let admitted = saved.admitted.as_ref().filter(|_| !saved.is_removing());
        assert_eq!(recalled.admitted.as_ref(), admitted, "{stem}");
        assert!(admitted.is_none() || recalled.reservation == saved.reservation, "{stem}");
        assert_eq!((recalled.counts, &recalled.history), (saved.counts, &saved.history), "{stem}");
        assert_eq!(recalled.uncounted, saved.uncounted + u32::from(saved.has_process()), "{stem}");
        let unix_s = |capture: &Capture| {
            let retained = match capture.lifecycle {
                Lifecycle::Retained { since, .. } => Some(since.unix_s),
                Lifecycle::Active | Lifecycle::Finished(_) | Lifecycle::Removing { .. } => None,
            };
            let recorder = match capture.recorder.clone() {
                Recorder::Stopped(seen) => (None, Some((seen.incident, seen.seen.unix_s))),
                recorder => (Some(recorder).filter(|_| capture.is_active()), None),
            };
            (capture.first_started.map(|moment| moment.unix_s), retained, recorder)
        };
        assert_eq!(unix_s(recalled), unix_s(saved), "{stem}");
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
        assert!(self.processes.values().all(|process| process.kill_at.is_some()), "one is not killed");
        assert_eq!(self.starts.len(), starts);
        self.save();
        self.crash();
    }
}
