//! The state file: which pod each capture's files belong to, and what the next process must know. It is in the same directory as the
//! files, and is lost together with them.
//!
//! It is replaced as a whole by renaming, so a process that dies leaves the old one or the new one. It is not flushed to the
//! disk: what a crash of the node can take is the pod's directory in any case, and the single thread does not wait for a disk.
//! When read it is not trusted: its size is bounded, no path is taken from it, and the annotations go through the parser again.

mod entry;

use std::{
    collections::BTreeMap,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

pub use self::entry::{Entry, HistoryRecord};
use crate::{
    core::{
        captures::{Capture, Captures},
        condition::State,
        name::Stem,
        plan::Assessment,
        world::RECORDS_MAX,
    },
    files::capture_dir::{open_regular, replace},
};

/// The largest state file that is read. An entry takes [`ENTRY_BYTES_MAX`] at the most, nearly always 1 kB, and there are
/// [`RECORDS_MAX`] at the most: whatever is written is read again.
const BYTES_MAX: u64 = (RECORDS_MAX as u64 + 1) * ENTRY_BYTES_MAX;

/// The most that one entry takes: five filters of 512 bytes in its history, one in its annotations, a reason of 1 kB, names of 316
/// bytes, 32 containers of 110 bytes each, and what names these.
const ENTRY_BYTES_MAX: u64 = 10 << 10;

/// The version of the format; one that is not known is not read.
const VERSION: u32 = 2;

/// The state file.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    written: Option<Written>,
}

/// What was last written: an unchanged state is not written again.
#[derive(Debug)]
struct Written {
    changes: u64,
    assessments: BTreeMap<Stem, Assessment>,
    text: u64,
}

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
struct Document {
    version: u32,
    captures: Vec<Entry>,
}

impl StateFile {
    /// The state file of the captures in `dir`.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { path: dir.join(".state.json"), written: None }
    }

    /// The entries that an earlier process left; `None` if there is no file.
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
        let state: Document = serde_json::from_str(&text)?;
        match state.version {
            VERSION => Ok(Some(state.captures.into_iter().filter(Entry::names_a_pod).collect())),
            version => Err(io::Error::other(format!("it has format version {version}, not {VERSION}"))),
        }
    }

    /// Values that change whenever the file is replaced: its inode, the time it was written (seconds, nanoseconds) and its size in bytes.
    /// `None` if there is no file.
    #[must_use]
    pub fn stamp(&self) -> Option<(u64, i64, i64, u64)> {
        let status = fs::symlink_metadata(&self.path).ok()?;
        Some((status.ino(), status.mtime(), status.mtime_nsec(), status.len()))
    }

    /// Replaces the file if the state differs from what was last written. `describe` words how a capture stands; a capture that no plan
    /// has seen yet has no assessment.
    ///
    /// # Errors
    /// If it cannot be written. The old file then stays.
    pub fn save(
        &mut self,
        captures: &Captures,
        assessments: &BTreeMap<Stem, Assessment>,
        describe: impl Fn(&Capture, Option<&Assessment>) -> (State, Option<String>),
    ) -> io::Result<()> {
        if self
            .written
            .as_ref()
            .is_some_and(|last| last.changes == captures.changes() && last.assessments == *assessments)
        {
            return Ok(());
        }
        let entry = |(stem, capture)| Entry::of(stem, capture, describe(capture, assessments.get(stem)));
        let entries = captures.iter().filter_map(entry);
        let text = text(entries)?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let now = Written { changes: captures.changes(), assessments: assessments.clone(), text: hasher.finish() };
        if self.written.as_ref().is_some_and(|last| last.text == now.text) {
            self.written = Some(now);
            return Ok(());
        }
        replace(&self.path, &self.path.with_extension("json.new"), &text)?;
        self.written = Some(now);
        Ok(())
    }
}

/// The text of the file: one line for each entry, since people read it too.
fn text(captures: impl Iterator<Item = Entry>) -> io::Result<Vec<u8>> {
    let mut text = format!("{{\"version\": {VERSION}, \"captures\": [").into_bytes();
    for (number, entry) in captures.enumerate() {
        text.extend_from_slice(if number == 0 { b"\n" } else { b",\n" });
        serde_json::to_writer(&mut text, &entry)?;
    }
    text.extend_from_slice(b"\n]}\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use serde_json::{Value, json};

    use super::*;
    use crate::core::{
        annotations::{Annotations, ValidRequest},
        captures::{Capture, HistoryEntry, Lifecycle, Moment, Reservation},
        condition::{Condition, EndedBy, StopReason},
        desired::Desired,
        disk::Disk,
        limits::Limits,
        name::{PodName, PodUid, Stem},
        plan::Wanted,
        recall::recall,
        recorder::{
            Baseline, CONTAINERS_MAX, ContainerEnd, ContainerState, ContainerStatus, Incident, PodStatus, Readiness,
            Recorder, StopOn,
        },
        refusal::Refusal,
        request::{CaptureSpec, Counts, Invocation, Parsed},
    };

    /// As the real sentences: of what goes there is nothing to say.
    fn describe(capture: &Capture, assessment: Option<&Assessment>) -> (State, Option<String>) {
        (State::Waiting, (!capture.is_removing()).then(|| format!("{assessment:?}")))
    }

    fn dir(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("packet-capture-state-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn the_next_process_reads_what_the_state_file_was_written_with() {
        let dir = dir("same");
        let annotations: Annotations = [("tcpdump.antrea.io".to_owned(), "5".to_owned())].into();
        let Parsed::Valid(request) = crate::core::annotations::parse(&annotations, &Limits::default()) else {
            panic!()
        };
        let valid = ValidRequest { annotations, request };
        let now = Moment { at: Instant::now(), unix_s: 100 };
        let stem = Stem::of(&PodName { namespace: "prod".into(), name: "web".into() });
        let (mut captures, mut file) = (Captures::default(), StateFile::at(&dir));
        captures.open(&stem, PodUid("1".into()));
        captures.admit(&stem, valid.clone());
        let spec = CaptureSpec { filter: Some("udp".to_owned()), ..valid.request.spec.clone() };
        let history =
            vec![HistoryEntry { since_s: 90, invocation: Invocation { spec, ips: vec![[10, 0, 0, 1].into()] } }];
        captures.restore(
            stem.clone(),
            Capture { first_started: Some(now), history, ..captures.get(&stem).unwrap().clone() },
        );
        let mut is_read_again = |captures: &Captures, lifecycle: Lifecycle| {
            file.save(captures, &BTreeMap::new(), describe).unwrap();
            let entries = StateFile::at(&dir).load().unwrap().unwrap();
            let remembered = entries.iter().map(|entry| (entry.stem(), entry.remembered(now))).collect();
            let mut read = Captures::default();
            recall(&mut read, &mut Desired::default(), Some(remembered), &BTreeMap::new(), &Limits::default());
            assert_eq!(read.get(&stem).unwrap().lifecycle, lifecycle);
            read.get(&stem) == captures.get(&stem)
        };
        assert!(is_read_again(&captures, Lifecycle::Active));
        captures.finish(&stem, EndedBy::Duration, Disk::default());
        assert!(is_read_again(&captures, Lifecycle::Finished(EndedBy::Duration)));
        captures.retain(&stem, now);
        assert!(is_read_again(&captures, Lifecycle::Retained { since: now, ended_by: Some(EndedBy::Duration) }));
        captures.mark_for_removal(&stem);
        // What is to be removed must not be asked for again.
        assert!(!is_read_again(
            &captures,
            Lifecycle::Removing { retained_since: Some(now), failures: 0, retry_at: None }
        ));
        fs::remove_dir_all(&dir).unwrap();
    }

    /// A state file as earlier builds wrote it: its keys and words are read for as long as the version of the format is 2.
    const EARLIER: &str = r#"{"version": 2, "captures": [
{"namespace":"default","pod":"a","uid":"1","state":"finished","sequence":1,"annotations":{"tcpdump.antrea.io":"5"},"claim":"holds","history":[{"since":"2026-01-01T00:00:00Z","addresses":["10.0.0.1"],"files":5}],"began":"2026-01-01T00:00:00Z","ended":"packets","captured":9,"dropped":2,"uncounted":1,"running":false,"doomed":false},
{"namespace":"default","pod":"b","uid":"2","sequence":2,"annotations":{"tcpdump.antrea.io":"5"},"claim":"waits","retired":"2026-01-01T00:00:00Z"},
{"namespace":"default","pod":"c","uid":"3","sequence":3,"annotations":{"tcpdump.antrea.io":"5"},"claim":"rests","doomed":true},
{"namespace":"default","pod":"d","uid":"4","sequence":4,"annotations":{"tcpdump.antrea.io":"5","tcpdump.antrea.io/pause":"true"},"running":true}
]}"#;

    #[test]
    fn a_state_file_of_an_earlier_build_is_read() {
        let dir = dir("earlier");
        fs::write(dir.join(".state.json"), EARLIER).unwrap();
        let now = Moment { at: Instant::now(), unix_s: 1_800_000_000 };
        let entries = StateFile::at(&dir).load().unwrap().unwrap();
        let remembered = entries.iter().map(|entry| (entry.stem(), entry.remembered(now))).collect();
        let mut read = Captures::default();
        recall(&mut read, &mut Desired::default(), Some(remembered), &BTreeMap::new(), &Limits::default());
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| {
            read.get(&Stem::of(&PodName { namespace: "default".into(), name: name.into() })).unwrap().clone()
        });
        assert_eq!((a.lifecycle, a.reservation), (Lifecycle::Finished(EndedBy::Packets), Reservation::Held));
        assert_eq!((a.counts, a.uncounted, a.history.len()), (Counts { captured: 9, dropped: 2 }, 1, 1));
        assert_eq!(a.first_started.map(|moment| moment.unix_s), Some(1_767_225_600));
        assert_eq!(
            (b.reservation, b.retained_since().map(|since| since.unix_s)),
            (Reservation::Queued, Some(1_767_225_600))
        );
        assert_eq!((c.reservation, c.is_removing(), c.admitted), (Reservation::Released, true, None));
        assert_eq!((d.reservation, d.uncounted, d.is_active()), (Reservation::Released, 1, true));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_next_process_knows_what_a_flight_recorder_waits_for_and_what_it_saw() {
        let (dir, now) = (dir("recorder"), Moment { at: Instant::now(), unix_s: 1_800_000_000 });
        let (mut captures, mut file) = (Captures::default(), StateFile::at(&dir));
        let stem = Stem::of(&PodName { namespace: "default".into(), name: "web".into() });
        captures.open(&stem, PodUid("1".into()));
        let state = ContainerState::Running { started_s: Some(1_799_999_000) };
        let app = ContainerStatus { name: "app".into(), is_init: false, restarts: 3, state, last_end: None };
        let ready = Some(Readiness { is_ready: true, since_s: Some(1_799_999_001) });
        let status = PodStatus { containers: vec![app], ready, is_ending: false };
        captures.learned(&stem, Baseline::of(StopOn { restart: true, unready: true }, &status));
        let mut written = |captures: &Captures| {
            file.save(captures, &BTreeMap::new(), describe).unwrap();
            let entries = StateFile::at(&dir).load().unwrap().unwrap();
            assert_eq!(entries[0].remembered(now).capture.recorder, captures.get(&stem).unwrap().recorder);
            let json = serde_json::to_value(&entries[0]).unwrap();
            (json["recorder"].clone(), json["incident"].clone())
        };
        let recorder = json!({
            "containers": {"app": {"ends": 3, "started": 1_799_999_000}},
            "ready": {"ready": true, "since": 1_799_999_001},
        });
        assert_eq!(written(&captures), (recorder, Value::Null));
        let end = ContainerEnd { exit_code: -1, reason: Some("Error".into()), at_s: Some(1_799_999_998) };
        let (at, seen) = ("2027-01-15T07:59:58Z", "2027-01-15T08:00:00Z");
        for (incident, json) in [
            (
                Incident::Restart { container: "app".into(), end: Some(end), others: 2 },
                json!({"kind": "restart", "container": "app", "exit_code": -1, "reason": "Error", "others": 2, "at": at, "seen": seen, "captured": false}),
            ),
            (
                Incident::Restart { container: "app".into(), end: None, others: 0 },
                json!({"kind": "restart", "container": "app", "others": 0, "seen": seen, "captured": false}),
            ),
            (
                Incident::Unready { since_s: Some(1_799_999_998) },
                json!({"kind": "unready", "at": at, "seen": seen, "captured": false}),
            ),
            (Incident::Unready { since_s: None }, json!({"kind": "unready", "seen": seen, "captured": false})),
        ] {
            captures.saw_incident(&stem, incident, now);
            assert_eq!(written(&captures), (Value::Null, json));
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_state_file_that_is_damaged_is_not_read_and_no_path_is_taken_from_it() {
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

    fn assessment(condition: Condition) -> Assessment {
        Assessment { wanted: Wanted::Stop(StopReason::NothingAdmitted), condition: Some(condition) }
    }

    /// A capture of the largest size that pods can bring about.
    fn largest(number: u64, now: Moment) -> (Stem, Capture) {
        let name = format!("{number:0>175}");
        let stem = Stem::of(&PodName { namespace: "n".repeat(63), name });
        let filter = "(tcp port 443)or".repeat(32);
        let values =
            [("", "1000"), ("/filter", &filter[..510]), ("/duration", "4294967295s"), ("/packets", "1000000000")];
        let more = [("/snaplen", "262144"), ("/stop-on", "restart,unready"), ("/pause", "true")];
        let annotations: Annotations = values
            .iter()
            .chain(&more)
            .map(|(key, value)| (format!("tcpdump.antrea.io{key}"), (*value).to_owned()))
            .collect();
        let limits = Limits { files_max: 1000, duration_max: None, ..Limits::default() };
        let Parsed::Valid(request) = crate::core::annotations::parse(&annotations, &limits) else {
            panic!("{annotations:?}")
        };
        let ips = ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "255.255.255.255"].map(|ip| ip.parse().unwrap());
        let mut capture = Capture { owner: Some(PodUid("u".repeat(36))), sequence: u64::MAX, ..Capture::default() };
        for files in 1..=20 {
            let spec = CaptureSpec { files, ..request.spec.clone() };
            capture.remember(&Invocation { spec, ips: ips.into() }, now);
        }
        capture.admitted = Some(ValidRequest { annotations, request });
        let container = |number| ContainerStatus {
            name: format!("{number:0>63}"),
            restarts: u32::MAX,
            is_init: false,
            state: ContainerState::Running { started_s: Some(now.unix_s) },
            last_end: None,
        };
        let ready = Some(Readiness { is_ready: false, since_s: Some(now.unix_s) });
        let containers = (0..CONTAINERS_MAX).map(container).collect();
        let status = PodStatus { containers, ready, is_ending: false };
        capture.recorder = Recorder::Waiting(Baseline::of(StopOn { restart: true, unready: true }, &status));
        capture.counts = Counts { captured: u64::MAX, dropped: u64::MAX };
        (capture.first_started, capture.uncounted) = (Some(now), u32::MAX);
        capture.lifecycle = Lifecycle::Retained { since: now, ended_by: Some(EndedBy::Duration) };
        (stem, capture)
    }

    #[test]
    fn the_state_file_of_as_many_of_the_largest_captures_as_can_be_recorded_is_read_again() {
        let (dir, now) = (dir("largest"), Moment { at: Instant::now(), unix_s: 1_800_000_000 });
        let (mut captures, mut assessments, mut file) = (Captures::default(), BTreeMap::new(), StateFile::at(&dir));
        let refusal = Refusal::FilterRejected { said: "\u{10ffff}".repeat(5000) };
        for number in 0..RECORDS_MAX as u64 {
            let (stem, capture) = largest(number, now);
            captures.restore(stem.clone(), capture);
            assessments.insert(stem, assessment(Condition::Refused(refusal.clone())));
        }
        file.save(&captures, &assessments, describe).unwrap();
        let bytes = fs::metadata(dir.join(".state.json")).unwrap().len();
        assert!(bytes > BYTES_MAX / 2 && bytes <= RECORDS_MAX as u64 * ENTRY_BYTES_MAX, "{bytes} bytes");
        assert_eq!(StateFile::at(&dir).load().unwrap().unwrap().len(), RECORDS_MAX);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_state_file_is_written_only_when_something_in_it_has_changed() {
        let (dir, stem) = (dir("same-again"), Stem::of(&PodName { namespace: "default".into(), name: "web".into() }));
        let (mut captures, mut file) = (Captures::default(), StateFile::at(&dir));
        captures.open(&stem, PodUid("1".into()));
        file.save(&captures, &BTreeMap::new(), describe).unwrap();
        let path = dir.join(".state.json");
        fs::remove_file(&path).unwrap();
        file.save(&captures, &BTreeMap::new(), describe).unwrap();
        captures.notified(&stem, None);
        file.save(&captures, &BTreeMap::new(), describe).unwrap();
        assert!(!path.exists(), "nothing in it is another");
        captures.mark_for_removal(&stem);
        file.save(&captures, &BTreeMap::new(), describe).unwrap();
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
        file.save(&captures, &[(stem, assessment(Condition::Waiting))].into(), describe).unwrap();
        assert!(!path.exists(), "a capture that is being removed has no reason");
        fs::remove_dir_all(&dir).unwrap();
    }
}
