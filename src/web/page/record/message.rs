//! How what an agent says looks in the transcript.

use jiff::SignedDuration;
use maud::{Markup, html};
use serde_json::Value;

use super::{Item, LINE_CHARS_MAX, Marks, element, event, folded, nothing, prose, result_text, turn_end};
use crate::session::message::{BackgroundTask, Message};
use crate::web::page::text::{self, one_line, visible};
use crate::web::page::tool;
use crate::web::page::words::{self, Form};

/// The element of a message.
pub(super) fn render(item: &Item<'_>, message: &Message) -> Markup {
    if let Some((class, line)) = told(message) {
        let until = message.limit_resets_at();
        let until = html! { @if let Some(until) = until { p.when { "Until " (words::time(until, Form::Date)) } } };
        return event(item, class, line, until);
    }
    match message {
        Message::TurnStarted {
            model,
            permission_mode,
            mcp_servers_failed,
            ..
        } => turn_start(item, model, permission_mode, mcp_servers_failed),
        Message::Text { .. } | Message::Thinking { .. } => spoken(item, message),
        Message::ToolUse { .. } | Message::ToolResult { .. } => tool_step(item, message),
        Message::UserText { text, .. } => passed_on(item, "Told by the CLI", text),
        Message::Said { topic, text, .. } => passed_on(item, topic, text),
        Message::CommandOutput { text, failed } => command_output(item, text, *failed),
        Message::BackgroundTasks { tasks } => background(item, tasks),
        Message::Timer(change) => event(item, "muted", change.line(), html! {}),
        Message::TurnEnded(end) => turn_end(item, end),
        Message::RateLimit { .. }
        | Message::PermissionDenied { .. }
        | Message::TaskStarted { .. }
        | Message::TaskEnded { .. }
        | Message::ApiRetry { .. }
        | Message::Compacted { .. }
        | Message::ModeChanged { .. }
        | Message::ConversationReset { .. } => nothing(item),
    }
}

/// What is told in one line, and the class of it.
fn told(message: &Message) -> Option<(&'static str, String)> {
    Some(match message {
        Message::PermissionDenied { tool, reason, .. } => {
            ("failed", format!("{tool} was denied without asking: {reason}"))
        }
        Message::TaskStarted {
            description,
            background: true,
            ..
        } => ("muted", format!("In the background: {description}")),
        Message::TaskStarted { description, .. } => ("muted", format!("Begun: {description}")),
        Message::TaskEnded { status, summary, .. } => ("muted", format!("Task {status}: {summary}")),
        Message::ApiRetry {
            retry,
            retries_max,
            delay_ms,
            status,
            error,
            login_until,
        } => {
            let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let seconds = i64::try_from(delay_ms.div_ceil(1000)).unwrap_or(i64::MAX);
            let wait = words::duration(SignedDuration::from_secs(seconds));
            let next = format!("retry {retry} of {retries_max} in {wait}");
            let what = if login_until.is_some() {
                "The login is refused"
            } else {
                "The API failed"
            };
            ("waiting", format!("{what} ({status}, {error}): {next}"))
        }
        Message::RateLimit { rejected: true, .. } => ("waiting", "A usage limit is reached".to_owned()),
        Message::Compacted {
            pre_tokens,
            post_tokens,
        } => {
            let (from, to) = (words::amount(*pre_tokens), words::amount(*post_tokens));
            let line = format!("The conversation was compacted from {from} to {to} tokens");
            ("rebuilt", line)
        }
        Message::ModeChanged { permission_mode } => ("muted", format!("The permission mode is {permission_mode} now")),
        Message::ConversationReset { .. } => ("rebuilt", "The conversation was cleared".to_owned()),
        _ => return None,
    })
}

/// A text of the CLI's own, folded.
fn passed_on(item: &Item<'_>, topic: &str, text: &str) -> Markup {
    let line = format!("{topic}: {}", one_line(text, LINE_CHARS_MAX));
    folded(item, "muted", line, text::block(text, item.room))
}

/// Output of a slash command, in full: the output is what the task asked for.
fn command_output(item: &Item<'_>, text: &str, failed: bool) -> Markup {
    let marks = Marks {
        class: "said",
        is_error: failed,
        ..Marks::default()
    };
    element(item, marks, said(item, text, false, false))
}

fn turn_start(item: &Item<'_>, model: &str, mode: &str, failed: &[String]) -> Markup {
    let missing = html! {
        @if !failed.is_empty() { p { "MCP servers that are not connected: " (visible(&failed.join(", "))) } }
    };
    event(item, "muted", format!("A turn begins with {model} ({mode})"), missing)
}

fn spoken(item: &Item<'_>, message: &Message) -> Markup {
    match message {
        Message::Text {
            message_id,
            block,
            text,
            parent,
            aborted,
            error,
        } => {
            let marks = Marks {
                class: "said",
                block: Some((message_id, *block)),
                parent: parent.is_some(),
                is_error: error.is_some(),
                ..Marks::default()
            };
            element(item, marks, said(item, text, parent.is_some(), *aborted))
        }
        Message::Thinking {
            message_id,
            block,
            text,
            parent,
        } => {
            let marks = Marks {
                class: "thinking",
                block: Some((message_id, *block)),
                parent: parent.is_some(),
                ..Marks::default()
            };
            element(item, marks, thinking(item, text))
        }
        _ => nothing(item),
    }
}

fn tool_step(item: &Item<'_>, message: &Message) -> Markup {
    match message {
        Message::ToolUse {
            message_id,
            block,
            tool_use_id,
            name,
            input,
            parent,
            called_at: _,
        } => {
            let marks = Marks {
                class: "call",
                block: Some((message_id, *block)),
                tool_use_id: Some(tool_use_id),
                parent: parent.is_some(),
                is_error: item.failed == Some(true),
                ..Marks::default()
            };
            element(item, marks, call(item, name, input))
        }
        Message::ToolResult {
            tool_use_id,
            text,
            is_error,
            parent,
        } => {
            let marks = Marks {
                class: "result",
                result_of: Some(tool_use_id),
                parent: parent.is_some(),
                is_error: *is_error,
                ..Marks::default()
            };
            element(item, marks, result(item, text, *is_error))
        }
        _ => nothing(item),
    }
}

fn said(item: &Item<'_>, text: &str, by_subagent: bool, is_cut_off: bool) -> Markup {
    html! {
        @if by_subagent { p.who { "Subagent" } }
        (prose(text, item.room))
        @if is_cut_off { p.rest { "Cut off by an interrupt" } }
    }
}

fn thinking(item: &Item<'_>, text: &str) -> Markup {
    if text.trim().is_empty() {
        return html! { p.line { "Thinking, which the model keeps to itself" } };
    }
    html! {
        details {
            summary { span.label { "Thinking" } " " span.headline { (one_line(text, LINE_CHARS_MAX)) } }
            (prose(text, item.room))
        }
    }
}

/// A tool call is folded; its results are moved into it.
fn call(item: &Item<'_>, name: &str, input: &Value) -> Markup {
    let status = match item.failed {
        None => "",
        Some(false) => "done",
        Some(true) => "failed",
    };
    html! {
        details data-status=(status) {
            summary {
                span.label { (visible(name)) } " "
                span.headline { (tool::headline(name, input)) }
                @if let Some(size) = tool::size(name, input) {
                    " " span.size { span.added { "+" (size.added) } " " span.removed { "−" (size.removed) } }
                }
                " " span.outcome { (if item.failed == Some(true) { "failed" } else { "" }) }
            }
            (tool::input(name, input, item.room))
            div.results { @for result in &item.results { (result) } }
        }
    }
}

fn result(item: &Item<'_>, text: &str, is_error: bool) -> Markup {
    let name = if is_error { "Failed" } else { "Result" };
    let lines = text.lines().count();
    html! {
        details open[lines <= 1] {
            summary {
                span.label { (name) } " "
                span.headline { (one_line(text, LINE_CHARS_MAX)) }
                @if lines > 1 { " " span.size { (words::count(lines as u64, "line", "lines")) } }
            }
            @if text.trim().is_empty() { p.rest { "No output" } } @else { (result_text(text, item.room)) }
        }
    }
}

fn background(item: &Item<'_>, tasks: &[BackgroundTask]) -> Markup {
    if tasks.is_empty() {
        return nothing(item);
    }
    let list = html! { ul { @for task in tasks { li { (visible(&task.description)) } } } };
    let line = words::count(tasks.len() as u64, "task in the background", "tasks in the background");
    folded(item, "muted", line, list)
}
