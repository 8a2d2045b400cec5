//! The simulator as a process: what it prints, what it survives, how it ends.

#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod harness;

use std::os::unix::process::ExitStatusExt;

use harness::{Home, Simulator, assistant_texts, is_permission_request, is_tool_result, kind, lines_of};
use rustix::process::Signal;
use serde_json::{Value, json};

const ALLOW: &str = "allow";
const SESSION: &str = "6f0c3a52-1d1b-4f4e-9c39-0a8c53bd54e1";

fn is_idle(frame: &Value) -> bool {
    frame["subtype"] == "session_state_changed" && frame["state"] == "idle"
}

fn is_completed(frame: &Value, uuid: &str) -> bool {
    kind(frame) == "lifecycle/completed" && frame["command_uuid"] == uuid
}

#[test]
fn a_text_turn_prints_the_frames_of_the_cli_in_order() {
    let home = Home::new();
    let mut simulator = home.start(&["--session-id", SESSION]);
    simulator.user("u1", "say hello world");
    let frames = simulator.until(is_idle);
    let kinds: Vec<String> = frames.iter().map(kind).collect();
    let expected = [
        "system/session_state_changed",
        "lifecycle/queued",
        "lifecycle/started",
        "system/init",
        "system/status",
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "assistant",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "result",
        "lifecycle/completed",
        "system/session_state_changed",
    ];
    assert_eq!(kinds, expected);
    assert!(
        frames
            .iter()
            .all(|frame| frame["session_id"] == SESSION && frame["uuid"].is_string())
    );
    assert_eq!(assistant_texts(&frames), ["hello world"]);
    let result = &frames[13];
    assert_eq!(
        (&result["subtype"], &result["result"]),
        (&json!("success"), &json!("hello world"))
    );
    assert_eq!(
        (&result["is_error"], &result["terminal_reason"]),
        (&json!(false), &json!("completed"))
    );
    assert_eq!(result["user_message_uuids"], json!(["u1"]));
    simulator.close_stdin();
    assert_eq!(simulator.status().code(), Some(0));
}

#[test]
fn an_ordinary_message_gets_a_short_reply() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "Please fix the tests");
    assert_eq!(
        simulator.result()["result"],
        "This is a simulated reply to: Please fix the tests"
    );
}

#[test]
fn nothing_is_printed_before_the_first_line_of_stdin() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.close_stdin();
    assert_eq!(simulator.status().code(), Some(0));
    assert_eq!(simulator.rest(), Vec::<String>::new());
}

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
fn messages_that_were_queued_are_one_next_turn() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    let go = home.path("go");
    simulator.user("u1", &format!("wait-file {}", go.display()));
    simulator.find(|frame| kind(frame) == "system/init");
    simulator.user("u2", "say two");
    simulator.user("u3", "say three");
    simulator.find(|frame| kind(frame) == "lifecycle/queued" && frame["command_uuid"] == "u3");
    std::fs::write(go, "").unwrap();
    assert_eq!(simulator.result()["user_message_uuids"], json!(["u1"]));
    let frames = simulator.until(|frame| frame["type"] == "result");
    assert_eq!(assistant_texts(&frames), ["two", "three"]);
    let result = frames.last().unwrap();
    assert_eq!(
        (&result["user_message_uuid"], &result["user_message_uuids"]),
        (&json!("u3"), &json!(["u2", "u3"]))
    );
}

#[test]
fn an_interrupt_ends_a_flood() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "flood 1000000000 220");
    simulator.find(|frame| frame["type"] == "assistant");
    simulator.request("c1", json!({"subtype": "interrupt"}));
    simulator.find(|frame| frame["type"] == "control_response");
    let result = simulator.result();
    assert_eq!(result["terminal_reason"], "aborted_streaming");
    assert_eq!(kind(&simulator.next()), "lifecycle/cancelled");
    simulator.user("u2", "say still here");
    assert_eq!(simulator.result()["result"], "still here");
}

#[test]
fn an_interrupted_text_is_kept_and_marked() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "slow 60000 ;; deltas 5");
    simulator.find(|frame| kind(frame) == "content_block_start");
    simulator.request("c1", json!({"subtype": "interrupt"}));
    let stop = simulator.find(|frame| kind(frame) == "message_stop");
    assert_eq!(stop["abandoned_blocks"]["from_block_index"], 0);
    assert_eq!(simulator.result()["subtype"], "error_during_execution");
}

#[test]
fn an_interrupt_ends_a_running_command() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    let begun = home.path("begun");
    simulator.user("u1", &format!("bash touch {}; sleep 1000", begun.display()));
    simulator.find(|frame| frame["type"] == "assistant");
    wait_until(|| begun.exists());
    simulator.request("c1", json!({"subtype": "interrupt"}));
    assert_eq!(
        simulator.find(is_tool_result)["message"]["content"][0]["is_error"],
        true
    );
    assert_eq!(simulator.result()["terminal_reason"], "aborted_tools");
}

#[test]
fn end_session_is_acknowledged_and_ends_a_flood_with_code_0() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "flood 1000000000");
    simulator.find(|frame| frame["type"] == "assistant");
    simulator.request("c1", json!({"subtype": "end_session"}));
    simulator.find(|frame| frame["type"] == "control_response");
    assert_eq!(simulator.status().code(), Some(0));
}

#[test]
fn sigterm_ends_with_143_and_takes_the_command_along() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    let pid_file = home.path("pid");
    simulator.user("u1", &format!("bash echo $$ > {}; sleep 1000", pid_file.display()));
    wait_until(|| std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')));
    simulator.signal(Signal::TERM);
    let outcome = simulator.find(is_tool_result);
    assert_eq!(outcome["message"]["content"][0]["content"], "Exit code 137");
    assert_eq!(simulator.status().code(), Some(143));
    wait_until(|| !is_alive(&pid_file));
}

#[test]
fn sigint_interrupts_and_ends_with_0() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "say begun ;; silence");
    simulator.find(|frame| frame["type"] == "assistant");
    simulator.signal(Signal::INT);
    assert_eq!(simulator.result()["is_error"], true);
    assert_eq!(simulator.status().code(), Some(0));
}

#[test]
fn a_lingering_agent_ends_by_sigkill_alone() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "linger ;; say lingering");
    simulator.result();
    simulator.signal(Signal::TERM);
    simulator.request("c1", json!({"subtype": "end_session"}));
    simulator.find(|frame| frame["type"] == "control_response");
    // It has taken the signal and the request and still answers.
    simulator.request("c2", json!({"subtype": "initialize"}));
    simulator.find(|frame| frame["response"]["request_id"] == "c2");
    simulator.close_stdin();
    assert!(!simulator.ended_by_itself());
    simulator.signal(Signal::KILL);
    assert_eq!(simulator.status().signal(), Some(9));
}

#[test]
fn linger_term_ends_by_sigterm() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "linger-term");
    simulator.result();
    simulator.request("c1", json!({"subtype": "end_session"}));
    simulator.find(|frame| frame["type"] == "control_response");
    simulator.request("c2", json!({"subtype": "initialize"}));
    simulator.find(|frame| frame["response"]["request_id"] == "c2");
    simulator.signal(Signal::TERM);
    assert_eq!(simulator.status().code(), Some(143));
}

#[test]
fn a_line_that_is_not_json_ends_it_with_1() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.write("");
    simulator.write(r#"{"type":"of_another_time"}"#);
    simulator.write("[1, 2]");
    simulator.request("c1", json!({"subtype": "no_such_thing"}));
    assert_eq!(
        simulator.next()["response"]["error"],
        "Unsupported control request subtype: no_such_thing"
    );
    simulator.write("{half a li");
    assert_eq!(simulator.status().code(), Some(1));
}

#[test]
fn a_background_shell_ends_after_the_result_and_brings_a_turn_of_its_own() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    let go = home.path("go");
    simulator.user("u1", &format!("background {} ;; say main done", go.display()));
    assert_eq!(
        simulator.find(|frame| kind(frame) == "system/task_started")["task_type"],
        "local_bash"
    );
    assert_eq!(simulator.result()["result"], "main done");
    std::fs::write(go, "").unwrap();
    assert_eq!(
        simulator.find(|frame| kind(frame) == "system/task_notification")["status"],
        "completed"
    );
    assert_eq!(
        simulator.find(|frame| kind(frame) == "system/background_tasks_changed")["tasks"],
        json!([])
    );
    let second = simulator.result();
    assert_eq!(second["origin"]["kind"], "task-notification");
    assert!(second["user_message_uuid"].is_null());
}

#[test]
fn a_subagent_reports_under_its_call() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "subagent 1 ;; say main done");
    let frames = simulator.until(|frame| frame["origin"]["kind"] == "task-notification");
    let reports = frames
        .iter()
        .filter(|frame| frame["parent_tool_use_id"].is_string())
        .count();
    assert_eq!(reports, 2);
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
fn a_usage_limit_is_waited_for_only_with_the_watchdog() {
    let home = Home::new();
    let mut without = home.start(&[]);
    without.user("u1", "usage-limit 3600 ;; say after");
    assert_eq!(
        without.find(|frame| frame["type"] == "rate_limit_event")["rate_limit_info"]["status"],
        "rejected"
    );
    let result = without.result();
    assert_eq!(
        (&result["api_error"], &result["subtype"]),
        (&json!("usage_limit_reached"), &json!("success"))
    );
    assert_eq!(result["is_error"], true);
    let mut command = home.command(&[]);
    command.env("CLAUDE_CODE_RETRY_WATCHDOG", "1");
    let mut with = Simulator::spawn(command);
    with.user("u1", "usage-limit 1 ;; say after");
    with.find(|frame| kind(frame) == "system/api_retry");
    assert_eq!(with.result()["result"], "after");
}

#[test]
fn every_ending_that_is_no_success_says_so() {
    for (script, subtype, reason) in [
        ("error broken", "success", "api_error"),
        ("refuse", "success", "api_error"),
        ("max-turns", "error_max_turns", "max_turns"),
        ("say a ;; nonsense", "success", "api_error"),
    ] {
        let home = Home::new();
        let mut simulator = home.start(&[]);
        simulator.user("u1", script);
        let result = simulator.result();
        assert_eq!(result["is_error"], true, "{script}");
        assert_eq!(
            (&result["subtype"], &result["terminal_reason"]),
            (&json!(subtype), &json!(reason)),
            "{script}"
        );
        simulator.close_stdin();
        assert_eq!(simulator.status().code(), Some(1), "{script}");
    }
}

#[test]
fn a_line_is_as_long_as_it_was_asked_to_be() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", "line 16m ;; garbage ;; unknown ;; say end");
    simulator.close_stdin();
    let lines = simulator.rest();
    assert_eq!(lines.iter().map(|line| line.len() + 1).max(), Some(16 << 20));
    assert_eq!(
        lines
            .iter()
            .filter(|line| serde_json::from_str::<Value>(line).is_err())
            .count(),
        1
    );
    assert_eq!(
        lines.iter().filter(|line| line.contains("of_a_later_version")).count(),
        1
    );
}

#[test]
fn children_inherit_no_file_above_stderr() {
    let home = Home::new();
    let mut command = home.command(&[]);
    // The shell passes fd 7 on, as an agent host passes its lock.
    let mut shell = std::process::Command::new("sh");
    shell
        .args(["-c", "exec 7>lock; exec \"$0\" \"$@\""])
        .arg(command.get_program())
        .args(command.get_args());
    shell.current_dir(home.path(""));
    command = {
        let mut copied = shell;
        copied.env("HOME", home.path("")).stdin(std::process::Stdio::piped());
        copied
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null());
        copied
    };
    let mut simulator = Simulator::spawn(command);
    simulator.user("u1", "bash ls /proc/$$/fd");
    let outcome = simulator.find(is_tool_result);
    assert_eq!(outcome["message"]["content"][0]["content"], "0\n1\n2");
    let own = std::fs::read_link(format!("/proc/{}/fd/7", simulator.pid().as_raw_nonzero())).unwrap();
    assert_eq!(own, home.path("lock"));
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

#[test]
fn a_script_file_is_played_a_section_a_turn() {
    let home = Home::new();
    std::fs::write(home.path("script"), "# first\nsay one\n---\nsay two\n").unwrap();
    let mut simulator = home.start(&["--script", "script"]);
    for (uuid, expected) in [("u1", "one"), ("u2", "two"), ("u3", "three")] {
        simulator.user(uuid, "say three");
        assert_eq!(simulator.result()["result"], expected);
    }
}

#[test]
fn version_and_help_are_printed() {
    let home = Home::new();
    let version = home.command(&["--version"]).output().unwrap();
    assert_eq!(String::from_utf8(version.stdout).unwrap(), "2.1.330 (simulated)\n");
    let help = home.command(&["--help"]).output().unwrap();
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("ask-permission COMMAND")
    );
}

fn is_alive(pid_file: &std::path::Path) -> bool {
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap()).is_ok()
}

fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..6_000 {
        if condition() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the condition did not come true");
}
