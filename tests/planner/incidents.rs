//! When a capture ends that is to stop on an incident of its pod, and what begins it again.

use std::time::Duration;

use packet_capture::core::{
    annotations::Annotations,
    condition::{EndedBy, State, StopReason},
    desired::WatchEvent,
    limits::Limits,
    name::PodName,
    refusal::Refusal,
    request::Target,
};

use crate::{
    asks::{asking, at},
    life::Happening::{self, Deleting, Ends, Ready, Replaced, Starts},
    node::Node,
    support::{annotate, captured, node, pod, roomy, started},
};

const RESTART: (&str, &str) = ("/stop-on", "restart");
const BOTH: (&str, &str) = ("/stop-on", "restart,unready");
const STOPPED: StopReason = StopReason::Ended(EndedBy::StopOn);
/// The grace after an incident, and what tcpdump takes to end.
const GRACE: Duration = Duration::from_millis(1280);

/// Lets things happen at once to a pod that is watched.
fn happen(node: &mut Node, web: &PodName, all: &[Happening]) {
    node.server.happen(web, all);
    node.listen();
}

fn is_finished(node: &Node, web: &PodName, because: &str) {
    let (state, reason) = node.state(web);
    assert!(state == State::Finished && reason.starts_with(because), "{state:?}: {reason}");
    assert_eq!((node.running(), node.kept(web)), (0, 1));
}

#[test]
fn a_failure_ends_a_capture_a_second_later_and_for_good_until_the_request_changes() {
    let (mut node, web) = captured(&[RESTART]);
    node.pass(Duration::from_secs(10));
    happen(&mut node, &web, &[Ends("app", 137)]);
    node.pass(Duration::from_millis(1249));
    assert_eq!((node.running(), &node.stops[..]), (1, &[][..]));
    node.pass(Duration::from_millis(31));
    is_finished(&node, &web, "container app of this pod ended with 137 at ");
    happen(&mut node, &web, &[Starts("app"), Ends("app", 1), Starts("app")]);
    node.start_anew();
    node.pass(Duration::from_secs(3600));
    is_finished(&node, &web, "container app of this pod ended with 137 at ");
    assert_eq!((started(&node), &node.stops[..]), (vec![5], &[STOPPED][..]));
    annotate(&mut node, &web, &[RESTART, ("/snaplen", "112")]);
    node.pass(Duration::from_secs(3600));
    assert_eq!((node.running(), started(&node)), (1, vec![5, 5]));
    happen(&mut node, &web, &[Ends("init", 1)]);
    node.pass(GRACE);
    is_finished(&node, &web, "container init of this pod ended with 1 at ");
}

#[test]
fn a_container_that_is_down_when_the_request_is_admitted_may_start_and_its_next_end_counts() {
    let (mut node, web) = (node(roomy()), pod("web"));
    node.server.list();
    node.server.create(&web, Annotations::new(), at("10.0.0.1"));
    happen(&mut node, &web, &[Ends("app", 1), Starts("app"), Ends("app", 1)]);
    annotate(&mut node, &web, &[RESTART]);
    node.start_anew();
    happen(&mut node, &web, &[Starts("app")]);
    node.pass(Duration::from_secs(60));
    assert_eq!(node.running(), 1);
    happen(&mut node, &web, &[Ends("app", 2)]);
    node.pass(GRACE);
    is_finished(&node, &web, "container app of this pod ended with 2 at ");
}

#[test]
fn an_incident_while_there_is_no_controller_is_seen_by_the_next_one_and_told_once() {
    for happened in [&[Ends("app", 1)][..], &[Ends("app", 0), Starts("app")], &[Replaced("app", 0)], &[Ready(false)]] {
        let (mut node, web) = captured(&[BOTH]);
        node.pass(Duration::from_secs(10));
        node.server.happen(&web, happened);
        node.start_anew();
        node.start_anew();
        node.pass(Duration::from_secs(3600));
        assert_eq!(node.state(&web).0, State::Finished, "{happened:?}");
        assert_eq!((node.kept(&web), started(&node), &node.stops[..]), (1, vec![5], &[STOPPED][..]), "{happened:?}");
    }
}

#[test]
fn an_incident_that_was_seen_is_known_to_the_next_controller_although_the_pod_shows_it_no_longer() {
    let (mut node, web) = captured(&[BOTH]);
    node.pass(Duration::from_secs(10));
    happen(&mut node, &web, &[Ready(false)]);
    happen(&mut node, &web, &[Deleting]);
    node.pass(Duration::from_millis(500));
    node.start_anew();
    is_finished(&node, &web, "this pod is no longer Ready since ");
    assert_eq!((started(&node), &node.stops[..]), (vec![5], &[STOPPED][..]));
}

#[test]
fn an_incident_during_an_outage_is_seen_by_the_next_list() {
    for happened in [&[Ends("app", 3), Starts("app")][..], &[Replaced("app", 0)], &[Ready(false), Ready(true)]] {
        let (mut node, web) = captured(&[BOTH]);
        node.server.hang_up();
        node.observe(WatchEvent::Disconnected);
        node.pass(Duration::from_secs(10));
        node.server.happen(&web, happened);
        node.server.list();
        node.listen();
        node.pass(GRACE);
        assert_eq!((node.running(), &node.stops[..]), (0, &[STOPPED][..]), "{happened:?}");
    }
}

#[test]
fn a_change_within_the_second_after_an_incident_waits_for_the_end_and_begins_anew() {
    let (mut node, web) = captured(&[RESTART]);
    node.pass(Duration::from_secs(10));
    happen(&mut node, &web, &[Ends("app", 1)]);
    node.pass(Duration::from_millis(500));
    node.server.annotate(&web, asking("6", &[RESTART]));
    node.listen();
    assert_eq!((node.running(), started(&node)), (1, vec![5]));
    node.pass(Duration::from_millis(781));
    assert_eq!((node.running(), started(&node), &node.stops[..]), (1, vec![5, 6], &[STOPPED][..]));
    happen(&mut node, &web, &[Starts("app")]);
    node.pass(Duration::from_secs(3600));
    assert_eq!((node.running(), node.stops.len()), (1, 1));
}

#[test]
fn a_change_after_an_incident_that_no_controller_saw_begins_anew() {
    let (mut node, web) = captured(&[RESTART]);
    node.pass(Duration::from_secs(10));
    node.server.happen(&web, &[Ends("app", 1)]);
    node.server.annotate(&web, asking("6", &[RESTART]));
    node.start_anew();
    assert_eq!((node.running(), started(&node), &node.stops[..]), (1, vec![5, 6], &[STOPPED][..]));
}

#[test]
fn a_change_of_other_annotations_keeps_what_is_counted_from_and_a_change_of_stop_on_does_not() {
    for (changed, runs) in [(RESTART, 0), (BOTH, 1)] {
        let (mut node, web) = captured(&[RESTART]);
        node.pass(Duration::from_secs(10));
        happen(&mut node, &web, &[Ends("app", 0)]);
        node.server.annotate(&web, asking("6", &[changed]));
        node.listen();
        node.pass(Duration::from_secs(3));
        assert_eq!((node.running(), started(&node)), (1, vec![5, 6]));
        happen(&mut node, &web, &[Starts("app")]);
        node.pass(GRACE);
        assert_eq!(node.running(), runs, "{changed:?}");
    }
}

#[test]
fn a_change_that_has_no_room_does_not_blind_the_recorder_of_what_is_carried_out() {
    let (mut node, web) = (node(Limits { budget_mb: 10, ..roomy() }), pod("web"));
    node.server.list();
    node.server.create(&web, asking("5", &[RESTART]), at("10.0.0.1"));
    node.server.annotate(&web, asking("50", &[]));
    node.listen();
    node.start_anew();
    assert_eq!((node.running(), started(&node)), (1, vec![5, 5]));
    happen(&mut node, &web, &[Ends("app", 1)]);
    node.pass(GRACE);
    is_finished(&node, &web, "container app of this pod ended with 1 at ");
}

#[test]
fn a_paused_capture_sees_no_incident_and_counts_from_the_moment_at_which_it_continues() {
    let (mut node, web) = captured(&[RESTART]);
    annotate(&mut node, &web, &[RESTART, ("/pause", "true")]);
    happen(&mut node, &web, &[Ends("app", 1)]);
    node.start_anew();
    annotate(&mut node, &web, &[RESTART]);
    happen(&mut node, &web, &[Starts("app")]);
    node.pass(Duration::from_secs(60));
    assert_eq!((node.running(), &node.stops[..]), (1, &[StopReason::Paused][..]));
    happen(&mut node, &web, &[Ends("app", 1)]);
    node.pass(GRACE);
    is_finished(&node, &web, "container app of this pod ended with 1 at ");
}

#[test]
fn whatever_ends_tcpdump_within_the_second_after_an_incident_the_incident_was_first() {
    let fail = |node: &mut Node, _: &PodName| node.fail_all();
    let lose_its_address = |node: &mut Node, web: &PodName| {
        node.server.move_to(web, Target::NoAddress);
        node.listen();
        node.pass(Duration::from_millis(30));
    };
    let shut_down = |node: &mut Node, _: &PodName| {
        node.shut_down();
        node.server.list();
        node.listen();
    };
    for end in [fail as fn(&mut Node, &PodName), lose_its_address, shut_down] {
        let (mut node, web) = captured(&[RESTART]);
        node.pass(Duration::from_secs(10));
        happen(&mut node, &web, &[Ends("app", 1)]);
        node.pass(Duration::from_millis(500));
        end(&mut node, &web);
        is_finished(&node, &web, "container app of this pod ended with 1 at ");
        assert_eq!((started(&node), &node.stops[..]), (vec![5], &[STOPPED][..]));
    }
}

#[test]
fn whichever_end_comes_first_counts() {
    for (ms, by) in [(29_500, EndedBy::StopOn), (30_500, EndedBy::Duration)] {
        let (mut node, web) = captured(&[RESTART, ("/duration", "30s")]);
        node.pass(Duration::from_millis(ms));
        happen(&mut node, &web, &[Ends("app", 1)]);
        node.pass(GRACE);
        assert_eq!(node.stops, [StopReason::Ended(by)], "{ms} ms");
    }
    // The end came first, but nobody was there to see it: nothing is started for the rest of the grace.
    let (mut node, web) = captured(&[RESTART, ("/duration", "30s")]);
    node.pass(Duration::from_millis(30_500));
    node.server.happen(&web, &[Ends("app", 1)]);
    node.start_anew();
    assert_eq!((started(&node), &node.stops[..]), (vec![5], &[StopReason::Ended(EndedBy::Duration)][..]));
}

#[test]
fn a_pod_that_fails_as_a_whole_ends_its_capture_at_once_because_of_the_incident() {
    for (happened, reason) in [(&[Ends("app", 1)][..], STOPPED), (&[Ends("app", 0)], StopReason::PodFinished)] {
        for restarts in [false, true] {
            let (mut node, web) = captured(&[BOTH]);
            node.pass(Duration::from_secs(10));
            node.server.happen(&web, happened);
            node.server.move_to(&web, Target::Finished);
            if restarts {
                node.start_anew();
            }
            // One update shows both.
            node.server.list();
            node.listen();
            node.pass(Duration::from_millis(30));
            assert_eq!((node.running(), node.kept(&web)), (0, 1));
            let is_told = !restarts || reason == STOPPED;
            assert_eq!(node.stops, if is_told { vec![reason] } else { vec![] }, "{happened:?}");
        }
    }
}

#[test]
fn a_pod_that_ends_as_it_was_asked_to_has_no_incident() {
    for happened in [[Deleting, Ends("app", 143), Ready(false)], [Ready(false), Ends("app", 0), Ends("init", 137)]] {
        let (mut node, web) = captured(&[BOTH]);
        happen(&mut node, &web, &happened);
        node.start_anew();
        node.pass(Duration::from_secs(60));
        assert_eq!((node.running(), node.stops.len()), (1, 0), "{happened:?}");
    }
}

#[test]
fn the_files_and_the_incident_of_a_deleted_pod_stay_for_keep_after_pod() {
    for (wait, reasons) in [(GRACE, vec![STOPPED]), (Duration::from_millis(500), vec![StopReason::Retained])] {
        let mut node = node(Limits { keep_after_pod: Duration::from_secs(30), ..roomy() });
        let web = pod("web");
        node.server.list();
        node.server.create(&web, asking("5", &[RESTART]), at("10.0.0.1"));
        happen(&mut node, &web, &[Ends("app", 1)]);
        node.pass(wait);
        node.server.delete(&web);
        node.listen();
        node.pass(Duration::from_secs(1));
        node.start_anew();
        assert_eq!((node.kept(&web), node.had_incident(&web)), (1, true));
        assert_eq!(node.stops, reasons);
        node.pass(Duration::from_secs(30));
        assert_eq!(node.kept(&web), 0);
    }
}

#[test]
fn a_capture_that_left_its_room_queues_again_and_then_looks_at_its_pod() {
    let (mut node, web) = captured(&[RESTART]);
    node.server.move_to(&web, Target::Forbidden(Refusal::HostNetwork));
    node.listen();
    node.pass(Duration::from_secs(3));
    node.server.happen(&web, &[Ends("app", 1)]);
    node.server.move_to(&web, at("10.0.0.1"));
    // One update shows both.
    node.server.list();
    node.listen();
    is_finished(&node, &web, "container app of this pod ended with 1 at ");
    assert_eq!((started(&node), &node.stops[..]), (vec![5], &[StopReason::Forbidden, STOPPED][..]));
}

#[test]
fn a_controller_that_is_asked_to_end_leaves_an_incident_to_the_next_one() {
    let (mut node, web) = captured(&[RESTART]);
    node.server.happen(&web, &[Ends("app", 1)]);
    while let Some(event) = node.server.next_event() {
        node.observe(event);
    }
    node.shut_down();
    node.server.list();
    node.listen();
    is_finished(&node, &web, "container app of this pod ended with 1 at ");
    assert_eq!(node.stops, [StopReason::Shutdown, STOPPED]);
}
