//! REST: sessions are created, looked at, cancelled and answered.
//!
//! Bodies are read strictly: an unknown field is refused by name, since a misspelt limit that is silently ignored costs
//! money.

use actix_web::web::{Data, Json, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value};

use super::Faces;
use super::calls::{asker, client, going_on, shown, unchecked_session};
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

/// Reads the body of a create: a request and, beside it, `env`.
fn new_session(body: Map<String, Value>, by: String) -> Result<NewSession, Problem> {
    let new = unchecked_session(body, by)?;
    let checked = new.request.check();
    checked.map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::runtime::EnvironmentBase;
    use crate::session::id::SessionId;
    use crate::session::journal;
    use crate::session::outcome::Outcome;
    use crate::session::request::Request;
    use crate::session::state::State;
    use crate::session::summary::Summary;
    use crate::web::calls::{CLIENT_HEADER, warnings};
    use actix_web::test::TestRequest;
    use jiff::Timestamp;
    use serde_json::json;

    fn read(body: Value) -> Result<NewSession, String> {
        let Value::Object(body) = body else {
            panic!("a test gives an object")
        };
        new_session(body, "rest".into()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_body_is_a_request_with_an_environment() {
        let new = read(json!({"task": "t", "cwd": "/w", "max_turns": 3, "env": {"B": "2", "A": "1"}})).unwrap();
        assert_eq!(
            (new.request.max_turns, new.request.env_names.join(" ")),
            (Some(3), "A B".into())
        );
        assert_eq!(new.env.unwrap()["B"], "2");
        assert!(read(json!({"task": "t", "cwd": "/w"})).unwrap().env.is_none());
    }

    #[test]
    fn a_body_says_if_its_environment_is_all_there_is() {
        let body = |more: Value| {
            let mut body = json!({"task": "t", "cwd": "/w", "umask": "027"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(body).unwrap()
        };
        assert_eq!(body(json!({})).request.umask.unwrap().bits(), 0o27);
        assert_eq!(body(json!({"env": {}})).base, EnvironmentBase::Daemon);
        let whole = body(json!({"inherit_env": false}));
        assert_eq!(
            (whole.base, whole.env),
            (EnvironmentBase::Nothing, Some(BTreeMap::new()))
        );
    }

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        let wrong = [
            (json!({"task": "t", "cwd": "/w", "max_turn": 3}), "`max_turn`"),
            (json!({"task": "t", "cwd": "/w", "max_turns": "3"}), "max_turns"),
            (json!({"task": "t", "cwd": "/w", "max_turns": -3}), "max_turns"),
            (
                json!({"task": "t", "cwd": "/w", "permission_mode": "yolo"}),
                "permission_mode",
            ),
            (json!({"task": ["t"], "cwd": "/w"}), "task"),
            (json!({"cwd": "/w"}), "task"),
            (json!({"task": "t"}), "cwd"),
            (json!({"task": "t", "cwd": "w"}), "absolute"),
            (json!({"task": "t", "cwd": "/w", "origin": {}}), "origin"),
            (json!({"task": "t", "cwd": "/w", "env": []}), "env"),
            (json!({"task": "t", "cwd": "/w", "inherit_env": "no"}), "inherit_env"),
            (json!({"task": "t", "cwd": "/w", "umask": "rwx"}), "octal digits"),
            (json!({"task": "t", "cwd": "/w", "env": {"A=": "x"}}), "A="),
            (json!({"task": "t", "cwd": "/w", "env_names": ["A"]}), "env_names"),
        ];
        for (body, told) in wrong {
            let error = read(body.clone()).unwrap_err();
            assert!(error.contains(told), "{body}: {error}");
        }
    }

    #[test]
    fn a_value_of_the_environment_is_never_told() {
        let error = read(json!({"task": "t", "cwd": "/w", "env": {"KEY": ["hunter2"]}})).unwrap_err();
        assert!(error.contains("KEY") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_client_may_name_itself_modestly() {
        let of = |name: &str| {
            client(
                &TestRequest::default()
                    .insert_header((CLIENT_HEADER, name))
                    .to_http_request(),
            )
        };
        assert_eq!(client(&TestRequest::default().to_http_request()), Ok("rest".into()));
        assert_eq!(of("my-script_2"), Ok("my-script_2".into()));
        for bad in ["", "Me", "a b", "<script>", &"x".repeat(33)] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_second_session_in_a_directory_is_warned_of() {
        let session = |cwd: &str| {
            let request = Request {
                task: "t".into(),
                cwd: cwd.into(),
                ..Request::default()
            };
            let by = "a test".to_owned();
            Summary::new(
                SessionId::new(),
                &journal::Created {
                    request,
                    by,
                    claim: None,
                    project: None,
                },
                Timestamp::UNIX_EPOCH,
            )
        };
        let (new, live, elsewhere, mut ended) = (session("/w"), session("/w"), session("/v"), session("/w"));
        ended.lifecycle.state = State::Ended {
            outcome: Outcome::Completed,
        };
        let told = warnings(&new, [&new, &live, &elsewhere, &ended].into_iter());
        assert_eq!(told.len(), 1);
        assert!(told[0].contains(&live.session_id.short()), "{told:?}");
        let many: Vec<_> = (0..9).map(|_| session("/w")).collect();
        let told = warnings(&new, many.iter());
        assert_eq!(told.len(), 1, "one line, however many there are");
        assert!(
            told[0].starts_with("9 sessions") && told[0].ends_with("and 4 more"),
            "{told:?}"
        );
    }
}
