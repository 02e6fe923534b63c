//! What the state file says of a capture while it is copied.

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    core::{
        condition::State,
        name::{PodName, Stem},
    },
    files::{
        capture_dir::CaptureDir,
        state_file::{Entry, StateFile},
    },
    kernel::netlink,
    reading::messages,
};

/// A change of the state is said at most this often: a tcpdump that fails and is started again changes it all the time.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);
/// The state file must have said for this time that no tcpdump runs: it does not name one yet that was just started.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// The condition of one capture, by the state file.
pub(super) struct CaptureCondition<'a> {
    state: StateFile,
    ring: &'a CaptureDir,
    pod: &'a PodName,
    stem: &'a Stem,
    /// The capture's last entry in the state file; `None` if it had none when the copy began.
    pub entry: Option<Entry>,
    stamp: Option<(u64, i64, i64, u64)>,
    /// The node's own addresses, once they were needed.
    node: OnceCell<BTreeSet<IpAddr>>,
    /// The capture has lost its entry.
    gone: bool,
    idle_since: Option<Instant>,
    last_note: Option<String>,
    last_note_at: Option<Instant>,
}

/// How far a capture has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// All addresses that the pod is known to have had.
    pub addresses: Vec<IpAddr>,
    /// The capture has ended, or another has taken its place.
    pub over: bool,
    /// No tcpdump writes to the capture's files any more.
    pub settled: bool,
    /// How the capture stands, if that was not said before.
    pub note: Option<String>,
}

impl<'a> CaptureCondition<'a> {
    /// The condition of a pod's capture, whose files are in `ring`; and whether the state file could be read.
    pub(super) fn read(
        state: StateFile,
        ring: &'a CaptureDir,
        pod: &'a PodName,
        stem: &'a Stem,
    ) -> (Self, io::Result<()>) {
        let stamp = state.stamp();
        let (entries, read) = match state.load() {
            Ok(entries) => (entries, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let entry = entries.into_iter().flatten().find(|entry| entry.stem() == *stem);
        // A capture that simply runs is not worth a note.
        let last_note = Some(messages::condition(pod, State::Capturing, None));
        let node = OnceCell::new();
        let (gone, idle_since, last_note_at) = (false, None, None);
        (Self { state, ring, pod, stem, entry, stamp, node, gone, idle_since, last_note, last_note_at }, read)
    }

    /// Reads the state file again if it has changed. A state file that cannot be read changes nothing.
    pub(super) fn refresh(&mut self, now: Instant) -> Progress {
        let stamp = self.state.stamp();
        if let Some(entry) = self.entry.as_mut().filter(|_| stamp.is_some() && stamp != self.stamp)
            && let Ok(Some(entries)) = self.state.load()
        {
            self.stamp = stamp;
            let found = entries.into_iter().find(|found| found.uid == entry.uid && found.stem() == entry.stem());
            self.gone = found.is_none();
            *entry = found.unwrap_or_else(|| entry.clone());
        }
        self.idle_since = if self.is_idle() { self.idle_since.or(Some(now)) } else { None };
        let over = match &self.entry {
            Some(entry) => self.gone || matches!(entry.state, State::Finished | State::Missed),
            None => self.ring.files(self.stem).is_ok_and(|files| files.is_empty()),
        };
        let history = self.entry.iter().flat_map(|entry| &entry.history);
        Progress {
            addresses: history.flat_map(|past| past.addresses.iter().copied()).collect(),
            over,
            settled: self.idle_since.is_some_and(|since| now.duration_since(since) >= SETTLED_AFTER),
            note: self.note(now, over),
        }
    }

    /// Whether the node's own addresses are captured now. If the kernel does not tell these, the answer is no.
    pub(super) fn is_at_node(&self) -> bool {
        let captured = self.entry.as_ref().and_then(|entry| entry.history.last());
        let node = || self.node.get_or_init(|| netlink::addresses().unwrap_or_default());
        captured.is_some_and(|captured| captured.addresses.iter().any(|ip| node().contains(ip)))
    }

    /// Whether the state file says that no tcpdump runs.
    pub(super) fn is_idle(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| !entry.running || self.gone)
    }

    /// Whether the capture simply runs.
    pub(super) fn is_usual(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.state == State::Capturing && entry.reason.is_none())
    }

    /// The capture's last entry, refreshed. A capture that has lost its entry is being removed.
    pub(super) fn into_entry(mut self) -> Option<Entry> {
        self.refresh(Instant::now());
        let gone = self.gone;
        self.entry.map(|entry| {
            if gone { Entry { state: State::Removing, reason: None, running: false, ..entry } } else { entry }
        })
    }

    fn note(&mut self, now: Instant, over: bool) -> Option<String> {
        let entry = self.entry.as_ref()?;
        let note = if self.gone {
            messages::gone(self.pod)
        } else {
            messages::condition(self.pod, entry.state, entry.reason.as_deref())
        };
        let too_soon = !over && self.last_note_at.is_some_and(|at| now.duration_since(at) < NOTE_INTERVAL);
        if too_soon || self.last_note.as_ref() == Some(&note) {
            return None;
        }
        (self.last_note, self.last_note_at) = (Some(note.clone()), Some(now));
        Some(note)
    }
}
