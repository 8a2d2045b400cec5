//! Tools that hang, beside processes that live: noticed, interrupted, and gone on from.

use serde_json::{Value, json};

use super::as_client::tool;
use super::main_job::{messages, with_claude_and};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;
use crate::support::wait::until;

/// A stdio MCP server. Its tool `ping` answers; its tool `hang` notes that it was called and never answers.
const SERVER: &str = r#"
import json, pathlib, sys
for line in sys.stdin:
    message = json.loads(line)
    method, result = message.get("method"), {}
    if "id" not in message:
        continue
    if method == "initialize":
        result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}},
                  "serverInfo": {"name": "idle", "version": "1"}}
    if method == "tools/list":
        result = {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in ("ping", "hang")]}
    if method == "tools/call":
        if message["params"]["name"] == "hang":
            pathlib.Path(sys.argv[1]).touch()
            continue
        result = {"content": [{"type": "text", "text": "pong"}]}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"#;

/// The settings that make the clocks of tools short.
const SHORT: [(&str, &str); 2] = [
    ("CC_EXECUTOR__SUPERVISION__TOOL_SECONDS", "2"),
    ("CC_EXECUTOR__SUPERVISION__MCP_TOOL_SECONDS", "2"),
];

/// A session whose agent has the server above, which writes this file, and follows this script.
fn with_server(daemon: &TestDaemon, file: &str, script: &str) -> String {
    let root = daemon.root();
    let program = root.join("server.py");
    std::fs::write(&program, SERVER).expect("a file");
    let server = json!({"command": "python3", "args": [program, root.join(file)]});
    let config = json!({"mcpServers": {"idle": server}}).to_string();
    daemon.create_with(json!({
        "task": format!("FAKE: {script} ;; say the end"), "allowed_tools": ["Bash", "mcp__idle"],
        "mcp_config": [config],
    }))
}

/// The session is told of this silence once, and its next agent goes on.
fn assert_is_noticed(daemon: &TestDaemon, id: &str, doing: &str) {
    let view = daemon.wait_for(id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("the end")));
    assert_eq!(daemon.records_of(id, "attempt.ended")[0]["data"]["ending"], "stalled");
    let notices = daemon.records_of(id, "notice");
    let told = |notice: &Value| notice["data"]["text"].as_str().is_some_and(|text| text.contains(doing));
    assert_eq!(notices.iter().filter(|notice| told(notice)).count(), 1, "{notices:?}");
}

fn hung_tools_are_noticed(daemon: &mut TestDaemon, meanwhile: impl FnOnce(&mut TestDaemon)) {
    // The process of the tool that hangs has lost its mark, as one of another machine would.
    let hang = format!(
        "tool mcp__idle__ping {{}} ;; bash sleep 3 ;; bash touch {}; exec env -i /bin/sleep 1000",
        daemon.root().join("bash").display()
    );
    let of_bash = with_server(daemon, "server", &hang);
    let of_server = with_server(daemon, "mcp", "tool mcp__idle__hang {}");
    for name in ["bash", "mcp"] {
        until(name, || daemon.root().join(name).exists().then_some(()));
    }
    meanwhile(daemon);
    assert_is_noticed(daemon, &of_bash, "s while a tool runs");
    let results = messages(daemon, &of_bash, "tool_result");
    assert_eq!(
        results[1]["is_error"], false,
        "a tool with a process may be silent: {results:?}"
    );
    assert_is_noticed(daemon, &of_server, "a tool of an MCP server runs");
}

#[test]
fn a_tool_that_hangs_beside_an_idle_mcp_server_is_noticed() {
    let api = MessagesApi::start();
    let mut daemon = with_claude_and(&api, &SHORT);
    hung_tools_are_noticed(&mut daemon, |_| {});
}

#[test]
fn a_tool_that_hangs_beside_an_idle_mcp_server_is_noticed_by_the_next_daemon() {
    let api = MessagesApi::start();
    let mut daemon = with_claude_and(&api, &SHORT);
    hung_tools_are_noticed(&mut daemon, |daemon| {
        daemon.kill();
        daemon.launch();
    });
}

#[test]
fn a_call_of_our_own_tools_outlasts_its_clock_while_its_session_lives() {
    let api = MessagesApi::start();
    let daemon = with_claude_and(&api, &SHORT[1..]);
    let inner = json!({
        "task": "FAKE: bash sleep 6 ;; say painted", "cwd": daemon.work(), "allowed_tools": ["Bash"],
    });
    let script = format!("FAKE: {} ;; say read", tool("execute_with_streaming", &inner));
    let outer = daemon.create_with(json!({
        "task": script, "executor_tools": true, "allowed_tools": ["mcp__cc-executor", "Bash"],
    }));
    let view = daemon.wait_for(&outer, "completed");
    assert_eq!(
        (&view["attempt"], &view["result"]),
        (&json!(1), &json!("read")),
        "{view}"
    );
    let results = messages(&daemon, &outer, "tool_result");
    assert!(results[0].to_string().contains("painted"), "{results:?}");
    assert_eq!(daemon.records_of(&outer, "notice"), Vec::<Value>::new());
}
