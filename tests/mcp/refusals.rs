//! Requests that are wrong in one way or another: each gets the error that the protocol has for it, and costs nothing.

use serde_json::{Value, json};

use crate::client::{Client, SESSIONS, STATELESS};
use crate::support::daemon::TestDaemon;

/// A request by hand: the headers of a right one, but those that the test changes.
struct Raw {
    url: String,
    headers: Vec<(&'static str, String)>,
}

impl Raw {
    /// A call of `list_executions` as a client of 2026-07-28 makes it.
    fn stateless(daemon: &TestDaemon) -> Self {
        Self::of(daemon)
            .with("MCP-Protocol-Version", STATELESS)
            .with("Mcp-Method", "tools/call")
            .with("Mcp-Name", "list_executions")
    }

    /// A request within an MCP session.
    fn in_session(daemon: &TestDaemon, session: &str) -> Self {
        Self::of(daemon)
            .with("MCP-Protocol-Version", SESSIONS)
            .with("Mcp-Session-Id", session)
    }

    fn of(daemon: &TestDaemon) -> Self {
        let raw = Self {
            url: format!("{}/mcp", daemon.base_url().expect("the daemon serves")),
            headers: Vec::new(),
        };
        raw.with("Authorization", &format!("Bearer {}", daemon.token()))
            .with("Accept", "application/json, text/event-stream")
            .with("Content-Type", "application/json")
    }

    /// With another value; without the header where it is empty.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        if !value.is_empty() {
            self.headers.push((name, value.to_owned()));
        }
        self
    }

    /// Sends it; answers the status and, where there is one, the code of the error in the last message.
    fn send(&self, body: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.post(&self.url);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        // ureq names a type by itself where the body is text.
        let mut answer = request.send(body.as_bytes()).expect("an answer");
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_string().expect("a body");
        let mut messages = body.lines().filter_map(|line| {
            let data = line.strip_prefix("data:").unwrap_or(line);
            serde_json::from_str::<Value>(data).ok()
        });
        (
            status,
            messages.next_back().unwrap_or_default()["error"]["code"].clone(),
        )
    }
}

/// A message of 2026-07-28.
fn message(method: &str, mut params: Value) -> String {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientCapabilities": {}});
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

fn list() -> String {
    message("tools/call", json!({"name": "list_executions", "arguments": {}}))
}

#[test]
fn a_header_that_is_missing_or_says_something_else_is_refused() {
    let daemon = TestDaemon::start();
    let right = || Raw::stateless(&daemon);
    assert_eq!(right().send(&list()), (200, Value::Null));
    for (name, value, refusal) in [
        ("Authorization", "", (401, Value::Null)),
        ("Accept", "application/json", (406, Value::Null)),
        ("Accept", "", (406, Value::Null)),
        ("Content-Type", "text/plain", (415, Value::Null)),
        ("Mcp-Method", "", (400, json!(-32020))),
        ("Mcp-Method", "tools/list", (400, json!(-32020))),
        ("Mcp-Name", "", (400, json!(-32020))),
        ("Mcp-Name", "get_execution", (400, json!(-32020))),
        ("MCP-Protocol-Version", "2031-01-01", (400, json!(-32020))),
        (
            "Mcp-Session-Id",
            "0193abcd-0000-7000-8000-000000000001",
            (200, Value::Null),
        ),
    ] {
        assert_eq!(right().with(name, value).send(&list()), refusal, "{name}: {value}");
    }
    let future = list().replace(STATELESS, "2031-01-01");
    assert_eq!(
        right().with("MCP-Protocol-Version", "2031-01-01").send(&future),
        (400, json!(-32022))
    );
}

#[test]
fn what_is_unknown_is_refused_by_name() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let session = client.session.clone().expect("a session");
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).to_string();
    assert_eq!(Raw::in_session(&daemon, &session).send(&ping), (200, Value::Null));
    let unknown = "0193abcd-0000-7000-8000-000000000001";
    assert_eq!(Raw::in_session(&daemon, unknown).send(&ping).0, 404);
    assert_eq!(Raw::in_session(&daemon, "../../token").send(&ping).0, 404);
    assert_eq!(
        Raw::in_session(&daemon, "").send(&ping).0,
        400,
        "who has no session introduces himself first"
    );
    let stateless = Client::connect(&daemon, STATELESS);
    let gone = "resource://cc-executor/session/ffffffff";
    for client in [&client, &stateless] {
        let code = |method: &str, params: Value| client.refused(method, params)["code"].clone();
        assert_eq!(
            code("tools/call", json!({"name": "no_such_tool", "arguments": {}})),
            -32602
        );
        assert_eq!(
            code("tools/call", json!({"name": "get_execution", "arguments": []})),
            -32602
        );
        assert_eq!(code("prompts/get", json!({"name": "no_such_prompt"})), -32602);
        assert_eq!(code("no/such/method", json!({})), -32601);
        let read = code("resources/read", json!({"uri": gone}));
        assert!(read == -32002 || read == -32602, "{read}");
        let found = client.call("get_execution", json!({"session_id": "ffffffff"}));
        assert_eq!(found["isError"], true, "{found:#}");
    }
    let task = json!({"taskId": unknown});
    assert_eq!(
        stateless.refused("tasks/get", task.clone())["code"],
        -32021,
        "it knows no tasks"
    );
    let tasks = json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let polling = Client::connect_with(&daemon, STATELESS, tasks);
    assert_eq!(polling.refused("tasks/get", task)["code"], -32602);
}

#[test]
fn a_body_that_is_too_long_is_refused_and_one_that_is_long_is_read() {
    let daemon = TestDaemon::start();
    let call = |bytes: usize| {
        let arguments = json!({"task": "x".repeat(bytes), "cwd": daemon.work()});
        let params = json!({"name": "execute_with_streaming", "arguments": arguments});
        Raw::stateless(&daemon)
            .with("Mcp-Name", "execute_with_streaming")
            .send(&message("tools/call", params))
    };
    for _ in 0..10 {
        assert_eq!(call(10 * 1024 * 1024), (413, Value::Null));
    }
    let sessions = || daemon.get("/api/sessions").1["sessions"].clone();
    assert_eq!(sessions(), json!([]), "no session was started");
    assert_eq!(call(4 * 1024 * 1024), (200, Value::Null));
    assert_eq!(sessions()[0]["state"], "completed");
}

#[test]
fn what_is_no_message_is_refused_as_json_rpc_has_it() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let session = client.session.clone().expect("a session");
    for raw in [
        Raw::stateless(&daemon),
        Raw::in_session(&daemon, &session),
        Raw::of(&daemon),
    ] {
        for (body, code) in [
            ("{", -32700),
            ("hello", -32700),
            ("", -32700),
            ("[]", -32600),
            ("7", -32600),
            ("{}", -32600),
            (r#"{"jsonrpc": "1.0", "id": 1, "method": "ping"}"#, -32600),
            (r#"{"jsonrpc": "2.0", "id": {}, "method": "ping"}"#, -32600),
        ] {
            assert_eq!(raw.send(body), (400, json!(code)), "{body}");
        }
    }
}
