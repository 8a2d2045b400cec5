//! The words of what an agent says.

use jiff::SignedDuration;

use super::{DetailBody, DetailPlace, RecordOrigin, Telling, Topic, Weight, told, turns};
use crate::session::amounts::{amount, count, duration, usd};
use crate::session::message::{Message, TurnEnd};
use crate::session::question::headline_of_input;

/// Tells a message.
pub(super) fn tell(message: &Message) -> Telling<'_> {
    match message {
        Message::Text {
            text, aborted, error, ..
        } => {
            let label = if *aborted { "cut off by an interrupt" } else { "" };
            let mut said =
                told(Topic::Said, Weight::Major, label, text).with(DetailPlace::Below, "", DetailBody::Prose(text));
            said.failed = error.is_some();
            said.of(message)
        }
        Message::Thinking { text, .. } => {
            let thought = told(Topic::Thought, Weight::Minor, "thinking", text);
            match text.trim() {
                "" => thought,
                _ => thought.with(DetailPlace::Behind, "", DetailBody::Prose(text)),
            }
            .of(message)
        }
        Message::CommandOutput { text, failed } => {
            let mut output = told(Topic::CommandOutput, Weight::Major, "", text);
            output.failed = *failed;
            output.with(DetailPlace::Below, "", DetailBody::Prose(text))
        }
        Message::ToolUse { name, input, .. } => told(Topic::Call, Weight::Step, name, headline_of_input(input))
            .with(DetailPlace::Behind, "", DetailBody::Input(name, input))
            .of(message),
        Message::ToolResult { text, is_error, .. } => {
            let (label, weight) = match is_error {
                true => ("failed", Weight::Step),
                false => ("result", Weight::Minor),
            };
            let mut result = told(Topic::Result, weight, label, text);
            result.failed = *is_error;
            result
                .with(DetailPlace::Behind, "", DetailBody::Output(text))
                .of(message)
        }
        // An echo stands in the record of the message itself.
        Message::UserText { text, synthetic } => {
            let weight = if *synthetic { Weight::Minor } else { Weight::Silent };
            passed_on(weight, "told by the CLI", text)
        }
        Message::Said { topic, text, .. } => passed_on(Weight::Step, topic, text),
        Message::TurnEnded(end) => tell_turn_end(end),
        Message::TurnStarted { .. }
        | Message::ModeChanged { .. }
        | Message::PermissionDenied { .. }
        | Message::TaskStarted { .. }
        | Message::TaskEnded { .. }
        | Message::BackgroundTasks { .. }
        | Message::Timer(_)
        | Message::ApiRetry { .. }
        | Message::RateLimit { .. }
        | Message::Compacted { .. }
        | Message::ConversationReset { .. } => tell_report(message),
    }
}

/// Tells what the CLI reports beside the conversation, each in a line.
fn tell_report(message: &Message) -> Telling<'_> {
    let aside = |weight, label: String, line| told(Topic::Aside, weight, label, line);
    match message {
        Message::TurnStarted {
            model,
            permission_mode: mode,
            mcp_servers_failed: failed,
            ..
        } => match failed.join(", ") {
            none if none.is_empty() => {
                let label = format!("a turn begins with {model} ({mode})");
                told(Topic::Turn, Weight::Minor, label, "")
            }
            failed => told(Topic::Notice, Weight::Step, "MCP servers are not connected", failed),
        },
        Message::ModeChanged { permission_mode: mode } => {
            aside(Weight::Step, format!("the permission mode is {mode} now"), "")
        }
        Message::PermissionDenied { tool, reason, .. } => {
            let line = format!("{tool} was denied without asking: {reason}");
            told(Topic::Notice, Weight::Step, "", line)
        }
        Message::TaskStarted {
            description,
            background,
            ..
        } => match background {
            true => aside(Weight::Step, "in the background".to_owned(), description),
            // The call of the tool is told.
            false => aside(Weight::Silent, "begun".to_owned(), description),
        },
        Message::TaskEnded { status, summary, .. } => aside(Weight::Step, format!("task {status}"), summary),
        // The beginning and the end of each are told.
        Message::BackgroundTasks { tasks } => {
            let tasks = count(tasks.len() as u64, "task", "tasks");
            aside(Weight::Silent, format!("{tasks} in the background"), "")
        }
        Message::Timer(change) => aside(Weight::Step, change.line(), ""),
        Message::Compacted {
            pre_tokens,
            post_tokens,
        } => {
            let (from, to) = (amount(*pre_tokens), amount(*post_tokens));
            let label = format!("the conversation was compacted from {from} to {to} tokens");
            told(Topic::Rebuilt, Weight::Step, label, "")
        }
        Message::ApiRetry { .. } | Message::RateLimit { .. } => tell_wait(message),
        _ => told(Topic::Rebuilt, Weight::Step, "the conversation was cleared", ""),
    }
}

/// Tells what the API makes the agent wait for.
fn tell_wait(message: &Message) -> Telling<'_> {
    let Message::ApiRetry {
        retry,
        retries_max,
        delay_ms,
        status,
        error,
        login_until,
    } = message
    else {
        let weight = match message {
            Message::RateLimit { rejected: false, .. } => Weight::Silent,
            _ => Weight::Step,
        };
        let when = message.limit_resets_at().filter(|_| weight == Weight::Step);
        let label = match (weight, when) {
            (Weight::Silent, _) => "usage is within its limits",
            (_, Some(_)) => "a usage limit is reached until",
            (_, None) => "a usage limit is reached",
        };
        let wait = told(Topic::Wait, weight, label, "");
        return Telling { when, ..wait };
    };
    let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    let seconds = i64::try_from(delay_ms.div_ceil(1000)).unwrap_or(i64::MAX);
    let wait = duration(SignedDuration::from_secs(seconds));
    let what = match login_until {
        Some(_) => "the login is refused",
        None => "the API failed",
    };
    let next = format!("retry {retry} of {retries_max} in {wait}");
    told(Topic::Wait, Weight::Step, format!("{what} ({status}, {error})"), next)
}

fn passed_on<'a>(weight: Weight, topic: &'a str, text: &'a str) -> Telling<'a> {
    told(Topic::Aside, weight, topic, text).with(DetailPlace::Behind, "", DetailBody::Text(text.into()))
}

/// A turn that went well is only marked: what it said is told.
fn tell_turn_end(end: &TurnEnd) -> Telling<'_> {
    let rounds = turns(end.model_calls());
    if !end.is_error {
        // The agent's own total begins anew when it is killed.
        let spent = end
            .spent
            .map(|spent| format!(", {}", usd(spent.cost_usd)))
            .unwrap_or_default();
        let done = told(Topic::Turn, Weight::Minor, format!("done after {rounds}{spent}"), "");
        return match &end.structured_output {
            Some(output) => done.with(
                DetailPlace::Below,
                "structured output",
                DetailBody::Json(std::borrow::Cow::Borrowed(output)),
            ),
            None => done,
        };
    }
    // Errors of the API come as a success with an error in it.
    let kind = match end.subtype.as_str() {
        "success" => String::new(),
        subtype => format!("{subtype}, "),
    };
    let (line, text) = match end.errors.as_slice() {
        [] => (end.result.clone(), end.result.as_str().into()),
        errors => (errors.join("; "), errors.join("\n").into()),
    };
    let mut failed = told(
        Topic::Turn,
        Weight::Step,
        format!("the turn ended with an error ({kind}after {rounds})"),
        line,
    );
    failed.failed = true;
    failed.with(DetailPlace::Below, "", DetailBody::Text(text))
}

impl<'a> Telling<'a> {
    /// Belongs to the block or the call of this message.
    fn of(mut self, message: &'a Message) -> Self {
        let (call, result_of) = match message {
            Message::ToolUse { tool_use_id, .. } => (Some(tool_use_id.as_str()), None),
            Message::ToolResult { tool_use_id, .. } => (None, Some(tool_use_id.as_str())),
            _ => (None, None),
        };
        let (block, parent) = match message {
            Message::Text {
                message_id,
                block,
                parent,
                ..
            }
            | Message::Thinking {
                message_id,
                block,
                parent,
                ..
            }
            | Message::ToolUse {
                message_id,
                block,
                parent,
                ..
            } => (Some((message_id.as_str(), *block)), parent),
            Message::ToolResult { parent, .. } => (None, parent),
            _ => (None, &None),
        };
        self.origin = RecordOrigin {
            block,
            call,
            result_of,
            by_subagent: parent.is_some(),
            question: None,
        };
        self
    }
}
