//! How numbers, times, errors and users' texts are shown.

use std::{error::Error, time::Duration};

/// The most characters of a user's text that are shown.
const QUOTED_CHARS_MAX: usize = 60;

/// A user's text in quotes, escaped to ASCII, and shortened with `...` if it is long.
#[must_use]
pub fn quoted(text: &str) -> String {
    let shown: String = text.chars().take(QUOTED_CHARS_MAX).flat_map(char::escape_default).collect();
    let cut = if text.chars().nth(QUOTED_CHARS_MAX).is_some() { "..." } else { "" };
    format!("\"{shown}{cut}\"")
}

/// An error and its causes, joined with `: `; a cause that the text already contains is left out.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// An age in seconds, as at most two units; a negative one is `0s`: `42s`, `4m12s`, `3h5m`, `2d4h`.
#[must_use]
pub fn age(seconds: i64) -> String {
    let s = seconds.max(0);
    match s {
        86_400.. => format!("{}d{}h", s / 86_400, s / 3600 % 24),
        3600.. => format!("{}h{}m", s / 3600, s / 60 % 60),
        60.. => format!("{}m{}s", s / 60, s % 60),
        _ => format!("{s}s"),
    }
}

/// A number of bytes, in the largest unit that fits at least once: `999B`, `12.3kB`, `4.5MB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{}.{}{name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes}B"),
    }
}

/// A time in the unit in which the annotation takes it: `1h`, `5m`, `90s`. Part of a second is left out.
pub(super) fn time(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        3600.. if s.is_multiple_of(3600) => format!("{}h", s / 3600),
        60.. if s.is_multiple_of(60) => format!("{}m", s / 60),
        _ => format!("{s}s"),
    }
}

/// A `usize` as a `u64`.
#[must_use]
pub fn number(number: usize) -> u64 {
    number.try_into().unwrap_or(u64::MAX)
}

/// A number and its noun, singular or plural: `1 file`, `2 files`.
#[must_use]
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_text_is_quoted_escaped_and_cut() {
        assert_eq!(quoted("x5"), r#""x5""#);
        assert_eq!(quoted("a\"b\n\u{1b}[31m−５"), r#""a\"b\n\u{1b}[31m\u{2212}\u{ff15}""#);
        let long = quoted(&"\u{2212}".repeat(300_000));
        assert!(long.len() < QUOTED_CHARS_MAX * 10 && long.ends_with("...\""), "{long}");
    }

    #[test]
    fn ages_and_sizes_are_short() {
        for (seconds, shown) in [(-5, "0s"), (59, "59s"), (252, "4m12s"), (11_100, "3h5m"), (187_200, "2d4h")] {
            assert_eq!(age(seconds), shown);
        }
        for (bytes, shown) in
            [(0, "0B"), (999, "999B"), (12_345, "12.3kB"), (1_000_000, "1.0MB"), (4_590_000_000, "4.5GB")]
        {
            assert_eq!(size(bytes), shown);
        }
    }
}
