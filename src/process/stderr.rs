//! The standard error of a tcpdump: read without waiting, and parsed for counts, the last line and kernel-filter warnings.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, PipeReader, PipeWriter, Read},
};

use rustix::fs::{OFlags, fcntl_setfl};

use crate::core::request::Counts;

/// How much of the text is kept, in bytes: enough for tcpdump's last lines, too little to matter.
const BYTES_MAX: usize = 4096;

/// How much is read in one call, in bytes: as much as a pipe holds. So a tcpdump that floods standard error delays nobody.
const BYTES_PER_TURN: usize = 65_536;

/// The reading end of a tcpdump's standard error, and the end of the text so far.
#[derive(Debug)]
pub struct Stderr {
    pipe: PipeReader,
    kept: VecDeque<u8>,
    unfiltered: Option<String>,
}

impl Stderr {
    /// A new pipe: the reading end, and the writing end for the process.
    ///
    /// # Errors
    /// If the kernel makes no more pipes.
    pub fn pipe() -> io::Result<(Self, PipeWriter)> {
        let (pipe, end) = io::pipe()?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok((Self { pipe, kept: VecDeque::new(), unfiltered: None }, end))
    }

    /// Reads what the process has written so far.
    pub fn read(&mut self) {
        let unfiltered = &mut self.unfiltered;
        read_available(&mut self.pipe, &mut self.kept, |kept| {
            if unfiltered.is_none() {
                *unfiltered = not_filtered_by_kernel(&String::from_utf8_lossy(kept));
            }
        });
    }

    /// Why the kernel does not filter for this tcpdump, if tcpdump has warned so: every packet of the node is then copied to tcpdump.
    pub fn unfiltered(&self) -> Option<&str> {
        self.unfiltered.as_deref()
    }

    /// All that is kept of what was read.
    #[must_use]
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.kept.make_contiguous()).into_owned()
    }
}

/// Reads what is available into `kept`. Calls `look` with the kept text after each piece, so that later text cannot push an unseen
/// line out.
fn read_available(from: &mut impl Read, kept: &mut VecDeque<u8>, mut look: impl FnMut(&[u8])) {
    let mut buffer = [0; 4096];
    for _ in 0..BYTES_PER_TURN / buffer.len() {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(bytes) => kept.extend(&buffer[..bytes]),
        }
        look(kept.make_contiguous());
        let surplus = kept.len().saturating_sub(BYTES_MAX);
        kept.drain(..surplus);
    }
}

/// The last line of tcpdump's text, without its counts and without the lines that it writes at every start. Empty if there is none.
pub fn last_line(said: &str) -> String {
    let usual = |line: &str| {
        count(line).is_some()
            || ["listening on ", "WARNING: ", "Warning: ", "data link type "].iter().any(|usual| line.contains(usual))
    };
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !usual(line));
    let line = lines.next_back().unwrap_or_default();
    line.strip_prefix("tcpdump: ").unwrap_or(line).to_owned()
}

/// The beginnings of libpcap's warnings that the kernel did not accept the filter (pcap-linux.c, `pcap_setfilter_linux`). tcpdump then
/// goes on and filters in its own process.
const NOT_IN_KERNEL: [&str; 3] = [
    "Warning: Couldn't allocate kernel memory for filter",
    "Warning: Kernel filter failed: ",
    "Warning: Filter too complex for kernel",
];

/// libpcap's warning that the kernel did not accept the filter, without libpcap's advice: the Event has advice of its own.
pub fn not_filtered_by_kernel(said: &str) -> Option<String> {
    let line = said.lines().find(|line| NOT_IN_KERNEL.iter().any(|warning| line.starts_with(warning)))?;
    let why = line.trim_start_matches("Warning: ").split(": try increasing ").next().unwrap_or_default();
    Some(why.trim().to_owned())
}

/// The counts that tcpdump writes at its end: `12 packets captured`, `14 packets received by filter`, `0 packets dropped by kernel`.
pub fn counts(said: &str) -> Option<Counts> {
    let counts: BTreeMap<&str, u64> = said.lines().filter_map(count).collect();
    let captured = *counts.get("captured")?;
    Some(Counts { captured, dropped: counts.get("dropped by kernel").copied().unwrap_or_default() })
}

fn count(line: &str) -> Option<(&str, u64)> {
    let (number, what) = line.split_once(" packet")?;
    Some((what.strip_prefix('s').unwrap_or(what).trim(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_and_the_counts_of_tcpdump_are_read() {
        let said = "tcpdump: WARNING: any: that device doesn't support promiscuous mode\n\
                    tcpdump: listening on any, link-type LINUX_SLL2 (Linux cooked v2), snapshot length 262144 bytes\n\
                    tcpdump: pcap_loop: The interface disappeared\n\
                    12 packets captured\n14 packets received by filter\n1 packet dropped by kernel\n";
        assert_eq!(counts(said), Some(Counts { captured: 12, dropped: 1 }));
        assert_eq!(last_line(said), "pcap_loop: The interface disappeared");
        assert_eq!(counts("1 packet captured\n"), Some(Counts { captured: 1, dropped: 0 }));
        assert_eq!(counts("tcpdump: eth9: No such device exists\n"), None);
        assert_eq!((last_line(""), counts("")), (String::new(), None));
        assert_eq!(last_line(said.split_once("tcpdump: pcap_loop").unwrap().0), "");
    }

    #[test]
    fn a_kernel_filter_warning_is_noticed_whatever_tcpdump_writes_after_it() {
        let warning = "Couldn't allocate kernel memory for filter";
        let said = "tcpdump: data link type LINUX_SLL2\nWarning: Couldn't allocate kernel memory for filter: try increasing \
                    net.core.optmem_max with sysctl\ntcpdump: listening on any\n";
        assert_eq!(not_filtered_by_kernel(said).as_deref(), Some(warning));
        assert_eq!(last_line(said), "");
        for (said, warning) in [
            ("Warning: Kernel filter failed: Invalid argument\n", Some("Kernel filter failed: Invalid argument")),
            ("Warning: Filter too complex for kernel\n", Some("Filter too complex for kernel")),
            ("tcpdump: WARNING: any: that device doesn't support promiscuous mode\n", None),
            ("", None),
        ] {
            assert_eq!(not_filtered_by_kernel(said).as_deref(), warning);
        }
        let (mut stderr, mut end) = Stderr::pipe().unwrap();
        let chatter = "0123456789\n".repeat(4 * BYTES_MAX / 11);
        io::Write::write_all(&mut end, format!("{said}{chatter}").as_bytes()).unwrap();
        drop(end);
        stderr.read();
        assert_eq!(stderr.unfiltered(), Some(warning));
        assert!(!stderr.text().contains("Warning"));
    }

    #[test]
    fn only_the_end_of_standard_error_is_kept() {
        let mut kept = VecDeque::new();
        let mut said: Vec<u8> = (0..100_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        said.truncate(BYTES_PER_TURN);
        read_available(&mut said.as_slice(), &mut kept, |_| ());
        assert_eq!(kept, &said[said.len() - BYTES_MAX..]);
    }
}
