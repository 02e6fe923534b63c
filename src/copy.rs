//! `get` and `follow`: a capture's packets, from its files to standard output, each packet once.

mod stream;

use std::{fmt, io, path::Path};

use self::stream::Stream;
use crate::{
    capture::{PodName, Stem},
    output::Output,
    reader::Reader,
    report::{State, reading},
    ring::Ring,
    state::{Entry, StateFile},
};

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
    /// Standard output cannot be written.
    Unwritable(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCapture => f.write_str("no such capture on this node"),
            Self::Unreadable(error) => write!(f, "cannot read the captures of this node: {error}"),
            Self::ReaderGone => f.write_str("nobody reads any more"),
            Self::ReaderStalled => f.write_str("nobody has read for a minute or more"),
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

/// Copies the packets of a pod's capture in `dir` to standard output: those that there are, or with `follow` those to come, too.
/// Warnings go to `warn`. Returns what a copy ends with.
///
/// # Errors
/// If there is no such capture, or it cannot be read to the end, or not be written.
pub fn copy(dir: &Path, pod: &PodName, all: bool, follow: bool, warn: &mut dyn FnMut(String)) -> Result<String, Error> {
    let (ring, stem, state) = (Ring::at(dir), Stem::of(pod), StateFile::at(dir));
    let entry = entry(&state, &stem);
    if !matches!(entry, Ok(Some(_))) && ring.files(&stem).map_err(Error::Unreadable)?.is_empty() {
        return Err(entry.err().map_or(Error::NoCapture, Error::Unreadable));
    }
    let mut stream = Stream::new(Output::standard(follow)?, warn);
    let entry = match entry {
        Ok(Some(entry)) => {
            if !all {
                stream.learn(&ring, &stem, &entry, follow)?;
            }
            Some(entry)
        }
        unknown => {
            let why = unknown.err().map_or("no entry in the state file".to_owned(), |error| error.to_string());
            if !all {
                stream.warn(reading::no_addresses(&why));
            }
            None
        }
    };
    let mut reader = Reader::new(&ring, &stem);
    let copied = if follow {
        let over = |entry: &mut Option<Entry>| match entry {
            Some(entry) => is_over(&state, entry),
            None => ring.files(&stem).is_ok_and(|files| files.is_empty()),
        };
        stream.follow(&mut reader, entry, over).and_then(|()| stream.end(&reader))
    } else {
        stream.get(&mut reader).and_then(|()| stream.end(&reader))
    };
    match copied {
        // This is how one ends that follows.
        Err(Error::ReaderGone) if follow => (),
        copied => copied?,
    }
    Ok(stream.copied())
}

fn entry(state: &StateFile, stem: &Stem) -> io::Result<Option<Entry>> {
    Ok(state.load()?.into_iter().flatten().find(|entry| entry.stem() == *stem))
}

/// Whether the capture has come to its end, or is another by now; if not, takes note of how it is. What cannot be read says nothing.
fn is_over(state: &StateFile, entry: &mut Entry) -> bool {
    let Ok(Some(entries)) = state.load() else { return false };
    let found = entries.into_iter().find(|found| found.uid == entry.uid && found.stem() == entry.stem());
    let over = found.as_ref().is_none_or(|found| matches!(found.state, State::Finished | State::Missed));
    *entry = found.unwrap_or_else(|| entry.clone());
    over
}
