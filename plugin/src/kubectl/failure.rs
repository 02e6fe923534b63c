//! Why a call of kubectl gave no answer, as a sentence.

use std::{error::Error, ffi::OsStr, fmt, time::Duration};

use crate::printable::printable;

/// How much of kubectl's words is shown: a refusal of the API server is shorter.
const WORDS_MAX: usize = 1000;
/// How much of the call is shown.
const CALL_MAX: usize = 200;

/// A call of kubectl that gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    call: String,
    /// What happened.
    pub cause: Cause,
}

/// What happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The program could not be started.
    NotStarted {
        /// What was to be started.
        program: String,
        /// The system's own words.
        error: String,
    },
    /// It ended, and not with code 0.
    Exited {
        /// The exit code; `None` if a signal ended it.
        code: Option<i32>,
        /// Its standard error; empty if the user has seen it.
        stderr: String,
    },
    /// It took longer than this, and was ended.
    TookTooLong {
        /// The bound.
        limit: Duration,
        /// Its standard error until then.
        stderr: String,
    },
    /// It printed more than this many bytes, and was ended.
    SaidTooMuch(usize),
    /// Its output is not UTF-8.
    NotText,
    /// Its output is not JSON, for this reason.
    NotJson(String),
    /// It could not be watched, or its output not be read.
    Unwatched(String),
}

impl Failure {
    pub(super) fn of<S: AsRef<OsStr>>(args: &[S], cause: Cause) -> Self {
        Self { call: Self::call(args), cause }
    }

    pub(super) fn of_call(call: String, cause: Cause) -> Self {
        Self { call, cause }
    }

    /// The call as it is shown. The user's flags are left out: a token may be among them.
    pub(super) fn call<S: AsRef<OsStr>>(args: &[S]) -> String {
        let words: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        printable(&words.join(" "), CALL_MAX)
    }

    /// Whether the API server refused the call because the user has no such right.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(&self.cause, Cause::Exited { stderr, .. } if stderr.contains("Error from server (Forbidden)"))
    }
}

impl Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let call = &self.call;
        match &self.cause {
            Cause::NotStarted { program, error } => {
                let (program, error) = (printable(program, CALL_MAX), printable(error, CALL_MAX));
                write!(f, "cannot start {program}: {error}; hint: install kubectl, or put its directory on the PATH")
            }
            Cause::Exited { code, stderr } => {
                match code {
                    Some(code) => write!(f, "`kubectl {call}` failed with exit code {code}")?,
                    None => write!(f, "`kubectl {call}` was ended by a signal")?,
                }
                match words(stderr) {
                    words if words.is_empty() => write!(f, "; hint: run the command yourself to see more"),
                    words => write!(f, ": {words}"),
                }
            }
            Cause::TookTooLong { limit, stderr } => {
                write!(f, "`kubectl {call}` did not answer within {} s", limit.as_secs_f32())?;
                match words(stderr) {
                    words if words.is_empty() => write!(f, "; hint: kubectl cluster-info, kubectl get nodes"),
                    words => write!(f, "; it said: {words}"),
                }
            }
            Cause::SaidTooMuch(bytes) => {
                write!(f, "`kubectl {call}` printed more than {bytes} bytes; hint: ask for fewer pods or one namespace")
            }
            Cause::NotText => write!(f, "`kubectl {call}` printed bytes that are not UTF-8; hint: run it yourself"),
            Cause::NotJson(error) => {
                write!(
                    f,
                    "`kubectl {call}` printed no valid JSON: {}; hint: run it yourself",
                    printable(error, CALL_MAX)
                )
            }
            Cause::Unwatched(error) => write!(f, "cannot watch `kubectl {call}`: {}", printable(error, CALL_MAX)),
        }
    }
}

/// What kubectl said, on one line of printable ASCII: the end of it, without lines for programs and without the line that only repeats
/// the exit code.
#[must_use]
pub fn words(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with(r#"{"version":"#))
        .filter(|line| !line.starts_with("command terminated with exit code "))
        .collect();
    let all = lines.join("; ");
    // What comes last is what it failed with; warnings come before it.
    let from = all.char_indices().rev().nth(WORDS_MAX - 1).map_or(0, |(from, _)| from);
    printable(&all[from..], WORDS_MAX)
}
