//! Lines of type `result`: how a turn ended.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::shown;
use crate::agent::wire::conclude::conclude;
use crate::session::amounts::money;
use crate::session::message::{TurnEnd, Usage};

/// A line of type `result`.
#[derive(Deserialize)]
pub(super) struct ResultLine {
    #[serde(default)]
    subtype: String,
    #[serde(default)]
    is_error: bool,
    #[serde(default)]
    terminal_reason: Option<String>,
    #[serde(default)]
    stop_reason: Option<String>,
    #[serde(default)]
    result: Option<String>,
    #[serde(default)]
    errors: Vec<String>,
    #[serde(default)]
    api_error_status: Option<u16>,
    #[serde(default)]
    api_error: Option<String>,
    #[serde(default)]
    structured_output: Option<Value>,
    #[serde(default)]
    user_message_uuid: Option<Uuid>,
    #[serde(default)]
    user_message_uuids: Vec<Uuid>,
    #[serde(default)]
    queued_turn_count: u32,
    #[serde(default)]
    origin: Option<Value>,
    #[serde(default)]
    num_turns: u32,
    #[serde(default)]
    total_cost_usd: f64,
    #[serde(default, rename = "modelUsage")]
    model_usage: ByModel,
    #[serde(default)]
    model_usage_since_last_result: Option<ByModel>,
}

type ByModel = BTreeMap<String, ModelUsage>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ModelUsage {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    cache_creation_input_tokens: u64,
    #[serde(rename = "costUSD")]
    cost_usd: f64,
}

pub(super) fn turn_end(line: ResultLine) -> TurnEnd {
    let mut answers = line.user_message_uuids;
    if let Some(uuid) = line.user_message_uuid.filter(|uuid| !answers.contains(uuid)) {
        answers.push(uuid);
    }
    // The total also has what models cost that are not listed.
    let usage = Usage {
        cost_usd: money(line.total_cost_usd),
        ..sum(&line.model_usage)
    };
    let mut end = TurnEnd {
        conclusion: None,
        why: String::new(),
        subtype: line.subtype,
        is_error: line.is_error,
        terminal_reason: line.terminal_reason,
        stop_reason: line.stop_reason,
        result: line.result.unwrap_or_default(),
        errors: line.errors,
        api_status: line.api_error_status,
        api_error: line.api_error,
        structured_output: line.structured_output.map(shown),
        answers,
        queued_turns: line.queued_turn_count,
        synthetic: line.origin.is_some_and(|origin| !origin.is_null()),
        turns: line.num_turns,
        calls: None,
        usage,
        spent: line.model_usage_since_last_result.as_ref().map(sum),
    };
    conclude(&mut end);
    end
}

/// What the agent counts by now, from its answer to `get_usage`; none where that says nothing of it.
pub fn usage_report(reply: &Value) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Report {
        session: Session,
    }
    #[derive(Deserialize)]
    struct Session {
        total_cost_usd: f64,
        model_usage: ByModel,
    }
    let Report { session } = Report::deserialize(reply).ok()?;
    Some(Usage {
        cost_usd: money(session.total_cost_usd),
        ..sum(&session.model_usage)
    })
}

fn sum(models: &ByModel) -> Usage {
    let usage = |model: &ModelUsage| Usage {
        input_tokens: model.input_tokens,
        output_tokens: model.output_tokens,
        cache_read_tokens: model.cache_read_input_tokens,
        cache_write_tokens: model.cache_creation_input_tokens,
        cost_usd: model.cost_usd,
    };
    models.values().map(usage).fold(Usage::default(), Usage::plus)
}
