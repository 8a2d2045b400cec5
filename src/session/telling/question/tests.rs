//! Reads questions back from their lines.

use proptest::prelude::*;
use serde_json::{Map, Number};

use super::*;
use crate::session::question::ChoiceOption;

/// The question that these lines tell; without its suggestions.
#[track_caller]
pub(crate) fn read_back(lines: &[String]) -> QuestionKind {
    let first = lines.first().map(String::as_str).unwrap_or_default();
    let rest = lines.get(1..).unwrap_or_default();
    if let Some(tool) = first.strip_prefix("The agent wants to use ") {
        read_permission(tool, rest)
    } else if first.starts_with("The agent has a plan") {
        read_plan(first, rest)
    } else if let Some(server) = first.strip_prefix("The MCP server ") {
        read_form(server, rest)
    } else {
        read_choice(lines)
    }
}

fn read_permission(tool: &str, lines: &[String]) -> QuestionKind {
    let tool = tool.strip_suffix(':').expect("a colon");
    let name = tool
        .match_indices(" (the tool ")
        .map(|(at, _)| &tool[..at])
        .find(|name| tool_in_words(&visible::read(name)) == tool)
        .unwrap_or(tool);
    let (lines, reason) = match lines.split_last() {
        Some((last, lines)) if last.starts_with('(') => (lines, Some(visible::read(&last[1..last.len() - 1]))),
        _ => (lines, None),
    };
    QuestionKind::Permission {
        tool: visible::read(name),
        input: read_fields(lines),
        reason,
        suggestions: Vec::new(),
    }
}

/// Groups of lines: one with its further lines.
fn groups(lines: &[String]) -> Vec<Vec<&str>> {
    let mut groups: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        match (line.strip_prefix(INSIDE), groups.last_mut()) {
            (Some(inside), Some(group)) => group.push(inside),
            _ => groups.push(vec![line]),
        }
    }
    groups
}

fn read_fields(lines: &[String]) -> Value {
    let mut fields = Map::new();
    for group in groups(lines) {
        let first = group[0].strip_prefix("  ").expect("an indent");
        let further = &group[1..];
        if let Some(json) = first.strip_prefix("= ") {
            return read_json(json, further);
        }
        let (name, rest) = read_name(first);
        let value = match (rest.strip_prefix(": "), rest.strip_prefix(" = ")) {
            (Some(text), _) => {
                let parts: Vec<&str> = std::iter::once(text).chain(further.iter().copied()).collect();
                Value::from(visible::read(&parts.join("\n")))
            }
            (None, Some(json)) => read_json(json, further),
            (None, None) => panic!("no field: {first:?}"),
        };
        assert!(fields.insert(name, value).is_none(), "a field stands twice");
    }
    Value::Object(fields)
}

fn read_name(line: &str) -> (String, &str) {
    if line.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(line).into_iter::<String>();
        let name = names.next().unwrap().unwrap();
        return (name, &line[names.byte_offset()..]);
    }
    let end = line.find([':', ' ']).expect("an end of the name");
    (line[..end].to_owned(), &line[end..])
}

fn read_json(first: &str, further: &[&str]) -> Value {
    let text: Vec<&str> = std::iter::once(first).chain(further.iter().copied()).collect();
    serde_json::from_str(&text.join("\n")).unwrap()
}

fn read_plan(first: &str, lines: &[String]) -> QuestionKind {
    const WHOLE: &str = "The whole input of the tool:";
    let (plan, input) = match lines.iter().position(|line| line == WHOLE) {
        Some(at) => (&lines[..at], Some(read_fields(&lines[at + 1..]))),
        None => (lines, None),
    };
    let plan = first.ends_with("plan:").then(|| {
        let parts: Vec<&str> = plan.iter().map(|line| line.strip_prefix("  ").unwrap()).collect();
        visible::read(&parts.join("\n"))
    });
    let usual = plan.as_ref().map_or_else(|| json!({}), |plan| json!({"plan": plan}));
    QuestionKind::Plan {
        plan,
        input: input.unwrap_or(usual),
    }
}

fn read_form(first: &str, lines: &[String]) -> QuestionKind {
    let (mut schema, mut order) = (Value::Null, Vec::new());
    let (mut url, mut message) = (None, Vec::new());
    let is_url = first.ends_with(" asks you to open:");
    for line in lines {
        if let Some(json) = line.strip_prefix("The schema of the form: ") {
            schema = serde_json::from_str(json).unwrap();
        } else if let Some(json) = line.strip_prefix("The order of its fields: ") {
            order = serde_json::from_str(json).unwrap();
        } else if let Some(text) = line.strip_prefix("  ") {
            match is_url && url.is_none() {
                true => url = Some(visible::read(text)),
                false => message.push(text),
            }
        }
    }
    let server = first.strip_suffix(if is_url { " asks you to open:" } else { " asks:" });
    QuestionKind::Form {
        server: visible::read(server.unwrap()),
        message: visible::read(&message.join("\n")),
        schema,
        order,
        url,
    }
}

fn read_choice(lines: &[String]) -> QuestionKind {
    let rest = lines.iter().position(|line| line == "The rest of the tool's input:");
    let whole = lines.iter().position(|line| line == "The whole input of the tool:");
    let shown = &lines[..rest.or(whole).unwrap_or(lines.len())];
    let questions = read_questions(shown);
    let input = match (rest, whole) {
        (Some(at), _) => {
            let mut input = read_fields(&lines[at + 1..]);
            input["questions"] = json!(questions);
            input
        }
        (None, Some(at)) => read_fields(&lines[at + 1..]),
        (None, None) => json!({"questions": questions}),
    };
    QuestionKind::Choice { questions, input }
}

fn read_questions(lines: &[String]) -> Vec<Choice> {
    let mut questions: Vec<Choice> = Vec::new();
    let join = |text: &mut String, more: &str, begun: bool| {
        if begun {
            text.push('\n');
        }
        text.push_str(&visible::read(more));
    };
    let mut described = false;
    for line in lines {
        if let Some(question) = line.strip_prefix("? ") {
            questions.push(Choice {
                question: visible::read(question),
                header: String::new(),
                options: Vec::new(),
                multi_select: false,
            });
            continue;
        }
        let choice = questions.last_mut().expect("a question");
        if let Some(more) = line.strip_prefix("  │ ") {
            join(&mut choice.question, more, true);
        } else if let Some(header) = line.strip_prefix("  (") {
            choice.header = visible::read(header.strip_suffix(')').unwrap());
        } else if line == "  [several may be chosen]" {
            choice.multi_select = true;
        } else if let Some(more) = line.strip_prefix("     ") {
            let option = choice.options.last_mut().expect("an option");
            join(&mut option.description, more, described);
            described = true;
        } else {
            let (_, label) = line.split_once(". ").expect("an option");
            described = false;
            choice.options.push(ChoiceOption {
                label: visible::read(label),
                description: String::new(),
            });
        }
    }
    questions
}

/// Any text, with much in it that looks like our own lines and marks.
pub(crate) fn any_text() -> impl Strategy<Value = String> + Clone {
    let odd = prop_oneof![
        any::<char>().prop_map(String::from),
        prop::sample::select(vec![
            "\n",
            "\n  ",
            "\n    ",
            "\n     ",
            "? ",
            "  1. ",
            "command: ls",
            " = ",
            ": ",
            "\\",
            "\\u{202e}",
            "⟨U+202E⟩",
            "⟨",
            "\u{202e}",
            "\u{200d}",
            "\u{ad}",
            "\u{1b}[8m",
            "\r\n",
            "\t",
            "\"",
            "(",
            ")",
            ":",
            "The whole input of the tool:",
            " asks:",
            " (the tool ",
            "mcp__a__b",
            "<b>",
            "</pre>",
            "&lt;",
            "\0",
            "rm -rf x",
            "│ ",
            "",
            "#",
            "`",
            "*",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(odd, 0..12).prop_map(|parts| parts.concat())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |n| Number::from_f64(n).map(Value::from)),
        any_text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            any_fields(inner),
        ]
    })
}

fn any_fields(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        prop::sample::select(vec![
            "command",
            "file_path",
            "url",
            "content",
            "old_string",
            "plan",
            "questions"
        ])
        .prop_map(str::to_owned),
        any_text(),
    ];
    prop::collection::btree_map(names, inner, 0..5).prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn any_input() -> impl Strategy<Value = Value> {
    prop_oneof![4 => any_fields(any_value()), 1 => any_value()]
}

fn any_choices() -> impl Strategy<Value = Vec<Choice>> {
    let option = (any_text(), any_text()).prop_map(|(label, description)| ChoiceOption { label, description });
    let choice = (
        any_text(),
        any_text(),
        prop::collection::vec(option, 0..4),
        any::<bool>(),
    );
    let choice = choice.prop_map(|(question, header, options, multi_select)| Choice {
        question,
        header,
        options,
        multi_select,
    });
    prop::collection::vec(choice, 1..4)
}

/// A question of any kind.
pub(crate) fn any_question() -> impl Strategy<Value = QuestionKind> {
    let tools = prop_oneof![
        prop::sample::select(vec!["Bash", "Write", "Edit", "MultiEdit", "mcp__a__b"]).prop_map(str::to_owned),
        any_text()
    ];
    let permission = (tools, any_input(), prop::option::of(any_text()));
    let plan = (prop::option::of(any_text()), any_input(), any::<bool>());
    let choices = (any_choices(), any_input(), 0..3);
    let order = prop::collection::vec(any_text(), 0..3);
    let form = (any_text(), any_text(), any_input(), order, prop::option::of(any_text()));
    prop_oneof![
        permission.prop_map(|(tool, input, reason)| QuestionKind::Permission {
            tool,
            input,
            reason,
            suggestions: Vec::new(),
        }),
        plan.prop_map(|(plan, input, is_usual)| QuestionKind::Plan {
            input: match (&plan, is_usual) {
                (Some(plan), true) => json!({"plan": plan}),
                _ => input,
            },
            plan,
        }),
        choices.prop_map(|(questions, mut input, how)| {
            match how {
                0 => input = json!({"questions": questions}),
                1 if input.is_object() => input["questions"] = json!(questions),
                _ => {}
            }
            QuestionKind::Choice { questions, input }
        }),
        form.prop_map(|(server, message, schema, order, url)| QuestionKind::Form {
            server,
            message,
            schema,
            order,
            url,
        }),
    ]
}

#[test]
fn what_is_touched_stands_first_and_no_text_begins_a_line_of_its_own() {
    let kind = QuestionKind::Permission {
        tool: "Bash\n  command: ls".into(),
        input: json!({"a": "first\n  command: ls", "command": "rm \u{1b}[8m-rf\u{1b}[0m /", "b\n  command: x": 5}),
        reason: Some("not in\n  command: ls".into()),
        suggestions: Vec::new(),
    };
    insta::assert_snapshot!(lines_of(&kind).opened().join("\n"), @r#"
    The agent wants to use Bash⟨U+000A⟩  command: ls:
      command: rm ⟨U+001B⟩[8m-rf⟨U+001B⟩[0m /
      a: first
          command: ls
      "b\n  command: x" = 5
    (not in⟨U+000A⟩  command: ls)
    "#);
}

#[test]
fn a_tool_of_a_server_is_named_with_its_server() {
    assert_eq!(tool_in_words("Bash"), "Bash");
    assert_eq!(
        tool_in_words("mcp__files__write"),
        "mcp__files__write (the tool write of the MCP server files)"
    );
}

#[test]
fn a_usual_question_has_nothing_to_open() {
    let questions = json!([{"question": "Which?", "header": "H", "multiSelect": false,
        "options": [{"label": "a", "description": "b"}]}]);
    let kinds = [
        json!({"ask": "choice", "questions": questions, "input": {"questions": questions}}),
        json!({"ask": "plan", "plan": "1. look", "input": {"plan": "1. look"}}),
        json!({"ask": "plan", "input": {}}),
        json!({"ask": "form", "server": "s", "message": "m", "schema": null, "url": "https://e.example"}),
        json!({"ask": "permission", "tool": "Bash", "input": {"command": "ls"}}),
    ];
    for kind in kinds {
        let told = lines_of(&serde_json::from_value(kind.clone()).unwrap());
        assert!(told.more.is_empty(), "{kind}: {told:?}");
    }
}

proptest! {
    #[test]
    fn a_question_is_read_back_from_its_lines(kind in any_question()) {
        let lines = lines_of(&kind).opened();
        for line in &lines {
            prop_assert!(!line.contains(|c| visible::is_hidden(c) && c != '\t'), "{line:?}");
        }
        prop_assert_eq!(read_back(&lines), kind, "{}", lines.join("\n"));
    }
}
