//! `mcp`: between a client that speaks MCP on standard input and output, and the daemon's endpoint. It needs no token in
//! anybody's configuration, starts the daemon when none runs, and outlives daemons: a call whose stream breaks off is
//! read on at the next one.
//!
//! A daemon that was stopped stays stopped until the client asks for something. Inside an agent the relay starts no daemon
//! at all ([`inside`]).
//!
//! Nothing but messages of the protocol is written to standard output.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use awc::http::header::{CONTENT_TYPE, HeaderValue};
use awc::http::{Method, StatusCode};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use tokio::task::AbortHandle;

use super::connection;
use super::exit::{Exit, Failure};
use super::launch::find_or_start;
use super::mark;
use super::screen::eprint;
use super::sse::Parser;
use crate::agent::environment::DEPTH_VARIABLE;
use crate::web::access::{DEPTH_HEADER, MARK_HEADER};
use crate::web::mcp::caller::DIRECTORY_HEADER;

/// The longest message of the client, in bytes.
const MESSAGE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The longest answer that is no stream, in bytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How many messages of the client wait to be sent.
const WAITING_MAX: usize = 64;

/// The wait before the daemon is looked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a message is tried at daemons that come and go.
const TRIES: u32 = 5;

/// The field in which a message of 2026-07-28 or later says so.
const REVISION_FIELD: &str = "io.modelcontextprotocol/protocolVersion";

/// The error of JSON-RPC for what went wrong on our side.
const INTERNAL_ERROR: i64 = -32603;

mod daemon;
mod inside;

use daemon::Need;
use inside::AgentGrant;

/// Carries messages until the client closes its end.
pub(crate) async fn relay(state_dir: &Path) -> Result<Exit, Failure> {
    if mark::is_inside_agent() {
        if let AgentGrant::Nothing(why) = inside::grant(state_dir).await {
            inside::serve_nothing(why).await;
            return Ok(Exit::Ok);
        }
    } else {
        find_or_start(state_dir).await?;
    }
    if io::stdin().is_terminal() {
        eprint("waits for MCP on standard input: clients start it, and `cc-executor mcp-config` prints how");
    }
    let relay = Rc::new(Relay {
        state_dir: state_dir.to_owned(),
        directory: std::env::current_dir().ok(),
        depth: std::env::var(DEPTH_VARIABLE).ok(),
        parent: mark::mark_as_header(),
        session: RefCell::default(),
        running: RefCell::default(),
        starting: Mutex::default(),
    });
    let mut messages = read_messages();
    while let Some(message) = messages.recv().await {
        relay.take(message).await;
    }
    Ok(Exit::Ok)
}

/// Reads lines on a thread of their own: standard input cannot be read otherwise without holding up the rest.
fn read_messages() -> mpsc::Receiver<Value> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            match input.by_ref().take(MESSAGE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let message = match serde_json::from_slice(&line) {
                Ok(message) => message,
                Err(_) if line.trim_ascii().is_empty() => continue,
                Err(error) => {
                    let told = format!("this is no JSON, or too long: {error}");
                    print(&json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": told}}));
                    continue;
                }
            };
            if sender.blocking_send(message).is_err() {
                return;
            }
        }
    });
    receiver
}

struct Relay {
    state_dir: PathBuf,
    /// Where it was started: what a request without a directory means.
    directory: Option<PathBuf>,
    /// How many agents stand above it, as its environment says.
    depth: Option<String>,
    /// The mark of the attempt whose agent started it, where one did.
    parent: Option<HeaderValue>,
    session: RefCell<McpSession>,
    /// The requests on their way, by their ids as JSON.
    running: RefCell<HashMap<String, AbortHandle>>,
    /// Held while a daemon is started, so that two requests do not start two.
    starting: Mutex<()>,
}

/// The MCP session, where the client's revision has them.
#[derive(Default)]
struct McpSession {
    id: Option<String>,
    revision: Option<String>,
    /// How the client introduced itself, to do it again should the daemon have forgotten.
    introduction: Option<Value>,
}

/// What became of a stream.
enum Streamed {
    /// The answer was given.
    Answered,
    /// It broke off behind this event.
    Broken(Option<String>),
}

impl Relay {
    async fn take(self: &Rc<Self>, message: Value) {
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let is_request = !method.is_empty() && message.get("id").is_some();
        let is_stateless = is_stateless(&message);
        match method.as_str() {
            "initialize" => {
                *self.session.borrow_mut() = McpSession {
                    introduction: Some(message.clone()),
                    ..McpSession::default()
                };
                self.carry(message).await;
            }
            "notifications/cancelled" if self.session.borrow().id.is_none() => {
                // Without sessions, closing the stream is how a call is cancelled.
                if let Some(running) = self
                    .running
                    .borrow_mut()
                    .remove(&message["params"]["requestId"].to_string())
                {
                    running.abort();
                }
            }
            _ if is_request => {
                let (relay, id) = (Rc::clone(self), message["id"].to_string());
                let done = id.clone();
                let task = tokio::task::spawn_local(async move {
                    relay.carry(message).await;
                    relay.running.borrow_mut().remove(&done);
                });
                if !task.is_finished() {
                    self.running.borrow_mut().insert(id, task.abort_handle());
                }
            }
            "notifications/initialized" => {
                self.deliver(&message).await;
                if !is_stateless {
                    tokio::task::spawn_local(Rc::clone(self).stand());
                }
            }
            _ if connection::look(&self.state_dir).is_some() => self.deliver(&message).await,
            _ => {
                // It waits for a daemon, which is no reason to hold up what comes behind it.
                let relay = Rc::clone(self);
                tokio::task::spawn_local(async move { relay.deliver(&message).await });
            }
        }
    }

    /// Carries one request to its answer, over as many daemons as it takes.
    async fn carry(&self, message: Value) {
        let told = match self.try_to_carry(&message).await {
            Ok(()) => return,
            Err(told) => told,
        };
        print(&json!({"jsonrpc": "2.0", "id": message["id"], "error": {"code": INTERNAL_ERROR, "message": told}}));
    }

    async fn try_to_carry(&self, message: &Value) -> Result<(), String> {
        let mut answer = self.post(message, Need::Request).await?;
        if answer.status() == StatusCode::NOT_FOUND && self.session.borrow().id.is_some() {
            self.introduce_again().await?;
            answer = self.post(message, Need::Request).await?;
        }
        if let Some(id) = answer.headers().get("mcp-session-id").and_then(|id| id.to_str().ok()) {
            self.session.borrow_mut().id = Some(id.to_owned());
        }
        let is_stream = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !is_stream {
            let body = answer
                .body()
                .limit(ANSWER_BYTES_MAX)
                .await
                .map_err(|error| error.to_string())?;
            return self.take_document(answer.status(), &body);
        }
        let mut last = None;
        for _ in 0..TRIES {
            match self.stream(&mut answer, last).await {
                Streamed::Answered => return Ok(()),
                Streamed::Broken(at) => last = at,
            }
            let Some(at) = last.as_deref().filter(|_| !is_stateless(message)) else {
                break;
            };
            answer = self.get(Some(at), Need::GoOn).await?;
        }
        Err("the connection to the daemon was lost during this call; a session it started goes on: call list_executions".into())
    }

    fn take_document(&self, status: StatusCode, body: &[u8]) -> Result<(), String> {
        match serde_json::from_slice::<Value>(body) {
            Ok(document) if document.get("jsonrpc").is_some() => {
                self.note_revision(&document);
                print(&document);
                Ok(())
            }
            Ok(problem) if problem["detail"].is_string() => {
                Err(problem["detail"].as_str().unwrap_or_default().to_owned())
            }
            _ => Err(format!(
                "the daemon answered {status}: {}",
                String::from_utf8_lossy(body).trim()
            )),
        }
    }

    /// Hands a stream's messages on, up to the answer.
    async fn stream(&self, answer: &mut HttpAnswer, mut last: Option<String>) -> Streamed {
        let mut parser = Parser::default();
        while let Some(Ok(chunk)) = answer.next().await {
            let Ok(events) = parser.push(&chunk) else { break };
            for event in events {
                last = event.id.or(last);
                let Ok(message) = serde_json::from_str::<Value>(&event.data) else {
                    continue;
                };
                self.note_revision(&message);
                print(&message);
                if message.get("method").is_none() {
                    return Streamed::Answered;
                }
            }
        }
        Streamed::Broken(last)
    }

    /// Keeps the standing stream open, on which the daemon tells of changes.
    async fn stand(self: Rc<Self>) {
        let mut last: Option<String> = None;
        let session = self.session.borrow().id.clone();
        while self.session.borrow().id == session && session.is_some() {
            if let Ok(mut answer) = self.get(last.as_deref(), Need::Stand).await
                && answer.status().is_success()
                && let Streamed::Broken(at) = self.stream(&mut answer, last.take()).await
            {
                last = at;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Sends a message that has no answer.
    async fn deliver(&self, message: &Value) {
        match self.post(message, Need::GoOn).await {
            Ok(answer) if answer.status().is_success() => {}
            Ok(answer) => eprint(&format!("the daemon answered {} to a notification", answer.status())),
            Err(told) => eprint(&told),
        }
    }

    async fn introduce_again(&self) -> Result<(), String> {
        let introduction = self.session.borrow().introduction.clone();
        let introduction = introduction.ok_or("the client has not introduced itself")?;
        self.session.borrow_mut().id = None;
        let mut answer = self.post(&introduction, Need::Request).await?;
        let id = answer
            .headers()
            .get("mcp-session-id")
            .and_then(|id| id.to_str().ok())
            .map(str::to_owned);
        // The answer is read to its end and kept from the client, who has one already.
        let _ = answer.body().limit(ANSWER_BYTES_MAX).await;
        self.session.borrow_mut().id = id;
        self.deliver(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
        Ok(())
    }

    /// Remembers the revision that the daemon chose.
    fn note_revision(&self, message: &Value) {
        let mut session = self.session.borrow_mut();
        if session.revision.is_none()
            && let Some(revision) = message["result"]["protocolVersion"].as_str()
        {
            session.revision = Some(revision.to_owned());
        }
    }

    /// Posts a message, to a daemon that is started if need be.
    async fn post(&self, message: &Value, need: Need) -> Result<HttpAnswer, String> {
        let mut told = String::new();
        for _ in 0..TRIES {
            let request = self.request(Method::POST, message, need).await?;
            let request = request.insert_header(("Content-Type", "application/json"));
            match request.send_body(message.to_string()).await {
                Ok(answer) => return Ok(answer),
                // What may have arrived is not sent again, lest a task be run twice.
                Err(error @ awc::error::SendRequestError::Connect(_)) => told = error.to_string(),
                Err(error) => return Err(format!("the connection to the daemon was lost: {error}")),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("the daemon does not answer: {told}"))
    }

    async fn get(&self, last: Option<&str>, need: Need) -> Result<HttpAnswer, String> {
        let mut told = String::new();
        for _ in 0..TRIES {
            let mut request = self.request(Method::GET, &Value::Null, need).await?;
            if let Some(last) = last {
                request = request.insert_header(("Last-Event-ID", last));
            }
            match request.send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => told = error.to_string(),
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(format!("the daemon does not answer: {told}"))
    }

    /// A request with the headers that go with a message.
    async fn request(&self, method: Method, message: &Value, need: Need) -> Result<awc::ClientRequest, String> {
        let way = self.daemon(need).await?.way;
        // The daemon may have come back by another way: a client goes one way only.
        let http = way.client(None);
        let mut request = way
            .sign(http.request(method, way.url("/mcp")))
            .insert_header(("Accept", "application/json, text/event-stream"))
            .no_decompress()
            .force_close();
        if let Some(Ok(directory)) = self
            .directory
            .as_ref()
            .map(|path| HeaderValue::from_bytes(path.as_os_str().as_bytes()))
        {
            request = request.insert_header((DIRECTORY_HEADER, directory));
        }
        if let Some(depth) = &self.depth {
            // A number that cannot be a header is none, and refused as such.
            let depth = HeaderValue::from_str(depth).unwrap_or(HeaderValue::from_static("unreadable"));
            request = request.insert_header((DEPTH_HEADER, depth));
        }
        if let Some(parent) = &self.parent {
            request = request.insert_header((MARK_HEADER, parent.clone()));
        }
        if is_stateless(message) {
            for (name, value) in stateless_headers(message) {
                request = request.insert_header((name, value));
            }
            return Ok(request);
        }
        let session = self.session.borrow();
        if message["method"] != "initialize" {
            if let Some(id) = &session.id {
                request = request.insert_header(("Mcp-Session-Id", id.as_str()));
            }
            if let Some(revision) = &session.revision {
                request = request.insert_header(("MCP-Protocol-Version", revision.as_str()));
            }
        }
        Ok(request)
    }
}

type HttpAnswer = awc::ClientResponse;

fn is_stateless(message: &Value) -> bool {
    message["params"]["_meta"][REVISION_FIELD].is_string()
}

/// What a message of 2026-07-28 says again in headers.
fn stateless_headers(message: &Value) -> Vec<(&'static str, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let params = &message["params"];
    let name = ["name", "uri", "taskId"].iter().find_map(|key| text(&params[*key]));
    let headers = [
        ("MCP-Protocol-Version", text(&params["_meta"][REVISION_FIELD])),
        ("Mcp-Method", text(&message["method"])),
        ("Mcp-Name", name),
    ];
    headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// Writes one message; a client that is gone is noticed by its closed input.
fn print(message: &Value) {
    let mut output = io::stdout().lock();
    let _ = writeln!(output, "{message}").and_then(|()| output.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_of_a_stateless_message_repeat_what_it_says() {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "get_execution", "_meta": {REVISION_FIELD: "2026-07-28"}}});
        assert!(is_stateless(&message));
        let wanted = [
            ("MCP-Protocol-Version", "2026-07-28"),
            ("Mcp-Method", "tools/call"),
            ("Mcp-Name", "get_execution"),
        ];
        assert_eq!(
            stateless_headers(&message),
            wanted.map(|(name, value)| (name, value.to_owned()))
        );
        assert!(!is_stateless(&json!({"method": "initialize", "params": {}})));
    }
}
