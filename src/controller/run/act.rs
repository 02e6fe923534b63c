//! What the planner's actions are: each is carried out, and what came of it goes back into the slots.

use std::time::{Duration, Instant};

use super::{Controller, now};
use crate::{
    core::{
        admission,
        captures::{Ended, Phase, Standing, StopReason},
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
            Action::Open(uid) => self.slots.open(stem, uid),
            Action::Decline(uid, standing) => {
                let (reason, text) = notice::standing(&standing, None, self.kept(stem));
                // Where that is too much to be told, the log has it.
                let _ = self.events.tell(Notice { pod: stem.pod(), uid, reason, text });
                self.desired.told(stem, &standing);
            }
            Action::Rest => self.slots.rest(stem),
            Action::Admit(accepted) => self.slots.admit(stem, accepted),
            Action::End(by) => {
                self.slots.end(stem, by);
                self.tell_stopped(stem, StopReason::Ended(by));
            }
            Action::Retire => self.slots.retire(stem, now()),
            Action::Doom => self.slots.doom(stem),
            Action::Tell(standing) => self.tell_standing(stem, standing),
            Action::Start(run) => self.start(stem, run),
            Action::Term(why) => {
                self.slots.terminated(stem, why, Instant::now());
                self.with_owner(stem, Tcpdumps::term);
            }
            Action::Kill => {
                self.with_owner(stem, Tcpdumps::kill);
                if let Some(stuck) = self.slots.killed(stem, Instant::now()) {
                    self.tell(stem, Reason::Stuck, notice::stuck(stuck));
                    self.tell_successor(stem);
                }
            }
            Action::Remove => self.remove(stem),
        }
    }

    fn start(&mut self, stem: &Stem, run: Invocation) {
        let Some(uid) = self.slots.get(stem).and_then(|slot| slot.owner.clone()) else { return };
        if !self.is_still_at(stem, &run) {
            // It is planned anew.
            return;
        }
        self.slots.starting(stem, run.clone(), now());
        match self.try_start(stem, &uid, &run) {
            Ok((kept, pid)) => {
                log::debug!("tcpdump runs pid={pid} pod={}", stem.pod());
                self.slots.counted(stem, kept);
                self.tell_started(stem, &run, kept);
            }
            Err(error) => {
                self.count(stem);
                let ended = self.slots.ended(stem, Instant::now());
                self.tell_failure(stem, ended, |ended, kept| notice::not_started(&error, ended, kept));
            }
        }
    }

    /// The state file comes first, so that no file is ever without an owner. Returns the files of before, and the process ID.
    fn try_start(&mut self, stem: &Stem, uid: &PodUid, run: &Invocation) -> Result<(usize, u32), String> {
        self.save().map_err(|error| format!("cannot write the state file: {error}"))?;
        let kept = self.ring.prepare(stem, run.capture.files);
        let kept = kept.map_err(|error| format!("cannot make the files of before ready: {error}"))?;
        let mut run = run.clone();
        run.capture.packets = self.slots.get(stem).and_then(|slot| slot.packets_left());
        let pid = self.tcpdumps.start(uid, &run, &self.ring.path(stem));
        Ok((kept, pid.map_err(|error| format!("cannot start tcpdump: {error}"))?))
    }

    fn remove(&mut self, stem: &Stem) {
        match self.ring.remove(stem) {
            Ok(files) => {
                let Some(slot) = self.slots.removed(stem) else { return };
                if slot.owner.is_none() {
                    log::info!("removed files that no pod asks for stem={stem} files={files}");
                } else if slot.began.is_some() || files > 0 {
                    let text = notice::removed(&slot, files);
                    if let Some(note) = Notice::to_owner(stem, &slot, Reason::Stopped, text) {
                        self.events.tell(note);
                    }
                }
            }
            Err(error) => {
                let failures = self.slots.not_removed(stem, Instant::now());
                if failures.is_power_of_two() {
                    self.tell(stem, Reason::Stuck, notice::not_removed(&error.to_string(), failures));
                }
            }
        }
    }

    pub(super) fn take_exit(&mut self, uid: &PodUid, exit: &Exit) {
        let Some(stem) = self.slots.capturing(uid).cloned() else { return };
        let now = Instant::now();
        let ran = self.slots.get(&stem).and_then(|slot| slot.started_at).map_or(Duration::ZERO, |at| now - at);
        log::debug!("tcpdump {} stem={stem} counts={:?}", exit.how, exit.counts);
        self.count(&stem);
        match self.slots.exited(&stem, exit.in_order, exit.counts, now) {
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

    fn tell_standing(&mut self, stem: &Stem, standing: Option<Standing>) {
        let Some(slot) = self.slots.get(stem) else { return };
        let running = slot.last.as_ref().filter(|_| slot.phase == Phase::Running).map(|run| run.capture.files);
        let again_at = match (&standing, &slot.told) {
            (Some(standing), _) => {
                let (reason, text) = notice::standing(standing, running, self.kept(stem));
                self.tell(stem, reason, text)
            }
            (None, Some(Standing::Refused(_))) => self.tell(stem, Reason::Accepted, notice::accepted(running)),
            // Of what starts only now, the start says enough.
            (None, Some(Standing::Shortage(_))) if running.is_some() => {
                self.tell(stem, Reason::Accepted, notice::accepted(running))
            }
            (None, Some(Standing::Shortage(_) | Standing::Waiting | Standing::Missed | Standing::Paused(_)) | None) => {
                None
            }
        };
        match again_at {
            None => {
                if let Some(standing) = &standing {
                    self.desired.told(stem, standing);
                }
                self.slots.told(stem, standing);
            }
            Some(again_at) => self.slots.untold(stem, again_at),
        }
    }

    fn tell_started(&mut self, stem: &Stem, run: &Invocation, kept: usize) {
        let Some(slot) = self.slots.get(stem) else { return };
        let text = notice::started(run, slot, &self.config.node, &self.ring.path(stem), kept);
        let had_no_room = matches!(slot.told, Some(Standing::Shortage(_)));
        // One that fails again and again is told as rarely as its failures are.
        if slot.failures == 0 || slot.failures.is_power_of_two() {
            self.tell(stem, Reason::Started, text);
        }
        if had_no_room {
            self.slots.told(stem, None);
        }
    }

    fn tell_stopped(&mut self, stem: &Stem, why: StopReason) {
        let Some(slot) = self.slots.get(stem) else { return };
        let (reason, text) = notice::stopped(why, slot, self.disk);
        let files = slot.admitted.as_ref().map_or(0, |admitted| admitted.request.capture.files);
        let no_room = admission::on_disk(&self.world(), slot, files).err().filter(|_| why == StopReason::LowDisk);
        if let (None, Some(no_room)) = (self.tell(stem, reason, text), no_room) {
            self.slots.told(stem, Some(Standing::Shortage(no_room)));
        }
    }

    /// Where a tcpdump does not end, the next pod of the name waits for it.
    fn tell_successor(&mut self, stem: &Stem) {
        let owner = self.slots.get(stem).and_then(|slot| slot.owner.clone());
        let wish = self.desired.wish_for(stem).filter(|wish| Some(&wish.uid) != owner.as_ref());
        if let Some(uid) = wish.map(|wish| wish.uid.clone()) {
            self.events.tell(Notice { pod: stem.pod(), uid, reason: Reason::Stuck, text: notice::delayed() });
        }
    }

    /// The first failure is told, then the second, the fourth, the eighth …
    fn tell_failure(&mut self, stem: &Stem, ended: Ended, text: impl FnOnce(Ended, usize) -> String) {
        let (Some(slot), Ended::Failed { failures, .. }) = (self.slots.get(stem), ended) else { return };
        let text = text(ended, slot.files);
        self.slots.failed(stem, text.clone());
        if failures.is_power_of_two() {
            self.tell(stem, Reason::Failed, text);
        }
    }

    /// Tells the owner of a stem's pod. Returns when to try again, if that cannot be now.
    fn tell(&mut self, stem: &Stem, reason: Reason, text: String) -> Option<Instant> {
        match self.slots.get(stem).and_then(|slot| Notice::to_owner(stem, slot, reason, text.clone())) {
            Some(note) => self.events.tell(note),
            None => {
                log::warn!("{text} stem={stem}");
                None
            }
        }
    }

    fn with_owner(&self, stem: &Stem, act: impl FnOnce(&Tcpdumps, &PodUid)) {
        if let Some(uid) = self.slots.get(stem).and_then(|slot| slot.owner.as_ref()) {
            act(&self.tcpdumps, uid);
        }
    }

    /// Counts the files, which no process writes any more.
    fn count(&mut self, stem: &Stem) {
        let files = self.kept(stem);
        self.slots.counted(stem, files);
    }

    fn kept(&self, stem: &Stem) -> usize {
        self.ring.files(stem).map_or(0, |files| files.len())
    }
}
