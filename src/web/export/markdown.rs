//! A session as Markdown: what was asked for, what was said and done, and how it ended, for people.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

use crate::session::amounts::usd;
use crate::session::excerpt;
use crate::session::summary::Summary;
use crate::session::telling::{Detail, DetailBody, DetailPlace, Topic, Weight, tell};
use crate::store::StoredRecord;

/// What is shown of one result of a tool, in characters: the whole of it is in the other forms.
const RESULT_CHARS_MAX: usize = 4_000;

/// The head of the document.
pub(super) fn beginning(summary: &Summary) -> String {
    let mut text = format!("# {}\n\n", one_line(&summary.name));
    let (turns, cost) = (summary.turns_by_now(), usd(summary.usage.cost_usd));
    let used = format!("{turns} turns, {cost}, {} at work", summary.at_work(Timestamp::now()));
    let facts = [
        ("Session", summary.session_id.to_string()),
        ("State", summary.shown_state().to_string()),
        ("Directory", summary.cwd.display().to_string()),
        ("Created", format!("{:.0}", summary.created_at)),
        ("Model", summary.model.clone().unwrap_or_else(|| "not known".to_owned())),
        ("Used", used),
    ];
    for (name, value) in facts {
        push(&mut text, format_args!("- {name}: {}\n", one_line(&value)));
    }
    text
}

/// One record; many have nothing for a person to read.
pub(super) fn record(text: &mut String, record: &StoredRecord) {
    let Ok(told) = record.entry().map(tell) else {
        return push(text, format_args!("\n> record {} cannot be read\n", record.seq));
    };
    let line = one_line(&told.words(|at| format!("{at:.0}")));
    match told.topic {
        Topic::Begin => push(text, format_args!("\n> {line}\n")),
        Topic::Attempt => push(text, format_args!("\n## {line}\n")),
        Topic::End(_) => {
            let (label, line) = (&told.label, one_line(&told.line));
            return push(text, format_args!("\n## End: {label}\n\n{line}\n"));
        }
        Topic::Call => push(
            text,
            format_args!("\n**{}** {}\n", one_line(&told.label), one_line(&told.line)),
        ),
        Topic::Result if told.failed => push(text, format_args!("\n*The tool failed:*\n")),
        Topic::Thought if !told.details.is_empty() => {
            push(text, format_args!("\n*Thinking*\n"));
            return quote(text, &told.line);
        }
        Topic::Said | Topic::CommandOutput | Topic::Result => {}
        Topic::DroppedDraft | Topic::Prompt => return,
        _ if told.weight < Weight::Step && told.topic != Topic::AttemptEnd => return,
        // The line says it all.
        _ => return push(text, format_args!("\n> {line}\n")),
    }
    told.details.iter().for_each(|given| detail(text, given));
}

fn detail(text: &mut String, detail: &Detail<'_>) {
    if detail.place == DetailPlace::Behind && !detail.title.is_empty() {
        return;
    }
    if !detail.title.is_empty() {
        push(
            text,
            format_args!("\n## {}{}\n", detail.title[..1].to_uppercase(), &detail.title[1..]),
        );
    }
    match &detail.body {
        DetailBody::Prose(prose) => push(text, format_args!("\n{}\n", prose.trim_end())),
        DetailBody::Text(plain) => push(text, format_args!("\n{}\n", plain.trim_end())),
        DetailBody::Output(output) => fence(text, "", &cut(output)),
        DetailBody::Json(value) => fence(text, "json", &pretty(value)),
        DetailBody::Input(_, input) => fence(text, "json", &pretty(input)),
        DetailBody::List(_) | DetailBody::Question(_) => {}
    }
}

/// A block of text as it is, behind a fence that is longer than any in it.
fn fence(text: &mut String, language: &str, block: &str) {
    let longest = block.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    push(
        text,
        format_args!("\n{fence}{language}\n{}\n{fence}\n", block.trim_end()),
    );
}

fn quote(text: &mut String, quoted: &str) {
    text.push('\n');
    for line in quoted.trim_end().lines() {
        push(text, format_args!("> {line}\n"));
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|_| value.to_string())
}

fn cut(result: &str) -> String {
    match excerpt::split_at_chars(result, RESULT_CHARS_MAX) {
        (whole, "") => whole.to_owned(),
        (kept, _) => format!("{kept}\n…"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text takes every write.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let mut text = String::new();
        fence(&mut text, "", "a\n````\nb");
        assert_eq!(text, "\n`````\na\n````\nb\n`````\n");
    }

    #[test]
    fn a_long_result_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = cut(&"\u{e4}".repeat(RESULT_CHARS_MAX + 1));
        assert!(long.ends_with("\u{e4}\n…"));
        assert_eq!(long.chars().count(), RESULT_CHARS_MAX + 2);
    }
}
