//! Each packet once: which of the copies that `-i any` makes of one packet is the one that the pod's own interface saw. Pure.
//!
//! Seen from the node, the pod's packets come in on its interface, and those for it go out there: these copies are *near*. All
//! others, such as those on the network card, are *far*. Near copies on a bridge that the pod hangs on are not the pod's own, so an
//! interface counts only if it is one end of a pair, or gone by now. What is on the far side alone was dropped on its way, or the
//! node's network passes the pod's interface by. Addresses and ports of the other side change on the way (a Service's become a
//! backend's), the pod's own do not, so far and near are compared by these.

mod packet;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use self::packet::Packet;
use crate::interfaces::Kind;

/// Flows that are told apart; what comes beyond counts as one. More than one pod has ports in use.
const FLOWS_MAX: usize = 65_536;
/// Interfaces that are told apart. A pod has one, a bridge or two may be in between.
const INTERFACES_MAX: usize = 64;

/// From the pod, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Way {
    From,
    To,
}

/// What stays the same of a packet on all interfaces: its direction, its protocol, the pod's port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    way: Way,
    protocol: u8,
    port: u16,
}

#[derive(Debug, Default)]
struct Tally {
    near: BTreeSet<u32>,
    far: u64,
}

#[derive(Debug)]
struct Near {
    kind: Kind,
    from: bool,
    to: bool,
}

/// What is known of the interfaces that one pod's packets pass.
#[derive(Debug)]
pub struct Evidence {
    pod: BTreeSet<IpAddr>,
    kind: fn(u32) -> Kind,
    near: BTreeMap<u32, Near>,
    flows: HashMap<Flow, Tally>,
}

/// Which copies are the pod's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// Those on these interfaces.
    On(BTreeSet<u32>),
    /// No packet was seen yet that would tell.
    Unseen,
    /// No interface can be told to be the pod's.
    Unknown,
    /// So many packets, all of one direction, passed by the interface that seems to be the pod's.
    PassedBy(u64),
}

impl Evidence {
    /// Nothing is known yet of the pod that had these addresses; `kind` tells what an interface is.
    #[must_use]
    pub fn new(pod: BTreeSet<IpAddr>, kind: fn(u32) -> Kind) -> Self {
        Self { pod, kind, near: BTreeMap::new(), flows: HashMap::new() }
    }

    /// The pod has, or had, these addresses, too.
    pub fn add(&mut self, addresses: impl IntoIterator<Item = IpAddr>) {
        self.pod.extend(addresses);
    }

    /// Takes a packet into account. Returns the interface it was seen on, and whether that tells anything new.
    pub fn observe(&mut self, packet: &[u8]) -> Option<(u32, bool)> {
        let Packet { interface, outgoing, addressed } = packet::read(packet)?;
        let Some(packet::Addressed { from, to, protocol }) = addressed else { return Some((interface, false)) };
        let mut news = false;
        for (way, (address, port)) in [(Way::From, from), (Way::To, to)] {
            if self.pod.contains(&address) {
                let near = outgoing == (way == Way::To);
                news |= self.count(Flow { way, protocol, port }, interface, near);
            }
        }
        Some((interface, news))
    }

    fn count(&mut self, mut flow: Flow, interface: u32, near: bool) -> bool {
        if self.flows.len() >= FLOWS_MAX && !self.flows.contains_key(&flow) {
            (flow.protocol, flow.port) = (0, 0);
        }
        let tally = self.flows.entry(flow).or_default();
        if !near {
            tally.far = tally.far.saturating_add(1);
            return false;
        }
        if !tally.near.insert(interface) || (self.near.len() >= INTERFACES_MAX && !self.near.contains_key(&interface)) {
            return false;
        }
        let kind = self.kind;
        let known =
            self.near.entry(interface).or_insert_with(|| Near { kind: kind(interface), from: false, to: false });
        let seen = match flow.way {
            Way::From => &mut known.from,
            Way::To => &mut known.to,
        };
        !std::mem::replace(seen, true)
    }

    /// Which copies are the pod's own, as far as can be told by now. Up to `slack` packets that passed by prove nothing.
    #[must_use]
    pub fn own(&self, slack: u64) -> Own {
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
            None if self.flows.is_empty() => return Own::Unseen,
            None => return Own::Unknown,
        };
        let passed_by = |way, seen: fn(&Near) -> bool| {
            let seen_there = own.iter().filter_map(|interface| self.near.get(interface)).any(seen);
            if seen_there {
                0
            } else {
                self.flows.iter().filter(|(flow, _)| flow.way == way).map(|(_, tally)| tally.far).sum()
            }
        };
        match passed_by(Way::From, |near| near.from).max(passed_by(Way::To, |near| near.to)) {
            packets if packets > slack => Own::PassedBy(packets),
            _ => Own::On(own),
        }
    }

    /// About how many packets were seen on other interfaces, and none of their kind on these.
    #[must_use]
    pub fn missed(&self, own: &BTreeSet<u32>) -> u64 {
        self.flows.values().filter(|tally| tally.near.is_disjoint(own)).map(|tally| tally.far).sum()
    }

    /// Forgets how many packets there were, but not which interfaces are the pod's.
    pub fn count_anew(&mut self) {
        self.flows.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{packet::HEADER_BYTES, *};

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

    fn evidence(packets: &[(u32, u8, Side, Side)]) -> Evidence {
        let mut evidence = Evidence::new([POD.into()].into(), kind);
        for (interface, direction, from, to) in packets {
            let seen = evidence.observe(&tcp(*interface, *direction, *from, *to));
            assert_eq!(seen.map(|(interface, _)| interface), Some(*interface));
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
        assert_eq!(seen.own(0), Own::On([11].into()));
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
        assert_eq!(evidence(&bridged).own(0), Own::On([11].into()));
        // What is for the pod is flooded to a neighbour.
        let flooded = [&bridged[..], &[(13, OUT, ANSWERS.0, ANSWERS.1)]].concat();
        assert_eq!(evidence(&flooded).own(0), Own::On([11].into()));
        // An earlier one of the same pod is gone.
        let moved = [&routed[..], &[(99, IN, ASKS.0, ASKS.1)]].concat();
        assert_eq!(evidence(&moved).own(0), Own::On([11, 99].into()));
    }

    #[test]
    fn one_direction_is_enough_where_there_is_no_other() {
        assert_eq!(
            evidence(&[(1, IN, ANSWERS.0, ANSWERS.1), (11, OUT, ANSWERS.0, ANSWERS.1)]).own(0),
            Own::On([11].into())
        );
        assert_eq!(evidence(&[(11, OUT, ANSWERS.0, ANSWERS.1), (12, OUT, ANSWERS.0, ANSWERS.1)]).own(0), Own::Unknown);
        assert_eq!(evidence(&[(3, IN, ASKS.0, ASKS.1), (2, IN, ASKS.0, ASKS.1)]).own(0), Own::On([3].into()));
    }

    #[test]
    fn where_packets_pass_the_pods_interface_by_it_is_not_taken_for_it() {
        assert_eq!(evidence(&[]).own(0), Own::Unseen);
        assert_eq!(evidence(&[(1, IN, ANSWERS.0, ANSWERS.1), (1, OUT, ASKS.0, ASKS.1)]).own(0), Own::Unknown);
        let by = [
            (11, IN, ASKS.0, ASKS.1),
            (1, OUT, ASKS.0, ASKS.1),
            (1, IN, ANSWERS.0, ANSWERS.1),
            (1, IN, ANSWERS.0, ANSWERS.1),
        ];
        assert_eq!(evidence(&by).own(0), Own::PassedBy(2));
        assert_eq!(evidence(&by).own(2), Own::On([11].into()));
    }

    #[test]
    fn what_was_seen_elsewhere_only_is_counted_by_the_pods_port() {
        let service = ([10, 96, 0, 1], 80);
        let seen = evidence(&[
            (11, IN, ASKS.0, service),
            (1, OUT, ASKS.0, ASKS.1),
            (1, IN, ANSWERS.0, ANSWERS.1),
            (11, OUT, service, ANSWERS.1),
            (1, IN, (PEER, 5000), (POD, 22)),
            (1, IN, (PEER, 5000), (POD, 22)),
        ]);
        assert_eq!(seen.own(0), Own::On([11].into()));
        assert_eq!(seen.missed(&[11].into()), 2);
    }

    #[test]
    fn what_is_cut_short_or_no_ip_tells_nothing() {
        let whole = tcp(11, IN, ASKS.0, ASKS.1);
        let mut evidence = Evidence::new([POD.into()].into(), kind);
        for length in 0..HEADER_BYTES + 20 {
            assert!(
                evidence.observe(&whole[..length]).is_none_or(|(interface, news)| interface == 11 && !news),
                "{length}"
            );
        }
        let mut arp = whole.clone();
        arp[1] = 6;
        assert_eq!(evidence.observe(&arp), Some((11, false)));
        assert_eq!(evidence.own(0), Own::Unseen);
        assert_eq!(evidence.observe(&whole), Some((11, true)));
    }

    #[test]
    fn flows_without_end_are_bounded() {
        let mut evidence = Evidence::new([POD.into()].into(), kind);
        for port in 0..=u16::MAX {
            evidence.observe(&tcp(11, IN, (POD, port), (PEER, 80)));
            evidence.observe(&tcp(1, OUT, (POD, port), (PEER, 80)));
            evidence.observe(&tcp(1, IN, (PEER, 80), (POD, port)));
        }
        assert!(evidence.flows.len() <= FLOWS_MAX + 2);
    }
}
