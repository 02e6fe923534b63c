//! What watch events make of the pods' requests.

use std::time::Duration;

use super::*;
use crate::core::{
    annotations::ANNOTATION,
    name::PodName,
    recorder::{PodStatus, Readiness},
    refusal::Refusal,
    request::Target,
};

pub fn observed(name: &str, uid: &str, value: Option<&str>) -> ObservedPod {
    let annotations: Annotations = value.map(|value| (ANNOTATION.to_owned(), value.to_owned())).into_iter().collect();
    ObservedPod {
        uid: PodUid(uid.into()),
        name: PodName { namespace: "default".into(), name: name.into() },
        created_s: 0,
        parsed: annotations::parse(&annotations, &Limits::default()),
        annotations,
        target: Target::NoAddress,
        claims: Vec::new(),
        status: PodStatus::default(),
    }
}

/// The number of files that a pod's request in force asks for.
pub fn files(desired: &Desired, name: &str) -> Option<u16> {
    let stem = Stem::of(&PodName { namespace: "default".into(), name: name.into() });
    desired.request_of(&stem)?.valid.as_ref().map(|valid| valid.request.spec.files)
}

pub fn after(events: impl IntoIterator<Item = WatchEvent>) -> Desired {
    let mut desired = Desired::default();
    observe(&mut desired, events);
    desired
}

pub fn observe(desired: &mut Desired, events: impl IntoIterator<Item = WatchEvent>) {
    events.into_iter().for_each(|event| desired.observe(event, Instant::now()));
}

pub fn list(pods: impl IntoIterator<Item = ObservedPod>) -> Vec<WatchEvent> {
    let items = pods.into_iter().map(WatchEvent::ListItem);
    [WatchEvent::ListStarted].into_iter().chain(items).chain([WatchEvent::ListDone]).collect()
}

#[test]
fn a_list_that_fails_half_way_changes_nothing() {
    let (a, b) = (observed("a", "1", Some("5")), observed("b", "2", Some("6")));
    let full = list([a, b.clone()]);
    let half = [WatchEvent::ListStarted, WatchEvent::ListItem(b.clone()), WatchEvent::Disconnected];
    let desired = after(full.clone().into_iter().chain(half));
    assert_eq!((files(&desired, "a"), files(&desired, "b")), (Some(5), Some(6)));
    assert!(desired.lost_since().is_some());
    let desired = after(full.into_iter().chain([WatchEvent::ListStarted]).chain(list([b])));
    assert_eq!((files(&desired, "a"), files(&desired, "b")), (None, Some(6)));
    assert!(desired.lost_since().is_none());
}

#[test]
fn the_rest_of_a_list_that_has_failed_changes_nothing() {
    let late = || [WatchEvent::ListItem(observed("a", "1", Some("5"))), WatchEvent::ListDone];
    for started in [vec![], vec![WatchEvent::ListStarted, WatchEvent::Disconnected]] {
        let mut desired = after(started.into_iter().chain(late()));
        assert!(!desired.has_listed() && desired.requests().next().is_none());
        observe(&mut desired, list([observed("b", "2", Some("6"))]).into_iter().chain(late()));
        assert_eq!((files(&desired, "a"), files(&desired, "b")), (None, Some(6)));
    }
}

#[test]
fn the_pods_are_known_after_the_first_complete_list() {
    let begun = [WatchEvent::ListStarted, WatchEvent::ListItem(observed("a", "1", Some("5")))];
    assert!(!after(begun.clone().into_iter().chain([WatchEvent::Disconnected])).has_listed());
    let mut desired = after(begun.into_iter().chain([WatchEvent::ListDone]));
    assert!(desired.has_listed() && files(&desired, "a") == Some(5));
    let start = Instant::now();
    for after_s in [0, 9] {
        desired.observe(WatchEvent::Disconnected, start + Duration::from_secs(after_s));
    }
    assert_eq!((desired.lost_since(), desired.has_listed()), (Some(start), true), "lost since the first failure");
}

#[test]
fn the_last_valid_request_stands_until_the_annotation_goes() {
    let change = |value| WatchEvent::Applied(observed("a", "1", value));
    let mut desired = after([change(Some("5")), change(Some("x"))]);
    assert_eq!(files(&desired, "a"), Some(5));
    let pod = desired.requests().next().unwrap().1.clone();
    assert_eq!(pod.parsed, Parsed::Invalid(Refusal::FileCount { value: "x".into(), max: 100 }));
    observe(&mut desired, [change(None), change(Some("x"))]);
    assert_eq!(files(&desired, "a"), None);
}

#[test]
fn another_pod_of_the_name_inherits_no_request_and_outlives_the_first_ones_end() {
    let reborn =
        [WatchEvent::Applied(observed("a", "1", Some("5"))), WatchEvent::Applied(observed("a", "2", Some("x")))];
    assert_eq!(files(&after(reborn), "a"), None);
    let reborn = [WatchEvent::Applied(observed("a", "2", Some("5"))), WatchEvent::Deleted(observed("a", "1", None))];
    assert_eq!(files(&after(reborn), "a"), Some(5));
}

#[test]
fn a_request_of_before_a_restart_is_recalled_by_the_first_list_only() {
    let mut desired = Desired::default();
    desired.recall(PodUid("1".into()), observed("a", "1", Some("7")).annotations, &Limits::default());
    desired.recall(PodUid("2".into()), observed("b", "2", Some("9")).annotations, &Limits::default());
    observe(&mut desired, list([observed("a", "1", Some("x"))]));
    assert_eq!(files(&desired, "a"), Some(7));
    observe(&mut desired, [WatchEvent::Applied(observed("b", "2", Some("x")))]);
    assert_eq!(files(&desired, "b"), None);
}

#[test]
fn the_wait_for_an_address_counts_from_its_beginning() {
    let (start, mut desired) = (Instant::now(), Desired::default());
    desired.observe(WatchEvent::Applied(observed("a", "1", Some("5"))), start);
    desired.observe(WatchEvent::Applied(observed("a", "1", Some("6"))), start + Duration::from_secs(9));
    assert_eq!(desired.requests().next().unwrap().1.no_address_since, Some(start));
}

#[test]
fn a_notice_that_is_given_in_the_middle_of_a_list_is_not_given_again() {
    let mut desired = after([WatchEvent::Applied(observed("a", "1", Some("x"))), WatchEvent::ListStarted]);
    observe(&mut desired, [WatchEvent::ListItem(observed("a", "1", Some("x")))]);
    let stem = Stem::of(&observed("a", "1", None).name);
    desired.notified(&stem, &PodUid("another".into()), &Condition::Missed);
    desired.notified(&stem, &PodUid("1".into()), &Condition::Waiting);
    observe(&mut desired, [WatchEvent::ListDone]);
    assert_eq!(desired.request_of(&stem).unwrap().notified, Some(Condition::Waiting));
}

#[test]
fn an_unannotated_pod_is_told_from_one_that_is_gone() {
    let mut desired =
        after([WatchEvent::Applied(observed("a", "1", Some("5"))), WatchEvent::Applied(observed("a", "1", None))]);
    assert!(desired.is_unannotated(&PodUid("1".into())));
    observe(&mut desired, [WatchEvent::Deleted(observed("a", "1", None))]);
    assert!(!desired.is_unannotated(&PodUid("1".into())));
}

#[test]
fn the_status_of_a_pod_matters_only_if_the_pod_has_asked_for_a_flight_recorder() {
    let (mut desired, mut pod) = (after(list([])), observed("web", "1", Some("5")));
    let mut observe_status = |stop_on: bool, since_s: u64| {
        let key = format!("{ANNOTATION}/stop-on");
        pod.annotations.remove(&key);
        if stop_on {
            pod.annotations.insert(key, "unready".to_owned());
        }
        pod.parsed = annotations::parse(&pod.annotations, &Limits::default());
        pod.status.ready = Some(Readiness { is_ready: true, since_s: Some(since_s) });
        let changes = desired.changes();
        observe(&mut desired, [WatchEvent::Applied(pod.clone())]);
        desired.changes() != changes
    };
    assert!(observe_status(false, 1));
    assert!(!observe_status(false, 2));
    assert!(observe_status(true, 2) && observe_status(true, 3) && !observe_status(true, 3));
    // What is carried out may still be the request that asked for it.
    assert!(observe_status(false, 3) && observe_status(false, 4));
}
