//! Which change of a pod's status is an incident, as a real kubelet writes it.

use super::*;

const RESTART: StopOn = StopOn { restart: true, unready: false };
const UNREADY: StopOn = StopOn { restart: false, unready: true };

fn end(exit_code: i32, at_s: u64) -> ContainerEnd {
    ContainerEnd { exit_code, reason: None, at_s: Some(at_s) }
}

fn app(restarts: u32, state: ContainerState) -> ContainerStatus {
    ContainerStatus { name: "app".to_owned(), restarts, is_init: false, state, last_end: None }
}

fn running(restarts: u32, started_s: u64) -> ContainerStatus {
    app(restarts, ContainerState::Running { started_s: Some(started_s) })
}

fn ended(restarts: u32, exit_code: i32) -> ContainerStatus {
    app(restarts, ContainerState::Terminated(end(exit_code, 50)))
}

fn of(containers: impl IntoIterator<Item = ContainerStatus>) -> PodStatus {
    PodStatus { containers: containers.into_iter().collect(), ..PodStatus::default() }
}

fn ready(is_ready: bool, since_s: u64) -> PodStatus {
    PodStatus { ready: Some(Readiness { is_ready, since_s: Some(since_s) }), ..PodStatus::default() }
}

/// What the last of these statuses is to a recorder that is switched on at the first one. The others are no incidents.
fn last(stop_on: StopOn, statuses: &[PodStatus]) -> Option<Incident> {
    let mut baseline = Baseline::of(stop_on, &statuses[0]);
    for (number, status) in statuses.iter().enumerate() {
        match baseline.observe(status, stop_on) {
            Observation::Nothing => (),
            Observation::Learned(learned) => {
                assert_eq!(learned.observe(status, stop_on), Observation::Nothing, "it is learned once");
                baseline = learned;
            }
            Observation::Incident(incident) => {
                assert_eq!(number + 1, statuses.len(), "{incident:?} at {number}: {statuses:?}");
                return Some(incident);
            }
        }
    }
    None
}

/// How the container ended that had the incident; `None`: there was no incident.
fn exit_code(containers: &[ContainerStatus]) -> Option<Option<i32>> {
    let statuses: Vec<PodStatus> = containers.iter().map(|container| of([container.clone()])).collect();
    last(RESTART, &statuses).map(|incident| match incident {
        Incident::Restart { container, end, others: 0 } if container == "app" => end.map(|end| end.exit_code),
        incident => panic!("{incident:?}"),
    })
}

#[test]
fn a_container_that_fails_or_restarts_is_an_incident_and_one_that_ends_with_0_is_none() {
    let restarted = |restarts| ContainerStatus { last_end: Some(end(0, 50)), ..running(restarts, 60) };
    for (containers, incident) in [
        (&[running(0, 10), ended(0, 137)][..], Some(Some(137))),
        (&[app(0, ContainerState::Waiting), running(0, 10), ended(0, -1)], Some(Some(-1))),
        (&[running(0, 10), ended(0, 0)], None),
        (&[app(0, ContainerState::Waiting), ended(0, 0)], None),
        // Started again, whether its end was seen or not.
        (&[running(0, 10), ended(0, 0), restarted(1)], Some(Some(0))),
        (&[running(0, 10), restarted(1)], Some(Some(0))),
        (&[running(0, 10), running(1, 60)], Some(None)),
        (&[running(3, 10), running(7, 60)], Some(None)),
        (&[running(0, 10), running(0, 10)], None),
    ] {
        assert_eq!(exit_code(containers), incident, "{containers:?}");
    }
}

#[test]
fn an_last_end_the_recorder_was_switched_on_is_none_but_the_next_one_is() {
    for exit_code_before in [0, 1] {
        let down = ended(3, exit_code_before);
        assert_eq!(exit_code(&[down.clone(), down.clone(), running(4, 60)]), None);
        assert_eq!(exit_code(&[down.clone(), running(4, 60), ended(4, 2)]), Some(Some(2)));
        // Its whole next life was missed.
        assert_eq!(exit_code(&[down.clone(), ended(4, 2)]), Some(Some(2)));
        assert_eq!(exit_code(&[down.clone(), running(5, 60)]), Some(None));
        assert_eq!(exit_code(&[down, running(4, 60), ended(4, 0), running(5, 70)]), Some(None));
    }
}

#[test]
fn a_container_that_is_created_anew_without_its_count_is_an_incident_if_it_ran() {
    assert_eq!(exit_code(&[running(0, 10), running(0, 60)]), Some(None));
    assert_eq!(exit_code(&[running(3, 10), running(0, 60)]), Some(None));
    assert_eq!(exit_code(&[running(3, 10), app(0, ContainerState::Waiting), running(0, 60)]), Some(None));
    assert_eq!(exit_code(&[app(0, ContainerState::Waiting), running(0, 10), running(0, 60)]), Some(None));
    assert_eq!(exit_code(&[ended(3, 1), running(4, 10), running(4, 60)]), Some(None));
    // It was down when the recorder was switched on: only its next end counts.
    assert_eq!(exit_code(&[ended(3, 1), app(0, ContainerState::Waiting), running(0, 60)]), None);
    assert_eq!(exit_code(&[ended(3, 1), running(0, 60), ended(0, 1)]), Some(Some(1)));
    assert_eq!(exit_code(&[ended(3, 1), ended(0, 1)]), Some(Some(1)));
    assert_eq!(exit_code(&[ended(3, 1), running(0, 60), running(1, 70)]), Some(None));
    // Between the two lives its status says nothing.
    let waiting = |restarts| app(restarts, ContainerState::Waiting);
    assert_eq!(exit_code(&[ended(3, 1), waiting(3), running(4, 60), waiting(4), running(4, 60)]), None);
    assert_eq!(exit_code(&[running(3, 10), waiting(4)]), Some(None));
    // A kubelet that does not say when proves nothing.
    let started_s = None;
    assert_eq!(exit_code(&[running(0, 10), app(0, ContainerState::Running { started_s }), running(0, 10)]), None);
}

#[test]
fn of_several_containers_the_one_that_ended_first_is_named() {
    let named = |name: &str, state| ContainerStatus { name: name.to_owned(), ..app(0, state) };
    let run = || ContainerState::Running { started_s: Some(10) };
    let incident = |ends: [Option<ContainerEnd>; 3]| {
        let names = ["a", "b", "c"];
        let now = ends
            .into_iter()
            .zip(names)
            .map(|(end, name)| named(name, end.map_or_else(run, ContainerState::Terminated)));
        match last(RESTART, &[of(names.map(|name| named(name, run()))), of(now)]) {
            Some(Incident::Restart { container, others, .. }) => (container, others),
            incident => panic!("{incident:?}"),
        }
    };
    assert_eq!(incident([None, Some(end(1, 50)), Some(end(2, 49))]), ("c".to_owned(), 1));
    assert_eq!(incident([Some(end(2, 50)), Some(end(1, 50)), Some(end(1, 51))]), ("a".to_owned(), 2));
    assert_eq!(incident([Some(end(0, 40)), Some(end(1, 50)), None]), ("b".to_owned(), 0));
    let unknown = ContainerEnd { at_s: None, ..end(1, 0) };
    assert_eq!(incident([Some(unknown), Some(end(1, 50)), None]), ("b".to_owned(), 1));
}

#[test]
fn a_pod_that_is_no_longer_ready_is_an_incident_also_if_only_the_time_of_the_change_tells_it() {
    let unready = |statuses: &[PodStatus]| {
        last(UNREADY, statuses).map(|incident| match incident {
            Incident::Unready { since_s } => since_s,
            incident @ Incident::Restart { .. } => panic!("{incident:?}"),
        })
    };
    let unknown = PodStatus::default();
    assert_eq!(unready(&[ready(true, 10), ready(false, 50)]), Some(Some(50)));
    assert_eq!(unready(&[ready(false, 10), ready(true, 20), ready(true, 20), ready(false, 50)]), Some(Some(50)));
    assert_eq!(unready(&[unknown.clone(), ready(false, 10), ready(false, 10), ready(true, 20)]), None);
    assert_eq!(unready(&[ready(true, 10), unknown.clone(), ready(true, 10)]), None);
    assert_eq!(unready(&[unknown, ready(true, 20), ready(false, 50)]), Some(Some(50)));
    // The watch was away in between.
    assert_eq!(unready(&[ready(true, 10), ready(true, 50)]), Some(None));
    assert_eq!(unready(&[ready(false, 10), ready(false, 50)]), Some(Some(50)));
    assert_eq!(unready(&[ready(false, 10), ready(true, 20), ready(true, 50)]), Some(None));
    // Nobody asked for the other incident.
    assert_eq!(last(UNREADY, &[of([running(0, 10)]), of([ended(0, 1)])]), None);
    assert_eq!(last(RESTART, &[ready(true, 10), ready(false, 50)]), None);
}

#[test]
fn a_pod_that_was_asked_to_end_has_no_incident_by_that_but_a_restart_is_one() {
    let asked = |status: PodStatus| PodStatus { is_ending: true, ..status };
    assert_eq!(last(RESTART, &[of([running(0, 10)]), asked(of([ended(0, 143)]))]), None);
    assert_eq!(last(UNREADY, &[ready(true, 10), asked(ready(false, 50))]), None);
    assert!(last(RESTART, &[of([running(0, 10)]), asked(of([running(1, 50)]))]).is_some());
}

#[test]
fn a_pod_whose_containers_have_all_ended_with_0_was_asked_to_end_seconds_before_its_phase_says_so() {
    let side = |state| ContainerStatus { name: "side".to_owned(), is_init: true, ..app(0, state) };
    let runs = || ContainerState::Running { started_s: Some(10) };
    let killed = || ContainerState::Terminated(end(137, 58));
    let unready = |containers: [ContainerStatus; 2]| PodStatus { ready: ready(false, 55).ready, ..of(containers) };
    let first = || PodStatus { ready: ready(true, 10).ready, ..of([running(0, 10), side(runs())]) };
    let both = StopOn { restart: true, unready: true };
    // As a kubelet ends a Job's pod with a sidecar that ignores TERM.
    let done = [first(), unready([ended(0, 0), side(runs())]), unready([ended(0, 0), side(killed())])];
    assert_eq!(last(both, &done), None);
    // The sidecar fails while the main container runs, and the main container fails.
    assert!(last(both, &[first(), of([running(0, 10), side(killed())])]).is_some());
    assert!(last(both, &[first(), unready([ended(0, 1), side(runs())])]).is_some());
    // It was to be started again: now the pod is unready, and no longer because it ends.
    let waits = ContainerStatus { last_end: Some(end(0, 55)), ..app(0, ContainerState::Waiting) };
    let again = [first(), unready([ended(0, 0), side(runs())]), unready([waits, side(runs())])];
    assert_eq!(last(UNREADY, &again), Some(Incident::Unready { since_s: Some(55) }));
}

#[test]
fn what_is_remembered_is_as_small_as_what_is_asked_and_has_a_bound() {
    let status = PodStatus { ready: ready(true, 10).ready, ..of([running(0, 10)]) };
    assert_eq!(Baseline::of(UNREADY, &status).containers.len(), 0);
    assert_eq!(Baseline::of(RESTART, &status).ready, None);
    let mut baseline = Baseline::of(RESTART, &status);
    for number in 0..1000 {
        let other = ContainerStatus { name: format!("c{number}"), ..running(0, 10) };
        if let Observation::Learned(learned) = baseline.observe(&of([other.clone()]), RESTART) {
            assert_eq!(
                learned.observe(&of([other]), RESTART),
                Observation::Nothing,
                "otherwise no plan is ever complete"
            );
            baseline = learned;
        }
    }
    assert_eq!(baseline.containers.len(), CONTAINERS_MAX);
}
