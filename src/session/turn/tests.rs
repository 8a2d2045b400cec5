//! Tests of when an agent has finished.

use uuid::Uuid;

use super::{Pending, Standing, Turns};
use crate::session::journal::{DroppedDraft, Entry, StartRefusal, Stderr};
use crate::session::message::{
    ApiFault, BackgroundTask, Conclusion, InputState, Message, TaskKind, TaskStatus, TurnEnd,
};
use crate::session::outcome::{Cause, Ending};
use crate::session::samples::{attempt_started, denied, good_turn, input, said, text, tool_use, turn_ended as result};

const OURS: Uuid = Uuid::from_u128(1);
const QUIET: Pending = Pending {
    timers: false,
    busy: false,
    queued: false,
    asked: false,
};

fn good() -> TurnEnd {
    TurnEnd {
        answers: vec![OURS],
        ..good_turn()
    }
}

fn tasks(kinds: &[TaskKind]) -> Message {
    let task = |kind: &TaskKind| BackgroundTask {
        task_id: "t".into(),
        task: *kind,
        description: String::new(),
    };
    Message::BackgroundTasks {
        tasks: kinds.iter().map(task).collect(),
    }
}

fn sent(turns: &mut Turns, uuid: Uuid) {
    turns.take(&input(uuid, InputState::Sent, None));
}

fn after(messages: &[Message]) -> Turns {
    let mut turns = Turns::default();
    sent(&mut turns, OURS);
    for message in messages {
        turns.take(&said(message.clone()));
    }
    turns
}

#[test]
fn a_result_alone_is_not_the_end() {
    let turns = after(&[result(good())]);
    assert_eq!(turns.standing(Pending { busy: true, ..QUIET }), Standing::Working);
    assert_eq!(turns.standing(QUIET), Standing::Over(Ending::Finished));
}

#[test]
fn a_result_for_something_else_is_not_ours() {
    let other = TurnEnd {
        answers: vec![Uuid::from_u128(2)],
        ..good()
    };
    assert_eq!(after(&[result(other)]).standing(QUIET), Standing::Working);
    let synthetic = TurnEnd {
        answers: vec![],
        synthetic: true,
        ..good()
    };
    assert_eq!(after(&[result(synthetic)]).standing(QUIET), Standing::Working);
}

#[test]
fn what_is_open_keeps_the_attempt_going() {
    let turns = after(&[result(good())]);
    assert_eq!(turns.standing(Pending { asked: true, ..QUIET }), Standing::Working);
    assert_eq!(turns.standing(Pending { queued: true, ..QUIET }), Standing::Working);
    assert_eq!(
        after(&[tasks(&[TaskKind::Agent]), result(good())]).standing(QUIET),
        Standing::Working
    );
    let shells = after(&[tasks(&[TaskKind::Shell]), result(good())]);
    assert_eq!(shells.standing(QUIET), Standing::OnlyShells);
    let ended = after(&[tasks(&[TaskKind::Shell]), result(good()), tasks(&[])]);
    assert_eq!(ended.standing(QUIET), Standing::Over(Ending::Finished));
}

#[test]
fn a_new_message_waits_for_its_own_result() {
    let mut turns = after(&[result(good())]);
    sent(&mut turns, Uuid::from_u128(2));
    assert_eq!(turns.standing(QUIET), Standing::Working);
}

#[test]
fn an_agent_that_is_gone_has_finished_only_after_a_good_result() {
    assert_eq!(after(&[]).ending_of_gone(QUIET), Ending::Crashed);
    assert_eq!(after(&[result(good())]).ending_of_gone(QUIET), Ending::Finished);
    assert_eq!(
        after(&[result(good())]).ending_of_gone(Pending { asked: true, ..QUIET }),
        Ending::Crashed
    );
    let with = |kind| after(&[tasks(&[kind]), result(good())]).ending_of_gone(QUIET);
    assert_eq!(with(TaskKind::Shell), Ending::Finished);
    assert_eq!(with(TaskKind::Agent), Ending::Crashed, "its work is lost");
    let further = Message::TurnStarted {
        agent_session_id: Uuid::nil(),
        model: String::new(),
        permission_mode: String::new(),
        agent_version: String::new(),
        mcp_servers_failed: vec![],
    };
    let amid = after(&[result(good()), further]);
    assert_eq!(amid.ending_of_gone(QUIET), Ending::Crashed, "it died in another turn");
}

#[test]
fn what_an_attempt_or_a_turn_had_open_ends_with_it() {
    let open = || after(&[tasks(&[TaskKind::Agent]), tool_use("one", "make")]);
    assert!(!open().is_between_tools());
    let mut next = open();
    next.take(&attempt_started(2));
    assert_eq!(next, Turns::default(), "nothing of a dead agent is left");
    let mut ended = open();
    ended.take(&said(result(good())));
    assert!(
        ended.is_between_tools(),
        "a call that a turn leaves behind has no result"
    );
    assert_eq!(ended.standing(QUIET), Standing::Working, "but a subagent goes on");
    let (task_id, status, summary) = ("t".into(), TaskStatus::Stopped, String::new());
    ended.take(&said(Message::TaskEnded {
        task_id,
        status,
        summary,
    }));
    assert_eq!(ended.standing(QUIET), Standing::Over(Ending::Finished));
}

#[test]
fn a_refused_login_ends_the_attempt_at_once_unless_it_is_held() {
    let retry = |login_until| Message::ApiRetry {
        retry: 1,
        retries_max: 10,
        delay_ms: 500,
        status: Some(401),
        error: ApiFault::AuthenticationFailed,
        login_until,
    };
    let busy = Pending { busy: true, ..QUIET };
    let (message, until) = (String::new(), None);
    assert_eq!(
        after(&[retry(None)]).standing(busy),
        Standing::Over(Ending::NotSignedIn { message, until })
    );
    let held = retry(Some(jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(after(std::slice::from_ref(&held)).standing(busy), Standing::Working);
    let passed = [held.clone(), text("m", "It works."), result(good())];
    assert_eq!(after(&passed).standing(QUIET), Standing::Over(Ending::Finished));
    let died = after(&[held]).ending_of_gone(QUIET);
    assert_eq!(died, Ending::Crashed, "an agent that dies of something else meanwhile");
}

/// A turn in which the model had no round.
fn without_rounds() -> TurnEnd {
    TurnEnd {
        result: "the CLI's words".into(),
        ..good()
    }
}

fn stopped(why: &str) -> Message {
    Message::Said {
        topic: "informational".into(),
        text: "UserPromptSubmit operation blocked by hook".into(),
        stopped: Some(why.into()),
    }
}

fn printed(text: &str, failed: bool) -> Message {
    let text = text.to_owned();
    Message::CommandOutput { text, failed }
}

fn task_failed() -> Message {
    let (task_id, status, summary) = ("t".into(), TaskStatus::Failed, "/forked".into());
    Message::TaskEnded {
        task_id,
        status,
        summary,
    }
}

#[test]
fn what_never_reached_the_model_has_failed_in_the_words_of_the_cli() {
    let ending = |before: &[Message]| {
        let messages = [before, &[result(without_rounds())]].concat();
        let Standing::Over(ending) = after(&messages).standing(QUIET) else {
            panic!("it is over: {before:?}")
        };
        ending
    };
    let refused = |cause, message: &str| Ending::Refused {
        cause,
        message: message.into(),
    };
    let blocked = refused(Cause::PromptBlocked, "not today");
    assert_eq!(ending(&[stopped("not today")]), blocked);
    assert_eq!(
        blocked.to_string(),
        "a hook stopped the prompt before the model saw it: not today"
    );
    let failed = refused(Cause::CommandFailed, "ls: no such file");
    assert_eq!(ending(&[printed("ls:\nno such file\n\nand more", true)]), failed);
    assert_eq!(failed.to_string(), "the slash command failed: ls: no such file");
    let forked = [task_failed(), printed("API Error: 500", false)];
    assert_eq!(ending(&forked), refused(Cause::CommandFailed, "the CLI's words"));
    assert_eq!(ending(&[printed("## Context Usage", false)]), Ending::Finished);
}

#[test]
fn what_is_stopped_beside_the_work_of_the_model_does_not_fail_it() {
    let worked = || result(TurnEnd { turns: 1, ..good() });
    let messages = [
        stopped("a follow-up"),
        task_failed(),
        text("m", "All is done."),
        worked(),
    ];
    let mut turns = after(&messages);
    assert_eq!(turns.standing(QUIET), Standing::Over(Ending::Finished));
    turns.take(&said(result(without_rounds())));
    let next = Standing::Over(Ending::Finished);
    assert_eq!(turns.standing(QUIET), next, "it is forgotten with its turn");
}

#[test]
fn an_error_without_rounds_does_not_undo_a_good_result() {
    let error = |turns| {
        result(TurnEnd {
            is_error: true,
            turns,
            ..TurnEnd::default()
        })
    };
    let over = |messages: &[Message]| after(messages).ending_of_gone(QUIET).name();
    assert_eq!(over(&[result(good()), error(0)]), "finished");
    assert_eq!(over(&[result(good()), error(1)]), "refused", "the model had begun");
    assert_eq!(over(&[error(0)]), "refused", "there is nothing to undo");
    let mut turns = after(&[result(good())]);
    sent(&mut turns, Uuid::from_u128(2));
    turns.take(&said(error(0)));
    assert_eq!(turns.ending_of_gone(QUIET).name(), "refused", "another message waits");
}

#[test]
fn rounds_of_the_model_are_counted_until_a_result_has_them() {
    let text = |message: &str, parent: Option<&str>, error: Option<ApiFault>| Message::Text {
        message_id: message.into(),
        block: 0,
        text: "words".into(),
        parent: parent.map(str::to_owned),
        aborted: false,
        error,
    };
    let rounds = [
        text("m1", None, None),
        text("m1", None, None),
        text("s1", Some("subagent"), None),
        text("m2", None, None),
        text("e1", None, Some(ApiFault::ServerError)),
    ];
    let counted = |more: Option<TurnEnd>| {
        let more = more.map(result);
        let messages: Vec<_> = rounds.iter().cloned().chain(more).collect();
        after(&messages)
    };
    assert_eq!(counted(None).uncounted_rounds(), 2);
    let notice = TurnEnd {
        synthetic: true,
        ..good()
    };
    assert_eq!(counted(Some(notice)).uncounted_rounds(), 2);
    let end = TurnEnd { turns: 2, ..good() };
    assert_eq!(counted(Some(end)).uncounted_rounds(), 0);
    let mut cut = counted(None);
    let (message_id, from_block) = ("m2".into(), 0);
    cut.take(&Entry::DraftDropped(DroppedDraft { message_id, from_block }));
    assert_eq!(
        cut.uncounted_rounds(),
        1,
        "the model is asked again for what was cut off"
    );
}

#[test]
fn a_missing_login_is_told_by_the_text_in_the_models_place() {
    let text = |error: Option<ApiFault>| Message::Text {
        message_id: "m".into(),
        block: 0,
        text: "Not logged in \u{b7} Please run /login".into(),
        parent: None,
        aborted: false,
        error,
    };
    let told = |error| after(&[text(error)]).standing(QUIET);
    let message = "Not logged in \u{b7} Please run /login".to_owned();
    let not_signed_in = Ending::NotSignedIn { message, until: None };
    assert_eq!(
        told(Some(ApiFault::AuthenticationFailed)),
        Standing::Over(not_signed_in.clone())
    );
    assert_eq!(told(Some(ApiFault::RateLimit)), Standing::Working);
    assert_eq!(told(None), Standing::Working, "an agent may say so of something else");
    assert_eq!(
        after(&[text(Some(ApiFault::AuthenticationFailed))]).ending_of_gone(QUIET),
        not_signed_in
    );
    let sentence = not_signed_in.to_string();
    assert!(
        sentence.contains("run `claude` once") && sentence.ends_with("Please run /login"),
        "{sentence}"
    );
}

#[test]
fn a_conversation_that_is_missing_is_told_on_stderr_at_the_start_alone() {
    let stderr = |turns: &mut Turns, refusal: Option<StartRefusal>| {
        let text = "the CLI's words".into();
        turns.take(&Entry::AgentStderr(Stderr { text, refusal }));
    };
    let message = "No conversation found with session ID: x".to_owned();
    let missing = || {
        let message = message.clone();
        Some(StartRefusal::NoConversation { message })
    };
    let mut turns = after(&[]);
    stderr(&mut turns, None);
    assert_eq!(turns.ending_of_gone(QUIET), Ending::Crashed);
    stderr(&mut turns, missing());
    let message = message.clone();
    assert_eq!(turns.ending_of_gone(QUIET), Ending::LostContext { message });
    let mut turns = after(&[text("m", "I look.")]);
    stderr(&mut turns, missing());
    assert_eq!(turns.ending_of_gone(QUIET), Ending::Crashed);
}

#[test]
fn an_api_that_cannot_be_reached_is_told_from_an_answer_that_cannot_be_used() {
    let check = |fault: ApiFault, expected: &str| {
        let report = Message::Text {
            message_id: "m".into(),
            block: 0,
            text: "API Error: the words are those of the version".into(),
            parent: None,
            aborted: false,
            error: Some(fault.clone()),
        };
        let end = TurnEnd {
            is_error: true,
            conclusion: Some(Conclusion::NoStatus),
            ..good()
        };
        let Standing::Over(ending) = after(&[report, result(end)]).standing(QUIET) else {
            panic!("{fault}: it goes on")
        };
        assert_eq!(ending.name(), expected, "{fault}");
    };
    check(ApiFault::ServerError, "api_down");
    check(ApiFault::Unknown, "api_down");
    check(ApiFault::Other("max_output_tokens".into()), "refused");
}

#[test]
fn a_turn_is_interrupted_by_an_answer_or_cut_off() {
    let interrupted = || {
        result(TurnEnd {
            conclusion: Some(Conclusion::Interrupted),
            is_error: true,
            ..good()
        })
    };
    assert_eq!(after(&[interrupted()]).ending_of_gone(QUIET), Ending::Crashed);
    let ending = |interrupt| {
        let mut turns = after(&[]);
        turns.take(&denied(interrupt));
        turns.take(&attempt_started(2));
        sent(&mut turns, OURS);
        turns.take(&said(interrupted()));
        turns.ending_of_gone(QUIET).name()
    };
    assert_eq!((ending(true), ending(false)), ("refused", "crashed"));
}
