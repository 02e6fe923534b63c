//! Why a copy ends before it is complete.

use std::{fmt, io, time::Duration};

/// Why a copy ended too soon.
#[derive(Debug)]
pub enum Error {
    /// This node has no such capture.
    NoCapture,
    /// The state file or the directory of the captures cannot be read.
    Unreadable(io::Error),
    /// The reader has closed the connection.
    ReaderGone,
    /// The reader has read nothing for this time.
    ReaderStalled(Duration),
    /// Standard input is closed, so nothing tells whether the reader has gone; the copy ended after this time.
    NoStandardInput(Duration),
    /// The pod uses the node's network, so the capture would hold the stream of its own packets, and the packets of that, without end.
    NodeNetwork,
    /// Standard output cannot be written.
    Unwritable(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapture => f.write_str("this node has no such capture"),
            Self::Unreadable(error) => write!(f, "cannot read the captures of this node: {error}"),
            Self::ReaderGone => f.write_str("the reader closed the connection"),
            Self::ReaderStalled(time) => write!(f, "the reader has read nothing for {} s", time.as_secs()),
            Self::NoStandardInput(time) => write!(
                f,
                "ended after {} s: standard input is closed, so nothing tells whether the reader has gone; hint: use `kubectl exec -i`",
                time.as_secs()
            ),
            Self::NodeNetwork => f.write_str(
                "the pod uses the node's network, which also carries this stream, so the capture would grow by its own packets; hint: use \
                 `get`, which ends",
            ),
            Self::Unwritable(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

/// An error of the output. One that is due to a reader that stalls needs the output's own time, so it is worded by `copy`.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Unwritable(error),
        }
    }
}
