//! The end of a turn, and the tokens and money that it used.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::session::amounts::money;
use crate::session::outcome::Cause;

/// Conclusion of a turn: the CLI's words for it, decoded by `agent::wire`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// The turn ended well.
    Good,
    /// A control request, an answer or a signal interrupted the turn.
    Interrupted,
    /// The conversation to resume does not exist.
    NoConversation,
    /// A usage limit is reached.
    UsageLimit,
    /// The API refuses the login.
    LoginRefused,
    /// The API fails, or cannot be reached.
    ApiFailed,
    /// The API gave no status. The [`ApiFault`](super::ApiFault) that the agent reported before says if that passes.
    NoStatus,
    /// The turn failed, and the same turn would fail again.
    Failed(Cause),
}

/// The end of a turn, from the CLI's `result` line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TurnEnd {
    /// Conclusion from the CLI's words below. Version 0.1 did not write it; [`TurnEnd::concluded`] does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conclusion: Option<Conclusion>,
    /// One line about a conclusion that is not good.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The CLI's subtype, such as `error_max_turns`.
    pub subtype: String,
    /// True for an error. The subtype alone does not say.
    pub is_error: bool,
    /// The CLI's reason, such as `max_turns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal_reason: Option<String>,
    /// The model's reason to stop, such as `end_turn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// The final text.
    pub result: String,
    /// Errors, one a line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
    /// The API's HTTP status behind an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_status: Option<u16>,
    /// The API's error in the CLI's words, such as `usage_limit_reached`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_error: Option<String>,
    /// What the request's JSON Schema asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub structured_output: Option<Value>,
    /// Our messages that this turn answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Uuid>,
    /// Turns the CLI still has queued.
    pub queued_turns: u32,
    /// The turn was begun by the CLI itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub synthetic: bool,
    /// Turns by the CLI's own count, which has interruptions, failed requests and results of parallel tools in it.
    pub turns: u32,
    /// Model calls in the main conversation since the result before; absent in records of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<u32>,
    /// What the agent's count of its conversation stands at. It begins with that of a conversation this one is a copy
    /// of, and falls back when the agent is killed.
    pub usage: Usage,
    /// What was used since the process began or since its last result; none where the agent does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Usage>,
}

impl TurnEnd {
    /// The conclusion. Where nobody has decoded the CLI's words, only errors are told apart.
    pub fn concluded(&self) -> Conclusion {
        match self.conclusion {
            Some(conclusion) => conclusion,
            None if self.is_error => Conclusion::Failed(Cause::AgentError),
            None => Conclusion::Good,
        }
    }

    /// Whether there was a turn: the refusal to resume is an error too, and answers nobody.
    pub fn is_of_turn(&self) -> bool {
        !self.is_error || !self.answers.is_empty()
    }

    /// Model calls that this result counts.
    pub fn model_calls(&self) -> u32 {
        self.calls.unwrap_or(self.turns)
    }

    /// Returns true if the model worked in the turn and the turn ended well. A slash command that only prints has no model
    /// rounds.
    pub fn is_work(&self) -> bool {
        !self.is_error && !self.synthetic && self.turns > 0
    }

    /// What the session has used, when it had used `before` at its last result.
    pub fn used_after(&self, before: Usage) -> Usage {
        match self.spent {
            Some(spent) => before.plus(spent),
            None => before.max(self.usage),
        }
    }
}

/// What was used, in tokens and money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = UsageAndCost)]
pub struct Usage {
    /// Input tokens, without those read from or written to the cache.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the cache.
    pub cache_write_tokens: u64,
    /// Cost in US dollars, as the CLI reckons it.
    pub cost_usd: f64,
}

impl Usage {
    /// Both together.
    pub fn plus(self, more: Self) -> Self {
        self.zip(more, u64::saturating_add, |ours, theirs| money(ours + theirs))
    }

    /// What was added to `before`.
    pub fn since(self, before: Self) -> Self {
        self.zip(before, u64::saturating_sub, |now, before| {
            money((now - before).max(0.0))
        })
    }

    /// The same with its money without noise.
    pub fn rounded(self) -> Self {
        Self {
            cost_usd: money(self.cost_usd),
            ..self
        }
    }

    fn max(self, other: Self) -> Self {
        self.zip(other, u64::max, f64::max).rounded()
    }

    fn zip(self, other: Self, tokens: fn(u64, u64) -> u64, money: fn(f64, f64) -> f64) -> Self {
        Self {
            input_tokens: tokens(self.input_tokens, other.input_tokens),
            output_tokens: tokens(self.output_tokens, other.output_tokens),
            cache_read_tokens: tokens(self.cache_read_tokens, other.cache_read_tokens),
            cache_write_tokens: tokens(self.cache_write_tokens, other.cache_write_tokens),
            cost_usd: money(self.cost_usd, other.cost_usd),
        }
    }

    /// All tokens together.
    pub fn tokens(&self) -> u64 {
        [self.output_tokens, self.cache_read_tokens, self.cache_write_tokens]
            .into_iter()
            .fold(self.input_tokens, u64::saturating_add)
    }
}
