//! Entries and appends to fill journals with.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::session::checkpoint::Checkpoint;
use crate::session::clarify::Clarifications;
use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::{
    Answered, Created, Entry, Input, QuestionRef, Refined, Resumed, SessionEnd, StateChange, Text, Withdrawn,
};
use crate::session::message::{Conclusion, InputState, TurnEnd, Usage};
use crate::session::outcome::Outcome;
use crate::session::question::{Answer, Question, QuestionKind};
use crate::session::samples;
pub(in crate::store) use crate::session::samples::{attempt_ended, attempt_started as started};
use crate::session::state::StateName;
use crate::store::{Append, SpoolSpan};

pub(in crate::store) fn at() -> Timestamp {
    Timestamp::from_millisecond(1_800_000_000_123).unwrap()
}

pub(in crate::store) fn created() -> Created {
    samples::created("tidy up")
}

/// An append of one notice, before the first attempt.
pub(in crate::store) fn notice(session_id: SessionId, text: &str) -> Append {
    append(session_id, 0, None, vec![said(text)])
}

pub(in crate::store) fn said(text: &str) -> Entry {
    Entry::Notice(Text { text: text.into() })
}

pub(in crate::store) fn append(
    session_id: SessionId,
    attempt: u32,
    span: Option<(u64, u64)>,
    entries: Vec<Entry>,
) -> Append {
    Append {
        session_id,
        attempt: Attempt(attempt),
        span: span.map(|(from, through)| SpoolSpan { from, through }),
        at: at(),
        entries,
    }
}

pub(in crate::store) fn ended() -> Entry {
    Entry::SessionEnded(SessionEnd {
        outcome: Outcome::Completed,
        summary: "done".into(),
    })
}

pub(in crate::store) fn resumed() -> Entry {
    Entry::SessionResumed(Resumed {
        by: "me".into(),
        ..Resumed::default()
    })
}

pub(in crate::store) fn state(to: StateName) -> Entry {
    Entry::SessionState(StateChange {
        from: StateName::Queued,
        to,
        reason: "so it is".into(),
        until: Some(at()),
        stop_for: None,
    })
}

pub(in crate::store) fn input(n: u32, text: &str) -> Entry {
    Entry::Input(Input {
        uuid: Uuid::from_u128(n.into()),
        state: if n == 3 {
            InputState::Completed
        } else {
            InputState::Sent
        },
        text: Some(text.to_owned()),
    })
}

pub(in crate::store) fn agent_text(words: &str) -> Entry {
    samples::said(samples::text("m", words))
}

pub(in crate::store) fn checkpoint(turns: u32) -> Entry {
    Entry::Checkpoint(Checkpoint {
        agent_session_id: Uuid::from_u128(1),
        message: None,
        offset: 7,
        turns,
        usage: spent(turns, 0.0),
        questions_open: 0,
        git: None,
    })
}

pub(in crate::store) fn turn_ended(turns: u32, cost_usd: f64) -> Entry {
    samples::said(samples::turn_ended(TurnEnd {
        conclusion: Some(Conclusion::Good),
        is_error: turns == 0,
        result: "so it is\n".repeat(turns as usize),
        structured_output: (turns == 2).then(|| json!({ "cost": cost_usd })),
        turns,
        usage: spent(turns, cost_usd),
        ..TurnEnd::default()
    }))
}

pub(in crate::store) fn usage(tokens: u32, cost_usd: f64) -> Entry {
    Entry::Usage(spent(tokens, cost_usd))
}

fn spent(tokens: u32, cost_usd: f64) -> Usage {
    Usage {
        output_tokens: tokens.into(),
        cost_usd,
        ..Usage::default()
    }
}

pub(in crate::store) fn asked(n: u32) -> Entry {
    Entry::QuestionAsked(Question {
        question_id: QuestionId(n),
        request_id: format!("r{n}"),
        tool_use_id: None,
        kind: QuestionKind::Plan {
            plan: Some("first this, then that".into()),
            input: json!({ "n": n }),
        },
    })
}

pub(in crate::store) fn question_answered(n: u32) -> Entry {
    Entry::QuestionAnswered(Answered {
        question_id: QuestionId(n),
        answer: Answer::Allow {
            updated_input: None,
            remember: n == 1,
            grant: Vec::new(),
        },
        by: "me".into(),
        granted: Vec::new(),
    })
}

pub(in crate::store) fn delivered(n: u32) -> Entry {
    Entry::QuestionDelivered(QuestionRef {
        question_id: QuestionId(n),
    })
}

pub(in crate::store) fn withdrawn(n: u32) -> Entry {
    Entry::QuestionWithdrawn(Withdrawn {
        question_id: QuestionId(n),
        why: "gone".into(),
    })
}

pub(in crate::store) fn task_refined(task: &str) -> Entry {
    let answers = [("Which?".to_owned(), "this".to_owned())].into();
    let clarifications = Clarifications {
        answers,
        left_open: None,
    };
    let task = clarifications.refine(task);
    Entry::TaskRefined(Box::new(Refined { task, clarifications }))
}
