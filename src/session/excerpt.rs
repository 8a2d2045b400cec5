//! Beginnings and ends of texts that are too long to be shown whole. A text is cut between characters, and `…` stands for
//! what is left out.

use std::borrow::Cow;

/// The longest beginning of a text that has at most so many bytes, without a mark.
pub fn head(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// The longest beginning of a text that has at most so many bytes, `…` where there is more.
pub fn marked_head(text: &str, bytes_max: usize) -> String {
    let kept = head(text, bytes_max);
    marked(kept, kept.len() < text.len())
}

/// The first line of a text in at most so many bytes, `…` where there is more.
pub fn first_line_of_bytes(text: &str, bytes_max: usize) -> String {
    let text = text.trim();
    let line = head(text.lines().next().unwrap_or_default(), bytes_max);
    marked(line, line.len() < text.len())
}

/// The first line of a text in at most so many characters, `…` where there is more.
pub fn first_line(text: &str, chars_max: usize) -> String {
    let text = text.trim();
    let (line, _) = split_at_chars(text.lines().next().unwrap_or_default(), chars_max);
    marked(line, line.len() < text.len())
}

/// The first paragraph of a text, as one line.
pub fn first_paragraph(text: &str) -> String {
    let lines = text.trim().lines().map(str::trim);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The first line of what a program reports, without a mark.
pub fn report(text: &str) -> String {
    head(text.lines().next().unwrap_or_default(), 500).to_owned()
}

/// The words of a text in one line of at most so many characters, `…` where there are more.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let mut words = text.split_whitespace();
    let mut line = words.next().unwrap_or_default().to_owned();
    for word in words {
        line.push(' ');
        line.push_str(word);
        // Enough to know that it is too long: a text may have megabytes.
        if line.len() > chars_max * 4 {
            break;
        }
    }
    let (kept, rest) = split_at_chars(&line, chars_max);
    marked(kept.trim_end(), !rest.is_empty())
}

/// The end of a text in at most so many bytes, behind `…` if that is not all of it.
pub fn tail(text: &str, bytes_max: usize) -> Cow<'_, str> {
    match text.len().checked_sub(bytes_max) {
        None | Some(0) => Cow::Borrowed(text),
        Some(skipped) => Cow::Owned(format!("…{}", &text[text.ceil_char_boundary(skipped)..])),
    }
}

/// At most so many characters of a text, and the rest.
pub fn split_at_chars(text: &str, chars_max: usize) -> (&str, &str) {
    let at = text.char_indices().nth(chars_max).map_or(text.len(), |(at, _)| at);
    text.split_at(at)
}

fn marked(kept: &str, is_cut: bool) -> String {
    let mark = if is_cut { "…" } else { "" };
    format!("{kept}{mark}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(head("aéb", 2), "a");
        assert_eq!(head("aéb", 9), "aéb");
        assert_eq!(split_at_chars("éa", 1), ("é", "a"));
        assert_eq!(split_at_chars("éa", 2), ("éa", ""));
        assert_eq!(tail("abc", 3), "abc");
        assert_eq!(tail("abcdef", 3), "…def");
        assert_eq!(tail(&"é".repeat(3), 3), "…é");
    }

    #[test]
    fn a_mark_stands_exactly_where_something_is_left_out() {
        assert_eq!(first_line("\n first\nsecond", 40), "first…");
        assert_eq!(first_line(" short\n", 5), "short");
        assert_eq!(first_line("abcdef", 3), "abc…");
        assert_eq!(marked_head("aéb", 2), "a…");
        assert_eq!(marked_head("a\nb", 3), "a\nb");
        assert_eq!(first_line_of_bytes("aéb", 2), "a…");
        assert_eq!(first_line_of_bytes("aé\n", 3), "aé");
        assert_eq!(one_line("  a\n b\tc ", 10), "a b c");
        assert_eq!(one_line("ab  cd", 3), "ab…");
        assert_eq!(one_line("ééééé", 3), "ééé…");
        assert_eq!(one_line("", 3), "");
    }
}
