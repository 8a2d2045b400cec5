//! A session as Markdown: what was asked for, what was said and done, and how it ended, for people.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value;

use crate::session::amounts::usd;
use crate::session::excerpt;
use crate::session::grant::in_words;
use crate::session::journal::{Answered, Entry};
use crate::session::message::Message;
use crate::session::question::{Answer, headline_of_input};
use crate::session::summary::Summary;
use crate::store::Stored;

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
pub(super) fn record(text: &mut String, record: &Stored) {
    let Ok(entry) = record.entry() else {
        return push(text, format_args!("\n> record {} cannot be read\n", record.seq));
    };
    match entry {
        Entry::SessionCreated(created) => {
            push(text, format_args!("\n## Task\n\n{}\n", created.request.task.trim_end()));
        }
        Entry::WorkCutOff(cut_off) => {
            let what = one_line(&cut_off.what.join(", "));
            push(text, format_args!("\n> Cut off at the end: {what}\n"));
        }
        Entry::AttemptStarted(start) => push(text, format_args!("\n## Attempt {}\n", start.attempt)),
        Entry::AgentMessage(said) => message(text, &said.message),
        Entry::QuestionAsked(question) => {
            let headline = one_line(&question.kind.headline());
            push(
                text,
                format_args!("\n> **Question {}:** {headline}\n", question.question_id),
            );
        }
        Entry::QuestionAnswered(answered) => answer(text, answered),
        Entry::Notice(notice) => push(text, format_args!("\n> {}\n", one_line(&notice.text))),
        Entry::AttemptEnded(end) => push(
            text,
            format_args!("\n> Attempt ended: {}\n", one_line(&end.ending.to_string())),
        ),
        Entry::ContextRebuilt(why) => push(text, format_args!("\n> Context rebuilt: {}\n", one_line(&why.why))),
        Entry::TaskRefined(refined) => {
            push(
                text,
                format_args!("\n## The task as it was made clear\n\n{}\n", refined.task.trim_end()),
            );
        }
        Entry::SessionResumed(resumed) => {
            push(text, format_args!("\n> Resumed by {}\n", one_line(&resumed.by)));
            if let Some(instruction) = &resumed.instruction {
                push(text, format_args!("\n{}\n", instruction.trim_end()));
            }
        }
        Entry::SessionEnded(end) => {
            push(
                text,
                format_args!("\n## End: {}\n\n{}\n", end.outcome.name(), one_line(&end.summary)),
            );
        }
        Entry::SessionState(_)
        | Entry::Input(_)
        | Entry::AgentUnknown(_)
        | Entry::AgentStderr(_)
        | Entry::DraftDropped(_)
        | Entry::Checkpoint(_)
        | Entry::Usage(_)
        | Entry::QuestionDelivered(_)
        | Entry::QuestionWithdrawn(_)
        | Entry::Control(_)
        | Entry::ClockJumped(_)
        | Entry::RetryScheduled(_) => {}
    }
}

fn message(text: &mut String, message: &Message) {
    match message {
        Message::Text { text: said, .. } | Message::CommandOutput { text: said, .. } => {
            push(text, format_args!("\n{}\n", said.trim_end()))
        }
        Message::Thinking { text: thought, .. } if thought.trim().is_empty() => {}
        Message::Thinking { text: thought, .. } => {
            push(text, format_args!("\n*Thinking*\n"));
            quote(text, thought);
        }
        Message::ToolUse { name, input, .. } => {
            push(
                text,
                format_args!("\n**{}** {}\n", one_line(name), one_line(&headline_of_input(input))),
            );
            fence(text, "json", &pretty(input));
        }
        Message::ToolResult {
            text: result, is_error, ..
        } => {
            if *is_error {
                push(text, format_args!("\n*The tool failed:*\n"));
            }
            fence(text, "", &cut(result));
        }
        Message::UserText { text: said, .. } => quote(text, said),
        Message::PermissionDenied { tool, reason, .. } => {
            push(
                text,
                format_args!("\n> {} was not allowed: {}\n", one_line(tool), one_line(reason)),
            );
        }
        Message::TurnStarted { .. }
        | Message::TaskStarted { .. }
        | Message::TaskEnded { .. }
        | Message::ModeChanged { .. }
        | Message::BackgroundTasks { .. }
        | Message::Timer(_)
        | Message::ApiRetry { .. }
        | Message::RateLimit { .. }
        | Message::Compacted { .. }
        | Message::ConversationReset { .. }
        | Message::Said { .. }
        | Message::TurnEnded(_) => {}
    }
}

fn answer(text: &mut String, answered: &Answered) {
    let said = match &answered.answer {
        Answer::Allow { .. } if answered.granted.is_empty() => "allowed".to_owned(),
        Answer::Allow { .. } => format!(
            "allowed; granted for the rest of the session: {}",
            in_words(&answered.granted)
        ),
        Answer::Deny { reason, .. } => format!("denied {}", reason.as_deref().unwrap_or_default()),
        Answer::Choose { answers } => answers.values().cloned().collect::<Vec<_>>().join(", "),
        Answer::Submit { content } => content.to_string(),
    };
    let (id, by, said) = (answered.question_id, one_line(&answered.by), one_line(&said));
    push(text, format_args!("\n> **Answer to {id}** by {by}: {said}\n"));
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
