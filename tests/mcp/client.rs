//! A client that hides nothing: each message as it came, in the order in which it came.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use ureq::http::Response;

use crate::support::daemon::TestDaemon;
use crate::support::wait::PATIENCE;

/// The revision without sessions.
pub(crate) const STATELESS: &str = "2026-07-28";

/// The last revision with them.
pub(crate) const SESSIONS: &str = "2025-11-25";

/// One client of one daemon.
pub(crate) struct Client {
    agent: ureq::Agent,
    url: String,
    token: String,
    revision: &'static str,
    capabilities: Value,
    pub(crate) session: Option<String>,
    next: AtomicU64,
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: Option<String>,
    /// None for an event that only names the stream.
    pub(crate) message: Option<Value>,
}

/// The messages of one answer, as they come.
pub(crate) struct Messages(BufReader<Box<dyn Read + Send>>);

impl Client {
    /// A client of either era, introduced where its era wants that; it can fill in forms.
    pub(crate) fn connect(daemon: &TestDaemon, revision: &'static str) -> Self {
        Self::connect_with(daemon, revision, json!({"elicitation": {}}))
    }

    pub(crate) fn connect_with(daemon: &TestDaemon, revision: &'static str, capabilities: Value) -> Self {
        let mut client = Self::unintroduced(daemon, revision, capabilities, daemon.token());
        if revision != STATELESS {
            client.introduce();
        }
        client
    }

    /// A client of the era without sessions that has this token.
    pub(crate) fn with_token(daemon: &TestDaemon, token: &str) -> Self {
        Self::unintroduced(daemon, STATELESS, json!({}), token.to_owned())
    }

    /// A client of the era with sessions that has this token; it names `session`, or is introduced.
    pub(crate) fn with_session(daemon: &TestDaemon, token: &str, session: Option<&str>) -> Self {
        let mut client = Self::unintroduced(daemon, SESSIONS, json!({}), token.to_owned());
        match session {
            Some(session) => client.session = Some(session.to_owned()),
            None => client.introduce(),
        }
        client
    }

    /// The same client with another token.
    pub(crate) fn with_another_token(self, token: &str) -> Self {
        let token = token.to_owned();
        Self { token, ..self }
    }

    fn unintroduced(daemon: &TestDaemon, revision: &'static str, capabilities: Value, token: String) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE));
        Self {
            agent: config.build().into(),
            url: format!("{}/mcp", daemon.base_url().expect("the daemon serves")),
            token,
            revision,
            capabilities,
            session: None,
            next: AtomicU64::new(1),
        }
    }

    fn introduce(&mut self) {
        let params = json!({"protocolVersion": self.revision, "capabilities": self.capabilities,
            "clientInfo": {"name": "test", "version": "1"}});
        let answer = self.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        assert_eq!(answer.status(), 200);
        self.session = answer
            .headers()
            .get("mcp-session-id")
            .map(|id| id.to_str().expect("an id is text").to_owned());
        let result = messages(answer).result();
        assert_eq!(result["protocolVersion"], self.revision);
        assert_eq!(
            self.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
                .status(),
            202
        );
    }

    /// The same client at a daemon that was started anew.
    pub(crate) fn find_again(&mut self, daemon: &TestDaemon) {
        self.url = format!("{}/mcp", daemon.base_url().expect("the daemon serves"));
    }

    /// Sends one message and answers the bare response.
    pub(crate) fn post(&self, message: &Value) -> Response<ureq::Body> {
        let mut request = self
            .agent
            .post(&self.url)
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Accept", "application/json, text/event-stream")
            .header("Content-Type", "application/json");
        let is_introduction = message["method"] == "initialize";
        if !is_introduction {
            request = request.header("MCP-Protocol-Version", self.revision);
        }
        if let Some(session) = &self.session {
            request = request.header("Mcp-Session-Id", session);
        }
        if self.revision == STATELESS {
            let method = message["method"].as_str().unwrap_or_default();
            request = request.header("Mcp-Method", method);
            let named = ["name", "uri", "taskId"]
                .iter()
                .find_map(|key| message["params"][key].as_str());
            if let Some(name) = named {
                request = request.header("Mcp-Name", name);
            }
        }
        request.send(message.to_string()).expect("an answer")
    }

    /// A request as this client's era has it; answers its id and the message.
    pub(crate) fn message(&self, method: &str, mut params: Value) -> (u64, Value) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if self.revision == STATELESS {
            params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(STATELESS);
            params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
            params["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "test", "version": "1"});
        }
        (
            id,
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}),
        )
    }

    /// Sends a request and answers the stream of what comes back.
    pub(crate) fn send(&self, method: &str, params: Value) -> Messages {
        let answer = self.post(&self.message(method, params).1);
        assert_eq!(answer.status(), 200, "{method}");
        messages(answer)
    }

    /// Sends a request and answers its result.
    pub(crate) fn request(&self, method: &str, params: Value) -> Value {
        self.send(method, params).result()
    }

    /// Sends a request and answers its error.
    pub(crate) fn refused(&self, method: &str, params: Value) -> Value {
        let answer = self.post(&self.message(method, params).1);
        messages(answer).answer()["error"].clone()
    }

    /// Calls a tool and answers its result.
    pub(crate) fn call(&self, tool: &str, arguments: Value) -> Value {
        self.request("tools/call", json!({"name": tool, "arguments": arguments}))
    }

    /// Calls a tool with progress and answers the stream.
    pub(crate) fn call_and_watch(&self, tool: &str, arguments: Value) -> Messages {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}});
        self.send("tools/call", params)
    }

    /// Answers a request of the server.
    pub(crate) fn reply(&self, to: &Value, result: &Value) {
        let answer = self.post(&json!({"jsonrpc": "2.0", "id": to["id"], "result": result}));
        assert_eq!(answer.status(), 202);
    }

    /// Opens the standing stream, or reads on behind an event.
    pub(crate) fn listen(&self, last_event: Option<&str>) -> Messages {
        let answer = self.try_to_listen(last_event);
        assert_eq!(answer.status(), 200);
        messages(answer)
    }

    /// The same; answers the bare response.
    pub(crate) fn try_to_listen(&self, last_event: Option<&str>) -> Response<ureq::Body> {
        let mut request = self
            .agent
            .get(&self.url)
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Accept", "text/event-stream")
            .header("MCP-Protocol-Version", self.revision)
            .header("Mcp-Session-Id", self.session.as_deref().unwrap_or_default());
        if let Some(last) = last_event {
            request = request.header("Last-Event-ID", last);
        }
        request.call().expect("an answer")
    }

    /// Ends the session.
    pub(crate) fn delete(&self) -> u16 {
        let request = self
            .agent
            .delete(&self.url)
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Mcp-Session-Id", self.session.as_deref().unwrap_or_default());
        request.call().expect("an answer").status().as_u16()
    }
}

/// The messages of an answer, whether it is a stream or one document.
pub(crate) fn messages(answer: Response<ureq::Body>) -> Messages {
    let is_stream = answer
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "text/event-stream");
    let mut body = answer.into_body();
    if is_stream {
        return Messages(BufReader::with_capacity(1024, Box::new(body.into_reader())));
    }
    let text = body.read_to_string().expect("a body");
    Messages(BufReader::new(Box::new(std::io::Cursor::new(format!(
        "data: {text}\n\n"
    )))))
}

impl Messages {
    /// The events of an answer as it comes, HTTP's own lines and all: those name no field of an event.
    pub(crate) fn by_hand(connection: std::net::TcpStream) -> Self {
        Self(BufReader::with_capacity(1024, Box::new(connection)))
    }

    /// The next event; none at the end.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut event = Event {
            id: None,
            message: None,
        };
        let mut is_any = false;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end_matches(['\r', '\n']);
            match line
                .split_once(':')
                .map_or((line, ""), |(name, value)| (name, value.trim_start()))
            {
                ("", "") if is_any => return Some(event),
                ("id", id) => event.id = Some(id.to_owned()),
                ("data", data) => {
                    is_any = true;
                    event.message = serde_json::from_str(data).ok();
                }
                _ => {}
            }
        }
    }

    /// The answer: the last message.
    pub(crate) fn answer(&mut self) -> Value {
        let all: Vec<Value> = self.collect();
        all.last().cloned().expect("an answer")
    }

    /// The result in the answer.
    pub(crate) fn result(mut self) -> Value {
        let last = self.answer();
        assert!(last.get("result").is_some(), "{last:#}");
        last["result"].clone()
    }

    /// The next message with this method.
    pub(crate) fn wait_for(&mut self, method: &str) -> Value {
        let what = format!("the stream ended without {method}");
        self.find(|message| message["method"] == method).expect(&what)
    }
}

impl Iterator for Messages {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(message) = self.event()?.message {
                return Some(message);
            }
        }
    }
}
