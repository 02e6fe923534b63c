//! Carries actions out: records each one in `Captures`, makes the system call, and records what came of it. Decides nothing.

use std::time::Instant;

use super::{Controller, now};
use crate::{
    core::{
        apply,
        captures::Capture,
        name::{PodUid, Stem},
        notices::Notice,
        plan::Action,
        request::{Exit, Invocation},
    },
    process::tcpdump::Tcpdumps,
    text::notice::{self, Location, PodEvent},
};

impl Controller {
    pub(super) fn carry_out(&mut self, stem: &Stem, action: &Action) {
        if let Action::Start(invocation) = action
            && !self.is_still_at(stem, invocation)
        {
            // The addresses changed since the plan was made: it is planned again.
            return;
        }
        if matches!(action, Action::Notify(_)) && !self.captures.get(stem).is_some_and(Capture::is_running) {
            // The notice says how many files there are, also of a tcpdump that is about to end.
            let files = self.count(stem);
            self.captures.counted(stem, files);
        }
        for notice in apply::apply(&mut self.captures, &self.desired, self.disk, stem, action, now()) {
            self.publish(&notice);
        }
        let notice = match action {
            Action::Start(invocation) => self.start(stem, invocation),
            Action::Term(_) => self.signal(stem, Tcpdumps::term),
            Action::Kill => self.signal(stem, Tcpdumps::kill),
            Action::Remove => match self.dir.remove(stem) {
                Ok(files) => self.captures.removed(stem, files),
                Err(error) => self.captures.not_removed(stem, error.to_string(), Instant::now()),
            },
            Action::Open(_)
            | Action::Decline(..)
            | Action::Release
            | Action::Admit(_)
            | Action::Learn(_)
            | Action::RecordIncident(_)
            | Action::Finish(_)
            | Action::Retain
            | Action::MarkForRemoval
            | Action::Notify(_) => None,
        };
        notice.into_iter().for_each(|notice| self.publish(&notice));
    }

    fn start(&mut self, stem: &Stem, invocation: &Invocation) -> Option<Notice> {
        match self.try_start(stem, invocation) {
            Ok(kept) => self.captures.started(stem, kept),
            Err(error) => {
                let files = self.count(stem);
                self.captures.not_started(stem, error, files, Instant::now())
            }
        }
    }

    /// The state file comes first, so that no file is ever without an owner. Returns how many files of before are kept.
    fn try_start(&mut self, stem: &Stem, invocation: &Invocation) -> Result<usize, String> {
        let capture = self.captures.get(stem).ok_or("there is no such capture")?;
        let uid = capture.owner.clone().ok_or("the capture has no owner")?;
        let mut invocation = invocation.clone();
        invocation.spec.packets = capture.packets_left();
        self.save().map_err(|error| format!("cannot write the state file: {error}"))?;
        let kept = self.dir.prepare(stem, invocation.spec.files);
        let kept = kept.map_err(|error| format!("cannot prepare the files of the ring: {error}"))?;
        let pid = self.tcpdumps.start(&uid, &invocation, &self.dir.path(stem));
        let pid = pid.map_err(|error| format!("cannot start tcpdump: {error}"))?;
        log::debug!("tcpdump started pid={pid} pod={}", stem.pod());
        Ok(kept)
    }

    fn signal(&self, stem: &Stem, send: impl FnOnce(&Tcpdumps, &PodUid)) -> Option<Notice> {
        if let Some(uid) = self.captures.get(stem).and_then(|capture| capture.owner.as_ref()) {
            send(&self.tcpdumps, uid);
        }
        None
    }

    /// Takes in that a tcpdump ended.
    pub(super) fn take_exit(&mut self, uid: &PodUid, exit: &Exit) {
        let Some(stem) = self.captures.stem_of(uid).cloned() else { return };
        log::debug!("tcpdump {} stem={stem} counts={:?}", exit.how, exit.counts);
        let (files, stopping) = (self.count(&stem), self.shutdown.is_asked());
        let notice = self.captures.exited(&stem, exit, files, self.disk, stopping, Instant::now());
        notice.into_iter().for_each(|notice| self.publish(&notice));
    }

    /// Creates an Event on the pod, or a log line where the pod is not known.
    fn publish(&mut self, notice: &Notice) {
        let path = self.dir.path(&notice.stem);
        let (reason, text) = notice::event(&notice.change, Location { node: &self.config.node, path: &path });
        let retry_at = match &notice.uid {
            Some(uid) => self.events.publish(PodEvent { pod: notice.stem.pod(), uid: uid.clone(), reason, text }),
            None => {
                let level = if reason.is_warning() { log::Level::Warn } else { log::Level::Info };
                log::log!(level, "{text} stem={}", notice.stem);
                None
            }
        };
        apply::published(&mut self.captures, &mut self.desired, notice, retry_at);
    }

    /// How many files there are, which no process writes now.
    fn count(&self, stem: &Stem) -> usize {
        self.dir.files(stem).map_or(0, |files| files.len())
    }
}
