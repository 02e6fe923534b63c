//! Text from the cluster, made fit for a terminal: printable ASCII on one line, of a bounded length.

/// The text with a blank for each white space and `?` for each other character that is not printable ASCII, and at most
/// `chars_max` characters of it: a longer text ends in `...`.
#[must_use]
pub fn printable(text: &str, chars_max: usize) -> String {
    let mut chars = text.chars().map(|c| match c {
        ' '..='~' => c,
        c if c.is_whitespace() => ' ',
        _ => '?',
    });
    let mut shown: String = chars.by_ref().take(chars_max).collect();
    if chars.next().is_some() {
        shown.truncate(chars_max.saturating_sub(3));
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn text_that_moves_the_cursor_or_reverses_the_line_is_harmless() {
        assert_eq!(printable("a\u{1b}[2Jb\tc\r\nd\u{202e}\u{7f}", 99), "a?[2Jb c  d??");
    }

    #[test]
    fn long_text_is_cut_visibly() {
        assert_eq!(printable("abcdef", 6), "abcdef");
        assert_eq!(printable("abcdefg", 6), "abc...");
    }
}
