//! What can be wrong with a stream of packets, and at which byte.

use std::{fmt, io};

use super::{PACKET_BYTES_MAX, VERSION};

/// What is wrong with a stream, and where.
#[derive(Debug)]
pub struct Error {
    /// The number of the first wrong byte, or of the first missing one; the stream's first byte has the number 0.
    pub at: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a stream.
#[derive(Debug)]
pub enum Problem {
    /// The stream ended before its first byte: whoever should have written it wrote nothing.
    Empty,
    /// The stream ended within its header or within a packet.
    CutOff {
        /// The number of the first byte of that header or packet.
        begins: u64,
    },
    /// The stream begins with these bytes, which are none of the format.
    Magic([u8; 4]),
    /// The format has another version.
    Version {
        /// The number before the dot.
        major: u16,
        /// The number after the dot.
        minor: u16,
    },
    /// No link type has such a number.
    LinkType(u32),
    /// The fraction of a second is not less than a second.
    Fraction(u32),
    /// The packet has more bytes than any packet that tcpdump writes.
    TooLong(u32),
    /// More bytes were kept of the packet than it had.
    LongerThanPacket {
        /// How many bytes were kept.
        kept: u32,
        /// How many bytes the packet had.
        length: u32,
    },
    /// The stream cannot be read.
    Read(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let at = self.at;
        match &self.problem {
            Problem::Empty => write!(f, "the stream of packets is empty"),
            Problem::CutOff { begins: 0 } => {
                write!(f, "the stream of packets ends at byte {at}, within its header")
            }
            Problem::CutOff { begins } => {
                write!(f, "the stream of packets ends at byte {at}, within the packet that begins at byte {begins}")
            }
            Problem::Read(error) => write!(f, "cannot read the stream of packets at byte {at}: {error}"),
            Problem::Magic(bytes) => {
                write!(f, "this is no stream of packets: it begins with the bytes \"{}\"", bytes.escape_ascii())
            }
            Problem::Version { major, minor } => {
                write!(f, "the stream of packets has version {major}.{minor}, not {}.{}", VERSION.0, VERSION.1)
            }
            Problem::LinkType(number) => write!(f, "the stream of packets is damaged at byte {at}: link type {number}"),
            Problem::Fraction(fraction) => {
                write!(f, "the stream of packets is damaged at byte {at}: {fraction} is not a fraction of a second")
            }
            Problem::TooLong(kept) => write!(
                f,
                "the stream of packets is damaged at byte {at}: a packet of {kept} bytes; at most {PACKET_BYTES_MAX} \
                 are possible"
            ),
            Problem::LongerThanPacket { kept, length } => {
                write!(f, "the stream of packets is damaged at byte {at}: {kept} bytes of a packet of {length} bytes")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Read(error) => Some(error),
            Problem::Empty
            | Problem::CutOff { .. }
            | Problem::Magic(_)
            | Problem::Version { .. }
            | Problem::LinkType(_)
            | Problem::Fraction(_)
            | Problem::TooLong(_)
            | Problem::LongerThanPacket { .. } => None,
        }
    }
}
