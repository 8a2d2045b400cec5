//! What the daemon's answers hold: views of sessions, records and partial text, as clients read them.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::session::amounts::duration;
use crate::session::id::{QuestionId, SessionId};
use crate::session::journal::{Entry, UnreadableRecord};
use crate::session::limits::{Limits, Used};
use crate::session::message::Usage;
use crate::session::question::QuestionKind;
use crate::session::shown::Shown;
use crate::session::terms::Terms;
use crate::store::EntryCell;

/// A session as the daemon shows it. Fields that a client can do without have defaults: an older daemon may lack them.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct View {
    /// The session.
    pub(crate) session_id: SessionId,
    /// What a person calls it.
    #[serde(default)]
    pub(crate) name: String,
    /// The state as it is shown.
    pub(crate) state: String,
    /// The cause of the failure.
    #[serde(default)]
    pub(crate) cause: Option<String>,
    /// When it goes on by itself, where that is known.
    #[serde(default)]
    pub(crate) waits_until: Option<Timestamp>,
    /// How it ended; none while it goes on.
    #[serde(default)]
    pub(crate) outcome: Option<String>,
    /// The number of its attempt.
    #[serde(default)]
    pub(crate) attempt: u32,
    /// The directory it works in.
    #[serde(default)]
    pub(crate) cwd: String,
    /// When it was asked for.
    pub(crate) created_at: Timestamp,
    /// Time at work so far, in milliseconds; none from a daemon of an earlier version.
    #[serde(default)]
    active_ms: Option<u64>,
    /// Model calls so far.
    #[serde(default)]
    pub(crate) turns: u32,
    /// The limits in force and what counts against them.
    #[serde(default)]
    pub(crate) limits: Option<LimitsInForce>,
    /// Tokens used so far.
    #[serde(default)]
    usage: Tokens,
    /// Cost so far in US dollars.
    #[serde(default)]
    cost_usd: f64,
    /// The model, once it is known.
    #[serde(default)]
    pub(crate) model: Option<String>,
    /// What holds besides what was asked for, or instead of it.
    #[serde(default)]
    pub(crate) terms: Terms,
    /// Questions that are not done with.
    #[serde(default)]
    pub(crate) questions: Vec<OpenQuestion>,
    /// The last final text.
    #[serde(default)]
    pub(crate) result: Option<String>,
    /// The sentence about its end, or about what it waits for.
    #[serde(default)]
    pub(crate) note: Option<String>,
    /// Background shells and timers that were ended with the agent.
    #[serde(default)]
    pub(crate) cut_off: Vec<String>,
    /// Timers that its agent has set.
    #[serde(default)]
    pub(crate) timers: Vec<String>,
    /// The number of its last record.
    #[serde(default)]
    pub(crate) head: u64,
}

/// Limits of a [`View`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct LimitsInForce {
    /// The limits.
    #[serde(flatten)]
    pub(crate) limits: Limits,
    /// What counts against them.
    pub(crate) used: Used,
}

/// Tokens of a [`View`]; their cost stands beside them.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Tokens {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
}

impl View {
    /// What has been used so far.
    pub(crate) fn used(&self) -> Usage {
        Usage {
            input_tokens: self.usage.input_tokens,
            output_tokens: self.usage.output_tokens,
            cache_read_tokens: self.usage.cache_read_tokens,
            cache_write_tokens: self.usage.cache_write_tokens,
            cost_usd: self.cost_usd,
        }
    }

    /// What it may use from now on, given that it was just resumed.
    pub(crate) fn granted(&self) -> Option<String> {
        self.limits?.limits.granted(self.cost_usd)
    }

    /// Time at work in words, where the daemon says it.
    pub(crate) fn at_work(&self) -> Option<String> {
        let ms = i64::try_from(self.active_ms?).unwrap_or(i64::MAX);
        Some(duration(SignedDuration::from_millis(ms)))
    }

    /// Whether the session has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.outcome.is_some() || self.state.parse::<Shown>().is_ok_and(|state| !state.is_live())
    }

    /// How it ended, by whichever field says so.
    pub(crate) fn ended_as(&self) -> Option<&str> {
        self.has_ended().then(|| self.outcome.as_deref().unwrap_or(&self.state))
    }

    /// Questions that nobody has answered.
    pub(crate) fn unanswered(&self) -> impl Iterator<Item = &OpenQuestion> {
        self.questions.iter().filter(|question| !question.answered)
    }
}

/// A question of a [`View`].
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OpenQuestion {
    /// Its name in the session.
    pub(crate) question_id: QuestionId,
    /// It has an answer that is not delivered yet.
    #[serde(default)]
    pub(crate) answered: bool,
    /// The agent that asked it is gone; an answer is kept for the next one.
    #[serde(default)]
    pub(crate) orphaned: bool,
    /// The content of the question.
    #[serde(flatten)]
    pub(crate) kind: QuestionKind,
}

/// A record as it comes over the wire; its data is read on demand.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct WireRecord {
    /// Its number in the session.
    pub(crate) seq: u64,
    /// When it was written.
    pub(crate) at: Timestamp,
    /// Its kind.
    pub(crate) kind: String,
    /// The data, as JSON text.
    pub(crate) data: Box<RawValue>,
    /// What it says, once somebody has looked.
    #[serde(skip)]
    entry: EntryCell,
}

impl WireRecord {
    /// What it says; an error for a kind that only a newer version knows.
    pub(crate) fn entry(&self) -> Result<&Entry, &UnreadableRecord> {
        self.entry.get(&self.kind, self.data.get())
    }
}

/// Partial text as it comes over the wire.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct WireDelta {
    /// The message it belongs to.
    pub(crate) message_id: String,
    /// The content block of that message.
    pub(crate) block: u32,
    /// What is being written.
    pub(crate) part: SeenPart,
    /// How many characters of the block come before it.
    pub(crate) offset: u64,
    /// The text that was added.
    pub(crate) text: String,
}

/// What partial text is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SeenPart {
    /// Text for the reader.
    Text,
    /// The model's thinking.
    Thinking,
    /// The input of a tool call.
    ToolInput,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_with_a_question_reads() {
        let json = r#"{"session_id":"01890000-0000-7000-8000-00000000abcd","state":"awaiting_input","new_field":1,
            "usage":{"input_tokens":3,"output_tokens":4,"cache_read_tokens":0,"cache_write_tokens":0},"cost_usd":0.5,
            "created_at":"2026-01-01T00:00:00Z","questions":[{"question_id":"q1","asked_at":"2026-01-01T00:00:00Z",
            "answered":false,"orphaned":true,"headline":"Bash: ls","ask":"permission","tool":"Bash","input":{"command":"ls"}}]}"#;
        let view: View = serde_json::from_str(json).unwrap();
        assert!(!view.has_ended());
        assert_eq!((view.used().tokens(), view.used().cost_usd), (7, 0.5));
        let question = view.unanswered().next().unwrap();
        assert_eq!(
            (question.kind.headline().as_str(), question.orphaned),
            ("Bash: ls", true)
        );
    }
}
