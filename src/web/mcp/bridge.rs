//! From actix-web to rmcp's streamable HTTP service, and back.
//!
//! rmcp's service takes any `http::Request` and answers an `http::Response`; actix-web has an older `http` crate and
//! payloads that stay on their thread. So the bounded body is gathered, head and body are handed over, and the answer's
//! body is streamed back. The service itself runs on a runtime of its own: a tool that is slow to yield holds up no
//! other route.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError, web};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use rmcp::ServerHandler;
use rmcp::transport::streamable_http_server::StreamableHttpService;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::runtime;
use tokio::task::AbortHandle;

use super::caller;
use super::current::{self, Current};
use super::outflow::{CallKey, Outflows};
use super::sessions::{Introductions, McpSessions};
use super::{Reopen, Reopened};
use crate::web::Faces;
use crate::web::access::{Caller, Signer};
use crate::web::error::{Code, Problem};

/// The header that names what a request is about; the client must send it with `tasks/*`.
const NAME_HEADER: HeaderName = HeaderName::from_static("mcp-name");

/// The header in which a client says up to where it has read a stream.
const LAST_EVENT_HEADER: HeaderName = HeaderName::from_static("last-event-id");

/// The header that names the method of a request.
const METHOD_HEADER: HeaderName = HeaderName::from_static("mcp-method");

/// The codes of JSON-RPC for what is no JSON, and for JSON that is no message.
const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;

type AnswerBody = BoxBody<Bytes, Infallible>;

/// A request as it is served.
enum ReadOn {
    /// By rmcp; with the call that it reads on, behind the event with this number.
    Request(http::Request<Full<Bytes>>, Option<(CallKey, u64)>),
    /// It is answered.
    Answered(http::Response<AnswerBody>),
}

/// The longest time for which the head of an answer waits for the beginning of its body.
const HEAD_WAIT: Duration = Duration::from_millis(20);

/// The service with what carries requests to it.
pub(super) struct Bridge<S> {
    /// rmcp's side.
    pub(super) service: StreamableHttpService<S, McpSessions>,
    /// Which sessions there are, and whose.
    pub(super) introductions: Arc<Introductions>,
    /// The calls that can be read on.
    pub(super) outflows: Arc<Outflows>,
    /// Opens the ids of events.
    pub(super) reopen: Arc<Reopen>,
    /// The runtime of rmcp.
    pub(super) runtime: runtime::Handle,
    /// The longest request body, in bytes.
    pub(super) body_bytes_max: usize,
}

impl<S: ServerHandler + Send + 'static> Bridge<S> {
    /// Carries one request over. Dropping the future, or the body of the answer, ends the work: that is how rmcp learns
    /// that a client of 2026-07-28 has cancelled its call.
    pub(super) async fn carry(self: &Arc<Self>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        let body = match payload.to_bytes_limited(self.body_bytes_max).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) => return Problem::new(Code::BadBody, error.to_string()).error_response(),
            Err(_) => return self.too_large(),
        };
        let is_json = is_json(&request);
        let Some(request) = to_rmcp(&request, body.clone()) else {
            return Problem::new(Code::BadHeader, "the request line or a header is malformed").error_response();
        };
        let bridge = Arc::clone(self);
        let work = self
            .runtime
            .spawn(async move { gathered(bridge.serve(request).await).await });
        let _ended_with_us = AbortOnDrop(work.abort_handle());
        match work.await {
            // This is what it calls JSON that is no message.
            Ok((head, _)) if is_json && head.status == http::StatusCode::UNSUPPORTED_MEDIA_TYPE => no_message(&body),
            Ok((head, body)) => from_rmcp(&head, body),
            Err(_) => {
                Problem::new(Code::Stopping, "the daemon is stopping, or this call failed inside").error_response()
            }
        }
    }

    async fn serve(&self, request: http::Request<Full<Bytes>>) -> http::Response<AnswerBody> {
        if !self.introductions.are_open_to(&request) {
            return no_session();
        }
        let signer = request.extensions().get().cloned();
        match self.read_on(request, signer.as_ref()) {
            ReadOn::Request(request, read_on) => {
                let current = Current { signer, read_on };
                current::scope(current, self.service.handle(request)).await
            }
            ReadOn::Answered(answer) => answer,
        }
    }

    /// A client that reads on behind an event of a call is given what the call still tells. Where the call does not run
    /// any more, it is gone on with.
    fn read_on(&self, mut request: http::Request<Full<Bytes>>, signer: Option<&Signer>) -> ReadOn {
        if request.method() != http::Method::GET {
            return ReadOn::Request(request, None);
        }
        let Some(last) = request.headers_mut().remove(LAST_EVENT_HEADER) else {
            return ReadOn::Request(request, None);
        };
        let last_event = last.to_str().unwrap_or_default();
        // rmcp names the beginning of a standing stream so, and earlier versions its events.
        if last_event == "0" || last_event.ends_with(":common") {
            return ReadOn::Request(request, None);
        }
        let mcp_session = caller::mcp_session(request.headers()).unwrap_or_default();
        let signer = signer.map(|signer| signer.id.as_str()).unwrap_or_default();
        match (self.reopen)(last_event, &mcp_session, signer) {
            Some(Reopened::Call { call, message, .. }) if !self.outflows.are_live(&call) => {
                ReadOn::Request(posted(request, &message), None)
            }
            Some(Reopened::Call { call, after, .. }) => {
                request.headers_mut().insert(LAST_EVENT_HEADER, last);
                ReadOn::Request(request, Some((call, after)))
            }
            Some(Reopened::Answer(answer)) => ReadOn::Answered(one_event(&answer)),
            None => {
                request.headers_mut().insert(LAST_EVENT_HEADER, last);
                ReadOn::Request(request, None)
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

/// Why a body is no message: the code of JSON-RPC, and words.
fn fault_of(body: &[u8]) -> (i32, &'static str) {
    if serde_json::from_slice::<IgnoredAny>(body).is_err() {
        return (PARSE_ERROR, "this is no JSON");
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return (INVALID_REQUEST, "send one message a request, which is an object");
    }
    (INVALID_REQUEST, "this is no message of JSON-RPC 2.0")
}

fn no_message(body: &[u8]) -> HttpResponse {
    let (code, told) = fault_of(body);
    HttpResponse::BadRequest().json(json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": told}}))
}

/// What rmcp answers to who names a session that there is none of: another's session is none.
fn no_session() -> http::Response<AnswerBody> {
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

/// The call that a request reads on, as rmcp is asked for it.
fn posted(request: http::Request<Full<Bytes>>, message: &Value) -> http::Request<Full<Bytes>> {
    let (mut head, _) = request.into_parts();
    head.method = http::Method::POST;
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(CONTENT_TYPE, json);
    let both = HeaderValue::from_static("application/json, text/event-stream");
    head.headers.insert(ACCEPT, both);
    http::Request::from_parts(head, Full::new(message.to_string().into()))
}

/// A stream of one message.
fn one_event(message: &Value) -> http::Response<AnswerBody> {
    let mut answer = http::Response::new(Full::new(Bytes::from(format!("data: {message}\n\n"))).boxed());
    let kind = HeaderValue::from_static("text/event-stream");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// The beginning of an answer, as far as it is there at once: a light call's is whole. Each piece that is handed from
/// this runtime to the server's thread has its price.
async fn gathered(response: http::Response<AnswerBody>) -> (http::response::Parts, BridgedBody) {
    let (head, mut rest) = response.into_parts();
    // A client waits for the head of a stream that may be silent for long.
    let first = match tokio::time::timeout(HEAD_WAIT, next_piece(&mut rest)).await {
        Ok(Some(first)) => first,
        Ok(None) => return (head, BridgedBody::Whole(Bytes::new())),
        Err(_) => return (head, BridgedBody::Stream(None, rest)),
    };
    match next_piece(&mut rest).now_or_never() {
        Some(None) => (head, BridgedBody::Whole(first)),
        Some(Some(second)) => {
            let begin = [first, second].concat().into();
            (head, BridgedBody::Stream(Some(begin), rest))
        }
        None => (head, BridgedBody::Stream(Some(first), rest)),
    }
}

async fn next_piece(body: &mut AnswerBody) -> Option<Bytes> {
    loop {
        match body.frame().await? {
            Ok(frame) => match frame.into_data() {
                Ok(data) => return Some(data),
                Err(_trailers) => {}
            },
            Err(never) => match never {},
        }
    }
}

fn from_rmcp(head: &http::response::Parts, body: BridgedBody) -> HttpResponse {
    let Ok(status) = actix_web::http::StatusCode::from_u16(head.status.as_u16()) else {
        return HttpResponse::InternalServerError().finish();
    };
    let mut converted = HttpResponse::build(status);
    for (name, value) in &head.headers {
        converted.append_header((name.as_str(), value.as_bytes()));
    }
    converted.body(body)
}

/// The body of an answer: of known length, or a stream.
enum BridgedBody {
    Whole(Bytes),
    /// What is there of it, and the rest.
    Stream(Option<Bytes>, AnswerBody),
}

impl MessageBody for BridgedBody {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        match self {
            Self::Whole(body) => BodySize::Sized(body.len() as u64),
            Self::Stream(..) => BodySize::Stream,
        }
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        match &mut *self {
            Self::Whole(body) if body.is_empty() => Poll::Ready(None),
            Self::Whole(body) => Poll::Ready(Some(Ok(std::mem::take(body)))),
            Self::Stream(begin, rest) => match begin.take() {
                Some(begin) => Poll::Ready(Some(Ok(begin))),
                None => pin!(next_piece(rest)).poll(cx).map(|piece| piece.map(Ok)),
            },
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
        let code = |body: &str| fault_of(body.as_bytes()).0;
        assert_eq!((code("{"), code("")), (PARSE_ERROR, PARSE_ERROR));
        assert_eq!((code(" []"), code("7")), (INVALID_REQUEST, INVALID_REQUEST));
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
