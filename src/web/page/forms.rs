//! Forms: to start a run, to go on with an ended one, to copy one, and those that an MCP server describes by a schema.
//!
//! A script sends them as JSON, so that a refusal is shown beside the field and nothing that was typed is lost.

use std::collections::BTreeSet;

use maud::{Markup, html};
use serde_json::Value;

use super::text::visible;
use crate::session::request::PermissionMode;

/// The form that starts a run; `directories` are those of earlier ones, the last first.
pub(super) fn start(directories: &[String]) -> Markup {
    html! {
        form #start-form data-start data-action="/api/sessions" novalidate {
            p.field {
                label for="start-task" { "Task" }
                textarea #start-task name="task" rows="4" required placeholder="What is to be done?" {}
            }
            div.row {
                p.field.wide {
                    label for="start-cwd" { "Directory" }
                    input #start-cwd.mono type="text" name="cwd" required spellcheck="false" autocomplete="off"
                        list="start-directories" value=(directories.first().map_or("", String::as_str))
                        placeholder="/absolute/path";
                    datalist #start-directories { @for directory in directories { option value=(directory) {} } }
                }
                p.field {
                    label for="start-mode" { "Permissions" }
                    select #start-mode name="permission_mode" {
                        option value="" { "As configured" }
                        @for mode in PermissionMode::ALL { (mode_option(mode)) }
                    }
                }
                p.field {
                    label for="start-model" { "Model" }
                    input #start-model type="text" name="model" spellcheck="false" autocomplete="off"
                        placeholder="As configured" list="start-models";
                    datalist #start-models { option value="opus" {} option value="sonnet" {} option value="haiku" {} }
                }
            }
            (start_details())
            p.buttons { button.primary type="submit" { "Start" } }
            p.problem role="alert" hidden {}
        }
    }
}

fn start_details() -> Markup {
    html! {
        details {
            summary { "Name, limits and more" }
            div.row {
                (text_field("name", "Name", "Made from the task"))
                (number_field("max_turns", "Most turns", "1"))
                (number_field("max_budget_usd", "Most dollars", "any"))
                (number_field("timeout_minutes", "Most minutes at work", "1"))
            }
            (check_field("clarify", "First look whether it is clear what is wanted, and ask where it is not"))
            (check_field("executor_tools", "Let its agent use this daemon: start sessions and follow them"))
        }
    }
}

/// The form that goes on with an ended session.
pub(super) fn resume(id: &str) -> Markup {
    html! {
        form #resume-form data-resume data-action={ "/api/sessions/" (id) "/resume" } novalidate {
            p.field {
                label for="resume-instruction" { "Go on with this session" }
                textarea #resume-instruction name="instruction" rows="2" placeholder="What to do next (may be left empty)" {}
            }
            p.buttons { button.primary type="submit" { "Resume" } }
            p.problem role="alert" hidden {}
        }
    }
}

/// The dialogs of a session's page: to confirm a cancel, and to go on from a checkpoint.
pub(super) fn dialogs(id: &str) -> Markup {
    html! {
        dialog #cancel-dialog aria-labelledby="cancel-title" {
            form data-cancel data-action={ "/api/sessions/" (id) "/cancel" } novalidate {
                h2 #cancel-title { "Cancel this session?" }
                p { "Its agent is ended. What it has written is kept, and the session can be resumed." }
                p.buttons {
                    button.danger type="submit" { "Cancel the session" }
                    button type="button" data-close { "Keep it running" }
                }
                p.problem role="alert" hidden {}
            }
        }
        (branch_dialog("resume", "Resume from a checkpoint", "Resume", &format!("/api/sessions/{id}/resume"), html! {
            p { "The conversation is cut back to this checkpoint; files in the directory stay as they are now." }
        }))
        (branch_dialog("fork", "Fork the session", "Fork", &format!("/api/sessions/{id}/fork"), html! {
            p { "A new session begins with a copy of the conversation; this one stays as it is. Both work in the same directory." }
            p.field {
                label for="fork-name" { "Name" }
                input #fork-name type="text" name="name" maxlength="80" autocomplete="off" placeholder="Made from this one's";
            }
        }))
    }
}

/// The fields of a simple schema; none where it is not an object of plain values.
pub(super) fn fields(name: &str, schema: &Value) -> Option<Markup> {
    let properties = schema.get("properties")?.as_object()?;
    let required: BTreeSet<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let fields: Vec<Markup> = properties
        .iter()
        .map(|(key, property)| field(&format!("{name}-{key}"), key, property, required.contains(key.as_str())))
        .collect::<Option<_>>()?;
    Some(html! { @for field in &fields { (field) } })
}

fn mode_option(mode: PermissionMode) -> Markup {
    let value = serde_json::to_value(mode).unwrap_or_default();
    let words = match mode {
        PermissionMode::Default => "Ask",
        PermissionMode::AcceptEdits => "Edit files without asking",
        PermissionMode::Plan => "Plan first",
        PermissionMode::Auto => "Let the CLI decide",
        PermissionMode::DontAsk => "Deny instead of asking",
        PermissionMode::BypassPermissions => "Never ask",
    };
    html! { option value=(value.as_str().unwrap_or_default()) { (words) } }
}

fn text_field(name: &str, label: &str, placeholder: &str) -> Markup {
    html! {
        p.field {
            label for={ "start-" (name) } { (label) }
            input type="text" id={ "start-" (name) } name=(name) placeholder=(placeholder) autocomplete="off";
        }
    }
}

fn check_field(name: &str, label: &str) -> Markup {
    html! {
        p.field.check {
            input type="checkbox" id={ "start-" (name) } name=(name);
            label for={ "start-" (name) } { (label) }
        }
    }
}

fn number_field(name: &str, label: &str, step: &str) -> Markup {
    html! {
        p.field {
            label for={ "start-" (name) } { (label) }
            input type="number" id={ "start-" (name) } name=(name) min="0" step=(step) inputmode="decimal" placeholder="No limit";
        }
    }
}

fn branch_dialog(what: &str, title: &str, verb: &str, action: &str, more: Markup) -> Markup {
    let title_id = format!("{what}-title");
    html! {
        dialog id={ (what) "-dialog" } aria-labelledby=(title_id) {
            form data-branch=(what) data-action=(action) novalidate {
                h2 id=(title_id) { (title) }
                p.from hidden {}
                (more)
                p.field {
                    label for={ (what) "-dialog-instruction" } { "What to do" }
                    textarea id={ (what) "-dialog-instruction" } name="instruction" rows="3" placeholder="May be left empty: it goes on" {}
                }
                input type="hidden" name="at" value="";
                p.buttons {
                    button.primary type="submit" { (verb) }
                    button type="button" data-close { "Close" }
                }
                p.problem role="alert" hidden {}
            }
        }
    }
}

fn field(id: &str, key: &str, property: &Value, required: bool) -> Option<Markup> {
    let text = |name: &str| property.get(name).and_then(Value::as_str);
    let title = visible(text("title").unwrap_or(key));
    let hint = text("description").map(visible);
    let kind = text("type")?;
    let control = match (kind, options(property)) {
        ("string", Some(options)) => select(id, key, &options, required),
        ("string", None) => plain_input(id, key, "text", property, required),
        ("integer" | "number", _) => plain_input(id, key, "number", property, required),
        ("boolean", _) => return Some(checkbox(id, key, &title, hint.as_deref(), property)),
        _ => return None,
    };
    Some(html! {
        p.field {
            label for=(id) { (title) @if required { span.hint { " (needed)" } } }
            (control)
            @if let Some(hint) = &hint { span.hint { (hint) } }
        }
    })
}

/// The values of an enumeration with their names.
fn options(property: &Value) -> Option<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        let names = property.get("enumNames").and_then(Value::as_array);
        let name = |place: usize| names.and_then(|names| names.get(place)).and_then(text);
        let pair = |(place, value)| text(value).map(|value| (name(place).unwrap_or_else(|| value.clone()), value));
        return values
            .iter()
            .enumerate()
            .map(pair)
            .map(|pair| pair.map(|(name, value)| (value, name)))
            .collect();
    }
    let values = property.get("oneOf").and_then(Value::as_array)?;
    let pair = |one: &Value| {
        let value = text(one.get("const")?)?;
        let name = one.get("title").and_then(text).unwrap_or_else(|| value.clone());
        Some((value, name))
    };
    values.iter().map(pair).collect()
}

fn select(id: &str, key: &str, options: &[(String, String)], required: bool) -> Markup {
    html! {
        select id=(id) name=(key) data-type="string" required[required] {
            @if !required { option value="" { "—" } }
            @for (value, name) in options { option value=(value) { (visible(name)) } }
        }
    }
}

fn plain_input(id: &str, key: &str, kind: &str, property: &Value, required: bool) -> Markup {
    let default = property.get("default").map(|value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    html! {
        input type=(kind) id=(id) name=(key) data-type=(kind) required[required] step=[(kind == "number").then_some("any")]
            value=[default] autocomplete="off";
    }
}

fn checkbox(id: &str, key: &str, title: &str, hint: Option<&str>, property: &Value) -> Markup {
    let is_on = property.get("default").and_then(Value::as_bool).unwrap_or(false);
    html! {
        p.field.check {
            input type="checkbox" id=(id) name=(key) data-type="boolean" checked[is_on];
            label for=(id) { (title) @if let Some(hint) = hint { span.hint { (hint) } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_simple_schema_becomes_fields() {
        let schema = json!({
            "properties": {
                "name": {"type": "string", "title": "Your <name>", "default": "Bob"},
                "size": {"type": "string", "enum": ["s", "l"], "enumNames": ["Small", "Large"]},
                "count": {"type": "integer"},
                "sure": {"type": "boolean", "default": true},
            },
            "required": ["name"],
        });
        let html = fields("f", &schema).unwrap().into_string();
        assert!(
            html.contains("Your &lt;name&gt;") && html.contains("value=\"Bob\""),
            "{html}"
        );
        assert!(html.contains("<option value=\"l\">Large</option>"), "{html}");
        assert!(html.contains("type=\"number\"") && html.contains("checked"), "{html}");
        assert_eq!(html.matches(" required").count(), 1, "{html}");
    }

    #[test]
    fn a_schema_that_is_not_simple_is_left_to_json() {
        assert!(fields("f", &json!({"properties": {"a": {"type": "array"}}})).is_none());
        assert!(fields("f", &json!({"type": "object"})).is_none());
    }

    #[test]
    fn every_permission_mode_can_be_chosen() {
        let html = start(&["/w".to_owned()]).into_string();
        for mode in ["default", "acceptEdits", "plan", "auto", "dontAsk", "bypassPermissions"] {
            assert!(html.contains(&format!("value=\"{mode}\"")), "{mode}");
        }
        assert!(html.contains("value=\"/w\""));
    }
}
