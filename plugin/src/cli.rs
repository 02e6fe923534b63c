//! The command line, and what goes where: results to the standard output, all else to the standard error.

use std::{
    env,
    io::{self, Write},
};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    agents::{self, NAMESPACE_VARIABLE, Place},
    kubectl::{Kubectl, Terminal},
    pods::{Invalid, Scope},
    status,
};

/// Done.
const DONE: u8 = 0;
/// Something failed, and was said.
const FAILED: u8 = 1;
/// The command line is wrong; clap uses this code too.
const WRONG: u8 = 2;

/// Captures pods' packets on their nodes, and fetches and shows them.
#[derive(Debug, Parser)]
#[command(name = "kubectl packet-capture", bin_name = "kubectl packet-capture", version)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: Verb,
}

/// Options of every verb.
#[derive(Debug, Args)]
struct Common {
    /// The namespace of the packet-capture pods; without it they are looked for. `PACKET_CAPTURE_NAMESPACE` says the same
    #[arg(long, global = true, value_name = "NAMESPACE")]
    capture_namespace: Option<String>,
    #[command(flatten)]
    kubectl: KubectlFlags,
}

/// Options of kubectl: which cluster, and who asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of kubectl")]
struct KubectlFlags {
    #[arg(long, global = true)]
    context: Option<String>,
    #[arg(long, global = true)]
    kubeconfig: Option<String>,
    #[arg(long, global = true, hide_short_help = true)]
    cluster: Option<String>,
    #[arg(long, global = true, hide_short_help = true)]
    user: Option<String>,
    #[arg(long, short, global = true, hide_short_help = true)]
    server: Option<String>,
    #[arg(long, global = true, hide_short_help = true)]
    token: Option<String>,
    #[arg(long = "as", global = true, value_name = "USER")]
    as_user: Option<String>,
    #[arg(long, global = true, hide_short_help = true)]
    as_group: Vec<String>,
    #[arg(long, global = true, hide_short_help = true)]
    as_uid: Option<String>,
    #[arg(long, global = true, hide_short_help = true)]
    request_timeout: Option<String>,
    #[arg(long, global = true, hide_short_help = true)]
    cache_dir: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows the captures of all nodes
    Status(StatusArgs),
}

#[derive(Debug, Args)]
struct StatusArgs {
    /// The pods' namespace; without it, that of the context
    #[arg(long, short)]
    namespace: Option<String>,
    /// In all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
    /// More columns, or an object on a line for each capture
    #[arg(long, short)]
    output: Option<Output>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Wide,
    Json,
}

/// Why a verb did not begin.
enum Stopped {
    Wrong(String),
    Failed(String),
}

impl From<Invalid> for Stopped {
    fn from(invalid: Invalid) -> Self {
        Self::Wrong(invalid.to_string())
    }
}

impl Cli {
    /// Does what the command line says. Returns the exit code.
    #[must_use]
    pub fn run(self) -> u8 {
        let Self { common, verb } = self;
        let kubectl = Kubectl::new(common.kubectl.words(), Terminal::of_this_process());
        let done = match verb {
            Verb::Status(args) => args.run(&kubectl, common.capture_namespace.as_deref()),
        };
        match done {
            Ok(code) => code,
            Err(Stopped::Wrong(what)) => {
                complain(&format!("error: {what}"));
                WRONG
            }
            Err(Stopped::Failed(what)) => {
                complain(&format!("error: {what}"));
                FAILED
            }
        }
    }
}

impl KubectlFlags {
    fn words(self) -> Vec<String> {
        let Self {
            context,
            kubeconfig,
            cluster,
            user,
            server,
            token,
            as_user,
            as_group,
            as_uid,
            request_timeout,
            cache_dir,
        } = self;
        let once = [
            ("context", context),
            ("kubeconfig", kubeconfig),
            ("cluster", cluster),
            ("user", user),
            ("server", server),
            ("token", token),
            ("as", as_user),
            ("as-uid", as_uid),
            ("request-timeout", request_timeout),
            ("cache-dir", cache_dir),
        ];
        let groups = as_group.into_iter().map(|group| ("as-group", Some(group)));
        once.into_iter().chain(groups).filter_map(|(name, value)| Some(format!("--{name}={}", value?))).collect()
    }
}

impl StatusArgs {
    fn run(self, kubectl: &Kubectl, capture_namespace: Option<&str>) -> Result<u8, Stopped> {
        let scope = Scope::parse(self.namespace.as_deref(), self.all_namespaces)?;
        let variable = env::var(NAMESPACE_VARIABLE).ok();
        let place =
            Place::named(capture_namespace, variable.as_deref()).map_err(|error| Stopped::Wrong(error.to_string()))?;
        let namespace = match scope {
            Scope::All => None,
            Scope::Namespace(name) => Some(name),
            Scope::Current => Some(current_namespace(kubectl)),
        };
        let format = match self.output {
            None => status::Format::Table,
            Some(Output::Wide) => status::Format::Wide,
            Some(Output::Json) => status::Format::Json,
        };
        let agents = agents::find(kubectl, place).map_err(|error| Stopped::Failed(error.to_string()))?;
        let report = status::of_all(kubectl, &agents, namespace.as_deref(), format);
        // A reader that has gone has seen enough.
        let written = io::stdout().write_all(report.text.as_bytes());
        report.notes.iter().for_each(|line| complain(line));
        report.failures.iter().for_each(|line| complain(&format!("error: {line}")));
        if let Err(error) = written.as_ref()
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(Stopped::Failed(format!("cannot write to the standard output: {error}")));
        }
        if report.failures.is_empty()
            && report.is_empty
            && self.output.is_none_or(|output| !matches!(output, Output::Json))
        {
            complain("no captures");
        }
        Ok(if report.failures.is_empty() { DONE } else { FAILED })
    }
}

/// What the kubeconfig says. Within a pod there may be none.
fn current_namespace(kubectl: &Kubectl) -> String {
    let call = ["config", "view", "--minify", "--output=jsonpath={.contexts[0].context.namespace}"];
    let said = kubectl.local(&call).unwrap_or_default();
    match Scope::parse(Some(said.trim()), false) {
        Ok(Scope::Namespace(name)) => name,
        Ok(Scope::Current | Scope::All) | Err(_) => "default".to_owned(),
    }
}

fn complain(line: &str) {
    // There is nobody else to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
