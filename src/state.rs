//! The state file: whose the captures' files are, and what the next process must know of them. It lies beside the files and
//! shares their life.
//!
//! It is replaced as a whole by renaming, so a process that dies leaves the old one or the new one. It is not flushed to the
//! disk: what a crash of the node can take is the pod's directory in any case, and the single thread does not wait for a disk.
//! When read it is not trusted: its size is bounded, no path is taken from it, and the annotations go through the parser again.

use std::{
    fs,
    io::{self, Read},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    capture::{Counts, PodName, Stem, Uid},
    desired::Desired,
    pod::Annotations,
    slots::{Slot, Slots},
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
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The place in the order of all captures.
    pub sequence: u64,
    /// The last annotations that could be read, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// The pod's addresses, as tcpdump was last given them.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
    /// When the first tcpdump was started, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_s: Option<u64>,
    /// Packets that tcpdump counted until it last ended.
    #[serde(default)]
    pub captured: u64,
    /// Packets that the kernel lost until then.
    #[serde(default)]
    pub dropped: u64,
    /// How many tcpdumps ended without saying what they counted.
    #[serde(default)]
    pub uncounted: u32,
    /// Its files are to be removed, whatever the pod asks now.
    #[serde(default)]
    pub doomed: bool,
}

impl StateFile {
    /// The state file of the captures in `dir`.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { path: dir.join(".state.json"), written: Vec::new() }
    }

    /// What an earlier process left; empty if there is no file.
    ///
    /// # Errors
    /// If there is a file that cannot be read or understood.
    pub fn load(&self) -> io::Result<Vec<Entry>> {
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let file = match fs::OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text)?;
        let state: State = serde_json::from_str(&text)?;
        match state.version {
            VERSION => Ok(state.captures.into_iter().filter(Entry::names_a_pod).collect()),
            version => Err(io::Error::other(format!("it has format version {version}, not {VERSION}"))),
        }
    }

    /// Replaces the file if the state is another than when it was last written.
    ///
    /// # Errors
    /// If it cannot be written; the old one then stands.
    pub fn save(&mut self, slots: &Slots, desired: &Desired) -> io::Result<()> {
        let captures = slots.iter().filter_map(|(stem, slot)| entry(stem, slot, desired)).collect();
        let text = serde_json::to_vec_pretty(&State { version: VERSION, captures })?;
        if text == self.written {
            return Ok(());
        }
        let new = self.path.with_extension("json.new");
        fs::write(&new, &text)?;
        fs::rename(&new, &self.path)?;
        self.written = text;
        Ok(())
    }
}

fn entry(stem: &Stem, slot: &Slot, desired: &Desired) -> Option<Entry> {
    let PodName { namespace, name } = stem.pod();
    let owner = slot.owner.as_ref()?;
    let wish = desired.wish_for(stem).filter(|wish| wish.uid == *owner);
    Some(Entry {
        namespace,
        name,
        uid: owner.0.clone(),
        sequence: slot.sequence,
        annotations: wish.and_then(|wish| Some(wish.accepted.as_ref()?.annotations.clone())),
        ips: slot.last.as_ref().map(|run| run.ips.clone()).unwrap_or_default(),
        began_s: slot.began_s,
        captured: slot.counts.captured,
        dropped: slot.counts.dropped,
        uncounted: slot.uncounted,
        doomed: slot.doomed,
    })
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

    /// The slot as it was, without a process.
    #[must_use]
    pub fn slot(&self) -> Slot {
        Slot {
            owner: Some(Uid(self.uid.clone())),
            sequence: self.sequence,
            began_s: self.began_s,
            counts: Counts { captured: self.captured, dropped: self.dropped },
            uncounted: self.uncounted,
            doomed: self.doomed,
            ..Slot::default()
        }
    }
}
