//! Which of the records that are read are shown: each packet once, as far as it can be told which copy is the pod's own.

use std::{
    collections::BTreeSet,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    Said,
    condition::{CaptureCondition, SETTLED_AFTER},
};
use crate::{
    core::name::Stem,
    files::{
        capture_dir::CaptureDir,
        pcap::{self, LINUX_SLL2, Next, Record},
        state_file::Entry,
    },
    reading::{
        dedup::{InterfaceEvidence, PodInterface},
        error::Error,
        interfaces, messages,
        output::Output,
        ring_reader::{Losses, RingReader},
    },
};

/// How often a file is read in which there was no packet yet, or that was emptied meanwhile: a ring of one file on a busy link may be
/// caught like this again and again.
const PASSES_MAX: usize = 8;
/// After how long that is: emptying a file of 1 MB can take a millisecond or two.
const AGAIN_AFTER: Duration = Duration::from_millis(10);
/// How often it is looked whether there is more to follow.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// As much as this in one look, in bytes: there is more already, and a fast ring must not get ahead.
const BUSY_BYTES: u64 = 256 << 10;
/// How long a followed capture may leave open which interface is the pod's own, before all copies are shown.
const UNDECIDED_MAX: Duration = Duration::from_secs(2);
/// What is held back meanwhile, in bytes: many readers may run, in the memory that the captures need.
const HELD_BYTES_MAX: usize = 256 << 10;
/// What it takes to hold a packet back, beside its bytes.
const HELD_EACH_BYTES: usize = 64;
/// How often it is told at the most, while a capture is followed, what could not be read.
const LOSSES_INTERVAL: Duration = Duration::from_secs(10);
/// So many packets of one direction prove that they pass the pod's interface by, not just that some were dropped on the way.
const BYPASSED_MIN: u64 = 64;

/// Which copies of each packet are shown.
enum Shown {
    All,
    /// All, until it can be told which are the pod's own.
    AllForNow,
    On(BTreeSet<u32>),
    /// Not known yet: these are held back, with the interfaces that they were seen on.
    Undecided {
        held: Vec<(Option<u32>, Vec<u8>)>,
        bytes: usize,
        /// Since when something is.
        since: Option<Instant>,
    },
}

/// A capture's packets on their way to standard output.
pub(super) struct Stream<'a> {
    out: Output,
    evidence: InterfaceEvidence,
    shown: Shown,
    say: &'a mut dyn FnMut(Said),
    /// That of the header, once it is written.
    link_type: Option<u32>,
    /// What was told of what could not be read, and when.
    told: (Losses, Option<Instant>),
}

impl<'a> Stream<'a> {
    /// Packets to this output, as often as tcpdump saw them.
    pub(super) fn new(out: Output, say: &'a mut dyn FnMut(Said)) -> Self {
        let (evidence, told) = (InterfaceEvidence::new(interfaces::kind), (Losses::default(), None));
        Self { out, evidence, shown: Shown::All, say, link_type: None, told }
    }

    pub(super) fn warn(&mut self, text: String) {
        (self.say)(Said::Warning(text));
    }

    /// Says how the capture is getting on.
    pub(super) fn note(&mut self, text: Option<String>) {
        text.map(Said::Note).into_iter().for_each(&mut *self.say);
    }

    fn shows_all(&mut self, own: &PodInterface) {
        messages::shows_all(own).map(Said::Warning).into_iter().for_each(&mut *self.say);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.out.packets == 0
    }

    /// Writes the header before there is a packet, for those that wait for it. Where there is no file yet, those to come are `assumed`
    /// to be of this link type; one that is not will be left out, with a warning.
    pub(super) fn begin(&mut self, ring: &CaptureDir, stem: &Stem, assumed: Option<u32>) -> Result<(), Error> {
        let mut reader = RingReader::new(ring, stem);
        reader.look().map_err(Error::Unreadable)?;
        if let Some(link_type) = reader.link_type().or(assumed) {
            self.link_type = Some(link_type);
            self.out.begin(link_type)?;
            self.out.flush()?;
        }
        Ok(())
    }

    /// What it ends with.
    pub(super) fn copied(&self) -> String {
        messages::copied(self.out.packets, self.out.bytes)
    }

    /// Reads the capture once to find the pod's own interface, so that each packet is shown once. What it reads is read again.
    pub(super) fn learn(&mut self, ring: &CaptureDir, stem: &Stem, entry: &Entry, follow: bool) -> Result<(), Error> {
        self.evidence.add(addresses(entry));
        let (mut reader, mut bytes) = (RingReader::new(ring, stem), 0);
        reader.expect(self.link_type);
        for _ in 0..PASSES_MAX {
            let files = reader.look().map_err(Error::Unreadable)?;
            bytes += reader.read(&files, &mut |record| {
                self.evidence.observe(record);
                Ok(())
            })?;
            if bytes > 0 || files.is_empty() || follow {
                break;
            }
            self.out.pause(AGAIN_AFTER)?;
        }
        if let Some(link_type) = reader.link_type().filter(|link_type| *link_type != LINUX_SLL2) {
            self.warn(messages::no_interfaces(link_type));
            return Ok(());
        }
        if bytes > 0 && reader.oldest_us() < interfaces::boot_time_us() {
            self.warn(messages::restarted());
            return Ok(());
        }
        let own = match self.evidence.own(if follow { BYPASSED_MIN } else { 0 }) {
            // Packets, and none of the addresses that are known to be the pod's.
            PodInterface::Unseen if bytes > 0 && !follow => PodInterface::Unknown,
            own => own,
        };
        self.evidence.forget_counts();
        self.shows_all(&own);
        self.shown = match own {
            PodInterface::On(own) => Shown::On(own),
            PodInterface::Unseen => undecided(),
            PodInterface::Unknown if follow => Shown::AllForNow,
            PodInterface::Unknown | PodInterface::Bypassed(_) => Shown::All,
        };
        Ok(())
    }

    /// Copies what there is.
    pub(super) fn get(&mut self, reader: &mut RingReader, condition: &mut CaptureCondition) -> Result<(), Error> {
        for _ in 0..PASSES_MAX {
            if self.pass(reader)? > 0 {
                break;
            }
            self.out.pause(AGAIN_AFTER)?;
        }
        if reader.is_torn() && condition.is_idle() {
            self.out.pause(SETTLED_AFTER)?;
            condition.look();
            reader.set_finished(condition.is_settled());
            self.pass(reader)?;
        }
        if reader.is_torn() && condition.entry.is_none() {
            self.warn(messages::maybe_torn());
        }
        Ok(self.doubt(true)?)
    }

    /// Copies what is new.
    fn pass(&mut self, reader: &mut RingReader) -> Result<u64, Error> {
        reader.expect(self.link_type);
        let files = reader.look().map_err(Error::Unreadable)?;
        if let Some(link_type) = reader.link_type() {
            self.link_type = Some(link_type);
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
        let seen = self.evidence.observe(record);
        if seen.is_some_and(|(_, news)| news)
            && let PodInterface::On(own) = self.evidence.own(BYPASSED_MIN)
        {
            if matches!(self.shown, Shown::AllForNow) {
                self.warn(messages::shows_once_now());
            }
            self.decide(Shown::On(own))?;
        }
        let interface = seen.map(|(interface, _)| interface);
        match &mut self.shown {
            Shown::Undecided { held, bytes, since } => {
                *bytes += record.bytes().len() + HELD_EACH_BYTES;
                held.push((interface, record.bytes().to_vec()));
                since.get_or_insert_with(Instant::now);
                if *bytes > HELD_BYTES_MAX { self.hold_back_no_more() } else { Ok(()) }
            }
            shown if shown.hides(interface) => Ok(()),
            Shown::All | Shown::AllForNow | Shown::On(_) => self.out.packet(record),
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

    fn hold_back_no_more(&mut self) -> io::Result<()> {
        let own = self.evidence.own(BYPASSED_MIN);
        self.shows_all(&own);
        // Packets such as ARP tell nothing; one that does is still to come.
        self.decide(if own == PodInterface::Unseen { undecided() } else { Shown::AllForNow })
    }

    /// Copies what comes, until the capture is over.
    ///
    /// # Errors
    /// `ReaderGone` is the usual end.
    pub(super) fn follow(&mut self, reader: &mut RingReader, condition: &mut CaptureCondition) -> Result<(), Error> {
        loop {
            // Looked at first: what is read after that is all there will be.
            condition.look();
            // Such as one that began only now.
            if condition.is_at_node() {
                return Err(Error::NodeNetwork);
            }
            self.note(condition.news());
            let over = condition.is_over();
            self.evidence.add(condition.entry.iter().flat_map(addresses));
            reader.set_finished(over || condition.is_settled());
            let bytes = self.pass(reader)?;
            self.doubt(over)?;
            self.out.flush()?;
            if over {
                return Ok(());
            }
            self.tell_losses(reader, false);
            // Also where there is more already: whether the reader has gone is found out here.
            self.out.pause(if bytes < BUSY_BYTES { LOOK_INTERVAL } else { Duration::ZERO })?;
        }
    }

    /// Tells what could not be read, each loss once; while there is more to come, not all the time.
    pub(super) fn tell_losses(&mut self, reader: &RingReader, last: bool) {
        let (told, told_at) = &self.told;
        if reader.losses == *told || !last && told_at.is_some_and(|told_at| told_at.elapsed() < LOSSES_INTERVAL) {
            return;
        }
        let new = reader.losses.since(told);
        messages::losses(&new).map(Said::Warning).for_each(&mut *self.say);
        self.told = (reader.losses.clone(), Some(Instant::now()));
    }

    /// Whether what is shown is all that there is of the pod; if not, all is shown from now on.
    fn doubt(&mut self, over: bool) -> io::Result<()> {
        match &self.shown {
            Shown::All | Shown::AllForNow => (),
            Shown::Undecided { held, since, .. } => {
                let for_too_long = since.is_some_and(|since| since.elapsed() > UNDECIDED_MAX);
                if !held.is_empty() && (over || for_too_long) {
                    self.hold_back_no_more()?;
                }
            }
            // At the end what is lacking is told as a number.
            Shown::On(_) if over => (),
            Shown::On(_) => {
                let own = self.evidence.own(BYPASSED_MIN);
                if matches!(own, PodInterface::Bypassed(_)) {
                    self.shows_all(&own);
                    self.shown = Shown::All;
                }
            }
        }
        Ok(())
    }

    pub(super) fn end(&mut self, reader: &RingReader) -> Result<(), Error> {
        self.out.begin(reader.link_type().unwrap_or(LINUX_SLL2))?;
        self.out.flush()?;
        self.tell_losses(reader, true);
        // Where files were lost on the way, one copy of a packet may be among them.
        let slack = if reader.losses == Losses::default() { 0 } else { BYPASSED_MIN };
        if let Shown::On(own) = &self.shown
            && let missed = self.evidence.missed(own)
            && missed > slack
        {
            self.warn(messages::missed(missed));
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

fn addresses(entry: &Entry) -> impl Iterator<Item = IpAddr> {
    entry.history.iter().flat_map(|past| past.addresses.iter().copied())
}
