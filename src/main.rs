//! From the environment to a running controller; the only file that knows exit codes.
//!
//! 0: asked to end, and did; 1: failed, or asked twice; 2: wrong configuration or command line.

use std::{env, path::Path, process::ExitCode};

use kube::{Client, Config as KubeConfig, config::KubeConfigOptions};
use packet_capture::{config::Config, health, run, watch};

const USAGE: &str = "usage: packet-capture                    run the controller of node $NODE_NAME
       packet-capture health [--ready]  exit 0 if it is alive [and has listed its pods]
       packet-capture --version | --help";

fn main() -> ExitCode {
    let arguments: Vec<String> =
        env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => control(),
        ["health"] => probe(false),
        ["health", "--ready"] => probe(true),
        ["--version"] => say(concat!("packet-capture ", env!("CARGO_PKG_VERSION"))),
        ["--help"] => say(USAGE),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn control() -> ExitCode {
    // kube logs each failure itself, more than once; what matters of it is said by `watch`. RUST_LOG brings it back.
    let filter = env_logger::Env::default().default_filter_or("info,kube_client=off,kube_runtime=off,tower=off");
    env_logger::Builder::from_env(filter).format_target(false).init();
    let config = match Config::read(|name| env::var(name).ok()) {
        Ok(config) => config,
        Err(error) => {
            log::error!("{error}");
            return ExitCode::from(2);
        }
    };
    // What is captured is for root only; tcpdump inherits it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(|error| format!("cannot make the runtime: {error}")).and_then(|runtime| {
        let ended = runtime.block_on(async { run::run(config, connect().await?).await });
        // What is left, such as an Event on its way, is dropped.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        log::error!("{error}");
        ExitCode::FAILURE
    })
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
    Client::try_from(config).map_err(|error| format!("cannot make a client for the API server: {error}"))
}

fn probe(ready: bool) -> ExitCode {
    let dir = env::var("RUN_DIR").unwrap_or_else(|_| packet_capture::config::RUN_DIR.to_owned());
    match health::check(Path::new(&dir), ready) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}
