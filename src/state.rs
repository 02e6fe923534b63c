//! The state file: whose the captures' files are, and what the next process must know of them. It lies beside the files and
//! shares their life.
//!
//! It is replaced as a whole by renaming, so a process that dies leaves the old one or the new one. It is not flushed to the
//! disk: what a crash of the node can take is the pod's directory in any case, and the single thread does not wait for a disk.
//! When read it is not trusted: its size is bounded, no path is taken from it, and the annotations go through the parser again.

use std::{
    fs,
    io::{self, Read, Write},
    net::IpAddr,
    path::{Path, PathBuf},
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    annotations::{Accepted, Annotations},
    capture::{Capture, Counts, PodName, Stem, Uid},
    report::{State as Word, situation},
    ring::open_regular,
    slots::{End, Moment, Past, Run, Slot, Slots, Why},
};

/// The largest state file that is read. An entry takes about 1 kB, and a node has at most some hundred pods.
const BYTES_MAX: u64 = 4 << 20;

/// The version of the format; one that is not known is not read.
const VERSION: u32 = 1;

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

/// One slot as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    #[serde(rename = "pod")]
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// How it is getting on.
    #[serde(default)]
    pub state: Word,
    /// What there is to say about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The place in the order of all captures.
    pub sequence: u64,
    /// The annotations that are carried out, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// What has been captured in turn, the newest last.
    #[serde(default)]
    pub history: Vec<PastEntry>,
    /// When the first tcpdump was started of what is carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// Why its last tcpdump was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Why>,
    /// What brought it to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<End>,
    /// Since when its pod has been gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<Time>,
    /// Packets that tcpdump counted until it last ended.
    #[serde(default)]
    pub captured: u64,
    /// Packets that the kernel lost until then.
    #[serde(default)]
    pub dropped: u64,
    /// How many tcpdumps ended without saying what they counted.
    #[serde(default)]
    pub uncounted: u32,
    /// Its tcpdump had been started and not ended.
    #[serde(default)]
    pub running: bool,
    /// Its files are to be removed, whatever the pod asks now.
    #[serde(default)]
    pub doomed: bool,
}

/// What was captured from some time on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastEntry {
    /// From when.
    pub since: Time,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
    /// How many files the ring had.
    pub files: u16,
    /// Which of the pod's packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// How much of each, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snaplen: Option<u32>,
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
    pub fn save(&mut self, slots: &Slots) -> io::Result<()> {
        let captures = slots.iter().filter_map(|(stem, slot)| entry(stem, slot)).collect();
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

fn entry(stem: &Stem, slot: &Slot) -> Option<Entry> {
    let PodName { namespace, name } = stem.pod();
    let owner = slot.owner.as_ref()?;
    let (state, reason) = situation(slot);
    Some(Entry {
        namespace,
        name,
        uid: owner.0.clone(),
        state,
        reason,
        sequence: slot.sequence,
        annotations: slot.admitted.as_ref().map(|accepted| accepted.annotations.clone()),
        history: slot.history.iter().map(PastEntry::of).collect(),
        began: slot.began.and_then(|began| time(began.unix_s)),
        stopped: slot.stopped,
        ended: slot.ended,
        retired: slot.retired.and_then(|retired| time(retired.unix_s)),
        captured: slot.counts.captured,
        dropped: slot.counts.dropped,
        uncounted: slot.uncounted,
        running: slot.has_process(),
        doomed: slot.doomed,
    })
}

impl PastEntry {
    fn of(past: &Past) -> Self {
        let Run { capture, ips } = &past.run;
        let Capture { files, filter, packets: _, snaplen } = capture.clone();
        Self {
            since: time(past.since_s).unwrap_or(Time(Timestamp::UNIX_EPOCH)),
            addresses: ips.clone(),
            files,
            filter,
            snaplen,
        }
    }

    fn past(&self) -> Past {
        let Self { since, addresses, files, filter, snaplen } = self.clone();
        let capture = Capture { files, filter, packets: None, snaplen };
        Past { since_s: seconds(&since), run: Run { capture, ips: addresses } }
    }
}

fn time(unix_s: u64) -> Option<Time> {
    Timestamp::from_second(i64::try_from(unix_s).ok()?).ok().map(Time)
}

fn seconds(time: &Time) -> u64 {
    time.0.as_second().try_into().unwrap_or_default()
}

impl Entry {
    /// The stem of the entry's files.
    #[must_use]
    pub fn stem(&self) -> Stem {
        Stem::of(&PodName { namespace: self.namespace.clone(), name: self.name.clone() })
    }

    fn names_a_pod(&self) -> bool {
        Stem::of_file(&self.stem().base()).is_some_and(|(stem, _)| stem == self.stem())
    }

    /// The slot as it was, without a process, and with what its annotations are read as.
    #[must_use]
    pub fn slot(&self, admitted: Option<Accepted>, now: Moment) -> Slot {
        Slot {
            owner: Some(Uid(self.uid.clone())),
            sequence: self.sequence,
            admitted,
            history: self.history.iter().map(PastEntry::past).collect(),
            began: self.began.as_ref().map(|began| now.recall(seconds(began))),
            stopped: self.stopped,
            said: self.reason.clone(),
            ended: self.ended,
            retired: self.retired.as_ref().map(|retired| now.recall(seconds(retired))),
            counts: Counts { captured: self.captured, dropped: self.dropped },
            // What a tcpdump counted died with the process that it would have told.
            uncounted: self.uncounted.saturating_add(self.running.into()),
            doomed: self.doomed,
            ..Slot::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;
    use crate::{capture::Asked, limits::Limits};

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
        slots.restore(stem.clone(), Slot { began: Some(now), ..slots.get(&stem).unwrap().clone() });
        slots.end(&stem, End::Duration);
        slots.retire(&stem, now);
        slots.doom(&stem);
        file.save(&slots).unwrap();
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
        for text in ["", "{", "[]", r#"{"version": 2, "captures": []}"#, r#"{"version": 1, "captures": [{"pod": 5}]}"#]
        {
            fs::write(&path, text).unwrap();
            assert!(file.load().is_err(), "{text}");
        }
        let entry = |name: &str| format!(r#"{{"namespace": "default", "pod": "{name}", "uid": "1", "sequence": 1}}"#);
        let text = format!(r#"{{"version": 1, "captures": [{}, {}, {}]}}"#, entry("../../etc"), entry("a"), entry(""));
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
