//! The state that `status` shows, whatever became of the last tcpdump.

use std::time::Duration;

use packet_capture::core::{condition::State, name::PodName, request::Target};

use crate::{
    asks::asking,
    node::Node,
    support::{self, pod},
};

/// A pod's capture after 10 s, asked with these others.
fn captured(others: &[(&str, &str)]) -> (Node, PodName) {
    let (mut node, web) = support::captured(others);
    node.pass(Duration::from_secs(10));
    (node, web)
}

fn state(node: &mut Node, web: &PodName) -> State {
    node.listen();
    node.pass(Duration::from_secs(2));
    let (state, reason) = node.state(web);
    let says_why = !matches!(state, State::Capturing | State::Waiting);
    assert!(!says_why || !reason.is_empty(), "{state:?}");
    state
}

#[test]
fn a_pod_that_has_finished_is_finished_whatever_came_before() {
    const PAUSED: &[(&str, &str)] = &[("/pause", "true")];
    let refused: &[(&str, &str)] = &[("/pause", "yes")];
    for (what, others, fails) in
        [("ran", &[][..], false), ("paused", PAUSED, false), ("refused", refused, false), ("failing", &[], true)]
    {
        for restarts in [false, true] {
            let (mut node, web) = captured(&[]);
            if fails {
                node.fail_all();
            }
            node.server.annotate(&web, asking("5", others));
            state(&mut node, &web);
            node.server.move_to(&web, Target::Finished);
            if restarts {
                // The pod finishes while there is no controller.
                node.start_anew();
            }
            assert_eq!(state(&mut node, &web), State::Finished, "{what}, {restarts}");
        }
    }
}

#[test]
fn a_paused_capture_is_paused_also_from_the_start_and_while_it_fails() {
    const PAUSED: &[(&str, &str)] = &[("/pause", "true")];
    let (mut node, web) = captured(&[]);
    assert_eq!(state(&mut node, &web), State::Capturing);
    node.server.annotate(&web, asking("5", PAUSED));
    assert_eq!(state(&mut node, &web), State::Paused);
    node.start_anew();
    assert_eq!(state(&mut node, &web), State::Paused);
    let (mut node, web) = captured(PAUSED);
    assert_eq!(state(&mut node, &web), State::Paused);
    let (mut node, web) = captured(&[]);
    node.fail_all();
    assert_eq!(node.state(&web).0, State::Failed);
    node.server.annotate(&web, asking("5", PAUSED));
    assert_eq!(state(&mut node, &web), State::Paused);
}

#[test]
fn a_refusal_is_shown_for_as_long_as_it_holds() {
    let (mut node, web) = captured(&[]);
    node.server.annotate(&web, asking("x5", &[]));
    assert_eq!(state(&mut node, &web), State::Capturing);
    assert!(node.state(&web).1.contains("\"x5\" is not a number"));
    node.server.annotate(&web, asking("5", &[]));
    assert_eq!(state(&mut node, &web), State::Capturing);
    assert_eq!(node.state(&web).1, "");
    let (mut node, web) = (node, pod("other"));
    node.server.create(&web, asking("x5", &[]), Target::NoAddress);
    assert_eq!(state(&mut node, &web), State::Refused);
    node.server.annotate(&web, asking("5", &[]));
    assert_eq!(state(&mut node, &web), State::Waiting);
}
