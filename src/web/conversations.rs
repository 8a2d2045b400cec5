//! REST about conversations: checkpoints, resuming by hand, copies, taking over and giving back.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Faces;
use super::body::{Optional, read_fields};
use super::calls::{asker, bad_body, client, going_on, unchecked_session};
use super::error::Problem;
use super::idempotency::{claim, once};
use super::parameters::{ClientHeader, CreatedSession, KeyHeader, SessionPath};
use super::params::Params;
use super::schemas;
use crate::agent::transcript::{CONFIGURATION, is_prefix};
use crate::runtime::NewSession;
use crate::runtime::handle::{Fork, Going, Handover};
use crate::session::checkpoint::Checkpoint;
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::limits::Limits;
use crate::store::StoredRecord;

/// How many checkpoints a page has when the caller does not say, and at most.
const PAGE_CHECKPOINTS: usize = 50;
const PAGE_CHECKPOINTS_MAX: usize = 500;

/// A checkpoint, as its record has it and where it stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Checkpoint)]
pub(super) struct CheckpointView<'a> {
    /// Its record.
    #[schema(value_type = u64)]
    seq: Seq,
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = u32)]
    attempt: Attempt,
    /// The step of the agent's work before it, in a few words: a tool call, or the beginning of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(flatten)]
    #[schema(value_type = Checkpoint)]
    checkpoint: &'a Checkpoint,
}

/// A page of checkpoints, the latest first.
#[derive(Serialize, ToSchema)]
#[schema(as = Checkpoints)]
pub(super) struct CheckpointsView<'a> {
    checkpoints: Vec<CheckpointView<'a>>,
    /// What to give as `before` for the next page; none where there is none.
    #[schema(required, value_type = Option<u64>)]
    next_before: Option<Seq>,
}

/// How a person goes on with a conversation by hand.
#[derive(Serialize, ToSchema)]
#[schema(as = Handover)]
pub(super) struct HandoverView<'a> {
    #[schema(value_type = Uuid)]
    session_id: SessionId,
    /// The agent's own id of the conversation.
    agent_session_id: Uuid,
    #[schema(value_type = String)]
    cwd: &'a std::path::Path,
    /// What to paste into a shell.
    line: String,
}

/// Body of a resume.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Resume, example = json!({"instruction": "go on, and run the tests"}))]
pub(super) struct ResumeBody {
    /// What the agent is told; none to go on.
    instruction: Option<String>,
    /// Cut the conversation at the checkpoint with this record.
    #[schema(maximum = 9223372036854775807_u64)]
    at: Option<u64>,
    /// Maximum model calls from here on. Default: as many as before.
    #[schema(minimum = 1)]
    max_turns: Option<u32>,
    /// Maximum cost of the whole session in US dollars, more than it has cost so far. Default: as before.
    #[schema(exclusive_minimum = 0.0)]
    max_budget_usd: Option<f64>,
    /// Maximum time at work from here on, in seconds. Default: as much as before.
    #[schema(minimum = 1)]
    timeout_seconds: Option<u64>,
}

/// Body of a fork.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Fork, example = json!({"instruction": "try it another way"}))]
pub(super) struct ForkBody {
    /// What the agent is told; none to go on.
    instruction: Option<String>,
    /// Copy the conversation up to the checkpoint with this record only.
    #[schema(maximum = 9223372036854775807_u64)]
    at: Option<u64>,
    /// What a person calls the copy.
    name: Option<String>,
}

/// `GET /api/sessions/{id}/checkpoints`: the latest first.
#[utoipa::path(
    get, path = "/api/sessions/{id}/checkpoints", tag = "conversations", operation_id = "listCheckpoints",
    params(
        SessionPath,
        ("before" = Option<u64>, Query, description = "Begin before this record: `next_before` of the page before", maximum = 9223372036854775807_u64),
        ("limit" = Option<u64>, Query, description = "The length of a page; 50 when absent, 500 at most", minimum = 1),
    ),
    responses((status = 200, description = "Checkpoints, the latest first", body = CheckpointsView)),
)]
pub(super) async fn checkpoints(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let params = Params::exact(&request, &["before", "limit"])?;
    let before = params.number("before")?.map(Seq);
    let limit = params.limit(PAGE_CHECKPOINTS, PAGE_CHECKPOINTS_MAX)?;
    let id = faces.handle.resolve(&id).await?;
    let found = faces.handle.checkpoints(id, before, limit).await?;
    let next_before = found
        .last()
        .filter(|_| found.len() == limit)
        .map(|(record, _)| record.seq);
    let records = found.iter().map(|(record, _)| record.seq).collect();
    let steps = faces.handle.steps_before(id, records).await?;
    let views = found
        .iter()
        .zip(steps)
        .map(|((record, checkpoint), after)| view(record, checkpoint, after));
    Ok(HttpResponse::Ok().json(CheckpointsView {
        checkpoints: views.collect(),
        next_before,
    }))
}

/// `POST /api/sessions/{id}/resume`: a session that has ended otherwise than completed goes on.
#[utoipa::path(
    post, path = "/api/sessions/{id}/resume", tag = "conversations", operation_id = "resumeSession",
    params(SessionPath, ClientHeader),
    request_body = Option<ResumeBody>,
    responses(
        (status = 202, description = "It waits for its turn", body = crate::web::SessionView, headers(("Location" = String, description = "The session"))),
        (status = 200, description = "It has ended again already", body = crate::web::SessionView, headers(("Location" = String, description = "The session"))),
    ),
)]
pub(super) async fn resume(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
    body: Optional<Map<String, Value>>,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let ResumeBody {
        instruction,
        at,
        max_turns,
        max_budget_usd,
        timeout_seconds,
    } = read_fields(body.0)?;
    let limits = Limits {
        max_turns,
        max_budget_usd,
        timeout_seconds,
    };
    let id = faces.handle.resolve(&id).await?;
    let going = Going {
        instruction,
        at: at.map(Seq),
        limits,
    };
    Ok(going_on(&*faces.handle.resume(asker(&request), id, going, by).await?))
}

/// `POST /api/sessions/{id}/fork`: a new session in a copy of the conversation.
#[utoipa::path(
    post, path = "/api/sessions/{id}/fork", tag = "conversations", operation_id = "forkSession",
    params(SessionPath, KeyHeader, ClientHeader),
    request_body = Option<ForkBody>,
    responses(CreatedSession),
)]
pub(super) async fn fork(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
    body: Optional<Map<String, Value>>,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let claim = claim(&request, &body.0)?;
    let ForkBody { instruction, at, name } = read_fields(body.0)?;
    let id = faces.handle.resolve(&id).await?;
    once(&faces, claim, async |claim| {
        let fork = Fork {
            instruction,
            at: at.map(Seq),
            name,
            claim,
            asker: asker(&request),
        };
        faces.handle.fork(id, fork, by).await
    })
    .await
}

/// `POST /api/sessions/import`: a new session goes on with a conversation that was begun outside. The body is that of a
/// new session with `agent_session_id`, and `instruction` instead of `task`.
#[utoipa::path(
    post, path = "/api/sessions/import", tag = "conversations", operation_id = "importSession",
    params(KeyHeader, ClientHeader),
    request_body = schemas::NewImportSchema,
    responses(CreatedSession),
)]
pub(super) async fn import(
    faces: Data<Faces>,
    request: HttpRequest,
    body: Json<Map<String, Value>>,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let mut body = body.into_inner();
    let claim = claim(&request, &body)?;
    let agent_session_id = read_agent_session_id(body.remove("agent_session_id"))?;
    if body.contains_key("task") {
        return Err(bad_body(
            "an import has no task: what the agent is told next is its instruction",
        ));
    }
    if let Some(instruction) = body.remove("instruction").filter(|given| !given.is_null()) {
        let text = instruction
            .as_str()
            .ok_or_else(|| bad_body("instruction must be a string"))?;
        body.insert("task".to_owned(), json!(text));
    }
    let new = unchecked_session(body, by)?;
    once(&faces, claim, async |claim| {
        let asker = asker(&request);
        let new = NewSession { claim, asker, ..new };
        faces.handle.import(agent_session_id, new).await
    })
    .await
}

/// `GET /api/sessions/{id}/handover`: how a person goes on with the conversation by hand.
#[utoipa::path(
    get, path = "/api/sessions/{id}/handover", tag = "conversations", operation_id = "handOver",
    params(SessionPath),
    responses((status = 200, description = "What to type", body = HandoverView)),
)]
pub(super) async fn handover(faces: Data<Faces>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let id = faces.handle.resolve(&id).await?;
    let Handover {
        agent_session_id,
        cwd,
        configuration,
    } = faces.handle.handover(id).await?;
    let configuration = configuration.map(|place| format!("{CONFIGURATION}={} ", quoted(&place)));
    let line = format!(
        "cd {} && {}claude --resume={agent_session_id}",
        quoted(&cwd.to_string_lossy()),
        configuration.unwrap_or_default()
    );
    Ok(HttpResponse::Ok().json(HandoverView {
        session_id: id,
        agent_session_id,
        cwd: &cwd,
        line,
    }))
}

fn view<'a>(record: &StoredRecord, checkpoint: &'a Checkpoint, after: Option<String>) -> CheckpointView<'a> {
    CheckpointView {
        seq: record.seq,
        at: format!("{:.3}", record.at),
        attempt: record.attempt,
        after,
        checkpoint,
    }
}

/// The id of a conversation, or the beginning of it.
fn read_agent_session_id(given: Option<Value>) -> Result<String, Problem> {
    let text = given.as_ref().and_then(Value::as_str);
    text.filter(|text| is_prefix(text))
        .map(str::to_lowercase)
        .ok_or_else(|| bad_body("agent_session_id must be the UUID of a claude session, or its first 4 digits or more"))
}

/// A word for a shell that a person pastes it into.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_one_word_to_a_shell() {
        assert_eq!(quoted("/project/a-b.c"), "/project/a-b.c");
        assert_eq!(quoted("/my dir/it's"), r"'/my dir/it'\''s'");
        assert_eq!(quoted("$(x)"), "'$(x)'");
    }

    #[test]
    fn a_conversation_is_named_by_its_uuid() {
        assert!(read_agent_session_id(Some(json!("x"))).is_err());
        assert_eq!(read_agent_session_id(Some(json!("AB12"))).unwrap(), "ab12");
        assert!(read_agent_session_id(None).is_err());
    }
}
