//! The forms of questions.

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::session::id::{Attempt, QuestionId};
use crate::session::journal;
use crate::session::samples::created;
use crate::session::state::State;
use crate::session::telling::question::tests::any_question;
use crate::session::visible;

fn session(kind: QuestionKind) -> Summary {
    let id = SessionId::from_uuid(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_1234_abcd));
    let mut summary = Summary::new(id, &created("t"), Timestamp::UNIX_EPOCH);
    summary.lifecycle.state = State::Running;
    let question = Question {
        question_id: QuestionId(1),
        request_id: "r".into(),
        tool_use_id: None,
        kind,
    };
    summary.apply(&journal::Entry::QuestionAsked(question), Timestamp::UNIX_EPOCH);
    summary
}

/// What a card shows at first, and what it holds for who opens it.
fn without_raw(html: &str) -> (String, String) {
    let (before, behind) = html.split_once(" data-raw=\"").expect("it can be opened");
    let (raw, behind) = behind.split_once('"').expect("an end");
    (format!("{before}{behind}"), unescaped(raw))
}

fn unescaped(html: &str) -> String {
    let entities = [("&quot;", "\""), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")];
    entities
        .iter()
        .fold(html.to_owned(), |text, (entity, c)| text.replace(entity, c))
}

fn card(summary: &Summary) -> String {
    cards(summary, true, Near::ItsSession).into_string()
}

#[test]
fn who_may_not_answer_sees_what_is_asked_all_the_same() {
    let choice = Choice {
        question: "Which <colour>?".into(),
        header: String::new(),
        options: vec![crate::session::question::ChoiceOption {
            label: "Red".into(),
            description: "like a rose".into(),
        }],
        multi_select: false,
    };
    let kind = QuestionKind::Choice {
        questions: vec![choice],
        input: json!({}),
    };
    let html = cards(&session(kind), false, Near::OtherSessions).into_string();
    let (shown, raw) = without_raw(&html);
    for part in ["Which &lt;colour&gt;?", "Red", "like a rose"] {
        assert_eq!(shown.matches(part).count(), 1, "{part}: {shown}");
        assert!(
            raw.contains(part.trim_matches('?')) || raw.contains("<colour>"),
            "{part}: {raw}"
        );
    }
    assert!(!html.contains("<form"), "{html}");
}

fn permission(input: Value) -> QuestionKind {
    QuestionKind::Permission {
        tool: "Bash".into(),
        input,
        reason: None,
        suggestions: vec![
            json!({"type": "setMode", "mode": "acceptEdits"}),
            json!({"type": "new"}),
        ],
    }
}

#[test]
fn the_whole_command_is_shown_before_it_is_allowed() {
    let command = format!("echo start; {} ; rm -rf x # </pre>", "true; ".repeat(20_000));
    let html = card(&session(permission(json!({"command": command}))));
    let shown = html
        .split("<pre class=\"code command\">")
        .nth(1)
        .unwrap()
        .split("</pre>")
        .next()
        .unwrap();
    assert!(shown.contains("rm -rf x # &lt;/pre&gt;"), "its end is there too");
    let line = "switch to the permission mode acceptEdits: file edits need no permission";
    assert!(html.contains(&format!("name=\"grant\" value=\"{line}\"")), "{html}");
    assert!(html.contains("it is not understood: {&quot;type&quot;:&quot;new&quot;}"));
    assert_eq!(html.matches("name=\"grant\"").count(), 1, "it has no box");
    assert!(html.contains("value=\"allow\"") && html.contains("value=\"deny\""));
}

#[test]
fn an_answered_question_has_no_form_and_an_orphaned_one_still_has() {
    let mut summary = session(permission(json!({"command": "ls"})));
    summary.lifecycle.attempt = Attempt(2);
    let html = card(&summary);
    assert!(
        html.contains("data-status=\"orphaned\"") && html.contains("<form"),
        "{html}"
    );
    let answered = journal::Answered {
        question_id: QuestionId(1),
        answer: crate::session::question::Answer::allow(),
        by: "me".into(),
        granted: vec![],
    };
    summary.apply(&journal::Entry::QuestionAnswered(answered), Timestamp::UNIX_EPOCH);
    let html = card(&summary);
    assert!(
        html.contains("data-status=\"answered\"") && !html.contains("<form"),
        "{html}"
    );
}

#[test]
fn a_viewer_sees_what_is_asked_without_a_form() {
    let html = cards(&session(permission(json!({"command": "ls"}))), false, Near::ItsSession).into_string();
    assert!(html.contains("ls") && !html.contains("<form"), "{html}");
}

#[test]
fn choices_are_radios_or_checkboxes_with_room_for_other_words() {
    let choice = |multi| Choice {
        question: "Which <colour>?".into(),
        header: "Colour".into(),
        options: vec![crate::session::question::ChoiceOption {
            label: "Red \"x\"".into(),
            description: "like blood".into(),
        }],
        multi_select: multi,
    };
    let html = card(&session(QuestionKind::Choice {
        questions: vec![choice(false), choice(true)],
        input: json!({}),
    }));
    assert_eq!(html.matches("type=\"radio\"").count(), 1, "{html}");
    assert_eq!(html.matches("type=\"checkbox\"").count(), 1, "{html}");
    assert_eq!(html.matches("data-own").count(), 2, "{html}");
    assert!(
        html.contains("value=\"Red &quot;x&quot;\"") && html.contains("Which &lt;colour&gt;?"),
        "{html}"
    );
}

#[test]
fn every_field_has_a_label() {
    let schema = json!({"properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}});
    let kinds = [
        permission(json!({"command": "ls"})),
        QuestionKind::Plan {
            plan: Some("# Plan".into()),
            input: json!({}),
        },
        QuestionKind::Form {
            server: "s".into(),
            message: "m".into(),
            schema: schema.clone(),
            order: vec![],
            url: None,
        },
        QuestionKind::Form {
            server: "s".into(),
            message: "m".into(),
            schema: json!({}),
            order: vec![],
            url: None,
        },
    ];
    for kind in kinds {
        let html = card(&session(kind));
        let fields = html.matches("<input").count() + html.matches("<textarea").count();
        assert_eq!(html.matches("<label").count(), fields, "{html}");
    }
}

/// What is between tags, as a browser shows it.
fn text_of(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    unescaped(&text)
}

#[test]
fn an_address_is_shown_with_what_is_hidden_in_it_and_opens_nothing() {
    let kind: QuestionKind = serde_json::from_value(json!({"ask": "form", "server": "s", "message": "Sign in",
        "schema": null, "url": "https://e.example/\u{202e}x"}))
    .unwrap();
    let html = card(&session(kind));
    assert!(html.contains("<code>https://e.example/⟨U+202E⟩x</code>"), "{html}");
    assert!(
        !html.contains("href=\"https") && html.contains("value=\"allow\""),
        "{html}"
    );
}

proptest! {
    #[test]
    fn a_question_is_read_back_from_its_card(kind in any_question(), may_act in any::<bool>()) {
        let html = cards(&session(kind.clone()), may_act, Near::ItsSession).into_string();
        let (shown, raw) = without_raw(&html);
        prop_assert!(!raw.contains(|c| visible::is_hidden(c) && c != '\n'));
        prop_assert_eq!(&serde_json::from_str::<QuestionKind>(&raw).unwrap(), &kind);
        let shown = text_of(&shown);
        prop_assert!(!shown.contains(|c| visible::is_hidden(c) && !matches!(c, '\n' | '\t')));
        for text in texts_that_stand_alone(&kind) {
            prop_assert!(shown.contains(&*visible::text(text)), "{text:?} in {shown}");
        }
    }
}

/// Texts that a card shows whole before it is opened.
fn texts_that_stand_alone(kind: &QuestionKind) -> Vec<&str> {
    match kind {
        QuestionKind::Permission {
            tool, input, reason, ..
        } => {
            let command = input.get("command").and_then(Value::as_str).filter(|_| tool == "Bash");
            command.into_iter().chain(reason.as_deref()).collect()
        }
        QuestionKind::Choice { questions, .. } => {
            let texts = questions.iter().flat_map(|choice| {
                let options = choice.options.iter();
                let options = options.flat_map(|option| [option.label.as_str(), option.description.as_str()]);
                std::iter::once(choice.question.as_str()).chain(options)
            });
            texts.collect()
        }
        QuestionKind::Plan { .. } => Vec::new(),
        QuestionKind::Form { message, .. } => vec![message],
    }
}
