//! How a capture is getting on while it is copied, by the state file: what is said of that, and whether a tcpdump runs.

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

/// How often it is said at the most how a capture is getting on: a tcpdump that fails and is started again changes that all the time.
const SAID_INTERVAL: Duration = Duration::from_secs(1);
/// For how long the state file must have said that no tcpdump runs: one that was just started is not in there yet.
pub(super) const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// What is known of the capture.
pub(super) struct CaptureCondition<'a> {
    state: StateFile,
    ring: &'a CaptureDir,
    pod: &'a PodName,
    stem: &'a Stem,
    /// The last that was read; `None` if there was none from the beginning.
    pub entry: Option<Entry>,
    stamp: Option<(u64, i64, i64, u64)>,
    /// The node's own addresses, once they are asked for.
    node: OnceCell<BTreeSet<IpAddr>>,
    gone: bool,
    idle_since: Option<Instant>,
    said: Option<String>,
    said_at: Option<Instant>,
}

impl<'a> CaptureCondition<'a> {
    /// The capture of a pod, whose files are in `ring`.
    pub(super) fn new(
        state: StateFile,
        ring: &'a CaptureDir,
        pod: &'a PodName,
        stem: &'a Stem,
    ) -> (Self, io::Result<()>) {
        let stamp = state.stamp();
        let loaded = state.load();
        let (entries, read) = match loaded {
            Ok(entries) => (entries, Ok(())),
            Err(error) => (None, Err(error)),
        };
        let entry = entries.into_iter().flatten().find(|entry| entry.stem() == *stem);
        let mut new = Self {
            state,
            ring,
            pod,
            stem,
            entry,
            stamp,
            node: OnceCell::new(),
            gone: false,
            idle_since: None,
            said: Some(messages::condition(pod, State::Capturing, None)),
            said_at: None,
        };
        new.note_idle();
        (new, read)
    }

    /// Reads the state file again if it has changed. What cannot be read says nothing.
    pub(super) fn look(&mut self) {
        let stamp = self.state.stamp();
        let Some(entry) = self.entry.as_mut().filter(|_| stamp.is_none() || stamp != self.stamp) else {
            self.note_idle();
            return;
        };
        if let Ok(Some(entries)) = self.state.load() {
            self.stamp = stamp;
            let found = entries.into_iter().find(|found| found.uid == entry.uid && found.stem() == entry.stem());
            self.gone = found.is_none();
            *entry = found.unwrap_or_else(|| entry.clone());
        }
        self.note_idle();
    }

    /// Whether what is captured now are packets of the node's own addresses. Where the kernel does not tell these, it is not known.
    pub(super) fn is_at_node(&self) -> bool {
        let captured = self.entry.as_ref().and_then(|entry| entry.history.last());
        let node = || self.node.get_or_init(|| netlink::addresses().unwrap_or_default());
        captured.is_some_and(|captured| captured.addresses.iter().any(|ip| node().contains(ip)))
    }

    fn note_idle(&mut self) {
        let idle = self.entry.as_ref().is_some_and(|entry| !entry.running || self.gone);
        self.idle_since = if idle { self.idle_since.or(Some(Instant::now())) } else { None };
    }

    /// Whether the capture has come to its end, or is another by now.
    pub(super) fn is_over(&self) -> bool {
        match &self.entry {
            Some(entry) => self.gone || matches!(entry.state, State::Finished | State::Missed),
            None => self.ring.files(self.stem).is_ok_and(|files| files.is_empty()),
        }
    }

    /// Whether no tcpdump writes to its files any more.
    pub(super) fn is_settled(&self) -> bool {
        self.idle_since.is_some_and(|since| since.elapsed() >= SETTLED_AFTER)
    }

    /// Whether no tcpdump seems to.
    pub(super) fn is_idle(&self) -> bool {
        self.idle_since.is_some()
    }

    /// Whether there is nothing to say of it but that it runs.
    pub(super) fn is_usual(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| entry.state == State::Capturing && entry.reason.is_none())
    }

    /// What there is to say, if it is not what was said last. A capture that runs is nothing to begin with.
    pub(super) fn news(&mut self) -> Option<String> {
        let entry = self.entry.as_ref()?;
        let text = if self.gone {
            messages::gone(self.pod)
        } else {
            messages::condition(self.pod, entry.state, entry.reason.as_deref())
        };
        let too_soon = self.said_at.is_some_and(|said_at| said_at.elapsed() < SAID_INTERVAL) && !self.is_over();
        if too_soon || self.said.as_ref() == Some(&text) {
            return None;
        }
        (self.said, self.said_at) = (Some(text.clone()), Some(Instant::now()));
        Some(text)
    }
}
