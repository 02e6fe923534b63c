//! Which records of a capture are shown: one copy of each packet, as far as it can be told which copy is the pod's own. Pure: no file,
//! no clock, no output.
//!
//! All records that there are go through [`survey`](Selection::survey) first, and [`conclude`](Selection::conclude) decides by them. Then each
//! record is offered in its turn, and [`recheck`](Selection::recheck) follows after each pass.

use std::{
    collections::BTreeSet,
    mem,
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    files::pcap::{self, Next, Record},
    reading::{
        dedup::{InterfaceEvidence, PodInterface},
        interfaces::Kind,
        warning::Warning,
    },
};

/// How long records are held back because it is open which interface is the pod's own. After that all copies are shown.
const UNDECIDED_MAX: Duration = Duration::from_secs(2);
/// The most that is held back, in bytes: many readers may run, in the memory that the captures need.
const HELD_BYTES_MAX: usize = 256 << 10;
/// What a record that is held back takes in addition to its bytes.
const HELD_EACH_BYTES: usize = 64;
/// This many packets of one direction prove that they bypass the pod's interface. Fewer may have been dropped on the way.
const BYPASSED_MIN: u64 = 64;

/// Whether records come after the survey that were not surveyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Hardly any (`get`).
    Kept,
    /// More come without end (`follow`).
    Growing,
}

#[derive(Debug)]
enum Shown {
    /// All copies of each packet.
    All,
    /// The copies on these interfaces.
    On(BTreeSet<u32>),
    /// Not known yet: all copies are held back.
    Undecided { held: Vec<HeldRecord>, bytes: usize, since: Option<Instant> },
}

#[derive(Debug)]
struct HeldRecord {
    interface: Option<u32>,
    bytes: Vec<u8>,
}

/// What is to be shown now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Emit {
    /// Records that were held back, each with its header, in the order in which they were offered.
    pub released: Vec<Vec<u8>>,
    /// Whether the offered record is shown, after these.
    pub offered: bool,
    /// Why all copies are shown from here on.
    pub warning: Option<Warning>,
}

/// Chooses among the records of one capture.
#[derive(Debug)]
pub struct Selection {
    extent: Extent,
    evidence: InterfaceEvidence,
    shown: Shown,
    surveyed: bool,
}

impl Selection {
    /// Shows all copies of each packet.
    #[must_use]
    pub fn all() -> Self {
        Self { shown: Shown::All, ..Self::once(Extent::Kept, |_| Kind::Unclear) }
    }

    /// Shows each packet once; `kind` tells what the interface of an index is.
    #[must_use]
    pub fn once(extent: Extent, kind: fn(u32) -> Kind) -> Self {
        Self { extent, evidence: InterfaceEvidence::new(kind), shown: undecided(), surveyed: false }
    }

    /// Whether all copies are shown from here on.
    #[must_use]
    pub fn shows_all(&self) -> bool {
        matches!(self.shown, Shown::All)
    }

    /// Shows all copies from here on.
    pub fn show_all(&mut self) {
        self.shown = Shown::All;
    }

    /// The pod has, or had, these addresses.
    pub fn add_addresses(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.evidence.add(addresses);
    }

    /// Takes a record into account that will be offered later.
    pub fn survey(&mut self, record: Record) {
        self.surveyed = true;
        self.evidence.observe(record);
    }

    /// Decides by the records of the survey. Returns why all copies are shown, if they are.
    pub fn conclude(&mut self) -> Option<Warning> {
        let own = match self.evidence.own(if self.extent == Extent::Growing { BYPASSED_MIN } else { 0 }) {
            // Packets, but none with an address of the pod; and none will follow.
            PodInterface::Unseen if self.surveyed && self.extent == Extent::Kept => PodInterface::Unknown,
            own => own,
        };
        self.evidence.forget_counts();
        let warning = warning(&own);
        self.shown = Shown::of(own);
        warning
    }

    /// Decides on one record.
    pub fn offer(&mut self, record: Record, now: Instant) -> Emit {
        if self.shows_all() {
            return Emit { offered: true, ..Emit::default() };
        }
        let seen = self.evidence.observe(record);
        let mut released = Vec::new();
        if seen.is_some_and(|seen| seen.is_news)
            && let PodInterface::On(own) = self.evidence.own(BYPASSED_MIN)
        {
            released = self.release_held(Shown::On(own));
        }
        let interface = seen.map(|seen| seen.interface);
        match &mut self.shown {
            Shown::Undecided { held, bytes, since } => {
                *bytes += record.bytes().len() + HELD_EACH_BYTES;
                held.push(HeldRecord { interface, bytes: record.bytes().to_vec() });
                since.get_or_insert(now);
                if *bytes > HELD_BYTES_MAX { self.give_up() } else { Emit::default() }
            }
            shown => Emit { released, offered: !shown.hides(interface), warning: None },
        }
    }

    /// Decides again after a pass; `is_last` if no more records come.
    pub fn recheck(&mut self, now: Instant, is_last: bool) -> Emit {
        match &self.shown {
            Shown::Undecided { since: Some(since), .. } if is_last || now.duration_since(*since) > UNDECIDED_MAX => {
                self.give_up()
            }
            // At the end the packets that were seen elsewhere are counted instead.
            Shown::On(_) if !is_last => match self.evidence.own(BYPASSED_MIN) {
                bypassed @ PodInterface::Bypassed(_) => {
                    self.shown = Shown::All;
                    Emit { warning: warning(&bypassed), ..Emit::default() }
                }
                PodInterface::On(_) | PodInterface::Unseen | PodInterface::Unknown => Emit::default(),
            },
            Shown::All | Shown::On(_) | Shown::Undecided { .. } => Emit::default(),
        }
    }

    /// At least how many packets were seen on other interfaces only, and so were not shown. If files were lost on the way, the one
    /// copy that is missing may have been in them, so a small number says nothing.
    #[must_use]
    pub fn seen_elsewhere(&self, has_losses: bool) -> Option<Warning> {
        let Shown::On(own) = &self.shown else { return None };
        let packets = self.evidence.missed(own);
        (packets > if has_losses { BYPASSED_MIN } else { 0 }).then_some(Warning::SeenElsewhere { packets })
    }

    /// Holds records back no longer.
    fn give_up(&mut self) -> Emit {
        let own = self.evidence.own(BYPASSED_MIN);
        let warning = warning(&own);
        Emit { released: self.release_held(Shown::of(own)), warning, offered: false }
    }

    /// Changes what is shown, and returns the records held back of which a copy is shown now.
    fn release_held(&mut self, shown: Shown) -> Vec<Vec<u8>> {
        let Shown::Undecided { held, .. } = mem::replace(&mut self.shown, shown) else { return Vec::new() };
        let released = held.into_iter().filter(|held| !self.shown.hides(held.interface));
        released.map(|held| held.bytes).collect()
    }
}

impl Shown {
    fn of(own: PodInterface) -> Self {
        match own {
            PodInterface::On(own) => Self::On(own),
            // Packets without an address, such as ARP, tell nothing; a later one may.
            PodInterface::Unseen => undecided(),
            PodInterface::Unknown | PodInterface::Bypassed(_) => Self::All,
        }
    }

    /// Whether a copy on this interface is not shown.
    fn hides(&self, interface: Option<u32>) -> bool {
        matches!((self, interface), (Self::On(own), Some(interface)) if !own.contains(&interface))
    }
}

impl Emit {
    /// The records that were held back.
    pub fn released(&self) -> impl Iterator<Item = Record<'_>> {
        self.released.iter().filter_map(|bytes| match pcap::next(bytes) {
            Next::Record(record) => Some(record),
            Next::Incomplete | Next::Broken => None,
        })
    }
}

fn undecided() -> Shown {
    Shown::Undecided { held: Vec::new(), bytes: 0, since: None }
}

/// Why the pod's own interface is not known.
fn warning(own: &PodInterface) -> Option<Warning> {
    match own {
        PodInterface::On(_) | PodInterface::Unseen => None,
        PodInterface::Unknown => Some(Warning::InterfaceUnknown),
        PodInterface::Bypassed(packets) => Some(Warning::InterfaceBypassed { packets: *packets }),
    }
}

#[cfg(test)]
mod tests;
