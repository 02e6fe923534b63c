//! The state file: whose the captures' files are, and what the next process must know of them. It lies beside the files and
//! shares their life.
//!
//! It is replaced as a whole by renaming, so a process that dies leaves the old one or the new one. It is not flushed to the
//! disk: what a crash of the node can take is the pod's directory in any case, and the single thread does not wait for a disk.
//! When read it is not trusted: its size is bounded, no path is taken from it, and the annotations go through the parser again.

mod entry;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use self::entry::{Entry, PastEntry};
use crate::{capture::Stem, plan::Outlook, ring::open_regular, slots::Slots};

/// The largest state file that is read. An entry takes 15 kB at the most, nearly always 1 kB, and a node has some hundred pods.
const BYTES_MAX: u64 = 4 << 20;

/// The version of the format; one that is not known is not read.
const VERSION: u32 = 2;

/// The state file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    written: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    captures: Vec<Entry>,
}

impl StateFile {
    /// The state file of the captures in `dir`.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { path: dir.join(".state.json"), written: Vec::new() }
    }

    /// What an earlier process left, if it left anything.
    ///
    /// # Errors
    /// If there is a file that cannot be read or understood.
    pub fn load(&self) -> io::Result<Option<Vec<Entry>>> {
        let file = match open_regular(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text)?;
        let state: State = serde_json::from_str(&text)?;
        match state.version {
            VERSION => Ok(Some(state.captures.into_iter().filter(Entry::names_a_pod).collect())),
            version => Err(io::Error::other(format!("it has format version {version}, not {VERSION}"))),
        }
    }

    /// Replaces the file if the state is another than when it was last written.
    ///
    /// # Errors
    /// If it cannot be written; the old one then stands.
    pub fn save(&mut self, slots: &Slots, outlooks: &BTreeMap<Stem, Outlook>) -> io::Result<()> {
        let new = Outlook::default();
        let outlook = |stem| outlooks.get(stem).unwrap_or(&new);
        let captures = slots.iter().filter_map(|(stem, slot)| Entry::of(stem, slot, outlook(stem))).collect();
        let text = serde_json::to_vec_pretty(&State { version: VERSION, captures })?;
        if text == self.written {
            return Ok(());
        }
        let new = self.path.with_extension("json.new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        // A new one, so that a link that someone put there is not followed.
        fs::OpenOptions::new().write(true).create_new(true).open(&new)?.write_all(&text)?;
        fs::rename(&new, &self.path)?;
        self.written = text;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::{
        annotations::{Accepted, Annotations},
        capture::{Asked, Capture, PodName, Stem, Uid},
        limits::Limits,
        slots::{End, Moment, Past, Run, Slot},
    };

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("packet-capture-state-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn what_is_written_is_what_the_next_process_reads() {
        let dir = dir("same");
        let annotations: Annotations = [("tcpdump.antrea.io".to_owned(), "5".to_owned())].into();
        let Asked::Request(request) = crate::annotations::asked(&annotations, &Limits::default()) else { panic!() };
        let accepted = Accepted { annotations, request };
        let now = Moment { at: Instant::now(), unix_s: 100 };
        let stem = Stem::of(&PodName { namespace: "prod".into(), name: "web".into() });
        let (mut slots, mut file) = (Slots::default(), StateFile::at(&dir));
        slots.open(&stem, Uid("1".into()));
        slots.admit(&stem, accepted.clone());
        let capture = Capture { filter: Some("udp".to_owned()), ..accepted.request.capture.clone() };
        let history = vec![Past { since_s: 90, run: Run { capture, ips: vec![[10, 0, 0, 1].into()] } }];
        slots.restore(stem.clone(), Slot { began: Some(now), history, ..slots.get(&stem).unwrap().clone() });
        slots.end(&stem, End::Duration);
        slots.retire(&stem, now);
        slots.doom(&stem);
        file.save(&slots, &BTreeMap::new()).unwrap();
        let entries = StateFile::at(&dir).load().unwrap().unwrap();
        assert_eq!(entries[0].stem(), stem);
        assert_eq!(entries[0].annotations, Some(accepted.annotations.clone()));
        assert_eq!(entries[0].slot(Some(accepted), now), *slots.get(&stem).unwrap());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_no_state_is_not_read_and_no_path_is_taken_from_it() {
        let dir = dir("bad");
        let (file, path) = (StateFile::at(&dir), dir.join(".state.json"));
        assert_eq!(file.load().unwrap(), None);
        for text in ["", "{", "[]", r#"{"version": 1, "captures": []}"#, r#"{"version": 2, "captures": [{"pod": 5}]}"#]
        {
            fs::write(&path, text).unwrap();
            assert!(file.load().is_err(), "{text}");
        }
        let entry = |name: &str| format!(r#"{{"namespace": "default", "pod": "{name}", "uid": "1", "sequence": 1}}"#);
        let text = format!(r#"{{"version": 2, "captures": [{}, {}, {}]}}"#, entry("../../etc"), entry("a"), entry(""));
        fs::write(&path, text).unwrap();
        let entries = file.load().unwrap().unwrap();
        assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["a"]);
        fs::write(&path, " ".repeat(usize::try_from(BYTES_MAX).unwrap() + 1)).unwrap();
        assert!(file.load().is_err());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(file.load().is_err());
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(file.load().is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
