//! What is asked of tcpdump: what a pod's annotations ask, where the pod can be captured, and what tcpdump says at its end. Pure.

use std::{net::IpAddr, time::Duration};

use crate::core::refusal::Refusal;

/// What tcpdump is asked for: a change of it needs another tcpdump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSpec {
    /// How many files of 1,000,000 bytes the ring has (`-C 1 -W`).
    pub files: u16,
    /// Which of the pod's packets, in the words of pcap-filter(7) that [`filter::check`](crate::core::filter::check) lets through.
    pub filter: Option<String>,
    /// After how many packets it ends, each counted as often as tcpdump sees it (`-c`).
    pub packets: Option<u32>,
    /// How much of each packet is kept, in bytes, not counting what the link type puts before it.
    pub snaplen: Option<u32>,
}

/// A capture that can be carried out: what the annotations asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What tcpdump is asked for.
    pub spec: CaptureSpec,
    /// After how long it ends, counted from its beginning; whole seconds.
    pub duration: Option<Duration>,
    /// No tcpdump for the time being.
    pub paused: bool,
}

/// What a pod's annotations ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// No capture.
    None,
    /// This capture.
    Valid(Request),
    /// Something that cannot be read.
    Invalid(Refusal),
}

/// Where a pod is, as far as a capture is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// It has no IP address yet, or for the moment.
    NoAddress,
    /// At these addresses, sorted: one, or two with dual stack.
    At(Vec<IpAddr>),
    /// Where a capture would see other pods' packets.
    Forbidden(Refusal),
    /// It has finished, and its addresses may be another pod's at any moment.
    Finished,
}

/// How a tcpdump ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// With exit code 0.
    pub in_order: bool,
    /// In words: `exited 1`, `was ended by signal 9`.
    pub how: String,
    /// The last thing it said, its counts aside; empty if it said nothing.
    pub last_line: String,
    /// What libpcap said when the kernel did not take the filter: every packet of the node came.
    pub unfiltered: Option<String>,
    /// What it counted, if it came to say so.
    pub counts: Option<Counts>,
}

/// What tcpdump counts, and says when it ends in good order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Copies of packets written, or meant to be: one for each interface that a packet passes.
    pub captured: u64,
    /// Copies that the kernel lost for want of buffer.
    pub dropped: u64,
}

/// What a tcpdump is started for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What was asked.
    pub spec: CaptureSpec,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
}

impl Invocation {
    /// Which packets: those of the pod, and of these what the filter matches.
    #[must_use]
    pub fn expression(&self) -> String {
        let hosts = self.ips.iter().map(|ip| format!("host {ip}")).collect::<Vec<_>>().join(" or ");
        match &self.spec.filter {
            Some(filter) => format!("({hosts}) and ({filter})"),
            None => hosts,
        }
    }
}
