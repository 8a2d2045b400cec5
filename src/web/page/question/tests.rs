//! The forms of questions.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::session::id::{Attempt, QuestionId};
use crate::session::journal;
use crate::session::samples::created;
use crate::session::state::State;

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
    for part in ["Which &lt;colour&gt;?", "Red", "like a rose"] {
        assert_eq!(html.matches(part).count(), 1, "{part}: {html}");
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
    let answered = Answered {
        question_id: QuestionId(1),
        answer: Answer::allow(),
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
        },
        QuestionKind::Form {
            server: "s".into(),
            message: "m".into(),
            schema: json!({}),
            order: vec![],
        },
    ];
    for kind in kinds {
        let html = card(&session(kind));
        let fields = html.matches("<input").count() + html.matches("<textarea").count();
        assert_eq!(html.matches("<label").count(), fields, "{html}");
    }
}
