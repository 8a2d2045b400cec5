//! Untrusted text as it is shown: nothing in it is hidden, and no more of it than a page can bear.

use maud::{Markup, html};

use super::words;

/// The most of one text that is shown unless all of it is asked for, in bytes.
pub(super) const SHOWN_BYTES_MAX: usize = 16 * 1024;

/// The most of one text that is shown when all of it is asked for, in bytes: a browser chokes on more.
pub(super) const WHOLE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of each text is shown, and where the rest is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    /// The address of the same with more of its text; none where there is none.
    pub(super) whole_at: Option<&'a str>,
    /// The most bytes of one text.
    pub(super) bytes_max: usize,
}

impl Room<'_> {
    /// All of a text, as far as it can be shown at all.
    pub(super) const WHOLE: Room<'static> = Room {
        whole_at: None,
        bytes_max: WHOLE_BYTES_MAX,
    };

    /// The beginning of a text that is shown.
    pub(super) fn cut<'t>(&self, text: &'t str) -> &'t str {
        &text[..text.floor_char_boundary(self.bytes_max)]
    }

    /// What is said below a text that was cut.
    pub(super) fn rest(&self, text: &str) -> Markup {
        if text.len() <= self.bytes_max {
            return html! {};
        }
        let missing = words::bytes(text.len() - self.bytes_max);
        html! {
            p.rest {
                "Cut here: " (missing) " more. "
                @if let Some(address) = self.whole_at {
                    a.whole href=(address) data-whole { "Show all " (words::bytes(text.len())) }
                }
            }
        }
    }
}

/// A text as it is, line by line.
pub(super) fn block(text: &str, room: Room<'_>) -> Markup {
    html! {
        pre.text { (shown(room.cut(text))) }
        (room.rest(text))
    }
}

/// A program's output: colours and cursor movements are left out, everything else that is invisible is made visible.
pub(super) fn shown(text: &str) -> String {
    visible(&without_control_sequences(text))
}

/// Makes control characters and those that change the direction of writing visible, so that a text cannot look like
/// another one.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' if text[at + 1..].starts_with('\n') => {}
            c if is_hidden(c) => shown.push_str(&format!("⟨U+{:04X}⟩", c as u32)),
            c => shown.push(c),
        }
    }
    shown
}

/// The first line, at most `chars_max` characters of it.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let mut short: String = line.chars().take(chars_max).collect();
    if short.len() < text.trim().len() {
        short.push('…');
    }
    shown(&short)
}

/// A sentence of ours, in which what stands between backquotes is code; an odd one was somebody else's.
pub(super) fn sentence(text: &str) -> Markup {
    let parts: Vec<_> = text.split('`').collect();
    if parts.len() % 2 == 0 {
        return html! { (visible(text)) };
    }
    html! {
        @for (place, part) in parts.iter().enumerate() {
            @if place % 2 == 1 { code { (visible(part)) } } @else { (visible(part)) }
        }
    }
}

fn is_hidden(c: char) -> bool {
    let changes_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let has_no_width = matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || changes_direction || has_no_width
}

/// Takes out ECMA-48 control sequences (`ESC [ … letter`) and operating system commands (`ESC ] … BEL`).
fn without_control_sequences(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        plain.push_str(&rest[..at]);
        let sequence = &rest[at + 1..];
        rest = match sequence.chars().next() {
            Some('[') => skip_control(&sequence[1..]),
            Some(']') => skip_command(&sequence[1..]),
            Some(_) | None => sequence,
        };
    }
    plain.push_str(rest);
    plain
}

fn skip_control(sequence: &str) -> &str {
    let end = sequence.find(|c: char| !(' '..='?').contains(&c));
    match end.map(|at| (at, sequence[at..].chars().next())) {
        Some((at, Some('@'..='~'))) => &sequence[at + 1..],
        Some((at, _)) => &sequence[at..],
        None => "",
    }
}

/// A command without an end on its line takes nothing with it.
fn skip_command(sequence: &str) -> &str {
    let end = sequence.find(['\u{7}', '\u{1b}', '\n']);
    match end {
        Some(at) if sequence[at..].starts_with('\u{7}') => &sequence[at + 1..],
        Some(at) if sequence[at..].starts_with("\u{1b}\\") => &sequence[at + 2..],
        Some(_) | None => sequence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_a_sentence_is_code() {
        let html = |text: &str| sentence(text).into_string();
        assert_eq!(html("run `a <b>` once"), "run <code>a &lt;b&gt;</code> once");
        assert_eq!(html("it's ` odd"), "it's ` odd");
    }

    #[test]
    fn colours_are_left_out_and_what_is_hidden_is_shown() {
        assert_eq!(shown("\u{1b}[1;31mred\u{1b}[0m"), "red");
        assert_eq!(shown("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(shown("a\u{1b}"), "a");
        assert_eq!(shown("\u{1b}[12"), "");
        assert_eq!(shown("\u{1b}[é"), "é");
        assert_eq!(shown("one\r\ntwo\rthree"), "one\ntwo⟨U+000D⟩three");
        assert_eq!(visible("rm \u{202e}x\u{1b}[8m"), "rm ⟨U+202E⟩x⟨U+001B⟩[8m");
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let room = Room {
            whole_at: Some("/more"),
            bytes_max: 3,
        };
        let html = block("aéééé", room).into_string();
        assert!(html.contains("<pre class=\"text\">aé</pre>"), "{html}");
        assert!(html.contains("href=\"/more\"") && html.contains("9 B"), "{html}");
        assert!(!block("abc", room).into_string().contains("Cut here"));
    }

    #[test]
    fn a_line_is_one_line() {
        assert_eq!(one_line("\n first\nsecond", 40), "first…");
        assert_eq!(one_line("short", 40), "short");
        assert_eq!(one_line("abcdef", 3), "abc…");
    }
}
