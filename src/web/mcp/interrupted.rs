//! Calls that a restart of the daemon cut off, for clients of the session era that come back for the answer.
//!
//! While a call follows a session, a small file says which. The session has gone on meanwhile; whoever asks for the rest
//! of the call's stream is answered from there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use rmcp::ErrorData;
use rmcp::model::{JsonRpcError, JsonRpcMessage, JsonRpcResponse, RequestId, ServerJsonRpcMessage, ServerResult};
use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::events::Interrupted;
use super::follow::open_questions;
use super::kept::{Bounds, Kept};
use super::narrate::{Narrator, Turn};
use super::result::Execution;
use crate::disk::regular;
use crate::disk::write_private;
use crate::runtime::Handle;
use crate::runtime::feed::Item;
use crate::session::hex::hex;
use crate::session::id::{Seq, SessionId};
use crate::web::remedy::told_to_model;

/// How many calls are noted, and how long.
const BOUNDS: Bounds = Bounds {
    files_max: 4096,
    bytes_max: u64::MAX,
    age_max: Duration::from_secs(14 * 24 * 3600),
};

/// The longest id of a request that is noted, in bytes.
const REQUEST_BYTES_MAX: usize = 64;

/// The notes: one file a call.
#[derive(Clone)]
pub(super) struct Notes(Arc<Kept>);

/// What a call follows.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    session: SessionId,
    after: Seq,
}

/// The note of one call. Dropped without [`Noted::done`] it stays: a daemon that stops drops its calls, and their clients
/// will ask for the rest.
pub(super) struct Noted(Option<PathBuf>);

impl Noted {
    /// The call was answered.
    pub(super) fn done(self) {
        if let Some(path) = self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Notes {
    /// Kept in this directory, which is made.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(Kept::open(directory, BOUNDS)?)))
    }

    /// Notes that a call follows a session.
    pub(super) fn note(&self, caller: &Caller, request: &RequestId, session: SessionId, after: Seq) -> Noted {
        let path = caller.mcp_session.clone().and_then(|mcp_session| {
            let request = serde_json::to_value(request).ok()?;
            self.path(&Interrupted { mcp_session, request })
        });
        let Some(path) = path else { return Noted(None) };
        let written = serde_json::to_vec(&Note { session, after }).map(|json| write_private(&path, &json));
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "a call cannot be noted: it will not be resumed after a restart");
        }
        Noted(Some(path))
    }

    fn read(&self, call: &Interrupted) -> Option<(PathBuf, Note)> {
        let path = self.path(call)?;
        let note = serde_json::from_slice(&regular::read(&path).ok()?).ok()?;
        Some((path, note))
    }

    /// A call's file: the MCP session, which rmcp named, and the request's id in hexadecimal, which a client chose.
    fn path(&self, call: &Interrupted) -> Option<PathBuf> {
        let is_name =
            |text: &str| text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let request = call.request.to_string();
        if !is_name(&call.mcp_session) || request.len() > REQUEST_BYTES_MAX {
            return None;
        }
        let digits = hex(request.as_bytes());
        Some(self.0.path(&format!("{}.{digits}", call.mcp_session)))
    }
}

/// What is left of an interrupted call: its answer, once the session has ended or asks something.
pub(super) fn rest(handle: Handle, notes: Notes, call: Interrupted) -> BoxStream<'static, ServerJsonRpcMessage> {
    stream::once(async move {
        let id: RequestId = serde_json::from_value(call.request.clone()).unwrap_or(RequestId::Number(0));
        let Some((path, note)) = notes.read(&call) else {
            let told = "the daemon was restarted during this call: call again";
            return JsonRpcMessage::Error(JsonRpcError::new(Some(id), ErrorData::internal_error(told, None)));
        };
        let message = match answer(&handle, &note).await {
            Ok(mut result) => {
                // Only clients of revisions that know no result types come back like this.
                result.result_type = None;
                let result = ServerResult::CallToolResult(result);
                JsonRpcMessage::Response(JsonRpcResponse {
                    jsonrpc: Default::default(),
                    id,
                    result,
                })
            }
            Err(error) => {
                let error = ErrorData::internal_error(told_to_model(&error), None);
                JsonRpcMessage::Error(JsonRpcError::new(Some(id), error))
            }
        };
        let _ = std::fs::remove_file(path);
        message
    })
    .boxed()
}

async fn answer(handle: &Handle, note: &Note) -> Result<rmcp::model::CallToolResult, crate::runtime::CallError> {
    let mut reader = handle.stream(note.session, note.after).await?;
    let mut told = Narrator::after(note.after);
    let mut head = None;
    let mut asked = open_questions(&*handle.get(note.session).await?);
    while let Some(item) = reader.next().await {
        if let Item::Hello(hello) = &item {
            head = Some(Seq(hello.head));
        }
        let turn = told.take(&item);
        drop(told.news());
        let has_caught_up = head.is_some_and(|head| told.after >= head);
        match turn {
            Turn::Asked(question) => {
                asked.insert(question.question_id, *question);
            }
            Turn::Settled(id) => {
                asked.remove(&id);
            }
            Turn::Ended if has_caught_up => break,
            Turn::Ended | Turn::Nothing => {}
        }
        if has_caught_up && !asked.is_empty() {
            break;
        }
    }
    let execution = Execution::new(&*handle.get(note.session).await?, told);
    let is_failure = execution.is_failure();
    Ok(execution.into_result(is_failure))
}
