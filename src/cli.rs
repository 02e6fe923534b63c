//! The command line: what each word means, and what is said to those that mean nothing. Pure.

use crate::{core::name::PodName, text::status::Format};

/// What the program is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run the controller.
    Run,
    /// Exit 0 if the controller is alive, or ready.
    Health {
        /// Ready, too.
        ready: bool,
    },
    /// Show the captures of this node.
    Status {
        /// Only those of this namespace.
        namespace: Option<String>,
        /// How.
        format: Format,
    },
    /// Copy a capture's packets to standard output.
    Copy {
        /// Whose.
        pod: PodName,
        /// Every copy of a packet, not only that of the pod's own interface.
        all: bool,
        /// Go on with those that come.
        follow: bool,
    },
    /// Print this.
    Say(&'static str),
}

/// What is wrong with a command line, and how a right one looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError {
    /// What is wrong.
    pub error: String,
    /// A right one.
    pub usage: &'static str,
}

const USAGE: &str = "usage: packet-capture COMMAND

Run in a packet-capture pod, these show the captures of its node:
  status [-n NAMESPACE] [-o wide|json]  how they are getting on
  get [NAMESPACE/]POD [--all]           a capture's packets, as one pcap file on standard output
  follow [NAMESPACE/]POD [--all]        the same, and then those that come
Each has a --help of its own.

  health [--ready]                      exit 0 if the controller is alive [and has listed its pods]
  --version

Without a command: the controller of node $NODE_NAME. docs/operator.md names the environment variables.
On your own machine `kubectl packet-capture` does all this for you, and finds the right node.";

const STATUS: &str = "usage: packet-capture status [-n NAMESPACE] [-o wide|json]

The captures of this node: one line for each pod that asks for one, or has files.
  -n NAMESPACE  only those of its pods
  -o wide       the node, the addresses and the filter, too
  -o json       one line of JSON for each, with all that is known of it

COPIES and DROPPED are what tcpdump counted until it was last stopped; with a + more have come since. tcpdump counts a packet once
for each interface that it passes, so these are copies: `get` shows one of each packet, and with --all each copy.";

const GET: &str = "usage: packet-capture get [NAMESPACE/]POD [--all]

Copies the packets that a capture has kept to standard output, as one pcap file, the oldest first. The capture goes on meanwhile.
tcpdump sees a copy of a packet on each interface that the packet passes; of these the one of the pod's own interface is shown.
  --all  all of them

Standard error says how a capture is getting on that does not run, what could not be read, and at last how many packets and bytes
there were: `12 packets, 3456 bytes`. Standard output must not be a terminal (`kubectl exec` without -t).";

const FOLLOW: &str = "usage: packet-capture follow [NAMESPACE/]POD [--all]

Copies the packets of a capture to standard output, as one pcap file, the oldest first, and goes on with those that come, until
the capture ends, or standard input or output is closed (so `kubectl exec` needs -i: without it, this ends after 50 s).
Standard error says how the capture is getting on whenever that changes. Standard output must not be a terminal (no -t).
  --all  all copies of each packet, not only that of the pod's own interface";

/// What a command line asks for.
///
/// # Errors
/// If it asks for nothing that there is.
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
        _ => misuse(USAGE, format!("{:?} is no command", words.join(" "))),
    }
}

fn status(mut words: &[&str]) -> Result<Command, String> {
    let (mut namespace, mut format) = (None, Format::Table);
    loop {
        words = match *words {
            [] => return Ok(Command::Status { namespace, format }),
            ["--help" | "-h", ..] => return Ok(Command::Say(STATUS)),
            ["-n", name, ref rest @ ..] if is_label(name) => {
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
            ["-n", name, ..] => return Err(format!("{name:?} is no name of a namespace")),
            [word, ..] => return Err(format!("{word:?} does not belong there")),
        }
    }
}

fn copy(words: &[&str], follow: bool, help: &'static str) -> Result<Command, String> {
    let (mut pod, mut all) = (None, false);
    for word in words {
        match (*word, &pod) {
            ("--help" | "-h", _) => return Ok(Command::Say(help)),
            ("--all", _) => all = true,
            (name, None) => pod = Some(pod_name(name).ok_or(format!("{name:?} is no name of a pod: [NAMESPACE/]POD"))?),
            (word, Some(_)) => return Err(format!("{word:?} does not belong there")),
        }
    }
    Ok(Command::Copy { pod: pod.ok_or("whose capture? name a pod: [NAMESPACE/]POD")?, all, follow })
}

fn pod_name(text: &str) -> Option<PodName> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    let is_pod = is_label(namespace) && name.len() <= 253 && name.split('.').all(|part| is_label_of(part, 253));
    is_pod.then(|| PodName { namespace: namespace.to_owned(), name: name.to_owned() })
}

/// Whether the API server takes it as a namespace's name (RFC 1123).
fn is_label(text: &str) -> bool {
    is_label_of(text, 63)
}

fn is_label_of(text: &str, bytes_max: usize) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= bytes_max
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&str> {
        line.split(' ').filter(|word| !word.is_empty()).collect()
    }

    #[test]
    fn a_line_means_what_it_says() {
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
    fn what_means_nothing_is_answered_with_the_usage_and_what_was_wrong() {
        let long = format!("get {}/web", "n".repeat(64));
        for (line, usage, error) in [
            ("run", USAGE, "\"run\" is no command"),
            ("health --alive", USAGE, "\"health --alive\" is no command"),
            ("get", GET, "whose capture?"),
            ("get a b", GET, "\"b\" does not belong there"),
            ("get --al", GET, "\"--al\" is no name of a pod"),
            ("get a/b/c", GET, "\"a/b/c\" is no name"),
            ("get ../x", GET, "\"../x\" is no name"),
            ("get a/", GET, "\"a/\" is no name"),
            ("get a/b..c", GET, "no name"),
            ("get a.b/c", GET, "no name"),
            ("get Web", GET, "no name"),
            ("get web-", GET, "no name"),
            (&long, GET, "no name"),
            ("follow \u{1b}[31m", FOLLOW, "\\u{1b}[31m"),
            ("status -n", STATUS, "\"-n\" does not belong there"),
            ("status -n A", STATUS, "\"A\" is no name of a namespace"),
            ("status -o yaml", STATUS, "\"-o\" does not belong there"),
            ("status web", STATUS, "\"web\" does not belong there"),
        ] {
            let misuse = parse(&words(line)).unwrap_err();
            assert!(misuse.usage == usage && misuse.error.contains(error), "{line}: {misuse:?}");
        }
    }
}
