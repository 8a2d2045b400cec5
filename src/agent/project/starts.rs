//! What starts by itself in one settings file, in words for a person and as it is.

use serde_json::{Map, Value};

use crate::session::asked;
use crate::session::secrets::masked_value;
use crate::session::{excerpt, visible};

/// Settings that start a program each, besides those whose names end in one of [`ENDINGS`].
const PROGRAMS: [&str; 3] = ["statusLine", "subagentStatusLine", "fileSuggestion"];

/// How the names of settings end that start a program: `apiKeyHelper`, `awsAuthRefresh`, `awsCredentialExport`, …
const ENDINGS: [&str; 3] = ["Helper", "Refresh", "Export"];

/// Settings that bring plugins, which have hooks and servers of their own.
const PLUGINS: [&str; 2] = ["enabledPlugins", "extraKnownMarketplaces"];

/// Settings that start nothing, whatever stands in them.
const RULES: &str = "permissions";

/// The longest line, in characters.
const LINE_CHARS_MAX: usize = 1000;

/// One setting that starts something.
pub(super) struct StartSetting {
    pub(super) name: String,
    /// What starts, line by line.
    pub(super) lines: Vec<String>,
    pub(super) value: Value,
}

/// What starts by itself in the file that is called `label`.
pub(super) fn of(label: &str, settings: &Map<String, Value>) -> Vec<StartSetting> {
    let is_servers = label == ".mcp.json";
    let part = |(name, value): (&String, &Value)| {
        let lines = if is_servers {
            servers(name, value)
        } else {
            lines(name, value)
        };
        (!lines.is_empty()).then(|| StartSetting {
            name: name.clone(),
            lines: lines
                .iter()
                .map(|line| one_line(&format!("{line} ({label})")))
                .collect(),
            value: value.clone(),
        })
    };
    settings.iter().filter_map(part).collect()
}

/// Shows each text in a value.
pub(super) fn each_text(value: &Value, visitor: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => visitor(text),
        Value::Array(items) => items.iter().for_each(|item| each_text(item, visitor)),
        Value::Object(members) => members.values().for_each(|member| each_text(member, visitor)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn lines(name: &str, value: &Value) -> Vec<String> {
    if is_empty(value) || name == RULES {
        return Vec::new();
    }
    match name {
        "hooks" => hooks(value),
        "env" => vec![format!("variables: {}", names(value))],
        _ if PLUGINS.contains(&name) => vec![format!("{name}: {}", names(value))],
        _ if PROGRAMS.contains(&name) || ENDINGS.iter().any(|ending| name.ends_with(ending)) => {
            vec![format!("{name}: {}", told(value))]
        }
        _ if holds_command(value) => vec![format!("{name}: {value}")],
        _ => Vec::new(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.iter().all(is_empty),
        Value::Object(members) => members.values().all(|member| member.is_array() && is_empty(member)),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// `{"SessionStart": [{"matcher": …, "hooks": [{"type": "command", "command": …}]}]}`
fn hooks(value: &Value) -> Vec<String> {
    let Some(events) = value.as_object() else {
        return vec![format!("hooks: {value}")];
    };
    let of_event = |(event, groups): (&String, &Value)| {
        let groups = groups.as_array().cloned().unwrap_or_else(|| vec![groups.clone()]);
        let of_group = |group: Value| match group.get("hooks").and_then(Value::as_array) {
            Some(hooks) => hooks.clone(),
            None => vec![group],
        };
        let hooks = groups.into_iter().flat_map(of_group);
        hooks
            .map(|hook| format!("hook {event}: {}", told(&hook)))
            .collect::<Vec<_>>()
    };
    events.iter().flat_map(of_event).collect()
}

/// `{"mcpServers": {"name": {"command": …, "args": […]}}}`. A file without that word holds the servers themselves.
fn servers(name: &str, value: &Value) -> Vec<String> {
    // All of it but the secrets: a helper for headers is a program too.
    let server = |name: &str, server: &Value| {
        let masked = masked_value(&server.to_string());
        asked::server(name, masked.as_ref().unwrap_or(&Value::Null))
    };
    match value.as_object() {
        Some(members) if name == "mcpServers" => members.iter().map(|(name, value)| server(name, value)).collect(),
        Some(_) => vec![server(name, value)],
        None => Vec::new(),
    }
}

/// The telling part of a value: its command, address or prompt, else all of it.
fn told(value: &Value) -> String {
    let telling = ["command", "url", "prompt"].iter().find_map(|key| value.get(key));
    let value = telling.unwrap_or(value);
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn names(value: &Value) -> String {
    match value.as_object() {
        Some(members) => members.keys().cloned().collect::<Vec<_>>().join(", "),
        None => value.to_string(),
    }
}

fn holds_command(value: &Value) -> bool {
    match value {
        Value::Object(members) => members
            .iter()
            .any(|(name, member)| name == "command" || holds_command(member)),
        Value::Array(items) => items.iter().any(holds_command),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// One line, whatever it holds. What is cut off is counted.
fn one_line(line: &str) -> String {
    let (kept, rest) = excerpt::split_at_chars(line, LINE_CHARS_MAX);
    let mut shown = visible::plain_or_json(kept).into_owned();
    if !rest.is_empty() {
        shown.push_str(&format!("… ({} more characters)", rest.chars().count()));
    }
    shown
}
