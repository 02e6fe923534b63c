//! How often a capture is started, and when.

use std::time::Duration;

use packet_capture::core::{desired::WatchEvent, name::PodName};

use crate::{
    asks::{asking, at},
    node::Node,
    support::{captured, node, pod, roomy, started},
};

fn change_quickly(node: &mut Node, web: &PodName, values: &[&str]) {
    for value in values {
        node.server.annotate(web, asking(value, &[]));
        node.listen();
        node.pass(Duration::from_millis(300));
    }
    node.pass_until_quiet();
}

#[test]
fn no_capture_starts_before_the_first_list_is_complete() {
    let (mut node, web) = (node(roomy()), pod("web"));
    node.server.create(&web, asking("5", &[]), at("10.0.0.1"));
    let seen = node.server.pods().remove(0);
    for event in [WatchEvent::Applied(seen.clone()), WatchEvent::ListStarted, WatchEvent::ListItem(seen)] {
        node.observe(event);
        node.turn();
        assert!(node.starts.is_empty());
    }
    node.observe(WatchEvent::ListDone);
    node.turn();
    assert_eq!(started(&node), [5]);
}

#[test]
fn a_burst_of_changes_after_a_start_costs_one_restart_and_the_last_request_wins() {
    let (mut node, web) = captured(&[]);
    change_quickly(&mut node, &web, &["6", "7", "x", "8"]);
    assert_eq!(started(&node), [5, 8]);
}

#[test]
fn a_burst_of_changes_later_takes_effect_at_once_and_is_followed_once() {
    let (mut node, web) = captured(&[]);
    node.pass(Duration::from_secs(60));
    change_quickly(&mut node, &web, &["6", "7", "8", "9"]);
    assert_eq!(started(&node), [5, 6, 9]);
}

#[test]
fn a_change_that_is_taken_back_in_time_restarts_no_capture() {
    let (mut node, web) = captured(&[]);
    change_quickly(&mut node, &web, &["6", "x", "5"]);
    assert_eq!(started(&node), [5]);
    node.server.list();
    node.listen();
    node.pass(Duration::from_secs(3600));
    assert_eq!(started(&node), [5]);
}

#[test]
fn a_new_address_of_the_pod_takes_effect_at_once_and_then_every_2_s_at_most() {
    let (mut node, web) = captured(&[]);
    node.pass(Duration::from_secs(60));
    for ip in ["10.0.0.2", "10.0.0.3", "10.0.0.4"] {
        node.server.move_to(&web, at(ip));
        node.listen();
        node.pass(Duration::from_millis(300));
    }
    node.pass_until_quiet();
    let ips: Vec<String> = node.starts.iter().map(|(_, run)| run.ips[0].to_string()).collect();
    assert_eq!(ips, ["10.0.0.1", "10.0.0.2", "10.0.0.4"]);
}
