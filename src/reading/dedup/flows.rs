//! How often each kind of packet was seen on each interface: what is lacking on the pod's own. Pure.

use std::collections::{BTreeSet, HashMap};

/// Flows that are told apart; what comes beyond counts as one. A pod rarely has as many ports in use, and as many take a quarter of a
/// megabyte of a reader's memory.
const FLOWS_MAX: usize = 1024;
/// Places that are told apart for a flow. A packet passes two to five.
const PLACES_MAX: usize = 16;
/// At both ends of what was read, a packet's other copies may be beyond the end: they follow within this, in microseconds.
const EDGE_US: u64 = 100_000;

/// From the pod, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    From,
    To,
}

/// What stays the same of a packet on all interfaces: its direction, its protocol, the pod's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub way: Way,
    pub protocol: u8,
    pub port: u16,
}

/// An interface, and whether the packets are near there: seen as the pod's own interface would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub interface: u32,
    pub near: bool,
}

#[derive(Debug)]
struct Tally {
    place: Place,
    packets: u64,
    first_us: u64,
    last_us: u64,
}

/// All that was seen, by flow and place.
#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<Flow, Vec<Tally>>,
    first_us: Option<u64>,
    last_us: u64,
}

impl Flows {
    pub(super) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// A packet was seen at this time.
    pub(super) fn count(&mut self, mut flow: Flow, place: Place, time_us: u64) {
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&flow) {
            (flow.protocol, flow.port) = (0, 0);
        }
        self.first_us.get_or_insert(time_us);
        self.last_us = self.last_us.max(time_us);
        let tallies = self.flows.entry(flow).or_default();
        let known = tallies.iter().position(|tally| tally.place == place);
        let index = known.or((tallies.len() >= PLACES_MAX).then_some(PLACES_MAX - 1)).unwrap_or_else(|| {
            tallies.push(Tally { place, packets: 0, first_us: time_us, last_us: time_us });
            tallies.len() - 1
        });
        let tally = &mut tallies[index];
        (tally.packets, tally.last_us) = (tally.packets.saturating_add(1), time_us);
    }

    /// About how many packets of one way were seen elsewhere and not on these interfaces, and how many there were in all.
    pub(super) fn lacking(&self, way: Way, own: &BTreeSet<u32>) -> (u64, u64) {
        let (mut lacking, mut all) = (0, 0);
        for (_, tallies) in self.flows.iter().filter(|(flow, _)| flow.way == way) {
            let (here, elsewhere): (Vec<&Tally>, Vec<&Tally>) =
                tallies.iter().partition(|tally| own.contains(&tally.place.interface));
            let here: u64 = here.iter().filter(|tally| tally.place.near).map(|tally| tally.packets).sum();
            // Each packet passes a place once, so the most at one place is the least that there were.
            let elsewhere = elsewhere.iter().max_by_key(|tally| tally.packets);
            let seen = elsewhere.map_or(0, |tally| tally.packets);
            all += seen.max(here);
            lacking += match way {
                Way::To => seen.saturating_sub(here),
                // All that a pod sends passes its interface, or nothing does; further on, one packet may become several.
                Way::From if here > 0 => 0,
                Way::From => seen,
            }
            .saturating_sub(elsewhere.map_or(0, |tally| self.at_the_edge(tally)));
        }
        (lacking, all)
    }

    fn at_the_edge(&self, tally: &Tally) -> u64 {
        let begins = tally.first_us < self.first_us.unwrap_or_default().saturating_add(EDGE_US);
        let ends = tally.last_us.saturating_add(EDGE_US) > self.last_us;
        (begins || ends).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_and_places_without_end_are_bounded_and_all_are_counted() {
        let mut flows = Flows::default();
        for number in 0..=u16::MAX {
            let (flow, place) = (Flow { way: Way::To, protocol: 6, port: number }, Place { interface: 1, near: false });
            flows.count(flow, place, u64::from(number) * 1_000_000);
        }
        assert!(flows.flows.len() <= FLOWS_MAX + 1);
        let (lacking, all) = flows.lacking(Way::To, &BTreeSet::new());
        // The very first and the last may have a copy beyond the ends.
        assert_eq!((lacking, all), (u64::from(u16::MAX) - 1, u64::from(u16::MAX) + 1));
        let flow = Flow { way: Way::To, protocol: 17, port: 0 };
        (0..100).for_each(|interface| flows.count(flow, Place { interface, near: true }, 0));
        assert!(flows.flows.values().all(|tallies| tallies.len() <= PLACES_MAX));
    }
}
