//! The journal's records: the only source of truth about a session, and the shape every client sees.
//!
//! A record is `{seq, session_id, attempt, at, kind, data}`; [`Entry`] is the closed list of kinds with their data.
//! Fields may be added to a kind; a kind's meaning never changes.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::clarify::Clarifications;
use super::grant::Grant;
use super::id::{Attempt, QuestionId, Seq, SessionId};
use super::limits::Limits;
use super::message::{InputState, Message, Usage};
use super::outcome::{Ending, Outcome, StopFor};
use super::question::{Answer, Question};
use super::request::{Claim, Request};
use super::terms::Terms;
use super::trust::Project;

pub use self::creation::shown_creation;
pub use self::state_name::StateName;

mod creation;
mod state_name;

/// Defines [`Entry`] so that each kind's name stands in one place only.
macro_rules! entries {
    ($($(#[$doc:meta])* $variant:ident($data:ty) = $kind:literal,)*) => {
        /// What one record says.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Entry {
            $($(#[$doc])* $variant($data),)*
        }

        impl Entry {
            /// Every kind, in the order of a session's life.
            pub const KINDS: &'static [&'static str] = &[$($kind),*];

            /// The kind, as on every wire.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }

            /// The data as JSON text.
            pub fn to_json(&self) -> serde_json::Result<String> {
                match self {
                    $(Self::$variant(data) => serde_json::to_string(data),)*
                }
            }

            /// Shows each kind with the type of its data.
            pub fn each_kind(visitor: &mut impl VisitKind) {
                $(visitor.visit::<$data>($kind);)*
            }

            /// Reads what [`Entry::kind`] and [`Entry::to_json`] wrote.
            pub fn from_json(kind: &str, data: &str) -> Result<Self, UnreadableRecord> {
                let unreadable = |source| UnreadableRecord::Data { kind: kind.to_owned(), source };
                match kind {
                    $($kind => serde_json::from_str(data).map(Self::$variant).map_err(unreadable),)*
                    _ => Err(UnreadableRecord::Kind(kind.to_owned())),
                }
            }
        }
    };
}

entries! {
    /// A session was asked for.
    SessionCreated(Box<Created>) = "session.created",
    /// The session's state changed.
    SessionState(StateChange) = "session.state",
    /// An attempt begins.
    AttemptStarted(AttemptStart) = "attempt.started",
    /// A message to the agent, and what became of it.
    Input(Input) = "input",
    /// The agent said something.
    AgentMessage(Box<Said>) = "agent.message",
    /// The agent said something that we do not understand.
    AgentUnknown(UnknownLine) = "agent.unknown",
    /// The agent wrote to its standard error.
    AgentStderr(Stderr) = "agent.stderr",
    /// Partial text that was shown will never be completed.
    DraftDropped(DroppedDraft) = "draft.dropped",
    /// A new attempt can start from here.
    Checkpoint(Checkpoint) = "checkpoint",
    /// What has been used so far.
    Usage(Usage) = "usage",
    /// The agent needs a person.
    QuestionAsked(Question) = "question.asked",
    /// Somebody answered.
    QuestionAnswered(Answered) = "question.answered",
    /// The answer reached the agent.
    QuestionDelivered(QuestionRef) = "question.delivered",
    /// The question no longer waits.
    QuestionWithdrawn(Withdrawn) = "question.withdrawn",
    /// Somebody used a control.
    Control(Control) = "control",
    /// Something a person should know.
    Notice(Text) = "notice",
    /// The wall clock jumped: the machine slept, was off, or its clock was set; or nothing of a session
    /// lived for so long.
    ClockJumped(ClockJump) = "clock.jumped",
    /// The agent is ended though work of its own still goes on.
    WorkCutOff(CutOff) = "work.cut_off",
    /// An attempt has ended; its agent and what it left behind are gone.
    AttemptEnded(AttemptEnd) = "attempt.ended",
    /// Another attempt will follow.
    RetryScheduled(RetryScheduled) = "retry.scheduled",
    /// A fresh agent was told the story so far, because the old conversation was lost.
    ContextRebuilt(Why) = "context.rebuilt",
    /// The task is clear, and run as it stands here.
    TaskRefined(Box<Refined>) = "task.refined",
    /// An ended session goes on by hand.
    SessionResumed(Resumed) = "session.resumed",
    /// The session has ended.
    SessionEnded(SessionEnd) = "session.ended",
}

/// Looks at the kinds of records with the types of their data, of which no value is at hand.
pub trait VisitKind {
    /// One kind.
    fn visit<D: ToSchema>(&mut self, kind: &'static str);
}

/// A record that cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRecord {
    /// A newer version wrote it, or the database is damaged.
    #[error("unknown kind of record {0:?}: was this journal written by a newer version?")]
    Kind(String),
    /// Its data does not fit its kind.
    #[error("the data of a {kind} record cannot be read: {source}")]
    Data {
        /// The kind.
        kind: String,
        /// The error of the JSON decoder.
        source: serde_json::Error,
    },
}

/// One entry in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its place among the records of all sessions; grows, with gaps.
    pub id: i64,
    /// The session it belongs to.
    pub session_id: SessionId,
    /// Its number in the session.
    pub seq: Seq,
    /// The attempt during which it was written.
    pub attempt: Attempt,
    /// When it was written.
    pub at: Timestamp,
    /// The content.
    pub entry: Entry,
}

/// Data of `session.created`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Created {
    /// The request as it was accepted.
    pub request: Request,
    /// Who asked, in words for a person.
    pub by: String,
    /// The key under which the caller can find it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What starts by itself, unless it was trusted without a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<Box<Project>>,
}

/// Data of `session.state`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StateChange {
    /// The state before.
    pub from: StateName,
    /// The state from now on.
    pub to: StateName,
    /// Why, in a sentence.
    pub reason: String,
    /// When a waiting session goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// What a stopping session stops for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_for: Option<StopFor>,
}

/// Data of `attempt.started`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AttemptStart {
    /// Its number.
    #[schema(value_type = u32)]
    pub attempt: Attempt,
    /// The agent's own session id.
    pub agent_session_id: Uuid,
    /// The checkpoint's record it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub resumed_from: Option<Seq>,
}

/// Data of `input`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Input {
    /// Our id of the message.
    pub uuid: Uuid,
    /// The state of the message.
    pub state: InputState,
    /// The text, with its first record only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Data of `agent.message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Said {
    /// The agent's own id of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// Where the line begins in the attempt's spool, in bytes: the raw line is kept there.
    pub offset: u64,
    /// The message.
    pub message: Message,
}

/// Data of `agent.unknown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnknownLine {
    /// Where the line begins in the attempt's spool, in bytes.
    pub offset: u64,
    /// Its type, when it is JSON and has one.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The line's first 4 KiB.
    pub line: String,
    /// Its whole length in bytes.
    pub bytes: u64,
}

/// Data of `agent.stderr`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stderr {
    /// The text.
    pub text: String,
    /// The refusal to start that the text tells of. Version 0.1 did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<StartRefusal>,
}

/// Reason for which an agent exits before its first turn. `agent::wire` reads it from the agent's stderr.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StartRefusal {
    /// The conversation to resume does not exist.
    NoConversation {
        /// The agent's own words.
        message: String,
    },
    /// The conversation to begin exists already.
    ConversationExists,
}

/// Data of `notice`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Text {
    /// The text.
    pub text: String,
}

/// Data of `draft.dropped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DroppedDraft {
    /// The message the partial text belonged to.
    pub message_id: String,
    /// The first block that is dropped.
    pub from_block: u32,
}

/// Data of `question.answered`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answered {
    /// The question.
    pub question_id: QuestionId,
    /// The answer.
    pub answer: Answer,
    /// Who gave it, in words for a person.
    pub by: String,
    /// Exactly what was granted along with it, for the rest of the session; absent where nothing was, and in records of
    /// versions that did not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub granted: Vec<Grant>,
}

/// Data of `question.delivered`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuestionRef {
    /// The question.
    pub question_id: QuestionId,
}

/// Data of `question.withdrawn`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Withdrawn {
    /// The question.
    pub question_id: QuestionId,
    /// The reason, in words for a person.
    pub why: String,
}

/// Data of `control`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Control {
    /// What was done: `cancel`, `resume`, …
    pub action: String,
    /// Who did it, in words for a person.
    pub by: String,
}

/// Data of `clock.jumped`: times of the journal before it and behind it are so much farther apart than they were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClockJump {
    /// The earliest time that the clock can have shown since.
    pub since: Timestamp,
    /// By how much it went ahead, in milliseconds; less than 0 where it was set back.
    pub by_ms: i64,
}

/// Data of `work.cut_off`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutOff {
    /// Background shells and timers that are ended with the agent, each in a line.
    pub what: Vec<String>,
}

/// Data of `attempt.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttemptEnd {
    /// The kind of ending.
    #[serde(flatten)]
    pub ending: Ending,
    /// How its process ended, when that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// The tool call that was open, as one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_tool: Option<String>,
    /// Processes it left behind, which were ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<String>,
    /// Questions of this attempt whose answers may have been written to the agent. Absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers_written: Option<Vec<QuestionId>>,
    /// Background shells and timers that were ended with it, each in a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut_off: Vec<String>,
}

/// Data of `retry.scheduled`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetryScheduled {
    /// The time.
    pub at: Timestamp,
    /// Why, in a sentence.
    pub cause: String,
}

/// Data of `context.rebuilt`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// Why, in a sentence.
    pub why: String,
}

/// Data of `task.refined`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refined {
    /// The task with what was made clear about it.
    pub task: String,
    /// What was made clear.
    #[serde(flatten)]
    pub clarifications: Clarifications,
}

/// Data of `session.resumed`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Resumed {
    /// Who resumed it, in words for a person.
    pub by: String,
    /// What the agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// The checkpoint's record it was cut back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    pub at: Option<Seq>,
    /// The agent's id of the last message that is kept, where it was cut back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Uuid>,
    /// What holds from now on instead of the request, or besides it, where it was cut back: what held both there and at
    /// the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Terms>)]
    pub terms: Option<Box<Terms>>,
    /// The limits in force from here on. Turns and time count from this record, money over the whole session. In records
    /// of earlier versions this is absent: the limits before stay in force, and all of them count from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Data of `session.ended`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct SessionEnd {
    /// The outcome.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// A sentence for a person.
    pub summary: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_reads_as_it_is_written() {
        let entries = [
            Entry::Notice(Text { text: "hello".into() }),
            Entry::AttemptEnded(AttemptEnd {
                ending: Ending::Crashed,
                exit: None,
                open_tool: None,
                leftovers: vec![],
                answers_written: None,
                cut_off: Vec::new(),
            }),
            Entry::SessionEnded(SessionEnd {
                outcome: Outcome::Completed,
                summary: "done".into(),
            }),
            Entry::Usage(Usage::default()),
        ];
        for entry in entries {
            let json = entry.to_json().unwrap();
            assert_eq!(Entry::from_json(entry.kind(), &json).unwrap(), entry, "{json}");
        }
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let error = Entry::from_json("agent.sang", "{}").unwrap_err();
        assert!(error.to_string().contains("agent.sang"));
    }
}
