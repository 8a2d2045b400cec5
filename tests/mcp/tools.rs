//! Tasks run, watched and steered by tools.

use serde_json::{Value, json};

use crate::client::{Client, SESSIONS, STATELESS};
use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

fn told(messages: &[Value]) -> Vec<&Value> {
    messages
        .iter()
        .filter(|message| message["method"] == "notifications/progress")
        .map(|m| &m["params"])
        .collect()
}

fn in_both_eras(test: impl Fn(&TestDaemon, &Client)) {
    let daemon = TestDaemon::start();
    for revision in [SESSIONS, STATELESS] {
        test(&daemon, &Client::connect(&daemon, revision));
    }
}

#[test]
fn a_task_is_run_and_its_words_come_as_progress() {
    in_both_eras(|daemon, client| {
        let arguments = json!({"task": "say hello there ;; bash true ;; say bye", "cwd": daemon.work()});
        let messages: Vec<Value> = client.call_and_watch("execute_with_streaming", arguments).collect();
        let progress = told(&messages);
        let words: String = progress
            .iter()
            .filter_map(|params| params["message"].as_str())
            .collect();
        assert!(
            words.contains("hello there") && words.contains("bye") && words.contains("Bash: true"),
            "{words}"
        );
        let steps: Vec<f64> = progress
            .iter()
            .map(|params| params["progress"].as_f64().unwrap())
            .collect();
        assert!(steps.windows(2).all(|pair| pair[0] < pair[1]), "{steps:?}");
        let result = &messages.last().unwrap()["result"];
        let structured = &result["structuredContent"];
        assert_eq!(
            (&structured["state"], &structured["result"]),
            (&json!("completed"), &json!("bye")),
            "{result:#}"
        );
        assert_eq!(
            (&result["isError"], &structured["status"]),
            (&json!(false), &json!("ended"))
        );
        assert!(
            structured["log"]
                .as_array()
                .unwrap()
                .iter()
                .any(|line| line.as_str().unwrap().contains("hello there"))
        );
    });
}

#[test]
fn the_first_progress_message_names_the_session() {
    in_both_eras(|daemon, client| {
        let arguments = json!({"task": "say hello", "cwd": daemon.work()});
        let messages: Vec<Value> = client.call_and_watch("execute_resumable", arguments).collect();
        let id = messages.last().unwrap()["result"]["structuredContent"]["session_id"]
            .as_str()
            .unwrap();
        assert_eq!(told(&messages)[0]["message"], format!("session_id {id}"));
        // A client of the session era shows log messages without having asked for them.
        let logs = messages
            .iter()
            .filter(|message| message["method"] == "notifications/message");
        let logs: Vec<String> = logs.map(|log| log["params"]["data"].to_string()).collect();
        let expected = usize::from(client.session.is_some());
        assert_eq!(logs.iter().filter(|log| log.contains(id)).count(), expected, "{logs:?}");
        assert!(logs.iter().all(|log| log.contains("get_execution")), "{logs:?}");
    });
}

#[test]
fn a_session_in_the_background_is_looked_at_waited_for_and_listed() {
    in_both_eras(|daemon, client| {
        let go = daemon.root().join(format!("go-{}", client.session.is_some()));
        let task = format!("say first ;; wait-file {} ;; say last", go.display());
        let started = client.call(
            "execute_with_streaming",
            json!({"task": task, "cwd": daemon.work(), "background": true}),
        );
        let id = started["structuredContent"]["session_id"].as_str().unwrap().to_owned();
        let look = |arguments: Value| client.call("get_execution", arguments)["structuredContent"].clone();
        let seen = until("the first words", || {
            let seen = look(json!({"session_id": id}));
            seen["log"].to_string().contains("first").then_some(seen)
        });
        assert_eq!(seen["status"], "running");
        std::fs::write(&go, "").unwrap();
        let end = look(json!({"session_id": id, "after": seen["after"], "wait_seconds": 60}));
        assert_eq!(
            (&end["outcome"], &end["result"]),
            (&json!("completed"), &json!("last")),
            "{end:#}"
        );
        assert!(
            !end["log"].to_string().contains("first"),
            "only what happened after the record that was named"
        );
        let listed = client.call("list_executions", json!({"state": "completed"}));
        let sessions = listed["structuredContent"]["sessions"].as_array().unwrap();
        let found = sessions
            .iter()
            .find(|session| session["session_id"] == id.as_str())
            .unwrap();
        assert_eq!(found["directory"], json!(daemon.work()));
        for field in ["name", "task", "created_at", "started_at", "ended_at"] {
            assert!(found[field].is_string(), "{field}: {found:#}");
        }
    });
}

#[test]
fn a_list_says_who_waits_for_what_and_a_long_answer_is_read_piece_by_piece() {
    in_both_eras(|daemon, client| {
        let text = |result: &Value| result["content"][0]["text"].as_str().unwrap().to_owned();
        let id = daemon.create("ask-permission touch it ;; say done");
        daemon.question(&id);
        let listed = text(&client.call("list_executions", json!({"state": "awaiting_input"})));
        assert!(
            listed.contains(&id) && listed.contains("to answer q1: Bash: touch it"),
            "{listed}"
        );
        daemon.answer(&id, "q1", &json!({"action": "allow"}));
        let words = "word ".repeat(1200);
        let task = json!({"task": format!("say {words}and the end"), "cwd": daemon.work()});
        let told = text(&client.call("execute_with_streaming", task));
        let shown = &told[..2048];
        assert!(
            shown.contains("completed") && shown.contains("and the end") && shown.contains("result_from: 0"),
            "{shown}"
        );
        let long = shown.lines().next().unwrap().trim_start_matches("session_id: ");
        let piece = client.call("get_execution", json!({"session_id": long, "result_from": 0}));
        assert!(
            text(&piece).len() < 2048 && text(&piece).contains("read on with result_from: "),
            "{piece:#}"
        );
        assert_eq!(piece["structuredContent"]["result"].as_str().unwrap(), &words[..1500]);
        daemon.wait_for(&id, "completed");
    });
}

#[test]
fn a_cancelled_session_is_an_error_that_says_how_to_go_on() {
    in_both_eras(|daemon, client| {
        let task = json!({"task": "bash sleep 1000 ;; say never", "cwd": daemon.work()});
        let mut messages = client.call_and_watch("execute_resumable", task);
        let first = messages.wait_for("notifications/progress");
        let id = first["params"]["message"]
            .as_str()
            .unwrap()
            .trim_start_matches("session_id ")
            .to_owned();
        daemon.wait_for(&id, "running");
        for _ in 0..2 {
            let cancelled = client.call("control_execution", json!({"session_id": id, "action": "cancel"}));
            assert_eq!(cancelled["isError"], false, "{cancelled:#}");
        }
        let result = messages.result();
        assert_eq!(
            (&result["isError"], &result["structuredContent"]["outcome"]),
            (&json!(true), &json!("cancelled"))
        );
        assert!(
            result["content"][0]["text"]
                .as_str()
                .unwrap()
                .contains(&format!("Resume with session_id {id}"))
        );
    });
}

#[test]
fn a_session_that_was_cancelled_is_resumed() {
    in_both_eras(|daemon, client| {
        let go = daemon.root().join(format!("resumed-{}", client.session.is_some()));
        let task = format!("say before ;; wait-file {} ;; say after", go.display());
        let task = json!({"task": task, "cwd": daemon.work(), "background": true});
        let id = client.call("execute_resumable", task)["structuredContent"]["session_id"].clone();
        daemon.wait_for(id.as_str().unwrap(), "running");
        client.call("control_execution", json!({"session_id": id, "action": "cancel"}));
        daemon.wait_for(id.as_str().unwrap(), "cancelled");
        std::fs::write(&go, "").unwrap();
        let resumed = client.call("resume_execution", json!({"session_id": id}));
        let structured = &resumed["structuredContent"];
        assert_eq!(
            (&structured["session_id"], &structured["outcome"]),
            (&id, &json!("completed")),
            "{resumed:#}"
        );
        let again = client.call("resume_execution", json!({"session_id": id}));
        assert_eq!(again["isError"], true, "it is completed");
    });
}

#[test]
fn a_wait_reads_past_an_end_that_was_not_the_last_word() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let task = json!({"task": "max-turns", "cwd": daemon.work()});
    let failed = client.call("execute_resumable", task)["structuredContent"].clone();
    assert_eq!(failed["outcome"], "failed", "{failed:#}");
    let (id, go) = (&failed["session_id"], daemon.root().join("go"));
    let instruction = format!("wait-file {} ;; say last", go.display());
    client.call(
        "resume_execution",
        json!({"session_id": id, "instruction": instruction, "background": true}),
    );
    let wait = json!({"session_id": id, "wait_seconds": 60});
    let mut waiting = client.call_and_watch("get_execution", wait);
    waiting.wait_for("notifications/progress");
    std::fs::write(&go, "").expect("a file");
    assert_eq!(waiting.result()["structuredContent"]["outcome"], "completed");
}

#[test]
fn a_look_at_a_long_session_tells_all_of_it() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let id = daemon.create("flood 5000 100");
    daemon.wait_for(&id, "completed");
    let seen = client.call("get_execution", json!({"session_id": id}))["structuredContent"].clone();
    let shown = seen["log"].as_array().expect("a log").len() as u64;
    let told = seen["log_omitted"].as_u64().expect("a number") + shown;
    assert!(told >= 5000, "{told} lines up to record {}", seen["after"]);
}

#[test]
fn a_limit_that_ended_a_session_is_raised_by_its_resume() {
    in_both_eras(|daemon, client| {
        let task = json!({"task": "usage 1 1 0.6 ;; say 1 ;; say 2", "cwd": daemon.work(), "max_budget_usd": 0.5});
        let ended = client.call("execute_resumable", task);
        let ended = &ended["structuredContent"];
        assert_eq!(ended["cause"], "budget", "{ended:#}");
        let id = &ended["session_id"];
        let refused = client.call("resume_execution", json!({"session_id": id}));
        let told = refused["content"][0]["text"].as_str().unwrap();
        assert!(
            refused["isError"] == true && told.contains("max_budget_usd"),
            "{refused:#}"
        );
        let more = json!({"session_id": id, "instruction": "say on", "max_budget_usd": 3, "max_turns": 5});
        let resumed = client.call("resume_execution", more);
        let structured = &resumed["structuredContent"];
        assert_eq!(structured["outcome"], "completed", "{resumed:#}");
        let limits = structured["limits"].as_str().unwrap();
        assert!(limits.contains("of 5 turns") && limits.contains("of $3.00"), "{limits}");
    });
}

#[test]
fn what_cannot_be_done_is_answered_with_what_to_do() {
    in_both_eras(|daemon, client| {
        let told = |tool: &str, arguments: Value| {
            let result = client.call(tool, arguments);
            assert_eq!(result["isError"], true, "{result:#}");
            result["content"][0]["text"].as_str().unwrap().to_owned()
        };
        assert!(told("execute_with_streaming", json!({"task": "t"})).contains("cwd"));
        assert!(told("execute_with_streaming", json!({"task": "t", "cwd": "/nowhere/at/all"})).contains("/nowhere"));
        assert!(
            told(
                "execute_with_streaming",
                json!({"task": "t", "cwd": daemon.work(), "max_turn": 1})
            )
            .contains("max_turn")
        );
        assert!(told("get_execution", json!({"session_id": "ffffffff"})).contains("list_executions with `all: true`"));
        assert!(told("answer_question", json!({"session_id": "ffffffff", "action": "allow"})).contains("ffffffff"));
        let error = client.refused("tools/call", json!({"name": "no_such_tool", "arguments": {}}));
        assert_eq!(error["code"], -32602, "{error:#}");
    });
}

#[test]
fn a_client_that_knows_tasks_polls_a_session_and_answers_it() {
    let daemon = TestDaemon::start();
    let tasks = json!({"elicitation": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}});
    let client = Client::connect_with(&daemon, STATELESS, tasks);
    let arguments = json!({"task": "ask-permission touch allowed ;; say done", "cwd": daemon.work()});
    let created = client.call("execute_resumable", arguments);
    assert_eq!(created["resultType"], "task", "{created:#}");
    let id = created["taskId"].as_str().unwrap().to_owned();
    let wait = |status: &str| {
        until(status, || {
            let task = client.request("tasks/get", json!({"taskId": id}));
            (task["status"] == status).then_some(task)
        })
    };
    let asked = wait("input_required");
    assert!(
        asked["inputRequests"]["q1"]["params"]["message"]
            .as_str()
            .unwrap()
            .contains("touch allowed"),
        "{asked:#}"
    );
    let allow = json!({"q1": {"action": "accept", "content": {"decision": "allow"}}});
    client.request("tasks/update", json!({"taskId": id, "inputResponses": allow}));
    let done = wait("completed");
    assert_eq!(done["result"]["structuredContent"]["result"], "done", "{done:#}");
    assert!(daemon.work().join("allowed").exists());
    let other = Client::connect(&daemon, STATELESS);
    assert!(
        other.call("list_executions", json!({}))["structuredContent"]
            .to_string()
            .contains(&id),
        "a task is a session"
    );
}

#[test]
fn how_often_there_is_a_checkpoint_and_whose_tools_the_agent_gets_stand_in_the_request() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let arguments =
        json!({"task": "say hello", "cwd": daemon.work(), "checkpoint_interval": 5, "executor_tools": true});
    let result = client.call("execute_resumable", arguments);
    let id = result["structuredContent"]["session_id"].as_str().unwrap();
    let request = daemon.records_of(id, "session.created")[0]["data"]["request"].clone();
    assert_eq!(
        (&request["checkpoint_interval_seconds"], &request["executor_tools"]),
        (&json!(5), &json!(true))
    );
    let launch = std::fs::read_to_string(daemon.state().join(format!("sessions/{id}/1/mcp-0.json"))).unwrap();
    let server = serde_json::from_str::<Value>(&launch).unwrap()["mcpServers"]["cc-executor"].clone();
    assert_eq!(server["args"], json!(["mcp", "--state-dir", daemon.state()]));
    assert_eq!(server["env"]["CC_EXECUTOR_DEPTH"], "1");
    assert_eq!(server["env"]["CC_EXECUTOR_ATTEMPT"], daemon.mark(id, 1));
}
