use std::io::{self, Cursor};

use super::*;

const FORMS: [(ByteOrder, Resolution, [u8; 4]); 4] = [
    (ByteOrder::Big, Resolution::Micros, [0xA1, 0xB2, 0xC3, 0xD4]),
    (ByteOrder::Little, Resolution::Micros, [0xD4, 0xC3, 0xB2, 0xA1]),
    (ByteOrder::Big, Resolution::Nanos, [0xA1, 0xB2, 0x3C, 0x4D]),
    (ByteOrder::Little, Resolution::Nanos, [0x4D, 0x3C, 0xB2, 0xA1]),
];

/// Numbers of 32 bits, in a byte order.
fn words<const N: usize>(byte_order: ByteOrder, words: [u32; N]) -> Vec<u8> {
    match byte_order {
        ByteOrder::Big => words.map(u32::to_be_bytes).concat(),
        ByteOrder::Little => words.map(u32::to_le_bytes).concat(),
    }
}

/// A header of the classic format with snaplen 262144 and LINKTYPE_LINUX_SLL2.
fn header(byte_order: ByteOrder, magic: [u8; 4]) -> Vec<u8> {
    let version = match byte_order {
        ByteOrder::Big => [0, 2, 0, 4],
        ByteOrder::Little => [2, 0, 4, 0],
    };
    [&magic, &version, words(byte_order, [0, 0, 262_144, 276]).as_slice()].concat()
}

/// A little-endian stream in microseconds with one record: the header's fields, and the bytes after it.
fn stream(fields: [u32; 4], bytes: &[u8]) -> Vec<u8> {
    [&header(ByteOrder::Little, FORMS[1].2), words(ByteOrder::Little, fields).as_slice(), bytes].concat()
}

/// Gives one byte at a time, with an interruption before each.
struct Slow(Cursor<Vec<u8>>, bool);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.1 = !self.1;
        if self.1 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = buffer.len().min(1);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn each_byte_order_and_unit_of_time_is_read_however_the_bytes_come() {
    for (byte_order, resolution, magic) in FORMS {
        let mut bytes = header(byte_order, magic);
        bytes.extend(
            [words(byte_order, [7, 5, 3, 1500]), b"abc".to_vec(), words(byte_order, [u32::MAX, 999_999, 0, 0])]
                .concat(),
        );
        let unit_ns = match resolution {
            Resolution::Micros => 1000,
            Resolution::Nanos => 1,
        };
        let expected = [
            Packet { time_ns: 7_000_000_000 + 5 * unit_ns, length: 1500, bytes: b"abc".to_vec() },
            Packet { time_ns: 4_294_967_295_000_000_000 + 999_999 * unit_ns, length: 0, bytes: Vec::new() },
        ];
        let mut reader = Reader::new(Slow(Cursor::new(bytes.clone()), false)).unwrap();
        assert_eq!(reader.header(), Header { byte_order, resolution, snaplen: 262_144, link_type: 276 });
        let packets: Vec<Packet> = reader.by_ref().map(Result::unwrap).collect();
        assert_eq!(packets, expected);
        assert_eq!(reader.offset(), bytes.len() as u64);
        assert_eq!(Reader::new(bytes.as_slice()).unwrap().map(Result::unwrap).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn an_end_within_a_header_or_packet_is_told_from_an_end_between_packets() {
    let bytes = stream([7, 5, 3, 3], b"abc");
    for length in 0..=bytes.len() {
        let cut = &bytes[..length];
        let reader = Reader::new(cut);
        let error = match length {
            0..24 => reader.err(),
            _ => reader.unwrap().find_map(Result::err),
        };
        let expected = match length {
            0 => Some("the stream of packets is empty".to_owned()),
            1..24 => Some(format!("the stream of packets ends at byte {length}, within its header")),
            24 | 43 => None,
            _ => Some(format!("the stream of packets ends at byte {length}, within the packet that begins at byte 24")),
        };
        assert_eq!(error.map(|error| error.to_string()), expected, "{length} bytes");
    }
}

#[test]
fn what_no_tcpdump_writes_is_an_error_with_its_byte_and_ends_the_stream() {
    let damaged = "the stream of packets is damaged at byte";
    for (fields, message) in [
        ([7, 1_000_000, 3, 3], format!("{damaged} 28: 1000000 is not a fraction of a second")),
        ([7, 5, 262_145, 262_145], format!("{damaged} 32: a packet of 262145 bytes; at most 262144 are possible")),
        (
            [7, 5, u32::MAX, u32::MAX],
            format!("{damaged} 32: a packet of 4294967295 bytes; at most 262144 are possible"),
        ),
        ([7, 5, 3, 2], format!("{damaged} 36: 3 bytes of a packet of 2 bytes")),
    ] {
        let bytes = [stream(fields, b"abc"), stream([7, 5, 3, 3], b"abc")[24..].to_vec()].concat();
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        assert_eq!(reader.next().unwrap().unwrap_err().to_string(), message);
        assert!(reader.next().is_none(), "{message}");
        assert_eq!(reader.offset(), 24);
    }
    let whole = stream([7, 5, 262_144, u32::MAX], &[b'x'; 262_144]);
    assert_eq!(Reader::new(whole.as_slice()).unwrap().next().unwrap().unwrap().bytes.len(), 262_144);
}

#[test]
fn another_format_is_refused_with_its_first_bytes_in_printable_characters() {
    for (at, bytes, message) in [
        (0, b"\x1b[2J", "this is no stream of packets: it begins with the bytes \"\\x1b[2J\""),
        (4, &[2, 0, 3, 0], "the stream of packets has version 2.3, not 2.4"),
        (20, &[1, 0, 0, 0x10], "the stream of packets is damaged at byte 20: link type 268435457"),
    ] {
        let mut header = header(ByteOrder::Little, FORMS[1].2);
        header[at..at + 4].copy_from_slice(bytes);
        let error = Reader::new(header.as_slice()).unwrap_err();
        assert_eq!((error.at, error.to_string()), (at as u64, message.to_owned()));
    }
}

#[test]
fn a_stream_that_cannot_be_read_says_why_and_where() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the connection is closed"))
        }
    }
    let message = "the stream of packets at byte 24: the connection is closed";
    let bytes = stream([7, 5, 3, 3], b"abc");
    for (length, byte) in [(0, 0), (3, 0), (24, 24), (30, 24), (41, 40)] {
        let error = match Reader::new(bytes[..length].chain(Broken)) {
            Ok(mut reader) => reader.next().unwrap().unwrap_err(),
            Err(error) => error,
        };
        let message = message.replace("24", &byte.to_string());
        assert_eq!(error.to_string(), format!("cannot read {message}"), "{length}");
    }
}
