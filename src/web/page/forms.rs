//! Forms: to start a run, to go on with an ended one, to copy one, and those that an MCP server describes by a schema.
//!
//! A script sends them as JSON, so that a refusal is shown beside the field and nothing that was typed is lost.

use maud::{Markup, html};
use serde_json::Value;

use super::text::visible;
use super::words;
use crate::session::form::{self, Field, FieldKind, Offer};
use crate::session::outcome::{Cause, Outcome};
use crate::session::request::PermissionMode;
use crate::session::summary::Summary;

/// What a field says that sets no limit.
const NO_LIMIT: &str = "No limit";

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
                (number_field("start", "max_turns", "Maximum turns", "1", NO_LIMIT))
                (number_field("start", "max_budget_usd", "Maximum cost, USD", "any", NO_LIMIT))
                (number_field("start", "timeout_minutes", "Maximum minutes at work", "1", NO_LIMIT))
            }
            p.field {
                label for="start-background" { "Background shells at the end" }
                select #start-background name="background_shells" {
                    option value="" { "End them after 60 s" }
                    option value="wait" { "Wait for them" }
                    option value="keep" { "Keep them running" }
                }
            }
            (check_field("clarify", "Check the task first, and ask me if it is unclear"))
            (check_field("executor_tools", "Let the agent start and follow sessions of this daemon"))
        }
    }
}

/// The form that goes on with an ended session.
pub(super) fn resume(summary: &Summary) -> Markup {
    let id = summary.session_id;
    html! {
        form #resume-form data-resume data-action={ "/api/sessions/" (id) "/resume" } novalidate {
            p.field {
                label for="resume-instruction" { "Go on with this session" }
                textarea #resume-instruction name="instruction" rows="2" placeholder="What to do next (may be left empty)" {}
            }
            (limits("resume", summary))
            p.buttons { button.primary type="submit" { "Resume" } }
            p.problem role="alert" hidden {}
        }
    }
}

/// Fields for new limits of a resume. They are open where a limit has ended the session.
fn limits(form: &str, summary: &Summary) -> Markup {
    let now = summary.limits.unwrap_or_default();
    // Rows of earlier versions do not say what the request set.
    let none = summary.limits.map_or("As before", |_| NO_LIMIT);
    let again = |limit: Option<String>| limit.unwrap_or_else(|| none.to_owned());
    let turns = again(now.max_turns.map(|turns| format!("{turns} more")));
    let money = again(now.max_budget_usd.map(|most| format!("{} in all", words::usd(most))));
    let minutes = again(
        now.timeout_seconds
            .map(|seconds| format!("{} more", seconds.div_ceil(60))),
    );
    html! {
        details open[is_limited(summary)] {
            summary { "New limits" }
            div.row {
                (number_field(form, "max_turns", "Maximum turns from now on", "1", &turns))
                (number_field(form, "max_budget_usd", "Maximum cost in all, USD", "any", &money))
                (number_field(form, "timeout_minutes", "Maximum minutes from now on", "1", &minutes))
            }
            p.hint {
                "If you leave a field empty, the session gets as many turns or minutes again. Money counts over the whole \
                 session: raise a budget that is spent."
            }
        }
    }
}

fn is_limited(summary: &Summary) -> bool {
    match summary.lifecycle.state.outcome() {
        Some(Outcome::TimedOut) => true,
        Some(Outcome::Failed { cause }) => matches!(cause, Cause::MaxTurns | Cause::Budget),
        Some(Outcome::Completed | Outcome::Cancelled) | None => false,
    }
}

/// The dialogs of a session's page: to confirm a cancel, and to go on from a checkpoint.
pub(super) fn dialogs(summary: &Summary) -> Markup {
    let id = summary.session_id;
    let name = visible(&summary.name);
    html! {
        dialog #cancel-dialog aria-labelledby="cancel-title" {
            form data-cancel data-action={ "/api/sessions/" (id) "/cancel" } novalidate {
                h2 #cancel-title { "Cancel this session?" }
                p.hint { (name) }
                p { "Its agent is ended. What it has written is kept, and the session can be resumed." }
                p.buttons {
                    button.danger type="submit" { "Cancel the session" }
                    button type="button" data-close { "Keep it running" }
                }
                p.problem role="alert" hidden {}
            }
        }
        (branch_dialog("resume", "Resume from a checkpoint", "Resume", &format!("/api/sessions/{id}/resume"), html! {
            p.hint { (name) }
            p { "The conversation is cut back to this checkpoint; files in the directory stay as they are now." }
            (limits("resume-dialog", summary))
        }))
        (branch_dialog("fork", "Fork the session", "Fork", &format!("/api/sessions/{id}/fork"), html! {
            p.hint { (name) }
            p { "A new session begins with a copy of the conversation; this one stays as it is. Both work in the same directory." }
            p.field {
                label for="fork-name" { "Name" }
                input #fork-name type="text" name="name" maxlength="80" autocomplete="off" placeholder="Made from this one's";
            }
        }))
    }
}

/// The fields of a simple schema; none where it is not an object of plain values.
pub(super) fn fields(name: &str, schema: &Value, order: &[String]) -> Option<Markup> {
    let fields = form::fields(schema, order)?;
    Some(html! { @for one in &fields { (field(&format!("{name}-{}", one.key), one)) } })
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

fn number_field(form: &str, name: &str, label: &str, step: &str, placeholder: &str) -> Markup {
    let id = format!("{form}-{name}");
    html! {
        p.field {
            label for=(id) { (label) }
            input type="number" id=(id) name=(name) min="0" step=(step) inputmode="decimal" placeholder=(placeholder);
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

fn field(id: &str, field: &Field<'_>) -> Markup {
    let control = match &field.kind {
        FieldKind::Text => input(id, field, "text"),
        FieldKind::Integer | FieldKind::Number => input(id, field, "number"),
        FieldKind::Boolean => return checkbox(id, field),
        FieldKind::One(offers) => select(id, field, offers, false),
        FieldKind::Many(offers) => select(id, field, offers, true),
    };
    html! {
        p.field {
            label for=(id) { (visible(field.title)) @if field.required { span.hint { " (needed)" } } }
            (control)
            (hint(field))
        }
    }
}

fn select(id: &str, field: &Field<'_>, offers: &[Offer], many: bool) -> Markup {
    let is_chosen = |value: &str| match field.default {
        Some(Value::Array(values)) => values.iter().any(|one| one == value),
        Some(one) => one == value,
        None => false,
    };
    let kind = if many { "array" } else { "string" };
    html! {
        select id=(id) name=(field.key) data-type=(kind) multiple[many] required[field.required] {
            @if !many && !field.required { option value="" { "—" } }
            @for offer in offers {
                option value=(offer.value) selected[is_chosen(&offer.value)] { (visible(&offer.title)) }
            }
        }
    }
}

fn input(id: &str, field: &Field<'_>, kind: &str) -> Markup {
    let default = field.default.map(|value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    html! {
        input type=(kind) id=(id) name=(field.key) data-type=(kind) required[field.required]
            step=[(kind == "number").then_some("any")] value=[default] autocomplete="off";
    }
}

fn checkbox(id: &str, field: &Field<'_>) -> Markup {
    let is_on = field.default.and_then(Value::as_bool).unwrap_or(false);
    html! {
        p.field.check {
            input type="checkbox" id=(id) name=(field.key) data-type="boolean" checked[is_on];
            label for=(id) { (visible(field.title)) (hint(field)) }
        }
    }
}

fn hint(field: &Field<'_>) -> Markup {
    html! { @if let Some(hint) = field.hint { span.hint { (visible(hint)) } } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::Created;
    use crate::session::request::Request;
    use serde_json::json;

    #[test]
    fn a_simple_schema_becomes_fields() {
        let sizes = json!(["s", "l"]);
        let schema = json!({
            "properties": {
                "name": {"type": "string", "title": "Your <name>", "default": "Bob"},
                "size": {"type": "string", "enum": sizes, "enumNames": ["Small", "Large"], "default": "l"},
                "sizes": {"type": "array", "items": {"enum": sizes}, "default": ["s"]},
                "count": {"type": "integer"},
                "sure": {"type": "boolean", "default": true},
            },
            "required": ["name"],
        });
        let html = fields("f", &schema, &["size".to_owned()]).unwrap().into_string();
        assert!(
            html.contains("Your &lt;name&gt;") && html.contains("value=\"Bob\""),
            "{html}"
        );
        assert!(html.contains("<option value=\"l\" selected>Large</option>"), "{html}");
        assert!(
            html.contains("multiple") && html.contains("<option value=\"s\" selected>s</option>"),
            "{html}"
        );
        assert!(html.find("Large") < html.find("Your"), "in the order asked for: {html}");
        assert!(html.contains("type=\"number\"") && html.contains("checked"), "{html}");
        assert_eq!(html.matches(" required").count(), 1, "{html}");
    }

    #[test]
    fn every_dialog_names_its_session() {
        let created = Created {
            request: Request {
                task: "t".into(),
                name: Some("tidy <up>".into()),
                ..Request::default()
            },
            by: "a test".into(),
            claim: None,
            project: None,
        };
        let summary = Summary::new(SessionId::new(), &created, jiff::Timestamp::UNIX_EPOCH);
        let html = dialogs(&summary).into_string();
        assert_eq!(
            html.matches("<dialog").count(),
            html.matches("tidy &lt;up&gt;").count(),
            "{html}"
        );
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
