//! Has tcpdump compile a filter, and the kernel take it, without capturing anything: one filter at a time.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    core::{desired::FilterJob, refusal::Refusal, request::Invocation},
    process::{
        child::{self, Child},
        stderr,
    },
};

/// How much of a processor tcpdump may take to compile a filter, in seconds. The slowest filter that is known and allowed takes half a second (`fuzz/README.md`).
const COMPILE_CPU_S: u64 = 1;

/// How long a trial may take on a busy machine, until it is ended.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait after tcpdump could not be started: that says nothing about a filter.
const START_RETRY: Duration = Duration::from_secs(10);

/// Where no file can be made, not even by root: a tcpdump that is to write there attaches its filter to its socket, then ends.
const NO_FILE: &str = "/dev/null/none";

/// How much buffer such a tcpdump asks the kernel for, in KiB: it reads nothing.
const ATTACH_BUFFER_KIB: &str = "1024";

/// The compiler of filters.
#[derive(Debug)]
pub struct Compiler {
    /// The program that compiles, without its arguments.
    tcpdump: fn() -> Command,
    /// The options of each capture.
    options: Vec<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    /// tcpdump could not be started, and is not started again before this time.
    Waiting {
        until: Instant,
    },
    Compiling(Box<Compiling>),
}

/// A tcpdump that tries a filter.
#[derive(Debug)]
struct Compiling {
    job: FilterJob,
    trial: Trial,
    child: Child,
    kill_at: Instant,
}

/// What a tcpdump tries with a filter: one after the other, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Compile the filter alone, so that it is a whole expression by itself.
    Filter,
    /// Compile the expression of the capture, which has the pod's addresses too.
    Expression,
    /// Attach the expression to a socket as a capture does. Whether it fits depends on the kernel, its settings and its own compiler, so
    /// that no count of instructions tells; and the kernel's memory for it is counted for each socket, so that one trial is enough.
    Attach,
}

impl Trial {
    fn next(self) -> Option<Self> {
        match self {
            Self::Filter => Some(Self::Expression),
            Self::Expression => Some(Self::Attach),
            Self::Attach => None,
        }
    }
}

/// How far the compiler has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The compiler can take a job.
    Idle,
    /// The compiler can take no job. Poll it again at this time at the latest, and after SIGCHLD.
    Busy {
        /// This time.
        until: Instant,
    },
    /// tcpdump said whether the filter can be used. The compiler can take the next job.
    Verdict {
        /// The filter.
        job: FilterJob,
        /// Why the filter cannot be used, if it cannot.
        verdict: Result<(), Refusal>,
    },
    /// tcpdump was ended before it could say anything: by the compiler, after a time in which a busy machine did not get to it, or for
    /// want of memory. That is no verdict. The compiler can take the next job.
    Interrupted {
        /// The filter.
        job: FilterJob,
    },
}

impl Compiler {
    /// An idle compiler, for captures that are started with `options`.
    #[must_use]
    pub fn new(options: &str) -> Self {
        let options = options.split_whitespace().map(str::to_owned).collect();
        Self { tcpdump: child::tcpdump, options, state: State::Idle }
    }

    /// Begins with a job. An earlier job must have come to its end.
    pub fn compile(&mut self, job: FilterJob, now: Instant) {
        debug_assert!(matches!(self.state, State::Idle), "one filter at a time");
        self.begin(job, Trial::Filter, now);
    }

    fn begin(&mut self, job: FilterJob, trial: Trial, now: Instant) {
        let mut tcpdump = (self.tcpdump)();
        tcpdump.args(self.arguments(&job, trial)).stdin(Stdio::null());
        self.state = match Child::spawn(tcpdump) {
            Ok(child) => {
                child.give_way(COMPILE_CPU_S);
                State::Compiling(Box::new(Compiling { job, trial, child, kill_at: now + COMPILE_TIMEOUT }))
            }
            Err(error) => {
                log::warn!("cannot have a filter compiled; trying again in {} s error={error}", START_RETRY.as_secs());
                State::Waiting { until: now + START_RETRY }
            }
        };
    }

    /// Takes in what tcpdump has said, and goes on with the next trial. Never waits for tcpdump to end.
    pub fn poll(&mut self, now: Instant) -> Progress {
        let Compiling { job, trial, child, kill_at } = match &mut self.state {
            State::Compiling(compiling) => &mut **compiling,
            State::Waiting { until } if *until > now => return Progress::Busy { until: *until },
            State::Idle | State::Waiting { .. } => {
                self.state = State::Idle;
                return Progress::Idle;
            }
        };
        let Some(status) = child.try_reap() else {
            if now >= *kill_at {
                // A child that does not end at once is killed again.
                child.signal(&[Signal::KILL]);
                *kill_at = now + COMPILE_TIMEOUT;
            }
            return Progress::Busy { until: *kill_at };
        };
        let (job, trial, outcome) = (job.clone(), *trial, outcome(*trial, status, child));
        self.state = State::Idle;
        match (outcome, trial.next()) {
            (Outcome::Interrupted, _) => Progress::Interrupted { job },
            (Outcome::Refused(refusal), _) => Progress::Verdict { job, verdict: Err(refusal) },
            (Outcome::Passed, None) => Progress::Verdict { job, verdict: Ok(()) },
            (Outcome::Passed, Some(next)) => {
                self.begin(job, next, now);
                self.poll(now)
            }
        }
    }

    /// The tcpdump that compiles, if there is one.
    pub(super) fn child(&self) -> Option<&Child> {
        match &self.state {
            State::Compiling(compiling) => Some(&compiling.child),
            State::Idle | State::Waiting { .. } => None,
        }
    }

    /// The command line of a trial. A tcpdump that attaches has the options of a capture, so that it compiles as a capture does.
    fn arguments(&self, job: &FilterJob, trial: Trial) -> Vec<OsString> {
        let run = Invocation { spec: job.valid.request.spec.clone(), ips: job.ips.clone() };
        let compile = ["-y", "LINUX_SLL2", "-d"].as_slice();
        let attach = ["-B", ATTACH_BUFFER_KIB, "-i", "any", "-w", NO_FILE].as_slice();
        let (options, fixed, expression) = match trial {
            Trial::Filter => ([].as_slice(), compile, run.spec.filter.clone().unwrap_or_default()),
            Trial::Expression => ([].as_slice(), compile, run.expression()),
            Trial::Attach => (self.options.as_slice(), attach, run.expression()),
        };
        let words = options.iter().map(String::as_str).chain(fixed.iter().copied());
        words.chain(["--", expression.as_str()]).map(OsString::from).collect()
    }
}

/// What came of a trial.
enum Outcome {
    Passed,
    Refused(Refusal),
    Interrupted,
}

fn outcome(trial: Trial, status: ExitStatus, child: &mut Child) -> Outcome {
    if let Some(said) = child.stderr.unfiltered() {
        return Outcome::Refused(Refusal::FilterNotInKernel { said: said.to_owned() });
    }
    match (status.signal(), trial) {
        (Some(signal), _) if signal == Signal::XCPU.as_raw() => {
            Outcome::Refused(Refusal::FilterTooCostly { limit_s: COMPILE_CPU_S })
        }
        (Some(_), _) => Outcome::Interrupted,
        (None, Trial::Filter | Trial::Expression) if !status.success() => {
            Outcome::Refused(Refusal::FilterRejected { said: stderr::last_line(&child.stderr.text()) })
        }
        // A tcpdump that attaches always fails in the end. If it failed before that, so will the capture, and will say why.
        (None, Trial::Filter | Trial::Expression | Trial::Attach) => Outcome::Passed,
    }
}

#[cfg(test)]
mod tests;
