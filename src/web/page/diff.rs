//! Changes of a text as a diff by lines.

use std::time::Duration;

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::text::{Room, visible};

/// How long one diff may take; what is not compared by then is shown as replaced.
const DIFF_TIME_MAX: Duration = Duration::from_millis(200);

/// Lines shown around a change.
const CONTEXT_LINES: usize = 3;

/// The most lines of a diff that are shown unless all are asked for.
const LINES_MAX: usize = 400;

/// How many lines a change adds and takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) added: usize,
    pub(super) removed: usize,
}

/// The lines of `new` against those of `old`.
pub(super) fn lines(old: &str, new: &str, room: Room<'_>) -> Markup {
    let diff = TextDiff::configure().timeout(DIFF_TIME_MAX).diff_lines(old, new);
    let groups = diff.grouped_ops(CONTEXT_LINES);
    let lines_max = if room.whole_at.is_some() { LINES_MAX } else { usize::MAX };
    let mut left = lines_max;
    let mut is_cut = false;
    let mut shown = Vec::new();
    for (place, group) in groups.iter().enumerate() {
        if place > 0 {
            shown.push(html! { span.skip { "⋯\n" } });
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            if left == 0 {
                is_cut = true;
                break;
            }
            left -= 1;
            shown.push(line(change.tag(), change.value()));
        }
    }
    html! {
        pre.diff { @for line in &shown { (line) } }
        @if is_cut {
            p.rest {
                "Cut here after " (LINES_MAX) " lines. "
                @if let Some(address) = room.whole_at { a.whole href=(address) data-whole { "Show the whole diff" } }
            }
        }
    }
}

/// How much a change changes.
pub(super) fn size(old: &str, new: &str) -> Size {
    let diff = TextDiff::configure().timeout(DIFF_TIME_MAX).diff_lines(old, new);
    let mut size = Size::default();
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => size.added += 1,
            ChangeTag::Delete => size.removed += 1,
            ChangeTag::Equal => {}
        }
    }
    size
}

/// The sign stands in the text itself, for those who see no colours.
fn line(tag: ChangeTag, text: &str) -> Markup {
    let text = visible(text.trim_end_matches(['\n', '\r']));
    match tag {
        ChangeTag::Insert => html! { ins { "+ " (text) "\n" } },
        ChangeTag::Delete => html! { del { "- " (text) "\n" } },
        ChangeTag::Equal => html! { span { "  " (text) "\n" } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_its_surroundings() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n<b>\n";
        let new = "1\n2\n3\n4\n5\n6\n7\n8\n<i>\n";
        insta::assert_snapshot!(lines(old, new, Room::WHOLE).into_string(), @r#"
        <pre class="diff"><span>  6
        </span><span>  7
        </span><span>  8
        </span><del>- &lt;b&gt;
        </del><ins>+ &lt;i&gt;
        </ins></pre>
        "#);
        assert_eq!(size(old, new), Size { added: 1, removed: 1 });
    }

    #[test]
    fn a_long_diff_is_cut_unless_all_is_asked_for() {
        let new = "x\n".repeat(LINES_MAX + 5);
        let room = Room {
            whole_at: Some("/more"),
            bytes_max: 10,
        };
        let html = lines("", &new, room).into_string();
        assert_eq!(html.matches("<ins>").count(), LINES_MAX);
        assert!(html.contains("/more"));
        assert_eq!(
            lines("", &new, Room::WHOLE).into_string().matches("<ins>").count(),
            LINES_MAX + 5
        );
    }
}
