//! Each packet once: which of the copies that `-i any` makes of one packet is the one that the pod's own interface saw. Pure.
//!
//! Seen from the node, the pod's packets come in on its interface, and those for it go out there: these copies are *near*. All
//! others, such as those on the network card, are *far*. Near copies on a bridge that the pod hangs on are not the pod's own, so an
//! interface counts only if it is one end of a pair, or gone by now. A packet that has far copies only was dropped on its way, or the node's
//! network bypasses the pod's interface. Addresses and ports of the other side change on the way (a Service's become a
//! backend's), the pod's own do not, so far and near are compared by these.

mod flows;
mod packet;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use self::{
    flows::{Direction, Flow, Flows, Missing, Sighting},
    packet::{Addressed, Packet},
};
use crate::{files::pcap::Record, reading::interfaces::Kind};

/// Interfaces that are told apart. A pod has one, a bridge or two may be in between.
const INTERFACES_MAX: usize = 64;

#[derive(Debug)]
struct Near {
    kind: Kind,
    from: bool,
    to: bool,
}

/// What the packets seen so far tell about the interfaces that one pod's packets pass.
#[derive(Debug)]
pub struct InterfaceEvidence {
    pod: BTreeSet<IpAddr>,
    kind: fn(u32) -> Kind,
    near: BTreeMap<u32, Near>,
    flows: Flows,
}

/// Which copies are the pod's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodInterface {
    /// Those on the interfaces with these indices.
    On(BTreeSet<u32>),
    /// No packet with one of the pod's addresses was seen yet.
    Unseen,
    /// None of the interfaces can be told to be the pod's.
    Unknown,
    /// This number of packets, which is most of one direction, bypassed the interface that seems to be the pod's.
    Bypassed(u64),
}

/// What one packet told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The index of the interface that the packet was seen on.
    pub interface: u32,
    /// The interface may be the pod's, and no packet of this direction was seen there before.
    pub is_news: bool,
}

impl InterfaceEvidence {
    /// Nothing is known yet, not even the pod's addresses; `kind` tells what an interface is.
    #[must_use]
    pub fn new(kind: fn(u32) -> Kind) -> Self {
        Self { pod: BTreeSet::new(), kind, near: BTreeMap::new(), flows: Flows::default() }
    }

    /// The pod has, or had, these addresses.
    pub fn add(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.pod.extend(addresses);
    }

    /// Takes a packet into account. `None`: it is too short to name an interface.
    pub fn observe(&mut self, record: Record) -> Option<Observation> {
        let Packet { interface, outgoing, addressed } = packet::read(record.packet())?;
        let Some(Addressed { from, to, protocol }) = addressed else {
            return Some(Observation { interface, is_news: false });
        };
        let mut is_news = false;
        for (direction, (address, port)) in [(Direction::From, from), (Direction::To, to)] {
            if self.pod.contains(&address) {
                let near = outgoing == (direction == Direction::To);
                self.flows.count(Flow { direction, protocol, port }, Sighting { interface, near }, record.time_us());
                is_news |= near && self.is_new(interface, direction);
            }
        }
        Some(Observation { interface, is_news })
    }

    fn is_new(&mut self, interface: u32, direction: Direction) -> bool {
        if self.near.len() >= INTERFACES_MAX && !self.near.contains_key(&interface) {
            return false;
        }
        let kind = self.kind;
        let near = self.near.entry(interface).or_insert_with(|| Near { kind: kind(interface), from: false, to: false });
        let seen = match direction {
            Direction::From => &mut near.from,
            Direction::To => &mut near.to,
        };
        !std::mem::replace(seen, true)
    }

    /// Which copies are the pod's own, as far as can be told by now. Up to `slack` packets that bypass an interface prove nothing.
    #[must_use]
    pub fn own(&self, slack: u64) -> PodInterface {
        let on = |kinds: &[Kind], seen: fn(&Near) -> bool| -> BTreeSet<u32> {
            let found = self.near.iter().filter(|(_, near)| seen(near) && kinds.contains(&near.kind));
            found.map(|(interface, _)| *interface).collect()
        };
        // What the pod sent came in on its interface; what is for it can also be flooded to others' by a bridge.
        let pairs = [Kind::Pair, Kind::Gone];
        let sure = on(&pairs, |near| near.from);
        let choices =
            [on(&[Kind::Unclear], |near| near.from), on(&pairs, |near| near.to), on(&[Kind::Unclear], |near| near.to)];
        let own = match choices.into_iter().find(|found| found.len() == 1) {
            _ if !sure.is_empty() => sure,
            Some(one) => one,
            None if self.flows.is_empty() => return PodInterface::Unseen,
            None => return PodInterface::Unknown,
        };
        for direction in [Direction::To, Direction::From] {
            let Missing { packets, of } = self.flows.missing(direction, &own);
            // Some may have been dropped on their way; most of them were not.
            if packets > slack && packets > of / 2 {
                return PodInterface::Bypassed(packets);
            }
        }
        PodInterface::On(own)
    }

    /// At least how many packets were seen on other interfaces only.
    #[must_use]
    pub fn missed(&self, own: &BTreeSet<u32>) -> u64 {
        [Direction::To, Direction::From].map(|direction| self.flows.missing(direction, own).packets).iter().sum()
    }

    /// Forgets the numbers of packets, but not which interfaces are the pod's.
    pub fn forget_counts(&mut self) {
        self.flows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{packet::HEADER_BYTES, *};
    use crate::files::pcap;

    const POD: [u8; 4] = [10, 0, 0, 5];
    const PEER: [u8; 4] = [10, 0, 9, 9];
    const IN: u8 = 0;
    const OUT: u8 = 4;

    /// 1 is the network card, 2 a bridge, 3 unclear; 11 to 19 are pairs, and all others are gone.
    fn kind(interface: u32) -> Kind {
        match interface {
            1 | 2 => Kind::Shared,
            3 => Kind::Unclear,
            11..=19 => Kind::Pair,
            _ => Kind::Gone,
        }
    }

    /// A record, a second after the one before it.
    fn record(number: usize, packet: &[u8]) -> Vec<u8> {
        let bytes = u32::try_from(packet.len()).unwrap();
        let header = [u32::try_from(number).unwrap(), 0, bytes, bytes].map(u32::to_ne_bytes).concat();
        [header.as_slice(), packet].concat()
    }

    fn observe(evidence: &mut InterfaceEvidence, number: usize, packet: &[u8]) -> Option<Observation> {
        let record = record(number, packet);
        let pcap::Next::Record(record) = pcap::next(&record) else { panic!() };
        evidence.observe(record)
    }

    fn tcp(interface: u32, direction: u8, from: Side, to: Side) -> Vec<u8> {
        let mut packet = vec![0; HEADER_BYTES + 40];
        packet[..2].copy_from_slice(&[0x08, 0x00]);
        packet[4..8].copy_from_slice(&interface.to_be_bytes());
        packet[10] = direction;
        packet[20] = 0x45;
        packet[29] = 6;
        packet[32..36].copy_from_slice(&from.0);
        packet[36..40].copy_from_slice(&to.0);
        packet[40..42].copy_from_slice(&from.1.to_be_bytes());
        packet[42..44].copy_from_slice(&to.1.to_be_bytes());
        packet
    }

    type Side = ([u8; 4], u16);

    fn evidence(packets: &[(u32, u8, Side, Side)]) -> InterfaceEvidence {
        let mut evidence = InterfaceEvidence::new(kind);
        evidence.add([POD.into()]);
        for (number, (interface, direction, from, to)) in packets.iter().enumerate() {
            let seen = observe(&mut evidence, number, &tcp(*interface, *direction, *from, *to));
            assert_eq!(seen.map(|seen| seen.interface), Some(*interface));
        }
        evidence
    }

    const ASKS: (Side, Side) = ((POD, 4000), (PEER, 80));
    const ANSWERS: (Side, Side) = ((PEER, 80), (POD, 4000));

    #[test]
    fn the_pods_interface_is_where_its_packets_come_in_and_no_bridge_and_no_neighbours() {
        // Routed: the pod's own end, and the card.
        let routed = [
            (11, IN, ASKS.0, ASKS.1),
            (1, OUT, ASKS.0, ASKS.1),
            (1, IN, ANSWERS.0, ANSWERS.1),
            (11, OUT, ANSWERS.0, ANSWERS.1),
        ];
        let seen = evidence(&routed);
        assert_eq!(seen.own(0), PodInterface::On([11].into()));
        assert_eq!(seen.missed(&[11].into()), 0);
        // Bridged, to a pod of the same node: the bridge sees all, the neighbour's end the other side of it.
        let bridged = [
            (11, IN, ASKS.0, ASKS.1),
            (2, IN, ASKS.0, ASKS.1),
            (12, OUT, ASKS.0, ASKS.1),
            (12, IN, ANSWERS.0, ANSWERS.1),
            (2, OUT, ANSWERS.0, ANSWERS.1),
            (11, OUT, ANSWERS.0, ANSWERS.1),
        ];
        assert_eq!(evidence(&bridged).own(0), PodInterface::On([11].into()));
        // What is for the pod is flooded to a neighbour.
        let flooded = [&bridged[..], &[(13, OUT, ANSWERS.0, ANSWERS.1)]].concat();
        assert_eq!(evidence(&flooded).own(0), PodInterface::On([11].into()));
        // An earlier one of the same pod is gone.
        let moved = [&routed[..], &[(99, IN, ASKS.0, ASKS.1)]].concat();
        assert_eq!(evidence(&moved).own(0), PodInterface::On([11, 99].into()));
    }

    #[test]
    fn one_direction_is_enough_where_there_is_no_other() {
        assert_eq!(
            evidence(&[(1, IN, ANSWERS.0, ANSWERS.1), (11, OUT, ANSWERS.0, ANSWERS.1)]).own(0),
            PodInterface::On([11].into())
        );
        assert_eq!(
            evidence(&[(11, OUT, ANSWERS.0, ANSWERS.1), (12, OUT, ANSWERS.0, ANSWERS.1)]).own(0),
            PodInterface::Unknown
        );
        assert_eq!(evidence(&[(3, IN, ASKS.0, ASKS.1), (2, IN, ASKS.0, ASKS.1)]).own(0), PodInterface::On([3].into()));
    }

    #[test]
    fn an_interface_that_packets_bypass_is_not_taken_for_the_pods() {
        assert_eq!(evidence(&[]).own(0), PodInterface::Unseen);
        assert_eq!(evidence(&[(1, IN, ANSWERS.0, ANSWERS.1), (1, OUT, ASKS.0, ASKS.1)]).own(0), PodInterface::Unknown);
        let ask = [(11, IN, ASKS.0, ASKS.1), (1, OUT, ASKS.0, ASKS.1)];
        let by = [&ask[..], &[(1, IN, ANSWERS.0, ANSWERS.1); 2], &ask].concat();
        assert_eq!(evidence(&by).own(0), PodInterface::Bypassed(2));
        assert_eq!(evidence(&by).own(2), PodInterface::On([11].into()));
        // A few packets on the interface do not hide that most bypass it.
        let few = [&ask[..], &[(1, IN, ANSWERS.0, ANSWERS.1); 9], &[(11, OUT, ANSWERS.0, ANSWERS.1); 3], &ask].concat();
        assert_eq!(evidence(&few).own(0), PodInterface::Bypassed(6));
        let most =
            [&ask[..], &[(1, IN, ANSWERS.0, ANSWERS.1); 9], &[(11, OUT, ANSWERS.0, ANSWERS.1); 5], &ask].concat();
        let most = evidence(&most);
        assert_eq!((most.own(0), most.missed(&[11].into())), (PodInterface::On([11].into()), 4));
    }

    #[test]
    fn packets_seen_elsewhere_only_are_counted_by_the_pods_port() {
        let service = ([10, 96, 0, 1], 80);
        let answered = [
            (11, IN, ASKS.0, service),
            (1, OUT, ASKS.0, ASKS.1),
            (1, IN, ANSWERS.0, ANSWERS.1),
            (11, OUT, service, ANSWERS.1),
        ];
        let dropped = (1, IN, (PEER, 5000), (POD, 22));
        let seen = evidence(&[&answered[..], &[dropped; 2], &answered, &answered].concat());
        assert_eq!((seen.own(0), seen.missed(&[11].into())), (PodInterface::On([11].into()), 2));
        // A new sandbox, which has sent nothing yet.
        let seen = evidence(&[&answered[..], &[(12, OUT, (PEER, 5), (POD, 514)); 3], &answered].concat());
        assert_eq!(
            (seen.own(0), seen.own(9), seen.missed(&[11].into())),
            (PodInterface::Bypassed(3), PodInterface::On([11].into()), 3)
        );
    }

    #[test]
    fn at_its_ends_a_capture_may_have_one_copy_without_the_other() {
        let answered = [(1, IN, ANSWERS.0, ANSWERS.1), (11, OUT, ANSWERS.0, ANSWERS.1)];
        let asks = [(11, IN, ASKS.0, ASKS.1), (1, OUT, ASKS.0, ASKS.1)];
        for (what, missed) in [
            ([&asks[1..], &answered, &asks[..1]].concat(), 0),
            ([&asks[..], &answered, &answered[..1]].concat(), 0),
            ([&asks[..], &answered[..1], &answered[..1], &asks, &answered, &answered].concat(), 2),
        ] {
            assert_eq!(evidence(&what).missed(&[11].into()), missed, "{what:?}");
        }
    }

    #[test]
    fn a_packet_that_is_cut_short_or_not_ip_tells_only_its_interface() {
        let whole = tcp(11, IN, ASKS.0, ASKS.1);
        let mut evidence = InterfaceEvidence::new(kind);
        evidence.add([POD.into()]);
        for length in 0..HEADER_BYTES + 20 {
            let seen = observe(&mut evidence, 0, &whole[..length]);
            assert!(seen.is_none_or(|seen| seen.interface == 11 && !seen.is_news), "{length}");
        }
        let mut arp = whole.clone();
        arp[1] = 6;
        assert_eq!(observe(&mut evidence, 0, &arp), Some(Observation { interface: 11, is_news: false }));
        assert_eq!(evidence.own(0), PodInterface::Unseen);
        assert_eq!(observe(&mut evidence, 0, &whole), Some(Observation { interface: 11, is_news: true }));
    }
}
