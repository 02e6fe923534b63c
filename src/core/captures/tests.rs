use super::*;
use crate::core::{
    annotations::Annotations,
    name::PodName,
    request::{Capture, Invocation, Request},
};

fn run(files: u16) -> Invocation {
    Invocation { capture: Capture { files, filter: None, packets: None, snaplen: None }, ips: vec![] }
}

#[test]
fn failures_back_off_from_1_s_to_300_s_and_are_forgotten_after_a_minute_of_running() {
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    let run5 = run(5);
    let (mut slots, mut now) = (Slots::default(), Instant::now());
    slots.open(&stem, PodUid("1".into()));
    let mut fail_after = |ran: Duration, run: &Invocation| {
        slots.starting(&stem, run.clone(), Moment { at: now, unix_s: 0 });
        now += ran;
        slots.ended(&stem, now)
    };
    for (failures, wait_s) in
        [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 32), (7, 64), (8, 128), (9, 256), (10, 300), (11, 300)]
    {
        let retry_in = Duration::from_secs(wait_s);
        assert_eq!(fail_after(Duration::from_secs(1), &run5), Ended::Failed { failures, retry_in });
    }
    assert_eq!(fail_after(RECOVERED_AFTER, &run5), Ended::Failed { failures: 1, retry_in: BACKOFF_MIN });
    assert_eq!(fail_after(BACKOFF_MIN, &run5), Ended::Failed { failures: 2, retry_in: BACKOFF_MIN * 2 });
    assert_eq!(fail_after(BACKOFF_MIN, &run(6)), Ended::Failed { failures: 1, retry_in: BACKOFF_MIN });
}

#[test]
fn a_process_that_does_not_die_is_reported_after_30_s_and_then_ever_more_rarely() {
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    let (mut slots, start) = (Slots::default(), Instant::now());
    slots.open(&stem, PodUid("1".into()));
    slots.starting(&stem, run(5), Moment { at: start, unix_s: 0 });
    slots.terminated(&stem, StopReason::Gone, start);
    let reports: Vec<u64> = (1..=60)
        .map(|n| start + TERM_GRACE * n)
        .filter_map(|now| slots.killed(&stem, now).map(|stuck| stuck.as_secs()))
        .collect();
    assert_eq!(reports, [30, 60, 120, 240]);
}

#[test]
fn packets_count_over_restarts_and_an_end_is_over_when_something_else_is_asked() {
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    let accepted = |packets| {
        let capture = Capture { packets: Some(packets), ..run(5).capture };
        Accepted { annotations: Annotations::new(), request: Request { capture, duration: None, paused: false } }
    };
    let now = Moment { at: Instant::now(), unix_s: 7 };
    let counts = Some(Counts { captured: 60, dropped: 0 });
    let started = || Invocation { capture: Capture { packets: Some(100), ..run(5).capture }, ips: vec![] };
    let mut slots = Slots::default();
    slots.open(&stem, PodUid("1".into()));
    slots.admit(&stem, accepted(100));
    slots.starting(&stem, started(), now);
    slots.terminated(&stem, StopReason::Moved, now.at);
    assert_eq!(slots.exited(&stem, true, counts, now.at), Ended::Stopped(StopReason::Moved));
    assert_eq!(slots.get(&stem).unwrap().packets_left(), Some(40));
    slots.starting(&stem, started(), now);
    assert_eq!(slots.exited(&stem, true, counts, now.at), Ended::Stopped(StopReason::Ended(End::Packets)));
    assert_eq!(slots.get(&stem).unwrap().ended, Some(End::Packets));
    slots.admit(&stem, accepted(200));
    let slot = slots.get(&stem).unwrap();
    assert_eq!((slot.ended, slot.began, slot.packets_left()), (None, None, Some(200)));
    // More is asked for just before it has all that it was started for.
    let counts = Some(Counts { captured: 100, dropped: 0 });
    slots.starting(&stem, started(), now);
    assert_eq!(slots.exited(&stem, true, counts, now.at), Ended::Stopped(StopReason::Changed));
    assert_eq!(slots.get(&stem).unwrap().packets_left(), Some(100));
}
