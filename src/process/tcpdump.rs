//! The tcpdump processes: their command line, their start, their signals, their end. The only file that knows a process.
//!
//! Nothing here waits: the reap is `try_wait`, never `wait`, and standard error is read only as far as it has come.

use std::{
    collections::{HashMap, VecDeque},
    ffi::OsString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, kill_process, prlimit, setpriority_process, waitpid,
};

use crate::{
    core::{
        annotations::SNAPLEN_MAX,
        name::PodUid,
        request::{Exit, Invocation},
    },
    kernel::memory,
    process::stderr::{self, Stderr},
};

/// How much of a processor tcpdump may take to compile a filter, in seconds. The worst of 512 bytes was measured to take 0.12 s.
pub const COMPILE_CPU_S: u64 = 1;

/// The niceness of a tcpdump that compiles: the highest there is.
const COMPILE_NICE: i32 = 19;

/// How long that may take on a busy machine, until it is ended.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(10);

/// The header that link type LINUX_SLL2 puts before each packet, in bytes. tcpdump's `-s` counts it.
const SLL2_HEADER_BYTES: u32 = 20;

/// The same of LINUX_SLL, which `-y` may ask for.
const SLL_HEADER_BYTES: u32 = 16;

/// Where no file can be made, not even by root: a tcpdump that is to write there attaches its filter to its socket, then ends.
const NO_FILE: &str = "/dev/null/none";

/// How much buffer such a one asks the kernel for, in KiB: it reads nothing.
const ATTACH_BUFFER_KIB: &str = "1024";

/// The tcpdumps of this node, by the pod that they capture.
#[derive(Debug)]
pub struct Tcpdumps {
    children: HashMap<PodUid, Child>,
    stderr: HashMap<PodUid, Stderr>,
    options: Vec<String>,
    stdin: OwnedFd,
    compiling: Option<Compiling>,
}

/// A tcpdump that compiles expressions, one after the other, or attaches one to a socket, and captures nothing.
#[derive(Debug)]
struct Compiling {
    child: Child,
    stderr: Stderr,
    kill_at: Instant,
    trial: Trial,
    left: VecDeque<Trial>,
}

/// What a tcpdump is to try with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trial {
    /// Compile it.
    Compile(String),
    /// Attach it to a socket as a capture would. Whether it fits depends on the kernel, its settings and its own compiler, so
    /// that no count of instructions tells; and the kernel's memory for it is counted for each socket, so that one trial does.
    Attach(String),
}

/// What came of compiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// All can be used.
    All,
    /// tcpdump said this against one of them.
    Rejected(String),
    /// The kernel does not take one of them; libpcap said this.
    NotInKernel(String),
    /// One of them took too much of a processor.
    TooCostly,
    /// It was ended before that: by us, after a time in which a busy machine did not get to it, or for want of memory.
    Interrupted,
}

impl Tcpdumps {
    /// None yet. Each will be started with `options`, and holds `stdin` for as long as it lives.
    #[must_use]
    pub fn new(options: &str, stdin: OwnedFd) -> Self {
        let options = options.split_whitespace().map(str::to_owned).collect();
        Self { children: HashMap::new(), stderr: HashMap::new(), options, stdin, compiling: None }
    }

    /// Starts tcpdump for a pod, with files that begin with `path`. Returns its process ID. Waits until the program is executed.
    ///
    /// # Errors
    /// If the pod has one already, or it could not be started. Then there is none.
    pub fn start(&mut self, uid: &PodUid, run: &Invocation, path: &Path) -> io::Result<u32> {
        if self.children.contains_key(uid) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the pod has a tcpdump already"));
        }
        let stdin = self.stdin.try_clone()?;
        let (child, stderr) = spawn(arguments(&self.options, run, path), stdin.into())?;
        let pid = child.id();
        self.children.insert(uid.clone(), child);
        self.stderr.insert(uid.clone(), stderr);
        Ok(pid)
    }

    /// Has tcpdump compile and attach expressions, without capturing anything. One call at a time.
    ///
    /// # Errors
    /// If tcpdump could not be started.
    pub fn compile(&mut self, mut trials: VecDeque<Trial>) -> io::Result<()> {
        let Some(trial) = trials.pop_front() else { return Ok(()) };
        let (child, stderr) = spawn(trial_arguments(&self.options, &trial), Stdio::null())?;
        // At the first the kernel sends XCPU, which tells that from other ends.
        let limit = Rlimit { current: Some(COMPILE_CPU_S), maximum: Some(COMPILE_CPU_S + 1) };
        if let Err(error) = prlimit(Some(Pid::from_child(&child)), Resource::Cpu, limit) {
            log::debug!("cannot bound the compilation's time pid={} error={error}", child.id());
        }
        give_way(&child);
        self.compiling =
            Some(Compiling { child, stderr, kill_at: Instant::now() + COMPILE_TIMEOUT, trial, left: trials });
        Ok(())
    }

    /// What came of compiling, once that is known; and until then, when to ask again at the latest.
    ///
    /// # Errors
    /// If tcpdump could not be started for one of the expressions.
    pub fn compiled(&mut self) -> io::Result<Result<Compiled, Option<Instant>>> {
        let Some(compiling) = &mut self.compiling else { return Ok(Err(None)) };
        compiling.stderr.read();
        let Ok(Some(status)) = compiling.child.try_wait() else {
            if Instant::now() < compiling.kill_at {
                return Ok(Err(Some(compiling.kill_at)));
            }
            // Asked again after SIGCHLD; one that does not die at once is killed again then.
            compiling.kill_at = Instant::now() + COMPILE_TIMEOUT;
            let _ = kill_process(Pid::from_child(&compiling.child), Signal::KILL);
            return Ok(Err(Some(compiling.kill_at)));
        };
        let Some(Compiling { mut stderr, trial, left, .. }) = self.compiling.take() else { return Ok(Err(None)) };
        stderr.read();
        if let Some(said) = stderr.unfiltered() {
            return Ok(Ok(Compiled::NotInKernel(said.to_owned())));
        }
        match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => return Ok(Ok(Compiled::TooCostly)),
            Some(_) => return Ok(Ok(Compiled::Interrupted)),
            None => (),
        }
        match trial {
            Trial::Compile(_) if !status.success() => {
                return Ok(Ok(Compiled::Rejected(stderr::last_line(&stderr.into_text()))));
            }
            // One that attaches always fails in the end. If it failed before that, so will the capture, and will say why.
            Trial::Compile(_) | Trial::Attach(_) => (),
        }
        if left.is_empty() {
            return Ok(Ok(Compiled::All));
        }
        self.compile(left)?;
        self.compiled()
    }

    /// Asks a tcpdump to end in good order. CONT follows, since one that is stopped takes TERM only when it goes on.
    pub fn term(&self, uid: &PodUid) {
        self.signal(uid, &[Signal::TERM, Signal::CONT]);
    }

    /// Ends a tcpdump.
    pub fn kill(&self, uid: &PodUid) {
        self.signal(uid, &[Signal::KILL]);
    }

    /// Reads what the tcpdumps have said, so that none of them waits for a reader, and takes in those that have ended.
    ///
    /// One whose filter the kernel did not take is ended at once: every packet of the node is copied to it. It has been let in
    /// with a filter that fitted, so this is for what has changed since: the pod's addresses, or the kernel's settings.
    pub fn reap(&mut self) -> Vec<(PodUid, Exit)> {
        self.stderr.values_mut().for_each(Stderr::read);
        self.stderr.iter().filter(|(_, stderr)| stderr.unfiltered().is_some()).for_each(|(uid, _)| self.kill(uid));
        let mut exits = Vec::new();
        self.children.retain(|uid, child| {
            let Ok(Some(status)) = child.try_wait() else { return true };
            let mut stderr = self.stderr.remove(uid);
            stderr.as_mut().into_iter().for_each(Stderr::read);
            let unfiltered = stderr.as_ref().and_then(Stderr::unfiltered).map(str::to_owned);
            let said = stderr.map(Stderr::into_text).unwrap_or_default();
            let (last_line, counts) = (stderr::last_line(&said), stderr::counts(&said));
            exits.push((
                uid.clone(),
                Exit { in_order: status.success(), how: how(status), last_line, unfiltered, counts },
            ));
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
            let compiling = self.compiling.iter().map(|compiling| &compiling.child);
            if !self.children.values().chain(compiling).any(|child| Pid::from_child(child) == pid) {
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
    fn signal(&self, uid: &PodUid, signals: &[Signal]) {
        let Some(child) = self.children.get(uid) else { return };
        for signal in signals {
            if let Err(error) = kill_process(Pid::from_child(child), *signal) {
                log::error!("cannot signal tcpdump pid={} signal={signal:?} error={error}", child.id());
            }
        }
    }
}

/// A compilation gives way to captures: it gets the processor last, and where the kernel kills a single process for memory, it is
/// the first. Both need no right; that
/// they fail is no reason not to compile.
fn give_way(child: &Child) {
    let pid = child.id();
    let nice = setpriority_process(Some(Pid::from_child(child)), COMPILE_NICE).map_err(io::Error::from);
    if let Err(error) = nice.and(memory::goes_first(&pid.to_string())) {
        log::debug!("cannot have a compilation give way pid={pid} error={error}");
    }
}

fn spawn(arguments: Vec<OsString>, stdin: Stdio) -> io::Result<(Child, Stderr)> {
    let (stderr, end) = Stderr::pipe()?;
    let mut command = Command::new("tcpdump");
    // A group of its own: what a terminal sends to this process, such as Ctrl-C, must not reach it.
    command.args(arguments).env("LC_ALL", "C").process_group(0).stdin(stdin).stdout(Stdio::null()).stderr(end);
    Ok((command.spawn()?, stderr))
}

/// The command line of a trial. One that attaches has the options of a capture, so that it is compiled as for that.
fn trial_arguments(options: &[String], trial: &Trial) -> Vec<OsString> {
    let (options, fixed, expression) = match trial {
        Trial::Compile(expression) => (&[][..], ["-y", "LINUX_SLL2", "-d"].as_slice(), expression),
        Trial::Attach(expression) => {
            (options, ["-B", ATTACH_BUFFER_KIB, "-i", "any", "-w", NO_FILE].as_slice(), expression)
        }
    };
    let words = options.iter().map(String::as_str).chain(fixed.iter().copied());
    words.chain(["--", expression.as_str()]).map(OsString::from).collect()
}

/// The command line behind `tcpdump`. A user's filter goes last and behind `--`, in one argument: it cannot become an option.
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

/// What `-s` must be, so that so many bytes of the *packet* are kept. At the upper end it is what libpcap takes: longer packets
/// than that there are only where a device puts some 256 KiB together.
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
    fn the_command_line_is_the_promised_one() {
        let plain = CaptureSpec { files: 5, filter: None, packets: None, snaplen: None };
        let arguments = |options, ips: &[&str]| arguments_for(options, ips, plain.clone());
        assert_eq!(arguments("", &["10.0.0.1"]), BARE.split(' ').collect::<Vec<_>>());
        assert_eq!(arguments(" -U  -B 16384 ", &["10.0.0.1"]).join(" "), format!("-U -B 16384 {BARE}"));
        assert_eq!(arguments("", &["10.0.0.1", "fd00::1"]).join(" "), format!("{BARE} or host fd00::1"));
    }

    #[test]
    fn a_trial_is_compiled_as_the_capture_is_and_can_write_nothing() {
        let options = ["-U", "-B", "16384"].map(str::to_owned);
        let arguments = |trial| trial_arguments(&options, &trial).join(" ".as_ref()).into_string().unwrap();
        assert_eq!(arguments(Trial::Compile("udp".to_owned())), "-y LINUX_SLL2 -d -- udp");
        let attach = "-U -B 16384 -B 1024 -i any -w /dev/null/none -- udp";
        assert_eq!(arguments(Trial::Attach("udp".to_owned())), attach);
        assert!(fs::File::create(NO_FILE).is_err());
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
    fn what_is_kept_is_counted_without_the_header_of_the_link_type() {
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
