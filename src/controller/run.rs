//! The loop: wait for one thing, record it, plan, carry out. Only here is the clock read for a decision.

mod act;
mod filters;
mod node_addresses;
mod settle;

use std::{
    collections::BTreeMap,
    io,
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use kube::Client;
use tokio::time::sleep_until;

use node_addresses::NodeAddresses;

use crate::{
    config::Config,
    core::{
        captures::{Captures, Moment},
        desired::{Desired, WatchEvent},
        disk::Disk,
        name::Stem,
        plan::Assessment,
        recall,
        world::{Revision, World},
    },
    files::{capture_dir::CaptureDir, state_file::StateFile},
    k8s::{
        events::Events,
        pod,
        watch::{Failure, Watch},
    },
    kernel::{netlink, node_lock, signals::Signals},
    process::{compiler::Compiler, health::Health, tcpdump::Tcpdumps},
    text::notice,
};

/// The longest time between two turns: keeps `alive` young, and the tcpdumps' pipes empty.
const TURN_MAX: Duration = Duration::from_secs(10);

/// The time between two readings of the free space while captures run, or wait for space.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long after TERM the captures may take to end; KILL comes after 5 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// How long the last Events may take after that. Together they stay below 10 s.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);

/// How long a second controller of the node waits for the first one to end.
const NODE_LOCK_TIMEOUT: Duration = Duration::from_secs(60);

struct Controller {
    config: Config,
    dir: CaptureDir,
    state: StateFile,
    health: Health,
    events: Events,
    tcpdumps: Tcpdumps,
    desired: Desired,
    captures: Captures,
    /// The assessments of the last plan. The last plan of a turn has no actions, so the state file that is saved then is up to date.
    assessments: BTreeMap<Stem, Assessment>,
    disk: Disk,
    node_addresses: NodeAddresses,
    compiler: Compiler,
    looked_at: Option<Instant>,
    /// The revision of the last plan that left nothing to do, and the time at which a new plan is due even if nothing changes.
    settled: Option<(Revision, Option<Instant>)>,
    shutdown: Shutdown,
    outage_logged: bool,
    save_failures: u32,
}

/// Whether this process is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shutdown {
    No,
    /// The captures are ending.
    Draining {
        since: Instant,
    },
    /// A second signal came: the process does not wait for the captures.
    Forced,
}

impl Shutdown {
    fn is_asked(self) -> bool {
        self != Self::No
    }

    /// When the captures must have ended.
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Draining { since } => Some(since + STOP_TIMEOUT),
            Self::No | Self::Forced => None,
        }
    }

    /// The state after `signals` more signals.
    fn asked(self, signals: usize, now: Instant) -> Self {
        match self {
            Self::No if signals <= 1 => Self::Draining { since: now },
            Self::No | Self::Draining { .. } | Self::Forced => Self::Forced,
        }
    }
}

/// Runs the controller until it is asked to end. The exit code is 0 if all captures then stopped cleanly, and 1 if not all did.
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
    let lock = tokio::select! {
        lock = node_lock::acquire(&config.node, NODE_LOCK_TIMEOUT) => lock?,
        _ = end.arrived() => return Ok(ExitCode::SUCCESS),
    };
    let path = &config.capture_dir;
    let dir = CaptureDir::open(path).map_err(fatal(&format!("cannot use CAPTURE_DIR={}", path.display())))?;
    let health = Health::begin(&config.run_dir);
    let health = health.map_err(fatal(&format!("cannot use RUN_DIR={}", config.run_dir.display())))?;
    // Without these, a pod that reports one of them could not be refused.
    netlink::addresses().map_err(fatal("cannot read the node's own addresses from the kernel (netlink)"))?;
    let mut watch = Watch::new(client.clone(), &config.node);
    let mut controller = Controller {
        state: StateFile::at(&config.capture_dir),
        dir,
        health,
        events: Events::new(client, &config.node),
        tcpdumps: Tcpdumps::new(&config.tcpdump_options, lock),
        desired: Desired::default(),
        captures: Captures::default(),
        assessments: BTreeMap::new(),
        disk: Disk::default(),
        node_addresses: NodeAddresses::default(),
        compiler: Compiler::new(&config.tcpdump_options),
        looked_at: None,
        settled: None,
        shutdown: Shutdown::No,
        outage_logged: false,
        save_failures: 0,
        config,
    };
    controller.recall().map_err(fatal("cannot list the files of earlier captures"))?;
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
            event = watch.next(), if !controller.shutdown.is_asked() => match event {
                Ok(event) => pod::watch_event(&event, &controller.config.limits).map_or((), |event| controller.observe(event)),
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
    /// Takes over what an earlier process left: the captures in its state file, and files that the state file does not mention.
    fn recall(&mut self) -> io::Result<()> {
        let entries = self.state.load().unwrap_or_else(|error| {
            log::warn!(
                "cannot read the state file; files of pods that still ask for a capture are kept, all other files are deleted \
                 error={error}"
            );
            None
        });
        let now = now();
        let remembered =
            entries.map(|entries| entries.iter().map(|entry| (entry.stem(), entry.remembered(now))).collect());
        let mut files = BTreeMap::new();
        for stem in self.dir.stems()? {
            let count = self.dir.files(&stem)?.len();
            files.insert(stem, count);
        }
        recall::recall(&mut self.captures, &mut self.desired, remembered, &files, &self.config.limits);
        Ok(())
    }

    /// Records what has happened, plans, and carries the plan out. Returns the latest time of the next turn.
    fn turn(&mut self) -> Instant {
        for (uid, exit) in self.tcpdumps.reap() {
            self.take_exit(&uid, &exit);
        }
        self.tcpdumps.reap_orphans(&self.compiler);
        self.look_at_disk();
        self.look_at_addresses(LOOK_INTERVAL);
        let compiler_at = self.compile_filters();
        let wake_at = self.settle();
        self.health.touch(self.desired.has_listed());
        let turn_at = Instant::now() + if self.needs_disk() { LOOK_INTERVAL } else { TURN_MAX };
        let stop_at = self.shutdown.deadline().unwrap_or(turn_at);
        [wake_at, compiler_at, Some(stop_at)].into_iter().flatten().fold(turn_at, Instant::min)
    }

    /// Reads the free space, but not at each watch event: a value of the last second is good enough.
    fn look_at_disk(&mut self) {
        if self.looked_at.is_some_and(|at| at.elapsed() < LOOK_INTERVAL) {
            return;
        }
        self.looked_at = Some(Instant::now());
        let disk = match self.dir.space() {
            Ok((free, total)) => self.disk.observe(free, total, &self.config.limits),
            Err(error) => {
                log::debug!("cannot read the free disk space error={error}");
                return;
            }
        };
        if disk.low != self.disk.low {
            let Disk { free_mb, low_watermark_mb, low } = disk;
            let what = if low {
                "free disk space is below the low watermark: captures stop"
            } else {
                "free disk space is above the high watermark: captures resume"
            };
            log::warn!("{what} free_mb={free_mb} low_watermark_mb={low_watermark_mb}");
        }
        self.disk = disk;
    }

    fn needs_disk(&self) -> bool {
        !self.tcpdumps.is_empty()
            || self.disk.low
            || self.captures.iter().any(|(_, capture)| capture.was_told_of_low_disk())
    }

    fn world(&self) -> World<'_> {
        World {
            now: Instant::now(),
            limits: &self.config.limits,
            desired: &self.desired,
            captures: &self.captures,
            disk: self.disk,
            stopping: self.shutdown.is_asked(),
        }
    }

    fn observe(&mut self, event: WatchEvent) {
        if event == WatchEvent::ListDone {
            if !self.desired.has_listed() {
                log::info!("pods listed; ready");
            } else if self.outage_logged {
                log::info!("pods listed again; caught up with missed changes");
            }
            self.outage_logged = false;
        }
        self.desired.observe(event, Instant::now());
    }

    fn lose(&mut self, failure: &Failure) {
        self.desired.observe(WatchEvent::Disconnected, Instant::now());
        if failure.is_logged() {
            let Failure { error, advice, failures, retry_in } = failure;
            let hint = advice.map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            self.outage_logged = true;
            log::warn!(
                "cannot watch the pods of node {}: {error}{hint}; trying again in {:.1} s (failure {failures}); kept: {}",
                self.config.node,
                retry_in.as_secs_f64(),
                notice::captures(self.tcpdumps.len()),
            );
        }
    }

    fn stop(&mut self, signals: usize) {
        self.shutdown = self.shutdown.asked(signals, Instant::now());
        let at_once = if self.shutdown == Shutdown::Forced { ", at once" } else { "" };
        log::info!("shutting down captures={}{at_once}", self.tcpdumps.len());
        if self.shutdown == Shutdown::Forced {
            self.tcpdumps.kill_all();
        }
    }

    fn has_ended(&self) -> bool {
        match self.shutdown {
            Shutdown::No => false,
            Shutdown::Draining { .. } => {
                self.tcpdumps.is_empty() || self.shutdown.deadline().is_some_and(|at| at <= Instant::now())
            }
            Shutdown::Forced => true,
        }
    }

    fn exit_code(&self) -> ExitCode {
        if self.tcpdumps.is_empty() && self.shutdown != Shutdown::Forced {
            return ExitCode::SUCCESS;
        }
        log::error!("not all captures stopped cleanly captures={}", self.tcpdumps.len());
        ExitCode::FAILURE
    }
}

fn now() -> Moment {
    let unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Moment { at: Instant::now(), unix_s }
}
