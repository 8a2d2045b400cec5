//! A directory that starts something by itself is asked about before it does, and only as long as nobody trusts it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// Settings whose hook runs a script of the project.
const HOOKS: &str =
    r#"{"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "sh $CLAUDE_PROJECT_DIR/start.sh"}]}]}}"#;

/// A directory that brings a hook.
fn project(daemon: &TestDaemon, name: &str) -> PathBuf {
    let path = daemon.root().canonicalize().unwrap().join(name);
    fs::create_dir_all(path.join(".claude")).unwrap();
    fs::write(path.join(".claude/settings.json"), HOOKS).unwrap();
    fs::write(path.join("start.sh"), "true\n").unwrap();
    path
}

fn create(daemon: &TestDaemon, cwd: &Path, more: Value) -> String {
    let mut request = json!({"task": "say hi", "cwd": cwd});
    let fields = request.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    daemon.create_with(request)
}

fn choose(daemon: &TestDaemon, id: &str, label: &str) -> (u16, Value) {
    let question = daemon.question(id);
    let text = question["questions"][0]["question"].as_str().unwrap();
    let name = question["question_id"].as_str().unwrap();
    daemon.answer(id, name, &json!({"action": "choose", "answers": {text: label}}))
}

/// Whether an attempt was started without the project's settings.
fn is_without(daemon: &TestDaemon, id: &str, attempt: u32) -> bool {
    let plan = daemon.state().join(format!("sessions/{id}/{attempt}/launch.json"));
    let plan: Value = serde_json::from_slice(&fs::read(plan).unwrap()).unwrap();
    plan["argv"]
        .as_array()
        .unwrap()
        .contains(&json!("--setting-sources=user"))
}

/// Runs a session of which nobody is asked; whether it has started without the project's settings.
fn starts_without(daemon: &TestDaemon, cwd: &Path, more: Value) -> bool {
    let id = create(daemon, cwd, more);
    daemon.wait_for(&id, "completed");
    assert_eq!(daemon.records_of(&id, "question.asked"), Vec::<Value>::new());
    let is_without = is_without(daemon, &id, 1);
    let notices = daemon.records_of(&id, "notice");
    let is_told = notices
        .iter()
        .any(|notice| notice.to_string().contains("--trust-project"));
    assert_eq!(is_told, is_without, "{notices:?}");
    is_without
}

#[test]
fn a_project_is_asked_about_over_a_restart_and_again_only_when_what_starts_has_changed() {
    let mut daemon = TestDaemon::start();
    let project = project(&daemon, "project");
    let id = create(&daemon, &project, json!({}));
    let question = daemon.question(&id);
    let text = question["questions"][0]["question"].as_str().unwrap();
    let shown = [
        project.display().to_string(),
        "hook SessionStart: sh $CLAUDE_PROJECT_DIR/start.sh".into(),
        "allow rules".into(),
    ];
    assert!(shown.iter().all(|part| text.contains(part)), "{text}");
    let status = daemon.command(&["status", &id]).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        status.contains(&shown[1]) && status.contains("Start without it"),
        "{status}"
    );
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.view(&id)["state"], "awaiting_input");
    assert_eq!(daemon.records_of(&id, "attempt.started"), Vec::<Value>::new());
    let (status, problem) = choose(&daemon, &id, "in my own words");
    assert_eq!(status, 400, "{problem}");
    let (status, view) = choose(&daemon, &id, "Run it");
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&id, "completed");
    assert!(!is_without(&daemon, &id, 1));

    daemon.kill();
    daemon.launch();
    assert!(!starts_without(&daemon, &project, json!({})));
    fs::write(project.join("other"), "text").unwrap();
    let rules = HOOKS.replacen('{', r#"{"permissions": {"allow": ["Bash"]}, "#, 1);
    fs::write(project.join(".claude/settings.json"), rules).unwrap();
    assert!(!starts_without(&daemon, &project, json!({})), "rules do not count");
    fs::write(project.join("start.sh"), "false\n").unwrap();
    let id = create(&daemon, &project, json!({}));
    choose(&daemon, &id, "Cancel");
    daemon.wait_for(&id, "cancelled");
    assert_eq!(daemon.records_of(&id, "attempt.started"), Vec::<Value>::new());
}

#[test]
fn what_has_changed_since_it_was_let_start_is_asked_about_before_it_starts() {
    let daemon = TestDaemon::start();
    let project = project(&daemon, "project");
    let id = create(&daemon, &project, json!({}));
    daemon.question(&id);
    fs::write(project.join("start.sh"), "false\n").unwrap();
    choose(&daemon, &id, "Run it");
    let ended = until("the first attempt to end", || {
        daemon.records_of(&id, "attempt.ended").pop()
    });
    assert_eq!(ended["data"]["ending"], "untrusted", "{ended:#}");
    assert!(!daemon.state().join(format!("sessions/{id}/1/launch.json")).exists());
    until("the second question", || {
        let asked = daemon.records_of(&id, "question.asked");
        (asked.len() == 2).then_some(())
    });
    choose(&daemon, &id, "Run it");
    daemon.wait_for(&id, "completed");
    assert!(!is_without(&daemon, &id, 2));
}

#[test]
fn what_starts_without_the_project_stays_without_it_in_every_attempt_and_copy() {
    let daemon = TestDaemon::start();
    let project = project(&daemon, "project");
    let id = create(&daemon, &project, json!({"task": "say one ;; crash once ;; max-turns"}));
    choose(&daemon, &id, "Start without it");
    daemon.wait_for(&id, "failed");
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/resume"),
        &json!({"instruction": "say two"}),
    );
    assert_eq!(status, 202, "{view}");
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 3);
    let (_, fork) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "say three"}),
    );
    let copy = fork["session_id"].as_str().unwrap().to_owned();
    daemon.wait_for(&copy, "completed");
    for (session, attempt) in [(&id, 1), (&id, 2), (&id, 3), (&copy, 1)] {
        assert!(is_without(&daemon, session, attempt), "attempt {attempt}");
    }
    assert!(starts_without(&daemon, &project, json!({})), "the answer is remembered");
    assert!(!starts_without(&daemon, &project, json!({"trust_project": true})));
    let decided = fs::read_to_string(daemon.state().join("projects.json")).unwrap();
    assert!(decided.contains(&project.display().to_string()), "{decided}");
}

#[test]
fn a_request_a_mode_or_the_record_of_the_cli_trusts_a_project_without_a_question() {
    let daemon = TestDaemon::start();
    let project = project(&daemon, "project");
    assert!(!starts_without(&daemon, &project, json!({"trust_project": true})));
    assert!(!starts_without(
        &daemon,
        &project,
        json!({"permission_mode": "bypassPermissions"})
    ));
    let run = [
        "run",
        "--quiet",
        "--trust-project",
        "--cwd",
        &project.display().to_string(),
        "say hi",
    ];
    let output = daemon.command(&run).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "hi\n", "{output:?}");

    let denied = create(&daemon, &project, json!({"on_question": "deny"}));
    daemon.wait_for(&denied, "completed");
    assert!(is_without(&daemon, &denied, 1));
    assert_eq!(daemon.records_of(&denied, "notice").len(), 1, "it says so");

    let record = json!({"projects": {project.display().to_string(): {"hasTrustDialogAccepted": true}}}).to_string();
    let other = daemon.root().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join(".claude.json"), &record).unwrap();
    let below = project.join("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join(".mcp.json"), r#"{"mcpServers": {"s": {"command": "true"}}}"#).unwrap();
    for cwd in [&project, &below] {
        assert!(!starts_without(
            &daemon,
            cwd,
            json!({"env": {"CLAUDE_CONFIG_DIR": other}})
        ));
    }
    let id = create(&daemon, &project, json!({}));
    daemon.question(&id);
    let home = daemon.root().join("home/.claude.json");
    fs::write(&home, &record).unwrap();
    assert!(!starts_without(&daemon, &project, json!({})));
    assert_eq!(fs::read_to_string(home).unwrap(), record, "it is never written");
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn a_setting_trusts_all_projects_or_ignores_what_they_bring() {
    for (setting, is_without) in [("trust", false), ("ignore", true)] {
        let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__AGENT__PROJECT_TRUST", setting)]);
        let project = project(&daemon, "project");
        assert_eq!(starts_without(&daemon, &project, json!({})), is_without, "{setting}");
        assert!(
            !starts_without(&daemon, &daemon.work(), json!({})),
            "it brings nothing: {setting}"
        );
    }
}

#[test]
fn an_agent_can_not_say_that_a_project_is_trusted() {
    let daemon = TestDaemon::start();
    let project = project(&daemon, "project");
    let id = create(
        &daemon,
        &project,
        json!({"trust_project": true, "env": {"CC_EXECUTOR_DEPTH": "1"}}),
    );
    daemon.question(&id);
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}
