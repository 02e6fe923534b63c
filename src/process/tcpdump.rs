//! The tcpdump processes that capture: their command line, their start, their signals, their end.
//!
//! Nothing here waits: the reap is `try_wait`, never `wait`, and standard error is read only as far as it has come.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::Path,
    process::ExitStatus,
};

use rustix::process::Signal;

use crate::{
    core::{
        annotations::SNAPLEN_MAX,
        name::PodUid,
        request::{Exit, Invocation},
    },
    process::{
        child::{self, Child},
        compiler::Compiler,
        stderr,
    },
};

/// The header that link type LINUX_SLL2 puts before each packet, in bytes. tcpdump's `-s` counts it.
const SLL2_HEADER_BYTES: u32 = 20;

/// The header of LINUX_SLL, which `-y` may ask for, in bytes.
const SLL_HEADER_BYTES: u32 = 16;

/// The tcpdumps of this node, by the pod that they capture.
#[derive(Debug)]
pub struct Tcpdumps {
    children: HashMap<PodUid, Child>,
    options: Vec<String>,
    stdin: OwnedFd,
}

impl Tcpdumps {
    /// No tcpdump yet. Each will be started with `options`, and holds `stdin` for as long as it lives.
    #[must_use]
    pub fn new(options: &str, stdin: OwnedFd) -> Self {
        let options = options.split_whitespace().map(str::to_owned).collect();
        Self { children: HashMap::new(), options, stdin }
    }

    /// Starts tcpdump for a pod, with files that begin with `path`. Returns its process ID, for the log. Waits until the program is
    /// executed.
    ///
    /// # Errors
    /// If the pod has one already, or it could not be started. Then there is none.
    pub fn start(&mut self, uid: &PodUid, run: &Invocation, path: &Path) -> io::Result<u32> {
        if self.children.contains_key(uid) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the pod has a tcpdump already"));
        }
        let mut tcpdump = child::tcpdump();
        tcpdump.args(arguments(&self.options, run, path)).stdin(self.stdin.try_clone()?);
        let child = Child::spawn(tcpdump)?;
        let pid = child.id();
        self.children.insert(uid.clone(), child);
        Ok(pid)
    }

    /// Asks a tcpdump to end, with whole packets in its files. CONT follows, since a process that is stopped takes TERM only when it
    /// goes on.
    pub fn term(&self, uid: &PodUid) {
        self.signal(uid, &[Signal::TERM, Signal::CONT]);
    }

    /// Ends a tcpdump.
    pub fn kill(&self, uid: &PodUid) {
        self.signal(uid, &[Signal::KILL]);
    }

    /// Reads what the tcpdumps have said, so that none of them waits for a reader, and reaps those that have ended.
    ///
    /// A tcpdump whose filter the kernel did not take is ended at once: every packet of the node is copied to it. It was started with a
    /// filter that fitted, so this is for what has changed since: the pod's addresses, or the kernel's settings.
    pub fn reap(&mut self) -> Vec<(PodUid, Exit)> {
        let mut exits = Vec::new();
        self.children.retain(|uid, child| {
            let status = child.try_reap();
            let unfiltered = child.stderr.unfiltered().map(str::to_owned);
            let Some(status) = status else {
                if unfiltered.is_some() {
                    child.signal(&[Signal::KILL]);
                }
                return true;
            };
            let said = child.stderr.text();
            let (last_line, counts) = (stderr::last_line(&said), stderr::counts(&said));
            let exit = Exit { in_order: status.success(), how: how(status), last_line, unfiltered, counts };
            exits.push((uid.clone(), exit));
            false
        });
        exits
    }

    /// Reaps the children of others whose parent is gone.
    pub fn reap_orphans(&self, compiler: &Compiler) {
        child::reap_orphans(self.children.values().chain(compiler.child()));
    }

    /// The number of tcpdumps that have not been reaped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether all tcpdumps have been reaped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Ends all tcpdumps.
    pub fn kill_all(&self) {
        self.children.keys().for_each(|uid| self.kill(uid));
    }

    fn signal(&self, uid: &PodUid, signals: &[Signal]) {
        self.children.get(uid).into_iter().for_each(|child| child.signal(signals));
    }
}

/// The command line behind `tcpdump`. A user's filter goes last and behind `--`, in one argument: no part of it is read as an option.
fn arguments(options: &[String], run: &Invocation, path: &Path) -> Vec<OsString> {
    let Invocation { spec, .. } = run;
    let fixed = ["-i", "any", "-C", "1", "-W"].map(OsString::from);
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).chain(fixed).collect();
    arguments.push(spec.files.to_string().into());
    let snaplen = spec.snaplen.map(|bytes| snaplen(options, bytes));
    for (option, number) in [("-s", snaplen), ("-c", spec.packets)] {
        arguments.extend(number.iter().flat_map(|number| [option.into(), number.to_string().into()]));
    }
    arguments.extend(["-w".into(), path.into()]);
    let expression = run.expression();
    match spec.filter {
        Some(_) => arguments.extend(["--".into(), expression.into()]),
        None => arguments.extend(expression.split(' ').map(OsString::from)),
    }
    arguments
}

/// The value of `-s` with which this many bytes of each *packet* are kept, at most the highest that libpcap takes: a packet is longer
/// than that only where a device puts some 256 KiB together.
fn snaplen(options: &[String], bytes: u32) -> u32 {
    let link_type = options.iter().skip_while(|option| *option != "-y").nth(1);
    let header = match link_type {
        Some(name) if name.eq_ignore_ascii_case("LINUX_SLL") => SLL_HEADER_BYTES,
        Some(_) | None => SLL2_HEADER_BYTES,
    };
    bytes.saturating_add(header).min(SNAPLEN_MAX)
}

/// How a process ended, in words: `exited 1`, `was ended by signal 9`.
fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::request::CaptureSpec;

    const BARE: &str = "-i any -C 1 -W 5 -w /captures/captres-web.pcap host 10.0.0.1";

    fn arguments_for(options: &str, ips: &[&str], spec: CaptureSpec) -> Vec<String> {
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        let run = Invocation { spec, ips: ips.iter().map(|ip| ip.parse().unwrap()).collect() };
        let arguments = arguments(&options, &run, Path::new("/captures/captres-web.pcap"));
        arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect()
    }

    #[test]
    fn the_command_line_of_a_capture_is_the_promised_one() {
        let plain = CaptureSpec { files: 5, filter: None, packets: None, snaplen: None };
        let arguments = |options, ips: &[&str]| arguments_for(options, ips, plain.clone());
        assert_eq!(arguments("", &["10.0.0.1"]), BARE.split(' ').collect::<Vec<_>>());
        assert_eq!(arguments(" -U  -B 16384 ", &["10.0.0.1"]).join(" "), format!("-U -B 16384 {BARE}"));
        assert_eq!(arguments("", &["10.0.0.1", "fd00::1"]).join(" "), format!("{BARE} or host fd00::1"));
    }

    #[test]
    fn a_filter_is_the_last_argument_behind_the_options_and_in_brackets_of_its_own() {
        let filter = Some("tcp port 80 or -w".to_owned());
        let spec = CaptureSpec { files: 5, filter, packets: Some(9), snaplen: Some(100) };
        let arguments = arguments_for("", &["10.0.0.1", "fd00::1"], spec);
        let options = "-i any -C 1 -W 5 -s 120 -c 9 -w /captures/captres-web.pcap --";
        let (last, before) = arguments.split_last().unwrap();
        assert_eq!(before.join(" "), options);
        assert_eq!(last, "(host 10.0.0.1 or host fd00::1) and (tcp port 80 or -w)");
    }

    #[test]
    fn the_bytes_of_a_packet_are_counted_without_the_header_of_the_link_type() {
        let snaplen = |options: &str, bytes| {
            let spec = CaptureSpec { files: 1, filter: None, packets: None, snaplen: Some(bytes) };
            let arguments = arguments_for(options, &["10.0.0.1"], spec);
            arguments.iter().skip_while(|argument| *argument != "-s").nth(1).unwrap().parse::<u32>().unwrap()
        };
        assert_eq!(snaplen("-U -B 16384", 100), 120);
        assert_eq!(snaplen("-y LINUX_SLL2", 100), 120);
        assert_eq!(snaplen("-U -y linux_sll -n", 100), 116);
        // What libpcap takes, and no more.
        assert_eq!([262_124, 262_125, 262_144].map(|bytes| snaplen("", bytes)), [262_144; 3]);
    }
}
