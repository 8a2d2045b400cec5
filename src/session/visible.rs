//! Untrusted text made visible: nothing in it is hidden, nothing is taken away, and what was written can be read back.
//!
//! A character that nobody sees (a control, a change of the direction of writing, one without width) is shown in its
//! place as a mark: `⟨U+202E⟩`. A `⟨` of the text itself is shown as `⟨U+27E8⟩`, so no text can pretend to hold such a
//! mark, and everything else stands as it was written: a backslash is a backslash. [`read`] turns marks back.
//!
//! Every face shows text through this module: terminal, page, MCP forms.

use std::borrow::Cow;
use std::fmt::Write;

/// Begins a mark.
const OPEN: char = '⟨';

/// Ends a mark.
const CLOSE: char = '⟩';

/// Returns true if nobody sees this character, or it changes how others are seen. Line breaks and tabs are among them.
pub fn is_hidden(c: char) -> bool {
    c.is_control() || is_invisible(c)
}

/// Characters without a shape of their own: formats, fillers, selectors, tags, and separators that begin a line.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}'
        // Private characters without a shape, of which the page makes use.
        | '\u{f0000}'..='\u{f00ff}')
}

/// A text whose line breaks and tabs stay.
pub fn text(text: &str) -> Cow<'_, str> {
    marked(text, |_, c| c == OPEN || (is_hidden(c) && !matches!(c, '\n' | '\t')))
}

/// A text as one line: line breaks and tabs are marked too.
pub fn line(text: &str) -> Cow<'_, str> {
    marked(text, |_, c| c == OPEN || is_hidden(c))
}

/// Prose, which approves nothing: as [`text`], but the selector that makes a picture of the character before it stays,
/// and a return before a line break is part of that.
pub fn prose(text: &str) -> Cow<'_, str> {
    match text.contains("\r\n") {
        true => Cow::Owned(marked(&text.replace("\r\n", "\n"), is_marked_in_prose).into_owned()),
        false => marked(text, is_marked_in_prose),
    }
}

/// Prose that comes in pieces, cut anywhere.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    last: Option<char>,
}

impl Pieces {
    /// The next piece, made visible.
    pub fn push(&mut self, piece: &str) -> String {
        let mut before = self.last;
        let mut shown = String::with_capacity(piece.len());
        for c in piece.chars() {
            push_marked(&mut shown, c, is_marked_in_prose(before, c));
            before = Some(c);
        }
        self.last = before;
        shown
    }
}

fn is_marked_in_prose(before: Option<char>, c: char) -> bool {
    let is_selector = c == '\u{fe0f}' && before.is_some_and(can_be_picture);
    c == OPEN || (is_hidden(c) && !matches!(c, '\n' | '\t') && !is_selector)
}

fn can_be_picture(c: char) -> bool {
    matches!(c, '#' | '*' | '0'..='9' | '\u{a9}' | '\u{ae}' | '\u{203c}'..='\u{3299}' | '\u{1f000}'..='\u{1faff}')
}

/// What a program printed, which approves nothing: as [`prose`], without colours, cursor movements and commands to the
/// terminal.
pub fn output(text: &str) -> String {
    prose(&without_control_sequences(text)).into_owned()
}

/// What was made visible already, and may hold something that was forgotten.
pub fn guard(text: &str) -> Cow<'_, str> {
    marked(text, |_, c| is_hidden(c) && !matches!(c, '\n' | '\t'))
}

/// The same as one line.
pub fn guard_line(text: &str) -> Cow<'_, str> {
    marked(text, |_, c| is_hidden(c))
}

/// JSON in which everything hidden stands as an escape of JSON itself: what reads it gets the same value. There are no
/// marks in it, and nothing that looks like one.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| c == OPEN || (is_hidden(c) && c > '\u{1f}');
    if !text.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A text that is kept as one line and shown later: as it is, or as a string of JSON where it holds something hidden, or
/// could be taken for such a string. Nothing hidden is in it, so that faces have nothing more to mark.
pub fn plain_or_json(text: &str) -> Cow<'_, str> {
    match text.starts_with('"') || text.contains(is_hidden) {
        true => Cow::Owned(json(&serde_json::Value::from(text).to_string()).into_owned()),
        false => Cow::Borrowed(text),
    }
}

/// Reads back what [`text`] or [`line()`] made visible.
pub fn read(shown: &str) -> String {
    let mut text = String::with_capacity(shown.len());
    let mut rest = shown;
    while let Some(at) = rest.find(OPEN) {
        text.push_str(&rest[..at]);
        let mark = &rest[at + OPEN.len_utf8()..];
        match read_mark(mark) {
            Some((c, behind)) => {
                text.push(c);
                rest = behind;
            }
            None => {
                text.push(OPEN);
                rest = mark;
            }
        }
    }
    text.push_str(rest);
    text
}

fn read_mark(mark: &str) -> Option<(char, &str)> {
    let (code, behind) = mark.strip_prefix("U+")?.split_once(CLOSE)?;
    let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
    Some((c, behind))
}

/// Marks characters; each is looked at with the one before it.
fn marked(text: &str, is_marked: impl Fn(Option<char>, char) -> bool) -> Cow<'_, str> {
    let mut before = None;
    let mut first = None;
    for (at, c) in text.char_indices() {
        if is_marked(before, c) {
            first = Some(at);
            break;
        }
        before = Some(c);
    }
    let Some(first) = first else {
        return Cow::Borrowed(text);
    };
    let mut shown = String::with_capacity(text.len() + 16);
    shown.push_str(&text[..first]);
    for c in text[first..].chars() {
        push_marked(&mut shown, c, is_marked(before, c));
        before = Some(c);
    }
    Cow::Owned(shown)
}

fn push_marked(shown: &mut String, c: char, is_marked: bool) {
    if is_marked {
        // A string takes every write.
        let _ = write!(shown, "{OPEN}U+{:04X}{CLOSE}", u32::from(c));
    } else {
        shown.push(c);
    }
}

/// Takes out ECMA-48 control sequences (`ESC [ … letter`) and operating system commands (`ESC ] … BEL`).
pub fn without_control_sequences(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
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
    Cow::Owned(plain)
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
    use proptest::prelude::*;

    #[test]
    fn what_is_hidden_is_shown_in_its_place() {
        for (written, shown) in [
            ("rm \u{202e}x\u{1b}[8m", "rm ⟨U+202E⟩x⟨U+001B⟩[8m"),
            ("a\u{61c}b\u{200d}c\u{ad}d", "a⟨U+061C⟩b⟨U+200D⟩c⟨U+00AD⟩d"),
            ("one\r\ntwo\tthree\0", "one⟨U+000D⟩\ntwo\tthree⟨U+0000⟩"),
            ("\u{e0041}\u{feff}\u{9b}31m", "⟨U+E0041⟩⟨U+FEFF⟩⟨U+009B⟩31m"),
            ("\u{1b}]0;title\u{7}", "⟨U+001B⟩]0;title⟨U+0007⟩"),
            ("grüße 你好 ✓ ⟩", "grüße 你好 ✓ ⟩"),
        ] {
            assert_eq!(text(written), shown, "{written:?}");
        }
        assert_eq!(line("a\nb\tc"), "a⟨U+000A⟩b⟨U+0009⟩c");
    }

    #[test]
    fn a_mark_that_was_written_is_no_mark() {
        assert_eq!(text("⟨U+202E⟩"), "⟨U+27E8⟩U+202E⟩");
        assert_eq!(
            text(r"\u{202e} \x1b \\"),
            r"\u{202e} \x1b \\",
            "a backslash is a backslash"
        );
        assert_eq!(read("⟨U+⟩⟨x"), "⟨U+⟩⟨x");
    }

    #[test]
    fn prose_keeps_its_pictures() {
        assert_eq!(
            prose("⚠\u{fe0f} a\u{fe0f}\u{200d}\r\n"),
            "⚠\u{fe0f} a⟨U+FE0F⟩⟨U+200D⟩\n"
        );
        assert_eq!(text("⚠\u{fe0f}"), "⚠⟨U+FE0F⟩", "but not what is approved");
    }

    #[test]
    fn output_has_no_colours() {
        assert_eq!(output("\u{1b}[1;31mred\u{1b}[0m"), "red");
        assert_eq!(output("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(output("a\u{1b}"), "a");
        assert_eq!(output("\u{1b}[12"), "");
        assert_eq!(output("\u{1b}[é"), "é");
        assert_eq!(output("one\r\ntwo\rthree"), "one\ntwo⟨U+000D⟩three");
    }

    #[test]
    fn what_is_plain_stays_so_and_what_is_not_is_json() {
        assert_eq!(plain_or_json(r"say \u{1b} ⟨x"), r"say \u{1b} ⟨x");
        assert_eq!(plain_or_json("one\ntwo\u{202e} \"x\""), r#""one\ntwo\u202e \"x\"""#);
        assert_eq!(plain_or_json(r#""one\n""#), r#""\"one\\n\"""#);
    }

    proptest! {
        #[test]
        fn a_kept_line_can_be_read_back(written in any_text()) {
            let kept = plain_or_json(&written);
            prop_assert!(!kept.contains(is_hidden), "{:?}", kept);
            let read = match kept.starts_with('"') {
                true => serde_json::from_str(&kept).unwrap(),
                false => kept.into_owned(),
            };
            prop_assert_eq!(read, written);
        }

        #[test]
        fn cut_anywhere_it_is_shown_the_same(written in any_text(), cut in 0usize..60) {
            let written = written.replace('\r', "");
            let cut = written.floor_char_boundary(cut.min(written.len()));
            let mut pieces = Pieces::default();
            let shown = pieces.push(&written[..cut]) + &pieces.push(&written[cut..]);
            prop_assert_eq!(shown, prose(&written));
        }

        #[test]
        fn all_of_it_is_seen_and_can_be_read_back(written in any_text()) {
            let (shown, one_line) = (text(&written), line(&written));
            prop_assert_eq!(&read(&shown), &written);
            prop_assert_eq!(&read(&one_line), &written);
            prop_assert!(!shown.contains(|c| is_hidden(c) && !matches!(c, '\n' | '\t')));
            prop_assert!(!one_line.contains(is_hidden));
            prop_assert_eq!(&guard(&shown), &shown, "nothing is marked twice");
        }

        #[test]
        fn json_is_the_same_value_with_nothing_hidden(written in any_text()) {
            let value = serde_json::Value::from(written);
            let shown = json(&value.to_string()).into_owned();
            prop_assert!(!shown.contains(is_hidden), "{shown:?}");
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }

    fn any_text() -> impl Strategy<Value = String> {
        let odd = prop_oneof![
            any::<char>(),
            prop::sample::select(
                "\u{1b}[]\\⟨⟩U+0123456789ABCDEFx{}\n\r\t\u{202e}\u{200d}\u{ad}\u{61c}\u{9b}\u{7}⚠\u{fe0f}"
                    .chars()
                    .collect::<Vec<_>>()
            ),
        ];
        prop::collection::vec(odd, 0..60).prop_map(|chars| chars.into_iter().collect())
    }
}
