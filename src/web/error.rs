//! How a refusal looks: `application/problem+json` (RFC 9457), from one table of causes.
//!
//! `code` is stable and meant for programs; `detail` is a sentence for a person and may change.

use std::fmt;

use actix_web::error::PathError;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::PathConfig;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::json;

use super::remedy::{Audience, Remedy, joined, remedy, what};
use crate::runtime::{CallError, NotServed};
use crate::session::decide::Denied;
use crate::store::{StoreError, StoreRefusal};

/// What a client waits before it tries again, in seconds, where that helps.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The media type of a refusal.
pub(super) const PROBLEM_TYPE: &str = "application/problem+json";

/// Defines [`Code`] so that each cause stands in one line.
macro_rules! codes {
    ($($variant:ident = $status:ident, $code:literal, $title:literal;)*) => {
        /// Why a call was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Code {
            $($variant,)*
        }

        impl Code {
            /// Every cause.
            pub(super) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// HTTP status, the stable code, and what it means in general.
            pub(super) fn row(self) -> (StatusCode, &'static str, &'static str) {
                match self {
                    $(Self::$variant => (StatusCode::$status, $code, $title),)*
                }
            }
        }
    };
}

codes! {
    BadBody = BAD_REQUEST, "bad_body", "The body does not fit";
    BadQuery = BAD_REQUEST, "bad_query", "A parameter of the query does not fit";
    BadHeader = BAD_REQUEST, "bad_header", "A header does not fit";
    BadPath = BAD_REQUEST, "bad_path", "The path does not fit";
    InvalidRequest = BAD_REQUEST, "invalid_request", "The request is not acceptable";
    BadDirectory = BAD_REQUEST, "bad_directory", "The directory cannot be worked in";
    AnswerMismatch = BAD_REQUEST, "answer_mismatch", "The answer does not fit the question";
    Unauthorized = UNAUTHORIZED, "unauthorized", "The token is missing or wrong";
    ForbiddenRole = FORBIDDEN, "forbidden_role", "The token's role is not enough";
    ForbiddenAgent = FORBIDDEN, "forbidden_agent", "An agent may not do this";
    ExceedsAgent = FORBIDDEN, "exceeds_agent", "An agent asks for more than its own session has";
    Csrf = FORBIDDEN, "csrf", "The call does not come from the page";
    PageSecret = FORBIDDEN, "page_secret", "The call does not come from the page that was signed in";
    StaleSignIn = FORBIDDEN, "stale_sign_in", "The browser was not signed in just now";
    DirectoryNotAllowed = FORBIDDEN, "directory_not_allowed", "No session may work in this directory";
    ForeignUser = FORBIDDEN, "foreign_user", "The process at the other end of the socket may not call";
    ForeignHost = FORBIDDEN, "foreign_host", "The Host header names another host";
    ForeignOrigin = FORBIDDEN, "foreign_origin", "The call comes from another site's page";
    NoSuchRoute = NOT_FOUND, "no_such_route", "There is nothing at this path";
    NoSuchSession = NOT_FOUND, "no_such_session", "There is no such session";
    NoSuchCheckpoint = NOT_FOUND, "no_such_checkpoint", "There is no such checkpoint";
    NoSuchQuestion = NOT_FOUND, "no_such_question", "There is no such open question";
    NoSuchToken = NOT_FOUND, "no_such_token", "There is no such token";
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "The path has not this method";
    TokenExists = CONFLICT, "token_exists", "The name is taken, or there are too many tokens";
    AmbiguousId = CONFLICT, "ambiguous_id", "What names the session means several";
    AlreadyAnswered = CONFLICT, "already_answered", "The question is already answered";
    AlreadyEnded = CONFLICT, "already_ended", "The session has already ended";
    StillLive = CONFLICT, "still_live", "The session has not ended";
    NotJournalled = CONFLICT, "not_journalled", "Not all of its output is in its journal";
    NoConversation = CONFLICT, "no_conversation", "There is no conversation to go on with";
    Owned = CONFLICT, "owned", "The conversation belongs to another session";
    Completed = CONFLICT, "completed", "The session is completed";
    BudgetSpent = CONFLICT, "budget_spent", "The session has spent its budget";
    SlowBody = REQUEST_TIMEOUT, "slow_body", "The body did not come in time";
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large";
    NotJson = UNSUPPORTED_MEDIA_TYPE, "not_json", "The body is not JSON";
    KeyMismatch = UNPROCESSABLE_ENTITY, "idempotency_mismatch", "The key was used for another call";
    NotAcceptable = NOT_ACCEPTABLE, "not_acceptable", "There is no such form of it";
    QueueFull = SERVICE_UNAVAILABLE, "queue_full", "Too many sessions wait";
    TooManyStreams = SERVICE_UNAVAILABLE, "too_many_streams", "Too many streams are read";
    TooManyConnections = SERVICE_UNAVAILABLE, "too_many_connections", "There are too many connections";
    NotReady = SERVICE_UNAVAILABLE, "not_ready", "The daemon is not ready";
    Stopping = SERVICE_UNAVAILABLE, "stopping", "The daemon is stopping";
    DiskFull = INSUFFICIENT_STORAGE, "disk_full", "The disk is full";
    NotKept = INTERNAL_SERVER_ERROR, "not_kept", "It cannot be kept on disk";
    FilesStay = INTERNAL_SERVER_ERROR, "files_stay", "Files cannot be removed";
    JournalFailed = INTERNAL_SERVER_ERROR, "journal_failed", "The journal failed";
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    code: Code,
    detail: String,
    /// What can be done about it, where that depends on the place where it is read.
    remedy: Option<Remedy>,
    /// The methods that a path has, where another was tried.
    allowed: Option<&'static str>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            remedy: None,
            allowed: None,
        }
    }

    /// The same with what can be done about it.
    pub(super) fn with(self, remedy: Remedy) -> Self {
        Self {
            remedy: Some(remedy),
            ..self
        }
    }

    /// What happened and what to do, in the words of a place.
    pub(super) fn told(&self, reader: Audience) -> String {
        joined(&self.detail, self.remedy, reader)
    }
}

impl Problem {
    /// True if the error has this code.
    pub(super) fn is(&self, code: Code) -> bool {
        self.code == code
    }

    /// The stable code.
    pub(super) fn name(&self) -> &'static str {
        self.code.row().1
    }
}

#[cfg(test)]
impl Problem {
    /// Its cause.
    pub(super) fn code(&self) -> Code {
        self.code
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(Audience::Api))
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.code.row().0
    }

    fn error_response(&self) -> HttpResponse {
        self.respond(Audience::Api)
    }
}

impl Problem {
    /// The answer, in the words of the place where it is read.
    pub(super) fn respond(&self, reader: Audience) -> HttpResponse {
        let (status, code, title) = self.code.row();
        let body = json!({
            "type": format!("urn:cc-executor:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.told(reader),
            "code": code,
        });
        let mut response = HttpResponse::build(status);
        response.content_type(PROBLEM_TYPE);
        if let Some(methods) = self.allowed {
            response.insert_header((ALLOW, methods));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"cc-executor\""));
        }
        if status == StatusCode::REQUEST_TIMEOUT {
            // The rest of the body is not waited for.
            response.force_close();
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
        }
        response.body(body.to_string())
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        Self {
            remedy: remedy(&error),
            ..Self::new(code_of_call(&error), what(&error))
        }
    }
}

fn code_of_call(error: &CallError) -> Code {
    match error {
        CallError::NoSuchSession(_) => Code::NoSuchSession,
        CallError::AmbiguousId { .. } | CallError::AmbiguousName { .. } => Code::AmbiguousId,
        CallError::Denied(Denied::NoSuchQuestion(_)) => Code::NoSuchQuestion,
        CallError::NoSuchCheckpoint(_) => Code::NoSuchCheckpoint,
        CallError::NoConversation(_) => Code::NoConversation,
        CallError::Owned { .. } => Code::Owned,
        CallError::Denied(Denied::AlreadyAnswered(_)) => Code::AlreadyAnswered,
        CallError::Denied(Denied::AnswerMismatch(_)) => Code::AnswerMismatch,
        CallError::InvalidRequest(_) => Code::InvalidRequest,
        CallError::BadDirectory { .. } => Code::BadDirectory,
        CallError::DirectoryNotAllowed { .. } => Code::DirectoryNotAllowed,
        CallError::KeyMismatch { .. } => Code::KeyMismatch,
        CallError::NotServed(NotServed::NoDepth(_)) => Code::InvalidRequest,
        CallError::NotServed(_) => Code::ForbiddenAgent,
        CallError::Denied(Denied::Excess(_)) => Code::ExceedsAgent,
        CallError::Denied(Denied::AlreadyEnded(_) | Denied::BeingEnded) => Code::AlreadyEnded,
        CallError::Denied(Denied::StillLive(_)) => Code::StillLive,
        CallError::Denied(Denied::Completed) => Code::Completed,
        CallError::Denied(Denied::BudgetSpent(_)) => Code::BudgetSpent,
        CallError::InUse { .. } => Code::StillLive,
        CallError::NotJournalled(_) => Code::NotJournalled,
        CallError::FilesStay { .. } | CallError::FilesUnusable { .. } => Code::FilesStay,
        CallError::QueueFull(_) => Code::QueueFull,
        CallError::LeftAlone(_) => Code::JournalFailed,
        CallError::Stopping => Code::Stopping,
        CallError::Refused(refusal) => match refusal {
            StoreRefusal::NoSuchSession(_) => Code::NoSuchSession,
            StoreRefusal::StillLive(_) => Code::StillLive,
            StoreRefusal::KeyTaken(_) => Code::KeyMismatch,
            StoreRefusal::WrongAttempt { .. } | StoreRefusal::WrongOffset { .. } | StoreRefusal::SessionExists(_) => {
                Code::JournalFailed
            }
        },
        CallError::Delayed(store) | CallError::AnswerDelayed(_, store) | CallError::Store(store) => match store {
            StoreError::DiskFull { .. } => Code::DiskFull,
            StoreError::Closed => Code::Stopping,
            StoreError::FromTheFuture { .. }
            | StoreError::Damaged { .. }
            | StoreError::Unreadable { .. }
            | StoreError::Moved { .. }
            | StoreError::NetworkFileSystem { .. }
            | StoreError::Failed(_) => Code::JournalFailed,
        },
    }
}

/// The answer at paths that are none of ours.
pub(super) async fn no_such_route(request: HttpRequest) -> HttpResponse {
    Problem::new(Code::NoSuchRoute, format!("there is nothing at {}", request.path())).error_response()
}

/// The answer to a method that a path has not.
pub(super) fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let problem = Problem {
        allowed: Some(allowed),
        ..Problem::new(Code::MethodNotAllowed, format!("this path has {allowed} only"))
    };
    problem.error_response()
}

/// Parts of paths that are not UTF-8.
pub(super) fn path_config() -> PathConfig {
    let refuse = |error: PathError, _: &HttpRequest| Problem::new(Code::BadPath, error.to_string()).into();
    PathConfig::default().error_handler(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::to_bytes;

    #[test]
    fn every_code_is_an_error_with_a_name_of_its_own() {
        for (place, code) in Code::ALL.iter().enumerate() {
            let (status, name, title) = code.row();
            assert!(status.is_client_error() || status.is_server_error(), "{name}");
            assert!(!title.ends_with('.'), "{title}");
            assert!(
                Code::ALL[..place].iter().all(|other| other.row().1 != name),
                "{name} twice"
            );
        }
    }

    #[actix_web::test]
    async fn a_refusal_is_a_problem_document() {
        let problem = Problem::from(CallError::NoSuchSession("abcd".into()));
        let response = problem.error_response();
        assert_eq!(response.status(), 404);
        assert_eq!(
            response.headers().get("content-type").unwrap(),
            "application/problem+json"
        );
        let body = to_bytes(response.into_body()).await.unwrap();
        insta::assert_snapshot!(std::str::from_utf8(&body).unwrap(), @r#"{"code":"no_such_session","detail":"there is no session abcd: `GET /api/sessions` lists them","status":404,"title":"There is no such session","type":"urn:cc-executor:problem:no_such_session"}"#);
    }

    #[test]
    fn a_failed_journal_is_our_fault_and_a_full_disk_says_so() {
        let status = |error: StoreError| Problem::from(CallError::from(error)).status_code().as_u16();
        assert_eq!(status(StoreError::Failed("x".into())), 500);
        assert_eq!(status(StoreError::DiskFull { directory: "/".into() }), 507);
        assert_eq!(status(StoreError::Closed), 503);
    }
}
