//! The tables of several nodes as one, and lines of JSON as ASCII.

use std::fmt::Write;

use crate::printable::printable;

/// The longest line of a table: a reason has 1024 characters, and a filter about as many.
const LINE_CHARS_MAX: usize = 8192;

/// The lines with their columns aligned. In each line two blanks or more separate columns.
pub(super) fn aligned(lines: impl Iterator<Item = String>) -> String {
    let rows: Vec<Vec<String>> = lines
        .map(|line| {
            let line = printable(&line, LINE_CHARS_MAX);
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(ToOwned::to_owned).collect()
        })
        .collect();
    let mut widths = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// A valid line of JSON in printable ASCII: other characters can only be in its texts, where they are escaped.
pub(super) fn ascii_json(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            ' '..='~' => text.push(c),
            '\t' => text.push(' '),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(text, "\\u{unit:04x}");
                }
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{aligned, ascii_json};

    #[test]
    fn tables_of_different_widths_become_one() {
        let lines = ["A   BB  LAST", "aaaa  b  two words", "a  bbbb  \u{1b}[2J"];
        let table = aligned(lines.into_iter().map(ToOwned::to_owned));
        assert_eq!(table, "A     BB    LAST\naaaa  b     two words\na     bbbb  ?[2J\n");
    }

    #[test]
    fn json_keeps_its_meaning_in_ascii() {
        let line = "{\"a\":\t\"\u{e9}\u{1f600}\u{202e}\u{7f}\"}";
        let ascii = ascii_json(line);
        assert_eq!(ascii, r#"{"a": "\u00e9\ud83d\ude00\u202e\u007f"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&ascii).unwrap()["a"], "\u{e9}\u{1f600}\u{202e}\u{7f}");
    }
}
