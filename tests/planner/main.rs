//! The planner under random sequences: pods that change in every way and whose containers crash, more of them than have room, a watch
//! that breaks, processes that crash or will not end, files that cannot be removed, a disk that fills up, a controller that is killed
//! between any two actions. After each step the contract must hold, and when all is quiet the node must be exactly as its pods ask.
//!
//! `PLAN_SEED=<n> cargo test --test planner any_sequence` runs one sequence again and prints each step of it.

mod admission;
mod asks;
mod ends;
mod incidents;
mod life;
mod node;
mod restarts;
mod seen;
mod server;
mod status;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use node::Node;
use packet_capture::core::desired::WatchEvent;
use server::Random;

const SEQUENCES: u64 = 1500;
const STEPS: u64 = 50;
const THREADS: u64 = 2;

fn sequence(seed: u64, trace: bool) {
    let limits = Node::limits(&mut Random::new(!seed));
    let mut node = Node::new(seed, limits, trace);
    node.server.list();
    for _ in 0..STEPS {
        node.step();
    }
    if node.random.one_in(4) {
        node.shut_down();
    }
    node.repair();
    node.observe(WatchEvent::Disconnected);
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
    // Two at a time: any machine has two cores.
    std::thread::scope(|scope| {
        for first in 0..THREADS {
            scope.spawn(move || {
                (first..SEQUENCES).step_by(usize::try_from(THREADS).unwrap()).for_each(checked_sequence)
            });
        }
    });
}

fn checked_sequence(seed: u64) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| sequence(seed, false))) {
        eprintln!("this was sequence {seed}; PLAN_SEED={seed} prints its steps");
        std::panic::resume_unwind(panic);
    }
}
