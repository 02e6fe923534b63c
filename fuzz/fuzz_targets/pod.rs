//! Any object is read as a pod, and where it is captured, it is at addresses of its own.
//!
//! An input is JSON as it stands, or, after a byte of 0x80 or more, choices that make the JSON of a pod.

#![no_main]

use std::{collections::BTreeSet, net::IpAddr};

use libfuzzer_sys::fuzz_target;
use packet_capture::{core::{annotations::{ANNOTATION, parse}, limits::Limits, name::{Stem, is_dns_label}, recorder::{Baseline, CONTAINERS_MAX, Observation, StopOn}, refusal::Refusal, request::{Parsed, Target}}, k8s::pod::{Pod, observed}};
use serde_json::{Value, json};

const TRUSTED: &str = "trusted";

const ADDRESSES: [&str; 24] = [
    "10.0.0.1",
    "10.0.0.2",
    "fd00::1",
    "FD00::0:1",
    "192.0.2.9",
    "2001:db8::9",
    "2001:DB8:0::9",
    "::ffff:192.0.2.9",
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "::",
    "224.0.0.1",
    "239.1.1.1",
    "ff02::1",
    "169.254.9.9",
    "fe80::1",
    "::ffff:169.254.9.9",
    "255.255.255.255",
    "10.0.0.01",
    "10.0.0.1/32",
    "",
];
const HOST_ADDRESSES: [&str; 4] = ["192.0.2.9", "2001:db8::9", "::ffff:10.0.0.2", "x"];

fuzz_target!(|input: &[u8]| {
    let json = match input.split_first() {
        Some((&first, choices)) if first >= 0x80 => pod_of(choices),
        _ => match serde_json::from_slice::<Value>(input) {
            Ok(json) if json.is_object() => json,
            _ => return,
        },
    };
    let limits = Limits { host_network_namespaces: [TRUSTED.to_owned()].into(), ..Limits::default() };
    let pod: Pod = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"));
    let again: Pod = serde_json::from_str(&json.to_string()).unwrap_or_else(|error| panic!("{error}: {json}"));
    let look = observed(&pod, &limits);
    assert_eq!(look, observed(&again, &limits), "{json}");
    // As it stands there: with its own blanks, escapes, and keys that stand twice.
    if input.first().is_some_and(|first| *first < 0x80) {
        let raw: Pod = serde_json::from_slice(input).unwrap_or_else(|error| panic!("{error}: {json}"));
        assert_eq!(look, observed(&raw, &limits), "{json}");
    }

    let text = |path: &str| json.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (name, uid) = (text("/metadata/name"), text("/metadata/uid"));
    assert_eq!(look.is_some(), name.is_some() && uid.is_some(), "{json}");
    let Some(look) = look else { return };
    let namespace = text("/metadata/namespace").unwrap_or("default");
    assert_eq!(
        (Some(look.name.name.as_str()), look.name.namespace.as_str(), Some(look.uid.0.as_str())),
        (name, namespace, uid)
    );
    let asked = parse(&look.annotations, &limits);
    let is_too_large = look.parsed == Parsed::Invalid(Refusal::TooManyContainers { max: CONTAINERS_MAX });
    assert!(look.parsed == asked || (is_too_large && matches!(asked, Parsed::Valid(_))), "{json}");
    assert!(look.status.containers.len() <= CONTAINERS_MAX);
    assert!(look.status.containers.iter().all(|container| is_dns_label(&container.name)), "{json}");
    for stop_on in [(true, false), (false, true), (true, true)].map(|(restart, unready)| StopOn { restart, unready }) {
        let names: BTreeSet<_> = look.status.containers.iter().map(|container| &container.name).collect();
        let again = Baseline::of(stop_on, &look.status).observe(&look.status, stop_on);
        // A status that names a container twice is no status of a pod.
        let is_odd = names.len() < look.status.containers.len();
        assert!(is_odd || again == Observation::Nothing, "a status is an incident to itself: {json}");
    }
    for (key, value) in &look.annotations {
        let there = json.pointer("/metadata/annotations").and_then(|all| all.get(key));
        // A value that is longer than any that can be read is cut.
        let is_there = |there: &str| there == value || value.len() > 1000 && there.starts_with(value.as_str());
        assert!(key.starts_with(ANNOTATION) && there.is_some_and(|there| is_there(there.as_str().unwrap_or_default())));
    }

    let Target::At(ips) = look.target else { return };
    let on_host = json.pointer("/spec/hostNetwork") == Some(&Value::Bool(true));
    assert!(!on_host || namespace == TRUSTED, "{json}");
    assert!(!matches!(text("/status/phase"), Some("Succeeded" | "Failed")), "{json}");
    assert!(
        Stem::of(&look.name).fits() && !ips.is_empty() && ips.is_sorted() && ips.windows(2).all(|two| two[0] != two[1])
    );
    let all = |one: &str, all: &str| {
        let all = json.pointer(all).and_then(Value::as_array).into_iter().flatten().filter_map(|ip| ip.get("ip"));
        let all = all.chain(json.pointer(one)).filter_map(Value::as_str).filter(|ip| !ip.is_empty());
        all.map(str::to_owned).collect::<Vec<_>>()
    };
    let addresses = |texts: Vec<String>| texts.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()).collect::<Vec<_>>();
    let reported_target = all("/status/podIP", "/status/podIPs");
    // None is left out: what cannot be captured makes the whole pod one that cannot be.
    assert_eq!(addresses(reported_target.clone()).len(), reported_target.len(), "{json}");
    let host: Vec<_> = addresses(all("/status/hostIP", "/status/hostIPs")).iter().map(IpAddr::to_canonical).collect();
    for reported_target in addresses(reported_target) {
        assert!(ips.contains(&reported_target.to_canonical()), "{json}");
    }
    for ip in ips {
        let shared = match ip {
            IpAddr::V4(ip) => {
                ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 127 || ip.octets()[0] >> 4 == 14
            }
            IpAddr::V6(ip) => {
                ip.segments()[0] & 0xffc0 == 0xfe80 || ip.segments()[0] >> 8 == 0xff || ip.to_ipv4_mapped().is_some()
            }
        };
        assert!(!shared && !ip.is_loopback() && !ip.is_unspecified(), "{json}: {ip}");
        assert!(on_host || !host.contains(&ip), "{json}: {ip}");
    }
});

/// A pod whose fields are of the right kind mostly.
fn pod_of(choices: &[u8]) -> Value {
    let mut choices = choices.iter().copied();
    let mut next = || usize::from(choices.next().unwrap_or(0));
    let odd = [json!(null), json!(5), json!([]), json!({}), json!(true), json!(["10.0.0.1"]), json!([{"ip": 5}])];
    let one_of = |texts: &[&str], next: &mut dyn FnMut() -> usize| {
        let which = next();
        if which >= 240 { odd[which % odd.len()].clone() } else { json!(texts[which % texts.len()]) }
    };
    let namespace = one_of(&["default", TRUSTED, "prod", ""], &mut next);
    let phase = one_of(&["Running", "Pending", "Succeeded", "Failed", "Unknown", "", "running"], &mut next);
    let name = match next() {
        length @ 200.. => json!("n".repeat(length)),
        _ => one_of(&["web", "a", "", "web.pcap1"], &mut next),
    };
    let uid = one_of(&["u1", "", "u2"], &mut next);
    let mut status = json!({ "phase": phase });
    if next() % 8 != 7 {
        status["podIP"] = one_of(&ADDRESSES, &mut next);
    }
    if next() % 8 != 7 {
        let ips: Vec<_> = (0..next() % 4).map(|_| json!({ "ip": one_of(&ADDRESSES, &mut next) })).collect();
        status["podIPs"] = json!(ips);
    }
    status["hostIP"] = one_of(&HOST_ADDRESSES, &mut next);
    let host_ips: Vec<_> = (0..next() % 3).map(|_| json!({ "ip": one_of(&HOST_ADDRESSES, &mut next) })).collect();
    status["hostIPs"] = json!(host_ips);
    let on_host = [json!(false), json!(true), json!("true"), json!(null)][next() % 4].clone();
    let mut annotations = json!({});
    for _ in 0..next() % 4 {
        let key = ["", "/filter", "/duration", "/stop-on", "/pause", "x", "/x"][next() % 7];
        let values = ["5", "udp", "30s", "restart", "true", "0", "port http"];
        annotations[format!("{ANNOTATION}{key}")] = one_of(&values, &mut next);
    }
    let time = |next: &mut dyn FnMut() -> usize| one_of(&["2026-01-01T00:00:00Z", "", "x", "2026-01-01T00:00:00.5+02:00"], next);
    for list in ["containerStatuses", "initContainerStatuses"] {
        let run = |next: &mut dyn FnMut() -> usize| match next() % 4 {
            0 => json!({"running": {"startedAt": time(next)}}),
            1 => json!({"terminated": {"exitCode": next() % 3, "reason": one_of(&["OOMKilled", "", "a b"], next), "finishedAt": time(next)}}),
            2 => json!({"waiting": {}}),
            _ => one_of(&["running"], next),
        };
        let count = match next() {
            count @ 250.. => count - 220,
            count => count % 4,
        };
        let container = |_| json!({"name": one_of(&["app", "side", "App", ""], &mut next), "restartCount": next() % 3, "state": run(&mut next), "lastState": run(&mut next)});
        let containers: Vec<_> = (0..count).map(container).collect();
        status[list] = json!(containers);
    }
    status["conditions"] = json!([{"type": one_of(&["Ready", "ready"], &mut next), "status": one_of(&["True", "False", "Unknown"], &mut next), "lastTransitionTime": time(&mut next)}]);
    let created = one_of(&["2026-01-01T00:00:00Z", "x", "-9999-01-01T00:00:00Z"], &mut next);
    let metadata = json!({"name": name, "namespace": namespace, "uid": uid, "annotations": annotations, "creationTimestamp": created});
    match next() {
        ..250 => json!({"metadata": metadata, "spec": {"hostNetwork": on_host}, "status": status}),
        250 => json!({"metadata": metadata, "spec": [], "status": status}),
        251 => json!({"metadata": metadata, "status": []}),
        252 => json!({"metadata": [], "status": status}),
        253 => json!({"metadata": metadata, "spec": {"hostNetwork": on_host}, "status": {"podIPs": status}}),
        254 => json!({"metadata": metadata}),
        _ => json!({}),
    }
}
