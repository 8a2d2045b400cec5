//! Interrupts and ends.

use std::os::unix::process::ExitStatusExt;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Home, Simulator, is_alive, is_tool_result, kind, wait_until};

#[test]
fn an_agent_that_is_stuck_on_a_full_pipe_still_ends_at_sigterm() {
    let home = Home::new();
    let mut child = home.command(&[]).spawn().unwrap();
    let flood = json!({"type": "user", "message": {"role": "user", "content": "flood 1000000000"}});
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), format!("{flood}\n").as_bytes()).unwrap();
    let stdout = child.stdout.as_ref().unwrap();
    // A pipe holds 64 KiB, of which a whole line may lack room.
    wait_until(|| rustix::io::ioctl_fionread(stdout).unwrap() > 60 * 1024);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn a_background_shell_can_be_stopped() {
    let home = Home::new();
    let mut simulator = home.start(&[]);
    simulator.user("u1", &format!("background {}", home.path("never").display()));
    let task = simulator.find(|frame| kind(frame) == "system/task_started")["task_id"].clone();
    simulator.request("c1", json!({"subtype": "stop_task", "task_id": task}));
    let ended = simulator.find(|frame| kind(frame) == "system/task_notification");
    assert_eq!((&ended["task_id"], &ended["status"]), (&task, &json!("stopped")));
    simulator.close_stdin();
    assert_eq!(simulator.status().code(), Some(0));
}

#[test]
fn what_is_left_behind_outlives_the_agent_and_bears_its_environment() {
    let home = Home::new();
    let pid_file = home.path("pid");
    let mut command = home.command(&[]);
    command.env("CC_EXECUTOR_ATTEMPT", "s/1");
    let mut simulator = Simulator::spawn(command);
    simulator.user(
        "u1",
        &format!("leave echo $$ > {}; exec sleep 1000 ;; say left", pid_file.display()),
    );
    simulator.result();
    wait_until(|| std::fs::read_to_string(&pid_file).is_ok_and(|pid| pid.ends_with('\n')));
    simulator.request("c1", json!({"subtype": "end_session"}));
    assert_eq!(simulator.status().code(), Some(0));
    assert!(is_alive(&pid_file));
    let pid = std::fs::read_to_string(&pid_file).unwrap();
    let environment = std::fs::read(format!("/proc/{}/environ", pid.trim())).unwrap();
    let left = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(left, Signal::KILL).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains("CC_EXECUTOR_ATTEMPT=s/1"));
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
