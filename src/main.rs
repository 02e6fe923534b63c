//! From the environment to a running controller; the only file that knows exit codes.
//!
//! 0: success, or a stop by signal; 1: a failure, or a second signal; 2: invalid configuration or command line.

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use k8s_openapi::jiff::Timestamp;
use kube::{Client, Config as KubeConfig, config::KubeConfigOptions};
use packet_capture::{
    cli::{self, Command, UsageError},
    config::{self, Config},
    controller::run,
    core::name::PodName,
    files::pcap,
    k8s::{lookup, watch},
    kernel::memory,
    process::health,
    reading::{
        copy::{self, Copied, CopyRequest, Remark},
        error::Error,
        output::{self, AtInputEnd, Output},
        readers, status,
    },
    text::status::Format,
};

fn main() -> ExitCode {
    let words: Vec<String> = env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match cli::parse(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(Command::Run) => control(),
        Ok(Command::Health { ready }) => probe(ready),
        Ok(Command::Status { namespace, format }) => show(namespace.as_deref(), format),
        Ok(Command::Copy { pod, all, follow }) => copy(&pod, all, follow),
        Ok(Command::Say(text)) => say(&format!("{text}\n")),
        Err(UsageError { error, usage }) => {
            output::say(&format!("error: {error}\n{usage}"));
            ExitCode::from(2)
        }
    }
}

fn control() -> ExitCode {
    // kube logs each failure itself, more than once; what matters of it is said by `watch`. RUST_LOG brings it back.
    let filter = env_logger::Env::default().default_filter_or("info,kube_client=off,kube_runtime=off,tower=off");
    let format = |line: &mut env_logger::fmt::Formatter, record: &log::Record<'_>| {
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        writeln!(line, "[{time} {:<5}] {}", record.level(), record.args())
    };
    env_logger::Builder::from_env(filter).format(format).init();
    let config = match Config::read(|name| env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::from(2);
        }
    };
    // What is captured is for root only; tcpdump inherits it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    block_on(async { run::run(config, connect().await?).await }).unwrap_or_else(|error| {
        log::error!("{error}");
        ExitCode::FAILURE
    })
}

/// Runs a task to its end. Tasks that it started and that still run, such as one that sends an Event, are dropped.
fn block_on<T>(task: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let ended = runtime.block_on(task);
    runtime.shutdown_background();
    ended
}

/// The API server of the cluster that this runs in, or that of the kubeconfig elsewhere.
async fn connect() -> Result<Client, String> {
    let mut config = if env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        KubeConfig::incluster().map_err(|error| format!("cannot read the service account: {error}"))?
    } else {
        let config = KubeConfig::from_kubeconfig(&KubeConfigOptions::default()).await;
        config.map_err(|error| format!("cannot read the kubeconfig: {error}; set KUBECONFIG to its path"))?
    };
    // Only `watch` and `events` try again, each in its own way; kube would do so beneath them and tell nobody.
    config.default_retry = false;
    config.read_timeout = Some(watch::READ_TIMEOUT);
    // The time that a connection was idle before a request does not count.
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|error| format!("cannot create a client for the API server: {error}"))
}

fn probe(ready: bool) -> ExitCode {
    match health::check(&path("RUN_DIR", config::RUN_DIR), ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn show(namespace: Option<&str>, format: Format) -> ExitCode {
    goes_first();
    let whose = namespace.unwrap_or(readers::ALL_NAMESPACES);
    let _admission = match readers::admit(&path("RUN_DIR", config::RUN_DIR), &readers::STATUS, whose) {
        Ok(admission) => admission,
        Err(error) => return fail(&error.to_string()),
    };
    if let Err(reason) = health::check(&path("RUN_DIR", config::RUN_DIR), true) {
        warn(&format!("the controller is {reason}; this is its last saved state"));
    }
    let node = env::var("NODE_NAME").unwrap_or_default();
    match status::status(&path("CAPTURE_DIR", config::CAPTURE_DIR), &node, namespace, format, Timestamp::now()) {
        Ok(text) => say(&text),
        Err(error) => fail(&format!("cannot read the captures of this node: {error}")),
    }
}

fn copy(pod: &PodName, all: bool, follow: bool) -> ExitCode {
    goes_first();
    if output::is_terminal() {
        fail(
            "standard output is a terminal, which would change bytes of the file; hint: use `kubectl exec` without -t (-i alone is fine)",
        );
        return ExitCode::from(2);
    }
    let _admission = match readers::admit(&path("RUN_DIR", config::RUN_DIR), &readers::READERS, &pod.namespace) {
        Ok(admission) => admission,
        Err(error) => return fail(&error.to_string()),
    };
    let link_type = pcap::link_type_of(&env::var("TCPDUMP_OPTIONS").unwrap_or_default());
    let mut say = |remark| match remark {
        Remark::Warning(text) => warn(&text),
        Remark::Note(text) => output::say(&format!("note: {text}")),
    };
    let node = env::var("NODE_NAME").unwrap_or_default();
    let request = CopyRequest { pod, all, follow, link_type, node: &node };
    let copied = Output::standard(if follow { AtInputEnd::End } else { AtInputEnd::GoOn })
        .map_err(Error::from)
        .and_then(|output| copy::copy(&path("CAPTURE_DIR", config::CAPTURE_DIR), &request, output, &mut say));
    let Copied { result, counts, json } = match copied {
        Ok(copied) => copied,
        Err(Error::NoCapture) => return fail(&format!("no capture of {pod} on this node; {}", whereabouts(pod))),
        Err(error) => return fail(&error.to_string()),
    };
    let code = match result {
        Ok(()) => {
            output::say(&counts);
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error.to_string()),
    };
    output::say(&json);
    code
}

/// What somebody has run in the container must not cost a capture its memory. Where that cannot be said, the kernel chooses.
fn goes_first() {
    let _ = memory::goes_first("self");
}

fn whereabouts(pod: &PodName) -> String {
    let node = env::var("NODE_NAME").unwrap_or_default();
    let hint = block_on(async { Ok(lookup::locate(connect().await?, pod, &node).await) });
    hint.unwrap_or_else(|error| format!("cannot find out which node the pod runs on: {error}"))
}

fn path(name: &str, default: &str) -> PathBuf {
    env::var_os(name).map_or(default.into(), PathBuf::from)
}

fn say(text: &str) -> ExitCode {
    // Who does not read to the end, such as `head`, knows why.
    match output::print(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&format!("cannot write to standard output: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn warn(text: &str) {
    output::say(&format!("warning: {text}"));
}

fn fail(text: &str) -> ExitCode {
    output::say(&format!("error: {text}"));
    ExitCode::FAILURE
}
