//! What a turn prints.

use serde_json::{Value, json};

use crate::harness::{Home, SESSION, Simulator, assistant_texts, is_idle, is_tool_result, kind};

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
