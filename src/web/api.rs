//! REST: sessions are created, looked at, cancelled and answered.
//!
//! Bodies are read strictly: an unknown field is refused by name, since a misspelt limit that is silently ignored costs
//! money.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};

use super::Faces;
use super::calls::{asker, client, going_on, new_session, shown};
use super::error::{Code, Problem};
use super::idempotency::{claim, once};
use super::parameters::{ClientHeader, CreatedSession, KeyHeader, SessionPath};
use super::params::Params;
use super::schemas;
use super::view::SessionView;
use crate::runtime::NewSession;
use crate::session::id::{QuestionId, Seq};
use crate::session::question::Answer;
use crate::store::PAGE_RECORDS_MAX;

/// `POST /api/sessions`
#[utoipa::path(
    post, path = "/api/sessions", tag = "sessions", operation_id = "createSession",
    params(KeyHeader, ClientHeader),
    request_body = schemas::NewSessionSchema,
    responses(CreatedSession),
)]
pub(super) async fn create(
    faces: Data<Faces>,
    request: HttpRequest,
    body: Json<Map<String, Value>>,
) -> Result<HttpResponse, Problem> {
    let (body, by) = (body.into_inner(), client(&request)?);
    let claim = claim(&request, &body)?;
    let new = new_session(body, by)?;
    once(&faces, claim, async |claim| {
        let asker = asker(&request);
        faces.handle.create(NewSession { claim, asker, ..new }).await
    })
    .await
}

/// `GET /api/sessions/{id}`
#[utoipa::path(
    get, path = "/api/sessions/{id}", tag = "sessions", operation_id = "showSession",
    params(SessionPath),
    responses((status = 200, description = "The session", body = SessionView)),
)]
pub(super) async fn get(faces: Data<Faces>, id: Path<String>) -> Result<HttpResponse, Problem> {
    let id = faces.handle.resolve(&id).await?;
    Ok(shown(&*faces.handle.get(id).await?))
}

/// `GET /api/sessions/{id}/records`: a page of the journal, in order.
#[utoipa::path(
    get, path = "/api/sessions/{id}/records", tag = "sessions", operation_id = "listRecords",
    params(
        SessionPath,
        ("after" = Option<u64>, Query, description = "Begin behind this record", maximum = 9223372036854775807_u64),
        ("limit" = Option<u64>, Query, description = "The length of a page; 500 when absent, and at most", minimum = 1),
    ),
    responses((status = 200, description = "A page of the journal, in order", body = schemas::RecordsSchema)),
)]
pub(super) async fn records(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let params = Params::exact(&request, &["after", "limit"])?;
    let after = Seq(params.number("after")?.unwrap_or(0));
    let limit = params.limit(PAGE_RECORDS_MAX, PAGE_RECORDS_MAX)?;
    let id = faces.handle.resolve(&id).await?;
    let found = faces.handle.records(id, after, limit).await?;
    // Read after the page: a head beyond the last record says that there is more.
    let head = faces.handle.get(id).await?.head;
    let records: Vec<String> = found.iter().map(|record| record.to_json()).collect();
    let body = format!(r#"{{"records":[{}],"head":{head}}}"#, records.join(","));
    Ok(HttpResponse::Ok().content_type("application/json").body(body))
}

/// `POST /api/sessions/{id}/cancel`: again is as good as once.
#[utoipa::path(
    post, path = "/api/sessions/{id}/cancel", tag = "sessions", operation_id = "cancelSession",
    params(SessionPath, ClientHeader),
    responses(
        (status = 202, description = "Its agent is being ended", body = SessionView, headers(("Location" = String, description = "The session"))),
        (status = 200, description = "It has ended", body = SessionView, headers(("Location" = String, description = "The session"))),
    ),
)]
pub(super) async fn cancel(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let id = faces.handle.resolve(&id).await?;
    Ok(going_on(&*faces.handle.cancel(asker(&request), id, by).await?))
}

/// `POST /api/sessions/{id}/questions/{question}/answer`: the first answer wins.
#[utoipa::path(
    post, path = "/api/sessions/{id}/questions/{question}/answer", tag = "questions", operation_id = "answerQuestion",
    params(
        SessionPath,
        ("question" = String, Path, description = "The question: `q1`, `q2`, …"),
        ClientHeader,
    ),
    request_body = Answer,
    responses((status = 200, description = "The answer is on disk; it is given to the agent as soon as there is one", body = SessionView)),
)]
pub(super) async fn answer(
    faces: Data<Faces>,
    request: HttpRequest,
    path: Path<(String, String)>,
    answer: Json<Answer>,
) -> Result<HttpResponse, Problem> {
    let by = client(&request)?;
    let (id, question) = path.into_inner();
    let question: QuestionId = question
        .parse()
        .map_err(|_| Problem::new(Code::NoSuchQuestion, format!("there is no question {question:?}")))?;
    let id = faces.handle.resolve(&id).await?;
    let answered = faces
        .handle
        .answer(asker(&request), id, question, answer.into_inner(), by);
    Ok(shown(&*answered.await?))
}
