//! Crashes, later processes, and the ledger.

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{
    ALLOW, Home, SESSION, assistant_texts, is_completed, is_idle, is_permission_request, kind, lines_of,
};

#[test]
fn a_killed_turn_goes_on_at_the_step_it_died_in() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "say one ;; usage 10 20 0.5 ;; crash once ;; say two ;; say three");
    assert_eq!(first.status().signal(), Some(9));
    let second = home.resume(SESSION);
    let frames = second.until(|frame| frame["type"] == "result");
    assert_eq!(assistant_texts(&frames), ["two", "three"]);
    let announced = frames.iter().find(|frame| frame["type"] == "assistant").unwrap();
    assert_eq!(
        (&announced["resume_reason"], &announced["user_message_uuid"]),
        (&json!("interrupted_turn"), &json!("u1"))
    );
    assert_eq!(frames.last().unwrap()["total_cost_usd"], 0.5);
}

#[test]
fn a_crash_without_once_comes_again() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "say one ;; crash tool 7");
    assert_eq!(first.status().code(), Some(7));
    let mut second = home.resume(SESSION);
    assert_eq!(second.status().code(), Some(7));
}

#[test]
fn without_the_switch_a_cut_turn_waits_for_its_message_to_be_sent_again() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "say one ;; crash once text ;; say two");
    assert_eq!(first.status().signal(), Some(9));
    let mut second = home.start(&["--resume", SESSION]);
    second.user("u1", "say one ;; crash once text ;; say two");
    let frames = second.until(|frame| frame["type"] == "result");
    assert_eq!(kind(&frames[1]), "lifecycle/queued");
    assert_eq!(assistant_texts(&frames), ["two"]);
}

#[test]
fn a_crash_before_the_first_flush_leaves_no_session() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "crash once unsaved ;; say here");
    assert_eq!(first.status().signal(), Some(9));
    let mut lost = home.resume(SESSION);
    assert_eq!(lost.status().code(), Some(1));
    let refused: Value = serde_json::from_str(&lost.rest()[0]).unwrap();
    assert_eq!(
        refused["errors"][0],
        format!("No conversation found with session ID: {SESSION}")
    );
    let mut again = home.start(&["--session-id", SESSION]);
    again.user("u1", "crash once unsaved ;; say here");
    assert_eq!(again.result()["result"], "here");
}

#[test]
fn a_message_sent_again_while_its_turn_goes_on_by_itself_is_completed_but_not_run() {
    let home = Home::new();
    let go = home.path("go");
    let script = format!("say one ;; crash once ;; wait-file {} ;; say two", go.display());
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", &script);
    first.status();
    let mut second = home.resume(SESSION);
    second.user("u1", &script);
    second.request("c1", json!({"subtype": "initialize"}));
    let before = second.until(|frame| frame["type"] == "control_response");
    assert!(before.iter().any(|frame| is_completed(frame, "u1")), "at once");
    assert!(!before.iter().any(|frame| kind(frame) == "lifecycle/queued"));
    std::fs::write(go, "").unwrap();
    let after = second.until(|frame| frame["type"] == "result");
    assert_eq!(assistant_texts(&after), ["two"]);
    assert_eq!(after.last().unwrap()["user_message_uuids"], json!(["u1"]));
    assert!(!after.iter().any(|frame| is_completed(frame, "u1")), "and once");
}

#[test]
fn a_question_that_was_open_at_a_crash_is_asked_again() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "question Go on? | yes | no ;; say end");
    let asked = first.find(is_permission_request);
    first.signal(Signal::KILL);
    first.status();
    let mut second = home.resume(SESSION);
    let again = second.find(is_permission_request);
    assert_eq!(again["request"]["input"], asked["request"]["input"]);
    assert_ne!(again["request"]["tool_use_id"], asked["request"]["tool_use_id"]);
    second.answer(
        &again,
        json!({"behavior": ALLOW, "updatedInput": again["request"]["input"]}),
    );
    assert_eq!(second.result()["result"], "end");
}

#[test]
fn a_session_id_is_taken_once() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "say a");
    first.result();
    assert_eq!(home.start(&["--session-id", SESSION]).status().code(), Some(1));
}

#[test]
fn a_message_is_run_once_also_by_a_later_process() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "say one");
    first.find(|frame| is_completed(frame, "u1"));
    first.user("u1", "say one");
    // Idle comes between, as the first turn's last frame.
    let again = first.find(|frame| !is_idle(frame));
    assert!(is_completed(&again, "u1"), "{again}");
    first.close_stdin();
    first.status();
    let mut second = home.resume(SESSION);
    second.user("u1", "say one");
    assert!(is_completed(&second.next(), "u1"));
}

#[test]
fn background_tasks_of_a_killed_process_are_told_as_stopped() {
    let home = Home::new();
    let mut first = home.start(&["--session-id", SESSION]);
    first.user("u1", "background 3000 ;; say started");
    first.find(|frame| is_completed(frame, "u1"));
    first.signal(Signal::KILL);
    first.status();
    let second = home.start(&["--resume", SESSION]);
    assert_eq!(second.next()["status"], "stopped");
    let result = second.next();
    assert_eq!(
        (&result["num_turns"], &result["origin"]["kind"]),
        (&json!(0), &json!("task-notification"))
    );
}

#[test]
fn what_the_ledger_calls_written_is_on_stdout_in_order_and_nothing_else_is() {
    let home = Home::new();
    let ledger = home.path("ledger");
    let spool = home.path("spool");
    let start = |args: &[&str]| {
        let mut command = home.command(args);
        command.args(["--ledger"]).arg(&ledger).args(["--fail-at", "1500"]);
        command.env("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1");
        command.stdout(std::fs::File::options().append(true).create(true).open(&spool).unwrap());
        command.spawn().unwrap()
    };
    let mut first = start(&["--session-id", SESSION]);
    let message = json!({"type": "user", "message": {"role": "user", "content": "flood 2000"}, "uuid": "u1"});
    std::io::Write::write_all(first.stdin.as_mut().unwrap(), format!("{message}\n").as_bytes()).unwrap();
    assert_eq!(first.wait().unwrap().signal(), Some(9));
    let mut second = start(&["--resume", SESSION]);
    drop(second.stdin.take());
    assert_eq!(second.wait().unwrap().code(), Some(0));

    let mut begun: Vec<(String, u64, String)> = Vec::new();
    let mut written = std::collections::HashMap::new();
    for entry in lines_of(&ledger) {
        let words: Vec<&str> = entry.split(' ').collect();
        let number: u64 = words[2].parse().unwrap();
        match words[0] {
            "begin" => begun.push((words[1].to_owned(), number, words[3].to_owned())),
            _ => drop(written.insert(words[1].to_owned(), number)),
        }
    }
    let out: Vec<String> = lines_of(&spool)
        .iter()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["uuid"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let owed = begun
        .iter()
        .filter(|(pid, number, _)| written.get(pid).is_some_and(|last| number <= last));
    let owed: Vec<String> = owed.map(|(_, _, id)| id.clone()).collect();
    assert_eq!(out, owed);
    let numbered = |line: &String| line.contains("\"text\":\"line ");
    assert!(lines_of(&spool).iter().filter(|line| numbered(line)).count() >= 2_000);
}
