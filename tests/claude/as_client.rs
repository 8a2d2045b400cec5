//! The real CLI as a client of ours: one Claude drives another through the daemon.

use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::main_job::with_claude;
use crate::support::claude::{claude_binary, claude_env};
use crate::support::daemon::{BINARY, TestDaemon};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::until;

/// How the CLI reaches us.
fn by_relay(daemon: &TestDaemon) -> Value {
    let state = daemon.state().display().to_string();
    json!({"command": BINARY, "args": ["mcp", "--state-dir", state]})
}

fn by_http(daemon: &TestDaemon) -> Value {
    let url = format!("{}/mcp", daemon.base_url().expect("the daemon serves"));
    json!({"type": "http", "url": url, "headers": {"Authorization": format!("Bearer {}", daemon.token())}})
}

/// A step of a script that calls a tool of ours. What separates steps is spelled otherwise in the arguments.
fn tool(name: &str, arguments: &Value) -> String {
    let arguments = arguments.to_string().replace(" ;; ", r" \u003b\u003b ");
    format!("tool mcp__cc-executor__{name} {arguments}")
}

/// Runs the CLI on a script, with us as its only MCP server.
fn drive(daemon: &TestDaemon, api: &MessagesApi, server: &Value, script: &str) -> std::process::Child {
    let config = json!({"mcpServers": {"cc-executor": server}}).to_string();
    let home = daemon.root().join("outer");
    std::fs::create_dir_all(&home).expect("a folder");
    let mut command = daemon.command_of(&claude_binary());
    command
        .args([
            "-p",
            "--output-format",
            "stream-json",
            "--verbose",
            "--strict-mcp-config",
        ])
        .args(["--mcp-config", &config, "--allowedTools", "mcp__cc-executor"])
        .arg("--")
        .arg(format!("FAKE: {script}"))
        .envs(claude_env(&home, api))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn().expect("the CLI starts")
}

/// What the tools answered to the outer model, in order, once it is done.
fn answers(outer: std::process::Child) -> Vec<Value> {
    let Output { status, stdout, stderr } = outer.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&stdout).into_owned();
    std::fs::write("/tmp/clients-scratch/outer.jsonl", &said).ok();
    assert!(status.success(), "{said}\n{}", String::from_utf8_lossy(&stderr));
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let users = lines.filter(|line| line["type"] == "user");
    let blocks = users.flat_map(|line| line["message"]["content"].as_array().cloned().unwrap_or_default());
    blocks.filter(|block| block["type"] == "tool_result").collect()
}

#[test]
fn claude_runs_a_task_and_reads_its_result_through_the_relay_and_over_http() {
    let api = MessagesApi::start();
    let daemon = TestDaemon::start();
    for server in [by_relay(&daemon), by_http(&daemon)] {
        let task = json!({"task": "say first words ;; say done", "cwd": daemon.work()});
        let script = format!(
            "{} ;; {} ;; say read",
            tool("execute_with_streaming", &task),
            tool("list_executions", &json!({}))
        );
        let answers = answers(drive(&daemon, &api, &server, &script));
        assert_eq!(answers.len(), 2, "{answers:#?}");
        let (ran, listed) = (answers[0].to_string(), answers[1].to_string());
        assert!(ran.contains("completed") && ran.contains("done"), "{ran}");
        assert!(listed.contains("completed"), "{listed}");
    }
}

#[test]
fn one_claude_drives_another_and_answers_its_question() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task =
        json!({"task": "FAKE: say thinking ;; ask Which colour? | Red | Blue ;; say painted", "cwd": daemon.work()});
    let answer = json!({"session_id": "$SESSION_ID", "action": "choose", "answers": {"Which colour?": "Blue"}});
    let script = format!(
        "{} ;; {} ;; {} ;; say read",
        tool("execute_with_streaming", &task),
        tool("answer_question", &answer),
        tool(
            "get_execution",
            &json!({"session_id": "$SESSION_ID", "wait_seconds": 60})
        )
    );
    let answers = answers(drive(&daemon, &api, &by_relay(&daemon), &script));
    assert_eq!(answers.len(), 3, "{answers:#?}");
    assert!(answers[0].to_string().contains("awaiting_input"), "{:#}", answers[0]);
    let done = answers[2].to_string();
    assert!(done.contains("completed") && done.contains("painted"), "{done}");
    let sessions = daemon.get("/api/sessions").1["sessions"].clone();
    let id = sessions[0]["session_id"].as_str().expect("a session");
    let answered = daemon.records_of(id, "question.answered");
    assert_eq!(answered[0]["data"]["by"], "mcp:claude-code", "{answered:#?}");
}

#[test]
fn a_claude_waits_for_another_whose_question_a_person_answers() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = json!({"task": "FAKE: ask Which colour? | Red | Blue ;; say painted", "cwd": daemon.work(), "background": true});
    let wait = tool(
        "get_execution",
        &json!({"session_id": "$SESSION_ID", "wait_seconds": 60}),
    );
    let gate = daemon.root().join("answered");
    let script = format!(
        "{} ;; {wait} ;; hold {} waiting for the person ;; {wait} ;; say read",
        tool("execute_with_streaming", &task),
        gate.display()
    );
    let outer = drive(&daemon, &api, &by_http(&daemon), &script);
    let id = until("the inner session", || {
        let sessions = daemon.get("/api/sessions").1["sessions"].clone();
        Some(sessions[0]["session_id"].as_str()?.to_owned())
    });
    let question = daemon.question(&id);
    let blue = json!({"action": "choose", "answers": {"Which colour?": "Blue"}});
    daemon.answer(&id, question["question_id"].as_str().expect("an id"), &blue);
    std::fs::write(gate, "").expect("a file");
    let answers = answers(outer);
    assert_eq!(answers.len(), 3, "{answers:#?}");
    assert!(answers[2].to_string().contains("painted"), "{:#}", answers[2]);
}
