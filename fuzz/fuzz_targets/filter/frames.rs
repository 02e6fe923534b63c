//! Frames as `-i any` captures them (LINUX_SLL2): those of other pods, some with the pod's addresses deep inside, and the pod's own.

use std::iter::once;

const POD4: [u8; 4] = [10, 0, 0, 1];
const POD6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Others, as near to the pod's address as can be, and special ones.
const OTHERS4: [[u8; 4]; 9] = [
    [10, 0, 0, 2],
    [10, 0, 0, 0],
    [10, 0, 1, 1],
    [11, 0, 0, 1],
    [1, 0, 0, 10],
    [0, 0, 0, 0],
    [255, 255, 255, 255],
    [224, 0, 0, 1],
    [127, 0, 0, 1],
];
const OTHERS6: [[u8; 16]; 5] = [
    [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1],
];

const IP4: u16 = 0x0800;
const IP6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

/// Frames that are not the pod's.
pub fn foreign() -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for (i, from) in OTHERS4.iter().enumerate() {
        let to = &OTHERS4[(i + 1) % OTHERS4.len()];
        packets.extend(segments().into_iter().map(|(protocol, segment)| (IP4, ip4(from, to, protocol, 0, &segment))));
        packets.extend([1, 0x2000, 0x2001, 0x1fff].map(|fragment| (IP4, ip4(from, to, 6, fragment, &tcp(80, 2)))));
    }
    for (i, from) in OTHERS6.iter().enumerate() {
        let to = &OTHERS6[(i + 1) % OTHERS6.len()];
        packets.extend(segments().into_iter().map(|(next, segment)| (IP6, ip6(from, to, next, &segment))));
        // Hop-by-hop, routing by way of the pod, fragment, destination options, authentication: before a segment.
        for header in [0, 43, 44, 60, 51] {
            let routed = [&[6, 2, 0, 1, 0, 0, 0, 0][..], &POD6, &tcp(80, 2)].concat();
            packets.push((IP6, ip6(from, to, header, &routed)));
        }
    }
    for operation in 1..=4 {
        packets.extend([ARP, 0x8035].map(|kind| (kind, arp(operation, &OTHERS4[0], &OTHERS4[2]))));
    }
    // The pod's packets behind what `host` does not look through: tags, labels, sessions, and other kinds of frame.
    for (kind, packet) in own_packets() {
        let [high, low] = u16::to_be_bytes(kind);
        for outer in [0x8100, 0x88a8, 0x9100] {
            packets.push((outer, [&[0, 5, high, low][..], &packet].concat()));
            packets.push((outer, [&[0, 5, 0x81, 0, 0, 6, high, low][..], &packet].concat()));
        }
        for outer in [0x8847, 0x8848] {
            packets.push((outer, [&[0, 0x10, 0x01, 64][..], &packet].concat()));
        }
        for outer in [0x8863, 0x8864] {
            packets.push((
                outer,
                [&[0x11, 0, 0, 1, 0, 60, 0, if kind == IP4 { 0x21 } else { 0x57 }][..], &packet].concat(),
            ));
        }
        for outer in [0, 1, 3, 4, 0x0c, 0x0801, 0x6558, 0x880b, 0x888e, 0x88cc, 0x88e5, 0x809b, 0x6003, 0xffff] {
            packets.push((outer, packet.clone()));
        }
        // The one family's packet under the other's name.
        packets.push((if kind == IP4 { IP6 } else { IP4 }, [&[0; 12][..], &packet].concat()));
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for i in 0..96 {
        let bytes = (0..20 + i).map(|_| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random.to_le_bytes()[0]
        });
        packets.push(([IP4, IP6, ARP, 0x8100, 0][i % 5], bytes.collect()));
    }
    let frames: Vec<_> = packets.into_iter().enumerate().map(|(i, (kind, packet))| frame(i, kind, &packet)).collect();
    // Cut short, at and within each header.
    let whole = &frames[..12];
    let short: Vec<_> =
        (1..64).flat_map(|len| whole.iter().map(move |frame| frame[..frame.len().min(len)].to_vec())).collect();
    frames.into_iter().chain(short).collect()
}

/// Frames of the pod.
pub fn own() -> Vec<Vec<u8>> {
    own_packets().into_iter().enumerate().map(|(i, (kind, packet))| frame(i, kind, &packet)).collect()
}

fn own_packets() -> Vec<(u16, Vec<u8>)> {
    let ip4s = segments().into_iter().flat_map(|(protocol, segment)| {
        let to = ip4(&OTHERS4[0], &POD4, protocol, 0, &segment);
        [(IP4, ip4(&POD4, &OTHERS4[0], protocol, 0, &segment)), (IP4, to)]
    });
    let ip6s = segments().into_iter().map(|(next, segment)| (IP6, ip6(&POD6, &OTHERS6[0], next, &segment)));
    ip4s.chain(ip6s).chain(once((ARP, arp(1, &POD4, &OTHERS4[0])))).collect()
}

/// What follows an IP header, with its number: headers of each kind, and in some of them the pod's packets.
fn segments() -> Vec<(u8, Vec<u8>)> {
    let inner4 = ip4(&POD4, &OTHERS4[0], 6, 0, &tcp(443, 0x12));
    let inner6 = ip6(&POD6, &OTHERS6[0], 6, &tcp(443, 0x12));
    let ethernet = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0][..], &inner4].concat();
    vec![
        (6, tcp(80, 2)),
        (6, tcp(443, 0x11)),
        (6, [tcp(8443, 0x18), inner4.clone()].concat()),
        (17, udp(53, &POD4)),
        (17, udp(4789, &[&[8, 0, 0, 0, 0, 0, 5, 0][..], &ethernet].concat())),
        (17, udp(6081, &[&[0, 0, 0x65, 0x58, 0, 0, 5, 0][..], &ethernet].concat())),
        (132, [&[0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0][..], &POD4].concat()),
        (1, [&[8, 0, 0, 0, 0, 1, 0, 1][..], &POD4].concat()),
        (1, [&[3, 1, 0, 0, 0, 0, 0, 0][..], &inner4].concat()),
        (58, [&[135, 0, 0, 0, 0, 0, 0, 0][..], &POD6].concat()),
        (58, [&[1, 0, 0, 0, 0, 0, 0, 0][..], &inner6].concat()),
        (2, [&[0x16, 0, 0, 0][..], &POD4].concat()),
        (4, inner4.clone()),
        (41, inner6),
        (47, [&[0, 0, 8, 0][..], &inner4].concat()),
        (50, [&[0, 0, 0, 1, 0, 0, 0, 1][..], &POD4, &POD6].concat()),
        (51, [&[4, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &inner4].concat()),
        (0, POD6.to_vec()),
        (255, [POD4.repeat(4), POD6.to_vec()].concat()),
    ]
}

/// A frame: the number `i` lets the interface, its type and the direction differ.
fn frame(i: usize, kind: u16, packet: &[u8]) -> Vec<u8> {
    let direction = [0, 1, 2, 3, 4][i % 5];
    let [high, low] = u16::to_be_bytes([1, 772, 65534, 778, 824][i / 5 % 5]);
    let interface = u8::try_from(i % 200).expect("below 200");
    let header = [&[0, 0, 0, 0, 0, interface, high, low, direction, 6][..], &[2, 10, 0, 0, 1, 0, 0, 0]].concat();
    [&kind.to_be_bytes()[..], &header, packet].concat()
}

fn ip4(from: &[u8; 4], to: &[u8; 4], protocol: u8, fragment: u16, segment: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + segment.len()).expect("a short packet").to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    [&[0x45, 0, len[0], len[1], 0, 1, high, low, 64, protocol, 0, 0][..], from, to, segment].concat()
}

fn ip6(from: &[u8; 16], to: &[u8; 16], next: u8, segment: &[u8]) -> Vec<u8> {
    let len = u16::try_from(segment.len()).expect("a short packet").to_be_bytes();
    [&[0x60, 0, 0, 0, len[0], len[1], next, 64][..], from, to, segment].concat()
}

fn arp(operation: u8, from: &[u8; 4], to: &[u8; 4]) -> Vec<u8> {
    let header = [0, 1, 8, 0, 6, 4, 0, operation];
    [&header[..], &[2, 0, 0, 0, 0, 1], from, &[0; 6], to, &POD4, &POD6].concat()
}

fn tcp(port: u16, flags: u8) -> Vec<u8> {
    let port = port.to_be_bytes();
    [&[0x9c, 0x40, port[0], port[1], 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0][..], &POD4].concat()
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let (port, len) = (port.to_be_bytes(), u16::try_from(8 + payload.len()).expect("short").to_be_bytes());
    [&[0x9c, 0x40, port[0], port[1], len[0], len[1], 0, 0][..], payload].concat()
}
