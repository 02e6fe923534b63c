//! What people are told: the wording of Events and log lines. Each names what happened, with what, what to do, and what was kept.
//!
//! Text that a user wrote is quoted, escaped to ASCII and cut, so that it cannot pass for ours or break a terminal.

use std::{fmt::Write, net::IpAddr, path::Path, time::Duration};

use crate::{
    capture::{Counts, PodName, Refusal, Stem, Uid},
    slots::{Ended, Run, Slot, Standing, Why},
    tcpdump::Exit,
};

/// How much of a user's text is shown, in characters.
const QUOTED_CHARS_MAX: usize = 60;

const LIFE_OF_FILES: &str = "the files live as long as this DaemonSet's pod: they survive a restart of its container, but not an \
                             upgrade, an eviction or an uninstall";

/// Something that a pod's owner is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The pod's namespace and name.
    pub pod: PodName,
    /// Its UID.
    pub uid: Uid,
    /// What kind of news it is.
    pub reason: Reason,
    /// The news.
    pub text: String,
}

/// The kinds of news, as an Event's `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// tcpdump runs.
    Started,
    /// It was stopped.
    Stopped,
    /// It was stopped for good, because the pod has finished.
    Finished,
    /// It ended by itself, or could not be started.
    Failed,
    /// What was asked is not done.
    Refused,
    /// What is asked can be done again, after it could not.
    Accepted,
    /// The capture waits for the pod's address.
    Waiting,
    /// There was nothing left to capture.
    Missed,
    /// tcpdump does not end, or the files cannot be removed.
    Stuck,
}

impl Reason {
    /// The Event's `reason`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "CaptureStarted",
            Self::Stopped => "CaptureStopped",
            Self::Finished => "CaptureFinished",
            Self::Failed => "CaptureFailed",
            Self::Refused => "CaptureRefused",
            Self::Accepted => "CaptureAccepted",
            Self::Waiting => "CaptureWaiting",
            Self::Missed => "CaptureMissed",
            Self::Stuck => "CaptureStuck",
        }
    }

    /// Whether someone must look.
    #[must_use]
    pub fn is_warning(self) -> bool {
        match self {
            Self::Failed | Self::Refused | Self::Missed | Self::Stuck => true,
            Self::Started | Self::Stopped | Self::Finished | Self::Accepted | Self::Waiting => false,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Started => "capture started",
            Self::Stopped => "capture stopped",
            Self::Finished => "capture finished",
            Self::Failed => "capture failed",
            Self::Refused => "capture refused",
            Self::Accepted => "capture accepted",
            Self::Waiting => "capture waiting",
            Self::Missed => "capture missed",
            Self::Stuck => "capture stuck",
        }
    }
}

impl Note {
    /// A note to the owner of a slot's pod; `None` where that is not known, or gone.
    #[must_use]
    pub fn to_owner(stem: &Stem, slot: &Slot, reason: Reason, text: String) -> Option<Self> {
        Some(Self { pod: stem.pod(), uid: slot.owner.clone()?, reason, text })
    }

    /// Writes it to the log.
    pub fn log(&self) {
        let level = if self.reason.is_warning() { log::Level::Warn } else { log::Level::Info };
        let Self { pod, uid, reason, text } = self;
        log::log!(level, "{} pod={pod} uid={uid} note={text:?}", reason.sentence());
    }
}

/// tcpdump runs, and found so many files of before.
#[must_use]
pub fn started(run: &Run, node: &str, path: &Path, kept: usize) -> String {
    let files = run.request.files;
    let mut text = format!(
        "tcpdump captures {} into {}* of the packet-capture pod on node {node}, {}",
        hosts(&run.ips),
        path.display(),
        counted(files.into(), "file of 1 MB", "files of 1 MB"),
    );
    if kept > 0 {
        let _ = write!(text, "; kept: {}", counted(kept.try_into().unwrap_or(u64::MAX), "older file", "older files"));
    }
    if files == 1 {
        text.push_str(
            "; a single file is emptied whenever it is full: ask for 2 or more to keep the packets before that",
        );
    }
    text
}

/// tcpdump was stopped as it was asked to, and the files stay.
#[must_use]
pub fn stopped(why: Why, slot: &Slot, kept: usize) -> (Reason, String) {
    let (reason, because, next) = match why {
        Why::Gone => (Reason::Stopped, "the annotation or the pod is gone", "the files are removed next"),
        Why::Changed => (Reason::Stopped, "the annotations changed", "goes on at once with the new ones"),
        Why::Moved => (Reason::Stopped, "the pod's addresses changed", "goes on at once at the new ones"),
        Why::NoAddress => (Reason::Stopped, "the pod has no address", "goes on when it has one"),
        Why::Forbidden => (Reason::Stopped, "the pod's address is not its own", "goes on when that changes"),
        Why::NothingReadable => (Reason::Stopped, "no annotation can be read", "goes on when that changes"),
        Why::Finished => {
            (Reason::Finished, "the pod has finished", "the files stay until the annotation or the pod goes")
        }
        Why::Stale => {
            let because = "no word from the API server: the pod's address may be another's by now";
            (Reason::Stopped, because, "goes on when it answers again")
        }
        Why::Shutdown => (Reason::Stopped, "packet-capture is shutting down", LIFE_OF_FILES),
    };
    (reason, format!("{because}; {}; kept: {}; {next}", packets(slot), files_counted(kept)))
}

/// The capture's end, now that its files are gone.
#[must_use]
pub fn removed(slot: &Slot, files: usize) -> String {
    format!("the annotation or the pod is gone; {}; {} deleted", packets(slot), files_counted(files))
}

/// tcpdump ended by itself.
#[must_use]
pub fn failed(exit: &Exit, ran: Duration, ended: Ended, kept: usize) -> String {
    let said = if exit.last_line.is_empty() { String::new() } else { format!(": {}", quoted(&exit.last_line)) };
    let how = format!("tcpdump {} after {:.1} s{said}", exit.how(), ran.as_secs_f64());
    retried(&how, ended, kept)
}

/// tcpdump could not be started.
#[must_use]
pub fn not_started(error: &str, ended: Ended, kept: usize) -> String {
    retried(error, ended, kept)
}

fn retried(what: &str, ended: Ended, kept: usize) -> String {
    let next = match ended {
        Ended::Failed { failures, retry_in } => {
            format!("trying again in {} s (failure {failures})", retry_in.as_secs())
        }
        Ended::Stopped(_) => "not tried again".to_owned(),
    };
    format!("{what}; {next}; kept: {}", files_counted(kept))
}

/// How things stand, and what is kept meanwhile: the running capture's number of files, or the files that there are.
#[must_use]
pub fn standing(standing: &Standing, running: Option<u16>, kept: usize) -> (Reason, String) {
    let kept = match (running, kept) {
        (Some(files), _) => format!("kept: the capture with {}", files_counted(files.into())),
        (None, 0) => "nothing is captured".to_owned(),
        (None, kept) => format!("nothing is captured; kept: {}", files_counted(kept)),
    };
    match standing {
        Standing::Refused(refusal) => (Reason::Refused, format!("{}; {kept}", refused(refusal))),
        Standing::Waiting => (Reason::Waiting, "the capture begins as soon as the pod has an IP address".to_owned()),
        Standing::Missed => (Reason::Missed, format!("the pod finished before its packets could be captured; {kept}")),
    }
}

fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::FileCount { value, max } => format!(
            "annotation tcpdump.antrea.io={} is not a number of files from 1 to {max}, written in digits without a leading zero, such as \"5\"",
            quoted(value)
        ),
        Refusal::UnknownKey { key } => {
            format!(
                "annotation {} is not known, and might have been meant to narrow the capture; remove it",
                quoted(key)
            )
        }
        Refusal::HostNetwork => {
            "the pod uses the node's network: its capture would show the whole node's packets; an operator \
                                 can allow that by namespace (HOST_NETWORK_NAMESPACES)"
                .to_owned()
        }
        Refusal::ForeignAddress { address, what } => {
            format!(
                "the pod's address {} is {what}: its capture would show other packets than the pod's",
                quoted(address)
            )
        }
        Refusal::NameTooLong { bytes, max } => {
            format!("the pod's name and namespace make a file name of {bytes} bytes, and the file system takes {max}")
        }
    }
}

/// How many captures go on.
#[must_use]
pub fn captures(running: usize) -> String {
    counted(running.try_into().unwrap_or(u64::MAX), "running capture", "running captures")
}

/// What is asked is no longer refused, and this is the running capture's number of files.
#[must_use]
pub fn accepted(running: Option<u16>) -> String {
    match running {
        Some(files) => {
            format!("the annotations are accepted again; the capture with {} goes on", files_counted(files.into()))
        }
        None => "the annotations are accepted again".to_owned(),
    }
}

/// A pod's capture waits for a tcpdump that does not end.
#[must_use]
pub fn delayed() -> String {
    "the tcpdump of an earlier pod of this name has not ended; the capture begins when it has".to_owned()
}

/// tcpdump does not end.
#[must_use]
pub fn stuck(stuck: Duration) -> String {
    let stuck_s = stuck.as_secs();
    format!("tcpdump has not ended {stuck_s} s after it was asked to, and takes no KILL; its files stay until it has")
}

/// The files could not be removed.
#[must_use]
pub fn not_removed(error: &str, failures: u32) -> String {
    format!("cannot delete the files: {error}; trying again (failure {failures})")
}

fn hosts(ips: &[IpAddr]) -> String {
    ips.iter().map(|ip| format!("host {ip}")).collect::<Vec<_>>().join(" or ")
}

fn packets(slot: &Slot) -> String {
    let Counts { captured, dropped } = slot.counts;
    let mut text =
        format!("{}, {dropped} dropped by the kernel", counted(captured, "packet captured", "packets captured"));
    if slot.uncounted > 0 {
        let killed = counted(slot.uncounted.into(), "tcpdump that could not say", "tcpdumps that could not say");
        let _ = write!(text, ", not counting those of {killed}");
    }
    text
}

fn files_counted(files: usize) -> String {
    counted(files.try_into().unwrap_or(u64::MAX), "file", "files")
}

fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A user's text as it may be shown: in quotes, in ASCII, and not all of it if it is long.
#[must_use]
pub fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_default).collect();
    let cut = if text.chars().nth(QUOTED_CHARS_MAX).is_some() { "..." } else { "" };
    format!("\"{shown}{cut}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_text_is_quoted_escaped_and_cut() {
        assert_eq!(quoted("x5"), r#""x5""#);
        assert_eq!(quoted("a\"b\n\u{1b}[31m−５"), r#""a\"b\n\u{1b}[31m\u{2212}\u{ff15}""#);
        let long = quoted(&"\u{2212}".repeat(300_000));
        assert!(long.len() < QUOTED_CHARS_MAX * 10 && long.ends_with("...\""), "{long}");
    }

    #[test]
    fn a_refusal_says_what_was_wrong_what_is_allowed_and_what_was_kept() {
        let refusal = Standing::Refused(Refusal::FileCount { value: "x5".into(), max: 100 });
        assert_eq!(
            standing(&refusal, Some(5), 3),
            (
                Reason::Refused,
                "annotation tcpdump.antrea.io=\"x5\" is not a number of files from 1 to 100, written in digits without a \
                 leading zero, such as \"5\"; kept: the capture with 5 files"
                    .to_owned()
            )
        );
        assert!(standing(&refusal, None, 0).1.ends_with("; nothing is captured"));
        assert!(standing(&refusal, None, 1).1.ends_with("; nothing is captured; kept: 1 file"));
    }
}
