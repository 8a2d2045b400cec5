//! Untrusted text as it is shown: nothing in it is hidden, and no more of it than a page can bear.

use maud::{Markup, html};

use super::words;
use crate::session::{excerpt, visible};

/// The most of one text that is shown unless all of it is asked for, in bytes.
pub(super) const SHOWN_BYTES_MAX: usize = 16 * 1024;

/// The most of one text that is shown when all of it is asked for, in bytes: a browser chokes on more.
pub(super) const WHOLE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How much of each text is shown, and where the rest is.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextRoom<'a> {
    /// The address of the same with more of its text; none where there is none.
    pub(super) whole_at: Option<&'a str>,
    /// The most bytes of one text.
    pub(super) bytes_max: usize,
}

impl TextRoom<'_> {
    /// All of a text, as far as it can be shown at all.
    pub(super) const WHOLE: TextRoom<'static> = TextRoom {
        whole_at: None,
        bytes_max: WHOLE_BYTES_MAX,
    };

    /// The beginning of a text that is shown.
    pub(super) fn cut<'t>(&self, text: &'t str) -> &'t str {
        excerpt::head(text, self.bytes_max)
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
pub(super) fn block(text: &str, room: TextRoom<'_>) -> Markup {
    html! {
        pre.text { (shown(room.cut(text))) }
        (room.rest(text))
    }
}

/// A program's output: colours and cursor movements are left out, everything else that is invisible is made visible.
pub(super) fn shown(text: &str) -> String {
    visible::output(text)
}

/// Prose in which nothing is hidden, so that it cannot look like another text.
pub(super) fn visible(text: &str) -> String {
    visible::prose(text).into_owned()
}

/// The same for what a person decides about: nothing of it is left out either.
pub(super) fn exact(text: &str) -> String {
    visible::text(text).into_owned()
}

/// A name, a path or the like, which begins no line.
pub(super) fn name(text: &str) -> String {
    visible::line(text).into_owned()
}

/// The first line, at most `chars_max` characters of it.
pub(super) fn one_line(text: &str, chars_max: usize) -> String {
    shown(&excerpt::first_line(text, chars_max))
}

/// `attempt` as `Attempt`.
pub(super) fn capitalised(words: &str) -> String {
    let mut letters = words.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
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
    fn a_long_text_is_cut_and_says_so() {
        let room = TextRoom {
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
