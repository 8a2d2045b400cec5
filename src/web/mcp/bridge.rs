//! From actix-web to rmcp's streamable HTTP service, and back.
//!
//! rmcp's service takes any `http::Request` and answers an `http::Response`; actix-web has an older `http` crate and
//! payloads that stay on their thread. So the bounded body is gathered, head and body are handed over, and the answer's
//! body is streamed back. The service itself runs on a runtime of its own: a tool that is slow to yield holds up no
//! other route.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError, web};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::runtime;
use tokio::task::AbortHandle;

use super::sessions::{Introductions, Sessions};
use super::signer;
use crate::web::Faces;
use crate::web::access::{Caller, Signer};
use crate::web::error::{Code, Problem};

/// The header that names what a request is about; the client must send it with `tasks/*`.
const NAME_HEADER: HeaderName = HeaderName::from_static("mcp-name");

/// The header that names the method of a request.
const METHOD_HEADER: HeaderName = HeaderName::from_static("mcp-method");

/// The codes of JSON-RPC for what is no JSON, and for JSON that is no message.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;

/// The service with what carries requests to it.
pub(super) struct Bridge<S> {
    /// rmcp's side.
    pub(super) service: StreamableHttpService<S, Sessions>,
    /// Which sessions there are, and whose.
    pub(super) introductions: Arc<Introductions>,
    /// Where it runs.
    pub(super) runtime: runtime::Handle,
    /// The longest request body, in bytes.
    pub(super) body_bytes_max: usize,
}

impl<S: ServerHandler + Send + 'static> Bridge<S> {
    /// Carries one request over. Dropping the future, or the body of the answer, ends the work: that is how rmcp learns
    /// that a client of 2026-07-28 has cancelled its call.
    pub(super) async fn carry(&self, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        let body = match payload.to_bytes_limited(self.body_bytes_max).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Problem::new(Code::BadBody, error.to_string()).error_response(),
            Err(_) => return self.too_large(),
        };
        let is_json = is_json(&request);
        if let Some((code, told)) = fault_of(&body).filter(|_| is_json) {
            return no_message(code, told);
        }
        let Some(request) = to_rmcp(&request, body) else {
            return Problem::new(Code::BadHeader, "the request line or a header is malformed").error_response();
        };
        let service = self.service.clone();
        let introductions = Arc::clone(&self.introductions);
        let work = self.runtime.spawn(async move {
            let signer = request.extensions().get().cloned();
            match introductions.are_open_to(&request) {
                true => signer::scope(signer, service.handle(request)).await,
                false => no_session(),
            }
        });
        let _ended_with_us = AbortOnDrop(work.abort_handle());
        match work.await {
            // This is what it calls JSON that is no message.
            Ok(response) if is_json && response.status() == http::StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                no_message(INVALID_REQUEST, "this is no message of JSON-RPC 2.0")
            }
            Ok(response) => from_rmcp(response),
            Err(_) => {
                Problem::new(Code::Stopping, "the daemon is stopping, or this call failed inside").error_response()
            }
        }
    }

    fn too_large(&self) -> HttpResponse {
        let told = format!(
            "the body has more than {} bytes (`limits.body_bytes_max`)",
            self.body_bytes_max
        );
        Problem::new(Code::BodyTooLarge, told).error_response()
    }
}

/// Whether it posts JSON, by its own word.
fn is_json(request: &HttpRequest) -> bool {
    let kind = request.headers().get(CONTENT_TYPE.as_str());
    request.method() == actix_web::http::Method::POST
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// Why a body cannot be a message: the code of JSON-RPC, and words.
fn fault_of(body: &[u8]) -> Option<(i32, &'static str)> {
    if serde_json::from_slice::<IgnoredAny>(body).is_err() {
        return Some((PARSE_ERROR, "this is no JSON"));
    }
    let is_object = body.trim_ascii_start().starts_with(b"{");
    (!is_object).then_some((INVALID_REQUEST, "send one message a request, which is an object"))
}

fn no_message(code: i32, told: &str) -> HttpResponse {
    HttpResponse::BadRequest().json(json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": told}}))
}

/// What rmcp answers to who names a session that there is none of: another's session is none.
fn no_session() -> http::Response<BoxBody<Bytes, Infallible>> {
    let mut answer = http::Response::new(Full::new(Bytes::from_static(b"Not Found: Session not found")).boxed());
    *answer.status_mut() = http::StatusCode::NOT_FOUND;
    answer
}

/// A task that nobody waits for any more is ended.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The request in rmcp's terms. Our token stays behind: no handler needs it.
fn to_rmcp(request: &HttpRequest, body: Bytes) -> Option<http::Request<Full<Bytes>>> {
    let mut headers = HeaderMap::new();
    for (name, value) in request.headers() {
        // This crate is stricter about names: what it cannot express no handler reads.
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes()))
            && name != AUTHORIZATION
        {
            headers.append(name, value);
        }
    }
    name_the_task(&mut headers, &body);
    let mut converted = http::Request::new(Full::new(body));
    *converted.method_mut() = http::Method::from_bytes(request.method().as_str().as_bytes()).ok()?;
    *converted.uri_mut() = http::Uri::try_from(request.uri().to_string()).ok()?;
    *converted.headers_mut() = headers;
    if let Some(caller) = request.extensions().get::<Caller>() {
        converted.extensions_mut().insert(caller.clone());
    }
    let faces = request.app_data::<web::Data<Faces>>();
    if let Some(signer) = faces.and_then(|faces| Signer::of(request, &faces.access)) {
        converted.extensions_mut().insert(signer);
    }
    Some(converted)
}

/// Some clients forget the name that the tasks extension demands; it stands in the body as well. A wrong one is still
/// refused.
fn name_the_task(headers: &mut HeaderMap, body: &[u8]) {
    #[derive(Deserialize)]
    struct Message {
        params: Params,
    }
    #[derive(Deserialize)]
    struct Params {
        #[serde(rename = "taskId")]
        task_id: String,
    }
    let is_of_task = headers
        .get(METHOD_HEADER)
        .is_some_and(|method| method.as_bytes().starts_with(b"tasks/"));
    if !is_of_task || headers.contains_key(NAME_HEADER) {
        return;
    }
    let task = serde_json::from_slice::<Message>(body)
        .ok()
        .map(|message| message.params.task_id);
    if let Some(name) = task.and_then(|task| HeaderValue::from_str(&task).ok()) {
        headers.insert(NAME_HEADER, name);
    }
}

fn from_rmcp(response: http::Response<BoxBody<Bytes, Infallible>>) -> HttpResponse {
    let (head, body) = response.into_parts();
    let Ok(status) = actix_web::http::StatusCode::from_u16(head.status.as_u16()) else {
        return HttpResponse::InternalServerError().finish();
    };
    let mut converted = HttpResponse::build(status);
    for (name, value) in &head.headers {
        converted.append_header((name.as_str(), value.as_bytes()));
    }
    converted.body(Answer(body))
}

/// The body of an answer: of known length, or a stream.
struct Answer(BoxBody<Bytes, Infallible>);

impl MessageBody for Answer {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        self.0.size_hint().exact().map_or(BodySize::Stream, BodySize::Sized)
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.0).poll_frame(cx)) {
                None => return Poll::Ready(None),
                Some(Err(never)) => match never {},
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Some(Ok(data))),
                    Err(_trailers) => {}
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(method: &'static str, name: Option<&'static str>, body: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(METHOD_HEADER, HeaderValue::from_static(method));
        if let Some(name) = name {
            headers.insert(NAME_HEADER, HeaderValue::from_static(name));
        }
        name_the_task(&mut headers, body.as_bytes());
        headers.get(NAME_HEADER).map(|name| name.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_forgotten_name_of_a_task_is_taken_from_the_body() {
        let body = r#"{"jsonrpc":"2.0","params":{"taskId":"abc"}}"#;
        assert_eq!(named("tasks/get", None, body).as_deref(), Some("abc"));
        assert_eq!(
            named("tasks/get", Some("other"), body).as_deref(),
            Some("other"),
            "a wrong one is left to be refused"
        );
        assert_eq!(named("tools/call", None, body), None);
        assert_eq!(named("tasks/get", None, "{"), None);
    }

    #[test]
    fn what_cannot_be_a_message_is_told_apart() {
        let code = |body: &str| fault_of(body.as_bytes()).map(|(code, _)| code);
        assert_eq!((code("{"), code("")), (Some(PARSE_ERROR), Some(PARSE_ERROR)));
        assert_eq!((code(" []"), code("7")), (Some(INVALID_REQUEST), Some(INVALID_REQUEST)));
        assert_eq!(code(" {}"), None, "what is in it rmcp looks at");
    }

    #[test]
    fn the_token_is_not_handed_on() {
        let request = actix_web::test::TestRequest::post()
            .uri("/mcp")
            .insert_header(("authorization", "Bearer secret"))
            .insert_header(("accept", "text/event-stream"))
            .to_http_request();
        let converted = to_rmcp(&request, Bytes::from_static(b"{}")).unwrap();
        assert!(converted.headers().get("authorization").is_none());
        assert_eq!((converted.method().as_str(), converted.uri().path()), ("POST", "/mcp"));
        assert_eq!(converted.headers()["accept"], "text/event-stream");
    }
}
