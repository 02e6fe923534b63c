//! The streaming reader finds in any object what a reader of the whole object finds.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, process::Command};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde_json::Value;

use super::{super::Pod, ADDRESSES_MAX};
use crate::{
    core::{
        annotations::{self, ANNOTATION},
        limits::Limits,
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
    Pod {
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
        phase: text("/status/phase").unwrap_or_default().to_owned(),
        ips,
        host_ips,
        too_many_addresses: ips_too_many || host_ips_too_many,
    }
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
        "annotations",
        "annotations",
        "nodeName",
        "hostNetwork",
        "phase",
        "podIP",
        "podIPs",
        "podIPs",
        "hostIP",
        "hostIPs",
        "ip",
    ],
    &["tcpdump.antrea.io", "tcpdump.antrea.io/\\u0066ilter", "tcpdump.antrea.io/x", "tcpdump.antrea.iox", "ip"],
    &["ip", "ip", "name"],
];
const VALUES: [&str; 16] = [
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
    r#""2026-01-02T03:04:05Z""#,
    r#""\u003c\n\ud83d\ude00""#,
    "[]",
    "{}",
];

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
        let value = json(state, level + 1);
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
    let (mut state, mut asking, mut placed) = (0x9E37_79B9_7F4A_7C15, 0, 0);
    for _ in 0..TEXTS {
        let pod = both_read_the_same(&json(&mut state, 0));
        asking += u32::from(pod.asks());
        placed += u32::from(!pod.ips.is_empty());
    }
    assert!(asking > 9 && placed > 9, "{asking}, {placed}");
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
