//! Changes of a text as a diff by lines.

use std::time::Duration;

use maud::{Markup, html};
use similar::{ChangeTag, TextDiff};

use super::text::{TextRoom, exact};
use super::words;

/// How long one diff may take; what is not compared by then is shown as replaced.
const DIFF_TIME_MAX: Duration = Duration::from_millis(200);

/// How much comparing the texts of one input may take, in pairs of lines.
const WORK_MAX: usize = 4_000_000;

/// Lines shown around a change.
const CONTEXT_LINES: usize = 3;

/// The most lines of a diff that are shown unless all are asked for.
const LINES_MAX: usize = 400;

/// How many lines a change adds and takes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ChangeSize {
    pub(super) added: usize,
    pub(super) removed: usize,
}

/// What is left of the work for one input. Texts for which it is too little are shown as replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Work(usize);

impl Work {
    /// For one input.
    pub(super) const fn of_input() -> Self {
        Self(WORK_MAX)
    }

    fn time_for(&mut self, old: &str, new: &str) -> Duration {
        let lines = |text: &str| text.lines().count().max(1);
        let pairs = lines(old).saturating_mul(lines(new));
        let Some(left) = self.0.checked_sub(pairs) else {
            return Duration::ZERO;
        };
        self.0 = left;
        DIFF_TIME_MAX
    }
}

/// The lines of `new` against those of `old`.
pub(super) fn lines(old: &str, new: &str, room: TextRoom<'_>, work: &mut Work) -> Markup {
    let diff = TextDiff::configure()
        .timeout(work.time_for(old, new))
        .diff_lines(old, new);
    let groups = diff.grouped_ops(CONTEXT_LINES);
    let lines_max = if room.whole_at.is_some() { LINES_MAX } else { usize::MAX };
    let mut left = lines_max;
    let mut is_cut = false;
    let mut shown = Vec::new();
    let mut seen = 0;
    for group in &groups {
        let begin = group.first().map_or(seen, |op| op.old_range().start);
        shown.push(skipped(begin.saturating_sub(seen)));
        seen = group.last().map_or(seen, |op| op.old_range().end);
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            if left == 0 {
                is_cut = true;
                break;
            }
            left -= 1;
            shown.push(line(change.tag(), change.value()));
        }
    }
    shown.push(skipped(old.lines().count().saturating_sub(seen)));
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

/// Lines that are the same in both and are not shown.
fn skipped(count: usize) -> Markup {
    html! { @if count > 0 { span.skip { "⋯ " (words::count(count as u64, "line that stays", "lines that stay")) "\n" } } }
}

/// How much a change changes.
pub(super) fn size(old: &str, new: &str, work: &mut Work) -> ChangeSize {
    let diff = TextDiff::configure()
        .timeout(work.time_for(old, new))
        .diff_lines(old, new);
    let mut size = ChangeSize::default();
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
    let text = exact(text.strip_suffix('\n').unwrap_or(text));
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
        insta::assert_snapshot!(lines(old, new, TextRoom::WHOLE, &mut Work::of_input()).into_string(), @r#"
        <pre class="diff"><span class="skip">⋯ 5 lines that stay
        </span><span>  6
        </span><span>  7
        </span><span>  8
        </span><del>- &lt;b&gt;
        </del><ins>+ &lt;i&gt;
        </ins></pre>
        "#);
        assert_eq!(
            size(old, new, &mut Work::of_input()),
            ChangeSize { added: 1, removed: 1 }
        );
    }

    #[test]
    fn a_long_diff_is_cut_unless_all_is_asked_for() {
        let new = "x\n".repeat(LINES_MAX + 5);
        let room = TextRoom {
            whole_at: Some("/more"),
            bytes_max: 10,
        };
        let html = lines("", &new, room, &mut Work::of_input()).into_string();
        assert_eq!(html.matches("<ins>").count(), LINES_MAX);
        assert!(html.contains("/more"));
        assert_eq!(
            lines("", &new, TextRoom::WHOLE, &mut Work::of_input())
                .into_string()
                .matches("<ins>")
                .count(),
            LINES_MAX + 5
        );
    }

    #[test]
    fn texts_that_take_long_to_compare_are_shown_as_replaced() {
        let numbered = |from: usize| (from..from + 3_000).map(|n| format!("{n}\n")).collect::<String>();
        let mut work = Work::of_input();
        let (old, new) = (numbered(0), numbered(1_500));
        assert_eq!(
            size(&old, &new, &mut work),
            ChangeSize {
                added: 3_000,
                removed: 3_000
            }
        );
        let small = ChangeSize { added: 1, removed: 1 };
        assert_eq!(
            size("a\nb\n", "a\nc\n", &mut work),
            small,
            "it was too much and took nothing"
        );
    }
}
