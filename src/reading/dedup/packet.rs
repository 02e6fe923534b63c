//! Reads which interface a packet of `-i any` was seen on, and its addresses: LINKTYPE_LINUX_SLL2, then IPv4 or IPv6. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The header of LINKTYPE_LINUX_SLL2, in bytes.
pub(super) const HEADER_BYTES: usize = 20;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
const IPV6_HEADER_BYTES: usize = 40;
/// The packet type of those that go out (`PACKET_OUTGOING`).
const OUTGOING: u8 = 4;

/// On which interface a packet was seen, and whose it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// The index of the interface.
    pub interface: u32,
    /// Whether the packet left the node's stack through the interface.
    pub outgoing: bool,
    /// `None` for a packet that is not IP, and for a later fragment: one interface may see more fragments than another.
    pub addressed: Option<Addressed>,
}

/// The sender and the receiver of an IP packet. The port is 0 where the protocol has none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Addressed {
    pub from: (IpAddr, u16),
    pub to: (IpAddr, u16),
    pub protocol: u8,
}

/// Reads a packet's headers; `None` if the first is not whole.
pub(super) fn read(packet: &[u8]) -> Option<Packet> {
    let (header, rest) = packet.split_at_checked(HEADER_BYTES)?;
    let interface = u32::from_be_bytes(header[4..8].try_into().ok()?);
    let addressed = match u16_at(header, 0)? {
        IPV4 => ipv4(rest),
        IPV6 => ipv6(rest),
        _ => None,
    };
    Some(Packet { interface, outgoing: header[10] == OUTGOING, addressed })
}

fn ipv4(packet: &[u8]) -> Option<Addressed> {
    let address = |at| Some(Ipv4Addr::from(array::<4>(packet, at)?).into());
    if u16_at(packet, 6)? & 0x1FFF != 0 {
        return None;
    }
    let header_bytes = usize::from(packet.first()? & 0x0F) * 4;
    let protocol = *packet.get(9)?;
    let ports = ports(packet, protocol, header_bytes);
    Some(Addressed { from: (address(12)?, ports.0), to: (address(16)?, ports.1), protocol })
}

fn ipv6(packet: &[u8]) -> Option<Addressed> {
    let address = |at| Some(Ipv6Addr::from(array::<16>(packet, at)?).into());
    let protocol = *packet.get(6)?;
    let ports = ports(packet, protocol, IPV6_HEADER_BYTES);
    Some(Addressed { from: (address(8)?, ports.0), to: (address(24)?, ports.1), protocol })
}

/// The ports of TCP, UDP and SCTP.
fn ports(packet: &[u8], protocol: u8, at: usize) -> (u16, u16) {
    let ports = u16_at(packet, at).zip(u16_at(packet, at + 2));
    ports.filter(|_| matches!(protocol, 6 | 17 | 132)).unwrap_or_default()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_be_bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(kind: u16, ip: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_BYTES];
        packet[..2].copy_from_slice(&kind.to_be_bytes());
        (packet[7], packet[10]) = (11, OUTGOING);
        [packet, ip.to_vec()].concat()
    }

    #[test]
    fn addresses_and_ports_are_read_from_the_headers() {
        let mut ip = vec![0; 28];
        (ip[0], ip[9]) = (0x46, 17);
        ip[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        ip[24..28].copy_from_slice(&[1, 2, 3, 4]);
        let address = |last| IpAddr::from([10, 0, 0, last]);
        let expected = Addressed { from: (address(1), 0x0102), to: (address(2), 0x0304), protocol: 17 };
        let read_all = read(&packet(IPV4, &ip)).unwrap();
        assert_eq!(read_all, Packet { interface: 11, outgoing: true, addressed: Some(expected) });
        ip[7] = 1; // a later fragment
        assert_eq!(read(&packet(IPV4, &ip)).unwrap().addressed, None);
        let mut ip = vec![0; 44];
        (ip[0], ip[6], ip[23]) = (0x60, 6, 1);
        ip[40..44].copy_from_slice(&[1, 2, 3, 4]);
        let six = read(&packet(IPV6, &ip)).unwrap().addressed.unwrap();
        assert_eq!((six.from, six.to.1), ((Ipv6Addr::LOCALHOST.into(), 0x0102), 0x0304));
        ip[6] = 58; // ICMPv6
        assert_eq!(read(&packet(IPV6, &ip)).unwrap().addressed.unwrap().to.1, 0);
    }

    #[test]
    fn a_packet_that_is_cut_short_or_not_ip_is_read_as_far_as_it_goes() {
        for kind in [IPV4, IPV6, 0x0806] {
            let whole = packet(kind, &[0x4F; 60]);
            for length in 0..whole.len() {
                let read = read(&whole[..length]);
                assert_eq!(read.is_some(), length >= HEADER_BYTES);
                assert!(kind != 0x0806 || read.is_none_or(|packet| packet.addressed.is_none()));
            }
        }
    }
}
