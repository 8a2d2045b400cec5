//! Permissions, questions and what waits for an answer.

use serde_json::json;

use crate::harness::{ALLOW, Home, is_permission_request, is_tool_result, kind};

#[test]
fn an_allowed_command_runs_with_the_input_of_the_answer() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "ask-permission echo asked ;; say done");
    let asked = simulator.find(is_permission_request);
    assert_eq!(asked["request"]["input"]["command"], "echo asked");
    simulator.answer(
        &asked,
        json!({"behavior": ALLOW, "updatedInput": {"command": "echo changed"}}),
    );
    simulator.answer(
        &asked,
        json!({"behavior": "deny", "message": "a second answer is ignored"}),
    );
    let outcome = simulator.find(is_tool_result);
    assert_eq!(outcome["message"]["content"][0]["content"], "changed");
    assert_eq!(simulator.result()["result"], "done");
}

#[test]
fn a_denied_command_does_not_run_and_the_turn_goes_on() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "ask-permission touch denied ;; say done");
    let asked = simulator.find(is_permission_request);
    simulator.answer(&asked, json!({"behavior": "deny", "message": "not that"}));
    let outcome = simulator.find(is_tool_result);
    assert_eq!(outcome["message"]["content"][0]["is_error"], true);
    assert_eq!(outcome["message"]["content"][0]["content"], "not that");
    let result = simulator.result();
    assert_eq!(result["permission_denials"][0]["tool_name"], "Bash");
    assert!(!home.path("denied").exists());
}

#[test]
fn a_form_is_filled_in_or_not() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user(
        "u1",
        r#"form Who? | {"type": "object"} ;; form Where? | {} ;; say done"#,
    );
    for (message, answer, told) in [
        (
            "Who?",
            json!({"action": "accept", "content": {"name": "Bob"}}),
            r#"It was filled in: {"name":"Bob"}"#,
        ),
        ("Where?", json!({"action": "decline"}), "It was not filled in."),
    ] {
        let asked = simulator.find(|frame| frame["request"]["subtype"] == "elicitation");
        assert_eq!(asked["request"]["message"], message);
        simulator.answer(&asked, answer);
        let outcome = simulator.find(is_tool_result);
        assert_eq!(outcome["message"]["content"][0]["content"], told);
    }
    assert_eq!(simulator.result()["result"], "done");
}

#[test]
fn a_denial_with_interrupt_ends_the_turn() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "ask-permission true ;; say never");
    let asked = simulator.find(is_permission_request);
    simulator.answer(
        &asked,
        json!({"behavior": "deny", "message": "stop", "interrupt": true}),
    );
    let frames = simulator.until(|frame| kind(frame) == "lifecycle/cancelled");
    let result = frames.iter().find(|frame| frame["type"] == "result").unwrap();
    assert_eq!(
        (&result["subtype"], &result["terminal_reason"]),
        (&json!("error_during_execution"), &json!("aborted_tools"))
    );
}

#[test]
fn a_repeated_initialize_lists_what_waits_for_an_answer() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.request("i1", json!({"subtype": "initialize"}));
    let first = simulator.next();
    assert_eq!(first["response"]["pending_permission_requests"], json!([]));
    assert_eq!(first["response"]["response"]["session_state"], "idle");
    simulator.user("u1", "question --multi Which ones? | a | b");
    let asked = simulator.find(is_permission_request);
    simulator.request("i2", json!({"subtype": "initialize"}));
    let second = simulator.find(|frame| frame["type"] == "control_response");
    assert_eq!(second["response"]["pending_permission_requests"], json!([asked]));
    assert_eq!(second["response"]["response"]["session_state"], "requires_action");
    assert_eq!(
        second["response"]["response"]["pid"],
        i64::from(simulator.pid().as_raw_nonzero().get())
    );
}

#[test]
fn the_answers_to_a_question_reach_the_model() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "question Which colour? | Red | Blue ;; say thanks");
    let asked = simulator.find(is_permission_request);
    assert_eq!(asked["request"]["tool_name"], "AskUserQuestion");
    assert_eq!(asked["request"]["requires_user_interaction"], true);
    assert_eq!(asked["request"]["input"]["questions"][0]["options"][1]["label"], "Blue");
    let mut input = asked["request"]["input"].clone();
    input["answers"] = json!({"Which colour?": "Blue"});
    simulator.answer(&asked, json!({"behavior": ALLOW, "updatedInput": input}));
    let outcome = simulator.find(is_tool_result);
    let told = outcome["message"]["content"][0]["content"].as_str().unwrap().to_owned();
    assert!(
        told.starts_with(r#"Your questions have been answered: "Which colour?"="Blue""#),
        "{told}"
    );
    assert_eq!(simulator.result()["is_error"], false);
}

#[test]
fn a_closed_stdin_fails_what_waits_for_an_answer_and_the_turn_goes_on() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "ask-permission touch never ;; say end");
    simulator.find(is_permission_request);
    simulator.close_stdin();
    let outcome = simulator.find(is_tool_result);
    let told = "Tool permission request failed: AbortError: Stream closed";
    assert_eq!(outcome["message"]["content"][0]["content"], told);
    assert_eq!(simulator.result()["result"], "end");
    assert_eq!(simulator.status().code(), Some(0));
}
