//! The description of the API, and a page to read it: both are made once, from the code, and need no network.

mod description;
mod document;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::CONTENT_SECURITY_POLICY;

/// The description, as it is sent.
static OPENAPI: LazyLock<String> = LazyLock::new(|| description::to_json().to_string());

/// The page.
static PAGE: LazyLock<String> = LazyLock::new(|| document::render(&description::to_json()).into_string());

/// How the page looks.
const STYLE: &str = include_str!("reference.css");

/// What the page may do: be read.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /api/openapi.json`
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "daemon", operation_id = "describeApi",
    responses((status = 200, description = "This description", body = serde_json::Value)),
)]
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(OPENAPI.as_str())
}

/// `GET /api/reference`
#[utoipa::path(
    get, path = "/api/reference", tag = "daemon", operation_id = "showReference",
    responses((status = 200, description = "This description, for people", body = String, content_type = "text/html")),
)]
pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .body(PAGE.as_str())
}

/// `GET /api/reference/style.css`
#[utoipa::path(
    get, path = "/api/reference/style.css", tag = "daemon", operation_id = "styleReference",
    responses((status = 200, description = "How the reference looks", body = String, content_type = "text/css")),
)]
pub(super) async fn style() -> HttpResponse {
    HttpResponse::Ok().content_type("text/css; charset=utf-8").body(STYLE)
}
