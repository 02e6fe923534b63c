//! The lines that `get` and `follow` write to standard error: notes and warnings for people, and JSON for programs.

use std::time::Duration;

use serde::Serialize;

use crate::{
    core::{condition::State, name::PodName},
    reading::warning::Warning,
    text::format::{counted, number},
};

/// How much of a reason is shown, in characters. It comes from a file.
const REASON_CHARS_MAX: usize = 2000;

/// The numbers of packets and bytes that a copy ends with.
#[must_use]
pub fn copied(packets: u64, bytes: u64) -> String {
    format!("{}, {}", counted(packets, "packet", "packets"), counted(bytes, "byte", "bytes"))
}

/// A value as one line of JSON in printable ASCII: it may reach a terminal, and a pod's owner may have written parts of it.
pub fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|error| panic!("a value without JSON: {error}"));
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && c != '\x7f' {
            line.push(c);
        } else {
            // Outside of its strings, JSON is ASCII.
            line.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    line
}

/// How a capture stands, in the words of `status`.
#[must_use]
pub fn condition(pod: &PodName, state: State, reason: Option<&str>) -> String {
    let mut text = format!("capture of {pod}: {}", state.name());
    if let Some(reason) = reason {
        // A pod's owner may have written there what steers a terminal.
        let plain =
            |c: char| if c.is_ascii_graphic() || c == ' ' { c.to_string() } else { c.escape_default().to_string() };
        text.push_str(": ");
        text.extend(reason.chars().take(REASON_CHARS_MAX).map(plain));
    }
    text
}

/// A capture runs, and has no packet.
#[must_use]
pub fn empty(pod: &PodName) -> String {
    format!("{}: its files hold no packet yet", condition(pod, State::Capturing, None))
}

/// A capture has lost its entry in the state file.
#[must_use]
pub fn gone(pod: &PodName) -> String {
    format!("capture of {pod}: ended: its annotation was removed, or its pod is gone")
}

/// Nothing tells when the reader of `follow` goes.
#[must_use]
pub fn no_standard_input(time: Duration) -> String {
    format!(
        "standard input is closed, so nothing tells when the reader goes: this copy ends after {} s; hint: `kubectl exec -i` lets it continue",
        time.as_secs()
    )
}

/// A warning as a sentence.
#[must_use]
pub fn warning(warning: &Warning) -> String {
    let files = |files: &usize| counted(number(*files), "file was", "files were");
    let all = "all copies of each packet are shown, as with --all";
    match warning {
        Warning::Overwritten { files: n } => format!(
            "{} overwritten by tcpdump before all packets were read; hint: more files (or a filter) keep packets longer",
            files(n)
        ),
        Warning::Removed { files: n } => format!("{} deleted before all packets were read", files(n)),
        Warning::Damaged { files: n, bytes, file, offset } => format!(
            "{} cut off within a packet or damaged; all packets before that were copied; {} not copied, {}from byte {offset} of {file} on",
            files(n),
            counted(*bytes, "byte was", "bytes were"),
            if *n == 1 { "" } else { "the last of them " }
        ),
        Warning::Foreign { files: n } => format!(
            "{} skipped: {} of the capture's link type",
            files(n),
            if *n == 1 { "it is not a pcap file" } else { "they are not pcap files" }
        ),
        Warning::Unreadable { files: n } => {
            format!("{} skipped: {} cannot be read", files(n), if *n == 1 { "it" } else { "they" })
        }
        Warning::EndsWithinPacket => "the newest file ends within a packet, which was not copied: tcpdump is still writing it, or the file is damaged".to_owned(),
        Warning::AddressesUnknown { reason } => format!("the pod's addresses are not known ({reason}): {all}"),
        Warning::InterfaceUnknown => format!("the pod's own interface is not known: {all}"),
        Warning::InterfaceBypassed { packets } => format!(
            "{} of the pod bypassed the interface that seems to be its own: {all}",
            counted(*packets, "packet", "packets")
        ),
        Warning::InterfaceNotNamed { link_type } => {
            format!("packets of link type {link_type} do not name their interface: {all}")
        }
        Warning::NodeRestarted => format!(
            "some packets are from before the node was restarted, when its interfaces had other numbers: {all}"
        ),
        Warning::SeenElsewhere { packets } => format!(
            "at least {} seen only on other interfaces: dropped before the pod, or routed around its interface; --all shows them",
            counted(*packets, "packet was", "packets were")
        ),
    }
}
