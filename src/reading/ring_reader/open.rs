//! Opens a file that may have been renamed, and reads it at an offset.

use std::{fs, io, os::unix::fs::FileExt};

use crate::{
    core::name::Stem,
    files::capture_dir::{CaptureDir, File},
};

/// How often the files are listed until two lists agree. A restart renames the files within milliseconds, and a list may lack some then.
pub(super) const LISTS_MAX: usize = 100;

/// Opens a file by its listed name, or by its new name: a restart renames the files.
pub(super) fn find(ring: &CaptureDir, stem: &Stem, file: &File) -> io::Result<fs::File> {
    let mut name = file.name.clone();
    for _ in 0..LISTS_MAX {
        match ring.read(&name) {
            Ok((open, inode)) if inode == file.inode => return Ok(open),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => (),
        }
        let files = ring.files(stem)?;
        // A list may lack a file that is being renamed.
        name = files.into_iter().find(|moved| moved.inode == file.inode).map_or(name, |moved| moved.name);
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_at(file: &fs::File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read_at(&mut buffer[length..], offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
