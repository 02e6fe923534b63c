//! A writer of the pcapng format (draft-ietf-opsawg-pcapng), little-endian, one section. Pure.
//!
//! Written here and not by the crate `pcap-file`: its 3.0.0-rc.3 asks for Rust 1.93, where this workspace promises 1.91, and its 3.0.0-rc1
//! writes the length of an option modulo 65,536, so that a long comment damages the file. Neither cuts a text or bounds a block, which
//! is half of what is written below.
//!
//! Wireshark reads all of it. libpcap (tcpdump) reads a section only if all its interfaces have the same link type and the same snaplen.

mod block;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    net::IpAddr,
};

use self::block::Block;
use crate::pcap::{Packet, Resolution};

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

/// Tells the byte order to a reader.
const BYTE_ORDER_MAGIC: u32 = 0x1A2B_3C4D;
/// No reader needs to know where the section ends: it ends with the file.
const SECTION_LENGTH_UNKNOWN: u64 = u64::MAX;
/// The kind of filter in `if_filter` that is an expression of pcap-filter(7).
const FILTER_EXPRESSION: u8 = 0;
/// A block of names ends when it is longer than this, and another begins, so that its last record and its comments have room in
/// `block::BYTES_MAX`.
const NAMES_BLOCK_BYTES: usize = 1 << 19;

/// What the file says of itself. Empty texts are not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// What the packets were captured on.
    pub hardware: String,
    /// The operating system that they were captured with.
    pub os: String,
    /// The program that wrote the file.
    pub application: String,
    /// What else is to be said.
    pub comments: Vec<String>,
}

/// Where packets were captured. Empty texts are not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name, which Wireshark shows for each packet.
    pub name: String,
    /// What it is.
    pub description: String,
    /// The filter, as pcap-filter(7) has it.
    pub filter: String,
    /// The number of the link type (`LINKTYPE_…`).
    pub link_type: u16,
    /// The most bytes that are kept of a packet; 0 if there is no such bound.
    pub snaplen: u32,
    /// The unit of its packets' times.
    pub resolution: Resolution,
    /// What else is to be said.
    pub comments: Vec<String>,
}

/// An interface of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceId(u32);

/// Which way a packet went, as the interface saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    Inbound,
    /// It went out.
    Outbound,
}

/// What is said of a packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketNotes {
    /// Which way it went, if that is known.
    pub direction: Option<Direction>,
    /// What else is to be said.
    pub comments: Vec<String>,
}

/// The names of an address, for a reader that looks no names up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameRecord {
    /// The address.
    pub address: IpAddr,
    /// Its names; a name that is empty or has a NUL in it is not written.
    pub names: Vec<String>,
}

/// What was counted on an interface. What is not known is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When these numbers were taken, in nanoseconds since 1970.
    pub time_ns: u64,
    /// When the capture began, in nanoseconds since 1970.
    pub start_ns: Option<u64>,
    /// When the capture ended, in nanoseconds since 1970.
    pub end_ns: Option<u64>,
    /// How many packets the interface received.
    pub received: Option<u64>,
    /// How many packets were dropped for want of room.
    pub dropped: Option<u64>,
    /// What else is to be said.
    pub comments: Vec<String>,
}

/// Writes a file block by block. Each write of the output is one whole block.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    block: Block,
    /// The units of time of the interfaces, in the order of their numbers.
    resolutions: Vec<Resolution>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn new(out: W, section: &Section) -> io::Result<Self> {
        let mut writer = Self { out, block: Block::default(), resolutions: Vec::new() };
        let block = writer.block.begin(SECTION_HEADER);
        block.u32(BYTE_ORDER_MAGIC).u16(1).u16(0).u64(SECTION_LENGTH_UNKNOWN);
        block.comments(&section.comments);
        block.text(2, &section.hardware).text(3, &section.os).text(4, &section.application);
        writer.block.end(&mut writer.out)?;
        Ok(writer)
    }

    /// Adds an interface; possible at any time before its first packet.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn interface(&mut self, interface: &Interface) -> io::Result<InterfaceId> {
        let id = u32::try_from(self.resolutions.len()).map_err(|_| invalid("too many interfaces"))?;
        let block = self.block.begin(INTERFACE_DESCRIPTION);
        block.u16(interface.link_type).u16(0).u32(interface.snaplen);
        block.text(2, &interface.name).text(3, &interface.description);
        let negative_power_of_ten = match interface.resolution {
            Resolution::Micros => 6,
            Resolution::Nanos => 9,
        };
        block.option(9, &[negative_power_of_ten]);
        block.prefixed_text(11, &[FILTER_EXPRESSION], &interface.filter);
        block.comments(&interface.comments);
        self.block.end(&mut self.out)?;
        self.resolutions.push(interface.resolution);
        Ok(InterfaceId(id))
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// If the output cannot be written, the interface is another writer's, or the packet is too long for any file.
    pub fn packet(&mut self, interface: InterfaceId, packet: &Packet, notes: &PacketNotes) -> io::Result<()> {
        let time = self.time(interface, packet.time_ns)?;
        let kept = u32::try_from(packet.bytes.len()).map_err(|_| invalid("a packet is too long"))?;
        let block = self.block.begin(ENHANCED_PACKET);
        block.u32(interface.0).time(time).u32(kept).u32(packet.length).padded(&packet.bytes);
        match notes.direction {
            Some(Direction::Inbound) => block.option(2, &1_u32.to_le_bytes()),
            Some(Direction::Outbound) => block.option(2, &2_u32.to_le_bytes()),
            None => block,
        };
        block.comments(&notes.comments);
        self.block.end(&mut self.out)
    }

    /// Adds names of addresses. A reader such as tshark knows them from here on. They come after the first interface: editcap and mergecap
    /// of Wireshark 4.0 take the link type from the interfaces right after the section's header, and write no file without one.
    ///
    /// # Errors
    /// If the output cannot be written, or there is no interface.
    pub fn names(&mut self, records: &[NameRecord], comments: &[String]) -> io::Result<()> {
        if self.resolutions.is_empty() {
            return Err(invalid("names before the first interface"));
        }
        let mut records = records.iter().peekable();
        while records.peek().is_some() {
            let block = self.block.begin(NAME_RESOLUTION);
            while let Some(record) = records.next_if(|_| block.bytes() < NAMES_BLOCK_BYTES) {
                block.names(record);
            }
            block.u16(0).u16(0);
            block.comments(comments);
            self.block.end(&mut self.out)?;
        }
        Ok(())
    }

    /// Adds what was counted on an interface; the last one of an interface counts.
    ///
    /// # Errors
    /// If the output cannot be written, or the interface is another writer's.
    pub fn statistics(&mut self, interface: InterfaceId, statistics: &Statistics) -> io::Result<()> {
        let time = self.time(interface, statistics.time_ns)?;
        let start = statistics.start_ns.map(|time_ns| self.time(interface, time_ns)).transpose()?;
        let end = statistics.end_ns.map(|time_ns| self.time(interface, time_ns)).transpose()?;
        let block = self.block.begin(INTERFACE_STATISTICS);
        block.u32(interface.0).time(time);
        for (code, time) in [(2, start), (3, end)] {
            // The upper half comes first, as in a packet.
            time.map(|time| block.option(code, &time.rotate_left(32).to_le_bytes()));
        }
        for (code, count) in [(4, statistics.received), (5, statistics.dropped)] {
            count.map(|count| block.option(code, &count.to_le_bytes()));
        }
        block.comments(&statistics.comments);
        self.block.end(&mut self.out)
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The output.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.out
    }

    /// A time in the interface's unit.
    fn time(&self, interface: InterfaceId, time_ns: u64) -> io::Result<u64> {
        let resolution = self.resolutions.get(interface.0 as usize).ok_or_else(|| invalid("unknown interface"))?;
        Ok(time_ns / (Resolution::Nanos.per_second() / resolution.per_second()))
    }
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}
