//! The files of the captures: where they lie, how they are made ready, opened and removed. No other file knows a capture's path.

mod steps;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, OFlags, access, statvfs};

use self::steps::{Step, steps};
use crate::capture::Stem;

/// The directory that holds the captures.
#[derive(Debug)]
pub struct Ring {
    dir: PathBuf,
}

/// One file of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// When it was last written to, in nanoseconds since 1970.
    pub written_ns: i128,
    /// Its size; `None` where it is no regular file, and must not be opened.
    pub bytes: Option<u64>,
    /// What stays the same when it is renamed; another file may have it once this one is removed.
    pub inode: u64,
}

impl Ring {
    /// The directory of all captures, which is made if it does not exist.
    ///
    /// # Errors
    /// If it cannot be made, or nothing can be written in it.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// The directory of all captures, for reading only.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// What tcpdump is given with `-w`.
    #[must_use]
    pub fn path(&self, stem: &Stem) -> PathBuf {
        self.dir.join(stem.base())
    }

    /// How many bytes of the file system are free for anyone but root, and how many it has in all.
    ///
    /// # Errors
    /// If the file system does not say.
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

    /// The same, and whether none was renamed or removed meanwhile: if one was, others may be lacking.
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

    /// Opens a file for reading, and says which inode it has by now. Nothing but a regular file is opened.
    ///
    /// # Errors
    /// If it cannot be opened, or is no regular file.
    pub fn read(&self, name: &str) -> io::Result<(fs::File, u64)> {
        let file = open_regular(&self.dir.join(name))?;
        let inode = file.metadata()?.ino();
        Ok((file, inode))
    }

    /// Makes the files of a stem ready for a tcpdump with `-W count` that must not be running yet. Returns how many stay.
    ///
    /// # Errors
    /// If a file cannot be listed, renamed or removed; nothing else is lost then, and the next call goes on from there.
    pub fn prepare(&self, stem: &Stem, count: u16) -> io::Result<usize> {
        for step in steps(&self.files(stem)?, stem, count) {
            match step {
                Step::Drop(name) => self.unlink(&name)?,
                Step::Rename(from, to) => fs::rename(self.dir.join(from), self.dir.join(to))?,
            }
        }
        Ok(self.files(stem)?.len())
    }

    /// Removes all files of a stem. Its tcpdump must be gone. Returns how many there were.
    ///
    /// # Errors
    /// If one cannot be removed; the others are, all the same.
    pub fn remove(&self, stem: &Stem) -> io::Result<usize> {
        let files = self.files(stem)?;
        let mut failed = None;
        for file in &files {
            failed = self.unlink(&file.name).err().or(failed);
        }
        failed.map_or(Ok(files.len()), Err)
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

/// Opens a file for reading: a link could lead elsewhere, and a pipe or a device hold up who reads it.
///
/// # Errors
/// If it cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<fs::File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::PodName;

    fn web() -> Stem {
        Stem::of(&PodName { namespace: "default".into(), name: "web".into() })
    }

    #[test]
    fn only_the_stems_own_files_are_removed() {
        let dir = std::env::temp_dir().join(format!("packet-capture-ring-{}", std::process::id()));
        let ring = Ring::open(&dir).unwrap();
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
}
