//! Renders a session's records and partial text as lines for a terminal or a pipe.
//!
//! Text of the agent is printed as it is written; a tool call and its folded result are a line each; what else
//! happens is a line with a mark. Only text appended to a `String` leaves this file: it never writes itself.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use console::Style;

use crate::session::journal::{Entry, Input, StateChange};
use crate::session::message::{InputState, Message};
use crate::session::outcome::Ending;
use crate::session::question::headline_of_input;
use crate::session::state::StateName;
use crate::session::visible;

use super::clean::{self, clean, one_line};
use super::describe::{LINE_CHARS_MAX, describe, describe_message, fold_result};
use super::draft::{Drafts, Rest};
use super::view::{WireDelta, WireRecord};
use crate::session::excerpt;

/// How many open tool calls are remembered; beyond that a result does not name its call.
const TOOLS_MAX: usize = 1000;

/// How much of a thought is shown, in characters.
const THOUGHT_CHARS_MAX: usize = 100;

/// Renders one session.
pub(crate) struct Renderer {
    styles: Styles,
    drafts: Drafts,
    /// The last line has no line break yet.
    line_is_open: bool,
    /// Calls whose results have not come, by their ids.
    tools: HashMap<String, String>,
    /// The call that was printed last and nothing since: its result need not name it.
    last_tool: Option<String>,
    /// The last whole text of the agent itself.
    last_text: String,
    /// The session's task, which its first input repeats.
    task: String,
}

/// How things look; without colours they are plain text.
struct Styles {
    quiet: Style,
    tool: Style,
    bad: Style,
    warn: Style,
    ask: Style,
}

impl Styles {
    fn new(colours: bool) -> Self {
        let style = || Style::new().force_styling(colours);
        Self {
            quiet: style().dim(),
            tool: style().green(),
            bad: style().red(),
            warn: style().yellow(),
            ask: style().cyan().bold(),
        }
    }
}

impl Renderer {
    /// A renderer that has printed nothing yet.
    pub(crate) fn new(colours: bool) -> Self {
        Self {
            styles: Styles::new(colours),
            drafts: Drafts::default(),
            line_is_open: false,
            tools: HashMap::new(),
            last_tool: None,
            last_text: String::new(),
            task: String::new(),
        }
    }

    /// Whether this final text was printed already.
    pub(crate) fn has_printed(&self, result: &str) -> bool {
        self.last_text.trim().starts_with(result.trim())
    }

    /// Appends what partial text adds.
    pub(crate) fn delta(&mut self, delta: &WireDelta, out: &mut String) {
        if let Some(new) = self.drafts.take_delta(delta) {
            self.text(&new, out);
        }
    }

    /// Appends what a record adds.
    pub(crate) fn record(&mut self, record: &WireRecord, out: &mut String) {
        match record.entry() {
            Ok(entry) => self.entry(&entry, out),
            Err(error) => self.line(
                &self
                    .styles
                    .quiet
                    .apply_to(format!("· {}", clean(&error.to_string())))
                    .to_string(),
                out,
            ),
        }
    }

    /// Appends a line of its own.
    pub(crate) fn line(&mut self, line: &str, out: &mut String) {
        self.close_line(out);
        self.last_tool = None;
        out.push_str(line);
        out.push('\n');
    }

    /// Ends the line that partial text left open.
    pub(crate) fn close_line(&mut self, out: &mut String) {
        if std::mem::take(&mut self.line_is_open) {
            out.push('\n');
        }
    }

    fn entry(&mut self, entry: &Entry, out: &mut String) {
        match entry {
            Entry::SessionCreated(created) => {
                self.task.clone_from(&created.request.task);
                let cwd = created.request.cwd.display();
                let line = one_line(&format!("◆ {} in {cwd}", created.request.shown_name()), LINE_CHARS_MAX);
                self.quiet(&line, out);
            }
            Entry::AgentMessage(said) => self.message(&said.message, out),
            Entry::SessionState(change) => self.state(change, out),
            Entry::Input(input) => self.input(input, out),
            Entry::DraftDropped(draft) => {
                if self.drafts.drop_from(&draft.message_id, draft.from_block) {
                    let mark = "⟲ (the last lines above were cut off and are being written again)";
                    self.marked(&self.styles.warn.clone(), mark, out);
                }
            }
            Entry::AttemptStarted(_) => self.quiet(&format!("↻ {}", describe(entry)), out),
            Entry::AgentStderr(_) => self.quiet(&format!("agent: {}", describe(entry)), out),
            Entry::AgentUnknown(_) | Entry::QuestionWithdrawn(_) | Entry::Control(_) | Entry::ClockJumped(_) => {
                self.quiet(&format!("· {}", describe(entry)), out);
            }
            Entry::QuestionAsked(_) => self.marked(&self.styles.ask.clone(), &format!("? {}", describe(entry)), out),
            Entry::TaskRefined(_) => self.marked(&self.styles.ask.clone(), &format!("✓ {}", describe(entry)), out),
            Entry::QuestionAnswered(_) => self.marked(&self.styles.ask.clone(), &format!("✓ {}", describe(entry)), out),
            Entry::Notice(_)
            | Entry::WorkCutOff(_)
            | Entry::RetryScheduled(_)
            | Entry::ContextRebuilt(_)
            | Entry::SessionResumed(_) => {
                self.marked(&self.styles.warn.clone(), &format!("! {}", describe(entry)), out);
            }
            Entry::AttemptEnded(end) => match end.ending {
                Ending::Finished | Ending::Stopped | Ending::Untrusted { .. } => self.close_line(out),
                Ending::Refused { .. }
                | Ending::NotSignedIn { .. }
                | Ending::Quota { .. }
                | Ending::ApiDown { .. }
                | Ending::Crashed
                | Ending::Panicked
                | Ending::Stalled
                | Ending::LostContext { .. }
                | Ending::NotStarted { .. } => {
                    self.marked(
                        &self.styles.bad.clone(),
                        &format!("✗ the attempt ended: {}", describe(entry)),
                        out,
                    );
                }
            },
            // The summary at the end says it, with what was used.
            Entry::SessionEnded(_) => self.close_line(out),
            Entry::Checkpoint(_) | Entry::Usage(_) | Entry::QuestionDelivered(_) => {}
        }
    }

    /// Only states that nothing else tells of.
    fn state(&mut self, change: &StateChange, out: &mut String) {
        match change.to {
            StateName::Stopping => {
                let line = one_line(&format!("· stopping: {}", change.reason), LINE_CHARS_MAX);
                self.quiet(&line, out);
            }
            StateName::Queued
            | StateName::Starting
            | StateName::Running
            | StateName::Asking
            | StateName::WaitingRetry
            | StateName::Completed
            | StateName::Failed
            | StateName::Cancelled
            | StateName::TimedOut => {}
        }
    }

    fn input(&mut self, input: &Input, out: &mut String) {
        let Some(text) = &input.text else { return };
        if input.state == InputState::Sent && *text != self.task {
            self.quiet(&format!("» {}", one_line(text, LINE_CHARS_MAX)), out);
        }
    }

    fn message(&mut self, message: &Message, out: &mut String) {
        match message {
            Message::Text {
                message_id,
                text,
                parent: None,
                ..
            } => self.whole_text(message_id, text, out),
            Message::Text {
                text, parent: Some(_), ..
            } => {
                self.quiet(&format!("  │ {}", one_line(text, LINE_CHARS_MAX)), out);
            }
            Message::CommandOutput { text, .. } => {
                self.close_line(out);
                self.text(&visible::output(text), out);
                self.close_line(out);
                text.clone_into(&mut self.last_text);
            }
            Message::Thinking { text, .. } if text.trim().is_empty() => {}
            Message::Thinking { text, .. } => self.quiet(&format!("✻ {}", one_line(text, THOUGHT_CHARS_MAX)), out),
            Message::ToolUse {
                tool_use_id,
                name,
                input,
                parent,
                ..
            } => {
                let call = format!(
                    "{}  {}",
                    clean::name(name),
                    one_line(&headline_of_input(input), LINE_CHARS_MAX)
                );
                self.tool_use(tool_use_id, &call, parent.is_some(), out);
            }
            Message::ToolResult {
                tool_use_id,
                text,
                is_error,
                parent,
            } => {
                self.tool_result(
                    tool_use_id,
                    &one_line(&fold_result(text, *is_error), LINE_CHARS_MAX + 20),
                    *is_error,
                    parent.is_some(),
                    out,
                );
            }
            Message::TurnStarted { mcp_servers_failed, .. } if mcp_servers_failed.is_empty() => {}
            Message::TurnEnded(end) if !end.is_error => self.close_line(out),
            Message::TurnEnded(_) => self.told(&self.styles.bad.clone(), '✗', message, out),
            Message::TurnStarted { .. } | Message::PermissionDenied { .. } | Message::ApiRetry { .. } => {
                self.told(&self.styles.warn.clone(), '!', message, out);
            }
            Message::RateLimit { rejected: true, .. } => self.told(&self.styles.warn.clone(), '!', message, out),
            Message::UserText { synthetic: true, .. }
            | Message::TaskStarted { background: true, .. }
            | Message::TaskEnded { .. }
            | Message::Timer(_)
            | Message::Compacted { .. }
            | Message::ModeChanged { .. }
            | Message::ConversationReset { .. }
            | Message::Said { .. } => self.told(&self.styles.quiet.clone(), '·', message, out),
            Message::UserText { synthetic: false, .. }
            | Message::TaskStarted { background: false, .. }
            | Message::RateLimit { rejected: false, .. }
            | Message::BackgroundTasks { .. } => {}
        }
    }

    fn whole_text(&mut self, message_id: &str, text: &str, out: &mut String) {
        match self.drafts.take_text(message_id, text) {
            Rest::Whole(whole) => {
                self.close_line(out);
                self.text(&whole, out);
            }
            Rest::Remainder(rest) => self.text(&rest, out),
        }
        self.close_line(out);
        text.clone_into(&mut self.last_text);
    }

    fn tool_use(&mut self, id: &str, call: &str, by_subagent: bool, out: &mut String) {
        let indent = if by_subagent { "  │ " } else { "" };
        let line = format!("{indent}{} {call}", self.styles.tool.apply_to("●"));
        self.line(&line, out);
        if self.tools.len() < TOOLS_MAX {
            self.tools.insert(id.to_owned(), call.to_owned());
        }
        self.last_tool = Some(id.to_owned());
    }

    fn tool_result(&mut self, id: &str, folded: &str, is_error: bool, by_subagent: bool, out: &mut String) {
        let call = self.tools.remove(id);
        let of_last = self.last_tool.as_deref() == Some(id);
        let indent = if by_subagent { "  │ " } else { "" };
        let name = match call {
            Some(call) if !of_last => excerpt::one_line(&call, 40) + ": ",
            Some(_) | None => String::new(),
        };
        let style = if is_error { &self.styles.bad } else { &self.styles.quiet };
        let line = format!("{indent}  {}", style.apply_to(format!("⎿ {name}{folded}")));
        self.line(&line, out);
    }

    fn text(&mut self, text: &str, out: &mut String) {
        if text.is_empty() {
            return;
        }
        self.last_tool = None;
        out.push_str(text);
        self.line_is_open = !text.ends_with('\n');
    }

    fn told(&mut self, style: &Style, mark: char, message: &Message, out: &mut String) {
        let words = one_line(&describe_message(message), LINE_CHARS_MAX);
        self.marked(style, &format!("{mark} {words}"), out);
    }

    fn quiet(&mut self, line: &str, out: &mut String) {
        self.marked(&self.styles.quiet.clone(), line, out);
    }

    fn marked(&mut self, style: &Style, line: &str, out: &mut String) {
        self.line(&style.apply_to(line).to_string(), out);
    }
}
