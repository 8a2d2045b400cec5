//! Questions of an agent, answered by whoever can.

use serde_json::{Value, json};

use crate::client::{Client, SESSIONS, STATELESS};
use crate::support::daemon::TestDaemon;
use crate::transport::session_of;

const TASK: &str = "question Which colour? | Red | Blue ;; say done";

fn colours(request: &Value) -> &Value {
    &request["params"]["requestedSchema"]["properties"]["q1"]["oneOf"]
}

/// Which colour the agent was told.
fn told(daemon: &TestDaemon, result: &Value) -> String {
    let id = result["structuredContent"]["session_id"].as_str().expect("an id");
    daemon.records_of(id, "question.answered")[0]["data"]["answer"]["answers"]["Which colour?"].to_string()
}

#[test]
fn a_form_is_shown_during_the_call_in_the_era_of_sessions() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let mut messages = client.call_and_watch("execute_with_streaming", json!({"task": TASK, "cwd": daemon.work()}));
    let asked = messages.wait_for("elicitation/create");
    assert_eq!(colours(&asked)[1]["const"], "Blue", "{asked:#}");
    client.reply(&asked, &json!({"action": "accept", "content": {"q1": "Blue"}}));
    let result = messages.result();
    assert_eq!(result["structuredContent"]["outcome"], "completed", "{result:#}");
    assert_eq!(told(&daemon, &result), "\"Blue\"");
}

#[test]
fn a_form_is_part_of_the_answer_from_2026_07_28_on_and_the_call_goes_on() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, STATELESS);
    let call = json!({"name": "execute_with_streaming", "arguments": {"task": TASK, "cwd": daemon.work()}});
    let asked = client.request("tools/call", call.clone());
    assert_eq!(asked["resultType"], "input_required", "{asked:#}");
    assert_eq!(colours(&asked["inputRequests"]["q1"])[0]["const"], "Red");
    let again = |state: &Value, responses: Value| {
        let mut call = call.clone();
        call["requestState"] = state.clone();
        call["inputResponses"] = responses;
        client.request("tools/call", call)
    };
    let state = &asked["requestState"];
    let unanswered = again(state, json!({}));
    assert_eq!(unanswered["resultType"], "input_required", "asked again");
    let forged = again(&json!("forged"), json!({}));
    assert_eq!(forged["isError"], true);
    let result = again(state, json!({"q1": {"action": "accept", "content": {"q1": "Red"}}}));
    assert_eq!(result["structuredContent"]["outcome"], "completed", "{result:#}");
    assert_eq!(told(&daemon, &result), "\"Red\"");
    let sessions = client.call("list_executions", json!({}));
    assert_eq!(
        sessions["structuredContent"]["sessions"].as_array().unwrap().len(),
        1,
        "no call began another"
    );
}

/// The lines of a result's log, without their numbers.
fn log(result: &Value) -> Vec<String> {
    let lines = result["structuredContent"]["log"].as_array().expect("a log");
    let words = |line: &Value| line.as_str()?.split_once(": ").map(|(_, words)| words.to_owned());
    lines.iter().filter_map(words).collect()
}

#[test]
fn a_call_of_several_rounds_has_one_log_and_one_progress() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, STATELESS);
    let question = |name: &str| format!("say before {name} ;; question Which {name}? | Red | Blue");
    let task = format!("{} ;; {} ;; say done", question("one"), question("two"));
    let mut call = json!({"name": "execute_with_streaming", "_meta": {"progressToken": "p"},
        "arguments": {"task": task, "cwd": daemon.work()}});
    let mut steps = Vec::new();
    let mut round = |call: &Value| {
        let messages: Vec<Value> = client.send("tools/call", call.clone()).collect();
        let step = |message: &Value| message["params"]["progress"].as_f64();
        steps.extend(messages.iter().filter_map(step));
        messages.last().expect("an answer")["result"].clone()
    };
    let mut asked = round(&call);
    for question in ["q1", "q2"] {
        assert_eq!(asked["resultType"], "input_required", "{asked:#}");
        call["requestState"] = asked["requestState"].clone();
        // The second is put off first.
        if question == "q2" {
            call["inputResponses"] = json!({"q2": {"action": "cancel"}});
            let put_off = round(&call);
            assert_eq!(put_off["structuredContent"]["status"], "awaiting_input", "{put_off:#}");
            let log = log(&put_off);
            let told = |words: &str| log.iter().filter(|line| line.contains(words)).count();
            assert_eq!((told("before one"), told("before two")), (1, 1), "{log:#?}");
        }
        call["inputResponses"] = json!({question: {"action": "accept", "content": {"q1": "Red"}}});
        asked = round(&call);
    }
    assert_eq!(asked["structuredContent"]["outcome"], "completed", "{asked:#}");
    let log = log(&asked);
    for words in ["before one", "[question q1]", "before two", "[question q2]", "done"] {
        let told = log.iter().filter(|line| line.starts_with(words)).count();
        assert_eq!(told, 1, "{words}: {log:#?}");
    }
    // The round that put it off and the one that answered it began at the same place.
    assert!(steps.len() > 6, "{steps:?}");
    let restarts = steps.windows(2).filter(|pair| pair[0] >= pair[1]).count();
    assert!(
        restarts <= 1 && steps.iter().filter(|step| **step == 1.0).count() == 1,
        "{steps:?}"
    );
}

#[test]
fn a_client_without_forms_is_told_the_question_and_how_to_answer_it() {
    let daemon = TestDaemon::start();
    for revision in [SESSIONS, STATELESS] {
        let client = Client::connect_with(&daemon, revision, json!({}));
        let asked = client.call("execute_with_streaming", json!({"task": TASK, "cwd": daemon.work()}));
        let structured = &asked["structuredContent"];
        assert_eq!(
            (&structured["status"], &asked["isError"]),
            (&json!("awaiting_input"), &json!(false)),
            "{asked:#}"
        );
        assert!(
            structured["questions"][0]["how_to_answer"]
                .as_str()
                .unwrap()
                .contains("answer_question")
        );
        let id = &structured["session_id"];
        let wrong = client.call("answer_question", json!({"session_id": id, "action": "allow"}));
        assert_eq!(wrong["isError"], true, "it does not fit");
        let answer = json!({"session_id": id, "action": "choose", "answers": {"Which colour?": "Red"}});
        assert_eq!(client.call("answer_question", answer)["isError"], false);
        let end = client.call("get_execution", json!({"session_id": id, "wait_seconds": 60}));
        assert_eq!(end["structuredContent"]["outcome"], "completed", "{end:#}");
    }
}

#[test]
fn an_answer_from_elsewhere_takes_the_form_away() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let mut messages = client.call_and_watch("execute_with_streaming", json!({"task": TASK, "cwd": daemon.work()}));
    let first = messages.wait_for("notifications/progress");
    let id = first["params"]["message"]
        .as_str()
        .unwrap()
        .trim_start_matches("session_id ")
        .to_owned();
    messages.wait_for("elicitation/create");
    daemon.answer(
        &id,
        "q1",
        &json!({"action": "choose", "answers": {"Which colour?": "Blue"}}),
    );
    assert_eq!(messages.result()["structuredContent"]["outcome"], "completed");
}

#[test]
fn a_form_that_was_answered_elsewhere_makes_way_for_the_next_one() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let task = "question Which colour? | Red | Blue ;; question Which size? | Big | Small ;; say done";
    let mut messages = client.call_and_watch("execute_with_streaming", json!({"task": task, "cwd": daemon.work()}));
    let id = session_of(&messages.wait_for("notifications/progress"));
    for (question, text, answer) in [("q1", "Which colour?", "Blue"), ("q2", "Which size?", "Big")] {
        let form = messages.wait_for("elicitation/create");
        assert!(form.to_string().contains(text), "{form:#}");
        daemon.answer(&id, question, &json!({"action": "choose", "answers": {text: answer}}));
    }
    assert_eq!(messages.result()["structuredContent"]["outcome"], "completed");
}

#[test]
fn declining_is_a_no_and_cancelling_leaves_the_question_open() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let task = |name: &str| json!({"task": format!("ask-permission touch {name} ;; say done"), "cwd": daemon.work()});
    let mut messages = client.call_and_watch("execute_with_streaming", task("declined"));
    let asked = messages.wait_for("elicitation/create");
    client.reply(&asked, &json!({"action": "decline"}));
    assert_eq!(messages.result()["structuredContent"]["outcome"], "completed");
    assert!(!daemon.work().join("declined").exists());
    let mut messages = client.call_and_watch("execute_with_streaming", task("later"));
    let asked = messages.wait_for("elicitation/create");
    client.reply(&asked, &json!({"action": "cancel"}));
    let left = messages.result()["structuredContent"].clone();
    assert_eq!(left["status"], "awaiting_input", "{left:#}");
    let id = left["session_id"].as_str().unwrap();
    daemon.answer(id, "q1", &json!({"action": "allow"}));
    daemon.wait_for(id, "completed");
    assert!(daemon.work().join("later").exists());
}

#[test]
fn a_project_that_nobody_has_trusted_is_asked_about_in_a_form_before_its_agent_starts() {
    let daemon = TestDaemon::start();
    let hook = json!({"type": "command", "command": "sh start.sh"});
    let settings = json!({"hooks": {"SessionStart": [{"hooks": [hook]}]}});
    std::fs::create_dir(daemon.work().join(".claude")).unwrap();
    std::fs::write(daemon.work().join(".claude/settings.json"), settings.to_string()).unwrap();
    let client = Client::connect(&daemon, SESSIONS);
    let task = json!({"task": "say done", "cwd": daemon.work()});
    let mut messages = client.call_and_watch("execute_with_streaming", task);
    let asked = messages.wait_for("elicitation/create");
    assert!(
        asked.to_string().contains("hook SessionStart: sh start.sh"),
        "{asked:#}"
    );
    assert_eq!(colours(&asked)[1]["const"], "Start without it", "{asked:#}");
    client.reply(
        &asked,
        &json!({"action": "accept", "content": {"q1": "Start without it"}}),
    );
    let result = messages.result();
    assert_eq!(result["structuredContent"]["outcome"], "completed", "{result:#}");
    let id = result["structuredContent"]["session_id"].as_str().unwrap();
    assert!(
        daemon.records_of(id, "notice")[0]
            .to_string()
            .contains("--trust-project")
    );
}
