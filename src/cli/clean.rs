//! Untrusted text in lines of a terminal, made visible by [`visible`].
//!
//! An agent's text can quote anything that it has read. Escape sequences could retitle the terminal, write to the
//! clipboard or hide what is really asked for; so could characters that change the direction of writing.

use crate::session::{excerpt, visible};

/// The whole of a text, made visible; its line breaks stay.
pub(crate) fn clean(text: &str) -> String {
    visible::prose(text).into_owned()
}

/// A name, a path or the like, which begins no line: its line breaks are made visible too.
pub(crate) fn name(text: &str) -> String {
    visible::line(text).into_owned()
}

/// The text in one line of at most `chars_max` characters, made visible; `…` stands for the rest.
pub(crate) fn one_line(text: &str, chars_max: usize) -> String {
    clean(&excerpt::one_line(text, chars_max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_between_characters() {
        assert_eq!(one_line("  a\n b\tc ", 10), "a b c");
        assert_eq!(one_line("ééééé", 3), "ééé…");
        assert_eq!(one_line("", 3), "");
        assert_eq!(one_line("a\u{1b}[8mb", 20), "a⟨U+001B⟩[8mb");
    }

    #[test]
    fn a_name_begins_no_line() {
        assert_eq!(name("/srv/a\nID  b"), "/srv/a⟨U+000A⟩ID  b");
    }
}
