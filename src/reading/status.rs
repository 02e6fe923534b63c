//! `status`: the captures of this node, from the state file and the ring, as a table or as lines of JSON.

use std::{io, path::Path};

use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use crate::{
    core::annotations::ANNOTATION,
    files::{
        capture_dir::CaptureDir,
        state_file::{Entry, StateFile},
    },
    reading::ring_reader,
    text::{
        format::{age, quoted, size},
        status::Format,
    },
};

/// One capture as it is shown.
#[derive(Debug, Serialize)]
pub(super) struct CaptureStatus {
    #[serde(flatten)]
    entry: Entry,
    node: String,
    files: usize,
    bytes: u64,
    /// The time of the oldest packet in its files.
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<Timestamp>,
}

/// The captures in `dir` as text, in the order of their names.
///
/// # Errors
/// If the state file or the directory cannot be read.
pub fn status(dir: &Path, node: &str, namespace: Option<&str>, format: Format, now: Timestamp) -> io::Result<String> {
    let ring = CaptureDir::at(dir);
    let mut entries = StateFile::at(dir).load()?.unwrap_or_default();
    entries.retain(|entry| namespace.is_none_or(|namespace| entry.namespace == namespace));
    entries.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let lines = entries.into_iter().map(|entry| of(&ring, entry, node)).collect::<io::Result<Vec<_>>>()?;
    match format {
        Format::Json => lines.iter().map(|line| Ok(serde_json::to_string(line)? + "\n")).collect(),
        Format::Table => Ok(table(&lines, now, false)),
        Format::Wide => Ok(table(&lines, now, true)),
    }
}

/// A capture with what its files show.
///
/// # Errors
/// If the directory cannot be read.
pub(super) fn of(ring: &CaptureDir, entry: Entry, node: &str) -> io::Result<CaptureStatus> {
    let files = ring.files(&entry.stem())?;
    let oldest_us = ring_reader::oldest_us(ring, &files).and_then(|us| i64::try_from(us).ok());
    Ok(CaptureStatus {
        node: node.to_owned(),
        files: files.len(),
        bytes: files.iter().filter_map(|file| file.bytes).sum(),
        oldest: oldest_us.and_then(|us| Timestamp::from_microsecond(us).ok()),
        entry,
    })
}

fn table(lines: &[CaptureStatus], now: Timestamp, wide: bool) -> String {
    let columns = [
        ("NAMESPACE", false),
        ("POD", false),
        ("NODE", true),
        ("STATE", false),
        ("N", false),
        ("FILES", false),
        ("SIZE", false),
        ("OLDEST", false),
        ("COPIES", false),
        ("DROPPED", false),
        ("ADDRESSES", true),
        ("FILTER", true),
        ("REASON", false),
    ];
    let shown = |row: [String; 13]| -> Vec<String> {
        let cells = row.into_iter().zip(columns).filter(|(_, (_, only_wide))| wide || !only_wide);
        cells.map(|(cell, _)| cell).collect()
    };
    let rows: Vec<Vec<String>> = [columns.map(|(name, _)| name.to_owned())]
        .into_iter()
        .chain(lines.iter().map(|line| cells(line, now)))
        .map(shown)
        .collect();
    let widths: Vec<usize> =
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or_default()).collect();
    let aligned = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(aligned).collect()
}

fn cells(line: &CaptureStatus, now: Timestamp) -> [String; 13] {
    let CaptureStatus { entry, node, files, bytes, oldest } = line;
    let latest = entry.history.last();
    // A running tcpdump has not said yet what it counted.
    let more = if entry.running || entry.uncounted > 0 { "+" } else { "" };
    let unknown = entry.running && entry.captured == 0;
    let count = |number: u64| if unknown { String::new() } else { format!("{number}{more}") };
    let n = entry.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION)).cloned();
    let addresses = latest.map(|past| past.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    [
        entry.namespace.clone(),
        entry.name.clone(),
        node.clone(),
        entry.state.name().to_owned(),
        n.unwrap_or_default(),
        files.to_string(),
        size(*bytes),
        oldest.map(|oldest| age((now - oldest).get_seconds())).unwrap_or_default(),
        count(entry.captured),
        count(entry.dropped),
        addresses.unwrap_or_default(),
        latest.and_then(|past| past.filter.as_deref()).map(quoted).unwrap_or_default(),
        entry.reason.clone().unwrap_or_default(),
    ]
    .map(|cell| cell_text(&cell))
}

/// One line of printable ASCII without two blanks in a row: two blanks separate columns.
fn cell_text(text: &str) -> String {
    // Other characters may have no width, or reverse the line.
    let plain: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_graphic() {
                c
            } else if c.is_whitespace() {
                ' '
            } else {
                '?'
            }
        })
        .collect();
    let words: Vec<&str> = plain.split_whitespace().collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}
