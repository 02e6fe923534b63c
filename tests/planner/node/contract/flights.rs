//! The contract of the flight recorders: an incident is recorded if one happened, as the model of the API server knows, and one that
//! could be seen is recorded before anything else is done.

use packet_capture::core::{
    captures::Capture,
    name::Stem,
    plan::Action,
    recorder::{ContainerState, Incident, StopOn},
};

use crate::{life::Life, node::Node};

/// What a flight recorder was shown of its pod, and what it recorded.
#[derive(Clone, Default)]
pub struct Flight {
    /// The numbers of the statuses that it was shown. At the first one it was switched on.
    shown: Vec<usize>,
    /// The incident, and when it was seen, in seconds since 1970.
    recorded: Option<(Incident, u64)>,
}

/// What a capture stops on while this is carried out.
fn stop_on(capture: &Capture) -> StopOn {
    let request = capture.admitted.as_ref().map(|valid| &valid.request);
    request.filter(|request| !request.paused).map_or(StopOn::NOTHING, |request| request.stop_on)
}

impl Node {
    /// The life of the pod of a capture that is to stop on an incident, and the number of its status as last observed.
    fn watched(&self, stem: &Stem) -> Option<(StopOn, &Life, usize)> {
        let capture = self.captures.get(stem).filter(|capture| capture.is_active() && !self.stopping)?;
        let pod = self.own(stem)?;
        let life = self.server.life(&pod.uid);
        let stop_on = Some(stop_on(capture)).filter(|stop_on| *stop_on != StopOn::NOTHING)?;
        Some((stop_on, life, life.number_of(&pod.status)))
    }

    /// What the recorder of a capture was shown, the status as last observed included.
    fn shown(&self, stem: &Stem, now: usize) -> Vec<usize> {
        let flight = self.flights.get(stem).unwrap_or_else(|| panic!("the recorder of {stem} is off"));
        let last = Some(now).filter(|_| flight.shown.last() != Some(&now));
        flight.shown.iter().copied().chain(last).collect()
    }

    pub(in crate::node) fn has_recorded(&self, stem: &Stem) -> bool {
        self.flights.get(stem).is_some_and(|flight| flight.recorded.is_some())
    }

    /// What must hold of an action that concerns the recorder of a capture.
    pub(super) fn check_recorded(&self, stem: &Stem, incident: Option<&Incident>) {
        let (stop_on, life, now) = self.watched(stem).unwrap_or_else(|| panic!("{stem} waits for no incident"));
        assert!(!self.has_recorded(stem), "{stem} had its incident");
        let Some(incident) = incident else { return };
        let shown = self.shown(stem, now);
        let sure = if stop_on.restart { life.surely_restarted(&shown) } else { Vec::new() };
        match incident {
            Incident::Restart { container, end, others } => {
                let restarted = life.restarted(&shown);
                assert!(stop_on.restart && restarted.contains(&container.as_str()), "{stem}: {incident:?}");
                assert!(sure.len() <= others + 1 && *others < restarted.len(), "{incident:?}: {sure:?} did");
                let mut containers = life.status_at(now).containers.iter();
                let status = containers.find(|status| status.name == *container).unwrap();
                let last_end = match &status.state {
                    ContainerState::Terminated(end) if end.exit_code != 0 && !life.ends_as_asked(now) => Some(end),
                    _ => status.last_end.as_ref(),
                };
                assert_eq!(end.as_ref(), last_end, "{stem}");
            }
            Incident::Unready { since_s } => {
                assert!(stop_on.unready && life.became_unready(&shown) && sure.is_empty(), "{stem}: {sure:?}");
                let ready = life.status_at(now).ready.unwrap();
                assert!(since_s.is_none() || (!ready.is_ready && *since_s == ready.since_s), "{stem}: {incident:?}");
            }
        }
    }

    /// Takes in that an action is carried out.
    pub(in crate::node) fn note(&mut self, stem: &Stem, action: &Action) {
        let unix_s = self.moment().unix_s;
        match action {
            Action::Learn(_) => self.note_shown(stem, true),
            Action::RecordIncident(incident) => {
                self.flights.get_mut(stem).unwrap().recorded = Some((incident.clone(), unix_s));
            }
            Action::Admit(valid) => {
                let before = self.captures.get(stem).unwrap();
                let now = Capture { admitted: Some(valid.clone()), ..Capture::default() };
                if before.ended_by().is_some() || stop_on(before) != stop_on(&now) {
                    self.flights.remove(stem);
                }
            }
            _ => (),
        }
    }

    /// Takes in that a recorder was shown the status of its pod as last observed.
    fn note_shown(&mut self, stem: &Stem, is_switched_on: bool) {
        let Some((_, _, now)) = self.watched(stem) else { return };
        if is_switched_on {
            self.flights.entry(stem.clone()).or_default();
        }
        if let Some(flight) = self.flights.get_mut(stem).filter(|flight| flight.shown.last() != Some(&now)) {
            flight.shown.push(now);
        }
    }

    /// Takes in that all recorders were shown what was observed last.
    pub(in crate::node) fn note_rest(&mut self) {
        let stems: Vec<Stem> = self.flights.keys().cloned().collect();
        stems.iter().for_each(|stem| self.note_shown(stem, false));
    }

    /// What must hold of the recorder of a capture whenever nothing is left to do.
    pub(super) fn check_flight(&self, stem: &Stem, capture: &Capture) {
        let known = capture.incident().map(|seen| (seen.incident.clone(), seen.seen.unix_s));
        let recorded = self.flights.get(stem).and_then(|flight| flight.recorded.clone());
        assert_eq!(known, recorded, "{stem}");
        if !self.seen.has_listed || self.stopping || !capture.is_active() {
            return;
        }
        if capture.incident().is_some() {
            return assert!(self.process_of(stem).is_some(), "{stem} had its incident and is not finished");
        }
        if let Some((stop_on, life, now)) = self.watched(stem) {
            let shown = self.shown(stem, now);
            let restarted = if stop_on.restart { life.surely_restarted(&shown) } else { Vec::new() };
            assert!(restarted.is_empty(), "{stem} does not see the incident of {restarted:?}");
            assert!(!stop_on.unready || !life.surely_became_unready(&shown), "{stem} does not see an unready pod");
        }
    }
}
