//! Finished means done: prompts that a hook blocks, slash commands that fail, and slash commands that only print.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::main_job::{messages, with_claude};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;
use crate::support::wait::{shell_until_exists, until};

/// A program that says that it runs, waits until it may go on, and fails with these words.
struct Program {
    path: PathBuf,
    started: PathBuf,
    gate: PathBuf,
}

impl Program {
    fn that_fails_with(words: &str, daemon: &TestDaemon) -> Self {
        let [path, started, gate] = ["program", "started", "gate"].map(|name| daemon.root().join(name));
        let (touch, wait) = (started.display(), shell_until_exists(&gate));
        let script = format!("#!/bin/sh\ntouch {touch}\n{wait}\necho '{words}' >&2\nexit 2\n");
        std::fs::write(&path, script).expect("a program");
        let executable = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, executable).expect("it can be run");
        Self { path, started, gate }
    }

    /// Kills the daemon while the program runs, and lets the program end before the daemon comes back.
    fn fails_without_daemon(&self, daemon: &mut TestDaemon) {
        until("the program", || self.started.exists().then_some(()));
        daemon.kill();
        std::fs::write(&self.gate, "").expect("the gate opens");
        daemon.launch();
    }
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder is made");
    std::fs::write(path, text).expect("the file is written");
}

/// Asserts that the session failed with this cause and these words, before the model was asked.
fn check_failed(view: &Value, cause: &str, words: &str) {
    assert_eq!((&view["cause"], &view["turns"]), (&json!(cause), &json!(0)), "{view:#}");
    let note = view["note"].as_str().unwrap_or_default();
    assert!(note.contains(words), "{view:#}");
}

fn resume(daemon: &TestDaemon, id: &str, body: &Value) {
    let (status, view) = daemon.post(&format!("/api/sessions/{id}/resume"), body);
    assert_eq!(status, 202, "{view}");
}

#[test]
fn a_prompt_that_a_hook_blocks_has_failed_and_the_task_is_given_again() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let hook = Program::that_fails_with("not today", &daemon);
    let settings = daemon.root().join("home/.claude/settings.json");
    let command = json!({"type": "command", "command": hook.path, "timeout": 600});
    let hooks = json!({"hooks": {"UserPromptSubmit": [{"hooks": [command]}]}});
    write(&settings, &hooks.to_string());
    let id = daemon.create("FAKE: say the end");
    hook.fails_without_daemon(&mut daemon);
    check_failed(&daemon.wait_for(&id, "failed"), "prompt_blocked", "not today");
    assert_eq!(api.model_requests(), Vec::<Value>::new());
    std::fs::remove_file(settings).expect("the hook is gone");
    resume(&daemon, &id, &json!({}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("the end")));
}

#[test]
fn a_command_whose_preamble_fails_has_failed() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let preamble = Program::that_fails_with("no such branch", &daemon);
    let command = daemon.work().join(".claude/commands/broken.md");
    write(
        &command,
        &format!("State: !`{}`\nFAKE: say never", preamble.path.display()),
    );
    let id = daemon.create_with(json!({"task": "/broken", "allowed_tools": ["Bash"]}));
    preamble.fails_without_daemon(&mut daemon);
    check_failed(&daemon.wait_for(&id, "failed"), "command_failed", "no such branch");
    let run = daemon.command(&["run", "/help"]).output().expect("it runs");
    let shown = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(1), "{shown}");
    assert!(shown.contains("failed (command_failed)"), "{shown}");
    assert_eq!(api.model_requests(), Vec::<Value>::new());
}

#[test]
fn a_command_that_prints_is_done_with_what_it_printed() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let id = daemon.create("/cost");
    let view = daemon.wait_for(&id, "completed");
    let printed = messages(&daemon, &id, "command_output");
    assert_eq!(
        (&view["result"], &view["turns"]),
        (&printed[0]["text"], &json!(0)),
        "{view:#}"
    );
    assert_eq!(printed.len(), 1);
    assert_eq!(api.model_requests(), Vec::<Value>::new());
}

#[test]
fn a_session_that_has_failed_and_runs_a_command_that_prints_stays_failed_and_can_be_resumed() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let id = daemon.create("FAKE: error 400 always");
    let before = daemon.wait_for(&id, "failed");
    resume(&daemon, &id, &json!({"instruction": "/cost"}));
    daemon.kill();
    daemon.launch();
    let view = until("its second end", || {
        let view = daemon.view(&id);
        (view["attempt"] == 2 && !view["ended_at"].is_null()).then_some(view)
    });
    let kept = |view: &Value| [view["state"].clone(), view["cause"].clone(), view["note"].clone()];
    assert_eq!(kept(&view), kept(&before));
    let printed = messages(&daemon, &id, "command_output");
    assert_eq!(view["result"], printed[0]["text"], "{view:#}");
    resume(&daemon, &id, &json!({"instruction": "FAKE: say the end"}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["result"], "the end");
}
