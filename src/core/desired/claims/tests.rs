//! Which pod has an address that is forged, copied, handed on, listed again or recalled.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use super::*;
use crate::core::{
    annotations,
    desired::{
        Desired, WatchEvent,
        tests::{after, list, observe, observed},
    },
    limits::Limits,
    name::{PodUid, Stem},
    observed_pod::ObservedPod,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pod that asks for a capture, at these addresses.
fn at(name: &str, ips: &[&str]) -> ObservedPod {
    let ips: Vec<IpAddr> = ips.iter().map(|text| ip(text)).collect();
    let target = if ips.is_empty() { Target::NoAddress } else { Target::At(ips.clone()) };
    ObservedPod { target, claims: ips, ..observed(name, name, Some("5")) }
}

/// The same, but it asks for nothing.
fn unannotated(name: &str, ips: &[&str]) -> ObservedPod {
    let parsed = annotations::parse(&annotations::Annotations::new(), &Limits::default());
    ObservedPod { annotations: annotations::Annotations::new(), parsed, ..at(name, ips) }
}

/// Whether a pod has the addresses that it reports.
fn has(desired: &Desired, name: &str) -> bool {
    match &desired.request_of(&Stem::of(&at(name, &[]).name)).unwrap().target {
        Target::At(_) => true,
        Target::Forbidden(Refusal::ForeignAddress { .. }) => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pod_that_copies_an_address_gets_no_capture_and_stops_none() {
    for victim in [at("victim", &["10.0.0.5", "fd00::5"]), unannotated("victim", &["10.0.0.5", "fd00::5"])] {
        for copied in [&["10.0.0.5"][..], &["fd00::5"], &["10.0.0.9", "fd00::5"]] {
            let mut desired = after(list([victim.clone()]));
            observe(&mut desired, [WatchEvent::Applied(at("thief", copied))]);
            assert!(!has(&desired, "thief"), "{copied:?}");
            let asks = !victim.annotations.is_empty();
            assert!(!asks || has(&desired, "victim"));
            // Nor does a list change that, however often it comes.
            for _ in 0..2 {
                observe(&mut desired, list([at("thief", copied), victim.clone()]));
                assert!(!has(&desired, "thief") && (!asks || has(&desired, "victim")), "{copied:?}");
            }
            // With another address the thief is as good as any pod.
            observe(&mut desired, [WatchEvent::Applied(at("thief", &["10.0.0.77"]))]);
            assert!(has(&desired, "thief"));
        }
    }
}

#[test]
fn an_address_is_the_next_pods_as_soon_as_the_pod_before_is_gone_or_has_finished() {
    let finished = ObservedPod { target: Target::Finished, claims: Vec::new(), ..at("old", &[]) };
    for end in [
        WatchEvent::Deleted(at("old", &["10.0.0.5"])),
        WatchEvent::Applied(finished),
        WatchEvent::Applied(at("old", &["10.0.0.6"])),
    ] {
        let mut both = after(list([at("old", &["10.0.0.5"])]));
        observe(&mut both, [WatchEvent::Applied(at("new", &[])), WatchEvent::Applied(at("new", &["10.0.0.5"]))]);
        assert!(!has(&both, "new") && has(&both, "old"));
        observe(&mut both, [end.clone()]);
        assert!(has(&both, "new"), "{end:?}");
        let mut before = after(list([at("old", &["10.0.0.5"])]));
        observe(&mut before, [end.clone(), WatchEvent::Applied(at("new", &["10.0.0.5"]))]);
        assert!(has(&before, "new"), "{end:?}");
    }
}

#[test]
fn a_new_pod_of_an_old_name_claims_its_address_last() {
    let reborn = || ObservedPod { uid: PodUid("reborn".into()), ..at("old", &["10.0.0.5"]) };
    let mut desired = after(list([at("old", &["10.0.0.5"])]));
    observe(&mut desired, [WatchEvent::Applied(reborn())]);
    assert!(has(&desired, "old"), "the earlier pod of the name claims nothing any more");
    observe(
        &mut desired,
        [WatchEvent::Applied(at("next", &["10.0.0.5"])), WatchEvent::Deleted(at("old", &["10.0.0.5"]))],
    );
    assert!(
        has(&desired, "old") && !has(&desired, "next"),
        "the deletion of the earlier pod of the name does not delete the new one"
    );
    observe(&mut desired, list([at("next", &["10.0.0.5"]), ObservedPod { uid: PodUid("again".into()), ..reborn() }]));
    assert!(!has(&desired, "old") && has(&desired, "next"));
}

#[test]
fn an_address_that_two_pods_claim_at_once_is_no_pods_unless_one_was_captured_there() {
    let pods = [at("a", &["10.0.0.5"]), at("b", &["10.0.0.5"]), at("c", &["10.0.0.6"])];
    let mut desired = after(list(pods.clone()));
    assert!(!has(&desired, "a") && !has(&desired, "b") && has(&desired, "c"));
    observe(&mut desired, [WatchEvent::Applied(at("d", &["10.0.0.5"])), WatchEvent::Deleted(pods[0].clone())]);
    assert!(has(&desired, "b") && !has(&desired, "d"));

    let mut desired = Desired::default();
    desired.recall_at(PodUid("b".into()), vec![ip("10.0.0.5")]);
    observe(&mut desired, list(pods.clone()));
    assert!(!has(&desired, "a") && has(&desired, "b"));
    // The addresses at which a pod was captured prove nothing of another address.
    let mut desired = Desired::default();
    desired.recall_at(PodUid("b".into()), vec![ip("10.0.0.4")]);
    observe(&mut desired, list(pods.clone()));
    assert!(!has(&desired, "a") && !has(&desired, "b"));
}

#[test]
fn the_nodes_addresses_are_those_of_host_network_pods_only_also_when_the_node_gets_them_later() {
    let on_the_node = ObservedPod { claims: Vec::new(), ..at("host", &["192.0.2.1"]) };
    let copies = ObservedPod { claims: Vec::new(), ..at("liar", &["10.0.0.5"]) };
    let mut desired = after(list([at("a", &["10.0.0.5", "192.0.2.1"]), on_the_node, copies]));
    assert!(has(&desired, "a") && !has(&desired, "liar"), "the node's addresses are not known yet");
    assert!(desired.node_has([ip("192.0.2.1")].into()) && !desired.node_has([ip("192.0.2.1")].into()));
    assert!(!has(&desired, "a") && has(&desired, "host"));
    observe(&mut desired, [WatchEvent::Applied(at("a", &["10.0.0.5"]))]);
    assert!(has(&desired, "a"));
    desired.node_has([ip("192.0.2.1"), ip("10.0.0.5")].into());
    assert!(!has(&desired, "a"));
    desired.node_has(BTreeSet::new());
    assert!(has(&desired, "a"));
}

/// Numbers below the one that is given, always the same.
fn random() -> impl FnMut(u64) -> u64 {
    let mut seed = 1_u64;
    move |end| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 11) % end
    }
}

/// The loop plans only if `changes` counts: also where a change of one pod, or of the node, changes the target of another pod.
#[test]
fn each_change_of_a_target_counts_as_a_change() {
    let (mut desired, mut below, now) = (after(list([])), random(), Instant::now());
    let mut of_others = 0;
    for _ in 0..5000 {
        let before: BTreeMap<Stem, _> = desired.requests().map(|(stem, pod)| (stem.clone(), pod.clone())).collect();
        let (changes, name) = (desired.changes(), below(5).to_string());
        let ips: Vec<&str> = ["10.0.0.1", "10.0.0.2"].into_iter().filter(|_| below(2) == 0).collect();
        match below(6) {
            0 => drop(desired.node_has(ips.iter().map(|text| ip(text)).collect())),
            1 => desired.observe(WatchEvent::Deleted(at(&name, &[])), now),
            2 => desired.observe(WatchEvent::Applied(unannotated(&name, &ips)), now),
            _ => desired.observe(WatchEvent::Applied(at(&name, &ips)), now),
        }
        let after: BTreeMap<Stem, _> = desired.requests().map(|(stem, pod)| (stem.clone(), pod.clone())).collect();
        assert!(before == after || desired.changes() != changes, "{name} {ips:?}");
        let own = Stem::of(&at(&name, &[]).name);
        of_others += usize::from(before.iter().any(|(stem, pod)| *stem != own && after.get(stem) != Some(pod)));
    }
    assert!(of_others > 99, "{of_others}");
}

/// Many pods claim the same few addresses in any order.
#[test]
fn of_any_sequence_of_claims_the_first_has_the_address_and_only_claims_are_kept() {
    let (mut claims, mut below) = (Claims::default(), random());
    let mut claimed: Vec<(Stem, IpAddr)> = Vec::new();
    for order in 1..5000 {
        let pod = Stem::of(&at(&format!("{}", below(9)), &[]).name);
        let ips: Vec<IpAddr> = (0..3_u8).filter(|_| below(3) == 0).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        claims.set(&pod, &ips, |_| order);
        claimed.retain(|(other, ip)| *other != pod || ips.contains(ip));
        for ip in ips {
            if !claimed.contains(&(pod.clone(), ip)) {
                claimed.push((pod.clone(), ip));
            }
        }
        for (pod, ip) in &claimed {
            let first = claimed.iter().find(|(_, other)| other == ip).map(|(pod, _)| pod);
            assert_eq!(claims.whose(pod, *ip, &BTreeSet::new()).is_none(), first == Some(pod));
        }
        assert_eq!(claims.by_ip.values().map(BTreeSet::len).sum::<usize>(), claimed.len());
        assert!(claims.by_pod.values().all(|all| !all.is_empty()));
    }
}
