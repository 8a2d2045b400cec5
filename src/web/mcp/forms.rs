//! Questions as forms: what a client shows a person, and what the filled form means.

use std::collections::BTreeMap;

use rmcp::model::{ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::session::grant::{Pick, Suggestion};
use crate::session::question::{Answer, AnswerMismatch, Choice, Question, QuestionKind};
use crate::session::summary::{Summary, cut};

/// How much of a tool's input or of a plan a form shows, in bytes.
const SHOWN_BYTES_MAX: usize = 8 * 1024;

/// How the fields begin by which a right is granted.
const GRANT_FIELD: &str = "grant_";

/// Maximum bytes of a session's name in a form.
const NAME_BYTES_MAX: usize = 120;

/// What a person wants to be done about a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// This is the answer.
    Answer(Answer),
    /// Nothing for now: the question waits, for whoever answers it elsewhere.
    Later,
}

/// The session that asks, as a form names it: a person may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker(String);

impl Asker {
    /// Names a session.
    pub(super) fn of(summary: &Summary) -> Self {
        let (id, name) = (summary.session_id.short(), cut(&summary.name, NAME_BYTES_MAX));
        Self(format!("Session {id} \"{name}\" in {}", summary.cwd.display()))
    }
}

/// The form for a question.
pub(super) fn form(asker: &Asker, question: &Question) -> ElicitRequestParams {
    let (message, fields) = match &question.kind {
        QuestionKind::Permission {
            tool, input, reason, ..
        } => {
            let why = reason.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
            (
                format!("Claude asks to use {tool}{why}:\n{}", shown(input)),
                permission(&question.kind.offers()),
            )
        }
        QuestionKind::Plan { plan, input } => {
            let plan = plan.clone().unwrap_or_else(|| shown(input));
            (
                format!("Claude asks you to approve its plan:\n{}", cut(&plan, SHOWN_BYTES_MAX)),
                permission(&[]),
            )
        }
        QuestionKind::Choice { questions, .. } => (message_of_choice(questions), choices(questions)),
        QuestionKind::Form {
            server,
            message,
            schema,
            order: _,
        } => (format!("{server}: {message}"), schema.clone()),
    };
    let schema = serde_json::from_value(fields).unwrap_or_else(|_| free_text());
    ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: format!("{}\n{message}", asker.0),
        requested_schema: schema,
    }
}

/// What the filled form says. Declining is a no that the agent is told of; cancelling decides nothing.
pub(super) fn reply(question: &Question, result: &ElicitResult) -> Result<Reply, AnswerMismatch> {
    let answer = match result.action {
        ElicitationAction::Accept => accepted(&question.kind, result.content.as_ref().unwrap_or(&Value::Null))?,
        ElicitationAction::Decline => deny(None),
        // Cancelled, or whatever else may come: nothing is decided.
        _ => return Ok(Reply::Later),
    };
    question.kind.check(&answer)?;
    Ok(Reply::Answer(answer))
}

fn accepted(kind: &QuestionKind, content: &Value) -> Result<Answer, AnswerMismatch> {
    match kind {
        QuestionKind::Permission { .. } | QuestionKind::Plan { .. } => match content["decision"].as_str() {
            Some("allow") => Ok(Answer::Allow {
                updated_input: None,
                remember: false,
                grant: granted(&kind.offers(), content),
            }),
            Some("deny") => Ok(deny(text_of(&content["reason"]))),
            _ => Err(AnswerMismatch::NeedsYesOrNo),
        },
        QuestionKind::Choice { questions, .. } => Ok(Answer::Choose {
            answers: chosen(questions, content),
        }),
        QuestionKind::Form { schema, .. } => Ok(Answer::Submit {
            content: submitted(schema, content),
        }),
    }
}

fn deny(reason: Option<String>) -> Answer {
    Answer::Deny {
        reason,
        interrupt: false,
    }
}

/// A form for yes or no, with a box for each right that can be granted along with a yes.
fn permission(offers: &[Suggestion]) -> Value {
    let mut fields = json!({
        "decision": {"type": "string", "title": "Decision", "oneOf": [
            {"const": "allow", "title": "Allow"},
            {"const": "deny", "title": "Deny"},
        ]},
        "reason": {"type": "string", "title": "Reason", "description": "Told to Claude when you deny"},
    });
    for (n, offer) in offers.iter().enumerate().filter(|(_, offer)| offer.grant.is_some()) {
        let title = "For the rest of this session";
        fields[grant_field(n, offer)] =
            json!({"type": "boolean", "title": title, "description": offer.words, "default": false});
    }
    json!({"type": "object", "properties": fields, "required": ["decision"]})
}

/// The field of an offer. Its name says which one it is: the question may be asked again with other suggestions while
/// somebody fills the form in.
fn grant_field(n: usize, offer: &Suggestion) -> String {
    let digest = Sha256::digest(&offer.words);
    let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{GRANT_FIELD}{}_{short}", n + 1)
}

/// The offers that were ticked. A field that no longer fits one names nothing that can be granted.
fn granted(offers: &[Suggestion], content: &Value) -> Vec<Pick> {
    let fields = content.as_object().into_iter().flatten();
    let ticked = fields.filter(|(name, value)| name.starts_with(GRANT_FIELD) && **value == true);
    let pick = |(name, _): (&String, &Value)| {
        let mut all = offers.iter().enumerate();
        let meant = all.find(|(n, offer)| grant_field(*n, offer) == *name);
        Pick::Words(meant.map_or_else(|| name.clone(), |(_, offer)| offer.words.clone()))
    };
    ticked.map(pick).collect()
}

fn message_of_choice(questions: &[Choice]) -> String {
    let lines = questions.iter().map(|choice| choice.question.as_str());
    format!("Claude asks:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// For each question a field `q1`, `q2`, … with its options, and one for words of one's own.
fn choices(questions: &[Choice]) -> Value {
    let mut fields = Map::new();
    let mut required = Vec::new();
    for (n, choice) in questions.iter().enumerate() {
        let name = field(n);
        let title = if choice.header.is_empty() {
            &choice.question
        } else {
            &choice.header
        };
        let base = json!({"title": title, "description": choice.question});
        if choice.options.is_empty() {
            fields.insert(name.clone(), with(base, json!({"type": "string"})));
            required.push(name);
            continue;
        }
        let options: Vec<Value> = choice.options.iter().map(option).collect();
        let kind = if choice.multi_select {
            json!({"type": "array", "items": {"anyOf": options}})
        } else {
            json!({"type": "string", "oneOf": options})
        };
        fields.insert(name.clone(), with(base, kind));
        let other = match choice.multi_select {
            true => format!("In your own words, beside the options of {title:?}"),
            false => format!("In your own words, instead of the options of {title:?}"),
        };
        fields.insert(
            format!("{name}_other"),
            json!({"type": "string", "title": "Other", "description": other}),
        );
    }
    json!({"type": "object", "properties": fields, "required": required})
}

fn option(option: &crate::session::question::ChoiceOption) -> Value {
    let title = match option.description.as_str() {
        "" => option.label.clone(),
        description => format!("{}: {description}", option.label),
    };
    json!({"const": option.label, "title": title})
}

fn chosen(questions: &[Choice], content: &Value) -> BTreeMap<String, String> {
    let one = |(n, choice): (usize, &Choice)| {
        let other = text_of(&content[format!("{}_other", field(n))]);
        let answer = match &content[field(n)] {
            Value::Array(labels) => {
                let said = labels.iter().filter_map(Value::as_str).map(str::to_owned).chain(other);
                said.collect::<Vec<_>>().join(", ")
            }
            label => other.or_else(|| text_of(label))?,
        };
        Some((choice.question.clone(), answer))
    };
    questions.iter().enumerate().filter_map(one).collect()
}

/// The content of another server's form; where a client could only be shown a text field, its text is that content.
fn submitted(schema: &Value, content: &Value) -> Value {
    let is_shown = serde_json::from_value::<ElicitationSchema>(schema.clone()).is_ok();
    match text_of(&content["content"]) {
        Some(text) if !is_shown => serde_json::from_str(&text).unwrap_or(Value::String(text)),
        _ => content.clone(),
    }
}

fn free_text() -> ElicitationSchema {
    let field = json!({"type": "string", "title": "Content", "description": "The form's content as JSON"});
    let schema = json!({"type": "object", "properties": {"content": field}, "required": ["content"]});
    serde_json::from_value(schema).unwrap_or_else(|_| ElicitationSchema::new(BTreeMap::new()))
}

fn field(n: usize) -> String {
    format!("q{}", n + 1)
}

fn with(mut base: Value, more: Value) -> Value {
    if let (Value::Object(base), Value::Object(more)) = (&mut base, more) {
        base.extend(more);
    }
    base
}

fn text_of(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// A tool's input as a person reads it.
fn shown(input: &Value) -> String {
    let whole = match input.get("command").and_then(Value::as_str) {
        Some(command) => command.to_owned(),
        None => serde_json::to_string_pretty(input).unwrap_or_default(),
    };
    cut(&whole, SHOWN_BYTES_MAX).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::QuestionId;

    fn ask(kind: Value) -> Question {
        let kind: QuestionKind = serde_json::from_value(kind).unwrap();
        Question {
            question_id: QuestionId(1),
            request_id: "r".into(),
            tool_use_id: None,
            kind,
        }
    }

    fn asker() -> Asker {
        Asker("Session 1234abcd \"tidy up\" in /w".to_owned())
    }

    fn fill(question: &Question, content: Value) -> Result<Reply, AnswerMismatch> {
        reply(
            question,
            &ElicitResult::new(ElicitationAction::Accept).with_content(content),
        )
    }

    fn choice() -> Question {
        ask(json!({"ask": "choice", "input": {}, "questions": [
            {"question": "Which colour?", "header": "Colour", "options": [{"label": "Red"}, {"label": "Blue", "description": "calm"}]},
            {"question": "Which sizes?", "multiSelect": true, "options": [{"label": "S"}, {"label": "L"}]},
        ]}))
    }

    #[test]
    fn a_choice_has_titled_options_and_takes_words_of_ones_own() {
        let shown = serde_json::to_value(form(&asker(), &choice())).unwrap();
        let fields = &shown["requestedSchema"]["properties"];
        assert_eq!(
            fields["q1"]["oneOf"][1],
            json!({"const": "Blue", "title": "Blue: calm"})
        );
        assert_eq!(fields["q2"]["type"], "array");
        let answers = |first: &str| {
            let answers = [("Which colour?", first), ("Which sizes?", "S, L")];
            Ok(Reply::Answer(Answer::Choose {
                answers: answers.map(|(q, a)| (q.into(), a.into())).into(),
            }))
        };
        assert_eq!(fill(&choice(), json!({"q1": "Red", "q2": ["S", "L"]})), answers("Red"));
        assert_eq!(
            fill(&choice(), json!({"q1_other": "green", "q2": ["S", "L"]})),
            answers("green")
        );
        assert!(fill(&choice(), json!({"q1": "Red"})).is_err(), "a question is left out");
        let said = |content: Value| match fill(&choice(), content) {
            Ok(Reply::Answer(Answer::Choose { answers })) => answers["Which sizes?"].clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(
            said(json!({"q1": "Red", "q2": ["S"], "q2_other": "huge"})),
            "S, huge",
            "beside the options"
        );
        assert_eq!(said(json!({"q1": "Red", "q2": [], "q2_other": "huge"})), "huge");
        assert_eq!(said(json!({"q1": "Red", "q2_other": "huge"})), "huge");
    }

    #[test]
    fn a_permission_is_allowed_denied_or_left() {
        let question =
            ask(json!({"ask": "permission", "tool": "Bash", "input": {"command": "ls"}, "suggestions": [{}]}));
        let no_box = serde_json::to_value(form(&asker(), &question)).unwrap()["requestedSchema"]["properties"].clone();
        assert_eq!(
            no_box.as_object().unwrap().len(),
            2,
            "what is not understood cannot be granted"
        );
        let shown = serde_json::to_value(form(&asker(), &question)).unwrap();
        assert_eq!(
            shown["message"],
            "Session 1234abcd \"tidy up\" in /w\nClaude asks to use Bash:\nls"
        );
        assert_eq!(
            fill(&question, json!({"decision": "allow", "remember": true})),
            Ok(Reply::Answer(Answer::allow()))
        );
        let denied = |reason: Option<&str>| Ok(Reply::Answer(deny(reason.map(str::to_owned))));
        assert_eq!(
            fill(&question, json!({"decision": "deny", "reason": "no"})),
            denied(Some("no"))
        );
        assert_eq!(
            reply(&question, &ElicitResult::new(ElicitationAction::Decline)),
            denied(None)
        );
        assert_eq!(
            reply(&question, &ElicitResult::new(ElicitationAction::Cancel)),
            Ok(Reply::Later)
        );
        assert!(fill(&question, json!({})).is_err());
    }

    #[test]
    fn each_suggestion_has_a_box_of_its_own() {
        let question = ask(
            json!({"ask": "permission", "tool": "Bash", "input": {}, "suggestions": [
                {"type": "addRules", "behavior": "allow", "rules": [{"toolName": "Bash", "ruleContent": "ls *"}]},
                {"type": "setMode", "mode": "acceptEdits"},
            ]}),
        );
        let shown = serde_json::to_value(form(&asker(), &question)).unwrap();
        let boxes = shown["requestedSchema"]["properties"].as_object().unwrap().iter();
        let boxes = boxes.filter(|(_, field)| field["type"] == "boolean");
        let boxes: Vec<_> = boxes
            .map(|(name, field)| (name.clone(), field["description"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(boxes.len(), 2, "{shown:#}");
        for (name, words) in &boxes {
            let Ok(Reply::Answer(answer)) = fill(&question, json!({"decision": "allow", name.as_str(): true})) else {
                panic!("{name} is not taken");
            };
            let granted = question.kind.granted(&answer).unwrap();
            assert_eq!(
                granted.iter().map(|grant| grant.words()).collect::<Vec<_>>(),
                std::slice::from_ref(words)
            );
        }
        let other = ask(
            json!({"ask": "permission", "tool": "Bash", "input": {}, "suggestions": [
                {"type": "setMode", "mode": "bypassPermissions"},
            ]}),
        );
        let late = fill(&other, json!({"decision": "allow", boxes[0].0.as_str(): true}));
        assert!(
            late.is_err(),
            "the question was asked again with another suggestion: {late:?}"
        );
    }

    #[test]
    fn another_servers_form_is_shown_as_it_is_or_as_text() {
        let flat = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]});
        let question = ask(json!({"ask": "form", "server": "s", "message": "m", "schema": flat}));
        assert_eq!(
            serde_json::to_value(form(&asker(), &question)).unwrap()["requestedSchema"]["properties"]["name"]["type"],
            "string"
        );
        let submit = |content: Value| Ok(Reply::Answer(Answer::Submit { content }));
        assert_eq!(fill(&question, json!({"name": "Bob"})), submit(json!({"name": "Bob"})));
        let nested = json!({"type": "object", "properties": {"a": {"type": "object"}}});
        let question = ask(json!({"ask": "form", "server": "s", "message": "m", "schema": nested}));
        assert_eq!(
            fill(&question, json!({"content": "{\"a\": {}}"})),
            submit(json!({"a": {}}))
        );
    }
}
