//! The state of an older version in the hands of this one: `tests/fixtures/before` is a journal that an older release
//! wrote, with the transcripts of its agents, as a power cut left them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// The folder in the fixtures' paths that stands for the test's own.
const FOLDER: &str = "/home/user";

/// How the ids of all sessions in the fixtures begin.
const IDS: &str = "01a22e8e";

/// A stopped daemon with the older version's journal and transcripts.
fn daemon_of_before() -> TestDaemon {
    let daemon = TestDaemon::stopped(&[]);
    let root = daemon.root().display().to_string();
    // Leftovers are known by the ids of their sessions, and tests run beside each other: each has ids of its own.
    let ids = format!("01a2{}", &uuid::Uuid::new_v4().simple().to_string()[..4]);
    let own = |text: &str| {
        let text = text.replace(FOLDER, &root).replace(IDS, &ids);
        text.replace(&IDS.to_uppercase(), &ids.to_uppercase())
    };
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/before");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(daemon.state())
        .unwrap();
    let journal = daemon.state().join("journal.sqlite3");
    let dump = fs::read_to_string(format!("{fixtures}/journal.sql")).unwrap();
    let database = rusqlite::Connection::open(&journal).unwrap();
    database.execute_batch(&own(&dump)).unwrap();
    drop(database);
    fs::set_permissions(&journal, fs::Permissions::from_mode(0o600)).unwrap();

    let project = daemon.work().display().to_string().replace(['/', '.'], "-");
    let transcripts = daemon.root().join("home/.claude/projects").join(project);
    fs::create_dir_all(&transcripts).unwrap();
    for entry in fs::read_dir(format!("{fixtures}/transcripts")).unwrap() {
        let path = entry.unwrap().path();
        let text = own(&fs::read_to_string(&path).unwrap());
        let name = own(&path.file_name().unwrap().to_string_lossy());
        fs::write(transcripts.join(name), text).unwrap();
    }
    daemon
}

/// The sessions' ids by their names.
fn ids(daemon: &TestDaemon) -> BTreeMap<String, String> {
    let (status, page) = daemon.get("/api/sessions?limit=100");
    assert_eq!(status, 200, "{page}");
    let sessions = page["sessions"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    sessions
        .iter()
        .map(|view| (text(&view["name"]), text(&view["session_id"])))
        .collect()
}

#[test]
fn ended_sessions_of_before_are_shown_exported_resumed_and_forked() {
    let mut daemon = daemon_of_before();
    daemon.launch();
    let ids = ids(&daemon);
    for (name, state, turns, cost) in [
        ("finished", "completed", 1, 0.25),
        ("limited", "completed", 2, 0.0),
        ("stopped", "cancelled", 1, 0.0),
        ("granted", "completed", 4, 0.0),
    ] {
        let view = daemon.view(&ids[name]);
        let shown = (&view["state"], &view["turns"], &view["cost_usd"]);
        assert_eq!(shown, (&json!(state), &json!(turns), &json!(cost)), "{view:#}");
        let seqs: Vec<_> = daemon
            .records(&ids[name])
            .iter()
            .map(|record| record["seq"].clone())
            .collect();
        assert_eq!(seqs, (1..=seqs.len()).map(|seq| json!(seq)).collect::<Vec<_>>());
        let (status, export) = daemon.get(&format!("/api/sessions/{}/export?format=json", ids[name]));
        assert_eq!((status, export["records"].as_array().unwrap().len()), (200, seqs.len()));
    }
    let (status, view) = daemon.post(
        &format!("/api/sessions/{}/resume", ids["stopped"]),
        &json!({"instruction": "say once more"}),
    );
    assert!([200, 202].contains(&status), "{view}");
    daemon.wait_for(&ids["stopped"], "completed");
    assert_eq!(daemon.texts(&ids["stopped"]).last().unwrap(), "once more");
    let (status, fork) = daemon.post(
        &format!("/api/sessions/{}/fork", ids["granted"]),
        &json!({"instruction": "say a copy"}),
    );
    assert_eq!(status, 201, "{fork}");
    let fork = fork["session_id"].as_str().unwrap();
    daemon.wait_for(fork, "completed");
    assert_eq!(daemon.texts(fork), ["a copy"]);
    // The two that were at work are another test's.
    for name in ["asks", "works"] {
        daemon.cancel(&ids[name]);
        daemon.wait_for(&ids[name], "cancelled");
    }
}

#[test]
fn an_agent_of_before_that_became_narrower_is_followed_and_copied_by_one_that_is_as_narrow() {
    let mut daemon = daemon_of_before();
    let database = rusqlite::Connection::open(daemon.state().join("journal.sqlite3")).unwrap();
    // The agents had gone over to plan mode, which only their records say.
    let change =
        "UPDATE records SET body = replace(body, '\"permission_mode\":\"default\"', '\"permission_mode\":\"plan\"')
        WHERE kind = 'agent.message' AND session IN (SELECT session FROM listing WHERE name IN ('works', 'finished'))";
    assert!(database.execute(change, []).unwrap() > 0);
    drop(database);
    daemon.launch();
    let ids = ids(&daemon);
    for (name, mode) in [("works", Some("plan")), ("asks", None)] {
        let given = mode_of_attempt(&daemon, &ids[name], 2);
        assert!(
            given.as_deref() == mode || (mode.is_none() && given.as_deref() == Some("default")),
            "{given:?}"
        );
        daemon.cancel(&ids[name]);
        daemon.wait_for(&ids[name], "cancelled");
    }
    let (status, fork) = daemon.post(
        &format!("/api/sessions/{}/fork", ids["finished"]),
        &json!({"instruction": "say a copy"}),
    );
    assert_eq!(status, 201, "{fork}");
    let fork = fork["session_id"].as_str().unwrap();
    assert_eq!(mode_of_attempt(&daemon, fork, 1).as_deref(), Some("plan"));
    daemon.wait_for(fork, "completed");
}

/// The permission mode that an attempt's agent is started with.
fn mode_of_attempt(daemon: &TestDaemon, session: &str, attempt: u32) -> Option<String> {
    let plan = daemon.state().join(format!("sessions/{session}/{attempt}/launch.json"));
    let plan: Value = until("the attempt's plan", || {
        serde_json::from_slice(&fs::read(&plan).ok()?).ok()
    });
    let arguments = plan["argv"]
        .as_array()
        .expect("an argv")
        .iter()
        .filter_map(Value::as_str);
    let modes = arguments.filter_map(|argument| argument.strip_prefix("--permission-mode="));
    modes.map(str::to_owned).next_back()
}

#[test]
fn live_sessions_of_before_go_on_once_and_ask_again() {
    let mut daemon = daemon_of_before();
    // Nobody is asked about the project of a session that was begun before.
    fs::create_dir(daemon.work().join(".claude")).unwrap();
    let hooks = json!({"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "true"}]}]}});
    fs::write(daemon.work().join(".claude/settings.json"), hooks.to_string()).unwrap();
    daemon.launch();
    let ids = ids(&daemon);
    let (asks, works) = (&ids["asks"], &ids["works"]);
    // The agent that asked is gone; its successor asks, and the answer is for that one.
    until("the second agent's question", || {
        let view = daemon.view(asks);
        (view["attempt"] == 2 && view["state"] == "awaiting_input").then_some(())
    });
    assert!(!daemon.work().join("made").exists());
    let question = daemon.question(asks);
    let id = question["question_id"].as_str().unwrap();
    let (status, answer) = daemon.answer(asks, id, &json!({"action": "allow"}));
    assert_eq!(status, 200, "{answer}");
    daemon.wait_for(asks, "completed");
    assert_eq!(daemon.texts(asks), ["I look", "made it"]);
    assert!(daemon.work().join("made").exists());

    fs::write(daemon.work().join("go"), "").unwrap();
    daemon.wait_for(works, "completed");
    assert_eq!(daemon.texts(works), ["begun", "over"]);
}
