//! What the planner's actions are: each is carried out, and what came of it goes back into the slots.

use std::time::{Duration, Instant};

use super::{Controller, now};
use crate::{
    core::{
        admission,
        captures::{Condition, Ended, Phase, StopReason},
        name::{PodUid, Stem},
        plan::Action,
        request::{Exit, Invocation},
    },
    process::tcpdump::Tcpdumps,
    text::notice::{self, Notice, Reason},
};

impl Controller {
    pub(super) fn carry_out(&mut self, stem: &Stem, action: Action) {
        match action {
            Action::Open(uid) => self.captures.open(stem, uid),
            Action::Decline(uid, condition) => {
                let (reason, text) = notice::condition(&condition, None, self.kept(stem));
                // Where that is too much to be told, the log has it.
                let _ = self.events.publish(Notice { pod: stem.pod(), uid, reason, text });
                self.desired.notified(stem, &condition);
            }
            Action::Release => self.captures.rest(stem),
            Action::Admit(valid) => self.captures.admit(stem, valid),
            Action::End(by) => {
                self.captures.end(stem, by);
                self.tell_stopped(stem, StopReason::Ended(by));
            }
            Action::Retain => self.captures.retire(stem, now()),
            Action::MarkForRemoval => self.captures.doom(stem),
            Action::Notify(condition) => self.tell_standing(stem, condition),
            Action::Start(run) => self.start(stem, run),
            Action::Term(why) => {
                self.captures.terminated(stem, why, Instant::now());
                self.with_owner(stem, Tcpdumps::term);
            }
            Action::Kill => {
                self.with_owner(stem, Tcpdumps::kill);
                if let Some(stuck) = self.captures.killed(stem, Instant::now()) {
                    self.tell(stem, Reason::Stuck, notice::stuck(stuck));
                    self.tell_successor(stem);
                }
            }
            Action::Remove => self.remove(stem),
        }
    }

    fn start(&mut self, stem: &Stem, run: Invocation) {
        let Some(uid) = self.captures.get(stem).and_then(|capture| capture.owner.clone()) else { return };
        if !self.is_still_at(stem, &run) {
            // It is planned anew.
            return;
        }
        self.captures.starting(stem, run.clone(), now());
        match self.try_start(stem, &uid, &run) {
            Ok((kept, pid)) => {
                log::debug!("tcpdump runs pid={pid} pod={}", stem.pod());
                self.captures.counted(stem, kept);
                self.tell_started(stem, &run, kept);
            }
            Err(error) => {
                self.count(stem);
                let ended = self.captures.ended(stem, Instant::now());
                self.tell_failure(stem, ended, |ended, kept| notice::not_started(&error, ended, kept));
            }
        }
    }

    /// The state file comes first, so that no file is ever without an owner. Returns the files of before, and the process ID.
    fn try_start(&mut self, stem: &Stem, uid: &PodUid, run: &Invocation) -> Result<(usize, u32), String> {
        self.save().map_err(|error| format!("cannot write the state file: {error}"))?;
        let kept = self.ring.prepare(stem, run.spec.files);
        let kept = kept.map_err(|error| format!("cannot make the files of before ready: {error}"))?;
        let mut run = run.clone();
        run.spec.packets = self.captures.get(stem).and_then(|capture| capture.packets_left());
        let pid = self.tcpdumps.start(uid, &run, &self.ring.path(stem));
        Ok((kept, pid.map_err(|error| format!("cannot start tcpdump: {error}"))?))
    }

    fn remove(&mut self, stem: &Stem) {
        match self.ring.remove(stem) {
            Ok(files) => {
                let Some(capture) = self.captures.removed(stem) else { return };
                if capture.owner.is_none() {
                    log::info!("removed files that no pod asks for stem={stem} files={files}");
                } else if capture.began.is_some() || files > 0 {
                    let text = notice::removed(&capture, files);
                    if let Some(note) = Notice::to_owner(stem, &capture, Reason::Stopped, text) {
                        self.events.publish(note);
                    }
                }
            }
            Err(error) => {
                let failures = self.captures.not_removed(stem, Instant::now());
                if failures.is_power_of_two() {
                    self.tell(stem, Reason::Stuck, notice::not_removed(&error.to_string(), failures));
                }
            }
        }
    }

    pub(super) fn take_exit(&mut self, uid: &PodUid, exit: &Exit) {
        let Some(stem) = self.captures.capturing(uid).cloned() else { return };
        let now = Instant::now();
        let ran = self.captures.get(&stem).and_then(|capture| capture.started_at).map_or(Duration::ZERO, |at| now - at);
        log::debug!("tcpdump {} stem={stem} counts={:?}", exit.how, exit.counts);
        self.count(&stem);
        match self.captures.exited(&stem, exit.in_order, exit.counts, now) {
            // Told when the files are gone.
            Ended::Stopped(StopReason::Gone) => (),
            Ended::Stopped(why) => {
                let why = match why {
                    StopReason::Ended(_) => why,
                    _ if self.stopping_since.is_some() => StopReason::Shutdown,
                    _ => why,
                };
                self.tell_stopped(&stem, why);
            }
            failed @ Ended::Failed { .. } => {
                self.tell_failure(&stem, failed, |ended, kept| notice::failed(exit, ran, ended, kept));
            }
        }
    }

    fn tell_standing(&mut self, stem: &Stem, condition: Option<Condition>) {
        let Some(capture) = self.captures.get(stem) else { return };
        let running = capture.last.as_ref().filter(|_| capture.phase == Phase::Running).map(|run| run.spec.files);
        let again_at = match (&condition, &capture.notified) {
            (Some(condition), _) => {
                let (reason, text) = notice::condition(condition, running, self.kept(stem));
                self.tell(stem, reason, text)
            }
            (None, Some(Condition::Refused(_))) => self.tell(stem, Reason::Accepted, notice::accepted_again(running)),
            // Of what starts only now, the start says enough.
            (None, Some(Condition::Shortage(_))) if running.is_some() => {
                self.tell(stem, Reason::Accepted, notice::accepted_again(running))
            }
            (
                None,
                Some(Condition::Shortage(_) | Condition::Waiting | Condition::Missed | Condition::Paused(_)) | None,
            ) => None,
        };
        match again_at {
            None => {
                if let Some(condition) = &condition {
                    self.desired.notified(stem, condition);
                }
                self.captures.notified(stem, condition);
            }
            Some(again_at) => self.captures.defer_notice(stem, again_at),
        }
    }

    fn tell_started(&mut self, stem: &Stem, run: &Invocation, kept: usize) {
        let Some(capture) = self.captures.get(stem) else { return };
        let text = notice::started(run, capture, &self.config.node, &self.ring.path(stem), kept);
        let had_no_room = matches!(capture.notified, Some(Condition::Shortage(_)));
        // One that fails again and again is told as rarely as its failures are.
        if capture.failures == 0 || capture.failures.is_power_of_two() {
            self.tell(stem, Reason::Started, text);
        }
        if had_no_room {
            self.captures.notified(stem, None);
        }
    }

    fn tell_stopped(&mut self, stem: &Stem, why: StopReason) {
        let Some(capture) = self.captures.get(stem) else { return };
        let (reason, text) = notice::stopped(why, capture, self.disk);
        let files = capture.admitted.as_ref().map_or(0, |admitted| admitted.request.spec.files);
        let no_room = admission::on_disk(&self.world(), capture, files).err().filter(|_| why == StopReason::LowDisk);
        if let (None, Some(no_room)) = (self.tell(stem, reason, text), no_room) {
            self.captures.notified(stem, Some(Condition::Shortage(no_room)));
        }
    }

    /// Where a tcpdump does not end, the next pod of the name waits for it.
    fn tell_successor(&mut self, stem: &Stem) {
        let owner = self.captures.get(stem).and_then(|capture| capture.owner.clone());
        let pod = self.desired.request_of(stem).filter(|pod| Some(&pod.uid) != owner.as_ref());
        if let Some(uid) = pod.map(|pod| pod.uid.clone()) {
            self.events.publish(Notice { pod: stem.pod(), uid, reason: Reason::Stuck, text: notice::delayed() });
        }
    }

    /// The first failure is told, then the second, the fourth, the eighth …
    fn tell_failure(&mut self, stem: &Stem, ended: Ended, text: impl FnOnce(Ended, usize) -> String) {
        let (Some(capture), Ended::Failed { failures, .. }) = (self.captures.get(stem), ended) else { return };
        let text = text(ended, capture.files);
        self.captures.failed(stem, text.clone());
        if failures.is_power_of_two() {
            self.tell(stem, Reason::Failed, text);
        }
    }

    /// Tells the owner of a stem's pod. Returns when to try again, if that cannot be now.
    fn tell(&mut self, stem: &Stem, reason: Reason, text: String) -> Option<Instant> {
        match self.captures.get(stem).and_then(|capture| Notice::to_owner(stem, capture, reason, text.clone())) {
            Some(note) => self.events.publish(note),
            None => {
                log::warn!("{text} stem={stem}");
                None
            }
        }
    }

    fn with_owner(&self, stem: &Stem, act: impl FnOnce(&Tcpdumps, &PodUid)) {
        if let Some(uid) = self.captures.get(stem).and_then(|capture| capture.owner.as_ref()) {
            act(&self.tcpdumps, uid);
        }
    }

    /// Counts the files, which no process writes any more.
    fn count(&mut self, stem: &Stem) {
        let files = self.kept(stem);
        self.captures.counted(stem, files);
    }

    fn kept(&self, stem: &Stem) -> usize {
        self.ring.files(stem).map_or(0, |files| files.len())
    }
}
