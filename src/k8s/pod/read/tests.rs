//! The streaming reader finds in any object what a reader of the whole object finds.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, process::Command};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::ObjectMeta, jiff::Timestamp};
use serde::Deserialize;
use serde_json::Value;

use super::{super::Pod, ADDRESSES_MAX};
use crate::{
    core::{
        annotations::{self, ANNOTATION},
        limits::Limits,
        name::is_dns_label,
        recorder::{CONTAINERS_MAX, ContainerEnd, ContainerState, ContainerStatus, PodStatus, Readiness},
        refusal::Refusal,
        request::{Parsed, Target},
    },
    k8s::pod::observed,
    test_lock,
};

/// Random texts in one run.
const TEXTS: u32 = 2000;

/// A pod, read in the simplest way: parsed as a whole.
fn whole(json: &Value) -> Pod {
    let text = |path: &str| json.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty());
    let addresses = |one: &str, all: &str| -> (Vec<String>, bool) {
        let all = json.pointer(all).and_then(Value::as_array).into_iter().flatten();
        let all = all.filter_map(|ip| ip.pointer("/ip")?.as_str()).filter(|ip| !ip.is_empty());
        let short = |text: &str| text.chars().take(64).collect::<String>();
        let too_many = all.clone().count() > ADDRESSES_MAX;
        (all.take(ADDRESSES_MAX).chain(text(one)).map(short).collect(), too_many)
    };
    let annotations = json.pointer("/metadata/annotations").and_then(Value::as_object).into_iter().flatten();
    let ours = annotations.filter(|(key, _)| annotations::is_ours(key));
    let cut = |value: &Value| value.as_str().map(|text| text[..text.floor_char_boundary(1024)].to_owned());
    let ours: BTreeMap<_, _> = ours.map(|(key, value)| (key.clone(), cut(value).unwrap_or_default())).collect();
    let (ips, ips_too_many) = addresses("/status/podIP", "/status/podIPs");
    let (host_ips, host_ips_too_many) = addresses("/status/hostIP", "/status/hostIPs");
    let all = |path: &str| json.pointer(path).and_then(Value::as_array).into_iter().flatten();
    let init = || all("/status/initContainerStatuses").map(|json| (json, true));
    let containers = || init().chain(all("/status/containerStatuses").map(|json| (json, false)));
    let phase = text("/status/phase").unwrap_or_default();
    let ready = all("/status/conditions").rfind(|condition| condition["type"] == "Ready");
    let status = PodStatus {
        containers: containers().take(CONTAINERS_MAX).filter_map(whole_container).collect(),
        ready: ready.map(|ready| Readiness {
            is_ready: ready["status"] == "True",
            since_s: whole_time(&ready["lastTransitionTime"]),
        }),
        is_ending: phase == "Succeeded" || text("/metadata/deletionTimestamp").is_some(),
    };
    Pod {
        status,
        too_many_containers: containers().count() > CONTAINERS_MAX
            || all("/spec/initContainers").chain(all("/spec/containers")).count() > CONTAINERS_MAX,
        metadata: ObjectMeta {
            name: text("/metadata/name").map(str::to_owned),
            namespace: text("/metadata/namespace").map(str::to_owned),
            uid: text("/metadata/uid").map(str::to_owned),
            resource_version: text("/metadata/resourceVersion").map(str::to_owned),
            creation_timestamp: json
                .pointer("/metadata/creationTimestamp")
                .and_then(|time| Deserialize::deserialize(time).ok()),
            annotations: Some(ours.into_iter().take(16).collect()),
            ..Default::default()
        },
        node: text("/spec/nodeName").unwrap_or_default().to_owned(),
        host_network: json.pointer("/spec/hostNetwork").and_then(Value::as_bool).unwrap_or_default(),
        phase: phase.to_owned(),
        ips,
        host_ips,
        too_many_addresses: ips_too_many || host_ips_too_many,
    }
}

fn whole_container((json, is_init): (&Value, bool)) -> Option<ContainerStatus> {
    let end = |json: &Value| {
        json.as_object()?;
        let exit_code = json["exitCode"].as_i64().or(json["exitCode"].as_u64().map(|_| i64::MAX)).unwrap_or_default();
        let reason = json["reason"].as_str().map(|text| text.chars().take(64).collect::<String>());
        Some(ContainerEnd {
            exit_code: i32::try_from(exit_code).unwrap_or(i32::MAX),
            reason: reason.filter(|text| !text.is_empty()),
            at_s: whole_time(&json["finishedAt"]),
        })
    };
    let terminated = end(&json["state"]["terminated"]);
    let state = if json["state"]["running"].is_object() {
        ContainerState::Running { started_s: whole_time(&json["state"]["running"]["startedAt"]) }
    } else {
        terminated.map_or(ContainerState::Waiting, ContainerState::Terminated)
    };
    let last_end = end(&json["lastState"]["terminated"]);
    let name = json["name"].as_str().filter(|name| is_dns_label(name))?.to_owned();
    let restarts = json["restartCount"].as_u64().and_then(|restarts| restarts.try_into().ok()).unwrap_or_default();
    Some(ContainerStatus { name, is_init, restarts, state, last_end })
}

fn whole_time(json: &Value) -> Option<u64> {
    json.as_str()?.parse::<Timestamp>().ok()?.as_second().try_into().ok()
}

fn both_read_the_same(text: &str) -> Pod {
    let whole = whole(&serde_json::from_str(text).unwrap());
    let stream: Pod = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(format!("{stream:?}"), format!("{whole:?}"), "{text}");
    stream
}

/// Marsaglia's xorshift.
fn random(state: &mut u64, below: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 11).unwrap() % below
}

/// The keys that matter at each level of a pod; the last keys of each level do not matter there.
const KEYS: [&[&str]; 4] = [
    &["metadata", "spec", "status", "metadata", "status", "name"],
    &[
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "annotations",
        "annotations",
        "annotations",
        "nodeName",
        "hostNetwork",
        "containers",
        "phase",
        "podIP",
        "podIPs",
        "podIPs",
        "hostIP",
        "hostIPs",
        "conditions",
        "containerStatuses",
        "initContainerStatuses",
        "ip",
    ],
    &["tcpdump.antrea.io", "tcpdump.antrea.io/\\u0066ilter", "tcpdump.antrea.io/x", "tcpdump.antrea.iox", "ip"],
    &["ip", "ip", "name"],
];
const VALUES: [&str; 19] = [
    "null",
    "true",
    "false",
    "0",
    "-1.5e3",
    "18446744073709551615",
    r#""""#,
    r#""web""#,
    r#""10.0.0.1""#,
    r#""fd00::1""#,
    r#""5""#,
    r#""5""#,
    r#""Ready""#,
    r#""True""#,
    "137",
    r#""2026-01-02T03:04:05Z""#,
    r#""\u003c\n\ud83d\ude00""#,
    "[]",
    "{}",
];

/// A list of conditions or containers, whose values are of any kind.
fn statuses(state: &mut u64, of_containers: bool) -> String {
    let value = |state: &mut u64| VALUES[random(state, VALUES.len())].to_owned();
    let run = |state: &mut u64| {
        let key = ["running", "terminated", "terminated", "waiting"][random(state, 4)];
        let [started, code, why, finished] = [(); 4].map(|()| value(state));
        let run = format!(r#"{{"startedAt":{started},"exitCode":{code},"reason":{why},"finishedAt":{finished}}}"#);
        if random(state, 9) == 0 { value(state) } else { format!("{{\"{key}\":{run}}}") }
    };
    let condition = |state: &mut u64| {
        let kind = if random(state, 2) == 0 { "\"Ready\"".to_owned() } else { value(state) };
        let [status, time] = [(); 2].map(|()| value(state));
        format!(r#"{{"type":{kind},"status":{status},"lastTransitionTime":{time}}}"#)
    };
    let container = |state: &mut u64| {
        let ([name, count], [now, last]) = ([(); 2].map(|()| value(state)), [(); 2].map(|()| run(state)));
        format!(r#"{{"name":{name},"restartCount":{count},"state":{now},"lastState":{last}}}"#)
    };
    let most = if random(state, 40) == 0 { 2 * CONTAINERS_MAX } else { 4 };
    let all = (0..random(state, most)).map(|_| if of_containers { container(state) } else { condition(state) });
    format!("[{}]", all.collect::<Vec<_>>().join(","))
}

/// Random JSON with these keys, in any number and of any shape.
fn json(state: &mut u64, level: usize) -> String {
    let Some(keys) = KEYS.get(level) else { return VALUES[random(state, VALUES.len())].to_owned() };
    let most = if random(state, 40) == 0 { 20 } else { 6 };
    let count = random(state, most);
    let mut entry = |object: bool| {
        let key = match (level, random(state, 3)) {
            (2, 0) => format!("{ANNOTATION}/{}", random(state, 99)),
            _ => keys[random(state, keys.len())].to_owned(),
        };
        let value = match &*key {
            "containerStatuses" | "initContainerStatuses" if random(state, 2) == 0 => statuses(state, true),
            "conditions" if random(state, 2) == 0 => statuses(state, false),
            _ => json(state, level + 1),
        };
        if object { format!("\"{key}\":{value}") } else { value }
    };
    let mut entries = |object| (0..count).map(|_| entry(object)).collect::<Vec<_>>().join(",");
    match (level, most + count) {
        (0, _) => format!("{{{}}}", entries(true)),
        (_, 7 | 10 | 15..) => format!("[{}]", entries(false)),
        (_, 6) => VALUES[random(state, VALUES.len())].to_owned(),
        _ => format!("{{{}}}", entries(true)),
    }
}

/// The texts for which the fuzzer found a difference.
fn corpus() -> Vec<String> {
    let _lock = test_lock::acquire();
    let dir = std::env::temp_dir().join(format!("packet-capture-corpus-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/pod.tar.gz");
    assert!(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(&dir).status().unwrap().success());
    let texts =
        fs::read_dir(dir.join("pod")).unwrap().filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok());
    let texts = texts.collect();
    fs::remove_dir_all(&dir).unwrap();
    texts
}

#[test]
fn the_streaming_reader_of_a_pod_reads_what_a_whole_parse_finds() {
    let (mut state, mut asking, mut placed, mut ended, mut ready) = (0x9E37_79B9_7F4A_7C15, 0, 0, 0, 0);
    for _ in 0..TEXTS {
        let pod = both_read_the_same(&json(&mut state, 0));
        asking += u32::from(pod.asks());
        placed += u32::from(!pod.ips.is_empty());
        ended += u32::from(
            pod.status.containers.iter().any(|container| matches!(container.state, ContainerState::Terminated(_))),
        );
        ready += u32::from(pod.status.ready.is_some());
    }
    assert!(asking > 5 && placed > 5 && ended > 5 && ready > 5, "{asking}, {placed}, {ended}, {ready}");
    let texts = corpus().into_iter().filter(|text| serde_json::from_str::<Value>(text).is_ok());
    assert!(texts.inspect(|text| drop(both_read_the_same(text))).count() > 9);
}

/// The text of a pod with one part inserted.
fn pod(metadata: &str, spec: &str, status: &str) -> String {
    format!(
        r#"{{"metadata": {{"name": "web", "uid": "u1", {metadata} "annotations": {{"{ANNOTATION}": "5"}}}}, "spec": {{{spec}}},
        "status": {{{status} "podIP": "10.0.0.1"}}}}"#
    )
}

fn target(text: &str) -> Target {
    let pod: Pod = serde_json::from_str(text).unwrap();
    let observed = observed(&pod, &Limits::default()).unwrap();
    assert!(matches!(observed.parsed, Parsed::Valid(_)));
    observed.target
}

#[test]
fn a_pod_parses_despite_depth_length_and_duplicate_keys() {
    let here = Target::At(vec!["10.0.0.1".parse::<IpAddr>().unwrap()]);
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    for deep in [deep("[", "]"), format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000))] {
        let fields = [format!("\"managedFields\": {deep},"), format!("\"namespace\": {deep},"), String::new()];
        for metadata in &fields {
            assert_eq!(target(&pod(metadata, &format!("\"x\": {deep}"), &format!("\"podIPs\": {deep},"))), here);
        }
    }
    let twice =
        pod("\"name\": [5],\"name\": \"web\",", "\"nodeName\": {}, \"nodeName\": \"n\"", "\"podIP\": \"127.0.0.1\",");
    assert_eq!(target(&twice), here);
}

#[test]
fn more_addresses_than_a_pod_can_have_are_refused_and_not_kept() {
    let many = |count| vec![r#"{"ip": "10.0.0.1"}"#; count].join(",");
    let text = |key, count| pod("", "", &format!("\"{key}\": [{}],", many(count)));
    let refused = Target::Forbidden(Refusal::TooManyAddresses { max: 2 });
    for key in ["podIPs", "hostIPs"] {
        assert_eq!(target(&text(key, 20_000)), refused);
        assert_eq!(target(&text(key, 9)), refused);
        let read: Pod = serde_json::from_str(&text(key, 20_000)).unwrap();
        assert!(read.ips.len() <= 9 && read.host_ips.len() <= 9);
    }
    assert!(matches!(target(&text("podIPs", 8)), Target::At(_)));
    let long = pod("", "", &format!("\"podIPs\": [{{\"ip\": \"10.0.0.1{}\"}}],", "0".repeat(100_000)));
    assert!(matches!(target(&long), Target::Forbidden(Refusal::ForeignAddress { address, .. }) if address.len() == 64));
}

#[test]
fn more_containers_than_are_watched_are_not_kept_and_refuse_only_what_watches_them() {
    let container = |name: &str| format!(r#"{{"name": "{name}", "restartCount": 1}}"#);
    let read = |count: usize, annotations: &str| {
        let [containers, init] = [count - count / 3, count / 3].map(|count| vec![container("app"); count].join(","));
        let text = format!(
            r#"{{"metadata": {{"name": "web", "uid": "u1", "annotations": {{"{ANNOTATION}": "5"{annotations}}}}},
            "status": {{"initContainerStatuses": [{init}], "containerStatuses": [{containers}]}}}}"#
        );
        observed(&serde_json::from_str(&text).unwrap(), &Limits::default()).unwrap()
    };
    let stop_on = format!(r#", "{ANNOTATION}/stop-on": "restart""#);
    for count in [CONTAINERS_MAX + 1, 3 * CONTAINERS_MAX, 20_000] {
        assert!(matches!(read(count, "").parsed, Parsed::Valid(_)));
        let refused = read(count, &stop_on);
        assert_eq!(refused.parsed, Parsed::Invalid(Refusal::TooManyContainers { max: CONTAINERS_MAX }));
        assert_eq!(refused.status.containers.len(), CONTAINERS_MAX);
    }
    let spec = |count: usize| {
        let [containers, init] = [count / 3, count - count / 3].map(|count| vec!["{}"; count].join(","));
        let spec = format!(r#""initContainers": [{init}], "containers": [{containers}]"#);
        serde_json::from_str::<Pod>(&pod("", &spec, "")).unwrap().too_many_containers
    };
    assert!(spec(CONTAINERS_MAX + 1) && !spec(CONTAINERS_MAX));
    let all = read(CONTAINERS_MAX, &stop_on);
    assert!(matches!(all.parsed, Parsed::Valid(_)) && all.status.containers.len() == CONTAINERS_MAX);
    for name in ["", "App", "../x", "a b", &"a".repeat(64), "\\u001b[31m"] {
        let text = pod("", "", &format!(r#""containerStatuses": [{}],"#, container(name)));
        let read: Pod = serde_json::from_str(&text).unwrap();
        assert_eq!(read.status.containers, [], "{name}");
    }
}

#[test]
fn surplus_and_overlong_annotations_are_refused_and_not_kept() {
    let limits = Limits::default();
    let main = (ANNOTATION.to_owned(), "5".to_owned());
    let ours = |others: Vec<(String, String)>| BTreeMap::from_iter([main.clone()].into_iter().chain(others));
    let many = (0..1_000).map(|n| (format!("{ANNOTATION}/{n}"), String::new())).collect();
    let known_too = ["/filter", "/pause"].map(|key| (format!("{ANNOTATION}{key}"), "x".to_owned())).into();
    let long = |key: &str| vec![(format!("{ANNOTATION}{key}"), "−udp or ".repeat(30_000))];
    for all in [ours(many), ours(known_too), ours(long("/filter")), ours(long("/duration")), ours(long(""))] {
        let text = serde_json::json!({"metadata": {"name": "web", "uid": "u1", "annotations": all}}).to_string();
        let observed = observed(&serde_json::from_str(&text).unwrap(), &limits).unwrap();
        assert!(
            matches!(&observed.parsed, Parsed::Invalid(_)) && observed.parsed == annotations::parse(&all, &limits),
            "{:?}",
            observed.parsed
        );
        let kept: usize = observed.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(kept < 20_000, "{kept}");
    }
}
