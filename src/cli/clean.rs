//! Makes untrusted text safe for a terminal: no escape sequences, no control characters but line break and tab.
//!
//! An agent's text can quote anything that it has read. Escape sequences could retitle the terminal, write to the
//! clipboard or hide what is really asked for; so could characters that change the direction of writing.

/// Cleans text that comes in pieces; an escape sequence may be cut anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cleaner {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Plain text.
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// In a control sequence, which ends with a letter.
    Control,
    /// In a string for the terminal, which ends with BEL or ESC `\`.
    Command,
    /// After an ESC inside such a string.
    CommandEscape,
}

impl Cleaner {
    /// The next piece without what a terminal would act on.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        piece.chars().filter(|c| self.keep(*c)).collect()
    }

    /// Whether this character is shown. A line break ends every sequence, so that no text vanishes beyond its line.
    fn keep(&mut self, c: char) -> bool {
        if c == '\n' {
            self.state = State::Text;
            return true;
        }
        let (next, keep) = match (self.state, c) {
            (State::Command, '\u{1b}') => (State::CommandEscape, false),
            (_, '\u{1b}') => (State::Escape, false),
            (State::Text, '\u{9b}') | (State::Escape, '[') => (State::Control, false),
            (State::Text, '\u{90}' | '\u{9d}' | '\u{9e}' | '\u{9f}') | (State::Escape, ']' | 'P' | '^' | '_' | 'X') => {
                (State::Command, false)
            }
            (State::Text, c) => (State::Text, is_shown(c)),
            // Intermediate bytes: a letter or digit follows.
            (State::Escape, ' '..='/') => (State::Escape, false),
            (State::Escape, c) => (State::Text, !c.is_ascii() && is_shown(c)),
            (State::Control, ' '..='?') => (State::Control, false),
            (State::Control, c) => (State::Text, !c.is_ascii() && is_shown(c)),
            (State::Command, '\u{7}' | '\u{9c}') | (State::CommandEscape, _) => (State::Text, false),
            (State::Command, _) => (State::Command, false),
        };
        self.state = next;
        keep
    }
}

/// The whole of a text, cleaned.
pub(crate) fn clean(text: &str) -> String {
    Cleaner::default().push(text)
}

/// The text in one line of at most `chars_max` characters, cleaned; `…` stands for the rest.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    let cleaned = clean(text);
    let mut words = cleaned.split_whitespace();
    let mut line = words.next().unwrap_or_default().to_owned();
    for word in words {
        line.push(' ');
        line.push_str(word);
        // Enough to know that it is too long: a text may have megabytes.
        if line.len() > chars_max * 4 {
            break;
        }
    }
    match line.char_indices().nth(chars_max) {
        Some((end, _)) => line[..end].trim_end().to_owned() + "…",
        None => line,
    }
}

fn is_shown(c: char) -> bool {
    let changes_direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c == '\t' || !(c.is_control() || changes_direction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_and_control_characters_are_taken_out() {
        let cases = [
            ("plain\ttext\n", "plain\ttext\n"),
            ("\x1b[31mred\x1b[0m", "red"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]52;c;YQ==\x1b\\after", "after"),
            ("\x1b(Bcharset", "charset"),
            ("bell\x07 back\x08space\r\n", "bell backspace\n"),
            ("\u{9b}31mred", "red"),
            ("\x1b]never ends\nnext line", "\nnext line"),
            ("left\u{202e}right", "leftright"),
            ("grüße 你好 ✓", "grüße 你好 ✓"),
        ];
        for (dirty, cleaned) in cases {
            assert_eq!(clean(dirty), cleaned, "{dirty:?}");
        }
    }

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(one_line("  a\n b\tc ", 10), "a b c");
        assert_eq!(one_line("ééééé", 3), "ééé…");
        assert_eq!(one_line("", 3), "");
    }

    proptest! {
        #[test]
        fn cut_anywhere_it_cleans_the_same(text in "(\\x1b|\\[|\\]|[a-m0-9;]|\\x07|\\n|\\\\|é){0,40}", cut in 0usize..60) {
            let cut = text.floor_char_boundary(cut.min(text.len()));
            let mut cleaner = Cleaner::default();
            let pieces = cleaner.push(&text[..cut]) + &cleaner.push(&text[cut..]);
            prop_assert_eq!(&pieces, &clean(&text));
            prop_assert_eq!(pieces.find(['\u{1b}', '\u{7}']), None);
        }
    }
}
