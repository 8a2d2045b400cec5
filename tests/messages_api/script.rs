//! Which round of a script a conversation gets: the cases that the CLI makes only when something went wrong.

use serde_json::{Value, json};

use crate::support::messages_api::script::{Pace, Step, parse_rounds, round_due};

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": [{ "type": "text", "text": text }] })
}

fn tool_result(reminder: &str) -> Value {
    json!({ "role": "user", "content": [{ "type": "tool_result", "content": "FAKE: say no" }, { "type": "text", "text": reminder }] })
}

fn assistant(kind: &str) -> Value {
    json!({ "role": "assistant", "content": [{ "type": kind, "text": "words" }] })
}

#[track_caller]
fn check(messages: &[Value], text_due: &str) {
    let text = Step::Text {
        text: text_due.to_owned(),
        pace: Pace::AtOnce,
    };
    assert_eq!(
        round_due(messages).expect("a good script").steps[0],
        text,
        "{messages:#?}"
    );
}

const SCRIPT: &str = "<system-reminder>\nx\n</system-reminder>\nFAKE: say one ;; bash x ;; say two\nignored";

#[test]
fn rounds_follow_the_tool_calls_since_the_prompt() {
    check(&[user(SCRIPT)], "one");
    check(&[assistant("tool_use"), user(SCRIPT)], "one");
    check(&[user(SCRIPT), assistant("tool_use"), tool_result("a reminder")], "two");
    check(
        &[
            user(SCRIPT),
            assistant("tool_use"),
            assistant("tool_use"),
            tool_result(""),
        ],
        "two",
    );
    check(
        &[user(SCRIPT), assistant("text"), assistant("tool_use"), tool_result("")],
        "two",
    );
}

#[test]
fn a_script_is_done_once_its_closing_text_was_given() {
    let done = [user(SCRIPT), assistant("tool_use"), tool_result(""), assistant("text")];
    check(
        &[&done[..], &[user("<task-notification>\n</task-notification>")]].concat(),
        "ok",
    );
    check(
        &[&done[..], &[user("Continue from where you left off.")]].concat(),
        "ok",
    );
    check(&[user("FAKE: bash x"), assistant("tool_use"), tool_result("")], "ok");
}

#[test]
fn a_cut_turn_goes_on_with_the_round_that_was_cut() {
    let go_on = user("Continue from where you left off.");
    check(&[user(SCRIPT), go_on.clone()], "one");
    check(&[user(SCRIPT), assistant("text"), go_on.clone()], "one");
    check(&[user(SCRIPT), assistant("tool_use"), tool_result(""), go_on], "two");
}

#[test]
fn a_new_prompt_ends_the_script_before_it() {
    check(
        &[user(SCRIPT), assistant("tool_use"), tool_result(""), user("never mind")],
        "ok",
    );
    check(
        &[
            user(SCRIPT),
            assistant("tool_use"),
            tool_result(""),
            user("FAKE: say new"),
        ],
        "new",
    );
}

#[test]
fn a_script_that_cannot_be_read_says_why() {
    let mistake = |script: &str| parse_rounds(script).expect_err("no such step");
    assert_eq!(mistake("say a ;; dance"), "`dance` is no step of a script");
    assert_eq!(mistake("hold path"), "`hold path` needs two arguments");
    assert!(mistake("error many").contains("status \"many\""));
    assert!(mistake("cut often").contains("number of times \"often\""));
}
