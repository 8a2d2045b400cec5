//! The fold of the terms: what changes them, what does not, and what a cut or a copy keeps of them.

use jiff::Timestamp;
use serde_json::{Value, json};

use std::borrow::Cow;
use std::path::PathBuf;

use super::*;
use crate::session::id::{QuestionId, SessionId};
use crate::session::journal::{Answered, Created, QuestionRef, Refined};
use crate::session::outcome::Ending;
use crate::session::question::{Answer, Question, QuestionKind};
use crate::session::samples::{attempt_ended, attempt_started, created, input, said};
use PermissionMode::{AcceptEdits, BypassPermissions, Plan};

fn at() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn begun(change: impl FnOnce(&mut Request)) -> (Created, Summary) {
    let mut created = created("tidy up");
    change(&mut created.request);
    let mut summary = Summary::new(SessionId::new(), &created, at());
    summary.apply(&Entry::SessionCreated(Box::new(created.clone())), at());
    summary.settles(&attempt_started(1));
    (created, summary)
}

fn turn(model: &str, mode: &str) -> Entry {
    said(Message::TurnStarted {
        agent_session_id: uuid::Uuid::nil(),
        model: model.into(),
        permission_mode: mode.into(),
        agent_version: "2.1.332".into(),
        mcp_servers_failed: vec![],
    })
}

fn mode(mode: &str) -> Entry {
    said(Message::ModeChanged {
        permission_mode: mode.into(),
    })
}

fn suggestions(rule: &str) -> Vec<Value> {
    vec![
        json!({"type": "addRules", "behavior": "allow", "rules": [{"toolName": "Bash", "ruleContent": rule}]}),
        json!({"type": "addDirectories", "directories": ["/srv"]}),
        json!({"type": "setMode", "mode": "acceptEdits"}),
    ]
}

fn asked(n: u32, suggestions: Vec<Value>) -> Entry {
    Entry::QuestionAsked(Question {
        question_id: QuestionId(n),
        request_id: "r".into(),
        tool_use_id: None,
        kind: QuestionKind::Permission {
            tool: "Bash".into(),
            input: json!({}),
            reason: None,
            suggestions,
        },
    })
}

/// An answer as its record says it.
fn answered(n: u32, data: Value) -> Entry {
    let mut record = json!({"question_id": format!("q{n}"), "by": "me"});
    record
        .as_object_mut()
        .unwrap()
        .extend(data.as_object().unwrap().clone());
    Entry::QuestionAnswered(serde_json::from_value(record).unwrap())
}

fn delivered(n: u32) -> Entry {
    Entry::QuestionDelivered(QuestionRef {
        question_id: QuestionId(n),
    })
}

/// The answer that grants everything, as it is journalled now.
fn all_granted(summary: &Summary, n: u32) -> Entry {
    let answer: Answer = serde_json::from_value(json!({"action": "allow", "grant": [0, 1, 2]})).unwrap();
    let granted = summary.questions[&QuestionId(n)]
        .question
        .kind
        .granted(&answer)
        .unwrap();
    Entry::QuestionAnswered(Answered {
        question_id: QuestionId(n),
        answer,
        by: "me".into(),
        granted,
    })
}

impl Summary {
    fn settles(&mut self, entry: &Entry) {
        self.apply(entry, at());
    }

    /// The request as a next attempt runs it.
    fn next_runs(&self, created: &Created) -> Request {
        let request = Cow::Borrowed(&created.request);
        self.effective.terms.applied_to(request).into_owned()
    }
}

#[test]
fn nothing_changes_until_something_is_settled() {
    let (created, mut summary) = begun(|request| request.permission_mode = Some(AcceptEdits));
    summary.settles(&turn("opus", "acceptEdits"));
    summary.settles(&attempt_ended(Ending::Crashed));
    assert!(summary.effective.terms.is_as_asked());
    assert_eq!(summary.next_runs(&created), created.request);
}

#[test]
fn the_mode_is_the_one_that_the_agent_told_of_last() {
    let (created, mut summary) = begun(|request| request.permission_mode = Some(BypassPermissions));
    summary.settles(&turn("opus", "bypassPermissions"));
    summary.settles(&mode("plan"));
    summary.settles(&attempt_ended(Ending::Crashed));
    assert_eq!(summary.next_runs(&created).permission_mode, Some(Plan), "narrower");
    assert!(summary.effective.asks_in_plan());
    summary.settles(&attempt_started(2));
    summary.settles(&turn("opus", "plan"));
    summary.settles(&mode("default"));
    let next = summary.next_runs(&created);
    assert_eq!(
        next.permission_mode,
        Some(PermissionMode::Default),
        "its plan is approved"
    );
    summary.settles(&mode("bypassPermissions"));
    assert!(summary.effective.terms.is_as_asked());
    summary.settles(&turn("opus", ""));
    assert!(summary.effective.terms.is_as_asked(), "an agent that does not say it");
    summary.settles(&mode("a mode of a newer version"));
    let next = summary.next_runs(&created);
    assert_eq!(next.permission_mode, Some(PermissionMode::Default));
}

#[test]
fn a_grant_counts_when_the_agent_has_it() {
    let (created, mut summary) = begun(|_| {});
    summary.settles(&turn("opus", "default"));
    summary.settles(&asked(1, suggestions("touch a *")));
    let answer = all_granted(&summary, 1);
    summary.settles(&answer);
    assert!(summary.effective.terms.is_as_asked(), "it may never reach the agent");
    summary.settles(&delivered(1));
    let next = summary.next_runs(&created);
    assert_eq!(next.allowed_tools, ["Bash(touch a *)"]);
    assert_eq!(next.add_dirs, [PathBuf::from("/srv")]);
    assert_eq!(next.permission_mode, None, "the agent has not said so");
    summary.settles(&mode("acceptEdits"));
    assert_eq!(summary.next_runs(&created).permission_mode, Some(AcceptEdits));
}

#[test]
fn a_waiting_answer_grants_what_its_giver_saw_also_where_another_agent_suggests_more() {
    let (_, mut summary) = begun(|_| {});
    summary.settles(&asked(1, suggestions("touch a *")));
    summary.settles(&answered(
        1,
        json!({"answer": {"action": "allow", "remember": true}, "granted": [
            {"grant": "rules", "rules": [{"tool": "Bash", "content": "touch a *"}]},
        ]}),
    ));
    summary.settles(&attempt_ended(Ending::Crashed));
    summary.settles(&attempt_started(2));
    summary.settles(&asked(1, suggestions("touch *")));
    let words: Vec<_> = summary.questions[&QuestionId(1)]
        .grants()
        .iter()
        .map(Grant::words)
        .collect();
    assert_eq!(words, ["do not ask again for Bash(touch a *)"]);
    summary.settles(&delivered(1));
    assert_eq!(summary.effective.terms.allowed_tools, ["Bash(touch a *)"]);
}

#[test]
fn a_record_of_the_version_before_granted_rules() {
    let (_, mut summary) = begun(|_| {});
    summary.settles(&asked(1, suggestions("touch a *")));
    let before = answered(1, json!({"answer": {"action": "allow", "remember": true}}));
    summary.settles(&before);
    // A row of that version does not say what was granted.
    let mut row = serde_json::to_value(&summary).unwrap();
    row["questions"]["q1"].as_object_mut().unwrap().remove("granted");
    row.as_object_mut().unwrap().remove("effective");
    let mut read: Summary = serde_json::from_value(row).unwrap();
    for summary in [&mut summary, &mut read] {
        summary.settles(&delivered(1));
        let terms = &summary.effective.terms;
        assert_eq!(terms.allowed_tools, ["Bash(touch a *)"]);
        assert_eq!(
            (terms.permission_mode, terms.add_dirs.len()),
            (None, 0),
            "nobody was shown those"
        );
    }
    read.settles(&turn("opus", "plan"));
    assert_eq!(read.effective.terms.permission_mode, Some(Plan));
}

#[test]
fn what_is_granted_is_bounded() {
    let (_, mut summary) = begun(|_| {});
    for n in 1..=400 {
        summary.settles(&asked(n, suggestions(&format!("touch {n} *"))));
        let answer = all_granted(&summary, n);
        summary.settles(&answer);
        summary.settles(&delivered(n));
    }
    assert_eq!(summary.effective.terms.allowed_tools.len(), RULES_MAX);
    assert_eq!(summary.effective.terms.add_dirs.len(), 1, "each stands there once");
}

#[test]
fn a_model_that_was_switched_to_holds_and_one_that_a_start_chose_does_not() {
    let (created, mut summary) = begun(|request| request.model = Some("opus".into()));
    summary.settles(&turn("claude-opus-5", "default"));
    assert_eq!(summary.next_runs(&created).model.as_deref(), Some("opus"));
    summary.settles(&turn("claude-sonnet-5", "default"));
    assert_eq!(summary.next_runs(&created).model.as_deref(), Some("claude-sonnet-5"));
    let (created, mut summary) = begun(|_| {});
    summary.settles(&turn("claude-opus-5", "default"));
    summary.settles(&attempt_started(2));
    summary.settles(&turn("claude-haiku-5", "default"));
    assert_eq!(
        summary.next_runs(&created).model,
        None,
        "a fallback of the attempt before"
    );
    summary.settles(&turn("claude-opus-5", "plan"));
    assert_eq!(summary.next_runs(&created).model, None, "a model for plans");
}

#[test]
fn a_model_that_a_command_names_holds_for_an_attempt_without_a_turn_behind_it() {
    let switched = |command: &str, output: &str, failed: bool| {
        let (created, mut summary) = begun(|request| request.model = Some("opus".into()));
        let task = uuid::Uuid::from_u128(1);
        summary.settles(&turn("opus", "default"));
        summary.settles(&input(task, InputState::Sent, Some(command)));
        summary.settles(&input(task, InputState::Started, None));
        summary.settles(&turn("opus", "default"));
        let text = output.to_owned();
        summary.settles(&said(Message::CommandOutput { text, failed }));
        let next = summary.next_runs(&created).model;
        // What the name stands for is no switch of its own.
        summary.settles(&input(task, InputState::Completed, None));
        summary.settles(&turn("sonnet-4-5", "default"));
        (next, summary.next_runs(&created).model)
    };
    let name = |name: &str| Some(name.to_owned());
    let set = "Set model to `Sonnet 4.5` for this session only";
    assert_eq!(switched("/model sonnet", set, false), (name("sonnet"), name("sonnet")));
    for (command, output, failed) in [
        ("/model", "Current model: `Opus`", false),
        ("/model x", "Model 'x' not found", false),
        ("/model x", set, true),
        ("/echo x", set, false),
    ] {
        let (next, _) = switched(command, output, failed);
        assert_eq!(next, name("opus"), "{command}: {output}");
    }
}

#[test]
fn an_analysis_changes_nothing_for_the_run() {
    let (created, mut summary) = begun(|request| {
        request.clarify = true;
        request.permission_mode = Some(AcceptEdits);
    });
    summary.settles(&turn("opus", "plan"));
    summary.settles(&mode("default"));
    assert!(summary.effective.terms.is_as_asked());
    let refined = Refined {
        task: "tidy up".into(),
        clarifications: crate::session::clarify::Clarifications::default(),
    };
    summary.settles(&Entry::TaskRefined(Box::new(refined)));
    summary.settles(&attempt_started(2));
    assert_eq!(summary.next_runs(&created).permission_mode, Some(AcceptEdits));
    summary.settles(&turn("opus", "default"));
    let next = summary.next_runs(&created);
    assert_eq!(next.permission_mode, Some(PermissionMode::Default));
}

/// A session in which a mode, a rule and a directory were granted, and its terms before that.
fn granted() -> (Created, Effective, Summary) {
    let (created, mut summary) = begun(|_| {});
    summary.settles(&turn("opus", "default"));
    let before = summary.effective.clone();
    summary.settles(&asked(1, suggestions("touch a *")));
    let answer = all_granted(&summary, 1);
    summary.settles(&answer);
    summary.settles(&delivered(1));
    summary.settles(&mode("acceptEdits"));
    (created, before, summary)
}

#[test]
fn a_session_that_is_cut_back_has_no_right_that_it_did_not_have_there_or_does_not_have_now() {
    let (created, before, summary) = granted();
    let asked = created.request.asked_mode();
    let now = &summary.effective.terms;
    assert!(now.narrowed_to(&before.terms, asked).is_as_asked());
    assert_eq!(now.narrowed_to(now, asked), *now);
    let planned = Terms {
        permission_mode: Some(Plan),
        ..Terms::default()
    };
    for narrowed in [now.narrowed_to(&planned, asked), planned.narrowed_to(now, asked)] {
        assert_eq!(narrowed, planned);
    }
}

#[test]
fn a_cut_is_folded_as_it_was_recorded() {
    let (_, before, mut summary) = granted();
    let cut = |terms: Option<Terms>| {
        Entry::SessionResumed(Resumed {
            by: "me".into(),
            instruction: None,
            at: Some(crate::session::id::Seq(2)),
            message: None,
            terms: terms.map(Box::new),
            limits: None,
        })
    };
    let mut of_before = summary.clone();
    summary.settles(&cut(Some(before.terms.clone())));
    assert!(summary.effective.terms.is_as_asked());
    of_before.settles(&cut(None));
    let terms = &of_before.effective.terms;
    assert!(
        terms.allowed_tools.is_empty() && terms.add_dirs.is_empty(),
        "a record without them"
    );
}

#[test]
fn a_copy_gets_no_grant_and_no_wider_mode_than_its_original() {
    let (created, before, mut summary) = granted();
    let copy = |summary: &Summary, then: &Effective| summary.effective.for_copy(then, &created.request);
    assert!(
        copy(&summary, &summary.effective).is_as_asked(),
        "granted for that session only"
    );
    summary.settles(&mode("plan"));
    for then in [&before, &summary.effective] {
        assert_eq!(copy(&summary, then).permission_mode, Some(Plan), "narrower now");
    }
    let planned = summary.effective.clone();
    summary.settles(&mode("default"));
    assert_eq!(copy(&summary, &planned).permission_mode, Some(Plan), "narrower then");
    let (created, mut summary) = begun(|request| request.permission_mode = Some(BypassPermissions));
    summary.settles(&mode("plan"));
    let copied = summary.effective.for_copy(&summary.effective, &created.request);
    assert_eq!(
        copied.permission_mode,
        Some(PermissionMode::Default),
        "it asks as the original does"
    );
    let (created, mut summary) = begun(|request| request.permission_mode = Some(Plan));
    summary.settles(&mode("default"));
    let copied = summary.effective.for_copy(&summary.effective, &created.request);
    assert_eq!(
        copied.permission_mode,
        Some(PermissionMode::Default),
        "the plan is approved in the copy too"
    );
}

#[test]
fn the_terms_read_as_they_are_written() {
    let (_, _, summary) = granted();
    let text = serde_json::to_string(&summary.effective).unwrap();
    assert_eq!(serde_json::from_str::<Effective>(&text).unwrap(), summary.effective);
}
