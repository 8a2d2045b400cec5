//! What a tool is called with, in the form a person reads best: commands as commands, edits as diffs, the rest as JSON.

use maud::{Markup, html};
use serde_json::Value;

use super::diff::{self, ChangeSize, Work};
use super::text::{TextRoom, exact, name, one_line};
use super::{code, markdown};
use crate::session::question::{TOUCHED, headline_of_input};
use crate::session::telling::question as telling;

/// The most characters of an input in one line.
const HEADLINE_CHARS_MAX: usize = 160;

/// A change of a file that a tool would make: the path, and each text with what replaces it.
struct Edit<'a> {
    path: &'a str,
    replacements: Vec<(&'a str, &'a str)>,
    everywhere: bool,
}

/// The whole input of a tool.
pub(super) fn input(tool: &str, input: &Value, room: TextRoom<'_>) -> Markup {
    if let Some(edit) = edit(tool, input) {
        return edited(&edit, room);
    }
    match tool {
        "Bash" => command(input, room),
        "TodoWrite" => todos(input).unwrap_or_else(|| json(input, room)),
        "ExitPlanMode" => match text(input, "plan") {
            Some(plan) => html! { div.markdown { (markdown::render(room.cut(plan))) } (room.rest(plan)) },
            None => json(input, room),
        },
        _ => touched_first(input, room),
    }
}

/// What says what is touched, and then the rest.
fn touched_first(input: &Value, room: TextRoom<'_>) -> Markup {
    let touched: Vec<(&str, &str)> = TOUCHED
        .iter()
        .filter_map(|key| Some((*key, text(input, key)?)))
        .collect();
    if touched.is_empty() {
        return json(input, room);
    }
    let mut rest = input.clone();
    if let Some(fields) = rest.as_object_mut() {
        fields.retain(|key, _| !touched.iter().any(|(touched, _)| touched == key));
    }
    html! {
        @for (key, value) in &touched {
            p.path { (key) ": " code { (name(room.cut(value))) } }
            (room.rest(value))
        }
        @if rest.as_object().is_some_and(|fields| !fields.is_empty()) { (json(&rest, room)) }
    }
}

/// The input in one line.
pub(super) fn headline(tool: &str, input: &Value) -> String {
    let told = match tool {
        "TodoWrite" => progress(input),
        "AskUserQuestion" => questions(input),
        "ExitPlanMode" => text(input, "plan").map(|plan| one_line(plan, HEADLINE_CHARS_MAX)),
        _ => None,
    };
    told.unwrap_or_else(|| exact(&headline_of_input(input)))
}

/// How much an editing tool changes; none for other tools.
pub(super) fn size(tool: &str, input: &Value) -> Option<ChangeSize> {
    let edit = edit(tool, input)?;
    let mut work = Work::of_input();
    let replacements = edit.replacements.iter();
    let sizes = replacements.map(|(old, new)| diff::size(old, new, &mut work));
    Some(sizes.fold(ChangeSize::default(), |sum, size| ChangeSize {
        added: sum.added + size.added,
        removed: sum.removed + size.removed,
    }))
}

/// Any JSON, laid out.
pub(super) fn json(value: &Value, room: TextRoom<'_>) -> Markup {
    let text = telling::pretty(value);
    html! {
        (code::block(room.cut(&text), "json"))
        (room.rest(&text))
    }
}

fn edit<'a>(tool: &str, input: &'a Value) -> Option<Edit<'a>> {
    let path = text(input, "file_path").or_else(|| text(input, "notebook_path"))?;
    let replacements = match tool {
        "Edit" => vec![replacement(input)?],
        "MultiEdit" => {
            let edits = input.get("edits")?.as_array()?;
            edits.iter().map(replacement).collect::<Option<_>>()?
        }
        "Write" => vec![("", text(input, "content")?)],
        "NotebookEdit" => vec![("", text(input, "new_source")?)],
        _ => return None,
    };
    let everywhere = input.get("replace_all").and_then(Value::as_bool).unwrap_or(false);
    Some(Edit {
        path,
        replacements,
        everywhere,
    })
}

fn replacement(edit: &Value) -> Option<(&str, &str)> {
    Some((text(edit, "old_string")?, text(edit, "new_string")?))
}

fn text<'a>(input: &'a Value, key: &str) -> Option<&'a str> {
    input.get(key)?.as_str()
}

fn edited(edit: &Edit<'_>, room: TextRoom<'_>) -> Markup {
    let mut work = Work::of_input();
    html! {
        p.path { code { (name(edit.path)) } @if edit.everywhere { " (every occurrence)" } }
        @for (old, new) in &edit.replacements {
            (diff::lines(old, new, room, &mut work))
        }
    }
}

fn command(input: &Value, room: TextRoom<'_>) -> Markup {
    let Some(command) = text(input, "command") else {
        return json(input, room);
    };
    let others: serde_json::Map<String, Value> = input
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !matches!(key.as_str(), "command" | "description"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    html! {
        pre.code.command { code { (code::marked(room.cut(command), "sh")) } }
        (room.rest(command))
        @if let Some(description) = text(input, "description") { p.description { (exact(description)) } }
        @if !others.is_empty() { (json(&Value::Object(others), room)) }
    }
}

/// `2 of 5 done: what is being done`.
fn progress(input: &Value) -> Option<String> {
    let todos = input.get("todos")?.as_array()?;
    let with = |status: &'static str| todos.iter().filter(move |todo| text(todo, "status") == Some(status));
    let done = format!("{} of {} done", with("completed").count(), todos.len());
    let now = with("in_progress").find_map(|todo| text(todo, "content"));
    Some(now.map_or_else(
        || done.clone(),
        |now| format!("{done}: {}", one_line(now, HEADLINE_CHARS_MAX)),
    ))
}

fn questions(input: &Value) -> Option<String> {
    let questions = input.get("questions")?.as_array()?;
    let texts: Vec<&str> = questions
        .iter()
        .map(|one| text(one, "question"))
        .collect::<Option<_>>()?;
    Some(one_line(&texts.join(" / "), HEADLINE_CHARS_MAX))
}

fn todos(input: &Value) -> Option<Markup> {
    let todos = input.get("todos")?.as_array()?;
    let item = |todo: &Value| Some((text(todo, "status")?.to_owned(), exact(text(todo, "content")?)));
    let items: Vec<(String, String)> = todos.iter().map(item).collect::<Option<_>>()?;
    Some(html! {
        ul.todos {
            @for (status, content) in &items {
                li data-status=(status) {
                    span.mark aria-hidden="true" { (mark(status)) } " " (content)
                    span.visually-hidden { " (" (status.replace('_', " ")) ")" }
                }
            }
        }
    })
}

fn mark(status: &str) -> &'static str {
    match status {
        "completed" => "✓",
        "in_progress" => "▸",
        _ => "○",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_edit_is_a_diff() {
        let given = json!({"file_path": "/w/a.rs", "old_string": "a\n", "new_string": "b\n"});
        let html = input("Edit", &given, TextRoom::WHOLE).into_string();
        assert!(html.contains("<del>- a") && html.contains("<ins>+ b"), "{html}");
        assert_eq!(size("Edit", &given), Some(ChangeSize { added: 1, removed: 1 }));
    }

    #[test]
    fn all_parts_of_a_change_are_shown() {
        let edits = json!([{"old_string": "a", "new_string": "b"}, {"old_string": "c", "new_string": "d"}]);
        let html = input(
            "MultiEdit",
            &json!({"file_path": "/x", "edits": edits}),
            TextRoom::WHOLE,
        )
        .into_string();
        assert_eq!(html.matches("<pre class=\"diff\">").count(), 2);
        let html = input(
            "Write",
            &json!({"file_path": "/x", "content": "1\n2\n"}),
            TextRoom::WHOLE,
        )
        .into_string();
        assert_eq!(html.matches("<ins>").count(), 2);
    }

    #[test]
    fn what_does_not_look_like_an_edit_is_shown_as_it_is() {
        for (tool, given) in [
            ("Edit", json!({"file_path": "/x", "more": 1})),
            ("Bash", json!({"cmd": "x"})),
            ("TodoWrite", json!({"todos": [1]})),
            ("mcp__x__y", json!({"a": [1, {"b": null}]})),
        ] {
            assert!(
                input(tool, &given, TextRoom::WHOLE)
                    .into_string()
                    .contains("<pre class=\"code\">"),
                "{tool}"
            );
        }
    }

    #[test]
    fn what_is_touched_stands_first() {
        let given = json!({"a": "x", "url": "https://e.example/\u{200b}\nurl: y"});
        let html = input("WebFetch", &given, TextRoom::WHOLE).into_string();
        let (touched, rest) = html.split_once("</p>").unwrap();
        assert_eq!(
            touched,
            "<p class=\"path\">url: <code>https://e.example/⟨U+200B⟩⟨U+000A⟩url: y</code>"
        );
        assert!(rest.contains("<pre class=\"code\">") && !rest.contains("url"), "{rest}");
    }

    #[test]
    fn a_line_says_what_matters() {
        let todos = json!([{"status": "completed", "content": "a"}, {"status": "in_progress", "content": "b"}]);
        assert_eq!(headline("TodoWrite", &json!({"todos": todos})), "1 of 2 done: b");
        assert_eq!(
            headline("AskUserQuestion", &json!({"questions": [{"question": "Why?"}]})),
            "Why?"
        );
        assert_eq!(headline("Bash", &json!({"command": "ls\nrm x"})), "ls…");
    }

    #[test]
    fn nothing_of_a_command_is_hidden() {
        let given = json!({"command": "echo \u{202e}hi\nrm -r x", "description": "Greets", "timeout": 5});
        let html = input("Bash", &given, TextRoom::WHOLE).into_string();
        assert!(
            html.contains("U+202E") && html.contains("Greets") && html.contains("timeout"),
            "{html}"
        );
    }
}
