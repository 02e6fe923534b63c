//! The wording of incidents: what happened to the pod, and when.

use k8s_openapi::jiff::Timestamp;

use crate::{
    core::{
        name,
        recorder::{ContainerEnd, Incident, SeenIncident, StopOn},
    },
    text::format::{counted, number, quoted},
};

/// When a capture ends that is to stop on these incidents.
pub(super) fn awaited(stop_on: StopOn) -> impl Iterator<Item = &'static str> {
    let restart = stop_on.restart.then_some("on restart");
    let unready = stop_on.unready.then_some("on unready");
    restart.into_iter().chain(unready)
}

/// What happened, when it happened, and when the controller saw it.
pub(super) fn seen(seen: &SeenIncident) -> String {
    let SeenIncident { incident, seen } = seen;
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
