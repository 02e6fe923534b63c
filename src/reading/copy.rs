//! `get` and `follow`: a capture's packets, from its files to standard output, each packet once.

mod condition;
mod copier;

use std::{io, path::Path, time::Instant};

use serde::Serialize;

use self::{condition::CaptureCondition, copier::Copier};
use crate::{
    core::name::{PodName, Stem},
    files::{capture_dir::CaptureDir, state_file::StateFile},
    reading::{
        error::Error,
        messages,
        output::Output,
        ring_reader::RingReader,
        status::{self, CaptureStatus},
        warning::Warning,
    },
};

/// The version of the line of JSON that a copy ends with.
const VERSION: u32 = 1;

/// A line for people while a copy runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Packets are missing or shown more than once.
    Warning(String),
    /// How the capture stands.
    Note(String),
}

/// Whose capture is copied, and how.
#[derive(Clone, Copy, Debug)]
pub struct CopyRequest<'a> {
    /// The pod.
    pub pod: &'a PodName,
    /// Every copy of a packet, not only that of the pod's own interface.
    pub all: bool,
    /// Also the packets to come.
    pub follow: bool,
    /// The link type of files to come, as far as it is known.
    pub link_type: Option<u32>,
    /// The name of this node.
    pub node: &'a str,
}

/// What a copy that has begun ends with.
#[derive(Debug)]
pub struct Copied {
    /// Whether the copy is as complete as was asked for.
    pub result: Result<(), Error>,
    /// The numbers of packets and bytes, for people.
    pub counts: String,
    /// The same and all else that is known, for programs: one line of JSON in ASCII.
    pub json: String,
}

/// That line. The capture's own keys are those of `status -o json`; it has a key `bytes` too, so those of the copy are apart. The order
/// of the first keys, here and in `copy`, is fixed: the kubectl plugin reads them with a regular expression.
#[derive(Serialize)]
struct Summary {
    version: u32,
    copy: CopySummary,
    #[serde(flatten)]
    capture: Option<CaptureStatus>,
}

#[derive(Serialize)]
struct CopySummary {
    end: End,
    /// In the pcap file that was written.
    packets: u64,
    /// The size of that file.
    bytes: u64,
    warnings: Vec<Warning>,
}

/// Why a copy ended.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    /// `get` has copied what there was.
    Complete,
    /// `follow` has copied all, and the capture is over.
    CaptureEnded,
    /// The reader has gone, or may have.
    Interrupted,
    /// The ring could not be read, or the output not be written.
    Failed,
}

/// Copies the packets of a pod's capture in `dir` to an output: the packets that there are, or with `follow` also those to come. Each
/// remark goes to `say` at once.
///
/// # Errors
/// If the copy cannot begin: there is no such capture, or it cannot be read, or not be followed.
pub fn copy(dir: &Path, request: &CopyRequest, output: Output, say: &mut dyn FnMut(Remark)) -> Result<Copied, Error> {
    let (ring, stem) = (CaptureDir::at(dir), Stem::of(request.pod));
    let (mut condition, read) = CaptureCondition::read(StateFile::at(dir), &ring, request.pod, &stem);
    if condition.entry.is_none() && ring.files(&stem).map_err(Error::Unreadable)?.is_empty() {
        return Err(read.err().map_or(Error::NoCapture, Error::Unreadable));
    }
    if request.follow && condition.is_at_node() {
        return Err(Error::NodeNetwork);
    }
    let (mut copier, mut reader) = (Copier::new(output, request, say), RingReader::new(&ring, &stem));
    let copied = run(&mut copier, &mut reader, &mut condition, read, request);
    copier.tell_losses(&reader);
    let (end, result) = match copied.map_err(|error| with_its_time(error, &copier.output)) {
        Ok(()) if request.follow => (End::CaptureEnded, Ok(())),
        Ok(()) => (End::Complete, Ok(())),
        // This is how `follow` ends when its reader has seen enough.
        Err(Error::ReaderGone) if request.follow => (End::Interrupted, Ok(())),
        Err(error @ (Error::ReaderGone | Error::ReaderStalled(_) | Error::NoStandardInput(_))) => {
            (End::Interrupted, Err(error))
        }
        Err(error) => (End::Failed, Err(error)),
    };
    let (packets, bytes) = (copier.output.packets, copier.output.bytes);
    let copy = CopySummary { end, packets, bytes, warnings: copier.warnings(&reader) };
    let capture = condition.into_entry().and_then(|entry| status::of(&ring, entry, request.node).ok());
    let json = messages::json(&Summary { version: VERSION, copy, capture });
    Ok(Copied { result, counts: messages::copied(packets, bytes), json })
}

fn run(
    copier: &mut Copier,
    reader: &mut RingReader,
    condition: &mut CaptureCondition,
    state_file: io::Result<()>,
    request: &CopyRequest,
) -> Result<(), Error> {
    let progress = condition.refresh(Instant::now());
    copier.note(progress.note);
    copier.note(copier.output.ends_after().map(messages::no_standard_input));
    if request.follow {
        copier.begin(reader, request.link_type)?;
    }
    match &condition.entry {
        _ if request.all => (),
        Some(_) => copier.survey(reader, request, progress.addresses)?,
        None => {
            let reason = state_file.err().map_or("no entry in the state file".to_owned(), |error| error.to_string());
            copier.show_all(Warning::AddressesUnknown { reason });
        }
    }
    if request.follow {
        copier.follow(reader, condition)?;
    } else {
        copier.get(reader, condition)?;
    }
    copier.finish(reader)?;
    if copier.output.packets == 0 && condition.is_usual() && !request.follow {
        copier.note(Some(messages::empty(request.pod)));
    }
    Ok(())
}

/// An error of an output whose reader does not read.
fn with_its_time(error: Error, output: &Output) -> Error {
    match (error, output.ends_after()) {
        (Error::Unwritable(error), Some(time)) if error.kind() == io::ErrorKind::TimedOut => {
            Error::NoStandardInput(time)
        }
        (Error::Unwritable(error), None) if error.kind() == io::ErrorKind::TimedOut => {
            Error::ReaderStalled(output.stall_max())
        }
        (error, _) => error,
    }
}
