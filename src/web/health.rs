//! Health, for whatever watches the daemon: no token, and nothing said about sessions.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::Faces;
use super::error::{Code, Problem};

/// Whether the daemon can do its work, or in a sentence why not. Must not block.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// How it is, in a word.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "described, never made")]
#[schema(as = Status)]
pub(super) struct HealthBody {
    status: String,
}

/// `GET /healthz`: the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "health", operation_id = "isAlive", security(()),
    responses((status = 200, description = "The process answers", body = HealthBody)),
)]
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: sessions can be started.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "isReady", security(()),
    responses((status = 200, description = "Sessions can be started", body = HealthBody)),
)]
pub(super) async fn readyz(faces: web::Data<Faces>) -> Result<HttpResponse, Problem> {
    (faces.readiness)().map_err(|why| Problem::new(Code::NotReady, why))?;
    Ok(HttpResponse::Ok().json(json!({"status": "ready"})))
}
