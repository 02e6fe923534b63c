//! A node for one test: an API server, directories, a script in tcpdump's place, and the controller as a child process. All of it is
//! removed when the test ends; after a failure the directories are kept.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    api::Api,
    child::Controller,
    pod::pod,
    process::{PATIENCE, signal, until, within},
};

const BINARY: &str = env!("CARGO_BIN_EXE_packet-capture");
/// The directories of the system's programs.
pub const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A node with pods, which a controller watches through `api`.
pub struct Node {
    pub api: Api,
    pub name: String,
    dir: PathBuf,
    env: BTreeMap<String, String>,
    barriers: Cell<usize>,
}

/// A start or an end that the script in tcpdump's place recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// `started`, `ended` (it was sent TERM) or `orphaned` (its standard input ended).
    pub what: String,
    pub pid: i32,
    /// The stem of the file names.
    pub stem: String,
    /// The number of files of the stem when the script started.
    pub found: usize,
    /// The arguments, separated by blanks.
    pub arguments: String,
}

impl Node {
    pub fn new() -> Self {
        static NODES: AtomicU32 = AtomicU32::new(0);
        let name = format!("it-{}-{}", std::process::id(), NODES.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(format!("packet-capture-{name}"));
        for part in ["bin", "fake", "captures", "run"] {
            fs::create_dir_all(dir.join(part)).unwrap();
        }
        fs::write(dir.join("bin/tcpdump"), include_str!("tcpdump.sh")).unwrap();
        fs::set_permissions(dir.join("bin/tcpdump"), fs::Permissions::from_mode(0o755)).unwrap();
        let api = Api::new();
        let kubeconfig = format!(
            r#"{{"apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{{"name": "it", "cluster": {{"server": "http://127.0.0.1:{}"}}}}],
            "contexts": [{{"name": "it", "context": {{"cluster": "it", "user": "it"}}}}],
            "users": [{{"name": "it", "user": {{}}}}]}}"#,
            api.port
        );
        fs::write(dir.join("kubeconfig"), kubeconfig).unwrap();
        let at = |part: &str| dir.join(part).display().to_string();
        let env = [
            ("NODE_NAME", name.clone()),
            ("CAPTURE_DIR", at("captures")),
            ("RUN_DIR", at("run")),
            ("KUBECONFIG", at("kubeconfig")),
            ("FAKE", at("fake")),
            // The free space of the machine that runs the test must not matter.
            ("MIN_FREE_MB", "0".to_owned()),
            ("MIN_FREE_PERCENT", "0".to_owned()),
            ("PATH", format!("{}:{SYSTEM_PATH}", at("bin"))),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).into();
        Self { api, name, dir, env, barriers: Cell::new(0) }
    }

    /// Sets an environment variable for the controller.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes an environment variable.
    pub fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// A path in the node's own directory.
    pub fn path(&self, part: &str) -> PathBuf {
        self.dir.join(part)
    }

    /// A path in `CAPTURE_DIR`.
    pub fn capture(&self, file: &str) -> PathBuf {
        self.dir.join("captures").join(file)
    }

    /// A command that runs the binary with this node's environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(BINARY);
        command.env_clear().envs(&self.env).stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Starts a controller.
    pub fn start(&self) -> Controller {
        static CONTROLLERS: AtomicU32 = AtomicU32::new(0);
        let log = self.path(&format!("log-{}", CONTROLLERS.fetch_add(1, Ordering::Relaxed)));
        Controller::start(&mut self.command(), log)
    }

    /// Starts a controller and waits until it has seen a complete list.
    pub fn start_ready(&self) -> Controller {
        let controller = self.start();
        controller.until_logged("pods listed; ready");
        controller
    }

    /// Kills a controller and its tcpdumps, as a crash of the container would end them.
    pub fn crash(&self, controller: Controller) {
        controller.crash();
        self.tcpdumps().into_iter().for_each(|pid| signal(pid, Signal::KILL));
    }

    /// Runs the binary to its end. Returns exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let (code, out, error) = self.run_bytes(arguments);
        (code, String::from_utf8(out).unwrap(), error)
    }

    /// Runs the binary to its end, with packets on standard output.
    pub fn run_bytes(&self, arguments: &[&str]) -> (i32, Vec<u8>, String) {
        let mut child = self.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut out, mut error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        // The output may be more than a pipe holds, so a thread reads it while the process runs.
        let out = thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).map(|_| bytes).unwrap()
        });
        let ended = within(PATIENCE, || child.try_wait().unwrap());
        if ended.is_none() {
            let _ = child.kill();
        }
        let code = ended.and_then(|status| status.code()).unwrap_or(-1);
        let mut said = String::new();
        error.read_to_string(&mut said).unwrap();
        child.wait().unwrap();
        (code, out.join().unwrap(), said)
    }

    /// Sets what tcpdump does from its next start on: see `tcpdump.sh`.
    pub fn tcpdump_is(&self, pod: &str, mode: &str) {
        fs::write(self.path(&format!("fake/captres-{pod}.pcap.mode")), format!("{mode}\n")).unwrap();
    }

    /// Makes tcpdump wait after SIGTERM until it is released.
    pub fn hold(&self, pod: &str) {
        fs::write(self.path(&format!("fake/captres-{pod}.pcap.hold")), "").unwrap();
    }

    pub fn release(&self, pod: &str) {
        fs::remove_file(self.path(&format!("fake/captres-{pod}.pcap.hold"))).unwrap();
    }

    /// All records of the scripts.
    pub fn noted(&self) -> Vec<Noted> {
        let log = fs::read_to_string(self.path("fake/log")).unwrap_or_default();
        let whole_lines = log.rsplit_once('\n').map(|(lines, _)| lines).unwrap_or_default();
        let noted = whole_lines.lines().map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            let mut next = || fields.next().unwrap_or_default();
            let (what, pid, stem) = (next(), next().parse().unwrap(), next());
            Noted { what, pid, stem, found: next().parse().unwrap(), arguments: next() }
        });
        noted.collect()
    }

    /// The starts of a pod's tcpdump.
    pub fn starts(&self, pod: &str) -> Vec<Noted> {
        let stem = format!("captres-{pod}");
        self.noted().into_iter().filter(|noted| noted.what == "started" && noted.stem == stem).collect()
    }

    /// Waits for the n-th start of a pod's tcpdump, counted from 1.
    pub fn nth_start(&self, pod: &str, n: usize) -> Noted {
        until(&format!("start {n} of the tcpdump of {pod}"), || self.starts(pod).into_iter().nth(n - 1))
    }

    /// The capture files and their content, without hidden files.
    pub fn files(&self) -> BTreeMap<String, String> {
        let entries = fs::read_dir(self.path("captures")).unwrap().map(|entry| entry.unwrap());
        let entries = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
        let entries = entries.filter(|(name, _)| !name.starts_with('.'));
        entries.filter_map(|(name, path)| Some((name, fs::read_to_string(path).ok()?))).collect()
    }

    /// The paths in `CAPTURE_DIR` that begin with a name.
    pub fn paths(&self, name: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("captures")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name)).collect()
    }

    /// The names of the capture files.
    pub fn file_names(&self) -> Vec<String> {
        self.files().into_keys().collect()
    }

    /// Puts a file into `CAPTURE_DIR` as an earlier process might have left it.
    pub fn leave(&self, name: &str, text: &str) {
        fs::write(self.capture(name), text).unwrap();
    }

    /// The state file's entries by pod name; empty if there is none.
    pub fn state(&self) -> BTreeMap<String, Value> {
        let text = fs::read(self.capture(".state.json")).unwrap_or_default();
        let state: Value = serde_json::from_slice(&text).unwrap_or_default();
        let captures = state["captures"].as_array().cloned().unwrap_or_default();
        captures.into_iter().map(|entry| (entry["pod"].as_str().unwrap().to_owned(), entry)).collect()
    }

    /// Waits for an Event of a reason on a pod, and returns its message.
    pub fn until_event(&self, pod: &str, reason: &str) -> String {
        until(&format!("event {reason} on {pod}"), || self.messages(pod, reason).pop())
    }

    /// The messages of a pod's Events of a reason, oldest first.
    pub fn messages(&self, pod: &str, reason: &str) -> Vec<String> {
        let events = self.api.events(pod).into_iter().filter(|event| event["reason"] == reason);
        events.map(|event| event["message"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the controller has observed and carried out all earlier events, except for what it does at a later time. The method
    /// sends a pod whose request is refused, and waits for the log line of the refusal.
    pub fn until_heard(&self, controller: &Controller) {
        self.barriers.set(self.barriers.get() + 1);
        let name = format!("barrier-{}", self.barriers.get());
        self.api.put(&pod(&name).asks("none"));
        controller.until_logged(&format!("pod=default/{name} "));
    }

    /// The process IDs of this node's tcpdumps: the processes with the node's directory in their command line.
    pub fn tcpdumps(&self) -> Vec<i32> {
        let dir = format!("{}/", self.dir.display());
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let ours = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains(&dir));
        pids.filter(ours).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for pid in self.tcpdumps() {
            signal(pid, Signal::KILL);
        }
        if thread::panicking() {
            eprintln!("kept for a look: {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}
