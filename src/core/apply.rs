//! Records each action of the planner in [`Captures`], at the moment it is carried out, and what came of a notice. Pure: the caller
//! makes the system call, and reports what came of it as a fact ([`Captures`]).

use std::time::Instant;

use crate::core::{
    captures::{Captures, Moment},
    desired::Desired,
    disk::Disk,
    name::Stem,
    notices::{Change, Conveys, Notice},
    plan::Action,
};

/// Records an action, and returns what the owners of pods are to be told of it. [`Action::Start`], [`Action::Term`] and
/// [`Action::Kill`] are recorded as begun; of [`Action::Remove`] the removal itself is the fact.
pub fn apply(
    captures: &mut Captures,
    desired: &Desired,
    disk: Disk,
    stem: &Stem,
    action: &Action,
    now: Moment,
) -> Vec<Notice> {
    let notice = match action.clone() {
        Action::Open(uid) => {
            captures.open(stem, uid);
            None
        }
        Action::Decline(uid, condition) => {
            let change = Change::Condition { condition: condition.clone(), running: None, kept: 0 };
            let conveys = Conveys::Condition(Some(condition));
            Some(Notice { stem: stem.clone(), uid: Some(uid), change, conveys })
        }
        Action::Release => {
            captures.release(stem);
            None
        }
        Action::Admit(valid) => {
            captures.admit(stem, valid);
            None
        }
        Action::Learn(baseline) => {
            captures.learned(stem, baseline);
            None
        }
        Action::RecordIncident(incident) => {
            captures.saw_incident(stem, incident, now);
            None
        }
        Action::Finish(by) => captures.finish(stem, by, disk),
        Action::Retain => {
            captures.retain(stem, now);
            None
        }
        Action::MarkForRemoval => {
            captures.mark_for_removal(stem);
            None
        }
        Action::Notify(condition) => captures.condition_notice(stem, condition),
        Action::Start(invocation) => {
            captures.starting(stem, invocation, now);
            None
        }
        Action::Term(reason) => {
            captures.terminated(stem, reason, now.at);
            None
        }
        Action::Kill => return killed(captures, desired, stem, now.at),
        Action::Remove => None,
    };
    notice.into_iter().collect()
}

/// A process that does not end is reported to its pod's owner, and to the owner of the next pod of the same name, which waits for it.
fn killed(captures: &mut Captures, desired: &Desired, stem: &Stem, now: Instant) -> Vec<Notice> {
    let Some(since_term) = captures.killed(stem, now) else { return Vec::new() };
    let stuck = captures.notice(stem, Change::Stuck { since_term });
    let successor = desired.request_of(stem).filter(|pod| Some(&pod.uid) != stuck.uid.as_ref());
    let delayed = successor.map(|pod| Notice {
        stem: stem.clone(),
        uid: Some(pod.uid.clone()),
        change: Change::DelayedByPredecessor,
        conveys: Conveys::Nothing,
    });
    [stuck].into_iter().chain(delayed).collect()
}

/// Records that a notice is on its way to the API server, or, with `retry_at`, that there are too many and when it may be tried again.
pub fn published(captures: &mut Captures, desired: &mut Desired, notice: &Notice, retry_at: Option<Instant>) {
    let Conveys::Condition(condition) = &notice.conveys else { return };
    let has_capture = captures.get(&notice.stem).is_some_and(|capture| capture.owner == notice.uid);
    match retry_at {
        Some(retry_at) if has_capture => captures.defer_notice(&notice.stem, retry_at),
        // The owner of a pod without a capture is not told again: the log has the notice.
        Some(_) | None => {
            if let (Some(uid), Some(condition)) = (&notice.uid, condition) {
                desired.notified(&notice.stem, uid, condition);
            }
            if has_capture {
                captures.notified(&notice.stem, condition.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::{
        annotations::{self, ANNOTATION},
        captures::STUCK_AFTER,
        condition::{Condition, StopReason},
        desired::WatchEvent,
        limits::Limits,
        name::{PodName, PodUid},
        observed_pod::ObservedPod,
        recorder::PodStatus,
        request::{CaptureSpec, Invocation, Target},
    };

    fn pod(uid: &str) -> ObservedPod {
        let annotations = [(ANNOTATION.to_owned(), "5".to_owned())].into();
        let parsed = annotations::parse(&annotations, &Limits::default());
        let name = PodName { namespace: "default".into(), name: "web".into() };
        let (target, claims, status) = (Target::NoAddress, Vec::new(), PodStatus::default());
        ObservedPod { uid: PodUid(uid.into()), name, created_s: 0, annotations, parsed, target, claims, status }
    }

    #[test]
    fn a_tcpdump_that_does_not_end_is_reported_to_its_pods_owner_and_to_the_next_pod_of_the_name() {
        let start = Moment { at: Instant::now(), unix_s: 0 };
        let stem = Stem::of(&pod("1").name);
        let told = |owner: &str| {
            let (mut captures, mut desired) = (Captures::default(), Desired::default());
            desired.observe(WatchEvent::Applied(pod(owner)), start.at);
            captures.open(&stem, PodUid("1".into()));
            let spec = CaptureSpec { files: 5, filter: None, packets: None, snaplen: None };
            captures.starting(&stem, Invocation { spec, ips: Vec::new() }, start);
            captures.terminated(&stem, StopReason::Gone, start.at);
            let late = Moment { at: start.at + STUCK_AFTER, unix_s: 30 };
            let notices = apply(&mut captures, &desired, Disk::default(), &stem, &Action::Kill, late);
            notices.into_iter().map(|notice| (notice.uid.unwrap().0, notice.change)).collect::<Vec<_>>()
        };
        let stuck = ("1".to_owned(), Change::Stuck { since_term: STUCK_AFTER });
        assert_eq!(told("2"), [stuck.clone(), ("2".to_owned(), Change::DelayedByPredecessor)]);
        assert_eq!(told("1"), [stuck]);
    }

    #[test]
    fn a_condition_that_could_not_be_published_is_not_known_and_tried_again_later() {
        let now = Instant::now();
        let (mut captures, mut desired) = (Captures::default(), Desired::default());
        let stem = Stem::of(&pod("1").name);
        desired.observe(WatchEvent::Applied(pod("1")), now);
        captures.open(&stem, PodUid("1".into()));
        let notice = captures.condition_notice(&stem, Some(Condition::Waiting)).unwrap();
        let later = now + Duration::from_secs(30);
        published(&mut captures, &mut desired, &notice, Some(later));
        let capture = captures.get(&stem).unwrap();
        assert_eq!((&capture.notified, capture.notify_after), (&None, Some(later)));
        published(&mut captures, &mut desired, &notice, None);
        let capture = captures.get(&stem).unwrap();
        assert_eq!((&capture.notified, capture.notify_after), (&Some(Condition::Waiting), None));
        assert!(capture.waited_for_address && desired.request_of(&stem).unwrap().notified.is_some());
        // The next pod of the name has been told nothing.
        desired.observe(WatchEvent::Applied(pod("2")), now);
        published(&mut captures, &mut desired, &notice, None);
        assert_eq!(desired.request_of(&stem).unwrap().notified, None);
    }
}
