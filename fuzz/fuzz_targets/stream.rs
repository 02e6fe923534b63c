//! A stream of packets in the classic format is read as it stands there, whatever its bytes are and however they come, and where it is
//! damaged or cut off, the error says a byte of it.
//!
//! An input is a byte that chooses how many bytes come at once, and then the stream.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use packet_capture_plugin::pcap::{ByteOrder, Error, Packet, PACKET_BYTES_MAX, Problem, Reader, Resolution};

fuzz_target!(|input: &[u8]| {
    let Some((&at_once, stream)) = input.split_first() else { return };
    let whole = read(stream, stream);
    let pieces = read(Pieces { rest: stream, at_once: usize::from(at_once).max(1) }, stream);
    assert_eq!(whole, pieces);
});

/// Gives some bytes at once.
struct Pieces<'a> {
    rest: &'a [u8],
    at_once: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.at_once.min(buffer.len()).min(self.rest.len());
        buffer[..length].copy_from_slice(&self.rest[..length]);
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

/// Reads a stream, and returns how it ended. Fails if its packets are not what stands in it.
fn read(input: impl Read, stream: &[u8]) -> Option<(u64, String)> {
    let mut reader = match Reader::new(input) {
        Ok(reader) => reader,
        Err(error) => return Some(judge(&error, 0, stream)),
    };
    let header = reader.header();
    let mut at = 24;
    while let Some(read) = reader.next() {
        let packet = match read {
            Ok(packet) => packet,
            Err(error) => {
                assert!(reader.next().is_none() && reader.offset() == at as u64);
                return Some(judge(&error, at, stream));
            }
        };
        let record = record(&packet, header.byte_order, header.resolution);
        assert_eq!(stream.get(at..at + record.len()), Some(record.as_slice()), "at {at}");
        at += record.len();
        assert_eq!(reader.offset(), at as u64);
    }
    assert_eq!(at, stream.len(), "an end before the end");
    None
}

/// A packet as it stands in a stream.
fn record(packet: &Packet, byte_order: ByteOrder, resolution: Resolution) -> Vec<u8> {
    assert!(packet.bytes.len() <= PACKET_BYTES_MAX as usize && packet.bytes.len() <= packet.length as usize);
    let unit_ns = match resolution {
        Resolution::Micros => 1000,
        Resolution::Nanos => 1,
    };
    assert_eq!(packet.time_ns % unit_ns, 0);
    let fields = [
        packet.time_ns / 1_000_000_000,
        packet.time_ns % 1_000_000_000 / unit_ns,
        packet.bytes.len() as u64,
        packet.length.into(),
    ];
    let fields = fields.map(|field| u32::try_from(field).unwrap()).map(|field| match byte_order {
        ByteOrder::Big => field.to_be_bytes(),
        ByteOrder::Little => field.to_le_bytes(),
    });
    [fields.concat(), packet.bytes.clone()].concat()
}

/// The byte and the sentence of an error, which is about a byte from `from` on, or about the end.
fn judge(error: &Error, from: usize, stream: &[u8]) -> (u64, String) {
    let length = stream.len() as u64;
    assert!((from as u64..=length).contains(&error.at), "{error}");
    match &error.problem {
        Problem::Empty => assert!(stream.is_empty()),
        Problem::CutOff { begins } => assert!(error.at == length && *begins == from as u64, "{error}"),
        Problem::Read(_) => panic!("{error}"),
        Problem::Magic(_)
        | Problem::Version { .. }
        | Problem::LinkType(_)
        | Problem::Fraction(_)
        | Problem::TooLong(_)
        | Problem::LongerThanPacket { .. } => assert!(error.at < length, "{error}"),
    }
    (error.at, error.to_string())
}
