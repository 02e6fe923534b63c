use super::*;
use crate::core::{
    annotations::Annotations,
    name::PodName,
    recorder::StopOn,
    request::{CaptureSpec, Request},
};

fn invocation(files: u16, packets: Option<u32>) -> Invocation {
    Invocation { spec: CaptureSpec { files, filter: None, packets, snaplen: None }, ips: vec![] }
}

fn exit(in_order: bool, captured: u64) -> Exit {
    let counts = Some(Counts { captured, dropped: 0 });
    Exit { in_order, how: "exited 1".into(), last_line: String::new(), unfiltered: None, counts }
}

/// The capture of pod `web`, of which nothing was started yet.
fn opened() -> (Captures, Stem) {
    let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
    let mut captures = Captures::default();
    captures.open(&stem, PodUid("1".into()));
    (captures, stem)
}

fn reason(notice: Option<Notice>) -> Option<StopReason> {
    match notice?.change {
        Change::Stopped { reason, .. } => Some(reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_tcpdump_that_fails_backs_off_from_1_s_to_300_s_and_is_new_after_a_minute_of_running() {
    let (mut captures, stem) = opened();
    let mut now = Instant::now();
    let mut fail_after = |ran: Duration, files| {
        captures.starting(&stem, invocation(files, None), Moment { at: now, unix_s: 0 });
        now += ran;
        let notice = captures.exited(&stem, &exit(false, 0), 1, Disk::default(), false, now);
        let Process::Backoff { failure, .. } = &captures.get(&stem).unwrap().process else { panic!() };
        let told = notice.map(|notice| notice.change == Change::Failed { failure: failure.clone(), kept: 1 });
        (failure.failures, failure.retry_in.as_secs(), told)
    };
    let waits_s = [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300];
    for (failures, wait_s) in (1..).zip(waits_s) {
        let told = [1, 2, 4, 8].contains(&failures).then_some(true);
        assert_eq!(fail_after(Duration::from_secs(1), 5), (failures, wait_s, told));
    }
    assert_eq!(fail_after(RECOVERED_AFTER, 5), (1, 1, Some(true)));
    assert_eq!(fail_after(BACKOFF_MIN, 5), (2, 2, Some(true)));
    assert_eq!(fail_after(BACKOFF_MIN, 6), (1, 1, Some(true)), "another request");
}

#[test]
fn a_process_that_does_not_die_is_reported_after_30_s_and_then_ever_more_rarely() {
    let (mut captures, stem) = opened();
    let start = Instant::now();
    captures.starting(&stem, invocation(5, None), Moment { at: start, unix_s: 0 });
    captures.terminated(&stem, StopReason::Gone, start);
    let reports: Vec<u64> = (1..=60)
        .map(|n| start + TERM_GRACE * n)
        .filter_map(|now| captures.killed(&stem, now).map(|since_term| since_term.as_secs()))
        .collect();
    assert_eq!(reports, [30, 60, 120, 240]);
}

#[test]
fn packets_count_over_restarts_and_a_finished_capture_starts_again_when_the_request_changes() {
    let (mut captures, stem) = opened();
    let valid = |packets| {
        let request = Request {
            spec: invocation(5, Some(packets)).spec,
            duration: None,
            stop_on: StopOn::NOTHING,
            paused: false,
        };
        ValidRequest { annotations: Annotations::new(), request }
    };
    let (now, disk) = (Moment { at: Instant::now(), unix_s: 7 }, Disk::default());
    captures.admit(&stem, valid(100));
    captures.starting(&stem, invocation(5, Some(100)), now);
    captures.terminated(&stem, StopReason::Moved, now.at);
    let notice = captures.exited(&stem, &exit(true, 60), 1, disk, false, now.at);
    assert_eq!(reason(notice), Some(StopReason::Moved));
    assert_eq!(captures.get(&stem).unwrap().packets_left(), Some(40));
    captures.starting(&stem, invocation(5, Some(100)), now);
    let notice = captures.exited(&stem, &exit(true, 60), 1, disk, false, now.at);
    assert_eq!(reason(notice), Some(StopReason::Ended(EndedBy::Packets)));
    assert_eq!(captures.get(&stem).unwrap().lifecycle, Lifecycle::Finished(EndedBy::Packets));
    captures.restore(stem.clone(), Capture { uncounted: 1, ..captures.get(&stem).unwrap().clone() });
    captures.admit(&stem, valid(200));
    let capture = captures.get(&stem).unwrap();
    assert_eq!(
        (capture.lifecycle, capture.first_started, capture.packets_left()),
        (Lifecycle::Active, None, Some(200))
    );
    assert_eq!(capture.uncounted, 0);
    // The request says more packets just before tcpdump has all that it was started for.
    captures.starting(&stem, invocation(5, Some(100)), now);
    let notice = captures.exited(&stem, &exit(true, 100), 1, disk, false, now.at);
    assert_eq!(reason(notice), Some(StopReason::Changed));
    assert_eq!(captures.get(&stem).unwrap().packets_left(), Some(100));
}

#[test]
fn a_stop_says_what_it_was_for_and_nothing_where_the_removal_will() {
    let now = Moment { at: Instant::now(), unix_s: 7 };
    let low = Disk { free_mb: 5, low_watermark_mb: 10, low: true };
    let stopped_for = |term: StopReason, removing: bool, stopping: bool| {
        let (mut captures, stem) = opened();
        captures.starting(&stem, invocation(5, None), now);
        captures.terminated(&stem, term, now.at);
        if removing {
            captures.mark_for_removal(&stem);
        }
        captures.exited(&stem, &exit(true, 60), 1, low, stopping, now.at)
    };
    assert_eq!(reason(stopped_for(StopReason::Paused, false, false)), Some(StopReason::Paused));
    assert_eq!(reason(stopped_for(StopReason::Paused, false, true)), Some(StopReason::Shutdown));
    let ended = StopReason::Ended(EndedBy::Duration);
    assert_eq!(reason(stopped_for(ended, false, true)), Some(ended));
    assert_eq!(stopped_for(StopReason::Gone, true, false), None);
    let notice = stopped_for(StopReason::LowDisk, false, false).unwrap();
    assert!(matches!(notice.conveys, Conveys::Condition(Some(Condition::Shortage(_)))), "{notice:?}");
    assert_eq!(stopped_for(StopReason::LowDisk, false, true).unwrap().conveys, Conveys::Nothing);
}
