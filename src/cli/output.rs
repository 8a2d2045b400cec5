//! Renders a session's records and partial text as lines for a terminal or a pipe.
//!
//! Text of the agent is printed as it is written; a tool call and its folded result are a line each; what else
//! happens is a line with a mark. Only text appended to a `String` leaves this file: it never writes itself.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use console::Style;

use crate::session::telling::{Telling, Topic, Weight, tell};
use crate::session::visible;

use super::clean::{self, clean, one_line};
use super::describe::{LINE_CHARS_MAX, fold_result, in_one_line};
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
    /// The task or the instruction, which the message to the agent repeats.
    repeated: String,
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
            repeated: String::new(),
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
            Ok(entry) => self.told(&tell(entry), out),
            Err(error) => {
                let line = format!("· {}", clean(&error.to_string()));
                self.marked(&self.styles.quiet.clone(), &line, out);
            }
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

    fn told(&mut self, told: &Telling<'_>, out: &mut String) {
        if let Some(text) = told.repeated() {
            text.clone_into(&mut self.repeated);
        }
        let styles = &self.styles;
        let (style, mark) = match told.topic {
            Topic::Said if !told.origin.by_subagent => return self.whole_text(told, out),
            Topic::CommandOutput => return self.command_output(told, out),
            Topic::Call => return self.tool_use(told, out),
            Topic::Result => return self.tool_result(told, out),
            // The summary at the end says the end, with what was used.
            Topic::End(_) => return self.close_line(out),
            Topic::Turn if !told.failed => return self.close_line(out),
            Topic::AttemptEnd if told.weight < Weight::Step => return self.close_line(out),
            Topic::Checkpoint => return,
            Topic::Prompt if told.line == self.repeated => return,
            Topic::Thought if told.line.trim().is_empty() => return,
            Topic::DroppedDraft => return self.drop_draft(told, out),
            _ if told.weight == Weight::Silent => return,
            Topic::Said => (&styles.quiet, "  │"),
            Topic::Thought => (&styles.quiet, "✻"),
            Topic::Begin => (&styles.quiet, "◆"),
            Topic::Attempt => (&styles.quiet, "↻"),
            Topic::Prompt => (&styles.quiet, "»"),
            Topic::Aside => (&styles.quiet, "·"),
            Topic::Question => (&styles.ask, "?"),
            Topic::Answer => (&styles.ask, "✓"),
            Topic::Notice | Topic::Wait | Topic::Rebuilt => (&styles.warn, "!"),
            Topic::AttemptEnd | Topic::Turn => (&styles.bad, "✗"),
        };
        let words = match told.topic {
            Topic::Thought => one_line(&told.line, THOUGHT_CHARS_MAX),
            Topic::Said | Topic::Prompt => one_line(&told.line, LINE_CHARS_MAX),
            _ => in_one_line(told),
        };
        self.marked(&style.clone(), &format!("{mark} {words}"), out);
    }

    fn drop_draft(&mut self, told: &Telling<'_>, out: &mut String) {
        let is_shown = |(message, block)| self.drafts.drop_from(message, block);
        if told.origin.block.is_some_and(is_shown) {
            let mark = "⟲ (the last lines above were cut off and are being written again)";
            self.marked(&self.styles.warn.clone(), mark, out);
        }
    }

    fn command_output(&mut self, told: &Telling<'_>, out: &mut String) {
        self.close_line(out);
        self.text(&visible::output(&told.line), out);
        self.close_line(out);
        (*told.line).clone_into(&mut self.last_text);
    }

    fn whole_text(&mut self, told: &Telling<'_>, out: &mut String) {
        let message_id = told.origin.block.map_or("", |(message, _)| message);
        match self.drafts.take_text(message_id, &told.line) {
            Rest::Whole(whole) => {
                self.close_line(out);
                self.text(&whole, out);
            }
            Rest::Remainder(rest) => self.text(&rest, out),
        }
        self.close_line(out);
        (*told.line).clone_into(&mut self.last_text);
    }

    fn tool_use(&mut self, told: &Telling<'_>, out: &mut String) {
        let call = format!("{}  {}", clean::name(&told.label), one_line(&told.line, LINE_CHARS_MAX));
        self.line(
            &format!("{}{} {call}", indent(told), self.styles.tool.apply_to("●")),
            out,
        );
        let id = told.origin.call.unwrap_or_default().to_owned();
        if self.tools.len() < TOOLS_MAX {
            self.tools.insert(id.clone(), call);
        }
        self.last_tool = Some(id);
    }

    fn tool_result(&mut self, told: &Telling<'_>, out: &mut String) {
        let id = told.origin.result_of.unwrap_or_default();
        let name = match self.tools.remove(id) {
            Some(call) if self.last_tool.as_deref() != Some(id) => excerpt::one_line(&call, 40) + ": ",
            Some(_) | None => String::new(),
        };
        let folded = one_line(&fold_result(&told.line, told.failed), LINE_CHARS_MAX + 20);
        let style = if told.failed {
            &self.styles.bad
        } else {
            &self.styles.quiet
        };
        let line = format!("{}  {}", indent(told), style.apply_to(format!("⎿ {name}{folded}")));
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

    fn marked(&mut self, style: &Style, line: &str, out: &mut String) {
        self.line(&style.apply_to(line).to_string(), out);
    }
}

/// What stands before the steps of a subagent.
fn indent(told: &Telling<'_>) -> &'static str {
    if told.origin.by_subagent { "  │ " } else { "" }
}
