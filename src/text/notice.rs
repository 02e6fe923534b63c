//! The wording of Events and of the log lines about captures: what happened, what was kept, what comes next, and what to do.
//!
//! Text that a user wrote is quoted, escaped to ASCII and shortened, so that it cannot imitate our text or control a terminal.
//!
//! A *packet* is what the pod sends or receives. A *copy* is a packet as tcpdump sees it on one interface. tcpdump counts and keeps
//! copies; `get` shows one copy of each packet.

mod incident;
mod reason;

use std::{fmt::Write, path::Path, time::Duration};

pub use reason::{PodEvent, Reason};

use crate::{
    core::{
        annotations::{ANNOTATION, ValidRequest},
        condition::{Condition, EndedBy, StopReason},
        disk::Disk,
        name::PodName,
        notices::{Change, Failure, FailureCause, Summary},
        request::{Counts, Exit, Invocation},
    },
    text::{
        format::{counted, number, quoted, time},
        refusal,
    },
};

const LIFE_OF_FILES: &str = "the files stay as long as this packet-capture pod: they survive a restart of its container, but not an \
                             upgrade, an eviction or an uninstall";

const COPIES: &str = "a copy is a packet as tcpdump sees it on one interface: most packets have several, and `get` shows one copy of each packet";

/// The kubelet reports the address together with the state of the containers. So while no address is known, it is not known either
/// whether containers run.
const WAITING: &str = "the API server knows no IP address of the pod yet; the capture starts when the kubelet reports one. Packets before \
                       that are not captured, although containers may run already: while a postStart hook runs, for \
                       example, the kubelet reports no address";

/// Where the files of a capture are.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// The node's name.
    pub node: &'a str,
    /// The name that tcpdump was given, in the packet-capture pod of that node.
    pub path: &'a Path,
}

/// The reason and the text of the Event about a change. The text is cut to 1 KiB by the caller; `kubectl describe` shows it as Message.
#[must_use]
pub fn event(change: &Change, location: Location) -> (Reason, String) {
    match change {
        Change::Started { invocation, admitted, packets_left, kept, waited_for_address } => {
            let mut text = started(invocation, admitted.as_ref(), location, *kept);
            if *waited_for_address {
                text.push_str("; packets from before the API server knew the pod's address were not captured");
            }
            if let Some(bytes) = invocation.spec.snaplen {
                let _ = write!(text, "; only the first {bytes} bytes of each packet");
            }
            text.push_str(&ends(admitted.as_ref(), *packets_left));
            if invocation.spec.files > 1 || packets_left.is_some() {
                let _ = write!(text, "; {COPIES}");
            }
            (Reason::Started, text)
        }
        Change::Stopped { reason, summary, disk } => stopped(*reason, summary, *disk),
        Change::Removed(summary) => (Reason::Stopped, removed(summary)),
        Change::RemovedUnowned { files } => {
            let files = counted(number(*files), "file that belongs to no pod", "files that belong to no pod");
            (Reason::Stopped, format!("deleted {files}"))
        }
        Change::Failed { failure, kept } => (Reason::Failed, failed(failure, *kept)),
        Change::Condition { condition, running, kept } => of_condition(condition, *running, *kept),
        Change::AcceptedAgain { running, has_finished } => (Reason::Accepted, accepted_again(*running, *has_finished)),
        Change::Stuck { since_term } => (Reason::Stuck, stuck(*since_term)),
        Change::DelayedByPredecessor => (
            Reason::Stuck,
            "the tcpdump of an earlier pod of this name is still running; the capture starts when that tcpdump exits"
                .to_owned(),
        ),
        Change::NotRemoved { error, failures } => {
            (Reason::Stuck, format!("cannot delete the files: {error}; trying again (failure {failures})"))
        }
    }
}

fn started(invocation: &Invocation, admitted: Option<&ValidRequest>, location: Location, kept: usize) -> String {
    let files = invocation.spec.files;
    let Location { node, path } = location;
    let mut text = format!(
        "tcpdump captures {} into {}* of the packet-capture pod on node {node}{}, {}",
        invocation.expression(),
        path.display(),
        narrowed(admitted),
        counted(files.into(), "file of 1 MB", "files of 1 MB"),
    );
    match (files, kept) {
        // Only at the first start: at a restart the owner knows it.
        (1, 0) => text.push_str(": with one file, older packets are lost each time it fills up; use 2 or more files"),
        (1, _) => (),
        (_, _) => {
            let _ = write!(text, ", which keep the last {files} MB of copies");
        }
    }
    if kept > 0 {
        let _ = write!(text, "; kept: {}", counted(number(kept), "older file", "older files"));
    }
    text
}

/// Which annotations narrow the capture, in what it shows or for how long. The owner must notice an annotation that an earlier capture left behind.
fn narrowed(admitted: Option<&ValidRequest>) -> String {
    let annotations = admitted.into_iter().flat_map(|valid| valid.annotations.keys());
    let keys = annotations.filter_map(|key| key.strip_prefix(ANNOTATION)?.strip_prefix('/'));
    let keys: Vec<&str> = keys.filter(|key| *key != "stop-on").collect();
    match keys[..] {
        [] => String::new(),
        [key] => format!(" (narrowed by annotation {key})"),
        [..] => format!(" (narrowed by annotations {})", keys.join(", ")),
    }
}

fn ends(admitted: Option<&ValidRequest>, packets_left: Option<u32>) -> String {
    let packets =
        packets_left.map(|left| format!("after {}", counted(left.into(), "copy of a packet", "copies of packets")));
    let request = admitted.map(|valid| &valid.request);
    let duration = request.and_then(|request| request.duration);
    let time = duration.map(|duration| format!("{} after its start", time(duration)));
    let incident = request.and_then(|request| incident::awaited(request.stop_on));
    let ends: Vec<String> = packets.into_iter().chain(time).chain(incident.map(str::to_owned)).collect();
    if ends.is_empty() { String::new() } else { format!("; ends {}", ends.join(" or ")) }
}

/// tcpdump was stopped by the controller, and the files stay.
pub(super) fn stopped(reason: StopReason, summary: &Summary, disk: Disk) -> (Reason, String) {
    let event_reason = match reason {
        StopReason::Ended(by) => return (Reason::Finished, ended(by, summary)),
        StopReason::LowDisk => return (Reason::LowDisk, low_disk(summary, disk)),
        StopReason::PodFinished => Reason::Finished,
        StopReason::Gone
        | StopReason::Changed
        | StopReason::Moved
        | StopReason::NoAddress
        | StopReason::Forbidden
        | StopReason::NothingAdmitted
        | StopReason::Paused
        | StopReason::Retained
        | StopReason::Stale
        | StopReason::Shutdown => Reason::Stopped,
    };
    let (because, next) = halted(reason);
    let incident = summary.incident.as_ref().map(|seen| format!(" (before that: {})", incident::described(seen)));
    let incident = incident.unwrap_or_default();
    (event_reason, format!("{because}{incident}; {}; kept: {}; {next}", packets(summary), files_counted(summary.files)))
}

/// Why no tcpdump runs, and what comes next.
fn halted(reason: StopReason) -> (&'static str, &'static str) {
    let until_gone = "the files stay until the annotation or the pod is gone";
    match reason {
        StopReason::Gone => ("the annotation or the pod is gone", "the files are deleted next"),
        StopReason::Changed => ("the annotations changed", "the capture restarts at once with the new annotations"),
        StopReason::Moved => ("the pod's addresses changed", "the capture restarts at once with the new addresses"),
        StopReason::NoAddress => ("the pod has no address", "the capture resumes when the pod has an address"),
        StopReason::Forbidden => (
            "the pod reports an address that is not its own",
            "the capture resumes when the pod reports a valid address",
        ),
        StopReason::NothingAdmitted => ("no valid request fits on this node", "the capture resumes when one does"),
        StopReason::Paused => {
            ("the capture is paused", "the capture resumes when annotation tcpdump.antrea.io/pause is removed")
        }
        StopReason::PodFinished => ("the pod has finished", until_gone),
        StopReason::Ended(_) => ("the capture is complete", until_gone),
        StopReason::LowDisk => (
            "the node's free disk space fell below the low watermark (MIN_FREE_MB, MIN_FREE_PERCENT)",
            "the capture resumes when free space reaches the high watermark",
        ),
        StopReason::Retained => ("the pod is gone", "the files are kept for a limited time (KEEP_AFTER_POD)"),
        StopReason::Stale => (
            "the API server has not answered for too long (MAX_STALE), so another pod may have the address by now",
            "the capture resumes when the API server answers again",
        ),
        StopReason::Shutdown => ("packet-capture is shutting down", LIFE_OF_FILES),
    }
}

/// Why there is no tcpdump, and what comes next.
pub(super) fn stop_reason(reason: StopReason) -> String {
    let (because, next) = halted(reason);
    format!("{because}; {next}")
}

fn ended(by: EndedBy, summary: &Summary) -> String {
    let because = match by {
        EndedBy::Duration => match summary.duration {
            Some(duration) => format!("the duration of {} is over", time(duration)),
            None => "the duration is over".to_owned(),
        },
        EndedBy::Packets => "all requested copies of packets are captured".to_owned(),
        EndedBy::StopOn => "an incident occurred".to_owned(),
    };
    let (because, ring) = match (by, &summary.incident) {
        (_, None) => (because, String::new()),
        (EndedBy::StopOn, Some(seen)) => (incident::described(seen), incident::what_is_kept(seen, summary.files)),
        // An incident between the end and the last packets from the kernel.
        (EndedBy::Duration | EndedBy::Packets, Some(seen)) => {
            (format!("{because}; {}", incident::described(seen)), String::new())
        }
    };
    format!(
        "{because}; {}; kept: {}{ring}; the files stay until the annotation or the pod is gone; a change of the annotations starts a new \
         capture",
        packets(summary),
        files_counted(summary.files)
    )
}

fn low_disk(summary: &Summary, disk: Disk) -> String {
    let Disk { free_mb, low_watermark_mb, .. } = disk;
    format!(
        "the node's free disk space fell below the low watermark of {low_watermark_mb} MB (MIN_FREE_MB, MIN_FREE_PERCENT): it is {free_mb} MB; \
         {}; kept: {}; the capture resumes when free space reaches the high watermark of {} MB",
        packets(summary),
        files_counted(summary.files),
        disk.high_watermark_mb()
    )
}

/// The capture is over, and its files are deleted.
fn removed(summary: &Summary) -> String {
    format!("the annotation or the pod is gone; {}; {} deleted", packets(summary), files_counted(summary.files))
}

/// tcpdump ended by itself, or could not be started.
pub(super) fn failed(failure: &Failure, kept: usize) -> String {
    let Failure { cause, failures, retry_in } = failure;
    let what = match cause {
        FailureCause::NotStarted(error) => error.clone(),
        FailureCause::Exited { exit, ran } => exited(exit, *ran),
    };
    let retry_s = retry_in.as_secs();
    format!("{what}; trying again in {retry_s} s (failure {failures}); kept: {}", files_counted(kept))
}

fn exited(exit: &Exit, ran: Duration) -> String {
    if let Some(said) = &exit.unfiltered {
        return format!("tcpdump was stopped because of its filter: {}", refusal::not_in_kernel(said));
    }
    let said = if exit.last_line.is_empty() { String::new() } else { format!(": {}", quoted(&exit.last_line)) };
    format!("tcpdump {} after {:.1} s{said}", exit.how, ran.as_secs_f64())
}

/// The condition of a capture, and what is kept: the running capture with its number of files, or the files on the disk.
pub(super) fn of_condition(condition: &Condition, running: Option<u16>, kept: usize) -> (Reason, String) {
    let kept = match (running, kept) {
        (Some(files), _) => format!("kept: the capture with {}", files_counted(files.into())),
        (None, 0) => "nothing is captured".to_owned(),
        (None, kept) => format!("nothing is captured; kept: {}", files_counted(kept)),
    };
    match condition {
        Condition::Refused(refusal) => (Reason::Refused, format!("{}; {kept}", refusal::refused(refusal))),
        Condition::Shortage(shortage) => (Reason::Refused, format!("{}; {kept}", refusal::lacking(shortage))),
        Condition::Waiting => (Reason::Waiting, WAITING.to_owned()),
        Condition::Missed => (Reason::Missed, format!("the pod finished before its packets could be captured; {kept}")),
        Condition::Paused(PodName { namespace, name }) => {
            let text = format!(
                "the capture is paused by annotation {ANNOTATION}/pause=\"true\"; {kept}; to start the capture, remove the annotation: \
                 kubectl -n {namespace} annotate pod {name} {ANNOTATION}/pause-"
            );
            (Reason::Waiting, text)
        }
    }
}

/// The request is no longer refused.
fn accepted_again(running: Option<u16>, has_finished: bool) -> String {
    match running {
        None if has_finished => {
            "the annotations are accepted again; the capture has finished, and starts again only when they change"
                .to_owned()
        }
        Some(files) => {
            format!("the annotations are accepted again; the capture with {} continues", files_counted(files.into()))
        }
        None => "the annotations are accepted again".to_owned(),
    }
}

/// tcpdump does not exit.
fn stuck(stuck: Duration) -> String {
    let stuck_s = stuck.as_secs();
    format!(
        "tcpdump is still running {stuck_s} s after SIGTERM and did not exit on SIGKILL; its files stay until it exits"
    )
}

/// How many captures run.
#[must_use]
pub fn captures(running: usize) -> String {
    counted(number(running), "running capture", "running captures")
}

fn packets(summary: &Summary) -> String {
    let Counts { captured, dropped } = summary.counts;
    let mut text = format!(
        "{}, {dropped} dropped by the kernel",
        counted(captured, "copy of a packet captured", "copies of packets captured")
    );
    if summary.uncounted > 0 {
        let uncounted = counted(
            summary.uncounted.into(),
            "tcpdump ended before it reported its counts",
            "tcpdumps ended before they reported their counts",
        );
        let _ = write!(text, " ({uncounted})");
    } else if captured == 0 && summary.has_started {
        text.push_str(" (docs/user.md, \"Nothing captured?\", lists possible reasons)");
    }
    text
}

fn files_counted(files: usize) -> String {
    counted(number(files), "file", "files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{
        name::{PodName, Stem},
        recorder::StopOn,
        refusal::Refusal,
        request::{CaptureSpec, Request},
    };

    #[test]
    fn when_a_long_event_is_cut_to_1024_bytes_only_the_explanation_goes() {
        let spec = CaptureSpec {
            files: 100,
            filter: Some("x".repeat(512)),
            packets: Some(1_000_000_000),
            snaplen: Some(262_144),
        };
        let ips = vec!["2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap(); 2];
        let duration = Some(Duration::from_secs(86_399));
        let stop_on = StopOn { restart: true, unready: true };
        let request = Request { spec: spec.clone(), duration, stop_on, paused: false };
        let stem = Stem::of(&PodName { namespace: "n".repeat(12), name: "p".repeat(50) });
        let path = Path::new("/captures").join(stem.base());
        let change = Change::Started {
            invocation: Invocation { spec, ips },
            admitted: Some(ValidRequest { annotations: [].into(), request }),
            packets_left: Some(1_000_000_000),
            kept: 100,
            waited_for_address: false,
        };
        let (_, text) = event(&change, Location { node: &"n".repeat(40), path: &path });
        let explained = text.find(&format!("; {COPIES}")).unwrap();
        assert!(
            text[..explained].ends_with(
                "; ends after 1000000000 copies of packets or 86399s after its start or on container failure or unready"
            ),
            "{text}"
        );
        assert!(explained < 1024, "{explained}: {text}");
    }

    #[test]
    fn a_refusal_says_what_was_wrong_what_is_allowed_and_what_was_kept() {
        let refusal = Condition::Refused(Refusal::FileCount { value: "x5".into(), max: 100 });
        assert_eq!(
            of_condition(&refusal, Some(5), 3),
            (
                Reason::Refused,
                "annotation tcpdump.antrea.io=\"x5\" is not a number of files from 1 to 100, written in digits without a \
                 leading zero, such as \"5\"; kept: the capture with 5 files"
                    .to_owned()
            )
        );
        assert!(of_condition(&refusal, None, 0).1.ends_with("; nothing is captured"));
        assert!(of_condition(&refusal, None, 1).1.ends_with("; nothing is captured; kept: 1 file"));
    }

    #[test]
    fn who_waited_for_an_address_is_told_before_and_after_what_is_missed() {
        assert!(of_condition(&Condition::Waiting, None, 0).1.contains("Packets before that are not captured"));
        let spec = CaptureSpec { files: 5, filter: None, packets: None, snaplen: None };
        let says_so = |waited_for_address| {
            let invocation = Invocation { spec: spec.clone(), ips: vec![[10, 0, 0, 1].into()] };
            let change =
                Change::Started { invocation, admitted: None, packets_left: None, kept: 0, waited_for_address };
            let location = Location { node: "node", path: Path::new("/captures/x.pcap") };
            event(&change, location).1.contains("before the API server knew the pod's address were not captured")
        };
        assert!(says_so(true) && !says_so(false));
    }
}
