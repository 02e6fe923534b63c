//! Calls of kubectl, with a script in its place.
#![cfg(unix)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use packet_capture_plugin::kubectl::{Cause, Failure, Kubectl, Limits, Terminal};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Far more than a call needs, also on a busy machine.
const PLENTY: Duration = Duration::from_secs(60);

fn kubectl_with(terminal: Terminal, time: Duration, flags: &[&str]) -> Kubectl {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bin/scripted-kubectl");
    let limits = Limits { time, output_bytes: 100_000 };
    Kubectl::with(program, flags.iter().map(|&flag| flag.to_owned()).collect(), terminal, limits)
}

fn kubectl() -> Kubectl {
    kubectl_with(Terminal::Absent, PLENTY, &[])
}

/// A directory that is removed with this.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("packet-capture-plugin-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn text(&self, file: &str) -> String {
        self.0.join(file).display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn within(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PLENTY, "{what} does not come about");
        thread::sleep(Duration::from_millis(10));
    }
}

fn pid_in(file: &str) -> Pid {
    let mut pid = None;
    within("a number in the file", || {
        pid = fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).and_then(Pid::from_raw);
        pid.is_some()
    });
    pid.unwrap()
}

/// Not there, or dead and not reaped by whoever inherited it.
fn has_ended(pid: Pid) -> bool {
    test_kill_process(pid).is_err()
        || fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).is_ok_and(|stat| stat.contains(") Z "))
}

fn failure(result: Result<String, Failure>) -> Failure {
    result.expect_err("the call must fail")
}

#[test]
fn the_users_flags_come_before_the_arguments() {
    let kubectl = kubectl_with(Terminal::Absent, PLENTY, &["--context=kind", "--as=jane"]);
    assert_eq!(kubectl.read(&["show-flags", "-n", "x"]).unwrap(), "--context=kind --as=jane show-flags -n x\n");
}

#[test]
fn a_failure_has_kubectls_own_words_and_no_byte_that_is_not_printable() {
    let error = failure(kubectl().read(&["fail", r"Error from server (Forbidden): \033[2J no"]));
    assert!(error.is_forbidden());
    let said = error.to_string();
    assert!(said.ends_with("` failed with exit code 3: a warning; Error from server (Forbidden): ?[2J no"), "{said}");
    assert!(said.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{said:?}");
}

#[test]
fn a_program_that_is_not_there_is_a_sentence() {
    let kubectl = Kubectl::with("/nowhere/kubectl".into(), Vec::new(), Terminal::Absent, Limits::default());
    let said = failure(kubectl.read(&["get"])).to_string();
    assert!(said.starts_with("cannot start /nowhere/kubectl: No such file"), "{said}");
}

#[test]
fn output_without_end_is_cut_off() {
    let error = failure(kubectl().read(&["flood"]));
    assert_eq!(error.cause, Cause::SaidTooMuch(100_000));
}

#[test]
fn of_many_complaints_the_last_is_kept() {
    let error = failure(kubectl().read(&["complain"]));
    let said = error.to_string();
    assert!(said.ends_with("; last") && said.len() < 1500, "{said}");
    assert!(matches!(error.cause, Cause::Exited { stderr, .. } if stderr.len() <= 64 << 10));
}

#[test]
fn a_call_that_hangs_is_ended_with_its_login_plugin() {
    let dir = Dir::new();
    let file = dir.text("pid");
    // The script gets the time that it needs to start its child.
    let kubectl = kubectl_with(Terminal::Absent, Duration::from_secs(2), &[]);
    let started = Instant::now();
    let said = failure(kubectl.read(&["hang", &file])).to_string();
    assert!(started.elapsed() < PLENTY);
    assert!(said.ends_with("did not answer within 2 s; it said: waiting for a browser"), "{said}");
    let plugin = pid_in(&file);
    within("the end of the login plugin", || has_ended(plugin));
}

#[test]
fn a_process_that_kubectl_leaves_behind_neither_holds_the_answer_nor_is_ended() {
    let dir = Dir::new();
    let file = dir.text("pid");
    assert_eq!(kubectl().read(&["leave", &file]).unwrap(), "answered\n");
    let left = pid_in(&file);
    assert!(!has_ended(left));
    kill_process(left, Signal::KILL).unwrap();
}

#[test]
fn json_is_checked_and_nothing_is_null() {
    assert_eq!(kubectl().json(&["echo", r#"{"a":[1]}"#]).unwrap()["a"][0], 1);
    assert!(kubectl().json(&["echo", ""]).unwrap().is_null());
    assert!(matches!(kubectl().json(&["echo", "{"]).unwrap_err().cause, Cause::NotJson(_)));
    assert_eq!(failure(kubectl().read(&["bytes"])).cause, Cause::NotText);
}

#[test]
fn the_first_call_is_alone_and_later_calls_run_at_once() {
    let dir = Dir::new();
    let kubectl = kubectl();
    let path = dir.0.display().to_string();
    thread::scope(|scope| {
        let first = scope.spawn(|| kubectl.read(&["once", &path]));
        within("the first call", || dir.0.join("running").exists());
        // If this ran at the same time, it would find the first call's directory and fail.
        assert_eq!(kubectl.read(&["once", &path]).unwrap(), "alone\n");
        assert_eq!(first.join().unwrap().unwrap(), "alone\n");
        // Each of these ends only when the other has come.
        let one = scope.spawn(|| kubectl.read(&["meet", &path, "a", "b"]));
        assert_eq!(kubectl.read(&["meet", &path, "b", "a"]).unwrap(), "met\n");
        assert_eq!(one.join().unwrap().unwrap(), "met\n");
    });
}

#[test]
fn on_a_terminal_the_first_call_takes_as_long_as_the_user_and_no_other_does() {
    let kubectl = kubectl_with(Terminal::Attached, Duration::from_millis(50), &[]);
    // Reading the user's configuration is no login.
    assert!(matches!(failure(kubectl.local(&["slow"])).cause, Cause::TookTooLong { .. }));
    assert_eq!(kubectl.read(&["slow"]).unwrap(), "slept\n");
    assert!(matches!(failure(kubectl.read(&["slow"])).cause, Cause::TookTooLong { .. }));
}

#[test]
fn a_call_without_a_terminal_finds_its_input_at_its_end() {
    assert_eq!(kubectl().read(&["stdin"]).unwrap(), "no input\n");
}

#[test]
fn a_stream_lasts_until_its_input_is_closed() {
    let mut stream = kubectl().stream(&["packets"]).unwrap();
    let mut lines = BufReader::new(stream.take_stdout().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    stream.hang_up();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    assert!(lines.next().is_none());
    let ended = stream.finish(PLENTY).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(4), "last words\n"));
}

#[test]
fn a_stream_that_is_dropped_or_does_not_finish_is_ended() {
    let dir = Dir::new();
    let (one, other) = (dir.text("one"), dir.text("other"));
    let stream = kubectl().stream(&["hang", &one]).unwrap();
    let dropped = pid_in(&one);
    drop(stream);
    within("the end of what was dropped", || has_ended(dropped));

    let stream = kubectl().stream(&["hang", &other]).unwrap();
    let unfinished = pid_in(&other);
    let said = stream.finish(Duration::from_millis(10)).unwrap_err().to_string();
    assert!(said.starts_with("`kubectl hang ") && said.contains("did not answer within 0.01 s"), "{said}");
    within("the end of what did not finish", || has_ended(unfinished));
}
