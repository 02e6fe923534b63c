//! The planner under random sequences: pods that change in every way, a watch that breaks, processes that crash or will not end,
//! files that cannot be removed, a controller that is killed between any two actions. After each step the contract must hold, and
//! when all is quiet the node must be exactly as its pods ask.
//!
//! `PLAN_SEED=<n> cargo test --test plan any_sequence` runs one sequence again and prints each step of it.

mod heard;
mod node;
mod server;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use node::Node;
use packet_capture::{
    capture::{Place, PodName},
    desired::Word,
};
use server::asking;

const SEQUENCES: u64 = 2000;
const STEPS: u64 = 50;

fn sequence(seed: u64, trace: bool) {
    let mut node = Node::new(seed, trace);
    node.server.list();
    for _ in 0..STEPS {
        node.step();
    }
    if node.random.one_in(4) {
        node.shut_down();
    }
    node.repair();
    node.hear(Word::Lost);
    node.server.list();
    node.listen();
    node.pass_until_quiet();
    node.check_converged();
}

#[test]
fn any_sequence_of_events_and_faults_keeps_the_promises() {
    if let Ok(seed) = std::env::var("PLAN_SEED") {
        return sequence(seed.parse().expect("PLAN_SEED is a number"), true);
    }
    for seed in 0..SEQUENCES {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| sequence(seed, false))) {
            eprintln!("this was sequence {seed}; PLAN_SEED={seed} prints its steps");
            std::panic::resume_unwind(panic);
        }
    }
}

/// A node with one pod at one address, which asks for 5 files and is captured.
fn captured() -> (Node, PodName) {
    let mut node = Node::new(u64::MAX, false);
    node.repair();
    node.server.list();
    let web = PodName { namespace: "default".into(), name: "web".into() };
    node.server.create(&web, &mut node.random);
    node.server.annotate(&web, asking("5"));
    node.server.move_to(&web, at("10.0.0.1"));
    node.listen();
    (node, web)
}

fn at(ip: &str) -> Place {
    Place::At(vec![ip.parse().unwrap()])
}

fn started(node: &Node) -> Vec<u16> {
    node.starts.iter().map(|run| run.capture.files).collect()
}

fn change_quickly(node: &mut Node, web: &PodName, values: &[&str]) {
    for value in values {
        node.server.annotate(web, asking(value));
        node.listen();
        node.pass(Duration::from_millis(300));
    }
    node.pass_until_quiet();
}

#[test]
fn nothing_is_begun_before_the_first_list_is_complete() {
    let mut node = Node::new(u64::MAX, false);
    node.repair();
    let web = PodName { namespace: "default".into(), name: "web".into() };
    node.server.create(&web, &mut node.random);
    node.server.annotate(&web, asking("5"));
    node.server.move_to(&web, at("10.0.0.1"));
    let seen = node.server.pods().remove(0);
    for word in [Word::Changed(seen.clone()), Word::Listing, Word::Listed(seen)] {
        node.hear(word);
        node.turn();
        assert!(node.starts.is_empty());
    }
    node.hear(Word::ListDone);
    node.turn();
    assert_eq!(started(&node), [5]);
}

#[test]
fn a_burst_of_changes_after_a_start_costs_one_restart_and_the_last_wish_wins() {
    let (mut node, web) = captured();
    change_quickly(&mut node, &web, &["6", "7", "x", "8"]);
    assert_eq!(started(&node), [5, 8]);
}

#[test]
fn a_burst_of_changes_later_takes_effect_at_once_and_is_followed_once() {
    let (mut node, web) = captured();
    node.pass(Duration::from_secs(60));
    change_quickly(&mut node, &web, &["6", "7", "8", "9"]);
    assert_eq!(started(&node), [5, 6, 9]);
}

#[test]
fn changes_that_are_taken_back_in_time_restart_nothing() {
    let (mut node, web) = captured();
    change_quickly(&mut node, &web, &["6", "x", "5"]);
    assert_eq!(started(&node), [5]);
    node.server.list();
    node.listen();
    node.pass(Duration::from_secs(3600));
    assert_eq!(started(&node), [5]);
}

#[test]
fn a_new_address_takes_effect_at_once_and_then_every_2_s_at_most() {
    let (mut node, web) = captured();
    node.pass(Duration::from_secs(60));
    for ip in ["10.0.0.2", "10.0.0.3", "10.0.0.4"] {
        node.server.move_to(&web, at(ip));
        node.listen();
        node.pass(Duration::from_millis(300));
    }
    node.pass_until_quiet();
    let ips: Vec<String> = node.starts.iter().map(|run| run.ips[0].to_string()).collect();
    assert_eq!(ips, ["10.0.0.1", "10.0.0.2", "10.0.0.4"]);
}
