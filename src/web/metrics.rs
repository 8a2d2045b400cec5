//! `GET /metrics`: figures for Prometheus, in the text format of OpenMetrics.

use actix_web::HttpResponse;
use actix_web::web::Data;

use super::Faces;
use super::error::Problem;

/// The content type of the format, which a scraper chooses its parser by.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `GET /metrics`
#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "readMetrics",
    responses((status = 200, description = "Figures, in the text format of OpenMetrics", content_type = "application/openmetrics-text", body = String)),
)]
pub(super) async fn metrics(faces: Data<Faces>) -> Result<HttpResponse, Problem> {
    let text = faces.handle.metrics(faces.streams.readers()).await?;
    Ok(HttpResponse::Ok().content_type(OPENMETRICS).body(text))
}
