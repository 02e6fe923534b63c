//! The command line: from arguments to a command, the --help texts, and the usage errors. Pure.

use crate::{
    core::name::{PodName, is_dns_label, is_object_name},
    text::status::Format,
};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the controller.
    Run,
    /// Exit 0 if the controller is alive, or ready.
    Health {
        /// Whether the controller must also be ready.
        ready: bool,
    },
    /// Show the captures of this node.
    Status {
        /// Only the captures of this namespace; `None`: of all.
        namespace: Option<String>,
        /// In which form.
        format: Format,
    },
    /// Copy a capture's packets to standard output.
    Copy {
        /// The pod whose capture is copied.
        pod: PodName,
        /// Whether to write every copy of a packet, not only the copy on the pod's own interface.
        all: bool,
        /// Whether to continue with the packets that are still to come.
        follow: bool,
    },
    /// Print this text.
    Say(&'static str),
}

/// A command line that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    /// What is wrong with it.
    pub error: String,
    /// The --help text of the verb.
    pub usage: &'static str,
}

const USAGE: &str = "usage: packet-capture COMMAND

Run in a packet-capture pod, these show the captures of its node:
  status [-n NAMESPACE] [-o wide|json]  list captures and their state
  get [NAMESPACE/]POD [--all]           write a capture's packets as one pcap file to standard output
  follow [NAMESPACE/]POD [--all]        write them, and continue with new packets as they arrive
Each of these has its own --help.

  health [--ready]                      exit 0 if the controller is alive [and has listed its pods]
  --version                             print the version

Without a command it runs the controller of node $NODE_NAME; docs/operator.md lists the environment variables.
On your own machine use `kubectl packet-capture`, which finds the right node.";

const STATUS: &str = "usage: packet-capture status [-n NAMESPACE] [-o wide|json]

Lists the captures of this node: one line for each pod that asks for a capture or has files.
  -n NAMESPACE  only pods of this namespace
  -o wide       also the node, the addresses and the filter
  -o json       one line of JSON for each capture, with everything that is known of it

COPIES and DROPPED are what tcpdump counted until it was last stopped; a + means that there are more by now. tcpdump counts a packet
once for each interface that the packet passes: each time is a copy. `get` shows one copy of each packet, `get --all` every copy.";

const GET: &str = "usage: packet-capture get [NAMESPACE/]POD [--all]

Writes the packets that a capture has kept to standard output, as one pcap file, oldest packet first. The capture continues.
tcpdump sees a copy of a packet on each interface that the packet passes; `get` writes the copy on the pod's own interface.
  --all  every copy of each packet

Standard error shows the state of a capture that does not run, a warning for each kind of missing packets, and the numbers of packets
and bytes that were written: `12 packets, 3456 bytes`. Its last line is JSON, for programs: the same as data, and the capture as
`status -o json` shows it. Standard output must not be a terminal (use `kubectl exec` without -t).";

const FOLLOW: &str = "usage: packet-capture follow [NAMESPACE/]POD [--all]

Writes the packets of a capture to standard output, as one pcap file, oldest packet first, and continues with new packets until the
capture ends, or standard input or output is closed (so `kubectl exec` needs -i: without it, `follow` ends after 50 s).
Standard error shows the state of the capture whenever it changes, and ends as that of `get`. Standard output must not be a terminal
(no -t).
  --all  every copy of each packet, not only the copy on the pod's own interface";

/// Parses the arguments, without the program's name.
///
/// # Errors
/// If they are not a command, or an argument of the command is wrong.
pub fn parse(words: &[&str]) -> Result<Command, UsageError> {
    let misuse = |usage, error| Err(UsageError { error, usage });
    match *words {
        [] => Ok(Command::Run),
        ["health"] => Ok(Command::Health { ready: false }),
        ["health", "--ready"] => Ok(Command::Health { ready: true }),
        ["--version"] => Ok(Command::Say(concat!("packet-capture ", env!("CARGO_PKG_VERSION")))),
        ["--help" | "-h" | "help"] => Ok(Command::Say(USAGE)),
        ["status", ref rest @ ..] => status(rest).or_else(|error| misuse(STATUS, error)),
        ["get", ref rest @ ..] => copy(rest, false, GET).or_else(|error| misuse(GET, error)),
        ["follow", ref rest @ ..] => copy(rest, true, FOLLOW).or_else(|error| misuse(FOLLOW, error)),
        _ => misuse(USAGE, format!("unknown command {:?}", words.join(" "))),
    }
}

fn status(mut words: &[&str]) -> Result<Command, String> {
    let (mut namespace, mut format) = (None, Format::Table);
    loop {
        words = match *words {
            [] => return Ok(Command::Status { namespace, format }),
            ["--help" | "-h", ..] => return Ok(Command::Say(STATUS)),
            ["-n", name, ref rest @ ..] if is_dns_label(name) => {
                namespace = Some(name.to_owned());
                rest
            }
            ["-o", "wide", ref rest @ ..] => {
                format = Format::Wide;
                rest
            }
            ["-o", "json", ref rest @ ..] => {
                format = Format::Json;
                rest
            }
            ["-n", name, ..] => return Err(format!("{name:?} is not a valid namespace name")),
            [word, ..] => return Err(format!("unexpected argument {word:?}")),
        }
    }
}

fn copy(words: &[&str], follow: bool, help: &'static str) -> Result<Command, String> {
    let (mut pod, mut all) = (None, false);
    for word in words {
        match (*word, &pod) {
            ("--help" | "-h", _) => return Ok(Command::Say(help)),
            ("--all", _) => all = true,
            (name, None) => {
                pod = Some(pod_name(name).ok_or(format!("{name:?} is not a valid pod name; expected [NAMESPACE/]POD"))?)
            }
            (word, Some(_)) => return Err(format!("unexpected argument {word:?}")),
        }
    }
    Ok(Command::Copy { pod: pod.ok_or("missing argument [NAMESPACE/]POD")?, all, follow })
}

fn pod_name(text: &str) -> Option<PodName> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    let is_pod = is_dns_label(namespace) && is_object_name(name);
    is_pod.then(|| PodName { namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&str> {
        line.split(' ').filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn a_command_line_is_parsed_into_its_command() {
        let pod = |namespace: &str, name: &str| PodName { namespace: namespace.into(), name: name.into() };
        let copy = |pod, all, follow| Command::Copy { pod, all, follow };
        let status =
            |namespace: Option<&str>, format| Command::Status { namespace: namespace.map(str::to_owned), format };
        for (line, command) in [
            ("", Command::Run),
            ("health --ready", Command::Health { ready: true }),
            ("get web", copy(pod("default", "web"), false, false)),
            ("get prod/web.1 --all", copy(pod("prod", "web.1"), true, false)),
            ("follow --all prod/web", copy(pod("prod", "web"), true, true)),
            ("status", status(None, Format::Table)),
            ("status -n prod", status(Some("prod"), Format::Table)),
            ("status -o wide", status(None, Format::Wide)),
            ("status -n prod -o json", status(Some("prod"), Format::Json)),
        ] {
            assert_eq!(parse(&words(line)), Ok(command), "{line}");
        }
        for (line, help) in
            [("--help", USAGE), ("get --help", GET), ("follow web -h", FOLLOW), ("status --help", STATUS)]
        {
            assert_eq!(parse(&words(line)), Ok(Command::Say(help)), "{line}");
        }
    }

    #[test]
    fn a_wrong_command_line_is_answered_with_the_error_and_the_usage() {
        let long = format!("get {}/web", "n".repeat(64));
        for (line, usage, error) in [
            ("run", USAGE, "unknown command \"run\""),
            ("health --alive", USAGE, "unknown command \"health --alive\""),
            ("get", GET, "missing argument [NAMESPACE/]POD"),
            ("get a b", GET, "unexpected argument \"b\""),
            ("get --al", GET, "\"--al\" is not a valid pod name"),
            ("get a/b/c", GET, "\"a/b/c\" is not a valid pod name"),
            ("get ../x", GET, "\"../x\" is not a valid pod name"),
            ("get a/", GET, "\"a/\" is not a valid pod name"),
            ("get a/b..c", GET, "is not a valid pod name"),
            ("get a.b/c", GET, "is not a valid pod name"),
            ("get Web", GET, "is not a valid pod name"),
            ("get web-", GET, "is not a valid pod name"),
            (&long, GET, "is not a valid pod name"),
            ("follow \u{1b}[31m", FOLLOW, "\\u{1b}[31m"),
            ("status -n", STATUS, "unexpected argument \"-n\""),
            ("status -n A", STATUS, "\"A\" is not a valid namespace name"),
            ("status -o yaml", STATUS, "unexpected argument \"-o\""),
            ("status web", STATUS, "unexpected argument \"web\""),
        ] {
            let misuse = parse(&words(line)).unwrap_err();
            assert!(misuse.usage == usage && misuse.error.contains(error), "{line}: {misuse:?}");
        }
    }
}
