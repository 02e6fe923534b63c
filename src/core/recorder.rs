//! The flight recorder: what a capture with the annotation `stop-on` remembers of its pod's status, and which change of the status is the
//! incident that the capture waits for. Pure.
//!
//! Incidents are told by comparison with what was seen before, and not by the clock: the times in a status have no parts of a second, and
//! whoever annotates a pod that keeps crashing does that within a second of a crash.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::core::captures::Moment;

/// The most containers of a pod that are watched. What is remembered of one container takes up to 110 bytes in the state file, which must
/// stay small enough to be read again.
pub const CONTAINERS_MAX: usize = 32;

/// What a capture stops on. Nothing, if both are false.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopOn {
    /// A container of the pod restarts, or ends with another exit code than 0.
    pub restart: bool,
    /// The pod was Ready, and is no more.
    pub unready: bool,
}

impl StopOn {
    /// Nothing: the capture does not stop on an incident.
    pub const NOTHING: Self = Self { restart: false, unready: false };
}

/// What a pod's status says of its containers, and of the pod as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodStatus {
    /// The containers; ephemeral containers are not among them.
    pub containers: Vec<ContainerStatus>,
    /// The condition `Ready`, if the status has one.
    pub ready: Option<Readiness>,
    /// The pod is being deleted, or its phase is `Succeeded`.
    pub is_ending: bool,
}

/// What a pod's status says of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// The container's name, a DNS label.
    pub name: String,
    /// It is an init container or a sidecar.
    pub is_init: bool,
    /// How often the container was started again (`restartCount`).
    pub restarts: u32,
    /// What it does now.
    pub state: ContainerState,
    /// How its last run ended before that, if that is known (`lastState`).
    pub last_end: Option<ContainerEnd>,
}

/// What a container does now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// It waits to be started, for the first time or again.
    Waiting,
    /// It runs.
    Running {
        /// Since when, in seconds since 1970.
        started_s: Option<u64>,
    },
    /// It has ended.
    Terminated(ContainerEnd),
}

/// How a run of a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEnd {
    /// The exit code; above 128 it is that of a signal.
    pub exit_code: i32,
    /// One word of the kubelet, such as `OOMKilled`.
    pub reason: Option<String>,
    /// When, in seconds since 1970.
    pub at_s: Option<u64>,
}

/// The condition `Ready` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Whether its status is `True`.
    #[serde(rename = "ready")]
    pub is_ready: bool,
    /// Since when (`lastTransitionTime`), in seconds since 1970.
    #[serde(default, rename = "since", skip_serializing_if = "Option::is_none")]
    pub since_s: Option<u64>,
}

/// What a capture waited for, and what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A container restarted, or ended with another exit code than 0.
    Restart {
        /// The container's name. Of several containers, the one that ended first.
        container: String,
        /// How it ended, if that is known.
        end: Option<ContainerEnd>,
        /// How many more containers had an incident at the same time.
        others: usize,
    },
    /// The pod was Ready, and became unready.
    Unready {
        /// Since when, in seconds since 1970; `None` if the pod is Ready again, or if the status does not say it.
        since_s: Option<u64>,
    },
}

/// The flight recorder of one capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Recorder {
    /// The capture does not stop on an incident, or has only just been admitted.
    #[default]
    Off,
    /// The capture waits for an incident.
    Waiting(Baseline),
    /// There was an incident.
    Stopped(SeenIncident),
}

/// An incident, and when it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenIncident {
    /// What happened.
    pub incident: Incident,
    /// When this process, or an earlier one, first saw it in the pod's status.
    pub seen: Moment,
    /// Whether tcpdump captured at that moment: only then the ring has the packets that led to it.
    pub was_captured: bool,
}

/// What a pod's status is compared with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    containers: BTreeMap<String, Known>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ready: Option<Readiness>,
}

/// What is known of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    /// How many of its runs had ended when the recorder was switched on; fewer if the count has gone back since.
    ends: u32,
    /// When the run started that was last seen running, in seconds since 1970.
    #[serde(default, rename = "started", skip_serializing_if = "Option::is_none")]
    started_s: Option<u64>,
}

/// What comes of a look at a pod's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// Nothing.
    Nothing,
    /// No incident, but the next status is to be compared with this.
    Learned(Baseline),
    /// An incident.
    Incident(Incident),
}

impl PodStatus {
    /// Whether the pod ends as it was asked to: it is being deleted, or all its containers but init containers and sidecars have ended with
    /// 0. If sidecars end now, and if the pod becomes unready, that is because they were asked to end. The phase becomes `Succeeded` up to
    /// seconds later. A container that is to be started again does not stay terminated for long.
    fn ends_as_asked(&self) -> bool {
        let has_succeeded = |container: &ContainerStatus| matches!(&container.state, ContainerState::Terminated(end) if end.exit_code == 0);
        let mut mains = self.containers.iter().filter(|container| !container.is_init).peekable();
        self.is_ending || (mains.peek().is_some() && mains.all(has_succeeded))
    }
}

impl ContainerStatus {
    /// How the last run ended; `None` if the container runs, or has never run.
    fn end(&self) -> Option<&ContainerEnd> {
        match &self.state {
            ContainerState::Waiting => self.last_end.as_ref(),
            ContainerState::Running { .. } => None,
            ContainerState::Terminated(end) => Some(end),
        }
    }

    /// How many runs of the container have ended so far.
    fn ends(&self) -> u32 {
        self.restarts.saturating_add(self.end().is_some().into())
    }

    fn started_s(&self) -> Option<u64> {
        match self.state {
            ContainerState::Running { started_s } => started_s,
            ContainerState::Waiting | ContainerState::Terminated(_) => None,
        }
    }
}

impl Baseline {
    /// The baseline of a recorder that is switched on: what happened before is no incident.
    #[must_use]
    pub fn of(stop_on: StopOn, status: &PodStatus) -> Self {
        let known = |container: &ContainerStatus| {
            (container.name.clone(), Known { ends: container.ends(), started_s: container.started_s() })
        };
        let containers = if stop_on.restart { status.containers.iter().map(known).collect() } else { BTreeMap::new() };
        Self { containers, ready: status.ready.filter(|_| stop_on.unready) }
    }

    /// Compares a pod's status with what was seen before.
    #[must_use]
    pub fn observe(&self, status: &PodStatus, stop_on: StopOn) -> Observation {
        let ends_as_asked = status.ends_as_asked();
        let mut learned = None;
        let mut incidents = Vec::new();
        for container in status.containers.iter().filter(|_| stop_on.restart) {
            let before = self.containers.get(&container.name).copied().unwrap_or_default();
            match before.after(container, ends_as_asked) {
                Ok(now) if now != before => learned.get_or_insert_with(|| self.clone()).learn(&container.name, now),
                Ok(_) => (),
                Err(end) => incidents.push((container, end)),
            }
        }
        let others = incidents.len().saturating_sub(1);
        let first = |(_, end): &(&ContainerStatus, Option<ContainerEnd>)| {
            let end = end.as_ref();
            (end.and_then(|end| end.at_s).unwrap_or(u64::MAX), end.is_none_or(|end| end.exit_code == 0))
        };
        if let Some((container, end)) = incidents.into_iter().min_by_key(first) {
            return Observation::Incident(Incident::Restart { container: container.name.clone(), end, others });
        }
        if let Some(now) = status.ready.filter(|_| stop_on.unready && !ends_as_asked) {
            match self.ready {
                Some(before) if before.was_unready_until(now) => {
                    let since_s = now.since_s.filter(|_| !now.is_ready);
                    return Observation::Incident(Incident::Unready { since_s });
                }
                Some(before) if before == now => (),
                Some(_) | None => learned.get_or_insert_with(|| self.clone()).ready = Some(now),
            }
        }
        learned.filter(|learned| learned != self).map_or(Observation::Nothing, Observation::Learned)
    }

    /// Whoever may write a pod's status can name another container each time.
    fn learn(&mut self, container: &str, known: Known) {
        if self.containers.len() < CONTAINERS_MAX || self.containers.contains_key(container) {
            self.containers.insert(container.to_owned(), known);
        }
    }
}

impl Known {
    /// What is known after another look at the container. If there was an incident: how the container ended, as far as that is known.
    fn after(self, now: &ContainerStatus, ends_as_asked: bool) -> Result<Self, Option<ContainerEnd>> {
        if now.state == ContainerState::Waiting && now.last_end.is_none() && now.restarts <= self.ends {
            // Such a container may be created anew: neither its count nor its last run says anything yet.
            return Ok(self);
        }
        // If the count went back, the container was created anew: the ends of its earlier life are no longer counted.
        let ends = if now.ends() < self.ends { now.restarts } else { self.ends };
        let failure = now.end().filter(|end| end.exit_code != 0 && now.ends() > ends && !ends_as_asked);
        let is_other_run = matches!((self.started_s, now.started_s()), (Some(before), Some(now)) if before != now);
        match failure {
            Some(end) => Err(Some(end.clone())),
            None if now.restarts > ends || is_other_run => Err(now.last_end.clone()),
            None => Ok(Self { ends, started_s: now.started_s().or(self.started_s) }),
        }
    }
}

impl Readiness {
    /// Whether the pod became unready after `self`, and no later than `now`.
    fn was_unready_until(self, now: Self) -> bool {
        // Between two times of the same kind lies one of the other kind.
        let has_changed_twice = matches!((self.since_s, now.since_s), (Some(before), Some(now)) if before != now);
        (self.is_ready && !now.is_ready) || (self.is_ready == now.is_ready && has_changed_twice)
    }
}

#[cfg(test)]
mod tests;
