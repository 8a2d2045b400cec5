//! The real CLI as a client of ours: one Claude drives another through the daemon.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

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

/// The same, with a copy of all that the CLI is told in `copy`: what it shows of progress is for eyes only.
fn by_relay_with_copy(daemon: &TestDaemon, copy: &Path) -> Value {
    let (state, copy) = (daemon.state(), copy.display());
    let line = format!("{BINARY} mcp --state-dir {} | tee {copy}", state.display());
    json!({"command": "sh", "args": ["-c", line]})
}

/// The CLI puts the token in from its environment, so it stands in no command line.
fn by_http(daemon: &TestDaemon) -> Value {
    let url = format!("{}/mcp", daemon.base_url().expect("the daemon serves"));
    json!({"type": "http", "url": url, "headers": {"Authorization": "Bearer ${CC_EXECUTOR_TOKEN}"}})
}

/// A step of a script that calls a tool of ours. What separates steps is spelled otherwise in the arguments.
pub(crate) fn tool(name: &str, arguments: &Value) -> String {
    let arguments = arguments.to_string().replace(" ;; ", r" \u003b\u003b ");
    format!("tool mcp__cc-executor__{name} {arguments}")
}

/// The outer CLI, which is told a script and whose person sits here.
struct Outer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// Runs the CLI on a script, with us as its only MCP server.
fn drive(daemon: &TestDaemon, api: &MessagesApi, server: &Value, script: &str) -> Outer {
    let config = json!({"mcpServers": {"cc-executor": server}}).to_string();
    let home = daemon.root().join("outer");
    std::fs::create_dir_all(&home).expect("a folder");
    let mut command = daemon.command_of(&claude_binary());
    command
        .args(["-p", "--input-format", "stream-json", "--output-format", "stream-json"])
        .args(["--verbose", "--permission-prompt-tool", "stdio"])
        .args(["--strict-mcp-config", "--mcp-config", &config])
        .args(["--allowedTools", "mcp__cc-executor"])
        .envs(claude_env(&home, api))
        .env("CC_EXECUTOR_TOKEN", daemon.token())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("the CLI starts");
    let input = child.stdin.take().expect("its input");
    let output = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut outer = Outer { child, input, output };
    let prompt = json!({"role": "user", "content": format!("FAKE: {script}")});
    outer.send(&json!({"type": "user", "message": prompt}));
    outer
}

impl Outer {
    fn send(&mut self, message: &Value) {
        writeln!(self.input, "{message}").expect("it reads");
    }

    /// Goes on to its result; answers what the tools told the model, in order. Its person fills in forms with `fill`,
    /// which is given what they say.
    fn finish(mut self, mut fill: impl FnMut(&str) -> Value) -> Vec<Value> {
        let mut answers = Vec::new();
        loop {
            let line = self.output.next().expect("it goes on to its result").expect("text");
            let message: Value = serde_json::from_str(&line).expect("a message");
            match message["type"].as_str().expect("a type") {
                "user" => {
                    let blocks = message["message"]["content"].as_array().cloned().unwrap_or_default();
                    answers.extend(blocks.into_iter().filter(|block| block["type"] == "tool_result"));
                }
                "control_request" => {
                    assert_eq!(message["request"]["subtype"], "elicitation", "{message:#}");
                    let filled = fill(message["request"]["message"].as_str().expect("words"));
                    let response =
                        json!({"subtype": "success", "request_id": message["request_id"], "response": filled});
                    self.send(&json!({"type": "control_response", "response": response}));
                }
                "result" => {
                    assert_eq!(message["is_error"], false, "{message:#}");
                    break;
                }
                _ => {}
            }
        }
        drop(self.input);
        assert!(self.child.wait().expect("it ends").success());
        answers
    }
}

/// The text of a tool's result, as the model is given it.
fn text_of(result: &Value) -> String {
    match &result["content"] {
        Value::String(text) => text.clone(),
        blocks => blocks[0]["text"].as_str().expect("a text").to_owned(),
    }
}

/// Nobody sits there.
fn nobody(_: &str) -> Value {
    json!({"action": "cancel"})
}

#[test]
fn claude_runs_a_task_and_reads_its_result_through_the_relay_and_over_http() {
    let api = MessagesApi::start();
    let daemon = TestDaemon::start();
    let copy = daemon.root().join("told");
    for server in [by_relay_with_copy(&daemon, &copy), by_http(&daemon)] {
        let long = "word ".repeat(800);
        let task = json!({"task": format!("say first words ;; say {long}and the end"), "cwd": daemon.work()});
        let script = format!(
            "{} ;; {} ;; say read",
            tool("execute_with_streaming", &task),
            tool("list_executions", &json!({}))
        );
        let answers = drive(&daemon, &api, &server, &script).finish(nobody);
        assert_eq!(answers.len(), 2, "{answers:#?}");
        let (ran, listed) = (answers[0].to_string(), answers[1].to_string());
        // Whatever form the CLI gives the model: what matters stands first.
        let shown: String = text_of(&answers[0]).chars().take(2048).collect();
        for part in ["completed", "and the end", "result_from: 0"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(ran.contains(&long), "{ran}");
        assert!(
            listed.contains("completed") && listed.contains("say first words"),
            "{listed}"
        );
    }
    let told = std::fs::read_to_string(copy).expect("a copy");
    let told = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let progress: String = told
        .filter(|message| message["method"] == "notifications/progress")
        .filter_map(|message| Some(message["params"]["message"].as_str()?.to_owned()))
        .collect();
    // A quick session's first words may be gathered with those behind them, of which only the end is told.
    assert!(
        progress.contains("session_id ") && progress.contains("word word"),
        "{progress}"
    );
}

#[test]
fn claude_keeps_the_name_of_the_variable_and_calls_with_the_token_in_it() {
    let api = MessagesApi::start();
    let daemon = TestDaemon::start();
    let printed = daemon
        .command(&["mcp-config", "claude", "--http"])
        .output()
        .expect("it runs");
    let line = String::from_utf8(printed.stdout).expect("text");
    let home = daemon.root().join("outer");
    let programs = home.join("bin");
    std::fs::create_dir_all(&programs).expect("a folder");
    std::os::unix::fs::symlink(claude_binary(), programs.join("claude")).expect("a link");
    let shell = |line: &str, token: &str| {
        let path = format!("{}:/usr/bin:/bin", programs.display());
        let mut shell = daemon.command_of(Path::new("/bin/sh"));
        shell.args(["-c", line]).envs(claude_env(&home, &api));
        let output = shell.env("PATH", path).env("CC_EXECUTOR_TOKEN", token).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    shell(&line, &daemon.token());
    let kept = std::fs::read_to_string(home.join(".claude.json")).expect("it keeps the server");
    assert!(
        kept.contains("Bearer ${CC_EXECUTOR_TOKEN}") && !kept.contains(&daemon.token()),
        "{kept}"
    );
    let listed = shell("claude mcp list", &daemon.token());
    assert!(listed.contains("Connected"), "{listed}");
    let listed = shell("claude mcp list", "wrong");
    assert!(!listed.contains("Connected"), "{listed}");
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
    let answers = drive(&daemon, &api, &by_relay(&daemon), &script).finish(nobody);
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
    let answers = outer.finish(nobody);
    assert_eq!(answers.len(), 3, "{answers:#?}");
    assert!(answers[2].to_string().contains("painted"), "{:#}", answers[2]);
}

#[test]
fn the_question_of_the_inner_claude_is_a_form_at_the_outer_one() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    for server in [by_relay(&daemon), by_http(&daemon)] {
        let task = json!({"task": "FAKE: ask Which colour? | Red | Blue ;; say painted", "cwd": daemon.work()});
        let script = format!("{} ;; say read", tool("execute_with_streaming", &task));
        let mut asked = Vec::new();
        let answers = drive(&daemon, &api, &server, &script).finish(|message| {
            asked.push(message.to_owned());
            json!({"action": "accept", "content": {"q1": "Blue"}})
        });
        assert!(asked.len() == 1 && asked[0].contains("Which colour?"), "{asked:?}");
        let told = answers[0].to_string();
        assert!(told.contains("completed") && told.contains("painted"), "{told}");
    }
    let sessions = daemon.get("/api/sessions").1["sessions"].clone();
    let id = sessions[0]["session_id"].as_str().expect("a session");
    let answered = daemon.records_of(id, "question.answered");
    assert!(answered[0].to_string().contains("Blue"), "{answered:#?}");
}
