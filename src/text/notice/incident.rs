//! The wording of incidents: what happened to the pod, and when.

use k8s_openapi::jiff::Timestamp;

use crate::{
    core::{
        name,
        recorder::{ContainerEnd, Incident, SeenIncident, StopOn},
    },
    text::format::{counted, number, quoted},
};

/// When a capture ends that is to stop on these incidents, as a phrase.
pub(super) fn awaited(stop_on: StopOn) -> Option<&'static str> {
    match stop_on {
        StopOn { restart: false, unready: false } => None,
        StopOn { restart: true, unready: false } => Some("on container restart or failure"),
        StopOn { restart: false, unready: true } => Some("when the pod becomes unready"),
        // Short, so that the longest Event still has room for it.
        StopOn { restart: true, unready: true } => Some("on container failure or unready"),
    }
}

/// What happened, when it happened, and when the controller saw it.
pub(super) fn described(seen: &SeenIncident) -> String {
    let SeenIncident { incident, seen, .. } = seen;
    let what = match incident {
        Incident::Restart { container, end, others } => {
            format!("{}{}", restart(container, end.as_ref()), more(*others))
        }
        Incident::Unready { since_s: Some(since_s) } => {
            format!("this pod is no longer Ready since {}", utc(*since_s))
        }
        Incident::Unready { since_s: None } => "this pod was not Ready for a time".to_owned(),
    };
    format!("{what}; seen at {}", utc(seen.unix_s))
}

/// What the files that are kept have to do with the incident, as the end of a phrase.
pub(super) fn what_is_kept(seen: &SeenIncident, files: usize) -> String {
    match (files, seen.was_captured) {
        (0, _) => String::new(),
        (_, true) => format!(", up to the last {files} MB of copies"),
        (_, false) => " from before that, since tcpdump did not run when it was seen".to_owned(),
    }
}

fn restart(container: &str, end: Option<&ContainerEnd>) -> String {
    let container = plain(container, name::is_dns_label);
    let Some(ContainerEnd { exit_code, reason, at_s }) = end else {
        return format!("container {container} of this pod was started again");
    };
    let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let reason = reason.as_ref().map(|reason| format!(" ({})", plain(reason, is_word))).unwrap_or_default();
    let at = at_s.map(|at_s| format!(" at {}", utc(at_s))).unwrap_or_default();
    let again = if *exit_code == 0 { " and was started again" } else { "" };
    format!("container {container} of this pod ended with {exit_code}{reason}{at}{again}")
}

fn more(others: usize) -> String {
    if others == 0 {
        return String::new();
    }
    format!(", and {} restarted or failed", counted(number(others), "more container", "more containers"))
}

/// A text as it stands, if it is of the expected form; otherwise in quotes.
fn plain(text: &str, is_expected: impl Fn(&str) -> bool) -> String {
    if is_expected(text) { text.to_owned() } else { quoted(text) }
}

/// A time in seconds since 1970, as the API server writes it.
fn utc(unix_s: u64) -> String {
    let time = i64::try_from(unix_s).ok().and_then(|unix_s| Timestamp::from_second(unix_s).ok());
    time.map_or("an unknown time".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::core::captures::Moment;

    fn said(incident: Incident) -> String {
        let seen = Moment { at: Instant::now(), unix_s: 1_800_000_001 };
        let said = described(&SeenIncident { incident, seen, was_captured: true });
        said.strip_suffix("; seen at 2027-01-15T08:00:01Z").unwrap().to_owned()
    }

    fn of_container(container: &str, end: Option<(i32, Option<&str>, Option<u64>)>, others: usize) -> String {
        let end =
            end.map(|(exit_code, reason, at_s)| ContainerEnd { exit_code, reason: reason.map(str::to_owned), at_s });
        said(Incident::Restart { container: container.to_owned(), end, others })
    }

    #[test]
    fn an_incident_says_which_container_ended_how_and_when() {
        let at = Some(1_800_000_000);
        assert_eq!(
            of_container("app", Some((137, Some("OOMKilled"), at)), 0),
            "container app of this pod ended with 137 (OOMKilled) at 2027-01-15T08:00:00Z"
        );
        assert_eq!(
            of_container("app", Some((0, Some("Completed"), at)), 1),
            "container app of this pod ended with 0 (Completed) at 2027-01-15T08:00:00Z and was started again, and 1 more container \
             restarted or failed"
        );
        assert_eq!(of_container("app", Some((1, None, None)), 0), "container app of this pod ended with 1");
        assert_eq!(
            of_container("app", None, 2),
            "container app of this pod was started again, and 2 more containers restarted or failed"
        );
        let since_s = at;
        assert_eq!(said(Incident::Unready { since_s }), "this pod is no longer Ready since 2027-01-15T08:00:00Z");
        assert_eq!(said(Incident::Unready { since_s: None }), "this pod was not Ready for a time");
    }

    #[test]
    fn an_incident_says_whether_the_files_are_of_the_time_before_it() {
        let kept = |was_captured, files| {
            let incident = Incident::Unready { since_s: None };
            let seen = Moment { at: Instant::now(), unix_s: 1_800_000_001 };
            what_is_kept(&SeenIncident { incident, seen, was_captured }, files)
        };
        assert_eq!(kept(true, 5), ", up to the last 5 MB of copies");
        assert_eq!(kept(false, 5), " from before that, since tcpdump did not run when it was seen");
        assert_eq!((kept(true, 0), kept(false, 0)), (String::new(), String::new()));
    }

    #[test]
    fn what_a_user_wrote_into_a_status_or_a_state_file_cannot_imitate_our_text() {
        let hostile = of_container("a of this pod", Some((1, Some("x) at \u{1b}[31m"), Some(u64::MAX))), 0);
        assert_eq!(
            hostile,
            r#"container "a of this pod" of this pod ended with 1 ("x) at \u{1b}[31m") at an unknown time"#
        );
    }
}
