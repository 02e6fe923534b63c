//! When a capture ends or pauses, and what begins it again.

use std::time::Duration;

use crate::support::{annotate, captured, started};

#[test]
fn a_duration_ends_a_second_late_and_for_good_until_the_request_changes() {
    let (mut node, web) = captured(&[("/duration", "30s")]);
    node.pass(Duration::from_millis(31_249));
    assert_eq!(node.running(), 1);
    node.pass(Duration::from_millis(32));
    assert_eq!((node.running(), node.kept(&web)), (0, 1));
    node.server.list();
    node.listen();
    node.start_anew();
    node.pass_until_quiet();
    assert_eq!(started(&node), [5]);
    annotate(&mut node, &web, &[("/duration", "1m")]);
    node.pass(Duration::from_secs(57));
    assert_eq!((node.running(), started(&node).len()), (1, 2));
}

#[test]
fn a_duration_runs_on_while_there_is_no_controller_and_while_the_capture_is_paused() {
    let (mut node, web) = captured(&[("/duration", "30s")]);
    node.pass(Duration::from_secs(10));
    node.start_anew();
    annotate(&mut node, &web, &[("/duration", "30s"), ("/pause", "true")]);
    assert_eq!((node.running(), node.kept(&web)), (0, 1));
    node.pass(Duration::from_secs(30));
    annotate(&mut node, &web, &[("/duration", "30s")]);
    // what is asked now is another thing than what ended
    assert_eq!(node.running(), 1);
    node.pass(Duration::from_secs(40));
    assert_eq!((node.running(), started(&node).len()), (0, 3));
}

#[test]
fn a_changed_duration_counts_from_the_first_start_and_restarts_nothing() {
    let (mut node, web) = captured(&[("/duration", "1m")]);
    node.pass(Duration::from_secs(10));
    annotate(&mut node, &web, &[("/duration", "20s")]);
    assert_eq!((node.running(), started(&node)), (1, vec![5]));
    node.pass(Duration::from_secs(9));
    assert_eq!(node.running(), 0);
}

#[test]
fn a_new_request_after_an_end_does_not_wait_for_the_failures_before_it() {
    let (mut node, web) = captured(&[("/duration", "40s")]);
    // the last wait would be 32 s
    for wait_s in [1, 2, 4, 8, 16, 11] {
        node.fail_all();
        assert_eq!(node.running(), 0);
        node.pass(Duration::from_secs(wait_s));
    }
    assert_eq!((node.running(), started(&node).len()), (0, 6));
    annotate(&mut node, &web, &[("/duration", "1m")]);
    assert_eq!((node.running(), started(&node).len()), (1, 7));
}

#[test]
fn a_capture_that_has_its_packets_is_not_started_again_until_the_request_changes() {
    let (mut node, web) = captured(&[("/packets", "9")]);
    node.pass_until_quiet();
    node.start_anew();
    node.pass_until_quiet();
    assert_eq!((node.running(), node.kept(&web), started(&node)), (0, 1, vec![5]));
    annotate(&mut node, &web, &[("/packets", "8")]);
    node.pass_until_quiet();
    assert_eq!((node.running(), started(&node)), (0, vec![5, 5]));
}

#[test]
fn a_pause_stops_tcpdump_and_keeps_its_files_and_its_place() {
    let (mut node, web) = captured(&[]);
    annotate(&mut node, &web, &[("/pause", "true")]);
    node.start_anew();
    node.pass(Duration::from_secs(3600));
    assert_eq!((node.running(), node.kept(&web), started(&node)), (0, 1, vec![5]));
    annotate(&mut node, &web, &[]);
    assert_eq!((node.running(), started(&node)), (1, vec![5, 5]));
}
