//! Messages and entries for tests of whatever folds journals; what a test says nothing about is left out or plain.

use serde_json::json;
use uuid::Uuid;

use super::id::{Attempt, QuestionId};
use super::journal::{Answered, AttemptEnd, AttemptStart, Created, Entry, Input, Said, SessionEnd, StateChange};
use super::message::{InputState, Message, TurnEnd};
use super::outcome::{Ending, Outcome};
use super::question::{Answer, Question, QuestionKind};
use super::request::Request;
use super::state::StateName;
use super::summary::Summary;

/// A session with this task, asked for by a test.
pub(crate) fn created(task: &str) -> Created {
    let request = Request {
        task: task.into(),
        cwd: "/home".into(),
        ..Request::default()
    };
    Created {
        request,
        by: "a test".into(),
        claim: None,
        project: None,
    }
}

/// What the agent said, from the beginning of its output.
pub(crate) fn said(message: Message) -> Entry {
    let (uuid, offset) = (None, 0);
    Entry::AgentMessage(Box::new(Said { uuid, offset, message }))
}

/// The first block of a message.
pub(crate) fn text(message_id: &str, text: &str) -> Message {
    Message::Text {
        message_id: message_id.into(),
        block: 0,
        text: text.into(),
        parent: None,
        aborted: false,
        error: None,
    }
}

/// The question of an agent that wants to run this command in Bash.
pub(crate) fn permission(command: &str) -> QuestionKind {
    QuestionKind::Permission {
        tool: "Bash".into(),
        input: json!({"command": command}),
        reason: None,
        suggestions: vec![],
    }
}

/// The session's agent asks for leave to run this command in Bash.
pub(crate) fn ask_permission(summary: &mut Summary, command: &str) {
    let question = Question {
        question_id: QuestionId(1),
        request_id: "r".into(),
        tool_use_id: None,
        kind: permission(command),
    };
    let at = summary.created_at;
    summary.ask(&question, at);
}

/// A call of Bash.
pub(crate) fn tool_use(id: &str, command: &str) -> Message {
    Message::ToolUse {
        message_id: "m".into(),
        block: 0,
        tool_use_id: id.into(),
        name: "Bash".into(),
        input: json!({"command": command}),
        parent: None,
        called_at: None,
    }
}

/// Its result.
pub(crate) fn tool_result(id: &str, text: &str) -> Message {
    Message::ToolResult {
        tool_use_id: id.into(),
        text: text.into(),
        is_error: false,
        parent: None,
    }
}

/// A turn that has ended well, and answers nothing of ours.
pub(crate) fn good_turn() -> TurnEnd {
    TurnEnd {
        subtype: "success".into(),
        ..TurnEnd::default()
    }
}

/// The end of a turn.
pub(crate) fn turn_ended(end: TurnEnd) -> Message {
    Message::TurnEnded(Box::new(end))
}

/// A message of ours.
pub(crate) fn input(uuid: Uuid, state: InputState, text: Option<&str>) -> Entry {
    let text = text.map(str::to_owned);
    Entry::Input(Input { uuid, state, text })
}

/// The denial of the first question, which may interrupt the turn that it was asked in.
pub(crate) fn denied(interrupt: bool) -> Entry {
    Entry::QuestionAnswered(Answered {
        question_id: QuestionId(1),
        answer: Answer::Deny {
            reason: None,
            interrupt,
        },
        by: "a test".into(),
        granted: Vec::new(),
    })
}

/// An attempt whose conversation has its number.
pub(crate) fn attempt_started(attempt: u32) -> Entry {
    Entry::AttemptStarted(AttemptStart {
        attempt: Attempt(attempt),
        agent_session_id: Uuid::from_u128(attempt.into()),
        resumed_from: None,
    })
}

/// An attempt that left nothing behind.
pub(crate) fn attempt_ended(ending: Ending) -> Entry {
    Entry::AttemptEnded(AttemptEnd {
        ending,
        exit: None,
        open_tool: None,
        leftovers: Vec::new(),
        answers_written: None,
        cut_off: Vec::new(),
    })
}

/// A change of state for no reason.
pub(crate) fn state_changed(from: StateName, to: StateName) -> Entry {
    Entry::SessionState(StateChange {
        from,
        to,
        reason: String::new(),
        until: None,
        stop_for: None,
    })
}

/// The end of the session.
pub(crate) fn session_ended(outcome: Outcome) -> Entry {
    let summary = "so it is".into();
    Entry::SessionEnded(SessionEnd { outcome, summary })
}
