//! Counts packets by flow and interface: which are missing on the pod's own interface. Pure.

use std::collections::{BTreeSet, HashMap};

/// Flows that are told apart; what comes beyond counts as one. A pod rarely has as many ports in use, and as many take a quarter of a
/// megabyte of a reader's memory.
const FLOWS_MAX: usize = 1024;
/// Sightings that are told apart for a flow. A packet makes two to five.
const SIGHTINGS_MAX: usize = 16;
/// At both ends of what was read, a packet's other copies may be beyond the end: they follow within this, in microseconds.
const EDGE_US: u64 = 100_000;

/// From the pod, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Direction {
    From,
    To,
}

/// What stays the same of a packet on all interfaces: its direction, its protocol, the pod's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub direction: Direction,
    pub protocol: u8,
    pub port: u16,
}

/// An interface, and whether the packets are near there: seen as the pod's own interface would see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighting {
    pub interface: u32,
    pub near: bool,
}

/// Packets that were not seen on some interfaces, of all packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub packets: u64,
    pub of: u64,
}

#[derive(Debug)]
struct Tally {
    sighting: Sighting,
    packets: u64,
    first_us: u64,
    last_us: u64,
}

/// The numbers of packets, by flow and sighting.
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
    pub(super) fn count(&mut self, mut flow: Flow, sighting: Sighting, time_us: u64) {
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&flow) {
            (flow.protocol, flow.port) = (0, 0);
        }
        self.first_us.get_or_insert(time_us);
        self.last_us = self.last_us.max(time_us);
        let tallies = self.flows.entry(flow).or_default();
        let known = tallies.iter().position(|tally| tally.sighting == sighting);
        let index = known.or((tallies.len() >= SIGHTINGS_MAX).then_some(SIGHTINGS_MAX - 1)).unwrap_or_else(|| {
            tallies.push(Tally { sighting, packets: 0, first_us: time_us, last_us: time_us });
            tallies.len() - 1
        });
        let tally = &mut tallies[index];
        (tally.packets, tally.last_us) = (tally.packets.saturating_add(1), time_us);
    }

    /// About how many packets of one direction were seen elsewhere and not on these interfaces.
    pub(super) fn missing(&self, direction: Direction, own: &BTreeSet<u32>) -> Missing {
        let (mut missing, mut all) = (0, 0);
        for (_, tallies) in self.flows.iter().filter(|(flow, _)| flow.direction == direction) {
            let (here, elsewhere): (Vec<&Tally>, Vec<&Tally>) =
                tallies.iter().partition(|tally| own.contains(&tally.sighting.interface));
            let here: u64 = here.iter().filter(|tally| tally.sighting.near).map(|tally| tally.packets).sum();
            // A packet is seen once at each place, so the largest number at one place is the least number of packets.
            let elsewhere = elsewhere.iter().max_by_key(|tally| tally.packets);
            let seen = elsewhere.map_or(0, |tally| tally.packets);
            all += seen.max(here);
            missing += match direction {
                Direction::To => seen.saturating_sub(here),
                // All that a pod sends passes its interface, or nothing does; further on, one packet may become several.
                Direction::From if here > 0 => 0,
                Direction::From => seen,
            }
            .saturating_sub(elsewhere.map_or(0, |tally| self.at_the_edge(tally)));
        }
        Missing { packets: missing, of: all }
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
    fn flows_and_sightings_are_bounded_and_all_packets_are_counted() {
        let mut flows = Flows::default();
        for number in 0..=u16::MAX {
            let (flow, sighting) =
                (Flow { direction: Direction::To, protocol: 6, port: number }, Sighting { interface: 1, near: false });
            flows.count(flow, sighting, u64::from(number) * 1_000_000);
        }
        assert!(flows.flows.len() <= FLOWS_MAX + 1);
        let missing = flows.missing(Direction::To, &BTreeSet::new());
        // The very first and the last may have a copy beyond the ends.
        assert_eq!(missing, Missing { packets: u64::from(u16::MAX) - 1, of: u64::from(u16::MAX) + 1 });
        let flow = Flow { direction: Direction::To, protocol: 17, port: 0 };
        (0..100).for_each(|interface| flows.count(flow, Sighting { interface, near: true }, 0));
        assert!(flows.flows.values().all(|tallies| tallies.len() <= SIGHTINGS_MAX));
    }
}
