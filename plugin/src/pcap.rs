//! The classic format of capture files (pcap-savefile(5)), read as a stream: `get` and `follow` write it in the cluster. Pure.
//!
//! The stream comes from a node that runs packets of strangers, through a connection that may break anywhere. So nothing is believed that no
//! tcpdump writes, a length in the stream reserves no memory before its bytes are there, and an end within a packet is an error.

mod error;
#[cfg(test)]
mod tests;

use std::io::{BufReader, Read};

pub use self::error::{Error, Problem};

/// The most bytes of one packet in the stream: libpcap's `MAXIMUM_SNAPLEN`, which is also the largest value of `tcpdump -s`. The agent in
/// the cluster passes on no longer packet. A larger length means that the stream is damaged.
pub const PACKET_BYTES_MAX: u32 = 262_144;

/// The length of the stream's header, in bytes.
const HEADER_BYTES: usize = 24;
/// The length of the header of each packet, in bytes.
const RECORD_HEADER_BYTES: usize = 16;
/// The format's only version since 1998.
const VERSION: (u16, u16) = (2, 4);
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What the first bytes of a stream say of all its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The order of the bytes of each number in the stream.
    pub byte_order: ByteOrder,
    /// The unit of the fractions of seconds.
    pub resolution: Resolution,
    /// The most bytes that were kept of a packet; 0 if the stream does not say it.
    pub snaplen: u32,
    /// The number of the link type (`LINKTYPE_…`), which says what each packet begins with.
    pub link_type: u16,
}

/// The order of the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// The most significant byte comes first.
    Big,
    /// The least significant byte comes first.
    Little,
}

/// The unit of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When the packet was seen, in nanoseconds since 1970, by the clock of the node.
    pub time_ns: u64,
    /// The length that the packet had, in bytes: at least as many as were kept.
    pub length: u32,
    /// The bytes that were kept, at most [`PACKET_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// Reads a stream packet by packet. It ends after the first error, because no later byte can be trusted.
#[derive(Debug)]
pub struct Reader<R> {
    input: BufReader<R>,
    header: Header,
    /// How many bytes were read, up to the end of the last whole header or packet.
    offset: u64,
    has_ended: bool,
}

impl Resolution {
    /// How many units are one second.
    #[must_use]
    pub fn per_second(self) -> u64 {
        match self {
            Self::Micros => 1_000_000,
            Self::Nanos => NANOS_PER_SECOND,
        }
    }
}

impl ByteOrder {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Big => u16::from_be_bytes(bytes),
            Self::Little => u16::from_le_bytes(bytes),
        }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Big => u32::from_be_bytes(bytes),
            Self::Little => u32::from_le_bytes(bytes),
        }
    }
}

impl<R: Read> Reader<R> {
    /// Reads the stream's header.
    ///
    /// # Errors
    /// [`Problem::Empty`] if the stream has no byte; otherwise if it cannot be read, ends within the header, or has another format.
    pub fn new(input: R) -> Result<Self, Error> {
        let mut input = BufReader::new(input);
        let mut bytes = [0; HEADER_BYTES];
        match fill(&mut input, &mut bytes).map_err(|error| Error { at: 0, problem: Problem::Read(error) })? {
            HEADER_BYTES => (),
            0 => return Err(Error { at: 0, problem: Problem::Empty }),
            read => return Err(cut_off(0, read)),
        }
        Ok(Self { input, header: Header::parse(bytes)?, offset: HEADER_BYTES as u64, has_ended: false })
    }

    /// The stream's header.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    /// The number of bytes that were read, up to the end of the last whole packet.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads a packet. `None`: the stream has ended after a whole packet.
    fn read(&mut self) -> Result<Option<Packet>, Error> {
        let at = self.offset;
        let mut header = [0; RECORD_HEADER_BYTES];
        match fill(&mut self.input, &mut header).map_err(|error| Error { at, problem: Problem::Read(error) })? {
            RECORD_HEADER_BYTES => (),
            0 => return Ok(None),
            read => return Err(cut_off(at, read)),
        }
        let [seconds, fraction, kept, length] = {
            let (fields, _) = header.as_chunks::<4>();
            [0, 1, 2, 3].map(|field| self.header.byte_order.u32(fields[field]))
        };
        let per_second = self.header.resolution.per_second();
        if u64::from(fraction) >= per_second {
            return Err(Error { at: at + 4, problem: Problem::Fraction(fraction) });
        }
        if kept > PACKET_BYTES_MAX {
            return Err(Error { at: at + 8, problem: Problem::TooLong(kept) });
        }
        if kept > length {
            return Err(Error { at: at + 12, problem: Problem::LongerThanPacket { kept, length } });
        }
        let mut bytes = Vec::new();
        let read = self.input.by_ref().take(kept.into()).read_to_end(&mut bytes);
        read.map_err(|error| Error { at: at + RECORD_HEADER_BYTES as u64, problem: Problem::Read(error) })?;
        if bytes.len() < kept as usize {
            return Err(cut_off(at, RECORD_HEADER_BYTES + bytes.len()));
        }
        self.offset = at + RECORD_HEADER_BYTES as u64 + u64::from(kept);
        let time_ns = u64::from(seconds) * NANOS_PER_SECOND + u64::from(fraction) * (NANOS_PER_SECOND / per_second);
        Ok(Some(Packet { time_ns, length, bytes }))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Packet, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let packet = self.read().transpose();
        self.has_ended = !matches!(packet, Some(Ok(_)));
        packet
    }
}

impl Header {
    fn parse(bytes: [u8; HEADER_BYTES]) -> Result<Self, Error> {
        let (fields, _) = bytes.as_chunks::<4>();
        let (byte_order, resolution) = match fields[0] {
            [0xA1, 0xB2, 0xC3, 0xD4] => (ByteOrder::Big, Resolution::Micros),
            [0xD4, 0xC3, 0xB2, 0xA1] => (ByteOrder::Little, Resolution::Micros),
            [0xA1, 0xB2, 0x3C, 0x4D] => (ByteOrder::Big, Resolution::Nanos),
            [0x4D, 0x3C, 0xB2, 0xA1] => (ByteOrder::Little, Resolution::Nanos),
            magic => return Err(Error { at: 0, problem: Problem::Magic(magic) }),
        };
        let version = (byte_order.u16([bytes[4], bytes[5]]), byte_order.u16([bytes[6], bytes[7]]));
        if version != VERSION {
            return Err(Error { at: 4, problem: Problem::Version { major: version.0, minor: version.1 } });
        }
        // The upper half may tell the length of a frame check sequence; tcpdump writes none.
        let link_type = byte_order.u32(fields[5]);
        let link_type =
            u16::try_from(link_type).map_err(|_| Error { at: 20, problem: Problem::LinkType(link_type) })?;
        Ok(Self { byte_order, resolution, snaplen: byte_order.u32(fields[4]), link_type })
    }
}

fn cut_off(begins: u64, read: usize) -> Error {
    Error { at: begins + read as u64, problem: Problem::CutOff { begins } }
}

/// Fills a buffer as far as the input goes. Returns how many bytes came.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
