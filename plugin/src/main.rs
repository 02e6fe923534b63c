//! `kubectl packet-capture`: kubectl finds this program by its name, in which `_` stands for `-`.

use std::process::ExitCode;

use clap::Parser;
use packet_capture_plugin::cli::Cli;

fn main() -> ExitCode {
    ExitCode::from(Cli::parse().run())
}
