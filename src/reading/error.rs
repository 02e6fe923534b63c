//! Why a copy ends before it is complete.

use std::{fmt, io};

use crate::reading::output::STALL_AFTER_STDIN_CLOSED;

/// Why a copy ended too soon.
#[derive(Debug)]
pub enum Error {
    /// There is no such capture on this node.
    NoCapture,
    /// The state file or the directory of the captures cannot be read.
    Unreadable(io::Error),
    /// Nobody reads it any more.
    ReaderGone,
    /// Nobody has read it for too long.
    ReaderStalled,
    /// Nothing can tell whether somebody still reads it.
    Alone,
    /// The pod uses the node's network, so the capture would hold the stream of its own packets, and that of these, without end.
    NodeNetwork,
    /// Standard output cannot be written.
    Unwritable(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapture => f.write_str("no such capture on this node"),
            Self::Unreadable(error) => write!(f, "cannot read the captures of this node: {error}"),
            Self::ReaderGone => f.write_str("nobody reads any more"),
            Self::ReaderStalled => write!(f, "nobody has read for {} s or more", STALL_AFTER_STDIN_CLOSED.as_secs()),
            Self::Alone => write!(
                f,
                "ended after {} s, since standard input is closed and nobody may read any more; hint: `kubectl exec -i`",
                STALL_AFTER_STDIN_CLOSED.as_secs()
            ),
            Self::NodeNetwork => f.write_str(
                "the pod uses the node's network, and so does the stream of its packets, which would be captured again and again; hint: \
                 use `get`, which ends",
            ),
            Self::Unwritable(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            io::ErrorKind::TimedOut => Self::ReaderStalled,
            _ => Self::Unwritable(error),
        }
    }
}
