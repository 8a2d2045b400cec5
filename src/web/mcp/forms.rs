//! Questions as forms: what a client shows a person, and what the filled form means.

use std::collections::BTreeMap;

use rmcp::model::{ElicitRequestParams, ElicitResult, ElicitationAction, ElicitationSchema};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::session::excerpt;
use crate::session::grant::{Pick, Suggestion};
use crate::session::hex::hex;
use crate::session::question::{Answer, AnswerMismatch, Choice, Question, QuestionKind};
use crate::session::summary::Summary;
use crate::session::telling::question::{QuestionLines, lines_of};
use crate::session::visible;

/// How much of a question a form shows, in bytes. What has more can only be denied in a form.
const SHOWN_BYTES_MAX: usize = 1024 * 1024;

/// How the fields begin by which a right is granted.
const GRANT_FIELD: &str = "grant_";

/// Maximum bytes of a session's name in a form.
const NAME_BYTES_MAX: usize = 120;

/// What a person wants to be done about a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum FormReply {
    /// This is the answer.
    Answer(Answer),
    /// Nothing for now: the question waits, for whoever answers it elsewhere.
    Later,
}

/// The session that asks, as a form names it: a person may have several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AskingSession(String);

impl AskingSession {
    /// Names a session.
    pub(super) fn of(summary: &Summary) -> Self {
        let (id, name) = (summary.session_id.short(), excerpt::head(&summary.name, NAME_BYTES_MAX));
        let (name, cwd) = (visible::line(name), summary.cwd.to_string_lossy());
        Self(format!("Session {id} \"{name}\" in {}", visible::line(&cwd)))
    }
}

/// The form for a question: all that is asked, with nothing hidden in it.
pub(super) fn form(asker: &AskingSession, question: &Question) -> ElicitRequestParams {
    let told = FormText::of(&question.kind);
    let fields = match &question.kind {
        QuestionKind::Permission { .. } | QuestionKind::Plan { .. } => decision(&question.kind.offers(), told.is_whole),
        QuestionKind::Choice { questions, .. } => choices(questions),
        QuestionKind::Form { url: Some(_), .. } => json!({"type": "object", "properties": {}}),
        QuestionKind::Form { schema, .. } => shown_schema(schema),
    };
    let mut schema: ElicitationSchema = serde_json::from_value(fields).unwrap_or_else(|_| free_text());
    if let QuestionKind::Form { order, .. } = &question.kind
        && order.len() == schema.properties.len()
        && order.iter().all(|key| schema.properties.contains_key(key))
    {
        schema.property_order = Some(order.clone());
    }
    ElicitRequestParams::FormElicitationParams {
        meta: None,
        message: format!("{}\n{}", asker.0, told.text),
        requested_schema: schema,
    }
}

/// What a form says above its fields.
struct FormText {
    text: String,
    /// Everything that is asked is in it, or in the fields.
    is_whole: bool,
}

impl FormText {
    fn of(kind: &QuestionKind) -> Self {
        let told = lines_of(kind);
        let lines = match kind {
            QuestionKind::Form { schema, url: None, .. } if is_shown_by_its_fields(schema) => QuestionLines {
                more: Vec::new(),
                ..told
            },
            QuestionKind::Choice { questions, .. } => QuestionLines {
                shown: lines_of_choice(questions, &told),
                ..told
            },
            _ => told,
        };
        let lines = lines.opened();
        let bytes: usize = lines.iter().map(|line| line.len() + 1).sum();
        let text = lines.join("\n");
        if bytes <= SHOWN_BYTES_MAX {
            return Self { text, is_whole: true };
        }
        let shown = excerpt::head(&text, SHOWN_BYTES_MAX);
        let left = text.len() - shown.len();
        let text = format!(
            "{shown}\n… {left} bytes are not shown. From here it can only be denied: the page of cc-executor shows all of \
             it, and so does the command `answer` on the daemon's machine."
        );
        Self { text, is_whole: false }
    }
}

/// The questions alone, where their fields show the rest of them.
fn lines_of_choice(questions: &[Choice], told: &QuestionLines) -> Vec<String> {
    let head = std::iter::once("Claude asks:".to_owned());
    // A field has one title, and one without options does not say whether several answers are wanted.
    let is_shown = |choice: &Choice| {
        !choice.options.is_empty() && choice.header != choice.question && !choice.question.starts_with("? ")
    };
    if !told.more.is_empty() || !questions.iter().all(is_shown) {
        return head.chain(told.shown.iter().cloned()).collect();
    }
    let lines = |choice: &Choice| visible::text(&choice.question).replace('\n', "\n  │ ");
    head.chain(questions.iter().map(lines)).collect()
}

/// Another server's schema with nothing hidden in what a client shows of it.
fn shown_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let shown = |(name, value): (&String, &Value)| {
                let value = match value {
                    Value::String(text) if matches!(name.as_str(), "title" | "description") => {
                        Value::from(visible::text(text).into_owned())
                    }
                    value => shown_schema(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(shown).collect())
        }
        Value::Array(values) => values.iter().map(shown_schema).collect(),
        other => other.clone(),
    }
}

/// Whether a client gets another server's schema as it is, and nothing in it is hidden.
fn is_shown_by_its_fields(schema: &Value) -> bool {
    let text = schema.to_string();
    let kept = serde_json::from_value::<ElicitationSchema>(schema.clone());
    let kept = kept.ok().and_then(|kept| serde_json::to_value(kept).ok());
    visible::json(&text) == text && kept.as_ref() == Some(schema)
}

/// What the filled form says. Declining is a no that the agent is told of; cancelling decides nothing.
pub(super) fn reply(question: &Question, result: &ElicitResult) -> Result<FormReply, AnswerMismatch> {
    let answer = match result.action {
        ElicitationAction::Accept => accepted(&question.kind, result.content.as_ref().unwrap_or(&Value::Null))?,
        ElicitationAction::Decline => deny(None),
        // Cancelled, or whatever else may come: nothing is decided.
        _ => return Ok(FormReply::Later),
    };
    question.kind.check(&answer)?;
    Ok(FormReply::Answer(answer))
}

fn accepted(kind: &QuestionKind, content: &Value) -> Result<Answer, AnswerMismatch> {
    match kind {
        QuestionKind::Permission { .. } | QuestionKind::Plan { .. } => match content["decision"].as_str() {
            Some("allow") if !FormText::of(kind).is_whole => Err(AnswerMismatch::NotShown),
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
        QuestionKind::Form { url: Some(_), .. } => Ok(Answer::allow()),
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
fn decision(offers: &[Suggestion], can_be_allowed: bool) -> Value {
    let mut decisions = vec![json!({"const": "deny", "title": "Deny"})];
    if can_be_allowed {
        decisions.insert(0, json!({"const": "allow", "title": "Allow"}));
    }
    let mut fields = json!({
        "decision": {"type": "string", "title": "Decision", "oneOf": decisions},
        "reason": {"type": "string", "title": "Reason", "description": "Told to Claude when you deny"},
    });
    for (n, offer) in offers.iter().enumerate().filter(|(_, offer)| offer.grant.is_some()) {
        let title = "For the rest of this session";
        fields[grant_field(n, offer)] =
            json!({"type": "boolean", "title": title, "description": visible::line(&offer.words), "default": false});
    }
    json!({"type": "object", "properties": fields, "required": ["decision"]})
}

/// The field of an offer. Its name says which one it is: the question may be asked again with other suggestions while
/// somebody fills the form in.
fn grant_field(n: usize, offer: &Suggestion) -> String {
    let digest = Sha256::digest(&offer.words);
    format!("{GRANT_FIELD}{}_{}", n + 1, hex(&digest[..4]))
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
        let title = visible::line(title);
        let base = json!({"title": title, "description": visible::text(&choice.question)});
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
        "" => visible::line(&option.label).into_owned(),
        description => format!("{}: {}", visible::line(&option.label), visible::line(description)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::QuestionId;
    use crate::session::telling::question as telling;
    use crate::session::telling::question::tests::{any_question, read_back};
    use proptest::prelude::*;

    fn ask(kind: Value) -> Question {
        let kind: QuestionKind = serde_json::from_value(kind).unwrap();
        Question {
            question_id: QuestionId(1),
            request_id: "r".into(),
            tool_use_id: None,
            kind,
        }
    }

    fn asker() -> AskingSession {
        AskingSession("Session 1234abcd \"tidy up\" in /w".to_owned())
    }

    fn fill(question: &Question, content: Value) -> Result<FormReply, AnswerMismatch> {
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
            Ok(FormReply::Answer(Answer::Choose {
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
            Ok(FormReply::Answer(Answer::Choose { answers })) => answers["Which sizes?"].clone(),
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
            "Session 1234abcd \"tidy up\" in /w\nThe agent wants to use Bash:\n  command: ls"
        );
        assert_eq!(
            fill(&question, json!({"decision": "allow", "remember": true})),
            Ok(FormReply::Answer(Answer::allow()))
        );
        let denied = |reason: Option<&str>| Ok(FormReply::Answer(deny(reason.map(str::to_owned))));
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
            Ok(FormReply::Later)
        );
        assert!(fill(&question, json!({})).is_err());
    }

    #[test]
    fn what_a_form_cannot_show_whole_can_only_be_denied_in_it() {
        let question = |bytes: usize| {
            ask(
                json!({"ask": "permission", "tool": "Write", "input": {"file_path": "/x", "content": "x".repeat(bytes)}}),
            )
        };
        let decisions = |question: &Question| {
            let shown = serde_json::to_value(form(&asker(), question)).unwrap();
            let message = shown["message"].as_str().unwrap().to_owned();
            let decisions = &shown["requestedSchema"]["properties"]["decision"]["oneOf"];
            (
                decisions.as_array().unwrap().len(),
                message.contains("bytes are not shown"),
            )
        };
        assert_eq!(decisions(&question(SHOWN_BYTES_MAX / 2)), (2, false));
        let long = question(SHOWN_BYTES_MAX);
        assert_eq!(decisions(&long), (1, true));
        assert_eq!(fill(&long, json!({"decision": "allow"})), Err(AnswerMismatch::NotShown));
        assert!(fill(&long, json!({"decision": "deny"})).is_ok());
    }

    #[test]
    fn an_address_stands_first_and_is_opened_or_declined() {
        let question = ask(
            json!({"ask": "form", "server": "s", "message": "sign in", "schema": null,
            "url": "https://e.example/\u{200b}?a=1"}),
        );
        let shown = serde_json::to_value(form(&asker(), &question)).unwrap();
        let lines: Vec<&str> = shown["message"].as_str().unwrap().lines().skip(1).collect();
        assert_eq!(lines[1], "  https://e.example/⟨U+200B⟩?a=1");
        assert_eq!(fill(&question, json!({})), Ok(FormReply::Answer(Answer::allow())));
    }

    /// Questions are read from their fields, unless they stand above them; what else was asked stands above them.
    fn read_choice(lines: &[String], fields: &Value) -> QuestionKind {
        if lines[0].starts_with("? ") {
            return read_back(lines);
        }
        let mut told = Vec::new();
        for place in 0.. {
            let field = &fields[field(place)];
            if field.is_null() {
                break;
            }
            let read = |value: &Value| visible::read(value.as_str().unwrap());
            let multi_select = field["type"] == "array";
            let options = if multi_select {
                &field["items"]["anyOf"]
            } else {
                &field["oneOf"]
            };
            let option = |option: &Value| {
                let (label, title) = (option["const"].as_str().unwrap(), option["title"].as_str().unwrap());
                let description = title.strip_prefix(&*visible::line(label)).unwrap();
                let description = description.strip_prefix(": ").unwrap_or_default();
                json!({"label": label, "description": visible::read(description)})
            };
            let options: Vec<Value> = options.as_array().unwrap().iter().map(option).collect();
            let question = read(&field["description"]);
            let header = Some(read(&field["title"])).filter(|title| *title != question);
            told.extend(telling::choice(&Choice {
                header: header.unwrap_or_default(),
                question,
                options: serde_json::from_value(json!(options)).unwrap(),
                multi_select,
            }));
        }
        read_back(&told)
    }

    proptest! {
        #[test]
        fn a_question_is_read_back_from_its_form(kind in any_question()) {
            let question = Question { question_id: QuestionId(1), request_id: "r".into(), tool_use_id: None, kind };
            let shown = serde_json::to_value(form(&asker(), &question)).unwrap();
            let message = shown["message"].as_str().unwrap();
            prop_assert!(!message.contains(|c| visible::is_hidden(c) && !matches!(c, '\n' | '\t')));
            let lines: Vec<String> = message.split('\n').skip(1).map(str::to_owned).collect();
            let mut read = match &question.kind {
                QuestionKind::Choice { .. } => read_choice(&lines[1..], &shown["requestedSchema"]["properties"]),
                _ => read_back(&lines),
            };
            if let (QuestionKind::Form { schema, order, .. }, QuestionKind::Form { schema: asked, order: asked_order, url, .. }) =
                (&mut read, &question.kind)
                && url.is_none() && is_shown_by_its_fields(asked)
            {
                *schema = shown["requestedSchema"].clone();
                order.clone_from(asked_order);
            }
            prop_assert_eq!(read, question.kind);
        }
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
            let Ok(FormReply::Answer(answer)) = fill(&question, json!({"decision": "allow", name.as_str(): true}))
            else {
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
        let submit = |content: Value| Ok(FormReply::Answer(Answer::Submit { content }));
        assert_eq!(fill(&question, json!({"name": "Bob"})), submit(json!({"name": "Bob"})));
        let nested = json!({"type": "object", "properties": {"a": {"type": "object"}}});
        let question = ask(json!({"ask": "form", "server": "s", "message": "m", "schema": nested}));
        assert_eq!(
            fill(&question, json!({"content": "{\"a\": {}}"})),
            submit(json!({"a": {}}))
        );
    }
}
