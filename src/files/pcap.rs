//! The format of the files that tcpdump writes (pcap-savefile(5)), as far as copying them needs it. Pure.
//!
//! Only what a tcpdump of this machine writes is understood: this machine's byte order, times in microseconds.

use crate::core::annotations::SNAPLEN_MAX;

/// The header of a file, in bytes.
pub const HEADER_BYTES: usize = 24;

/// The header of a record, in bytes.
pub const RECORD_HEADER_BYTES: usize = 16;

/// The largest file without a packet, in bytes: a file with a packet has two headers and at least one byte of the packet.
pub const EMPTY_BYTES_MAX: u64 = (HEADER_BYTES + RECORD_HEADER_BYTES) as u64;

/// The longest record, in bytes.
pub const RECORD_BYTES_MAX: usize = RECORD_HEADER_BYTES + SNAPLEN_MAX as usize;

/// What tcpdump writes with `-i any`: LINKTYPE_LINUX_SLL2.
pub const LINUX_SLL2: u32 = 276;

/// What it writes with `-y LINUX_SLL`: LINKTYPE_LINUX_SLL.
const LINUX_SLL: u32 = 113;

const MAGIC: u32 = 0xA1B2_C3D4;
const VERSION: (u16, u16) = (2, 4);

/// One packet of a file: a header with its time and lengths, and the bytes of the packet that tcpdump kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a>(&'a [u8]);

/// The least and most bytes of a packet that tcpdump can have kept in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    least: u32,
    most: u32,
}

/// What a sequence of bytes begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole record.
    Record(Record<'a>),
    /// A part of a record, or nothing.
    Incomplete,
    /// Bytes that tcpdump cannot have written.
    Broken,
}

/// The header of a file with packets of this link type.
#[must_use]
pub fn header(link_type: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC.to_ne_bytes());
    header[4..6].copy_from_slice(&VERSION.0.to_ne_bytes());
    header[6..8].copy_from_slice(&VERSION.1.to_ne_bytes());
    header[16..20].copy_from_slice(&SNAPLEN_MAX.to_ne_bytes());
    header[20..].copy_from_slice(&link_type.to_ne_bytes());
    header
}

/// The link type of a file that begins with these bytes; `None` if the file is no pcap file of this machine.
#[must_use]
pub fn link_type(header: &[u8]) -> Option<u32> {
    let known = field(header, 0)? == MAGIC && header.get(4..8)? == &self::header(0)[4..8];
    // The upper bits may tell the length of a frame check sequence; tcpdump writes none.
    field(header, 20).filter(|_| known)
}

/// The link type that tcpdump writes with these options (`TCPDUMP_OPTIONS`); `None` if that is not known.
#[must_use]
pub fn link_type_of(options: &str) -> Option<u32> {
    let mut words = options.split_whitespace().skip_while(|word| *word != "-y").skip(1);
    match words.next() {
        None => Some(LINUX_SLL2),
        Some(name) if name.eq_ignore_ascii_case("LINUX_SLL2") => Some(LINUX_SLL2),
        Some(name) if name.eq_ignore_ascii_case("LINUX_SLL") => Some(LINUX_SLL),
        Some(_) => None,
    }
}

/// The record that some bytes begin with, in whatever file.
#[must_use]
pub fn next(bytes: &[u8]) -> Next<'_> {
    next_in(bytes, Bounds::NONE)
}

/// The record that some bytes begin with, in a file with these bounds. All fields of the record's header decide whether it is incomplete or
/// broken: a damaged file must not pass for one that tcpdump still writes.
#[must_use]
pub fn next_in(bytes: &[u8], bounds: Bounds) -> Next<'_> {
    let (micros, kept, of) = (field(bytes, 4), field(bytes, 8), field(bytes, 12));
    if micros.is_some_and(|micros| micros >= 1_000_000)
        || kept.is_some_and(|kept| !(bounds.least..=bounds.most).contains(&kept))
        // The kept part is longer than the packet was.
        || kept > of && of.is_some()
    {
        return Next::Broken;
    }
    let (Some(kept), Some(_)) = (kept, of) else { return Next::Incomplete };
    bytes.get(..RECORD_HEADER_BYTES + kept as usize).map_or(Next::Incomplete, |record| Next::Record(Record(record)))
}

impl Bounds {
    /// For a record that is known to be one.
    pub const NONE: Self = Self { least: 0, most: SNAPLEN_MAX };

    /// The bounds in a file with this header. Each packet begins with tcpdump's own link-layer header, and is not longer than the file's
    /// snaplen.
    #[must_use]
    pub fn of(header: &[u8]) -> Self {
        let most = field(header, 16).filter(|snaplen| (1..SNAPLEN_MAX).contains(snaplen)).unwrap_or(SNAPLEN_MAX);
        let least = match link_type(header) {
            Some(LINUX_SLL2) => 20,
            Some(LINUX_SLL) => 16,
            Some(_) | None => 1,
        };
        Self { least: least.min(most), most }
    }
}

impl<'a> Record<'a> {
    /// The whole record, as it stands in the file.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// When the packet was seen, in microseconds since 1970.
    #[must_use]
    pub fn time_us(self) -> u64 {
        self.0.first_chunk().map(time_us).unwrap_or_default()
    }

    /// The bytes of the packet that were kept.
    #[must_use]
    pub fn packet(self) -> &'a [u8] {
        self.0.get(RECORD_HEADER_BYTES..).unwrap_or_default()
    }
}

/// The time of a record with this header, in microseconds since 1970.
#[must_use]
pub fn time_us(header: &[u8; RECORD_HEADER_BYTES]) -> u64 {
    let [seconds, micros] = [0, 4].map(|at| u64::from(field(header, at).unwrap_or_default()));
    seconds * 1_000_000 + micros
}

fn field(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(time: [u32; 2], kept: u32, packet: &[u8]) -> Vec<u8> {
        let header = [time[0], time[1], kept, kept].map(u32::to_ne_bytes).concat();
        [header.as_slice(), packet].concat()
    }

    #[test]
    fn a_header_says_the_link_type_and_only_tcpdumps_own_is_read() {
        let header = header(LINUX_SLL2);
        assert_eq!(link_type(&header), Some(LINUX_SLL2));
        assert_eq!(link_type(&header[..23]), None);
        for (at, wrong) in [(0, 0x4D), (4, 3), (6, 3)] {
            let mut other = header;
            other[at] = wrong;
            assert_eq!(link_type(&other), None, "byte {at}");
        }
    }

    #[test]
    fn records_are_cut_where_they_end() {
        let bytes = [record([7, 5], 3, b"abc"), record([8, 0], 0, b"")].concat();
        let Next::Record(first) = next(&bytes) else { panic!() };
        assert_eq!((first.packet(), first.bytes().len()), (b"abc".as_slice(), 19));
        assert_eq!(time_us(first.bytes()[..16].try_into().unwrap()), 7_000_005);
        let Next::Record(second) = next(&bytes[19..]) else { panic!() };
        assert_eq!(second.packet(), b"");
        for length in 0..19 {
            assert_eq!(next(&bytes[..length]), Next::Incomplete, "{length}");
        }
        assert_eq!(next(&record([7, 0], SNAPLEN_MAX + 1, b"")), Next::Broken);
        assert_eq!(next(&record([7, 1_000_000], 3, b"abc")), Next::Broken);
    }

    #[test]
    fn what_no_tcpdump_writes_is_broken_even_where_it_is_not_complete() {
        let mut header = header(LINUX_SLL2);
        header[16..20].copy_from_slice(&64_u32.to_ne_bytes());
        let bounds = Bounds::of(&header);
        let record = |kept: u32, of: u32| [7, 5, kept, of].map(u32::to_ne_bytes).concat();
        for (kept, of) in [(20, 20), (64, 64), (64, u32::MAX), (20, 1500)] {
            assert_eq!(next_in(&record(kept, of), bounds), Next::Incomplete, "{kept} of {of}");
        }
        // Nothing but NULs, less than is written of each packet, more than is kept of one, more than there was.
        for (kept, of) in [(0, 0), (19, 19), (65, 65), (65, 1500), (30, 29), (64, 0)] {
            assert_eq!(next_in(&record(kept, of), bounds), Next::Broken, "{kept} of {of}");
            if !(20..=64).contains(&kept) {
                assert_eq!(next_in(&record(kept, of)[..12], bounds), Next::Broken, "{kept}");
            }
        }
        assert_eq!(next_in(&[0; 4096], bounds), Next::Broken);
        // A file that says nothing of its snaplen, or less than what comes first, or is of another kind.
        for (link_type, snaplen, least, most) in [
            (LINUX_SLL2, 0, 20, SNAPLEN_MAX),
            (LINUX_SLL2, 9, 9, 9),
            (LINUX_SLL, 262_144, 16, SNAPLEN_MAX),
            (1, 96, 1, 96),
        ] {
            let mut header = super::header(link_type);
            header[16..20].copy_from_slice(&u32::to_ne_bytes(snaplen));
            assert_eq!(Bounds::of(&header), Bounds { least, most });
        }
    }

    #[test]
    fn the_options_tell_the_link_type_of_files_to_come() {
        for (options, link_type) in [
            ("-Z root -U -B 16384", Some(LINUX_SLL2)),
            ("-U -y LINUX_SLL -B 16384", Some(LINUX_SLL)),
            ("-y linux_sll2", Some(LINUX_SLL2)),
            ("-y EN10MB", None),
        ] {
            assert_eq!(link_type_of(options), link_type, "{options}");
        }
    }
}
