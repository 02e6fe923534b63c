//! kubectl as a child process: what it is given, how long it may take and how much it may say, and its failures as sentences.
//!
//! The first call that talks to the cluster runs alone and has the user's terminal, so that a login plugin can ask for a password.
//! Later calls find the login done. They may run at once, have no terminal, and are bounded in time.

mod failure;
mod group;
mod output;
mod running;
mod stream;

use std::{
    ffi::OsStr,
    io::{self, IsTerminal},
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;

use self::running::Running;
pub use self::{
    failure::{Cause, Failure, words},
    stream::{Ended, Stream},
};

/// How long a call may take. The API server answers within a second; a node that does not answer holds `exec` for minutes.
const TIME_MAX: Duration = Duration::from_secs(20);
/// How many bytes a call may print: a list of 5000 pods has about 50 MB.
const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// The bounds of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long it may take.
    pub time: Duration,
    /// How many bytes it may print on its standard output.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: TIME_MAX, output_bytes: OUTPUT_BYTES_MAX }
    }
}

/// Whether somebody can answer the prompt of a login plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// The standard input is a terminal: the first call inherits it, and the standard error, and may take as long as the user takes.
    Attached,
    /// There is none, as in a script: every call is bounded.
    Absent,
}

impl Terminal {
    /// The terminal of this process.
    #[must_use]
    pub fn of_this_process() -> Self {
        if io::stdin().is_terminal() { Self::Attached } else { Self::Absent }
    }
}

/// kubectl with the user's own flags.
#[derive(Debug)]
pub struct Kubectl {
    program: PathBuf,
    flags: Vec<String>,
    terminal: Terminal,
    limits: Limits,
    login: Mutex<Login>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    Ahead,
    Done,
}

/// What a call printed, and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The exit code; `None` if a signal ended kubectl.
    pub code: Option<i32>,
    /// The standard output.
    pub stdout: String,
    /// The end of the standard error; nothing where the user has seen it on the terminal.
    pub stderr: String,
}

impl Answer {
    /// The answer, if kubectl exited with code 0. `args` are those of its call.
    ///
    /// # Errors
    /// If it did not.
    pub fn succeeded<S: AsRef<OsStr>>(self, args: &[S]) -> Result<Self, Failure> {
        match self.code {
            Some(0) => Ok(self),
            code => Err(Failure::of(args, Cause::Exited { code, stderr: self.stderr })),
        }
    }
}

impl Kubectl {
    /// kubectl of the `PATH`. `flags` are those of the user that say which cluster, and who asks: `--context=kind`, `--as=jane`.
    #[must_use]
    pub fn new(flags: Vec<String>, terminal: Terminal) -> Self {
        Self::with("kubectl".into(), flags, terminal, Limits::default())
    }

    /// Another program in its place, with other bounds.
    #[must_use]
    pub fn with(program: PathBuf, flags: Vec<String>, terminal: Terminal, limits: Limits) -> Self {
        Self { program, flags, terminal, limits, login: Mutex::new(Login::Ahead) }
    }

    /// What kubectl prints.
    ///
    /// # Errors
    /// If kubectl does not start, exits with another code than 0, takes too long, or prints too much or no UTF-8.
    pub fn read<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, Failure> {
        self.answer(args)?.succeeded(args).map(|answer| answer.stdout)
    }

    /// What kubectl prints, as JSON; null if it prints nothing, as `get --ignore-not-found` does.
    ///
    /// # Errors
    /// As with `read`, and if the output is not JSON.
    pub fn json<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Value, Failure> {
        let text = self.read(args)?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).map_err(|error| Failure::of(args, Cause::NotJson(error.to_string())))
    }

    /// What a call prints that reads only the user's files, such as `config view`: no login comes before it.
    ///
    /// # Errors
    /// As with `read`.
    pub fn local<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, Failure> {
        self.run(args, Terminal::Absent)?.succeeded(args).map(|answer| answer.stdout)
    }

    /// What kubectl prints and how it ends, whatever its exit code is.
    ///
    /// # Errors
    /// As with `read`, but for the exit code.
    pub fn answer<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Answer, Failure> {
        // Another thread's first call is waited for here: two login plugins must not ask at once.
        let mut login = self.login.lock().unwrap_or_else(PoisonError::into_inner);
        if *login == Login::Ahead {
            let answer = self.run(args, self.terminal)?;
            *login = Login::Done;
            return Ok(answer);
        }
        drop(login);
        self.run(args, Terminal::Absent)
    }

    /// A call whose standard output is read while it runs, such as `exec -i`. It has no bound in time and no terminal, so something
    /// should have been read before: then the login is done.
    ///
    /// # Errors
    /// If kubectl does not start.
    pub fn stream<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Stream, Failure> {
        let mut command = self.command(args);
        group::separate(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let running = Running::spawn(command).map_err(|error| self.unspawned(args, &error))?;
        Ok(Stream::of(running, Failure::call(args)))
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.flags).args(args);
        command
    }

    fn run<S: AsRef<OsStr>>(&self, args: &[S], terminal: Terminal) -> Result<Answer, Failure> {
        let mut command = self.command(args);
        command.stdout(Stdio::piped());
        let time_max = match terminal {
            // In a process group of its own it would be stopped when it reads the terminal.
            Terminal::Attached => {
                command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
                None
            }
            Terminal::Absent => {
                group::separate(command.stdin(Stdio::null()).stderr(Stdio::piped()));
                Some(self.limits.time)
            }
        };
        let running = Running::spawn(command).map_err(|error| self.unspawned(args, &error))?;
        let output = running.output(time_max, self.limits.output_bytes).map_err(|cause| Failure::of(args, cause))?;
        let stdout = String::from_utf8(output.stdout).map_err(|_| Failure::of(args, Cause::NotText))?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Answer { code: output.code, stdout, stderr })
    }

    fn unspawned<S: AsRef<OsStr>>(&self, args: &[S], error: &io::Error) -> Failure {
        let program = self.program.display().to_string();
        Failure::of(args, Cause::NotStarted { program, error: error.to_string() })
    }
}
