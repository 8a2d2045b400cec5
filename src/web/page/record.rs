//! How one record looks in the transcript. Every record is one element with its number, also those that show nothing, so
//! that a reader of the page can see that none is missing.

use jiff::SignedDuration;
use maud::{Markup, html};

use super::text::{self, Room, one_line, sentence, visible};
use super::words::{self, Form, time};
use super::{code, markdown, question, tool};
use crate::session::checkpoint::Checkpoint;
use crate::session::id::Seq;
use crate::session::journal::{
    AttemptEnd, AttemptStart, ClockJump, Created, DroppedDraft, Entry, Input, Resumed, SessionEnd, StateChange, Stderr,
    UnknownLine,
};
use crate::session::message::{InputState, TurnEnd};
use crate::session::outcome::Ending;
use crate::session::state::StateName;
use crate::store::Stored;

mod message;

/// The most characters of a text in one line.
const LINE_CHARS_MAX: usize = 160;

/// A record whose data has been read, with what belongs into its element.
pub(super) struct Item<'a> {
    pub(super) record: &'a Stored,
    pub(super) entry: &'a Entry,
    /// The results of this tool call that come later in the same chunk, rendered.
    pub(super) results: Vec<Markup>,
    /// How the last of them went.
    pub(super) failed: Option<bool>,
    pub(super) room: Room<'a>,
    /// Whether the reader may start from a checkpoint.
    pub(super) may_act: bool,
}

/// What an element is, for the style sheet and the scripts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks<'a> {
    class: &'static str,
    /// The message and block that a draft was of, before this record.
    block: Option<(&'a str, u32)>,
    tool_use_id: Option<&'a str>,
    result_of: Option<&'a str>,
    parent: bool,
    is_error: bool,
}

/// The element of a record.
pub(super) fn render(item: &Item<'_>) -> Markup {
    match item.entry {
        Entry::SessionCreated(created) => event(item, "start", created_line(created), request(created)),
        Entry::SessionState(change) => state_change(item, change),
        Entry::AttemptStarted(start) => event(item, "attempt", started_line(start), html! {}),
        Entry::Input(input) => sent(item, input),
        Entry::AgentMessage(said) => message::render(item, &said.message),
        Entry::AgentUnknown(line) => unknown(item, line),
        Entry::AgentStderr(said) => stderr(item, said),
        Entry::DraftDropped(draft) => dropped(item, draft),
        Entry::Checkpoint(checkpoint) => checkpoint_mark(item, checkpoint),
        Entry::Usage(_) | Entry::QuestionDelivered(_) => nothing(item),
        Entry::QuestionAsked(asked) => question::asked(item, asked),
        Entry::QuestionAnswered(answered) => question::answered(item, answered),
        Entry::QuestionWithdrawn(withdrawn) => {
            let line = format!("Question {} no longer waits: {}", withdrawn.question_id, withdrawn.why);
            event(item, "asking", line, html! {})
        }
        Entry::Control(control) => {
            let line = format!("{} by {}", control.action, control.by);
            event(item, "control", line, html! {})
        }
        Entry::Notice(said) => event(item, "notice", said.text.clone(), html! {}),
        Entry::WorkCutOff(cut_off) => {
            let list = html! { ul { @for what in &cut_off.what { li { (visible(what)) } } } };
            event(item, "notice", "Cut off at the end:".to_owned(), list)
        }
        Entry::AttemptEnded(end) => attempt_end(item, end),
        Entry::RetryScheduled(retry) => {
            let when = html! { p.when { "Next attempt at " (time(retry.at, Form::Clock)) } };
            event(item, "retry", format!("Tries again: {}", retry.cause), when)
        }
        Entry::ContextRebuilt(why) => rebuilt(item, &why.why),
        Entry::ClockJumped(jump) => event(item, "notice", jump_line(jump), html! {}),
        Entry::TaskRefined(refined) => {
            let line = "The task as it was made clear".to_owned();
            event(item, "start", line, text::block(&refined.task, item.room))
        }
        // What it was told is the message that follows.
        Entry::SessionResumed(resumed) => event(item, "start", resumed_line(resumed), html! {}),
        Entry::SessionEnded(end) => session_end(item, end),
    }
}

/// The element of a record that cannot be read.
pub(super) fn unreadable(record: &Stored, why: &str) -> Markup {
    html! {
        article.record.event.error id={ "r" (record.seq) } data-seq=(record.seq) data-kind=(record.kind) {
            div.body { p { "This record cannot be shown: " (why) } }
            (stamp(record))
        }
    }
}

/// An event in one line, and more below it.
pub(super) fn event(item: &Item<'_>, class: &'static str, line: String, more: Markup) -> Markup {
    let marks = Marks {
        class,
        ..Marks::default()
    };
    element_with(item, "event", marks, html! { p.line { (visible(&line)) } (more) })
}

/// Something that is read only when it is unfolded.
pub(super) fn folded(item: &Item<'_>, class: &'static str, line: String, more: Markup) -> Markup {
    let marks = Marks {
        class,
        ..Marks::default()
    };
    element_with(
        item,
        "event",
        marks,
        html! { details { summary { (visible(&line)) } (more) } },
    )
}

/// A record that shows nothing.
pub(super) fn nothing(item: &Item<'_>) -> Markup {
    let record = item.record;
    html! { article hidden id={ "r" (record.seq) } data-seq=(record.seq) data-kind=(record.kind) {} }
}

/// The element around the content of a record.
pub(super) fn element(item: &Item<'_>, marks: Marks<'_>, body: Markup) -> Markup {
    element_with(item, "", marks, body)
}

fn element_with(item: &Item<'_>, group: &str, marks: Marks<'_>, body: Markup) -> Markup {
    let record = item.record;
    let class = format!("record {group} {}", marks.class);
    html! {
        article class=(class) id={ "r" (record.seq) } data-seq=(record.seq) data-kind=(record.kind)
            data-attempt=(record.attempt) data-message=[marks.block.map(|(message, _)| message)]
            data-block=[marks.block.map(|(_, block)| block)] data-tool-use=[marks.tool_use_id]
            data-result-of=[marks.result_of] data-subagent[marks.parent] data-error[marks.is_error]
        {
            div.body { (body) }
            (stamp(record))
        }
    }
}

/// When it was, and the address of it.
fn stamp(record: &Stored) -> Markup {
    html! { a.stamp tabindex="-1" href={ "?seq=" (record.seq) "#r" (record.seq) } { (time(record.at, Form::Clock)) } }
}

fn unknown(item: &Item<'_>, line: &UnknownLine) -> Markup {
    let kind = line.kind.as_deref().unwrap_or("not JSON");
    let words = format!("A line of a kind that is not known ({kind})");
    folded(item, "muted", words, text::block(&line.line, item.room))
}

fn stderr(item: &Item<'_>, said: &Stderr) -> Markup {
    let line = format!("stderr: {}", one_line(&said.text, LINE_CHARS_MAX));
    folded(item, "stderr", line, text::block(&said.text, item.room))
}

fn dropped(item: &Item<'_>, draft: &DroppedDraft) -> Markup {
    let marks = Marks {
        class: "event gap",
        block: Some((&draft.message_id, draft.from_block)),
        ..Marks::default()
    };
    element(
        item,
        marks,
        html! { p.line { "Text that was being written was cut off" } },
    )
}

fn rebuilt(item: &Item<'_>, why: &str) -> Markup {
    let line = format!("The conversation was lost and rebuilt: {why}");
    let more = html! { p { "A fresh agent was told the task and the story so far." } };
    event(item, "rebuilt", line, more)
}

fn created_line(created: &Created) -> String {
    format!("Created by {} in {}", created.by, created.request.cwd.display())
}

/// What was asked for, without the task: that is the first message.
fn request(created: &Created) -> Markup {
    let mut rest = serde_json::to_value(created.request.without_secrets()).unwrap_or_default();
    if let Some(fields) = rest.as_object_mut() {
        fields.remove("task");
        fields.remove("cwd");
    }
    html! {
        @if rest.as_object().is_some_and(|fields| !fields.is_empty()) {
            details { summary { "Options" } (tool::json(&rest, Room::WHOLE)) }
        }
    }
}

/// Waiting is told; what the agent does is seen, and its end has a record of its own.
fn state_change(item: &Item<'_>, change: &StateChange) -> Markup {
    match change.to {
        StateName::Queued | StateName::Asking | StateName::WaitingRetry | StateName::Stopping => {}
        StateName::Starting
        | StateName::Running
        | StateName::Completed
        | StateName::Failed
        | StateName::Cancelled
        | StateName::TimedOut => return nothing(item),
    }
    let line = format!("{}: {}", words::state_word(change.to.into()), change.reason);
    let until = html! { @if let Some(until) = change.until { p.when { "Until " (time(until, Form::Clock)) } } };
    event(item, "muted", line, until)
}

fn jump_line(jump: &ClockJump) -> String {
    let by = SignedDuration::from_millis(jump.by_ms);
    if by.is_negative() {
        return format!("The clock was set back by {:#}", by.abs());
    }
    format!("The machine slept or was off, or its clock was set ahead, by {by:#}")
}

fn started_line(start: &AttemptStart) -> String {
    match start.resumed_from {
        Some(seq) => format!("Attempt {} goes on from record {seq}", start.attempt),
        None => format!("Attempt {}", start.attempt),
    }
}

fn sent(item: &Item<'_>, input: &Input) -> Markup {
    match (&input.text, input.state) {
        (Some(text), _) => {
            let marks = Marks {
                class: "input",
                ..Marks::default()
            };
            let body = html! {
                h3.who { "To the agent" }
                (text::block(text, item.room))
            };
            element(item, marks, body)
        }
        (None, InputState::Cancelled) => event(item, "muted", "A message was cancelled".to_owned(), html! {}),
        (None, InputState::Sent | InputState::Queued | InputState::Started | InputState::Completed) => nothing(item),
    }
}

/// A place to start from, with the controls to do it.
fn checkpoint_mark(item: &Item<'_>, checkpoint: &Checkpoint) -> Markup {
    let marks = Marks {
        class: "event checkpoint",
        ..Marks::default()
    };
    let line = html! {
        p.line {
            "Checkpoint"
            @if checkpoint.turns > 0 {
                " after " (words::count(u64::from(checkpoint.turns), "turn", "turns"))
                ", " (words::usd(checkpoint.usage.cost_usd))
            }
            @if let Some(git) = &checkpoint.git {
                ", at commit " code { (git.commit.chars().take(10).collect::<String>()) }
                @if git.dirty { " with changes" }
            }
        }
        @if item.may_act { (checkpoint_controls(item.record.seq)) }
    };
    element(item, marks, line)
}

/// The controls of a checkpoint; the script shows those that the session's state allows.
pub(super) fn checkpoint_controls(seq: Seq) -> Markup {
    html! {
        span.actions {
            button.small type="button" data-resume-from=(seq) aria-label={ "Resume from here: checkpoint " (seq) } { "Resume from here" }
            button.small type="button" data-fork-from=(seq) aria-label={ "Fork from here: checkpoint " (seq) } { "Fork from here" }
        }
    }
}

fn attempt_end(item: &Item<'_>, end: &AttemptEnd) -> Markup {
    let line = format!("Attempt {} ended: {}", item.record.attempt, end.ending);
    let class = if end.ending.is_charged() {
        "attempt failed"
    } else {
        "attempt"
    };
    let more = html! {
        @if let Some(tool) = &end.open_tool { p { "It was at " code { (visible(tool)) } } }
        @if let Some(exit) = end.exit.as_ref().filter(|_| end.ending != Ending::Finished) { p { "Its process: " (visible(exit)) } }
        @if !end.leftovers.is_empty() {
            p { "Left behind, and ended:" }
            ul { @for left in &end.leftovers { li { code { (visible(left)) } } } }
        }
    };
    event(item, class, line, more)
}

fn resumed_line(resumed: &Resumed) -> String {
    match resumed.at {
        Some(seq) => format!("Resumed by {} from record {seq}", resumed.by),
        None => format!("Resumed by {}", resumed.by),
    }
}

fn session_end(item: &Item<'_>, end: &SessionEnd) -> Markup {
    let marks = Marks {
        class: "ended",
        ..Marks::default()
    };
    let body = html! {
        p.line { (words::badge(end.outcome.into())) " " span { (sentence(&end.summary)) } }
    };
    element(item, marks, body)
}

/// A turn that went well is only marked: what it said stands above.
fn turn_end(item: &Item<'_>, end: &TurnEnd) -> Markup {
    let rounds = words::count(u64::from(end.model_calls()), "turn", "turns");
    if !end.is_error {
        let structured = html! {
            @if let Some(output) = &end.structured_output {
                details open { summary { "Structured output" } (tool::json(output, item.room)) }
            }
        };
        return event(item, "turn", format!("Done after {rounds}{}", spent(end)), structured);
    }
    let told = if end.errors.is_empty() {
        end.result.clone()
    } else {
        end.errors.join("\n")
    };
    event(
        item,
        "turn failed",
        format!("The turn ended with an error ({}) after {rounds}", end.subtype),
        html! { @if !told.is_empty() { (text::block(&told, item.room)) } },
    )
}

/// The cost of a turn, where the agent says it: its own total begins anew when it is killed.
fn spent(end: &TurnEnd) -> String {
    let spent = end.spent.map(|spent| format!(", {}", words::usd(spent.cost_usd)));
    spent.unwrap_or_default()
}

/// Markdown, cut where it is too long.
fn prose(text: &str, room: Room<'_>) -> Markup {
    html! {
        div.markdown { (markdown::render(room.cut(text))) }
        (room.rest(text))
    }
}

/// A result of a tool: its text, marked as code where it is JSON.
fn result_text(text: &str, room: Room<'_>) -> Markup {
    let looks_like_json = text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if looks_like_json && text.len() <= room.bytes_max {
        return code::block(text, "json");
    }
    text::block(text, room)
}
