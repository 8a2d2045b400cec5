//! A scripted Anthropic Messages API on loopback: the model behind the real `claude` in end-to-end tests.
//!
//! The prompt itself says what the model shall do; `script` has the steps. The only state is how often a fault has
//! struck and the list of requests for the test to look at.

pub(crate) mod answer;
pub(crate) mod script;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use futures_util::stream;
use serde_json::{Value, json};

use self::answer::{Answer, Piece};
use self::script::{Fault, Round, Step};
use super::wait;

/// Requests carry the whole conversation.
const REQUEST_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The scripted API, stopped when dropped; streams that are open then are cut.
pub(crate) struct MessagesApi {
    address: SocketAddr,
    state: Data<State>,
    server: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub(crate) struct RecordedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    /// `null` where there was none or it was not JSON.
    pub(crate) body: Value,
}

#[derive(Default)]
struct State {
    requests: Mutex<Vec<RecordedRequest>>,
    faults_struck: Mutex<HashMap<String, u32>>,
}

impl MessagesApi {
    /// Starts the API on a free port, on a thread and an actix system of its own.
    pub(crate) fn start() -> MessagesApi {
        let state = Data::new(State::default());
        let (started, start) = mpsc::channel();
        let served = state.clone();
        let thread = std::thread::spawn(move || {
            let serve = async move {
                let (server, address) = bind(served);
                started
                    .send((server.handle(), address))
                    .expect("the test waits for the start");
                server.await.expect("the scripted API serves until it is stopped");
            };
            actix_web::rt::System::new().block_on(serve);
        });
        let (server, address) = start.recv().expect("the scripted API starts");
        MessagesApi {
            address,
            state,
            server,
            thread: Some(thread),
        }
    }

    /// For `ANTHROPIC_BASE_URL`.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, the oldest first.
    pub(crate) fn requests(&self) -> Vec<RecordedRequest> {
        lock(&self.state.requests).clone()
    }

    /// The bodies of the requests to the model so far, those that failed included.
    pub(crate) fn model_requests(&self) -> Vec<Value> {
        let to_model = |request: &RecordedRequest| request.path == "/v1/messages";
        self.requests()
            .into_iter()
            .filter(to_model)
            .map(|request| request.body)
            .collect()
    }
}

impl Drop for MessagesApi {
    fn drop(&mut self) {
        // The stop command is sent by the call; the future only waits for the end, which joining the thread does too.
        drop(self.server.stop(false));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the scripted API panicked");
        }
    }
}

fn bind(state: Data<State>) -> (actix_web::dev::Server, SocketAddr) {
    let app = move || {
        App::new()
            .app_data(state.clone())
            .app_data(web::PayloadConfig::new(REQUEST_BYTES_MAX))
            .default_service(web::to(respond))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .disable_signals()
        .shutdown_timeout(0)
        .bind((Ipv4Addr::LOCALHOST, 0))
        .expect("a free port on loopback");
    let address = server.addrs()[0];
    (server.run(), address)
}

async fn respond(request: HttpRequest, body: Bytes, state: Data<State>) -> HttpResponse {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    lock(&state.requests).push(record(&request, &body));
    match (request.method().as_str(), request.path()) {
        ("POST", "/v1/messages") => answer_model_request(&state, &session_of(&request), &body),
        ("POST", "/v1/messages/count_tokens") => {
            HttpResponse::Ok().json(json!({ "input_tokens": answer::INPUT_TOKENS }))
        }
        ("GET" | "HEAD", "/" | "/api/hello") => HttpResponse::Ok().json(json!({ "message": "hello" })),
        (method, path) => error_response(404, &format!("the scripted API has no {method} {path}")),
    }
}

fn record(request: &HttpRequest, body: &Value) -> RecordedRequest {
    let header = |(name, value): (
        &actix_web::http::header::HeaderName,
        &actix_web::http::header::HeaderValue,
    )| { (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()) };
    RecordedRequest {
        method: request.method().to_string(),
        path: request.path().to_owned(),
        headers: request.headers().iter().map(header).collect(),
        body: body.clone(),
    }
}

/// The CLI names its session in every request.
fn session_of(request: &HttpRequest) -> String {
    let header = request.headers().get("x-claude-code-session-id");
    header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

fn answer_model_request(state: &State, session: &str, body: &Value) -> HttpResponse {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let round = match script::round_due(messages) {
        Ok(round) => round,
        // The mistake is in the test: as a 400 the CLI prints it and the test shows it.
        Err(mistake) => return error_response(400, &mistake),
    };
    let fault = state.next_fault(session, &round);
    if let Some(Fault::Status(status)) = fault {
        return error_response(status, "a scripted error");
    }
    let answer = Answer::new(body["model"].as_str().unwrap_or("claude"), round.steps);
    if body["stream"] == true || fault.is_some() {
        return stream_response(answer.stream(fault));
    }
    HttpResponse::Ok().insert_header(request_id()).json(answer.whole())
}

impl State {
    /// The first fault of the round that has not struck this session as often as it shall.
    fn next_fault(&self, session: &str, round: &Round) -> Option<Fault> {
        let mut struck = lock(&self.faults_struck);
        for (index, step) in round.steps.iter().enumerate() {
            let Step::Fault { fault, times } = step else { continue };
            let count = struck
                .entry(format!("{session}, {}, step {index}", round.key))
                .or_default();
            if *count < *times {
                *count += 1;
                return Some(fault.clone());
            }
        }
        None
    }
}

fn error_response(status: u16, message: &str) -> HttpResponse {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "type": "error", "error": { "type": kind, "message": message } });
    HttpResponse::build(status).insert_header(request_id()).json(body)
}

fn request_id() -> (&'static str, String) {
    ("request-id", format!("req_{}", uuid::Uuid::new_v4().simple()))
}

fn stream_response(pieces: Vec<Piece>) -> HttpResponse {
    let body = stream::unfold(pieces.into_iter(), async |mut pieces| {
        loop {
            match pieces.next()? {
                Piece::Event(event) => return Some((Ok(event_bytes(&event)), pieces)),
                Piece::Pause(pause) => actix_web::rt::time::sleep(pause).await,
                Piece::WaitForFile(path) => wait::until_exists(&path).await,
                Piece::CutConnection => {
                    // An error would also drop what is not written yet; actix writes when the stream is pending.
                    tokio::task::yield_now().await;
                    return Some((Err(std::io::Error::other("a scripted cut")), pieces));
                }
                Piece::StayForEver => std::future::pending().await,
            }
        }
    });
    HttpResponse::Ok()
        .insert_header(request_id())
        .content_type("text/event-stream")
        .streaming(body)
}

fn event_bytes(event: &Value) -> Bytes {
    let kind = event["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {kind}\ndata: {event}\n\n"))
}

/// A handler that panicked is reported by the test's own failure; its lock is still good to read.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
