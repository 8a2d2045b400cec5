//! REST about conversations: checkpoints, resuming by hand, copies, taking over and giving back.

use actix_web::web::{Bytes, Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Faces;
use super::api::{bad_body, client, created, shown, unchecked_session};
use super::error::Problem;
use super::params::Params;
use crate::runtime::handle::{Fork, Handover};
use crate::session::checkpoint::Checkpoint;
use crate::session::id::{Attempt, Seq};
use crate::store::Stored;

/// How many checkpoints a page has when the caller does not say, and at most.
const PAGE_CHECKPOINTS: usize = 50;
const PAGE_CHECKPOINTS_MAX: usize = 500;

/// A checkpoint, as its record has it and where it stands.
#[derive(Serialize)]
struct CheckpointView<'a> {
    seq: Seq,
    at: String,
    attempt: Attempt,
    #[serde(flatten)]
    checkpoint: &'a Checkpoint,
}

/// Body of a resume.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ResumeBody {
    instruction: Option<String>,
    at: Option<u64>,
}

/// Body of a fork.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ForkBody {
    instruction: Option<String>,
    at: Option<u64>,
    name: Option<String>,
}

/// `GET /api/sessions/{id}/checkpoints`: the latest first.
pub(super) async fn checkpoints(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, &["before", "limit"])?;
    let before = params.number("before")?.map(Seq);
    let limit = params.limit(PAGE_CHECKPOINTS, PAGE_CHECKPOINTS_MAX)?;
    let id = faces.handle.resolve(&id).await?;
    let found = faces.handle.checkpoints(id, before, limit).await?;
    let next_before = found
        .last()
        .filter(|_| found.len() == limit)
        .map(|(record, _)| record.seq);
    let views: Vec<_> = found
        .iter()
        .map(|(record, checkpoint)| view(record, checkpoint))
        .collect();
    Ok(HttpResponse::Ok().json(json!({"checkpoints": views, "next_before": next_before})))
}

/// `POST /api/sessions/{id}/resume`: a session that has ended otherwise than completed goes on.
pub(super) async fn resume(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let ResumeBody { instruction, at } = read(&body)?;
    let id = faces.handle.resolve(&id).await?;
    Ok(shown(&*faces.handle.resume(id, instruction, at.map(Seq), by).await?))
}

/// `POST /api/sessions/{id}/fork`: a new session in a copy of the conversation.
pub(super) async fn fork(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
    body: Bytes,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let ForkBody { instruction, at, name } = read(&body)?;
    let fork = Fork {
        instruction,
        at: at.map(Seq),
        name,
    };
    let id = faces.handle.resolve(&id).await?;
    let summary = faces.handle.fork(id, fork, by).await?;
    created(&faces, &summary).await
}

/// `POST /api/sessions/import`: a new session goes on with a conversation that was begun outside. The body is that of a
/// new session with `agent_session_id`, and `instruction` instead of `task`.
pub(super) async fn import(
    faces: Data<Faces>,
    request: HttpRequest,
    body: Json<Map<String, Value>>,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let mut body = body.into_inner();
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
    let summary = faces.handle.import(agent_session_id, new).await?;
    created(&faces, &summary).await
}

/// `GET /api/sessions/{id}/handover`: how a person goes on with the conversation by hand.
pub(super) async fn handover(faces: Data<Faces>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let id = faces.handle.resolve(&id).await?;
    let Handover { agent_session_id, cwd } = faces.handle.handover(id).await?;
    let line = format!(
        "cd {} && claude --resume={agent_session_id}",
        quoted(&cwd.to_string_lossy())
    );
    Ok(HttpResponse::Ok().json(json!({
        "session_id": id, "agent_session_id": agent_session_id, "cwd": cwd, "line": line,
    })))
}

fn view<'a>(record: &Stored, checkpoint: &'a Checkpoint) -> CheckpointView<'a> {
    CheckpointView {
        seq: record.seq,
        at: format!("{:.3}", record.at),
        attempt: record.attempt,
        checkpoint,
    }
}

/// A body in which everything may be left out, and so the whole of it.
fn read<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| bad_body(error.to_string()))
}

fn read_agent_session_id(given: Option<Value>) -> Result<Uuid, Problem> {
    let text = given.as_ref().and_then(Value::as_str);
    text.and_then(|text| Uuid::parse_str(text).ok())
        .ok_or_else(|| bad_body("agent_session_id must be the UUID of a claude session"))
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
    fn a_body_may_be_left_out_and_nothing_in_it_misspelt() {
        let none: ResumeBody = read(b" ").unwrap();
        assert!(none.instruction.is_none() && none.at.is_none());
        let some: ForkBody = read(br#"{"at": 7, "name": "n"}"#).unwrap();
        assert_eq!((some.at, some.name.as_deref()), (Some(7), Some("n")));
        for wrong in [&br#"{"instructions": "x"}"#[..], br#"{"at": -1}"#, b"["] {
            assert!(read::<ResumeBody>(wrong).is_err());
        }
        assert!(read_agent_session_id(Some(json!("x"))).is_err());
        assert!(read_agent_session_id(None).is_err());
    }
}
