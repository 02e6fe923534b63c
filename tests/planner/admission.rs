//! Which pods are captured where not all have room, and whose files are kept.

use std::time::Duration;

use packet_capture::core::{
    annotations::Annotations,
    condition::State,
    limits::Limits,
    name::PodName,
    refusal::Refusal,
    request::Target,
    world::{RECORDS_MAX, RECORDS_MAX_PER_NAMESPACE},
};

use crate::{
    asks::{asking, at},
    node::{LOW_WATERMARK_MB, Node},
    support::{node, pod, roomy, started},
};

/// A node with pods `a`, `b`, `c` … that asked for so many files, one after the other.
fn asked(limits: Limits, files: &[&str]) -> (Node, Vec<PodName>) {
    let (mut node, names) = (node(limits), ["a", "b", "c", "d"].map(pod));
    node.server.list();
    let pods = names.into_iter().zip(files).map(|(name, files)| {
        node.server.create(&name, asking(files, &[]), at("10.0.0.1"));
        node.listen();
        name
    });
    let pods = pods.collect();
    node.pass(Duration::from_secs(1));
    (node, pods)
}

fn annotate(node: &mut Node, pod: &PodName, annotations: Annotations) {
    node.server.annotate(pod, annotations);
    node.listen();
    node.pass(Duration::from_secs(3));
}

fn delete(node: &mut Node, pod: &PodName) {
    node.server.delete(pod);
    node.listen();
    node.pass(Duration::from_secs(1));
}

fn with_low_watermark() -> Limits {
    Limits { free_mb_min: u32::try_from(LOW_WATERMARK_MB).unwrap(), free_percent_min: 2, ..roomy() }
}

#[test]
fn the_newest_request_is_the_refused_one_also_after_a_restart_and_starts_when_there_is_room() {
    let (mut node, pods) = asked(Limits { captures_max: 2, ..roomy() }, &["3", "2", "1"]);
    assert_eq!(started(&node), [3, 2]);
    node.start_anew();
    assert_eq!(started(&node), [3, 2, 3, 2]);
    annotate(&mut node, &pods[0], Annotations::new());
    assert_eq!(started(&node), [3, 2, 3, 2, 1]);
    annotate(&mut node, &pods[0], asking("7", &[]));
    assert_eq!((started(&node).len(), node.running()), (5, 2));
}

#[test]
fn a_large_request_that_has_no_room_does_not_keep_out_a_smaller_one() {
    let (node, _) = asked(Limits { budget_mb: 8, ..roomy() }, &["5", "4", "3"]);
    assert_eq!(started(&node), [5, 3]);
}

#[test]
fn a_change_that_has_no_room_is_refused_and_the_running_capture_continues() {
    let (mut node, pods) = asked(Limits { budget_mb: 8, ..roomy() }, &["4", "3"]);
    annotate(&mut node, &pods[0], asking("6", &[]));
    assert_eq!((started(&node), node.running()), (vec![4, 3], 2));
    annotate(&mut node, &pods[0], asking("5", &[]));
    annotate(&mut node, &pods[0], asking("2", &[]));
    assert_eq!(started(&node), [4, 3, 5, 2]);
}

#[test]
fn two_small_captures_start_only_when_the_one_whose_room_they_take_has_ended() {
    let (mut node, pods) = asked(Limits { budget_mb: 8, ..roomy() }, &["8", "4", "4"]);
    assert_eq!(started(&node), [8]);
    annotate(&mut node, &pods[0], asking("4", &[]));
    assert_eq!(started(&node), [8, 4, 4]);
    annotate(&mut node, &pods[0], Annotations::new());
    assert_eq!(started(&node), [8, 4, 4, 4]);
}

#[test]
fn below_the_low_watermark_all_captures_stop_and_keep_their_files_until_the_high_one() {
    let (mut node, pods) = asked(with_low_watermark(), &["3", "2"]);
    node.free(LOW_WATERMARK_MB);
    assert_eq!(node.running(), 2);
    node.free(LOW_WATERMARK_MB - 1);
    node.pass(Duration::from_secs(3));
    assert_eq!((node.running(), node.kept(&pods[0]), node.kept(&pods[1])), (0, 1, 1));
    node.free(2 * LOW_WATERMARK_MB - 1);
    assert_eq!(node.running(), 0);
    node.free(2 * LOW_WATERMARK_MB);
    assert_eq!((node.running(), started(&node)), (2, vec![3, 2, 3, 2]));
}

#[test]
fn a_start_that_would_cross_the_low_watermark_waits_and_existing_files_count() {
    let (mut node, pods) = asked(with_low_watermark(), &["3"]);
    node.free(LOW_WATERMARK_MB + 3);
    annotate(&mut node, &pods[0], asking("7", &[]));
    assert_eq!(started(&node), [3]);
    node.free(LOW_WATERMARK_MB + 4);
    node.pass(Duration::from_secs(3));
    assert_eq!(started(&node), [3, 7]);
    // another controller does not know what was reckoned with: 6 more
    node.free(LOW_WATERMARK_MB + 5);
    node.start_anew();
    assert_eq!(started(&node), [3, 7]);
    node.free(LOW_WATERMARK_MB + 6);
    assert_eq!(started(&node), [3, 7, 7]);
}

#[test]
fn an_edit_that_needs_no_more_disk_does_not_stop_a_running_capture() {
    let (mut node, pods) = asked(with_low_watermark(), &["3"]);
    node.free(LOW_WATERMARK_MB);
    annotate(&mut node, &pods[0], asking("3", &[("/snaplen", "112")]));
    annotate(&mut node, &pods[0], asking("2", &[]));
    assert_eq!(started(&node), [3, 3, 2]);
}

#[test]
fn retained_files_stay_for_keep_after_pod() {
    let (mut node, pods) = asked(Limits { keep_after_pod: Duration::from_secs(30), ..roomy() }, &["3", "2"]);
    delete(&mut node, &pods[0]);
    annotate(&mut node, &pods[1], Annotations::new());
    assert_eq!((node.running(), node.kept(&pods[0]), node.kept(&pods[1])), (0, 1, 0));
    node.start_anew();
    node.pass(Duration::from_secs(24));
    assert_eq!(node.kept(&pods[0]), 1);
    node.pass(Duration::from_secs(3));
    assert_eq!(node.kept(&pods[0]), 0);
}

#[test]
fn retained_files_are_evicted_for_a_new_request_the_oldest_first() {
    let kept = Limits { keep_after_pod: Duration::from_secs(3600), budget_mb: 9, ..roomy() };
    let (mut node, pods) = asked(kept, &["3", "2", "1"]);
    for pod in &pods[..2] {
        node.pass(Duration::from_secs(5));
        delete(&mut node, pod);
    }
    node.server.create(&pod("d"), asking("7", &[]), at("10.0.0.1"));
    node.listen();
    assert_eq!((node.kept(&pods[0]), node.kept(&pods[1]), node.running()), (0, 1, 2));
    node.server.create(&pods[1], asking("1", &[]), at("10.0.0.1"));
    node.listen();
    assert_eq!(started(&node), [3, 2, 1, 7, 1]);
}

#[test]
fn retained_files_are_evicted_when_an_admitted_capture_lacks_disk() {
    let kept = Limits { keep_after_pod: Duration::from_secs(3600), ..with_low_watermark() };
    let (mut node, pods) = asked(kept, &["3", "2"]);
    delete(&mut node, &pods[0]);
    node.free(LOW_WATERMARK_MB);
    assert_eq!(node.kept(&pods[0]), 1);
    node.start_anew();
    assert_eq!((node.kept(&pods[0]), node.running()), (0, 0));
    node.pass(Duration::from_secs(2));
    assert_eq!(node.running(), 1);
}

#[test]
fn a_pod_that_waited_for_the_disk_and_is_gone_needs_no_room_any_more() {
    let (mut node, pods) = asked(Limits { keep_after_pod: Duration::from_secs(30), ..with_low_watermark() }, &["3"]);
    node.free(LOW_WATERMARK_MB + 1);
    node.start_anew();
    assert_eq!(node.running(), 0);
    delete(&mut node, &pods[0]);
    assert_eq!(node.kept(&pods[0]), 1);
}

fn paused(files: &str) -> Annotations {
    asking(files, &[("/pause", "true")])
}

#[test]
fn a_paused_capture_leaves_its_room_and_queues_as_the_last_when_it_continues() {
    let (mut node, pods) = asked(Limits { captures_max: 1, ..roomy() }, &["3", "2"]);
    assert_eq!(started(&node), [3]);
    annotate(&mut node, &pods[0], paused("3"));
    assert_eq!((started(&node), node.kept(&pods[0])), (vec![3, 2], 1));
    node.server.create(&pod("c"), asking("4", &[]), at("10.0.0.1"));
    node.listen();
    annotate(&mut node, &pods[0], asking("3", &[]));
    // Nor does a restart let it in again, whose place in the order was the first once.
    node.start_anew();
    assert_eq!((started(&node), node.running(), node.kept(&pods[0])), (vec![3, 2, 2], 1, 1));
    delete(&mut node, &pods[1]);
    assert_eq!(started(&node), [3, 2, 2, 4]);
    delete(&mut node, &pod("c"));
    assert_eq!(started(&node), [3, 2, 2, 4, 3]);
}

#[test]
fn a_pod_without_an_address_holds_no_room_and_starts_in_its_turn_when_it_has_one() {
    let mut node = node(Limits { budget_mb: 8, ..roomy() });
    node.server.list();
    for name in ["a", "b"] {
        node.server.create(&pod(name), asking("7", &[]), Target::NoAddress);
        node.server.create(&pod(&format!("{name}-2")), paused("7"), Target::NoAddress);
    }
    node.server.create(&pod("c"), asking("5", &[]), at("10.0.0.1"));
    node.listen();
    assert_eq!(started(&node), [5]);
    node.server.move_to(&pod("b"), at("10.0.0.2"));
    node.listen();
    node.pass(Duration::from_secs(1));
    assert_eq!(node.state(&pod("b")).0, State::Refused);
    node.server.move_to(&pod("c"), Target::Finished);
    node.listen();
    node.pass(Duration::from_secs(1));
    assert_eq!(started(&node), [5, 7]);
}

#[test]
fn a_running_capture_keeps_its_room_while_its_pod_has_no_address() {
    let (mut node, pods) = asked(Limits { captures_max: 1, ..roomy() }, &["3", "2"]);
    node.server.move_to(&pods[0], Target::NoAddress);
    node.listen();
    node.pass(Duration::from_secs(60));
    assert_eq!((started(&node), node.running()), (vec![3], 0));
    node.server.move_to(&pods[0], at("10.0.0.3"));
    node.listen();
    assert_eq!(started(&node), [3, 3]);
}

#[test]
fn a_capture_whose_pod_must_not_be_captured_leaves_its_room_and_waits_when_it_may_be_again() {
    let (mut node, pods) = asked(Limits { captures_max: 1, ..roomy() }, &["3", "2"]);
    node.server.move_to(&pods[0], Target::Forbidden(Refusal::HostNetwork));
    node.listen();
    node.pass(Duration::from_secs(3));
    assert_eq!(started(&node), [3, 2]);
    node.server.move_to(&pods[0], at("10.0.0.1"));
    node.listen();
    node.pass(Duration::from_secs(3));
    assert_eq!((started(&node), node.running()), (vec![3, 2], 1));
    delete(&mut node, &pods[1]);
    assert_eq!(started(&node), [3, 2, 3]);
}

#[test]
fn a_namespace_has_no_more_than_its_share_and_the_others_are_served() {
    let share = Limits { captures_max_per_namespace: 2, budget_mb_per_namespace: 6, ..roomy() };
    let (mut node, pods) = asked(share, &["3", "4", "2", "5"]);
    assert_eq!(started(&node), [3, 2]);
    let (_, reason) = node.state(&pods[3]);
    assert!(reason.starts_with("namespace default already runs 2 of at most 2 captures on this node"), "{reason}");
    let other = PodName { namespace: "prod".into(), name: "a".into() };
    node.server.create(&other, asking("6", &[]), at("10.0.0.1"));
    node.listen();
    assert_eq!(started(&node), [3, 2, 6]);
    let (_, reason) = node.state(&pods[1]);
    assert!(reason.contains("namespace default"), "{reason}");
    annotate(&mut node, &pods[0], Annotations::new());
    assert_eq!(started(&node), [3, 2, 6, 4]);
}

#[test]
fn a_pod_that_had_finished_gets_no_capture_and_its_owner_is_told_once_if_that_is_news() {
    let mut node = node(roomy());
    node.server.create(&pod("old"), asking("5", &[]), Target::Finished);
    node.server.list();
    node.listen();
    node.server.create(&pod("late"), asking("5", &[]), Target::Finished);
    node.listen();
    assert_eq!((node.captures(), node.declined()), (0, vec![pod("late")]));
    node.server.annotate(&pod("late"), asking("5", &[]));
    node.server.list();
    node.listen();
    node.start_anew();
    assert_eq!((node.captures(), node.declined()), (0, vec![pod("late")]));
}

#[test]
fn pods_beyond_the_most_records_are_told_once_and_those_that_finished_make_way() {
    let mut node = node(Limits { captures_max: 1, ..roomy() });
    node.server.list();
    let name = |n: usize| PodName { namespace: format!("namespace-{}", n % 3), name: format!("web-{n}") };
    create_at_once(&mut node, (0..=RECORDS_MAX).map(name));
    assert_eq!((node.captures(), node.declined()), (RECORDS_MAX, vec![name(RECORDS_MAX)]));
    node.server.move_to(&name(5), Target::Finished);
    node.listen();
    node.turn();
    assert_eq!((node.captures(), node.declined()), (RECORDS_MAX, vec![name(RECORDS_MAX), name(5)]));
    assert_eq!(node.state(&name(RECORDS_MAX)).0, State::Refused);
}

#[test]
fn no_namespace_takes_more_than_its_share_of_the_records() {
    let mut node = node(Limits { captures_max: 1, ..roomy() });
    node.server.list();
    let name = |n: usize| pod(&format!("web-{n}"));
    create_at_once(&mut node, (0..=RECORDS_MAX_PER_NAMESPACE).map(name));
    assert_eq!((node.captures(), node.declined()), (RECORDS_MAX_PER_NAMESPACE, vec![name(RECORDS_MAX_PER_NAMESPACE)]));
    let other = PodName { namespace: "other".into(), name: "web".into() };
    create_at_once(&mut node, [other]);
    assert_eq!(node.captures(), RECORDS_MAX_PER_NAMESPACE + 1);
    node.server.move_to(&name(5), Target::Finished);
    node.listen();
    node.turn();
    assert_eq!(node.state(&name(RECORDS_MAX_PER_NAMESPACE)).0, State::Refused);
}

/// Creates pods that ask, all of them heard of in one turn.
fn create_at_once(node: &mut Node, pods: impl IntoIterator<Item = PodName>) {
    for pod in pods {
        node.server.create(&pod, asking("1", &[]), at("10.0.0.1"));
    }
    while let Some(event) = node.server.next_event() {
        node.observe(event);
    }
    node.turn();
}
