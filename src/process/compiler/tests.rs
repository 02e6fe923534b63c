//! A compiler with a script in tcpdump's place, on a clock that is set by hand.

use std::{fs, thread};

use super::*;
use crate::{
    core::{
        annotations::{Annotations, ValidRequest},
        name::{PodName, PodUid, Stem},
        recorder::StopOn,
        request::{CaptureSpec, Request},
    },
    test_lock,
};

fn job() -> FilterJob {
    let filter = Some("udp".to_owned());
    let spec = CaptureSpec { files: 5, filter, packets: None, snaplen: None };
    FilterJob {
        stem: Stem::of(&PodName { namespace: "default".into(), name: "web".into() }),
        uid: PodUid("uid".into()),
        valid: ValidRequest {
            annotations: Annotations::new(),
            request: Request { spec, duration: None, stop_on: StopOn::NOTHING, paused: false },
        },
        ips: vec!["10.0.0.1".parse().unwrap()],
    }
}

fn compiling(tcpdump: fn() -> Command, now: Instant) -> Compiler {
    let mut compiler = Compiler { tcpdump, ..Compiler::new("-U -B 16384") };
    compiler.compile(job(), now);
    compiler
}

/// What tcpdump is, and what comes of it.
type Case = (fn() -> Command, Result<(), Refusal>);

fn script(text: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", text, "sh"]);
    shell
}

/// What the compiler has come to when its tcpdump has ended, although its clock stands still.
fn done(compiler: &mut Compiler, now: Instant) -> Progress {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match compiler.poll(now) {
            Progress::Busy { .. } => assert!(Instant::now() < deadline, "tcpdump does not end"),
            progress => return progress,
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_trial_is_compiled_as_the_capture_is_and_can_write_no_file() {
    let compiler = Compiler::new("-U  -B 16384 ");
    let arguments = |trial| compiler.arguments(&job(), trial).join(" ".as_ref()).into_string().unwrap();
    assert_eq!(arguments(Trial::Filter), "-y LINUX_SLL2 -d -- udp");
    assert_eq!(arguments(Trial::Expression), "-y LINUX_SLL2 -d -- (host 10.0.0.1) and (udp)");
    let attach = "-U -B 16384 -B 1024 -i any -w /dev/null/none -- (host 10.0.0.1) and (udp)";
    assert_eq!(arguments(Trial::Attach), attach);
    assert!(fs::File::create(NO_FILE).is_err());
}

#[test]
fn a_filter_can_be_used_when_it_has_passed_all_trials() {
    let _lock = test_lock::acquire();
    let now = Instant::now();
    let rejected = |said: &str| Err(Refusal::FilterRejected { said: said.to_owned() });
    let not_in_kernel = Err(Refusal::FilterNotInKernel { said: "Filter too complex for kernel".to_owned() });
    let cases: [Case; 5] = [
        (|| script("exit 0"), Ok(())),
        (|| script("echo 'tcpdump: syntax error' >&2; exit 1"), rejected("syntax error")),
        (|| script("case $* in *host*) echo 'tcpdump: no such host' >&2; exit 1; esac"), rejected("no such host")),
        (|| script("case $* in *-w*) echo 'Warning: Filter too complex for kernel' >&2; exit 1; esac"), not_in_kernel),
        (|| script("case $* in *-w*) echo 'tcpdump: /dev/null/none: Not a directory' >&2; exit 1; esac"), Ok(())),
    ];
    for (tcpdump, verdict) in cases {
        let mut compiler = compiling(tcpdump, now);
        assert_eq!(done(&mut compiler, now), Progress::Verdict { job: job(), verdict });
        assert_eq!(compiler.poll(now), Progress::Idle);
    }
}

#[test]
fn a_compilation_that_runs_out_of_time_is_killed_and_is_no_verdict() {
    let _lock = test_lock::acquire();
    let (start, end) = (Instant::now(), Instant::now() + COMPILE_TIMEOUT);
    let mut compiler = compiling(|| script("exec sleep 60"), start);
    for now in [start, end - Duration::from_millis(500)] {
        assert_eq!(compiler.poll(now), Progress::Busy { until: start + COMPILE_TIMEOUT });
    }
    assert_eq!(done(&mut compiler, end), Progress::Interrupted { job: job() });
    assert_eq!(compiler.poll(end), Progress::Idle);
}

#[test]
fn a_tcpdump_that_cannot_be_started_is_tried_again_after_10_s() {
    let _lock = test_lock::acquire();
    let start = Instant::now();
    let mut compiler = compiling(|| Command::new("/dev/null/tcpdump"), start);
    let until = start + Duration::from_secs(10);
    for now in [start, until - Duration::from_millis(1)] {
        assert_eq!(compiler.poll(now), Progress::Busy { until });
    }
    assert_eq!(compiler.poll(until), Progress::Idle);
}
