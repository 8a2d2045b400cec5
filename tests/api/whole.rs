//! Whole sessions: waited for, exported; and what the daemon says about itself.

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;

#[test]
fn a_wait_ends_with_the_session_or_with_a_question() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission true ;; say done");
    let (status, view) = daemon.get(&format!("/api/sessions/{id}/wait?seconds=60&until=question"));
    assert_eq!((status, &view["state"]), (200, &json!("awaiting_input")));
    let (_, view) = daemon.get(&format!("/api/sessions/{id}/wait?seconds=0"));
    assert_eq!(view["state"], "awaiting_input", "the time is over at once");
    let question = daemon.question(&id)["question_id"].as_str().expect("an id").to_owned();
    daemon.answer(&id, &question, &json!({"action": "allow"}));
    let (_, view) = daemon.get(&format!("/api/sessions/{id}/wait?seconds=60"));
    assert_eq!(view["state"], "completed");
}

#[test]
fn an_export_is_the_whole_session_in_each_form() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say **hello** there ;; flood 1200 ;; bash echo from-the-tool");
    daemon.wait_for(&id, "completed");
    let records = daemon.records(&id);
    assert!(records.len() > 1000, "more than a page: {}", records.len());
    let export = |format: &str| {
        let output = daemon
            .command(&["export", &id, "--format", format])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let lines: Vec<Value> = export("jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect();
    assert_eq!(lines, records);
    let whole: Value = serde_json::from_str(&export("json")).expect("an object");
    assert_eq!(
        (&whole["session"]["session_id"], &whole["records"]),
        (&json!(id), &json!(records))
    );
    let text = export("markdown");
    for part in [
        "# ",
        "\n## Task\n",
        "**hello** there",
        "from-the-tool",
        "\n## End: completed\n",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn the_daemon_tells_about_itself() {
    let daemon = TestDaemon::start();
    let (_, info) = daemon.get("/api/info");
    assert_eq!(
        (&info["version"], &info["pid"]),
        (&json!(env!("CARGO_PKG_VERSION")), &json!(daemon.pid()))
    );
    let (status, examination) = daemon.get("/api/doctor");
    assert_eq!(status, 200, "{examination}");
    assert_eq!(examination["findings"][0]["check"], "settings");
    let (_, description) = daemon.get("/api/openapi.json");
    assert_eq!(description["openapi"], "3.1.0");
}
