//! Waiting for a session without reading its stream: one call that is answered when it has ended, when it needs a
//! person, or when the time is over.

use std::time::Duration;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use tokio::time::timeout;

use super::Faces;
use super::calls::shown;
use super::error::Problem;
use super::parameters::SessionPath;
use super::params::{Params, bad_query};
use crate::runtime::feed::{FeedItem, FeedReader};
use crate::session::id::SessionId;
use crate::session::summary::Summary;

/// How long is waited when the caller does not say, in seconds.
const WAIT_SECONDS: u64 = 30;

/// The longest wait, in seconds: proxies and clients give a silent call up after a while.
const WAIT_SECONDS_MAX: u64 = 600;

/// The condition that ends the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitFor {
    /// The session's end.
    End,
    /// Its end, or a question that is open.
    Question,
}

impl WaitFor {
    fn is_met(self, summary: &Summary) -> bool {
        let has_ended = summary.lifecycle.state.outcome().is_some();
        match self {
            Self::End => has_ended,
            Self::Question => has_ended || summary.is_waiting_for_person(),
        }
    }
}

/// `GET /api/sessions/{id}/wait`: the session as it is then; whether it has ended is in its state.
#[utoipa::path(
    get, path = "/api/sessions/{id}/wait", tag = "sessions", operation_id = "waitForSession",
    params(
        SessionPath,
        ("seconds" = Option<u64>, Query, description = "How long to wait; 30 when absent, 600 at most"),
        ("until" = Option<String>, Query, pattern = "^(ended|question)$", description = "`ended`, or `question` to be told as well when it needs a person"),
    ),
    responses((status = 200, description = "The session when it has ended or when the time is over", body = crate::web::SessionView)),
)]
pub(super) async fn wait(faces: Data<Faces>, request: HttpRequest, id: Path<String>) -> Result<HttpResponse, Problem> {
    let params = Params::exact(&request, &["seconds", "until"])?;
    let seconds = params.number("seconds")?.unwrap_or(WAIT_SECONDS).min(WAIT_SECONDS_MAX);
    let what = match params.text("until") {
        None | Some("ended") => WaitFor::End,
        Some("question") => WaitFor::Question,
        Some(other) => return Err(bad_query(format!("until is {other:?}; there is ended and question"))),
    };
    let id = faces.handle.resolve(&id).await?;
    let summary = faces.handle.get(id).await?;
    if what.is_met(&summary) || seconds == 0 {
        return Ok(shown(&summary));
    }
    let _slot = faces.streams.take_slot()?;
    let mut stopping = faces.streams.stopping();
    let reader = faces.handle.stream(id, summary.head).await?;
    let waiting = until_met(&faces, id, reader, what);
    // Whatever ends the wait, the answer is the session as it is then.
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        _ = timeout(Duration::from_secs(seconds), waiting) => {}
    }
    Ok(shown(&*faces.handle.get(id).await?))
}

/// Reads a stream until the session is as is waited for, or the stream ends.
async fn until_met(faces: &Faces, id: SessionId, mut reader: FeedReader, what: WaitFor) {
    while let Some(item) = reader.next().await {
        match item {
            FeedItem::Record(_) => {
                let summary = faces.handle.get(id).await;
                if summary.is_ok_and(|summary| what.is_met(&summary)) {
                    return;
                }
            }
            FeedItem::Hello(_) | FeedItem::Delta(_) => {}
        }
    }
}
