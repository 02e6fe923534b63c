//! `get` and `follow`: a capture's packets, from its files to standard output, each packet once.

mod situation;
mod stream;

use std::{fmt, io, path::Path};

use self::{situation::Situation, stream::Stream};
use crate::{
    core::name::{PodName, Stem},
    files::{capture_dir::CaptureDir, state_file::StateFile},
    reading::{
        messages,
        output::{ALONE_MAX, Output},
        reader::Reader,
    },
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
            Self::ReaderStalled => write!(f, "nobody has read for {} s or more", ALONE_MAX.as_secs()),
            Self::Alone => write!(
                f,
                "ended after {} s, since standard input is closed and nobody may read any more; hint: `kubectl exec -i`",
                ALONE_MAX.as_secs()
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

/// What there is to say beside the packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Something is not as it should be with what is copied.
    Warning(String),
    /// How the capture is getting on.
    Note(String),
}

/// Whose capture is copied, and how.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whose.
    pub pod: &'a PodName,
    /// Every copy of a packet.
    pub all: bool,
    /// Also the packets to come.
    pub follow: bool,
    /// The link type of files to come, as far as it is known.
    pub link_type: Option<u32>,
}

/// Copies the packets of a pod's capture in `dir` to standard output: those that there are, or with `follow` those to come, too.
/// What else there is to say goes to `say`. Returns what a copy ends with.
///
/// # Errors
/// If there is no such capture, or it cannot be read to the end, or not be written.
pub fn copy(dir: &Path, wanted: Wanted, say: &mut dyn FnMut(Said)) -> Result<String, Error> {
    let Wanted { pod, all, follow, link_type } = wanted;
    let (ring, stem) = (CaptureDir::at(dir), Stem::of(pod));
    let (mut situation, read) = Situation::new(StateFile::at(dir), &ring, pod, &stem);
    if situation.entry.is_none() && ring.files(&stem).map_err(Error::Unreadable)?.is_empty() {
        return Err(read.err().map_or(Error::NoCapture, Error::Unreadable));
    }
    if follow && situation.is_at_node() {
        return Err(Error::NodeNetwork);
    }
    let output = Output::standard(follow)?;
    let is_alone = output.is_alone();
    let mut stream = Stream::new(output, say);
    stream.note(situation.news());
    stream.note(is_alone.then(|| messages::alone(ALONE_MAX.as_secs())));
    let copied = copy_to(&mut stream, &ring, &stem, &mut situation, read, Wanted { pod, all, follow, link_type });
    match copied {
        // This is how one ends that follows.
        Err(Error::ReaderGone) if follow => (),
        Err(Error::ReaderStalled) if is_alone => return Err(Error::Alone),
        copied => copied?,
    }
    Ok(stream.copied())
}

fn copy_to(
    stream: &mut Stream,
    ring: &CaptureDir,
    stem: &Stem,
    situation: &mut Situation,
    read: io::Result<()>,
    wanted: Wanted,
) -> Result<(), Error> {
    if wanted.follow {
        stream.begin(ring, stem, wanted.link_type)?;
    }
    match (&situation.entry, wanted.all) {
        (Some(entry), false) => stream.learn(ring, stem, entry, wanted.follow)?,
        (None, false) => {
            let why = read.err().map_or("no entry in the state file".to_owned(), |error| error.to_string());
            stream.warn(messages::no_addresses(&why));
        }
        (_, true) => (),
    }
    let mut reader = Reader::new(ring, stem);
    let copied = if wanted.follow { stream.follow(&mut reader, situation) } else { stream.get(&mut reader, situation) };
    match copied {
        Ok(()) => stream.end(&reader)?,
        Err(error) => {
            stream.tell_losses(&reader, true);
            return Err(error);
        }
    }
    if stream.is_empty() && situation.is_usual() && !wanted.follow {
        stream.note(Some(messages::empty(wanted.pod)));
    }
    Ok(())
}
