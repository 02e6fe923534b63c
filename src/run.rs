//! The loop: wait for one thing, record it, plan, carry out. The only file that reads the clock for a decision.

use std::{
    io,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use kube::Client;
use tokio::time::sleep_until;

use crate::{
    capture::{Stem, Uid},
    config::Config,
    desired::{Desired, Word},
    events::Events,
    health::Health,
    instance,
    plan::{self, Action, World},
    report::{self, Note, Reason},
    ring::Ring,
    signals::Signals,
    slots::{Ended, Phase, Run, Slot, Slots, Standing, Why},
    state::StateFile,
    tcpdump::{Exit, Tcpdumps},
    watch::{Failure, Watch},
};

/// The longest time between two turns: keeps `alive` young, and the tcpdumps' pipes empty.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Passes of the planner in one turn. A slot needs at most five: doom, remove, open, start, tell.
const PASSES_MAX: usize = 16;

/// How long after TERM the captures may take to end; KILL comes after 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// How long the last Events may take after that. Together they stay below 10 s.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);

struct Controller {
    config: Config,
    ring: Ring,
    state: StateFile,
    health: Health,
    events: Events,
    tcpdumps: Tcpdumps,
    desired: Desired,
    slots: Slots,
    stopping_since: Option<Instant>,
    aborted: bool,
    outage_told: bool,
    save_failures: u32,
}

/// Runs the controller until it is asked to end. 0: it was, and all captures ended in good order; 1: not all did.
///
/// # Errors
/// If it cannot begin: what failed, and what to do about it.
pub async fn run(config: Config, client: Client) -> Result<ExitCode, String> {
    let fatal = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| format!("{what}: {error}")
    };
    let end = Signals::end().map_err(fatal("cannot listen for SIGTERM"))?;
    let children = Signals::children().map_err(fatal("cannot listen for SIGCHLD"))?;
    let claim = tokio::select! {
        claim = instance::claim(&config.node) => claim?,
        _ = end.arrived() => return Ok(ExitCode::SUCCESS),
    };
    let dir = &config.capture_dir;
    let ring = Ring::open(dir).map_err(fatal(&format!("cannot use CAPTURE_DIR={}", dir.display())))?;
    let health = Health::begin(&config.run_dir);
    let health = health.map_err(fatal(&format!("cannot use RUN_DIR={}", config.run_dir.display())))?;
    let mut watch = Watch::new(client.clone(), &config.node, &config.limits);
    let mut controller = Controller {
        state: StateFile::at(dir),
        ring,
        health,
        events: Events::new(client, &config.node),
        tcpdumps: Tcpdumps::new(&config.tcpdump_options, claim),
        desired: Desired::default(),
        slots: Slots::default(),
        stopping_since: None,
        aborted: false,
        outage_told: false,
        save_failures: 0,
        config,
    };
    controller.recall().map_err(fatal("cannot list the captures of before"))?;
    log::info!("watching node={} version={}", controller.config.node, env!("CARGO_PKG_VERSION"));

    // Up to here an error ends the process; from here on none does.
    loop {
        let wake_at = controller.turn();
        if controller.has_ended() {
            break;
        }
        tokio::select! {
            biased;
            signals = end.arrived() => controller.stop(signals),
            _ = children.arrived() => (),
            word = watch.next(), if controller.stopping_since.is_none() => match word {
                Ok(word) => controller.hear(word),
                Err(failure) => controller.lose(&failure),
            },
            () = sleep_until(wake_at.into()) => (),
        }
    }
    let code = controller.exit_code();
    controller.events.flush((Instant::now() + FLUSH_TIMEOUT).into()).await;
    Ok(code)
}

impl Controller {
    /// Takes over what an earlier process left: the slots that it remembered, and files that nobody remembers.
    fn recall(&mut self) -> io::Result<()> {
        let (entries, readable) = match self.state.load() {
            Ok(Some(entries)) => (entries, true),
            Ok(None) => (Vec::new(), false),
            Err(error) => {
                log::warn!(
                    "cannot read the state file, so the files of captures that are still wanted are taken over by name, and \
                     all others are removed error={error}"
                );
                (Vec::new(), false)
            }
        };
        for entry in entries {
            if let Some(annotations) = entry.annotations.clone() {
                self.desired.recall(Uid(entry.uid.clone()), annotations, &self.config.limits);
            }
            self.slots.restore(entry.stem(), entry.slot());
        }
        for stem in self.ring.stems()? {
            if self.slots.get(&stem).is_none() {
                self.slots.restore(stem, Slot { doomed: readable, ..Slot::default() });
            }
        }
        Ok(())
    }

    /// Takes in what has ended, and does what is to be done. Returns when to look again at the latest.
    fn turn(&mut self) -> Instant {
        for (uid, exit) in self.tcpdumps.reap() {
            self.take_exit(&uid, &exit);
        }
        self.tcpdumps.reap_orphans();
        let wake_at = self.settle();
        self.health.touch(self.desired.is_complete());
        let turn_at = Instant::now() + TURN_MAX;
        let stop_at = self.stopping_since.map_or(turn_at, |since| since + STOP_TIMEOUT);
        wake_at.unwrap_or(turn_at).min(turn_at).min(stop_at)
    }

    fn settle(&mut self) -> Option<Instant> {
        for _ in 0..PASSES_MAX {
            let plan = plan::plan(&World {
                now: Instant::now(),
                limits: &self.config.limits,
                desired: &self.desired,
                slots: &self.slots,
                stopping: self.stopping_since.is_some(),
            });
            for (stem, action) in &plan.actions {
                log::debug!("{action:?} {stem}");
                self.carry_out(stem, action.clone());
            }
            self.save_or_log();
            if plan.actions.is_empty() {
                return plan.wake_at;
            }
        }
        log::error!("the plan does not settle in {PASSES_MAX} passes");
        Some(Instant::now() + Duration::from_secs(1))
    }

    fn carry_out(&mut self, stem: &Stem, action: Action) {
        let now = Instant::now();
        match action {
            Action::Open(uid) => self.slots.open(stem, uid),
            Action::Doom => self.slots.doom(stem),
            Action::Tell(standing) => self.tell_standing(stem, standing),
            Action::Start(run) => self.start(stem, run),
            Action::Term(why) => {
                self.slots.terminated(stem, why, now);
                self.with_owner(stem, Tcpdumps::term);
            }
            Action::Kill => {
                self.with_owner(stem, Tcpdumps::kill);
                if let Some(stuck) = self.slots.killed(stem, now) {
                    self.tell(stem, Reason::Stuck, report::stuck(stuck));
                    self.tell_successor(stem);
                }
            }
            Action::Remove => self.remove(stem, now),
        }
    }

    fn tell_standing(&mut self, stem: &Stem, standing: Option<Standing>) {
        let Some(slot) = self.slots.get(stem) else { return };
        let running = slot.last.as_ref().filter(|_| slot.phase == Phase::Running).map(|run| run.request.files);
        match (&standing, &slot.told) {
            (Some(standing), _) => {
                let (reason, text) = report::standing(standing, running, self.kept(stem));
                self.tell(stem, reason, text);
            }
            (None, Some(Standing::Refused(_))) => self.tell(stem, Reason::Accepted, report::accepted(running)),
            (None, Some(Standing::Waiting | Standing::Missed) | None) => (),
        }
        self.slots.told(stem, standing);
    }

    /// Where a tcpdump does not end, the next pod of the name waits for it.
    fn tell_successor(&mut self, stem: &Stem) {
        let owner = self.slots.get(stem).and_then(|slot| slot.owner.clone());
        let wish = self.desired.wish_for(stem).filter(|wish| Some(&wish.uid) != owner.as_ref());
        if let Some(uid) = wish.map(|wish| wish.uid.clone()) {
            self.events.tell(Note { pod: stem.pod(), uid, reason: Reason::Stuck, text: report::delayed() });
        }
    }

    fn start(&mut self, stem: &Stem, run: Run) {
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let Some(uid) = self.slots.get(stem).and_then(|slot| slot.owner.clone()) else { return };
        self.slots.starting(stem, run.clone(), Instant::now(), now_s);
        let started = self.try_start(stem, &uid, &run);
        match started {
            Ok((kept, pid)) => {
                log::debug!("tcpdump runs pid={pid} pod={}", stem.pod());
                // One that fails again and again is told as rarely as its failures are.
                if self.slots.get(stem).is_some_and(|slot| slot.failures == 0 || slot.failures.is_power_of_two()) {
                    self.tell(
                        stem,
                        Reason::Started,
                        report::started(&run, &self.config.node, &self.ring.path(stem), kept),
                    );
                }
            }
            Err(error) => {
                let ended = self.slots.ended(stem, Instant::now());
                self.tell_failure(stem, ended, |ended, kept| report::not_started(&error, ended, kept));
            }
        }
    }

    /// The state file comes first, so that no file is ever without an owner. Returns the files of before, and the process ID.
    fn try_start(&mut self, stem: &Stem, uid: &Uid, run: &Run) -> Result<(usize, u32), String> {
        self.save().map_err(|error| format!("cannot write the state file: {error}"))?;
        let kept = self.ring.prepare(stem, run.request.files);
        let kept = kept.map_err(|error| format!("cannot make the files of before ready: {error}"))?;
        let pid = self.tcpdumps.start(uid, run, &self.ring.path(stem));
        Ok((kept, pid.map_err(|error| format!("cannot start tcpdump: {error}"))?))
    }

    fn remove(&mut self, stem: &Stem, now: Instant) {
        match self.ring.remove(stem) {
            Ok(files) => {
                let Some(slot) = self.slots.removed(stem) else { return };
                if slot.owner.is_none() {
                    log::info!("removed files that no pod asks for stem={stem} files={files}");
                } else if slot.began_s.is_some() || files > 0 {
                    let text = report::removed(&slot, files);
                    if let Some(note) = Note::to_owner(stem, &slot, Reason::Stopped, text) {
                        self.events.tell(note);
                    }
                }
            }
            Err(error) => {
                let failures = self.slots.not_removed(stem, now);
                if failures.is_power_of_two() {
                    self.tell(stem, Reason::Stuck, report::not_removed(&error.to_string(), failures));
                }
            }
        }
    }

    fn take_exit(&mut self, uid: &Uid, exit: &Exit) {
        let Some(stem) = self.slots.capturing(uid).cloned() else { return };
        let now = Instant::now();
        let ran = self.slots.get(&stem).and_then(|slot| slot.started_at).map_or(Duration::ZERO, |at| now - at);
        log::debug!("tcpdump {} stem={stem} counts={:?}", exit.how(), exit.counts);
        match self.slots.exited(&stem, exit.counts, now) {
            // Told when the files are gone.
            Ended::Stopped(Why::Gone) => (),
            Ended::Stopped(why) => {
                let why = if self.stopping_since.is_some() { Why::Shutdown } else { why };
                let kept = self.kept(&stem);
                if let Some(slot) = self.slots.get(&stem) {
                    let (reason, text) = report::stopped(why, slot, kept);
                    self.tell(&stem, reason, text);
                }
            }
            failed @ Ended::Failed { .. } => {
                self.tell_failure(&stem, failed, |ended, kept| report::failed(exit, ran, ended, kept));
            }
        }
    }

    /// The first failure is told, then the second, the fourth, the eighth …
    fn tell_failure(&mut self, stem: &Stem, ended: Ended, text: impl FnOnce(Ended, usize) -> String) {
        if let Ended::Failed { failures, .. } = ended
            && failures.is_power_of_two()
        {
            self.tell(stem, Reason::Failed, text(ended, self.kept(stem)));
        }
    }

    fn tell(&mut self, stem: &Stem, reason: Reason, text: String) {
        match self.slots.get(stem).and_then(|slot| Note::to_owner(stem, slot, reason, text.clone())) {
            Some(note) => self.events.tell(note),
            None => log::warn!("{text} stem={stem}"),
        }
    }

    fn with_owner(&self, stem: &Stem, act: impl FnOnce(&Tcpdumps, &Uid)) {
        if let Some(uid) = self.slots.get(stem).and_then(|slot| slot.owner.as_ref()) {
            act(&self.tcpdumps, uid);
        }
    }

    fn kept(&self, stem: &Stem) -> usize {
        self.ring.files(stem).map_or(0, |files| files.len())
    }

    fn save_or_log(&mut self) {
        match self.save() {
            Ok(()) => self.save_failures = 0,
            Err(error) => {
                self.save_failures = self.save_failures.saturating_add(1);
                if self.save_failures.is_power_of_two() {
                    log::error!(
                        "cannot write the state file, so a restart would go on from an older one error={error}"
                    );
                }
            }
        }
    }

    /// Before the first complete list the state file says more than this process knows.
    fn save(&mut self) -> io::Result<()> {
        if self.desired.is_complete() { self.state.save(&self.slots, &self.desired) } else { Ok(()) }
    }

    fn hear(&mut self, word: Word) {
        if word == Word::ListDone {
            if !self.desired.is_complete() {
                log::info!("pods listed; ready");
            } else if self.outage_told {
                log::info!("pods listed again; what changed meanwhile is made good");
            }
            self.outage_told = false;
        }
        self.desired.hear(word, Instant::now());
    }

    fn lose(&mut self, failure: &Failure) {
        self.desired.hear(Word::Lost, Instant::now());
        if failure.failures.is_power_of_two() {
            let Failure { error, hint, failures, retry_in } = failure;
            let hint = hint.map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            self.outage_told = true;
            log::warn!(
                "cannot watch the pods of node {}: {error}{hint}; trying again in {:.1} s (failure {failures}); kept: {}",
                self.config.node,
                retry_in.as_secs_f64(),
                report::captures(self.tcpdumps.len()),
            );
        }
    }

    fn stop(&mut self, signals: usize) {
        self.aborted = self.stopping_since.is_some() || signals > 1;
        self.stopping_since.get_or_insert_with(Instant::now);
        log::info!("shutting down captures={}{}", self.tcpdumps.len(), if self.aborted { ", at once" } else { "" });
        if self.aborted {
            self.tcpdumps.kill_all();
        }
    }

    fn has_ended(&self) -> bool {
        let waited = |since: Instant| self.tcpdumps.is_empty() || self.aborted || since.elapsed() >= STOP_TIMEOUT;
        self.stopping_since.is_some_and(waited)
    }

    fn exit_code(&self) -> ExitCode {
        if self.tcpdumps.is_empty() && !self.aborted {
            return ExitCode::SUCCESS;
        }
        log::error!("not all captures ended in good order captures={}", self.tcpdumps.len());
        ExitCode::FAILURE
    }
}
