//! How one record looks in the transcript. Every record is one element with its number, also those that show nothing, so
//! that a reader of the page can see that none is missing.

use maud::{Markup, html};

use super::text::{self, TextRoom, capitalised, one_line, sentence, visible};
use super::words::{self, Form, time};
use super::{code, markdown, question, tool};
use crate::session::id::Seq;
use crate::session::telling::{Detail, DetailBody, DetailPlace, Telling, Topic, Weight};
use crate::store::StoredRecord;

mod step;

/// The most characters of a text in one line.
const LINE_CHARS_MAX: usize = 160;

/// A record and what it tells, with what belongs into its element.
pub(super) struct ReadRecord<'a> {
    pub(super) record: &'a StoredRecord,
    pub(super) telling: &'a Telling<'a>,
    /// The results of this tool call that come later in the same chunk, rendered.
    pub(super) results: Vec<Markup>,
    /// How the last of them went.
    pub(super) failed: Option<bool>,
    pub(super) room: TextRoom<'a>,
    /// Whether the reader may start from a checkpoint.
    pub(super) may_act: bool,
}

/// The element of a record.
pub(super) fn render(item: &ReadRecord<'_>) -> Markup {
    let told = item.telling;
    match told.topic {
        _ if told.weight == Weight::Silent => nothing(item.record),
        Topic::Prompt => element(item, "input", html! { h3.who { (label(told)) } (details(item)) }),
        Topic::Said | Topic::CommandOutput => element(item, "said", step::said(item)),
        Topic::Thought => element(item, "thinking", step::thought(item)),
        Topic::Call => element(item, "call", step::call(item)),
        Topic::Result => element(item, "result", step::result(item)),
        Topic::Checkpoint => {
            let controls = html! { @if item.may_act { (checkpoint_controls(item.record.seq)) } };
            element(item, "event checkpoint", html! { p.line { (line(told)) } (controls) })
        }
        Topic::End(outcome) => {
            let line = html! { p.line { (words::badge(outcome.into())) " " span { (sentence(&told.line)) } } };
            element(item, "ended", line)
        }
        Topic::Begin => event(item, "start"),
        Topic::Attempt | Topic::AttemptEnd => event(item, "attempt"),
        Topic::Question | Topic::Answer => event(item, "asking"),
        Topic::Notice => event(item, "notice"),
        Topic::Wait => event(item, "waiting"),
        Topic::Aside => event(item, "muted"),
        Topic::DroppedDraft => event(item, "gap"),
        Topic::Rebuilt => event(item, "rebuilt"),
        Topic::Turn => event(item, "turn"),
    }
}

/// The element of a record that cannot be read.
pub(super) fn unreadable(record: &StoredRecord, why: &str) -> Markup {
    html! {
        article.record.event.error id={ "r" (record.seq) } data-seq=(record.seq) data-kind=(record.kind) {
            div.body { p { "This record cannot be shown: " (why) } }
            (stamp(record))
        }
    }
}

/// An event in one line, and more below it; or behind it, where the line is all that it is called.
fn event(item: &ReadRecord<'_>, class: &str) -> Markup {
    let told = item.telling;
    let failed = if told.failed { " failed" } else { "" };
    let class = format!("event {class}{failed}");
    let is_folded = |detail: &Detail<'_>| detail.place == DetailPlace::Behind && detail.title.is_empty();
    match told.details.iter().any(is_folded) {
        true => element(
            item,
            &class,
            html! { details { summary { (line(told)) } (details(item)) } },
        ),
        false => element(item, &class, html! { p.line { (line(told)) } (details(item)) }),
    }
}

/// A record that shows nothing.
fn nothing(record: &StoredRecord) -> Markup {
    html! { article hidden id={ "r" (record.seq) } data-seq=(record.seq) data-kind=(record.kind) {} }
}

/// The element around the content of a record.
fn element(item: &ReadRecord<'_>, class: &str, body: Markup) -> Markup {
    let (record, origin) = (item.record, item.telling.origin);
    let failed = item.telling.failed || item.failed == Some(true);
    html! {
        article class={ "record " (class) } id={ "r" (record.seq) } data-seq=(record.seq) data-kind=(record.kind)
            data-attempt=(record.attempt) data-message=[origin.block.map(|(message, _)| message)]
            data-block=[origin.block.map(|(_, block)| block)] data-tool-use=[origin.call]
            data-result-of=[origin.result_of] data-subagent[origin.by_subagent] data-error[failed]
        {
            div.body { (body) }
            (stamp(record))
        }
    }
}

/// When it was, and the address of it.
fn stamp(record: &StoredRecord) -> Markup {
    html! { a.stamp tabindex="-1" href={ "?seq=" (record.seq) "#r" (record.seq) } { (time(record.at, Form::Clock)) } }
}

/// The label with a capital letter.
fn label(told: &Telling<'_>) -> String {
    capitalised(&visible(&told.label))
}

/// Label, time and line. What stands in full behind it is cut.
fn line(told: &Telling<'_>) -> Markup {
    let is_text = |detail: &Detail<'_>| matches!(detail.body, DetailBody::Text(_) | DetailBody::Output(_));
    let text = match told.details.iter().any(is_text) {
        true => one_line(&told.line, LINE_CHARS_MAX),
        false => visible(&told.line),
    };
    html! {
        (label(told))
        @if let Some(when) = told.when { " " (time(when, Form::Date)) }
        @if !told.label.is_empty() && !text.is_empty() { ": " }
        (text)
    }
}

/// All that belongs to a record beside its line, and is not told by another.
fn details(item: &ReadRecord<'_>) -> Markup {
    let told = item.telling;
    let details = told
        .details
        .iter()
        .filter(|detail| detail.place != DetailPlace::Repeated);
    html! {
        @for detail in details {
            @match (detail.place, detail.title) {
                (_, "") => (body(item, &detail.body)),
                (DetailPlace::Behind, title) => details { summary { (capitalised(title)) } (body(item, &detail.body)) },
                (_, title) => { p { (capitalised(title)) ":" } (body(item, &detail.body)) },
            }
        }
    }
}

/// The content of a detail.
fn body(item: &ReadRecord<'_>, body: &DetailBody<'_>) -> Markup {
    let room = item.room;
    match body {
        DetailBody::Prose(text) => html! { div.markdown { (markdown::render(room.cut(text))) } (room.rest(text)) },
        DetailBody::Text(text) => text::block(text, room),
        DetailBody::Output(text) => output(text, room),
        DetailBody::Json(value) => tool::json(value, room),
        DetailBody::List(items) => html! { ul { @for item in items { li { (visible(item)) } } } },
        DetailBody::Input(name, input) => tool::input(name, input, room),
        DetailBody::Question(question) => question::whole_of(&question.kind, room),
    }
}

/// Output of a program, marked as code where it is JSON.
fn output(text: &str, room: TextRoom<'_>) -> Markup {
    let looks_like_json = text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if looks_like_json && text.len() <= room.bytes_max {
        return code::block(text, "json");
    }
    text::block(text, room)
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
