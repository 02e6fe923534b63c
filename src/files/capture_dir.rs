//! The files of the captures: listed, prepared, opened and removed. No other file knows a capture's path.

mod order;
mod renumber;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, OFlags, access, statvfs};

use self::{
    order::{Found, HEAD_BYTES, Record, order},
    renumber::{Step, renumber},
};
use crate::core::name::Stem;

/// The prefix of the files that hold a ring's [order](order) as it was before tcpdump was last started.
const RECORD_PREFIX: &str = ".order-";

/// The largest order file that is read, in bytes: 1000 files with 250 bytes each.
const RECORD_BYTES_MAX: u64 = 1 << 20;

/// The directory that holds the captures.
#[derive(Debug)]
pub struct CaptureDir {
    dir: PathBuf,
}

/// One file of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The file's name, without a directory.
    pub name: String,
    /// When the file was last written, in nanoseconds since 1970.
    pub written_ns: i128,
    /// The size in bytes; `None` if it is not a regular file and must not be opened.
    pub bytes: Option<u64>,
    /// The inode, which a rename does not change. After this file is removed, another file may have the same inode.
    pub inode: u64,
}

impl CaptureDir {
    /// Opens the directory of all captures; creates it if it does not exist.
    ///
    /// # Errors
    /// If the directory cannot be created, or nothing can be written in it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
        let ring = Self { dir: dir.to_owned() };
        ring.forget_orders()?;
        Ok(ring)
    }

    /// The directory of all captures, for reading only.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The path that tcpdump gets with `-w`.
    #[must_use]
    pub fn path(&self, stem: &Stem) -> PathBuf {
        self.dir.join(stem.base())
    }

    /// The free and the total bytes of the file system. Space that is reserved for root is not free.
    ///
    /// # Errors
    /// If statvfs fails.
    pub fn space(&self) -> io::Result<(u64, u64)> {
        let status = statvfs(&self.dir)?;
        Ok((status.f_bavail.saturating_mul(status.f_frsize), status.f_blocks.saturating_mul(status.f_frsize)))
    }

    /// The stems that have files.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn stems(&self) -> io::Result<BTreeSet<Stem>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name()));
        let names = names.collect::<io::Result<Vec<_>>>()?;
        Ok(names.iter().filter_map(|name| Some(Stem::of_file(name.to_str()?)?.0)).collect())
    }

    /// The files of a stem, in no particular order.
    ///
    /// # Errors
    /// If the directory or a file's status cannot be read.
    pub fn files(&self, stem: &Stem) -> io::Result<Vec<File>> {
        Ok(self.list(stem)?.0)
    }

    /// The files of a stem, and whether the list is complete: it may lack files if one was renamed or removed while it was read.
    ///
    /// # Errors
    /// If the directory or a file's status cannot be read.
    pub fn list(&self, stem: &Stem) -> io::Result<(Vec<File>, bool)> {
        // The pattern also matches the files of a pod whose name goes on with ".pcap1": the grammar decides.
        let pattern = format!("{}*", glob::Pattern::escape(&self.path(stem).to_string_lossy()));
        let paths = glob::glob(&pattern).map_err(io::Error::other)?;
        let (mut files, mut undisturbed) = (Vec::new(), true);
        for path in paths {
            let path = path.map_err(io::Error::from)?;
            let Some(name) = path.file_name().and_then(OsStr::to_str) else { continue };
            if Stem::of_file(name).is_none_or(|(owner, _)| owner != *stem) {
                continue;
            }
            let status = match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    undisturbed = false;
                    continue;
                }
                status => status?,
            };
            files.push(File {
                name: name.to_owned(),
                written_ns: i128::from(status.mtime()) * 1_000_000_000 + i128::from(status.mtime_nsec()),
                bytes: status.is_file().then_some(status.len()),
                inode: status.ino(),
            });
        }
        Ok((files, undisturbed))
    }

    /// Opens a regular file for reading, and returns it with its present inode.
    ///
    /// # Errors
    /// If it cannot be opened, or is not a regular file.
    pub fn read(&self, name: &str) -> io::Result<(fs::File, u64)> {
        let file = open_regular(&self.dir.join(name))?;
        let inode = file.metadata()?.ino();
        Ok((file, inode))
    }

    /// Prepares the files of a stem for a tcpdump with `-W count`, which must not run yet. Returns how many files stay.
    ///
    /// # Errors
    /// If a file cannot be listed, renamed or removed. Nothing else is lost, and the next call continues from there.
    pub fn prepare(&self, stem: &Stem, count: u16) -> io::Result<usize> {
        let found = self.files(stem)?.into_iter().map(|file| self.look_into(file)).collect();
        let ordered = order(found, self.record(stem).as_ref());
        self.write_down(stem, &Record::of(&ordered, count))?;
        let files: Vec<&File> = ordered.iter().map(|found| &found.file).collect();
        for step in renumber(&files, stem, count) {
            match step {
                Step::Drop(name) => self.unlink(&name)?,
                Step::Rename(from, to) => fs::rename(self.dir.join(from), self.dir.join(to))?,
            }
        }
        Ok(self.files(stem)?.len())
    }

    /// Removes all files of a stem, whose tcpdump must have exited. Returns how many files there were.
    ///
    /// # Errors
    /// If a file cannot be removed. The other files are removed all the same.
    pub fn remove(&self, stem: &Stem) -> io::Result<usize> {
        let files = self.files(stem)?;
        // The order record goes first: if the removal stops half-way, a ring file that is left shows the next process the stem. An order
        // record alone would not.
        let mut failed = self.unlink(&record_name(stem)).err();
        for file in &files {
            failed = self.unlink(&file.name).err().or(failed);
        }
        failed.map_or(Ok(files.len()), Err)
    }

    fn look_into(&self, file: File) -> Found {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        if let Ok((open, _)) = self.read(&file.name)
            && open.take(HEAD_BYTES as u64).read_to_end(&mut head).is_err()
        {
            head.clear();
        }
        head.resize(HEAD_BYTES, 0);
        Found { file, head: head.try_into().unwrap_or([0; HEAD_BYTES]) }
    }

    /// The order that was saved before tcpdump was last started; `None` if it cannot be read.
    fn record(&self, stem: &Stem) -> Option<Record> {
        let file = open_regular(&self.dir.join(record_name(stem))).ok()?;
        let mut text = Vec::new();
        file.take(RECORD_BYTES_MAX).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Saves the order. A full disk does not prevent the start, but then the older order must not be used: it is removed.
    fn write_down(&self, stem: &Stem, record: &Record) -> io::Result<()> {
        let (new, path) = (self.dir.join(RECORD_PREFIX), self.dir.join(record_name(stem)));
        let written = serde_json::to_vec(record).map_err(io::Error::other).and_then(|text| replace(&path, &new, &text));
        let Err(error) = written else { return Ok(()) };
        log::warn!(
            "cannot save the order of the files; the next start uses their times instead stem={stem} error={error}"
        );
        self.unlink(&record_name(stem))
    }

    /// Removes the orders of rings without files, and files that were half written when a process died.
    fn forget_orders(&self) -> io::Result<()> {
        let stems = self.stems()?;
        for entry in fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str().filter(|name| name.starts_with(RECORD_PREFIX)) else { continue };
            if !stems.iter().any(|stem| record_name(stem) == name) {
                self.unlink(name)?;
            }
        }
        Ok(())
    }

    fn unlink(&self, name: &str) -> io::Result<()> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => fs::remove_dir(&path),
            result => result,
        }
    }
}

fn record_name(stem: &Stem) -> String {
    format!("{RECORD_PREFIX}{stem}")
}

/// Replaces a whole file: writes a new file in the same directory and renames it. A link or a pipe at either path is not opened.
///
/// # Errors
/// If the new file cannot be created, written or renamed. The old file then stays.
pub fn replace(path: &Path, new: &Path, content: &[u8]) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => (),
    }
    fs::OpenOptions::new().write(true).create_new(true).open(new)?.write_all(content)?;
    fs::rename(new, path)
}

/// Opens a regular file for reading. A link could lead elsewhere, and a pipe or a device could block the reader.
///
/// # Errors
/// If it cannot be opened, or is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<fs::File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::name::PodName;

    fn web() -> Stem {
        Stem::of(&PodName { namespace: "default".into(), name: "web".into() })
    }

    #[test]
    fn only_the_stems_own_files_are_removed() {
        let dir = std::env::temp_dir().join(format!("packet-capture-ring-{}", std::process::id()));
        let ring = CaptureDir::open(&dir).unwrap();
        let neighbours =
            ["captres-web-2.pcap0", "captres-web.pcap1.pcap0", "captres-web.pcapng", "captres-web_prod.pcap0", "other"];
        for name in neighbours.iter().chain(&["captres-web.pcap0", "captres-web.pcap12", "captres-web.pcap"]) {
            fs::write(dir.join(name), name).unwrap();
        }
        std::os::unix::fs::symlink("/etc/passwd", dir.join("captres-web.pcap3")).unwrap();
        fs::create_dir(dir.join("captres-web.pcap4")).unwrap();
        assert_eq!(ring.stems().unwrap().len(), 4);
        assert_eq!(ring.remove(&web()).unwrap(), 5);
        let left = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.collect::<BTreeSet<_>>(), neighbours.map(str::to_owned).into());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_order_is_written_down_and_goes_with_the_files() {
        let dir = std::env::temp_dir().join(format!("packet-capture-order-{}", std::process::id()));
        let ring = CaptureDir::open(&dir).unwrap();
        let write = |index, text: &str| fs::write(dir.join(web().file(index, 2)), format!("{text:50}")).unwrap();
        let read = |index| fs::read_to_string(dir.join(web().file(index, 2))).unwrap().trim().to_owned();
        ring.prepare(&web(), 2).unwrap();
        write(0, "first, in the future");
        let future = std::time::SystemTime::now() + std::time::Duration::from_secs(86_400);
        fs::File::options().write(true).open(dir.join(web().file(0, 2))).unwrap().set_modified(future).unwrap();
        assert_eq!((ring.prepare(&web(), 2).unwrap(), read(1).as_str()), (1, "first, in the future"));
        write(0, "second");
        ring.prepare(&web(), 2).unwrap();
        assert_eq!([read(0), read(1)], ["first, in the future", "second"]);
        write(0, "third");
        // What cannot be understood is as if it were not there: the file of the second is older by its time, too.
        fs::write(dir.join(record_name(&web())), "{").unwrap();
        assert_eq!(ring.record(&web()), None);
        ring.prepare(&web(), 2).unwrap();
        assert_eq!([read(0), read(1)], ["second", "third"]);
        assert!(dir.join(record_name(&web())).exists());
        assert_eq!(ring.remove(&web()).unwrap(), 2);
        // A link is not followed.
        fs::write(dir.join("outside"), "as it was").unwrap();
        std::os::unix::fs::symlink(dir.join("outside"), dir.join(RECORD_PREFIX)).unwrap();
        ring.prepare(&web(), 2).unwrap();
        assert_eq!(fs::read_to_string(dir.join("outside")).unwrap(), "as it was");
        fs::remove_file(dir.join("outside")).unwrap();
        fs::write(dir.join(".order-captres-gone"), "{}").unwrap();
        fs::write(dir.join(".order-"), "half").unwrap();
        CaptureDir::open(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
