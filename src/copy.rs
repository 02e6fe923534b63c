//! `get` and `follow`: a capture's packets, from its files to standard output, each packet once.

use std::{
    collections::BTreeSet,
    fmt, io,
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    capture::{PodName, Stem},
    interfaces,
    once::{Evidence, Own},
    output::Output,
    pcap::{self, LINUX_SLL2, Next, Record},
    reader::Reader,
    report::{State, reading},
    ring::Ring,
    state::{Entry, StateFile},
};

/// How often it is looked whether there is more to follow.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// As much as this in one look, in bytes: there is more already, and a fast ring must not get ahead.
const BUSY_BYTES: u64 = 256 << 10;
/// How long a followed capture may leave open which interface is the pod's own, before all copies are shown.
const UNDECIDED_MAX: Duration = Duration::from_secs(2);
/// What is held back meanwhile, in bytes.
const HELD_BYTES_MAX: usize = 1 << 20;
/// So many packets of one direction prove that they pass the pod's interface by, not just that some were dropped on the way.
const PASSED_BY_MIN: u64 = 64;

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
            Self::ReaderStalled => f.write_str("nobody has read for 10 minutes"),
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
    let entry = entry(&state, &stem).map_err(Error::Unreadable)?;
    if entry.is_none() && ring.files(&stem).map_err(Error::Unreadable)?.is_empty() {
        return Err(Error::NoCapture);
    }
    let mut copies =
        Copies { out: Output::standard(follow)?, evidence: evidence(entry.as_ref()), shown: Shown::All, warn };
    if !all {
        copies.learn(&ring, &stem, follow)?;
    }
    let mut reader = Reader::new(&ring, &stem);
    if follow { copies.follow(&mut reader, &state, entry.as_ref()) } else { copies.pass(&mut reader).map(drop) }?;
    copies.end(&reader)?;
    Ok(reading::copied(copies.out.packets, copies.out.bytes))
}

fn entry(state: &StateFile, stem: &Stem) -> io::Result<Option<Entry>> {
    Ok(state.load()?.into_iter().flatten().find(|entry| entry.stem() == *stem))
}

fn evidence(entry: Option<&Entry>) -> Evidence {
    let addresses = entry.iter().flat_map(|entry| &entry.history).flat_map(|past| past.addresses.iter().copied());
    Evidence::new(addresses.collect(), interfaces::kind)
}

/// Which copies of each packet are shown.
enum Shown {
    All,
    On(BTreeSet<u32>),
    /// Not known yet: these are held back.
    Undecided {
        held: Vec<Vec<u8>>,
        bytes: usize,
        since: Instant,
    },
}

struct Copies<'a> {
    out: Output,
    evidence: Evidence,
    shown: Shown,
    warn: &'a mut dyn FnMut(String),
}

impl Copies<'_> {
    /// Reads the capture once to find the pod's own interface. What it reads is read again.
    fn learn(&mut self, ring: &Ring, stem: &Stem, follow: bool) -> Result<(), Error> {
        let mut reader = Reader::new(ring, stem);
        let files = reader.look().map_err(Error::Unreadable)?;
        let bytes = reader.read(&files, &mut |record| {
            self.evidence.observe(record.packet());
            Ok(())
        })?;
        if let Some(link_type) = reader.link_type().filter(|link_type| *link_type != LINUX_SLL2) {
            (self.warn)(reading::no_interfaces(link_type));
            return Ok(());
        }
        let own = match self.evidence.own(if follow { PASSED_BY_MIN } else { 0 }) {
            // Packets, and none of the addresses that are known to be the pod's.
            Own::Unseen if bytes > 0 && !follow => Own::Unknown,
            own => own,
        };
        self.evidence.count_anew();
        match own {
            Own::On(own) => self.shown = Shown::On(own),
            Own::Unseen => self.shown = undecided(),
            Own::Unknown | Own::PassedBy(_) => self.show_all(&own),
        }
        Ok(())
    }

    fn show_all(&mut self, own: &Own) {
        self.shown = Shown::All;
        reading::shows_all(own).into_iter().for_each(&mut *self.warn);
    }

    /// Copies what is new.
    fn pass(&mut self, reader: &mut Reader) -> Result<u64, Error> {
        let files = reader.look().map_err(Error::Unreadable)?;
        if let Some(link_type) = reader.link_type() {
            self.out.begin(link_type)?;
        }
        let bytes = reader.read(&files, &mut |record| self.show(record))?;
        self.out.flush()?;
        Ok(bytes)
    }

    fn show(&mut self, record: Record) -> io::Result<()> {
        if matches!(self.shown, Shown::All) {
            return self.out.packet(record);
        }
        let seen = self.evidence.observe(record.packet());
        if seen.is_some_and(|(_, news)| news)
            && let Own::On(own) = self.evidence.own(PASSED_BY_MIN)
        {
            self.decide(Shown::On(own))?;
        }
        match (&mut self.shown, seen) {
            (Shown::On(own), Some((interface, _))) if !own.contains(&interface) => Ok(()),
            (Shown::All | Shown::On(_), _) => self.out.packet(record),
            (Shown::Undecided { held, bytes, .. }, _) => {
                *bytes += record.bytes().len();
                held.push(record.bytes().to_vec());
                Ok(())
            }
        }
    }

    fn decide(&mut self, shown: Shown) -> io::Result<()> {
        let Shown::Undecided { held, .. } = std::mem::replace(&mut self.shown, shown) else { return Ok(()) };
        for bytes in held {
            if let Next::Record(record) = pcap::next(&bytes) {
                self.show(record)?;
            }
        }
        Ok(())
    }

    /// Copies what comes, until the capture or its reader goes.
    fn follow(&mut self, reader: &mut Reader, state: &StateFile, begun: Option<&Entry>) -> Result<(), Error> {
        loop {
            // Looked at first: what is read after that is all there will be.
            let over = begun.is_some_and(|begun| is_over(state, begun));
            let bytes = match self.pass(reader) {
                Err(Error::ReaderGone) => return Ok(()),
                bytes => bytes?,
            };
            self.doubt(over)?;
            if over {
                return Ok(());
            }
            if bytes < BUSY_BYTES
                && matches!(self.out.pause(LOOK_INTERVAL).map_err(Error::from), Err(Error::ReaderGone))
            {
                return Ok(());
            }
        }
    }

    /// Whether what is shown is all that there is of the pod; if not, all is shown from now on.
    fn doubt(&mut self, over: bool) -> Result<(), Error> {
        let own = self.evidence.own(PASSED_BY_MIN);
        let doubtful = match &self.shown {
            Shown::All => false,
            Shown::On(_) => matches!(own, Own::PassedBy(_)),
            Shown::Undecided { held, bytes, since } => {
                !held.is_empty() && (over || *bytes > HELD_BYTES_MAX || since.elapsed() > UNDECIDED_MAX)
            }
        };
        if doubtful {
            reading::shows_all(&own).into_iter().for_each(&mut *self.warn);
            self.decide(Shown::All)?;
            self.out.flush()?;
        }
        Ok(())
    }

    fn end(&mut self, reader: &Reader) -> Result<(), Error> {
        self.out.begin(reader.link_type().unwrap_or(LINUX_SLL2))?;
        self.out.flush()?;
        reading::losses(&reader.losses).for_each(&mut *self.warn);
        if let Shown::On(own) = &self.shown
            && let missed @ 1.. = self.evidence.missed(own)
        {
            (self.warn)(reading::missed(missed));
        }
        Ok(())
    }
}

fn undecided() -> Shown {
    Shown::Undecided { held: Vec::new(), bytes: 0, since: Instant::now() }
}

/// Whether the capture has come to its end, or is another by now. What cannot be read says nothing.
fn is_over(state: &StateFile, begun: &Entry) -> bool {
    let Ok(Some(entries)) = state.load() else { return false };
    let found = entries.into_iter().find(|entry| entry.uid == begun.uid && entry.stem() == begun.stem());
    found.is_none_or(|entry| matches!(entry.state, State::Finished | State::Missed))
}
