//! Whose filter is compiled next, and what a verdict changes.

use super::*;
use crate::core::{
    annotations,
    desired::{
        WatchEvent,
        tests::{after, files, list, observe, observed},
    },
    limits::Limits,
    observed_pod::ObservedPod,
    request::Parsed,
};

const FILTER: &str = "tcpdump.antrea.io/filter";

fn filtering(name: &str, files: &str, filter: &str) -> ObservedPod {
    let mut observed = observed(name, name, Some(files));
    observed.annotations.insert(FILTER.into(), filter.into());
    observed.parsed = annotations::parse(&observed.annotations, &Limits::default());
    observed.target = Target::At(vec![IpAddr::from([10, 0, 0, name.as_bytes()[0]])]);
    observed.claims = vec![IpAddr::from([10, 0, 0, name.as_bytes()[0]])];
    observed
}

fn job_at(desired: &Desired, now: Instant) -> Option<FilterJob> {
    match desired.next_filter(now) {
        NextFilter::Job(job) => Some(job),
        NextFilter::NotBefore(_) | NextFilter::None => None,
    }
}

/// The next one, however long each pod has to wait for its turn.
fn job(desired: &Desired) -> Option<FilterJob> {
    job_at(desired, Instant::now() + Duration::from_secs(3600))
}

fn accept(desired: &mut Desired, job: &FilterJob) {
    desired.resolve(job, &Ok(()), Instant::now());
}

fn refuse(desired: &mut Desired) {
    let job = job(desired).unwrap();
    desired.resolve(&job, &Err(Refusal::FilterRejected { said: "no".into() }), Instant::now());
}

fn is_refused(desired: &Desired) -> bool {
    matches!(desired.requests().next().unwrap().1.parsed, Parsed::Invalid(Refusal::FilterRejected { .. }))
}

#[test]
fn a_request_with_a_filter_is_in_force_when_tcpdump_has_compiled_it_and_the_one_before_stands_until_then() {
    let change = |files, filter| WatchEvent::Applied(filtering("a", files, filter));
    let mut desired = after([WatchEvent::Applied(observed("a", "a", Some("5"))), change("6", "tcp")]);
    assert_eq!(files(&desired, "a"), Some(5));
    let tcp = job(&desired).unwrap();
    accept(&mut desired, &tcp);
    assert_eq!((files(&desired, "a"), job(&desired)), (Some(6), None));
    assert_eq!(desired.pods.pending().count(), 0, "a filter with a verdict is looked at no more");
    // The filter in force is not compiled again.
    observe(&mut desired, [change("7", "tcp")]);
    assert_eq!((files(&desired, "a"), job(&desired)), (Some(7), None));
    observe(&mut desired, [change("8", "udp")]);
    refuse(&mut desired);
    assert_eq!((files(&desired, "a"), is_refused(&desired)), (Some(7), true));
    // Nor is a refused one, as long as the annotations stay the same, through an invalid value too.
    for events in [list([filtering("a", "8", "udp")]), vec![change("x", "udp"), change("8", "udp")]] {
        observe(&mut desired, events);
        assert_eq!((job(&desired), is_refused(&desired)), (None, true));
    }
    for another in [change("9", "udp"), change("9", "arp")] {
        observe(&mut desired, [another]);
        assert!(job(&desired).is_some() && !is_refused(&desired));
    }
}

#[test]
fn a_verdict_that_comes_in_the_middle_of_a_list_outlives_the_list() {
    for (verdict, stands) in [(Ok(()), Some(5)), (Err(Refusal::FilterRejected { said: "no".into() }), None)] {
        let mut desired = after([WatchEvent::Applied(filtering("a", "5", "tcp")), WatchEvent::ListStarted]);
        observe(&mut desired, [WatchEvent::ListItem(filtering("a", "5", "tcp"))]);
        let tcp = job(&desired).unwrap();
        desired.resolve(&tcp, &verdict, Instant::now());
        observe(&mut desired, [WatchEvent::ListDone]);
        assert_eq!((files(&desired, "a"), is_refused(&desired), job(&desired)), (stands, verdict.is_err(), None));
    }
}

#[test]
fn a_verdict_that_comes_in_the_middle_of_a_list_stands_until_what_is_listed_is_valid() {
    for (listed, stands) in
        [(filtering("a", "5", "arp"), 4), (observed("a", "a", Some("x")), 4), (observed("a", "a", Some("3")), 3)]
    {
        let mut desired = after([
            WatchEvent::Applied(observed("a", "a", Some("3"))),
            WatchEvent::Applied(filtering("a", "4", "tcp")),
        ]);
        let tcp = job(&desired).unwrap();
        observe(&mut desired, [WatchEvent::ListStarted, WatchEvent::ListItem(listed)]);
        accept(&mut desired, &tcp);
        observe(&mut desired, [WatchEvent::ListDone]);
        assert_eq!(files(&desired, "a"), Some(stands));
    }
}

#[test]
fn a_verdict_on_a_filter_that_is_no_longer_asked_changes_no_request() {
    let mut desired = after([WatchEvent::Applied(filtering("a", "5", "tcp"))]);
    let tcp = job(&desired).unwrap();
    let reborn = ObservedPod { uid: PodUid("reborn".into()), ..filtering("a", "5", "tcp") };
    for event in [
        WatchEvent::Applied(filtering("a", "5", "udp")),
        WatchEvent::Applied(reborn.clone()),
        WatchEvent::Deleted(reborn),
    ] {
        observe(&mut desired, [event]);
        accept(&mut desired, &tcp);
        assert_eq!(files(&desired, "a"), None);
    }
    assert!(desired.requests().next().is_none());
}

#[test]
fn filters_are_compiled_in_the_order_of_their_coming_and_only_where_there_is_an_address() {
    let (start, mut desired) = (Instant::now(), Desired::default());
    let mut without_address = filtering("a", "5", "tcp");
    without_address.target = Target::NoAddress;
    for (after_s, observed) in [(0, without_address), (1, filtering("c", "5", "tcp")), (2, filtering("b", "5", "tcp"))]
    {
        desired.observe(WatchEvent::Applied(observed), start + Duration::from_secs(after_s));
    }
    // A filter that changes again keeps its place.
    desired.observe(WatchEvent::Applied(filtering("c", "6", "udp")), start + Duration::from_secs(3));
    let mut order = Vec::new();
    while let Some(job) = job(&desired) {
        order.push(job.stem.pod().name);
        accept(&mut desired, &job);
    }
    assert_eq!(order, ["c", "b"]);
    // A filter that changes while it is being compiled waits behind the others.
    for (after_s, name) in [(4, "c"), (5, "b")] {
        desired.observe(WatchEvent::Applied(filtering(name, "5", "arp")), start + Duration::from_secs(after_s));
    }
    let arp = job(&desired).unwrap();
    desired.observe(WatchEvent::Applied(filtering("c", "5", "sctp")), start + Duration::from_secs(6));
    desired.resolve(&arp, &Ok(()), start + Duration::from_secs(7));
    assert_eq!(job(&desired).unwrap().stem.pod().name, "b");
    desired.observe(WatchEvent::Applied(filtering("a", "5", "tcp")), start);
    assert_eq!(job(&desired).unwrap().stem.pod().name, "a");
}

#[test]
fn one_pod_has_a_filter_compiled_every_2_s_at_most_and_no_pod_waits_behind_it() {
    let (start, mut desired) = (Instant::now(), Desired::default());
    let at = |ms| start + Duration::from_millis(ms);
    let mut compiled = Vec::new();
    for tick in 0..100 {
        let now = at(tick * 100);
        desired.observe(WatchEvent::Applied(filtering("a", "5", &format!("tcp port {}", tick + 1))), now);
        if let Some(job) = job_at(&desired, now) {
            compiled.push((tick * 100, job.valid.request.spec.filter.clone().unwrap()));
            desired.resolve(&job, &Ok(()), now);
        }
    }
    let expected = [0, 2000, 4000, 6000, 8000].map(|ms: u64| (ms, format!("tcp port {}", ms / 100 + 1)));
    assert_eq!(compiled, expected, "of the filters that came within 2 s the last one");
    assert_eq!(desired.next_filter(at(9999)), NextFilter::NotBefore(at(10_000)));
    desired.observe(WatchEvent::Applied(filtering("b", "5", "udp")), at(9999));
    assert_eq!(job_at(&desired, at(9999)).unwrap().stem.pod().name, "b");
    // Nor does a pod gain a turn if its annotation, or the pod itself, is removed and comes again.
    for event in [WatchEvent::Applied(observed("a", "a", None)), WatchEvent::Applied(filtering("a", "5", "arp"))] {
        desired.observe(event, at(9000));
    }
    let udp = job_at(&desired, at(9999)).unwrap();
    desired.resolve(&udp, &Ok(()), at(9999));
    assert_eq!(desired.next_filter(at(9999)), NextFilter::NotBefore(at(10_000)));
    assert_eq!(job_at(&desired, at(10_000)).unwrap().stem.pod().name, "a");
}

#[test]
fn a_namespace_with_many_filters_delays_the_one_of_another_by_one_turn() {
    let start = Instant::now();
    let mut desired = Desired::default();
    for n in 0..10 {
        let mut observed = filtering(&char::from(b'a' + n).to_string(), "5", "tcp");
        observed.name.namespace = "greedy".into();
        desired.observe(WatchEvent::Applied(observed), start);
    }
    let first = job_at(&desired, start).unwrap();
    desired.observe(WatchEvent::Applied(filtering("web", "5", "udp")), start + Duration::from_millis(1));
    desired.resolve(&first, &Ok(()), start);
    let web = job_at(&desired, start).unwrap();
    assert_eq!(web.stem.pod().name, "web");
    // A compilation without a verdict refuses nothing: its filter waits behind all others.
    desired.postpone(&web, start);
    assert_eq!(job_at(&desired, start).unwrap().stem.namespace(), "greedy");
    let after = start + SERVED_FOR;
    let order: Vec<_> = std::iter::from_fn(|| {
        let job = job_at(&desired, after)?;
        desired.resolve(&job, &Ok(()), after);
        Some(job.stem.pod().name)
    })
    .collect();
    assert_eq!((order.len(), files(&desired, "web")), (10, Some(5)));
}

#[test]
fn old_turns_are_forgotten() {
    let (start, mut turns) = (Instant::now(), Turns::default());
    for n in 0..1000 {
        let mut name = filtering("web", "5", "tcp").name;
        name.namespace = n.to_string();
        turns.record(&Stem::of(&name), start + COMPILE_INTERVAL * n);
    }
    assert_eq!((turns.pods.len(), turns.namespaces.len()), (1, 150));
}
