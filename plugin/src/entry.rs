//! A capture as the packet-capture pods describe it: the lines of `status -o json`, and the last line of `get` and `follow`.
//!
//! The text may be hostile: a line is bounded before it is read, and each text in it is bounded and printable after it.

use std::{borrow::Borrow, collections::BTreeMap, error::Error, fmt, net::IpAddr};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::printable::printable;

/// The version of the lines that this program knows.
const VERSION: u64 = 1;
/// The longest line: the node's own state file is shorter, and has all captures.
const LINE_BYTES_MAX: usize = 1 << 20;
/// The most lines of a node: it has 16 captures at once, and retained ones.
const ENTRIES_MAX: usize = 10_000;
/// The longest text: as long as an Event's message, which is the longest reason.
const TEXT_CHARS_MAX: usize = 1024;

/// Printable ASCII of a bounded length.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub struct Text(String);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(printable(&text, TEXT_CHARS_MAX))
    }
}

impl Text {
    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A map with texts as keys is searched with any text.
impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The pod's namespace.
    pub namespace: Text,
    /// The pod's name.
    pub pod: Text,
    /// The pod's UID.
    pub uid: Text,
    /// The pod's node.
    pub node: Text,
    /// What the capture does, in one word of `status`.
    pub state: Text,
    /// The reason for the state.
    pub reason: Option<Text>,
    /// The annotations that are carried out.
    pub annotations: BTreeMap<Text, Text>,
    /// What was captured over time, the newest record last.
    pub history: Vec<HistoryRecord>,
    /// When the first tcpdump was started for this request, as RFC 3339 says it.
    pub began: Option<Text>,
    /// What ended the capture: `duration`, `packets` or `stop-on`.
    pub ended: Option<Text>,
    /// Since when the pod is gone, if its files are kept.
    pub retired: Option<Text>,
    /// Copies that tcpdump counted until it was last stopped.
    pub captured: u64,
    /// Copies that the kernel dropped until then.
    pub dropped: u64,
    /// How many tcpdumps ended without a count.
    pub uncounted: u64,
    /// Whether tcpdump runs.
    pub running: bool,
    /// Whether the files are about to be deleted.
    pub doomed: bool,
    /// How many files the ring has.
    pub files: u64,
    /// The size of the ring.
    pub bytes: u64,
    /// The time of the oldest packet.
    pub oldest: Option<Text>,
    /// The place in the order of all captures of the node.
    pub sequence: u64,
}

/// What was captured from a point in time on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct HistoryRecord {
    /// The point in time.
    pub since: Text,
    /// The pod's addresses; what is no address is left out.
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<IpAddr>,
    /// How many files the ring had.
    pub files: u64,
    /// The filter, if there was one.
    pub filter: Option<Text>,
    /// How many bytes of each packet were kept, if not all.
    pub snaplen: Option<u64>,
}

/// The last line of `get` and `follow`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Copied {
    /// Whether the node's version is this program's.
    pub version: Version,
    /// What was copied.
    pub copy: Copy,
    /// The capture. Its texts are empty if the node knows nothing of it but its files.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Copy {
    /// Why the copy ended.
    pub end: End,
    /// How many packets were sent.
    pub packets: u64,
    /// How many bytes were sent.
    pub bytes: u64,
    /// What is wrong with the copy.
    pub warnings: Vec<Warning>,
}

/// Why a copy ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// `get` has copied what there was.
    Complete,
    /// `follow` has copied all, and the capture is over.
    CaptureEnded,
    /// The reader has gone, or may have.
    Interrupted,
    /// The ring could not be read, or the output not be written.
    Failed,
    /// A word that this program does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A warning: its kind, and what else the node says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Warning {
    /// The kind, in snake case.
    pub kind: Text,
    /// Numbers and texts, not made printable.
    #[serde(flatten)]
    pub details: BTreeMap<String, Value>,
}

/// Whether the packet-capture pod speaks as this program expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "u64")]
pub enum Version {
    /// It does.
    Same,
    /// It has this older version.
    Older(u64),
    /// It has this newer version.
    Newer(u64),
}

impl From<u64> for Version {
    fn from(version: u64) -> Self {
        match version {
            VERSION => Self::Same,
            version if version < VERSION => Self::Older(version),
            version => Self::Newer(version),
        }
    }
}

impl Version {
    /// What to do about it, as a sentence; `None` if there is nothing to do.
    #[must_use]
    pub fn advice(self) -> Option<String> {
        match self {
            Self::Same => None,
            Self::Older(version) => Some(format!(
                "the packet-capture pod describes captures in version {version} and this program reads version {VERSION}, so some of it \
                 may be missing; hint: have packet-capture updated in the cluster"
            )),
            Self::Newer(version) => Some(format!(
                "the packet-capture pod describes captures in version {version} and this program reads version {VERSION}, so some of it \
                 may be missing; hint: update kubectl packet-capture on this machine"
            )),
        }
    }
}

/// Why a line could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is longer than any that a packet-capture pod writes.
    TooLong,
    /// There are more lines than a node can have captures.
    TooMany,
    /// It is not the JSON that was expected, for this reason.
    Invalid(String),
    /// It is not either, and of another version.
    OtherVersion(Version),
}

impl Error for Unreadable {}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let hint = "hint: kubectl packet-capture and the image in the cluster may be of different versions";
        match self {
            Self::TooLong => write!(f, "a line about a capture is longer than {LINE_BYTES_MAX} bytes; {hint}"),
            Self::TooMany => {
                write!(f, "the node describes more than {ENTRIES_MAX} captures; hint: choose one namespace with -n")
            }
            Self::Invalid(error) => write!(f, "a line about a capture is not valid: {}; {hint}", printable(error, 200)),
            Self::OtherVersion(version) => {
                write!(
                    f,
                    "a line about a capture cannot be read: {}",
                    version.advice().unwrap_or_else(|| hint.to_owned())
                )
            }
        }
    }
}

/// The captures in the output of `status -o json`.
///
/// # Errors
/// If a line cannot be read, or there are too many.
pub fn captures(output: &str) -> Result<Vec<Entry>, Unreadable> {
    let lines: Vec<&str> = output.lines().filter(|line| !line.trim().is_empty()).take(ENTRIES_MAX + 1).collect();
    if lines.len() > ENTRIES_MAX {
        return Err(Unreadable::TooMany);
    }
    lines.into_iter().map(read).collect()
}

/// The description that `get` or `follow` ended with, among the lines of its standard error; `None` if the copy did not begin.
///
/// # Errors
/// If the line cannot be read.
pub fn copied(stderr: &str) -> Result<Option<Copied>, Unreadable> {
    stderr.lines().rev().find(|line| line.starts_with(r#"{"version":"#)).map(read).transpose()
}

fn read<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, Unreadable> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Unreadable::TooLong);
    }
    serde_json::from_str(line).map_err(|error| {
        #[derive(Deserialize)]
        struct Versioned {
            version: Version,
        }
        match serde_json::from_str(line) {
            Err(_) | Ok(Versioned { version: Version::Same }) => Unreadable::Invalid(error.to_string()),
            Ok(Versioned { version }) => Unreadable::OtherVersion(version),
        }
    })
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    Ok(texts.iter().filter_map(|text| text.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::{Copied, End, Unreadable, Version, captures, copied};

    const STATUS: &str = r#"{"namespace":"shop","pod":"web","uid":"u1","state":"capturing","sequence":3,"annotations":{"tcpdump.antrea.io":"5"},"claim":"holds","history":[{"since":"2026-11-25T10:00:00Z","addresses":["10.0.0.1","x","fd00::1"],"files":5,"filter":"tcp port 80"}],"began":"2026-11-25T10:00:00Z","captured":7,"dropped":1,"uncounted":0,"running":true,"doomed":false,"node":"w1","files":2,"bytes":1500000,"oldest":"2026-11-25T10:00:01Z"}"#;

    fn one(stderr: &str) -> Copied {
        copied(stderr).unwrap().unwrap()
    }

    #[test]
    fn a_line_of_status_is_read() {
        let entries = captures(&format!("{STATUS}\n\n{STATUS}\n")).unwrap();
        assert_eq!(entries.len(), 2);
        let entry = &entries[1];
        assert_eq!((entry.namespace.as_str(), entry.pod.as_str(), entry.node.as_str()), ("shop", "web", "w1"));
        assert_eq!((entry.state.as_str(), entry.bytes, entry.running), ("capturing", 1_500_000, true));
        assert_eq!(entry.annotations["tcpdump.antrea.io"].as_str(), "5");
        let record = &entry.history[0];
        assert_eq!(record.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        assert_eq!(record.filter.as_ref().unwrap().as_str(), "tcp port 80");
    }

    #[test]
    fn unknown_keys_are_ignored_and_absent_keys_have_defaults() {
        let entries = captures(r#"{"pod":"web","color":{"of":["the sky"]}}"#).unwrap();
        assert_eq!(entries[0].pod.as_str(), "web");
        assert_eq!((entries[0].captured, entries[0].reason.clone()), (0, None));
    }

    #[test]
    fn the_last_line_for_programs_is_read_whatever_kubectl_adds() {
        let stderr = "{\"version\":1,\"copy\":{}}\nnote: x\n\
            {\"version\":1,\"copy\":{\"end\":\"capture_ended\",\"packets\":3,\"bytes\":400,\"warnings\":[{\"kind\":\"overwritten\",\"files\":1}]},\
            \"pod\":\"web\",\"bytes\":9}\ncommand terminated with exit code 1\n";
        let Copied { version, copy, entry } = one(stderr);
        assert_eq!((version, copy.end, copy.packets, copy.bytes), (Version::Same, End::CaptureEnded, 3, 400));
        assert_eq!((copy.warnings[0].kind.as_str(), &copy.warnings[0].details["files"]), ("overwritten", &1.into()));
        assert_eq!((entry.pod.as_str(), entry.bytes), ("web", 9));
        assert_eq!(copied("error: no capture\n"), Ok(None));
    }

    #[test]
    fn another_version_is_read_as_far_as_possible_and_says_what_to_do() {
        let newer = one(r#"{"version":2,"copy":{"end":"vanished","packets":3},"pod":"web"}"#);
        assert_eq!((newer.version, newer.copy.end, newer.copy.packets), (Version::Newer(2), End::Unknown, 3));
        assert!(newer.version.advice().unwrap().ends_with("hint: update kubectl packet-capture on this machine"));
        let older = one(r#"{"version":0,"copy":{}}"#).version;
        assert!(older.advice().unwrap().ends_with("hint: have packet-capture updated in the cluster"));
        let error = copied(r#"{"version":7,"copy":"all of it"}"#).unwrap_err();
        assert_eq!(error, Unreadable::OtherVersion(Version::Newer(7)));
        assert!(error.to_string().contains("update kubectl packet-capture"), "{error}");
    }

    #[test]
    fn hostile_text_is_bounded_and_printable() {
        let long = "x".repeat(5000);
        let entries = captures(&format!(r#"{{"pod":"a\u001b[2J\u202e","reason":"{long}"}}"#)).unwrap();
        assert_eq!(entries[0].pod.as_str(), "a?[2J?");
        assert_eq!(entries[0].reason.as_ref().unwrap().as_str().len(), 1024);
        assert_eq!(captures(&format!(r#"{{"pod":"{}"}}"#, "x".repeat(1 << 20))), Err(Unreadable::TooLong));
        assert_eq!(captures(&"{}\n".repeat(10_001)), Err(Unreadable::TooMany));
        let nested = captures(&"[".repeat(100_000)).unwrap_err();
        assert!(matches!(nested, Unreadable::Invalid(_)));
        let said = captures("{\"pod\":\u{1b}[2J").unwrap_err().to_string();
        assert!(said.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{said:?}");
    }
}
