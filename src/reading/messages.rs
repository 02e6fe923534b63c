//! What the verbs say on standard error: what could not be read, and how much there was.

use super::{dedup::PodInterface, ring_reader::Losses};
use crate::{
    core::{condition::State, name::PodName},
    text::format::{counted, number},
};

/// How much of a reason is shown, in characters. It comes from a file.
const REASON_CHARS_MAX: usize = 2000;

/// What a copy ends with, word for word: `kubectl packet-capture get` compares it with what has arrived.
#[must_use]
pub fn copied(packets: u64, bytes: u64) -> String {
    format!("{}, {}", counted(packets, "packet", "packets"), counted(bytes, "byte", "bytes"))
}

/// How a capture is getting on, in the words of `status`.
#[must_use]
pub fn condition(pod: &PodName, state: State, reason: Option<&str>) -> String {
    let mut text = format!("capture of {pod}: {}", state.name());
    if let Some(reason) = reason {
        // What somebody wrote there must not reach a terminal.
        let plain =
            |c: char| if c.is_ascii_graphic() || c == ' ' { c.to_string() } else { c.escape_default().to_string() };
        text.push_str(": ");
        text.extend(reason.chars().take(REASON_CHARS_MAX).map(plain));
    }
    text
}

/// A capture runs, and has nothing.
#[must_use]
pub fn empty(pod: &PodName) -> String {
    format!("{}: its files hold no packet yet", condition(pod, State::Capturing, None))
}

/// A capture is no more.
#[must_use]
pub fn gone(pod: &PodName) -> String {
    format!("capture of {pod}: over: its annotation or its pod is gone")
}

/// What was read came from nobody knows how many clients.
#[must_use]
pub fn alone(seconds: u64) -> String {
    format!(
        "standard input is closed, so nothing can tell when the one who reads this goes: it ends after {seconds} s; hint: `kubectl exec \
         -i` goes on"
    )
}

/// What could not be read: a sentence for each kind.
pub fn losses(losses: &Losses) -> impl Iterator<Item = String> {
    let Losses { overwritten, removed, broken, broken_bytes, broken_at, foreign, unreadable } = losses;
    let place = match broken_at {
        Some((name, place)) if *broken == 1 => format!("from byte {place} of {name} on"),
        Some((name, place)) => format!("the last of them from byte {place} of {name} on"),
        None => "at the end".to_owned(),
    };
    let lost = counted(*broken_bytes, "byte is", "bytes are");
    let told = [
        (
            *overwritten,
            "overwritten by tcpdump before all of it was read: a ring of more files, or a filter, keeps packets longer"
                .to_owned(),
        ),
        (*removed, "removed before all of it was read".to_owned()),
        (*broken, format!("cut off within a packet or damaged; all before that is there; {lost} not copied, {place}")),
        (*foreign, "skipped: no pcap file of the same kind as the others".to_owned()),
        (*unreadable, "skipped: it cannot be read".to_owned()),
    ];
    let told = told.into_iter().filter(|(files, _)| *files > 0);
    told.map(|(files, what)| format!("{} {what}", counted(number(files), "file was", "files were")))
}

/// Why each packet is shown as often as tcpdump saw it; `None` if there is no reason to.
#[must_use]
pub fn shows_all(own: &PodInterface) -> Option<String> {
    let why = match own {
        PodInterface::On(_) | PodInterface::Unseen => return None,
        PodInterface::Unknown => "it cannot be told which interface is the pod's own".to_owned(),
        PodInterface::Bypassed(packets) => format!(
            "{} of the pod did not pass the interface that seems to be its own",
            counted(*packets, "packet", "packets")
        ),
    };
    Some(format!("{why}: packets are shown as often as tcpdump saw them, once for each interface (as with --all)"))
}

/// So many packets are not shown, and why that may be.
#[must_use]
pub fn missed(packets: u64) -> String {
    format!(
        "at least {} seen on other interfaces, and none like them on the pod's own: dropped on the way, or led past it; --all shows them",
        counted(packets, "packet was", "packets were")
    )
}

/// The newest file ends within a packet, and it is not known whether a tcpdump still writes it.
#[must_use]
pub fn maybe_torn() -> String {
    "the newest file ends within a packet, which is not copied: a tcpdump may be writing it, or the file is damaged"
        .to_owned()
}

/// It is not known whose the packets are.
#[must_use]
pub fn no_addresses(why: &str) -> String {
    format!("the pod's addresses are not known ({why}): packets are shown as often as tcpdump saw them, as with --all")
}

/// Some packets are from before the node was restarted.
#[must_use]
pub fn restarted() -> String {
    "some packets are from before the node was restarted, when its interfaces had other numbers: packets are shown as often as tcpdump \
     saw them, as with --all"
        .to_owned()
}

/// The pod's own interface was told at last.
#[must_use]
pub fn shows_once_now() -> String {
    "the pod's own interface is known now: from here on each packet is shown once".to_owned()
}

/// The packets say nothing of interfaces.
#[must_use]
pub fn no_interfaces(link_type: u32) -> String {
    format!("packets of link type {link_type} do not tell their interface: all are shown, as with --all")
}
