use super::*;
use crate::core::{
    annotations::Annotations,
    name::PodName,
    request::{CaptureSpec, Invocation, Request},
};

fn run(files: u16) -> Invocation {
    Invocation { spec: CaptureSpec { files, filter: None, packets: None, snaplen: None }, ips: vec![] }
}

#[test]
fn failures_back_off_from_1_s_to_300_s_and_are_forgotten_after_a_minute_of_running() {
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    let run5 = run(5);
    let (mut captures, mut now) = (Captures::default(), Instant::now());
    captures.open(&stem, PodUid("1".into()));
    let mut fail_after = |ran: Duration, run: &Invocation| {
        captures.starting(&stem, run.clone(), Moment { at: now, unix_s: 0 });
        now += ran;
        captures.ended(&stem, now)
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
    let (mut captures, start) = (Captures::default(), Instant::now());
    captures.open(&stem, PodUid("1".into()));
    captures.starting(&stem, run(5), Moment { at: start, unix_s: 0 });
    captures.terminated(&stem, StopReason::Gone, start);
    let reports: Vec<u64> = (1..=60)
        .map(|n| start + TERM_GRACE * n)
        .filter_map(|now| captures.killed(&stem, now).map(|stuck| stuck.as_secs()))
        .collect();
    assert_eq!(reports, [30, 60, 120, 240]);
}

#[test]
fn packets_count_over_restarts_and_an_end_is_over_when_something_else_is_asked() {
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    let valid = |packets| {
        let spec = CaptureSpec { packets: Some(packets), ..run(5).spec };
        ValidRequest { annotations: Annotations::new(), request: Request { spec, duration: None, paused: false } }
    };
    let now = Moment { at: Instant::now(), unix_s: 7 };
    let counts = Some(Counts { captured: 60, dropped: 0 });
    let started = || Invocation { spec: CaptureSpec { packets: Some(100), ..run(5).spec }, ips: vec![] };
    let mut captures = Captures::default();
    captures.open(&stem, PodUid("1".into()));
    captures.admit(&stem, valid(100));
    captures.starting(&stem, started(), now);
    captures.terminated(&stem, StopReason::Moved, now.at);
    assert_eq!(captures.exited(&stem, true, counts, now.at), Ended::Stopped(StopReason::Moved));
    assert_eq!(captures.get(&stem).unwrap().packets_left(), Some(40));
    captures.starting(&stem, started(), now);
    assert_eq!(captures.exited(&stem, true, counts, now.at), Ended::Stopped(StopReason::Ended(End::Packets)));
    assert_eq!(captures.get(&stem).unwrap().ended, Some(End::Packets));
    captures.admit(&stem, valid(200));
    let capture = captures.get(&stem).unwrap();
    assert_eq!((capture.ended, capture.began, capture.packets_left()), (None, None, Some(200)));
    // More is asked for just before it has all that it was started for.
    let counts = Some(Counts { captured: 100, dropped: 0 });
    captures.starting(&stem, started(), now);
    assert_eq!(captures.exited(&stem, true, counts, now.at), Ended::Stopped(StopReason::Changed));
    assert_eq!(captures.get(&stem).unwrap().packets_left(), Some(100));
}
