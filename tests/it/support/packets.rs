//! Packets, and the files that tcpdump makes of them, written and read apart from the program's own code.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

pub const HEADER_BYTES: usize = 24;
pub const SLL2: u32 = 276;
pub const POD: [u8; 4] = [10, 0, 0, 1];
pub const PEER: [u8; 4] = [10, 0, 9, 9];

/// The way of a packet on the interface that it was seen on.
pub const IN: u8 = 0;
pub const OUT: u8 = 4;

/// A record as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Seconds and microseconds.
    pub time: [u32; 2],
    pub packet: Vec<u8>,
}

/// What is in a file: the link type, and the records.
pub type Pcap = (u32, Vec<Read>);

/// The header of a file.
pub fn header(link_type: u32) -> Vec<u8> {
    let versions = [2_u16, 4].map(u16::to_ne_bytes).concat();
    [&0xA1B2_C3D4_u32.to_ne_bytes(), versions.as_slice(), &[0; 8], &262_144_u32.to_ne_bytes(), &link_type.to_ne_bytes()]
        .concat()
}

/// When packets begin, in seconds since 1970: after the start of whatever machine this runs on.
pub const BEGIN_S: u32 = 2_000_000_000;

/// A record with this time after the beginning.
pub fn record(time: [u32; 2], packet: &[u8]) -> Vec<u8> {
    let kept = u32::try_from(packet.len()).unwrap();
    let header = [BEGIN_S.wrapping_add(time[0]), time[1], kept, kept].map(u32::to_ne_bytes).concat();
    [header.as_slice(), packet].concat()
}

/// A record for each number: it is the time, and at the end of a packet of the pod's own on an interface that is gone.
pub fn numbered(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers
        .into_iter()
        .flat_map(|number| record([number, 0], &udp(GONE, IN, POD, PEER, &number.to_be_bytes())))
        .collect()
}

/// An interface that no machine has: a pair's end that is gone.
pub const GONE: u32 = 2_000_000_011;
/// Another one.
pub const GONE_TOO: u32 = 2_000_000_012;

/// A UDP packet from port 4000 to port 53 of LINKTYPE_LINUX_SLL2; the ports are the other way round when it is for the pod.
pub fn udp(interface: u32, way: u8, from: [u8; 4], to: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; 48];
    packet[..2].copy_from_slice(&[0x08, 0x00]);
    packet[4..8].copy_from_slice(&interface.to_be_bytes());
    packet[10] = way;
    (packet[20], packet[29]) = (0x45, 17);
    packet[32..36].copy_from_slice(&from);
    packet[36..40].copy_from_slice(&to);
    let ports: [u16; 2] = if to == POD { [53, 4000] } else { [4000, 53] };
    packet[40..44].copy_from_slice(&ports.map(u16::to_be_bytes).concat());
    [packet.as_slice(), data].concat()
}

/// An ARP packet, with a number at its end.
pub fn arp(interface: u32, number: u32) -> Vec<u8> {
    let mut packet = udp(interface, IN, POD, PEER, &number.to_be_bytes());
    packet[1] = 6;
    packet
}

/// The number at the end of a packet.
pub fn number(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[packet.len() - 4..].try_into().unwrap())
}

/// A file as tcpdump makes it: emptied if it is there, then a header, then records.
pub fn write(path: &Path, records: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(&[header(SLL2).as_slice(), records].concat()).unwrap();
}

/// Adds to a file.
pub fn append(path: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// What is in a pcap file. Fails if it is none, or does not end with a whole record.
pub fn read(file: &[u8]) -> Pcap {
    let (read, rest) = read_so_far(file).expect("a whole header");
    assert!(rest.is_empty(), "{} bytes after the last whole record", rest.len());
    read
}

/// The same of the beginning of a file, and what is left; `None` without a whole header.
pub fn read_so_far(file: &[u8]) -> Option<(Pcap, &[u8])> {
    let (header, mut rest) = file.split_at_checked(HEADER_BYTES)?;
    let field = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    assert_eq!((field(header, 0), &header[4..8]), (Some(0xA1B2_C3D4), &self::header(0)[4..8]));
    let mut records = Vec::new();
    while let Some(kept) = field(rest, 8).and_then(|kept| usize::try_from(kept).ok()) {
        assert!(kept <= 262_144, "{kept} bytes in one record");
        let Some((record, after)) = rest.split_at_checked(16 + kept) else { break };
        let time = [field(record, 0)?, field(record, 4)?];
        records.push(Read { time, packet: record[16..].to_vec() });
        rest = after;
    }
    Some(((field(header, 20)?, records), rest))
}

/// The numbers of the packets of a pcap file.
pub fn numbers(file: &[u8]) -> Vec<u32> {
    read(file).1.iter().map(|read| number(&read.packet)).collect()
}

/// Sets the time of a file's last write, in seconds since 1970.
pub fn set_written(path: &Path, seconds: u64) -> io::Result<()> {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    OpenOptions::new().write(true).open(path)?.set_modified(time)
}
