//! What an action of the planner means for the books, at the moment it is carried out, and what comes of a notice. Pure: the caller
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
        Action::Finish(by) => captures.finish(stem, by, disk),
        Action::Retain => {
            captures.retain(stem, now);
            None
        }
        Action::MarkForRemoval => {
            captures.mark_for_removal(stem);
            None
        }
        Action::Notify(condition) => captures.condition(stem, condition),
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
            if let Some(condition) = condition {
                desired.notified(&notice.stem, condition);
            }
            if has_capture {
                captures.notified(&notice.stem, condition.clone());
            }
        }
    }
}
