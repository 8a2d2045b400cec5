//! Renders a session's records and partial text as lines for a terminal or a pipe.
//!
//! Text of the agent is printed as it is written; a tool call and its folded result are a line each; what else
//! happens is a line with a mark. Only text appended to a `String` leaves this file: it never writes itself.

use std::collections::HashMap;

use console::Style;

use crate::session::journal::{Entry, Input, StateChange};
use crate::session::message::{InputState, Message};
use crate::session::outcome::Ending;
use crate::session::question::headline_of_input;
use crate::session::state::StateName;

use super::clean::{clean, one_line};
use super::describe::{LINE_CHARS_MAX, describe, describe_message, fold_result};
use super::draft::{Drafts, Rest};
use super::view::{WireDelta, WireRecord};

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
            Err(error) => self.line(&self.styles.quiet.apply_to(format!("· {error}")).to_string(), out),
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
            Entry::AgentUnknown(_) | Entry::Progress(_) | Entry::QuestionWithdrawn(_) | Entry::Control(_) => {
                self.quiet(&format!("· {}", describe(entry)), out);
            }
            Entry::QuestionAsked(_) => self.marked(&self.styles.ask.clone(), &format!("? {}", describe(entry)), out),
            Entry::QuestionAnswered(_) => self.marked(&self.styles.ask.clone(), &format!("✓ {}", describe(entry)), out),
            Entry::Notice(_) | Entry::RetryScheduled(_) | Entry::ContextRebuilt(_) | Entry::SessionResumed(_) => {
                self.marked(&self.styles.warn.clone(), &format!("! {}", describe(entry)), out);
            }
            Entry::AttemptEnded(end) => match end.ending {
                Ending::Finished | Ending::Stopped => self.close_line(out),
                Ending::Refused { .. }
                | Ending::NotSignedIn
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
                    clean(name),
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
                    &fold_result(text, *is_error),
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
            | Message::Compacted { .. }
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
            Some(call) if !of_last => one_line(&call, 40) + ": ",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::view::Part;
    use serde_json::{Value, json};

    /// A thing to render: a record's kind and data, or a delta's block, offset and text.
    enum Item {
        Record(&'static str, Value),
        Delta(u32, u64, &'static str),
    }
    use Item::{Delta, Record};

    fn render(items: Vec<Item>) -> String {
        let mut renderer = Renderer::new(false);
        let mut out = String::new();
        for (index, item) in items.into_iter().enumerate() {
            match item {
                Record(kind, data) => {
                    let line = json!({"seq": index + 1, "at": "2026-01-01T00:00:00Z", "attempt": 1, "kind": kind, "data": data});
                    renderer.record(&serde_json::from_str(&line.to_string()).unwrap(), &mut out);
                }
                Delta(block, offset, text) => {
                    let delta = WireDelta {
                        message_id: "m1".into(),
                        block,
                        part: Part::Text,
                        offset,
                        text: text.into(),
                    };
                    renderer.delta(&delta, &mut out);
                }
            }
        }
        out
    }

    fn said(message: Value) -> Item {
        Record("agent.message", json!({"offset": 0, "message": message}))
    }

    fn text(message_id: &str, text: &str) -> Item {
        said(json!({"type": "text", "message_id": message_id, "text": text}))
    }

    fn tool(id: &str, command: &str) -> Item {
        said(
            json!({"type": "tool_use", "message_id": "m1", "tool_use_id": id, "name": "Bash", "input": {"command": command}}),
        )
    }

    fn result(id: &str, text: &str, is_error: bool) -> Item {
        said(json!({"type": "tool_result", "tool_use_id": id, "text": text, "is_error": is_error}))
    }

    #[test]
    fn text_that_was_streamed_is_not_printed_twice() {
        let out = render(vec![
            Delta(0, 0, "I will "),
            Delta(0, 7, "look.\nAnd"),
            text("m1", "I will look.\nAnd act."),
            tool("t1", "git status"),
            result("t1", "a\nb\nc\n", false),
            Delta(2, 0, "Done"),
            text("m1", "Done"),
            text("m2", "Nobody saw this streamed."),
        ]);
        insta::assert_snapshot!(out, @r"
        I will look.
        And act.
        ● Bash  git status
          ⎿ 3 lines
        Done
        Nobody saw this streamed.
        ");
    }

    #[test]
    fn a_late_result_names_its_call() {
        let out = render(vec![
            tool("t1", "make"),
            tool("t2", "ls"),
            result("t1", "no rule\nstop", true),
            result("t2", "", false),
        ]);
        insta::assert_snapshot!(out, @r"
        ● Bash  make
        ● Bash  ls
          ⎿ Bash make: no rule (+1 lines)
          ⎿ Bash ls: (no output)
        ");
    }

    #[test]
    fn a_crash_and_its_recovery_are_visible() {
        let agent = "01890000-0000-7000-8000-000000000001";
        let out = render(vec![
            Record(
                "session.created",
                json!({"request": {"task": "tidy up", "cwd": "/home"}, "by": "cli"}),
            ),
            Record("attempt.started", json!({"attempt": 1, "agent_session_id": agent})),
            Record("input", json!({"uuid": agent, "state": "sent", "text": "tidy up"})),
            Delta(0, 0, "half a sen"),
            Record("draft.dropped", json!({"message_id": "m1", "from_block": 0})),
            Record("attempt.ended", json!({"ending": "crashed", "exit": "signal 9"})),
            Record(
                "checkpoint",
                json!({"agent_session_id": agent, "offset": 1, "turns": 0, "usage": {
                "input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_usd": 0.0}}),
            ),
            Record(
                "attempt.started",
                json!({"attempt": 2, "agent_session_id": agent, "resumed_from": 7}),
            ),
            Record("input", json!({"uuid": agent, "state": "sent", "text": "go on"})),
            Delta(0, 0, "half a sentence"),
            text("m1", "half a sentence"),
            Record("session.ended", json!({"outcome": "completed", "summary": "done"})),
        ]);
        insta::assert_snapshot!(out, @r"
        ◆ tidy up in /home
        ↻ attempt 1
        half a sen
        ⟲ (the last lines above were cut off and are being written again)
        ✗ the attempt ended: the agent process died (signal 9)
        ↻ attempt 2, going on from record 7
        » go on
        half a sentence
        ");
    }

    #[test]
    fn a_draft_nobody_saw_is_dropped_in_silence() {
        assert_eq!(
            render(vec![Record(
                "draft.dropped",
                json!({"message_id": "m1", "from_block": 0})
            )]),
            ""
        );
    }

    #[test]
    fn everything_else_is_a_line_with_a_mark() {
        let out = render(vec![
            said(json!({"type": "thinking", "message_id": "m1", "text": "hm\nwell"})),
            said(json!({"type": "thinking", "message_id": "m1", "text": ""})),
            said(json!({"type": "text", "message_id": "m9", "text": "a subagent\nspeaks", "parent": "t1"})),
            said(
                json!({"type": "api_retry", "retry": 1, "retries_max": 10, "delay_ms": 500, "error": "overloaded", "status": 529}),
            ),
            said(json!({"type": "permission_denied", "tool": "Bash", "tool_use_id": "t", "reason": "a rule"})),
            said(
                json!({"type": "task_started", "task_id": "b1", "task": "shell", "background": true, "description": "npm start"}),
            ),
            Record(
                "question.asked",
                json!({"question_id": "q1", "request_id": "r", "ask": "permission", "tool": "Bash", "input": {"command": "rm x"}}),
            ),
            Record(
                "question.answered",
                json!({"question_id": "q1", "answer": {"action": "allow"}, "by": "page"}),
            ),
            Record("notice", json!({"text": "something"})),
            Record("control", json!({"action": "cancel", "by": "cli"})),
            Record("a.newer.kind", json!({})),
        ]);
        insta::assert_snapshot!(out, @r#"
        ✻ hm well
          │ a subagent speaks
        ! the API failed (529, overloaded): retry 1 of 10 in 1 s
        ! Bash was denied without asking: a rule
        · in the background: npm start
        ? q1 Bash: rm x
        ✓ q1 allowed by page
        ! something
        · cancel by cli
        · unknown kind of record "a.newer.kind": was this journal written by a newer version?
        "#);
    }

    #[test]
    fn escapes_never_reach_the_terminal() {
        let esc = "\u{1b}]0;owned\u{7}\u{1b}[2Jx";
        let out = render(vec![
            Delta(0, 0, "a\u{1b}]0;ow"),
            Delta(0, 7, "ned\u{7}b"),
            text("m1", "a\u{1b}]0;owned\u{7}b"),
            text("m2", esc),
            tool("t1", esc),
            result("t1", esc, true),
            Record("notice", json!({"text": esc})),
            Record(
                "session.created",
                json!({"request": {"task": "x", "cwd": "/\u{1b}[2J"}, "by": esc}),
            ),
            said(json!({"type": "tool_use", "message_id": "m1", "tool_use_id": "t2", "name": esc, "input": {}})),
        ]);
        assert!(out.starts_with("ab\nx\n"), "{out:?}");
        assert!(!out.contains(|c: char| c.is_control() && c != '\n'), "{out:?}");
        assert!(!out.contains("owned"), "{out:?}");
    }

    #[test]
    fn a_printed_result_is_known() {
        let mut renderer = Renderer::new(false);
        let mut out = String::new();
        renderer.whole_text("m1", "the answer\n", &mut out);
        assert!(renderer.has_printed("the answer"));
        assert!(!renderer.has_printed("another"));
    }
}
