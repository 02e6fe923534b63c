//! One block of a pcapng file: its fields, its options, and how these are padded and bounded.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use super::NameRecord;

/// The longest value of an option or record: its length has 16 bits.
const VALUE_BYTES_MAX: usize = u16::MAX as usize;
/// Options that would make a block longer than this are left out: libpcap refuses a section's header of 1 MiB, and libpcap and Wireshark any
/// block of more than 16 MiB. The last two words of a block, and the end of its options, have room in the rest.
const BYTES_MAX: usize = (1 << 20) - 64;
/// The type and the length of an option, of a record or the end of either, in bytes.
const TAG_BYTES: usize = 4;
const COMMENT: u16 = 1;
const IPV4_RECORD: u16 = 1;
const IPV6_RECORD: u16 = 2;

/// A block that is being put together; its memory is used for all blocks of a file.
#[derive(Debug, Default)]
pub(super) struct Block {
    bytes: Vec<u8>,
    has_options: bool,
}

impl Block {
    pub(super) fn begin(&mut self, kind: u32) -> &mut Self {
        self.bytes.clear();
        self.has_options = false;
        // The length is written when it is known.
        self.u32(kind).u32(0)
    }

    /// Writes the block.
    pub(super) fn end(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.has_options {
            self.u16(0).u16(0);
        }
        let length = u32::try_from(self.bytes.len() + 4).map_err(io::Error::other)?;
        self.u32(length);
        self.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        out.write_all(&self.bytes)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn u16(&mut self, number: u16) -> &mut Self {
        self.bytes.extend(number.to_le_bytes());
        self
    }

    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.bytes.extend(number.to_le_bytes());
        self
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.bytes.extend(number.to_le_bytes());
        self
    }

    /// A time in units of its interface: two numbers, of which the upper half comes first.
    pub(super) fn time(&mut self, time: u64) -> &mut Self {
        self.u64(time.rotate_left(32))
    }

    /// Bytes, and zeros up to a multiple of four.
    pub(super) fn padded(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// An option whose value is short.
    pub(super) fn option(&mut self, code: u16, value: &[u8]) -> &mut Self {
        debug_assert!(value.len() <= VALUE_BYTES_MAX, "an option of {} bytes", value.len());
        if self.bytes.len() + TAG_BYTES + value.len() <= BYTES_MAX {
            self.has_options = true;
            self.tagged(code, value);
        }
        self
    }

    /// An option with a text, which is cut where it is too long. An empty text is not written.
    pub(super) fn text(&mut self, code: u16, text: &str) -> &mut Self {
        self.prefixed_text(code, &[], text)
    }

    /// The same with bytes before the text.
    pub(super) fn prefixed_text(&mut self, code: u16, prefix: &[u8], text: &str) -> &mut Self {
        let text = &text[..text.floor_char_boundary(VALUE_BYTES_MAX - prefix.len())];
        if text.is_empty() { self } else { self.option(code, &[prefix, text.as_bytes()].concat()) }
    }

    pub(super) fn comments(&mut self, comments: &[String]) -> &mut Self {
        for comment in comments {
            self.text(COMMENT, comment);
        }
        self
    }

    /// A record with as many names as it has room for; none if no name can be written.
    pub(super) fn names(&mut self, record: &NameRecord) {
        let (kind, mut value) = match record.address {
            IpAddr::V4(address) => (IPV4_RECORD, address.octets().to_vec()),
            IpAddr::V6(address) => (IPV6_RECORD, address.octets().to_vec()),
        };
        let address_bytes = value.len();
        for name in record.names.iter().filter(|name| !name.is_empty() && !name.contains('\0')) {
            if value.len() + name.len() < VALUE_BYTES_MAX {
                value.extend_from_slice(name.as_bytes());
                value.push(0);
            }
        }
        if value.len() > address_bytes {
            self.tagged(kind, &value);
        }
    }

    fn tagged(&mut self, tag: u16, value: &[u8]) {
        // Both callers keep to the bound.
        self.u16(tag).u16(u16::try_from(value.len()).unwrap_or(u16::MAX)).padded(value);
    }
}
