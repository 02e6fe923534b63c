//! What a pod's annotations ask, where the pod can be captured, and what a tcpdump reports when it exits. Pure.

use std::{net::IpAddr, time::Duration};

use crate::core::{recorder::StopOn, refusal::Refusal};

/// The options of tcpdump. When one changes, tcpdump is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSpec {
    /// How many files of 1,000,000 bytes the ring has (`-C 1 -W`).
    pub files: u16,
    /// Which of the pod's packets, in the words of pcap-filter(7) that [`filter::check`](crate::core::filter::check) lets through.
    pub filter: Option<String>,
    /// The number of copies of packets after which the capture ends (`-c`).
    pub packets: Option<u32>,
    /// How many bytes of each packet are kept, not counting the link type's header.
    pub snaplen: Option<u32>,
}

/// A capture as the annotations ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The options of tcpdump.
    pub spec: CaptureSpec,
    /// The time from its start after which the capture ends; whole seconds.
    pub duration: Option<Duration>,
    /// The incidents that end the capture.
    pub stop_on: StopOn,
    /// The capture is paused: no tcpdump runs.
    pub paused: bool,
}

/// What a pod's annotations ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// No capture.
    None,
    /// This request.
    Valid(Request),
    /// An annotation that cannot be read.
    Invalid(Refusal),
}

/// Where a pod can be captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nowhere at present: the pod has no IP address.
    NoAddress,
    /// At these addresses, sorted: one, or two in a dual-stack cluster.
    At(Vec<IpAddr>),
    /// Nowhere: the capture would show packets that are not the pod's.
    Forbidden(Refusal),
    /// Nowhere: the pod has finished, and another pod may get its addresses at any moment.
    Finished,
}

/// How a tcpdump exited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Whether the exit code was 0.
    pub in_order: bool,
    /// A phrase: `exited 1`, `was ended by signal 9`.
    pub how: String,
    /// The last line that tcpdump wrote to standard error, apart from its counts; empty if there was none.
    pub last_line: String,
    /// What libpcap said, if the kernel did not accept the filter: then tcpdump got every packet of the node.
    pub unfiltered: Option<String>,
    /// What tcpdump counted; `None` if it ended before it reported that.
    pub counts: Option<Counts>,
}

/// What tcpdump counts, and reports when it is stopped by SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Copies of packets that tcpdump captured: one for each interface that a packet passes.
    pub captured: u64,
    /// Copies that the kernel dropped because its buffer was full.
    pub dropped: u64,
}

/// A start of tcpdump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// The options of tcpdump.
    pub spec: CaptureSpec,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
}

impl Invocation {
    /// The filter expression that tcpdump gets: the pod's addresses, and the filter if there is one.
    #[must_use]
    pub fn expression(&self) -> String {
        let hosts = self.ips.iter().map(|ip| format!("host {ip}")).collect::<Vec<_>>().join(" or ");
        match &self.spec.filter {
            Some(filter) => format!("({hosts}) and ({filter})"),
            None => hosts,
        }
    }
}
