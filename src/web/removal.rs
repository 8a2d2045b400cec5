//! REST about what is removed: one session, or what has ended long ago. Nothing is removed that nobody asked for.

use std::time::Duration;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Faces;
use super::body::{Optional, read_fields};
use super::calls::{bad_body, client};
use super::error::Problem;
use super::parameters::{ClientHeader, SessionPath};
use crate::runtime::handle::{Gone, Sweep, SweepOf, Swept};
use crate::session::id::SessionId;
use crate::session::shown::Shown;

/// How long ago a session has ended that goes, when the caller does not say: 30 days, in seconds.
const OLDER_THAN_SECONDS: u64 = 30 * 24 * 3600;

/// A request to remove sessions.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = Sweep, example = json!({"older_than_seconds": 2592000, "dry_run": true}))]
pub(super) struct SweepBody {
    /// Sessions go that ended longer ago; 30 days when absent.
    #[schema(maximum = 9223372036854775807_u64)]
    older_than_seconds: Option<u64>,
    /// Only say what would go.
    #[schema(required = false)]
    dry_run: bool,
    /// Only what agents wrote to their standard output and error goes; the journals stay, which say all of it.
    #[schema(required = false)]
    spools_only: bool,
    /// `next_cursor` of the answer before.
    #[schema(value_type = Option<Uuid>)]
    cursor: Option<SessionId>,
}

/// What has gone, or would.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Swept)]
pub(super) struct SweptView {
    dry_run: bool,
    spools_only: bool,
    /// Sessions that ended before then.
    #[schema(format = DateTime)]
    ended_before: String,
    /// Newest first.
    sessions: Vec<GoneView>,
    /// Folders of sessions that are not in the journal.
    folders: Vec<FolderView>,
    /// What stays though it was to go.
    kept: Vec<KeptView>,
    /// How much room has become free on the disk, in bytes. That of records is used by later records.
    bytes: u64,
    /// Ask again with this as `cursor`: it is not all done. None where it is.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A session that has gone, or would; with `spools_only` its output alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SweptSession)]
struct GoneView {
    #[schema(value_type = Uuid)]
    session_id: SessionId,
    name: String,
    state: Shown,
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// How many records its journal has.
    records: u64,
    /// The room that its files take on the disk, in bytes.
    bytes: u64,
}

/// A folder that has gone, or would.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SweptFolder)]
struct FolderView {
    name: String,
    bytes: u64,
}

/// What stays, and why.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotSwept)]
struct KeptView {
    /// The id of a session, or the name of a folder.
    what: String,
    why: String,
}

/// `DELETE /api/sessions/{id}`: an ended session goes, with its journal and all of its files.
#[utoipa::path(
    delete, path = "/api/sessions/{id}", tag = "sessions", operation_id = "removeSession",
    params(SessionPath, ClientHeader),
    responses((status = 204, description = "It is gone. The transcripts that the agent itself keeps are not touched")),
)]
pub(super) async fn remove(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    client(&request)?;
    let id = faces.handle.resolve(&id).await?;
    faces.handle.remove(id).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /api/gc`: what ended long ago goes. After some seconds it answers with what is done until then.
#[utoipa::path(
    post, path = "/api/gc", tag = "daemon", operation_id = "collectGarbage",
    request_body = Option<SweepBody>,
    responses((status = 200, description = "What has gone, or would", body = SweptView)),
)]
pub(super) async fn gc(faces: Data<Faces>, body: Optional<Map<String, Value>>) -> Result<HttpResponse, Problem> {
    let body: SweepBody = read_fields(body.0)?;
    let sweep = Sweep {
        ended_before: long_ago(body.older_than_seconds.unwrap_or(OLDER_THAN_SECONDS))?,
        of: if body.spools_only {
            SweepOf::Spools
        } else {
            SweepOf::Sessions
        },
        dry_run: body.dry_run,
        before: body.cursor,
    };
    let swept = faces.handle.sweep(sweep).await?;
    Ok(HttpResponse::Ok().json(view(sweep, swept)))
}

fn long_ago(seconds: u64) -> Result<Timestamp, Problem> {
    if i64::try_from(seconds).is_err() {
        return Err(bad_body("older_than_seconds is too large"));
    }
    let then = Timestamp::now().checked_sub(Duration::from_secs(seconds));
    // A year before 0 is none to those who are told of it.
    Ok(then.unwrap_or(Timestamp::UNIX_EPOCH).max(Timestamp::UNIX_EPOCH))
}

fn view(sweep: Sweep, swept: Swept) -> SweptView {
    let of_sessions = swept.sessions.iter().map(|gone| gone.bytes);
    let of_folders = swept.folders.iter().map(|(_, bytes)| *bytes);
    let folder = |(name, bytes)| FolderView { name, bytes };
    let kept = |(what, why)| KeptView { what, why };
    SweptView {
        dry_run: sweep.dry_run,
        spools_only: sweep.of == SweepOf::Spools,
        ended_before: shown(sweep.ended_before),
        bytes: of_sessions.chain(of_folders).sum(),
        sessions: swept.sessions.iter().map(gone_view).collect(),
        folders: swept.folders.into_iter().map(folder).collect(),
        kept: swept.kept.into_iter().map(kept).collect(),
        next_cursor: swept.next.map(|id| id.to_string()),
    }
}

fn gone_view(gone: &Gone) -> GoneView {
    let summary = &gone.summary;
    GoneView {
        session_id: summary.session_id,
        name: summary.name.clone(),
        state: summary.shown_state(),
        ended_at: summary.ended_at.map(shown),
        records: summary.head.0,
        bytes: gone.bytes,
    }
}

fn shown(at: Timestamp) -> String {
    format!("{at:.3}")
}
