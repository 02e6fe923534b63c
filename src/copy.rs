//! `get` and `follow`: a capture's packets, from its files to standard output, each packet once.

use std::{
    collections::BTreeSet,
    fmt, io,
    net::IpAddr,
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
    let evidence = Evidence::new(entry.iter().flat_map(addresses).collect(), interfaces::kind);
    let mut copies = Copies { out: Output::standard(follow)?, evidence, shown: Shown::All, warn };
    if !all {
        copies.learn(&ring, &stem, follow)?;
    }
    let mut reader = Reader::new(&ring, &stem);
    if follow { copies.follow(&mut reader, &state, entry) } else { copies.pass(&mut reader).map(drop) }?;
    match copies.end(&reader) {
        // This is how a reader that follows ends.
        Err(Error::ReaderGone) if follow => (),
        ended => ended?,
    }
    Ok(reading::copied(copies.out.packets, copies.out.bytes))
}

fn entry(state: &StateFile, stem: &Stem) -> io::Result<Option<Entry>> {
    Ok(state.load()?.into_iter().flatten().find(|entry| entry.stem() == *stem))
}

fn addresses(entry: &Entry) -> impl Iterator<Item = IpAddr> {
    entry.history.iter().flat_map(|past| past.addresses.iter().copied())
}

/// Which copies of each packet are shown.
enum Shown {
    All,
    On(BTreeSet<u32>),
    /// Not known yet: these are held back, with the interfaces that they were seen on.
    Undecided {
        held: Vec<(Option<u32>, Vec<u8>)>,
        bytes: usize,
        /// Since when something is.
        since: Option<Instant>,
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
            Own::Unseen if follow => self.shown = undecided(),
            Own::Unseen | Own::Unknown | Own::PassedBy(_) => self.show_all(&own),
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
        let interface = seen.map(|(interface, _)| interface);
        match &mut self.shown {
            Shown::Undecided { held, bytes, since } => {
                *bytes += record.bytes().len();
                held.push((interface, record.bytes().to_vec()));
                since.get_or_insert_with(Instant::now);
                Ok(())
            }
            shown if shown.hides(interface) => Ok(()),
            Shown::All | Shown::On(_) => self.out.packet(record),
        }
    }

    /// Gives out what was held back, as it is to be shown from now on.
    fn decide(&mut self, shown: Shown) -> io::Result<()> {
        let Shown::Undecided { held, .. } = std::mem::replace(&mut self.shown, shown) else { return Ok(()) };
        for (interface, bytes) in held {
            match pcap::next(&bytes) {
                Next::Record(record) if !self.shown.hides(interface) => self.out.packet(record)?,
                Next::Record(_) | Next::Incomplete | Next::Broken => (),
            }
        }
        Ok(())
    }

    /// Copies what comes, until the capture or its reader goes.
    fn follow(&mut self, reader: &mut Reader, state: &StateFile, mut entry: Option<Entry>) -> Result<(), Error> {
        loop {
            // Looked at first: what is read after that is all there will be.
            let over = entry.as_mut().is_some_and(|entry| is_over(state, entry));
            self.evidence.add(entry.iter().flat_map(addresses));
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
                let for_too_long = since.is_some_and(|since| since.elapsed() > UNDECIDED_MAX);
                !held.is_empty() && (over || *bytes > HELD_BYTES_MAX || for_too_long)
            }
        };
        if doubtful {
            reading::shows_all(&own).into_iter().for_each(&mut *self.warn);
            // Packets such as ARP tell nothing; one that does is still to come.
            self.decide(if own == Own::Unseen { undecided() } else { Shown::All })?;
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

impl Shown {
    /// Whether a copy on this interface is not shown.
    fn hides(&self, interface: Option<u32>) -> bool {
        matches!((self, interface), (Self::On(own), Some(interface)) if !own.contains(&interface))
    }
}

fn undecided() -> Shown {
    Shown::Undecided { held: Vec::new(), bytes: 0, since: None }
}

/// Whether the capture has come to its end, or is another by now; if not, takes note of how it is. What cannot be read says nothing.
fn is_over(state: &StateFile, entry: &mut Entry) -> bool {
    let Ok(Some(entries)) = state.load() else { return false };
    let found = entries.into_iter().find(|found| found.uid == entry.uid && found.stem() == entry.stem());
    let over = found.as_ref().is_none_or(|found| matches!(found.state, State::Finished | State::Missed));
    *entry = found.unwrap_or_else(|| entry.clone());
    over
}
