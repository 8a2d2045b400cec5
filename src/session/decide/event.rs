//! What can happen to a session, and what somebody can want of it.

use uuid::Uuid;

use crate::session::clarify::Analysis;
use crate::session::id::{Attempt, QuestionId, Seq};
use crate::session::journal::AttemptEnd;
use crate::session::kin::{Excess, Rights};
use crate::session::limits::{BudgetSpent, Limits};
use crate::session::outcome::Outcome;
use crate::session::question::{Answer, AnswerMismatch, Question};
use crate::session::state::StateName;
use crate::session::summary::Effective;

/// Something that happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A slot is free for the head of the queue.
    SlotFree {
        /// The id of the conversation, should a new one have to begin.
        fresh: Uuid,
        /// The record of the last checkpoint.
        checkpoint: Option<Seq>,
    },
    /// The agent of this attempt has said its first word.
    AgentUp {
        /// The attempt.
        attempt: Attempt,
    },
    /// The attempt is over; its agent and what it left behind are gone, and all it wrote is journalled.
    AttemptEnded {
        /// The attempt.
        attempt: Attempt,
        /// The end, with its cause.
        end: AttemptEnd,
        /// What it says, where it was to find out whether the task is clear.
        analysis: Option<Box<Analysis>>,
    },
    /// A session is to start with something that nobody has trusted.
    AskForTrust {
        /// What a person is asked.
        question: Question,
    },
    /// The wait before the next attempt is over.
    RetryDue {
        /// The attempt before the wait.
        attempt: Attempt,
    },
    /// The session's active time is used up.
    TimeUp,
    /// The question has waited for a person for as long as the request lets it.
    NobodyAnswered {
        /// The question.
        question_id: QuestionId,
    },
    /// Somebody wants something of the session.
    Wish(Wish),
}

/// Something that a person, an agent or a program of theirs wants of a session. A closed list: all that anybody can have
/// done to a session that exists is here.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// To answer one of its questions.
    Answer(GivenAnswer),
    /// To cancel it.
    Cancel {
        /// Who, in words for a person.
        by: String,
    },
    /// To go on with it after its end.
    Resume(Box<Resumption>),
}

/// An answer as somebody gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenAnswer {
    /// The question.
    pub question_id: QuestionId,
    /// The answer.
    pub answer: Answer,
    /// Who gives it, in words for a person.
    pub by: String,
    /// The rights of the session whose agent gives it, where one does.
    pub rights: Option<Box<Rights>>,
}

/// How somebody goes on with an ended session.
#[derive(Clone, Debug, PartialEq)]
pub struct Resumption {
    /// Who does, in words for a person.
    pub by: String,
    /// What the agent is told besides what it would be told anyway.
    pub instruction: Option<String>,
    /// Where the conversation is cut, unless it goes on at its end.
    pub at: Option<CutAt>,
    /// New limits; each that is not given stays as it is.
    pub limits: Limits,
}

/// Where a conversation is cut.
#[derive(Clone, Debug, PartialEq)]
pub struct CutAt {
    /// The record of the checkpoint.
    pub seq: Seq,
    /// The agent's id of the last message that is kept.
    pub message: Uuid,
    /// What a person should know about it.
    pub notice: Option<String>,
    /// The terms of the session at this record.
    pub then: Effective,
    /// Its terms now.
    pub now: Effective,
}

/// Why a wish is refused; each reason says what could be done instead.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Denied {
    /// The session has ended, and not by being cancelled.
    #[error("the session has already ended: {}", .0.name())]
    AlreadyEnded(Outcome),
    /// The session has not ended.
    #[error("the session is still {0}")]
    StillLive(StateName),
    /// The session was completed.
    #[error("the session is completed")]
    Completed,
    /// The session has no money left to go on with.
    #[error(transparent)]
    BudgetSpent(#[from] BudgetSpent),
    /// The session has no such question, or it was settled without an answer.
    #[error("the session has no open question {0}")]
    NoSuchQuestion(QuestionId),
    /// Somebody was quicker.
    #[error("question {0} is already answered")]
    AlreadyAnswered(QuestionId),
    /// Nobody is told an answer any more.
    #[error("the session is being ended: its questions are not answered any more")]
    BeingEnded,
    /// The answer does not fit its question.
    #[error(transparent)]
    AnswerMismatch(#[from] AnswerMismatch),
    /// An agent wants more than its own session has.
    #[error(transparent)]
    Excess(#[from] Excess),
}

impl Denied {
    /// True if an answer is refused only because its question needs none any more.
    pub fn is_settled_question(&self) -> bool {
        match self {
            Self::NoSuchQuestion(_) | Self::AlreadyAnswered(_) | Self::BeingEnded => true,
            Self::AlreadyEnded(_)
            | Self::StillLive(_)
            | Self::Completed
            | Self::BudgetSpent(_)
            | Self::AnswerMismatch(_)
            | Self::Excess(_) => false,
        }
    }
}
