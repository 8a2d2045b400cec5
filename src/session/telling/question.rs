//! A question as lines of text, for terminals and for the forms of MCP clients.
//!
//! What says what is touched stands first. Nothing is hidden or left out (`visible`), and no text of the agent can begin a
//! line that it does not own: its line breaks begin lines with an indent of their own. So the question can be read back
//! from all of its lines, byte for byte; the tests do.

use serde_json::{Map, Value, json};

use crate::session::grant::Suggestion;
use crate::session::question::{Choice, QuestionKind, TOUCHED};
use crate::session::visible;

/// Begins a line of a text that began above.
const INSIDE: &str = "    ";

/// A question in lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionLines {
    /// What a person reads before they decide.
    pub shown: Vec<String>,
    /// What else was asked for, as it came; for most questions nothing.
    pub more: Vec<String>,
}

impl QuestionLines {
    /// All lines.
    pub fn opened(self) -> Vec<String> {
        let mut lines = self.shown;
        lines.extend(self.more);
        lines
    }
}

/// Lays a question out.
pub fn lines_of(kind: &QuestionKind) -> QuestionLines {
    match kind {
        QuestionKind::Permission {
            tool, input, reason, ..
        } => {
            let mut shown = vec![format!("The agent wants to use {}:", tool_in_words(tool))];
            shown.extend(fields(input));
            let reason = reason.as_deref().map(|reason| format!("({})", visible::line(reason)));
            shown.extend(reason);
            QuestionLines {
                shown,
                more: Vec::new(),
            }
        }
        QuestionKind::Choice { questions, input } => QuestionLines {
            shown: questions.iter().flat_map(choice).collect(),
            more: more_of_choice(questions, input),
        },
        QuestionKind::Plan { plan, input } => plan_lines(plan.as_deref(), input),
        QuestionKind::Form {
            server,
            message,
            schema,
            order,
            url,
        } => {
            let server = visible::line(server);
            let mut shown = Vec::new();
            match url {
                Some(url) => {
                    shown.push(format!("The MCP server {server} asks you to open:"));
                    shown.push(format!("  {}", visible::line(url)));
                    shown.push("It says:".to_owned());
                }
                None => shown.push(format!("The MCP server {server} asks:")),
            }
            shown.extend(message.split('\n').map(|line| format!("  {}", visible::text(line))));
            QuestionLines {
                shown,
                more: more_of_form(schema, order),
            }
        }
    }
}

/// What can be granted along with a yes, numbered from 1, one line each.
pub fn offers(kind: &QuestionKind) -> Vec<String> {
    let offers = kind.offers();
    let line = |(place, offer): (usize, &Suggestion)| format!("  {}. {}", place + 1, visible::line(&offer.words));
    let head = (!offers.is_empty()).then(|| "You can also grant, for the rest of the session:".to_owned());
    head.into_iter().chain(offers.iter().enumerate().map(line)).collect()
}

/// A tool by its name; one of an MCP server with both of its names.
pub fn tool_in_words(tool: &str) -> String {
    let name = visible::line(tool);
    let parts = name.strip_prefix("mcp__").and_then(|parts| parts.split_once("__"));
    match parts {
        Some((server, own)) => format!("{name} (the tool {own} of the MCP server {server})"),
        None => name.into_owned(),
    }
}

/// The fields of an input: what is touched first, then the others by name. Text follows `name:` as it is, its further
/// lines below it; any other value follows `name =` as JSON.
fn fields(input: &Value) -> Vec<String> {
    let Some(fields) = input.as_object() else {
        return json_lines("  =", input);
    };
    let place = |name: &str| {
        TOUCHED
            .iter()
            .position(|touched| *touched == name)
            .unwrap_or(TOUCHED.len())
    };
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort_by_key(|name| place(name));
    names.into_iter().flat_map(|name| field(name, &fields[name])).collect()
}

fn field(name: &str, value: &Value) -> Vec<String> {
    let name = field_name(name);
    let Some(text) = value.as_str() else {
        return json_lines(&format!("  {name} ="), value);
    };
    let mut parts = text.split('\n').map(visible::text);
    let first = format!("  {name}: {}", parts.next().unwrap_or_default());
    std::iter::once(first)
        .chain(parts.map(|part| format!("{INSIDE}{part}")))
        .collect()
}

/// A name that is no plain word stands in quotes, so that it cannot look like another field.
fn field_name(name: &str) -> String {
    let is_plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    match is_plain {
        true => name.to_owned(),
        false => visible::json(&Value::from(name).to_string()).into_owned(),
    }
}

/// A value as JSON behind a beginning; its further lines are indented.
fn json_lines(beginning: &str, value: &Value) -> Vec<String> {
    let text = pretty(value);
    let mut lines = text.lines();
    let first = format!("{beginning} {}", lines.next().unwrap_or_default());
    std::iter::once(first)
        .chain(lines.map(|line| format!("{INSIDE}{line}")))
        .collect()
}

/// JSON laid out, with nothing hidden in it.
pub fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    visible::json(&text).into_owned()
}

/// One question with its options.
pub fn choice(choice: &Choice) -> Vec<String> {
    let mut parts = choice.question.split('\n').map(visible::text);
    let mut lines = vec![format!("? {}", parts.next().unwrap_or_default())];
    lines.extend(parts.map(|part| format!("  │ {part}")));
    if !choice.header.is_empty() {
        lines.push(format!("  ({})", visible::line(&choice.header)));
    }
    if choice.multi_select {
        lines.push("  [several may be chosen]".to_owned());
    }
    for (place, option) in choice.options.iter().enumerate() {
        lines.push(format!("  {}. {}", place + 1, visible::line(&option.label)));
        if !option.description.is_empty() {
            let parts = option.description.split('\n').map(visible::text);
            lines.extend(parts.map(|part| format!("     {part}")));
        }
    }
    lines
}

/// What the input of a choice holds beside the questions as they are shown.
fn more_of_choice(questions: &[Choice], input: &Value) -> Vec<String> {
    let shown = json!({"questions": questions});
    if *input == shown {
        return Vec::new();
    }
    let mut rest = input.clone();
    if rest.get("questions") == shown.get("questions")
        && let Some(fields) = rest.as_object_mut()
    {
        fields.remove("questions");
        return titled("The rest of the tool's input:", fields_of(fields));
    }
    titled("The whole input of the tool:", fields(&rest))
}

fn fields_of(map: &Map<String, Value>) -> Vec<String> {
    fields(&Value::Object(map.clone()))
}

fn plan_lines(plan: Option<&str>, input: &Value) -> QuestionLines {
    let (shown, usual) = match plan {
        Some(plan) => {
            let lines = plan.split('\n').map(|line| format!("  {}", visible::text(line)));
            let head = "The agent has a plan:".to_owned();
            (std::iter::once(head).chain(lines).collect(), json!({"plan": plan}))
        }
        None => (
            vec!["The agent has a plan: it stands in the text above.".to_owned()],
            json!({}),
        ),
    };
    let more = match *input == usual {
        true => Vec::new(),
        false => titled("The whole input of the tool:", fields(input)),
    };
    QuestionLines { shown, more }
}

fn more_of_form(schema: &Value, order: &[String]) -> Vec<String> {
    let mut more = Vec::new();
    if !schema.is_null() {
        more.push(format!("The schema of the form: {}", one_line(schema)));
    }
    if !order.is_empty() {
        more.push(format!("The order of its fields: {}", one_line(&json!(order))));
    }
    more
}

fn one_line(value: &Value) -> String {
    visible::json(&value.to_string()).into_owned()
}

fn titled(title: &str, lines: Vec<String>) -> Vec<String> {
    std::iter::once(title.to_owned()).chain(lines).collect()
}

#[cfg(test)]
pub(crate) mod tests;
