//! What the daemon says about itself, and what stands in the way of its work.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::web::Data;
use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::Faces;
use super::error::{Code, Problem};
use super::view::milliseconds;

/// Looks at everything that the daemon needs; may block for seconds.
pub type Doctor = Arc<dyn Fn() -> Vec<Finding> + Send + Sync>;

/// What was found at one place.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Finding {
    /// The name of the check.
    pub check: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, and what to do where it is not well.
    pub detail: String,
}

/// The daemon.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Info)]
pub(super) struct Info<'a> {
    version: &'static str,
    /// Its process.
    pid: u32,
    /// Random for each database: cursors of another one mean nothing here.
    epoch: &'a str,
    #[serde(serialize_with = "milliseconds")]
    #[schema(value_type = String, format = DateTime)]
    started_at: Option<Timestamp>,
    limits: Limits,
}

/// The most of everything that a client meets.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct Limits {
    /// The most agents at work at a time; further sessions wait.
    pub(super) max_live_agents: usize,
    /// The most sessions that wait.
    pub(super) queued_sessions_max: usize,
    /// The most readers of streams.
    pub(super) stream_readers_max: usize,
    /// The longest request body, in bytes.
    pub(super) body_bytes_max: usize,
}

/// `GET /api/info`
#[utoipa::path(
    get, path = "/api/info", tag = "daemon", operation_id = "showInfo",
    responses((status = 200, description = "What the daemon says about itself", body = Info)),
)]
pub(super) async fn info(faces: Data<Faces>) -> HttpResponse {
    HttpResponse::Ok().json(Info {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        epoch: faces.handle.epoch(),
        started_at: Some(faces.started_at),
        limits: faces.limits,
    })
}

/// The outcome of an examination.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Examination)]
pub(super) struct Examination {
    /// Whether all is as it should be.
    ok: bool,
    findings: Vec<Finding>,
}

/// `GET /api/doctor`: takes as long as the agent takes to say its version.
#[utoipa::path(
    get, path = "/api/doctor", tag = "daemon", operation_id = "examine",
    responses((status = 200, description = "What was found, well or not", body = Examination)),
)]
pub(super) async fn doctor(faces: Data<Faces>) -> Result<HttpResponse, Problem> {
    let examine = Arc::clone(&faces.doctor);
    let findings = tokio::task::spawn_blocking(move || examine()).await;
    let findings = findings.map_err(|_| Problem::new(Code::Stopping, "the daemon is stopping"))?;
    let ok = findings.iter().all(|finding| finding.ok);
    Ok(HttpResponse::Ok().json(Examination { ok, findings }))
}
