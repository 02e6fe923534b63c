//! Each packet once: of the copies that `-i any` makes of a packet, that of the pod's own interface, where it can be told.

use std::fs;

use crate::{
    readers::get::{entry, get, leave_state, node_with},
    support::packets::{GONE, GONE_TOO, IN, OUT, PEER, POD, arp, numbers, record, udp},
};

const OTHER: [u8; 4] = [10, 0, 0, 77];

/// An interface of this machine that is no end of a pair: `lo`, which every network namespace has as its first.
fn loopback() -> u32 {
    fs::read_to_string("/sys/class/net/lo/ifindex").unwrap().trim().parse().unwrap()
}

/// Records in turn, a second apart; the number of each tells which copy it is.
fn records(copies: &[(u32, u8, [u8; 4], [u8; 4])]) -> Vec<u8> {
    let numbered = (1_u32..).zip(copies);
    numbered
        .flat_map(|(n, (interface, way, from, to))| {
            record([n, 0], &udp(*interface, *way, *from, *to, &n.to_be_bytes()))
        })
        .collect()
}

/// What is shown of these records, with what warnings; and that `--all` shows all of them without one.
fn shown(records: Vec<u8>, in_all: u32) -> (Vec<u32>, Vec<String>) {
    let node = node_with(&[("0", records)]);
    let (out, warnings) = get(&node, &["web", "--all"]);
    assert_eq!((numbers(&out), warnings), (Vec::from_iter(1..=in_all), vec![]));
    let (out, warnings) = get(&node, &["default/web"]);
    (numbers(&out), warnings)
}

#[test]
fn get_gives_the_copies_of_the_pods_own_interface() {
    let lo = loopback();
    let mut bytes =
        records(&[(GONE, IN, POD, PEER), (lo, OUT, POD, PEER), (lo, IN, PEER, POD), (GONE, OUT, PEER, POD)]);
    bytes.extend([record([5, 0], &arp(lo, 5)), record([6, 0], &arp(GONE, 6))].concat());
    assert_eq!(shown(bytes, 6), (vec![1, 4, 6], vec![]));
}

#[test]
fn get_gives_all_copies_with_a_warning_where_the_pods_interface_is_not_known() {
    let far = records(&[(loopback(), OUT, POD, PEER), (loopback(), IN, PEER, POD)]);
    let warning = "warning: the pod's own interface is not known: all copies of each packet are shown, as with --all";
    assert_eq!(shown(far, 2), (vec![1, 2], vec![warning.to_owned()]));
}

#[test]
fn get_counts_the_packets_that_never_came_to_the_pod() {
    let lo = loopback();
    let mut bytes = records(&[[(GONE, IN, POD, PEER)].as_slice(), &[(GONE, OUT, PEER, POD); 4]].concat());
    for number in 6..9_u32 {
        let mut dropped = udp(lo, IN, PEER, POD, &number.to_be_bytes());
        dropped[43] = 22; // to another port
        bytes.extend(record([number, 0], &dropped));
    }
    bytes.extend(record([9, 0], &udp(GONE, IN, POD, PEER, &9_u32.to_be_bytes())));
    let (numbers, warnings) = shown(bytes, 9);
    assert_eq!(numbers, [1, 2, 3, 4, 5, 9]);
    let told = "warning: at least 3 packets were seen only on other interfaces: ";
    assert!(warnings.len() == 1 && warnings[0].starts_with(told), "{warnings:?}");
}

#[test]
fn get_gives_all_copies_from_before_the_nodes_start() {
    let mut bytes = records(&[(GONE, IN, POD, PEER), (loopback(), OUT, POD, PEER)]);
    bytes[..4].copy_from_slice(&1_u32.to_ne_bytes());
    let (numbers, warnings) = shown(bytes, 2);
    assert!(numbers == [1, 2] && warnings[0].contains("from before the node was restarted"), "{warnings:?}");
}

#[test]
fn get_knows_a_pod_by_all_addresses_that_it_has_had() {
    let node = node_with(&[("0", records(&[(GONE, IN, POD, PEER), (1, OUT, POD, PEER), (GONE_TOO, IN, OTHER, PEER)]))]);
    let mut moved = entry();
    let now = serde_json::json!({"since": "2026-01-02T03:04:06Z", "addresses": ["fd00::1", "10.0.0.77"], "files": 5});
    moved["history"].as_array_mut().unwrap().push(now);
    leave_state(&node, &[moved]);
    let (out, warnings) = get(&node, &["web"]);
    assert_eq!((numbers(&out), warnings), (vec![1, 3], vec![]));
}
