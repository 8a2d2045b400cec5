//! What a request brings along, and what an agent's own relay serves it, with the real CLI.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::main_job::with_claude;
use crate::support::daemon::{BINARY, TestDaemon, signal};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::until;

/// What a call of this tool of ours comes to for an agent: its result, and true if that is an error.
fn called(api: &MessagesApi, daemon: &TestDaemon, mut request: Value, tool: &str) -> (String, bool) {
    request["task"] = json!(format!("FAKE: tool {tool} {{}} ;; say read"));
    request["allowed_tools"] = json!([tool]);
    let before = api.model_requests().len();
    let id = daemon.create_with(request);
    daemon.wait_for(&id, "completed");
    let requests = api.model_requests().split_off(before);
    let messages = requests
        .iter()
        .filter_map(|request| request["messages"].as_array())
        .flatten();
    let mut blocks = messages.filter_map(|message| message["content"].as_array()).flatten();
    let result = blocks.rfind(|block| block["type"] == "tool_result").expect("a result");
    (result["content"].to_string(), result["is_error"] == true)
}

/// Puts the line of `mcp-config claude` into the user's scope, as `claude mcp add --scope user` does.
fn add_relay_for_user(daemon: &TestDaemon) {
    let server = json!({"type": "stdio", "command": BINARY, "args": ["mcp"], "env": {}});
    let config = json!({"mcpServers": {"cc-executor": server}});
    fs::write(daemon.root().join("home/.claude.json"), config.to_string()).expect("a file");
}

#[test]
fn a_long_system_prompt_and_a_file_that_is_gone_reach_every_attempt() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let servers = daemon.work().join("servers.json");
    let relay = json!({"command": BINARY, "args": ["mcp", "--state-dir", daemon.state()]});
    fs::write(&servers, json!({"mcpServers": {"from-a-file": relay}}).to_string()).expect("a file");
    let prompt = format!("{} THE-END-OF-IT", "a long rule. ".repeat(13_000));
    let id = daemon.create_with(json!({
        "task": format!("FAKE: hold {} the answer", gate.display()), "append_system_prompt": prompt,
        "mcp_config": ["servers.json"], "executor_tools": true,
    }));
    fs::remove_file(servers).expect("it was there");
    until("the first request", || (!api.model_requests().is_empty()).then_some(()));
    let before = api.model_requests().len();
    signal(daemon.agent_pid(&id, 1), Signal::KILL);
    until("the request of the second attempt", || {
        (daemon.view(&id)["attempt"] == 2 && api.model_requests().len() > before).then_some(())
    });
    fs::write(gate, "").expect("a file");
    daemon.wait_for(&id, "completed");
    let requests = api.model_requests();
    for request in [&requests[0], &requests[before]] {
        assert!(
            request["system"].to_string().contains("THE-END-OF-IT"),
            "the whole of it"
        );
    }
    // The model is told the names of tools that it can ask for.
    let told = requests[before]["messages"].to_string();
    assert!(told.contains("mcp__from-a-file__list_executions"), "{told}");
}

#[test]
fn a_relay_in_the_users_scope_serves_an_agent_what_its_session_was_given() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    add_relay_for_user(&daemon);
    let tool = "mcp__cc-executor__list_executions";
    let (told, is_error) = called(&api, &daemon, json!({}), tool);
    assert!(is_error && told.contains("No such tool"), "{told}");
    let (told, is_error) = called(&api, &daemon, json!({"executor_tools": true}), tool);
    assert!(!is_error && told.contains("running"), "{told}");
    let sessions = daemon.get("/api/sessions").1["sessions"].clone();
    let ids = sessions
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|view| view["session_id"].as_str());
    let records = ids.flat_map(|id| daemon.records_of(id, "agent.message"));
    let failed = records.filter(|record| record.to_string().contains(r#""mcp_servers_failed":["cc-executor"]"#));
    assert_eq!(failed.count(), 0, "a server without tools is no failed server");
}

#[test]
fn stop_stops_while_an_agent_with_a_relay_lives() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    add_relay_for_user(&daemon);
    let gate = daemon.root().join("gate");
    let task = format!("FAKE: bash echo begun ;; hold {} the answer", gate.display());
    let ids = [false, true]
        .map(|given| daemon.create_with(json!({"task": task, "executor_tools": given, "allowed_tools": ["Bash"]})));
    until("both agents to wait", || {
        (api.model_requests().len() >= 4).then_some(())
    });
    let relays = || {
        let pids = daemon.family().into_iter();
        let is_relay = |pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(b"mcp")
        };
        pids.filter(is_relay).count()
    };
    until("a relay of each agent", || (relays() == 2).then_some(()));
    let output = daemon.command(&["stop"]).output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    fs::write(gate, "").expect("a file");
    for id in &ids {
        let spool = daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"));
        until("the result", || {
            let spool = fs::read_to_string(&spool).unwrap_or_default();
            spool.contains(r#""type":"result""#).then_some(())
        });
    }
    assert_eq!(relays(), 2, "both live on without a daemon");
    assert!(!daemon.state().join("daemon.json").exists(), "no daemon came back");
    daemon.is_replaced();
    daemon.launch();
    ids.iter().for_each(|id| drop(daemon.wait_for(id, "completed")));
}
