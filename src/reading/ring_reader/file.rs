//! Reads on in one file, piece by piece, while tcpdump writes to it or empties it.

use std::{fs, io};

use super::{FileProgress, FirstRecord, losses::ReadOutcome, open::read_at};
use crate::files::pcap::{self, HEADER_BYTES, Next, Record};

/// How much is read at once, in bytes: many readers may run, in the memory that the captures need.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// The same while a record is longer than that: more than the longest record.
const PIECE_BYTES_MAX: usize = 512 << 10;
const _: () = assert!(PIECE_BYTES_MAX > pcap::RECORD_BYTES_MAX);

/// Reads a file from where it was read to, up to its last whole record.
pub(super) fn read_on(
    file: &fs::File,
    known: &mut FileProgress,
    piece: &mut Vec<u8>,
    take: &mut impl FnMut(Record) -> io::Result<()>,
) -> io::Result<ReadOutcome> {
    loop {
        let read = read_at(file, piece, known.read_to).and_then(|length| {
            let mut first = FirstRecord::default();
            let whole = read_at(file, &mut first, HEADER_BYTES as u64)? == first.len();
            Ok((length, whole && first == known.first))
        });
        let length = match read {
            Ok((length, true)) => length,
            Ok((_, false)) => return Ok(ReadOutcome::Overwritten),
            Err(_) => return Ok(ReadOutcome::Unreadable),
        };
        let mut rest = &piece[..length];
        let broken = loop {
            match pcap::next_in(rest, known.bounds) {
                Next::Record(record) => {
                    take(record)?;
                    known.read_to += record.bytes().len() as u64;
                    rest = &rest[record.bytes().len()..];
                }
                Next::Incomplete => break false,
                Next::Broken => break true,
            }
        };
        let unused = rest.len();
        if broken {
            let size = file.metadata().map_or(known.read_to + unused as u64, |status| status.len());
            return Ok(ReadOutcome::Broken { rest: size.saturating_sub(known.read_to) });
        }
        if length < piece.len() {
            resize(piece, PIECE_BYTES);
            return Ok(ReadOutcome::ToEnd { rest: unused as u64 });
        }
        if unused == length {
            resize(piece, PIECE_BYTES_MAX);
        }
    }
}

/// Makes a buffer so long, and gives back what it had beyond that.
fn resize(piece: &mut Vec<u8>, bytes: usize) {
    if piece.len() != bytes {
        *piece = vec![0; bytes];
    }
}
