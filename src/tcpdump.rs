//! The tcpdump processes: their command line, their start, their signals, their end. The only file that knows a process.
//!
//! Nothing here waits: the reap is `try_wait`, never `wait`, and standard error is read only as far as it has come.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ffi::OsString,
    fs,
    io::{self, PipeReader, Read},
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use rustix::{
    fs::{OFlags, fcntl_setfl},
    process::{Pid, Signal, WaitOptions, kill_process, waitpid},
};

use crate::{
    capture::{Counts, Uid},
    slots::Run,
};

/// How much of tcpdump's standard error is kept: enough for its last words, too little to matter.
const STDERR_BYTES_MAX: usize = 4096;

/// How much of it is read in one go, so that one that never stops talking delays nobody: as much as a pipe holds.
const STDERR_BYTES_PER_TURN: usize = 65_536;

/// The tcpdumps of this node, by the pod that they capture.
#[derive(Debug)]
pub struct Tcpdumps {
    children: HashMap<Uid, Child>,
    stderr: HashMap<Uid, Stderr>,
    options: Vec<String>,
    stdin: OwnedFd,
}

/// What a tcpdump says, and the end of what it has said.
#[derive(Debug)]
struct Stderr {
    pipe: PipeReader,
    kept: VecDeque<u8>,
}

/// How a tcpdump ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code or the signal that ended it.
    pub status: ExitStatus,
    /// The last thing it said, its counts aside; empty if it said nothing.
    pub last_line: String,
    /// What it counted, if it came to say so.
    pub counts: Option<Counts>,
}

impl Tcpdumps {
    /// None yet. Each will be started with `options`, and holds `stdin` for as long as it lives.
    #[must_use]
    pub fn new(options: &str, stdin: OwnedFd) -> Self {
        let options = options.split_whitespace().map(str::to_owned).collect();
        Self { children: HashMap::new(), stderr: HashMap::new(), options, stdin }
    }

    /// Starts tcpdump for a pod, with files that begin with `path`. Returns its process ID. Waits until the program is executed.
    ///
    /// # Errors
    /// If the pod has one already, or it could not be started. Then there is none.
    pub fn start(&mut self, uid: &Uid, run: &Run, path: &Path) -> io::Result<u32> {
        if self.children.contains_key(uid) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the pod has a tcpdump already"));
        }
        let (pipe, stderr) = io::pipe()?;
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        let mut command = Command::new("tcpdump");
        command.args(arguments(&self.options, run, path)).env("LC_ALL", "C");
        // A group of its own: what a terminal sends to this process, such as Ctrl-C, must not reach it.
        command.process_group(0).stdin(self.stdin.try_clone()?).stdout(Stdio::null()).stderr(stderr);
        let child = command.spawn()?;
        let pid = child.id();
        self.children.insert(uid.clone(), child);
        self.stderr.insert(uid.clone(), Stderr { pipe, kept: VecDeque::new() });
        Ok(pid)
    }

    /// Asks a tcpdump to end in good order. CONT follows, since one that is stopped takes TERM only when it goes on.
    pub fn term(&self, uid: &Uid) {
        self.signal(uid, &[Signal::TERM, Signal::CONT]);
    }

    /// Ends a tcpdump.
    pub fn kill(&self, uid: &Uid) {
        self.signal(uid, &[Signal::KILL]);
    }

    /// Reads what the tcpdumps have said, so that none of them waits for a reader, and takes in those that have ended.
    pub fn reap(&mut self) -> Vec<(Uid, Exit)> {
        self.stderr.values_mut().for_each(Stderr::read);
        let mut exits = Vec::new();
        self.children.retain(|uid, child| {
            let Ok(Some(status)) = child.try_wait() else { return true };
            let said = self.stderr.remove(uid).map(Stderr::into_text).unwrap_or_default();
            exits.push((uid.clone(), Exit { status, last_line: last_line(&said), counts: counts(&said) }));
            false
        });
        exits
    }

    /// Takes in the children of others whose parent is gone: what an exec in the container leaves falls to its first process.
    pub fn reap_orphans(&self) {
        if std::process::id() != 1 {
            return;
        }
        let children = fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        for pid in children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            if !self.children.values().any(|child| Pid::from_child(child) == pid) {
                // Still alive, or taken in: both are well.
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
    }

    /// How many have not been reaped.
    #[must_use]
    pub fn len(&self) -> usize {
        self.children.len()
    }

    /// Whether all have been reaped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.children.is_empty()
    }

    /// Ends all of them at once.
    pub fn kill_all(&self) {
        self.children.keys().for_each(|uid| self.kill(uid));
    }

    /// A child in the map has not been reaped, so its process ID cannot be another's by now; and a signal to one that has
    /// ended goes nowhere, which is no error.
    fn signal(&self, uid: &Uid, signals: &[Signal]) {
        let Some(child) = self.children.get(uid) else { return };
        for signal in signals {
            if let Err(error) = kill_process(Pid::from_child(child), *signal) {
                log::error!("cannot signal tcpdump pid={} signal={signal:?} error={error}", child.id());
            }
        }
    }
}

/// The command line behind `tcpdump`.
fn arguments(options: &[String], run: &Run, path: &Path) -> Vec<OsString> {
    let fixed = ["-i", "any", "-C", "1", "-W"].map(OsString::from);
    let hosts = run.ips.iter().flat_map(|ip| ["or".into(), "host".into(), ip.to_string().into()]).skip(1);
    let mut arguments: Vec<OsString> = options.iter().map(OsString::from).chain(fixed).collect();
    arguments.extend([run.request.files.to_string().into(), OsString::from("-w"), path.into()]);
    arguments.extend(hosts);
    arguments
}

impl Stderr {
    fn read(&mut self) {
        read_available(&mut self.pipe, &mut self.kept);
    }

    fn into_text(mut self) -> String {
        self.read();
        String::from_utf8_lossy(self.kept.make_contiguous()).into_owned()
    }
}

fn read_available(from: &mut impl Read, kept: &mut VecDeque<u8>) {
    let mut buffer = [0; 4096];
    for _ in 0..STDERR_BYTES_PER_TURN / buffer.len() {
        match from.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(bytes) => kept.extend(&buffer[..bytes]),
        }
        let surplus = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..surplus);
    }
}

/// What tcpdump said last, but for its counts and what it says at every start.
fn last_line(said: &str) -> String {
    let usual = |line: &str| {
        count(line).is_some()
            || ["listening on ", "WARNING: ", "data link type "].iter().any(|usual| line.contains(usual))
    };
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !usual(line));
    let line = lines.next_back().unwrap_or_default();
    line.strip_prefix("tcpdump: ").unwrap_or(line).to_owned()
}

/// The counts of tcpdump's last words: `12 packets captured`, `14 packets received by filter`, `0 packets dropped by kernel`.
fn counts(said: &str) -> Option<Counts> {
    let counts: BTreeMap<&str, u64> = said.lines().filter_map(count).collect();
    let captured = *counts.get("captured")?;
    Some(Counts { captured, dropped: counts.get("dropped by kernel").copied().unwrap_or_default() })
}

fn count(line: &str) -> Option<(&str, u64)> {
    let (number, what) = line.split_once(" packet")?;
    Some((what.strip_prefix('s').unwrap_or(what).trim(), number.parse().ok()?))
}

impl Exit {
    /// How it ended, in words: `exited 1`, `was ended by signal 9`.
    #[must_use]
    pub fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exited {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Request;

    fn arguments_for(options: &str, ips: &[&str]) -> String {
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        let run = Run { request: Request { files: 5 }, ips: ips.iter().map(|ip| ip.parse().unwrap()).collect() };
        let arguments = arguments(&options, &run, Path::new("/captures/captres-web.pcap"));
        arguments.iter().map(|argument| argument.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_command_line_is_the_promised_one() {
        let bare = "-i any -C 1 -W 5 -w /captures/captres-web.pcap host 10.0.0.1";
        assert_eq!(arguments_for("", &["10.0.0.1"]), bare);
        assert_eq!(arguments_for(" -U  -B 16384 ", &["10.0.0.1"]), format!("-U -B 16384 {bare}"));
        assert_eq!(arguments_for("", &["10.0.0.1", "fd00::1"]), format!("{bare} or host fd00::1"));
    }

    #[test]
    fn last_words_are_counts_and_a_line_before_them() {
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
    fn only_the_end_of_what_was_said_is_kept() {
        let mut kept = VecDeque::new();
        let mut said: Vec<u8> = (0..100_000_u32).flat_map(|n| format!("{n}\n").into_bytes()).collect();
        said.truncate(STDERR_BYTES_PER_TURN);
        read_available(&mut said.as_slice(), &mut kept);
        assert_eq!(kept, &said[said.len() - STDERR_BYTES_MAX..]);
    }
}
