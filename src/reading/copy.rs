//! `get` and `follow`: a capture's packets, from its files to standard output, each packet once.

mod condition;
mod stream;

use std::{io, path::Path};

use self::{condition::CaptureCondition, stream::Stream};
use crate::{
    core::name::{PodName, Stem},
    files::{capture_dir::CaptureDir, state_file::StateFile},
    reading::{
        error::Error,
        messages,
        output::{Output, STALL_AFTER_STDIN_CLOSED},
        ring_reader::RingReader,
    },
};

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
    let (mut condition, read) = CaptureCondition::new(StateFile::at(dir), &ring, pod, &stem);
    if condition.entry.is_none() && ring.files(&stem).map_err(Error::Unreadable)?.is_empty() {
        return Err(read.err().map_or(Error::NoCapture, Error::Unreadable));
    }
    if follow && condition.is_at_node() {
        return Err(Error::NodeNetwork);
    }
    let output = Output::standard(follow)?;
    let is_alone = output.is_alone();
    let mut stream = Stream::new(output, say);
    stream.note(condition.news());
    stream.note(is_alone.then(|| messages::alone(STALL_AFTER_STDIN_CLOSED.as_secs())));
    let copied = copy_to(&mut stream, &ring, &stem, &mut condition, read, Wanted { pod, all, follow, link_type });
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
    condition: &mut CaptureCondition,
    read: io::Result<()>,
    wanted: Wanted,
) -> Result<(), Error> {
    if wanted.follow {
        stream.begin(ring, stem, wanted.link_type)?;
    }
    match (&condition.entry, wanted.all) {
        (Some(entry), false) => stream.learn(ring, stem, entry, wanted.follow)?,
        (None, false) => {
            let why = read.err().map_or("no entry in the state file".to_owned(), |error| error.to_string());
            stream.warn(messages::no_addresses(&why));
        }
        (_, true) => (),
    }
    let mut reader = RingReader::new(ring, stem);
    let copied = if wanted.follow { stream.follow(&mut reader, condition) } else { stream.get(&mut reader, condition) };
    match copied {
        Ok(()) => stream.end(&reader)?,
        Err(error) => {
            stream.tell_losses(&reader, true);
            return Err(error);
        }
    }
    if stream.is_empty() && condition.is_usual() && !wanted.follow {
        stream.note(Some(messages::empty(wanted.pod)));
    }
    Ok(())
}
