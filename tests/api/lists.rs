//! Lists: filters, pages, the history, the questions that wait; over HTTP and at the command line.

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;

fn ids(daemon: &TestDaemon, query: &str) -> Vec<String> {
    let (status, page) = daemon.get(&format!("/api/sessions{query}"));
    assert_eq!(status, 200, "{page}");
    let sessions = page["sessions"].as_array().expect("sessions").iter();
    sessions
        .map(|session| session["session_id"].as_str().expect("an id").to_owned())
        .collect()
}

#[test]
fn sessions_are_found_by_state_directory_date_and_text() {
    let daemon = TestDaemon::start();
    let below = daemon.work().join("below");
    std::fs::create_dir(&below).expect("a folder");
    let good = daemon.create_with(json!({"task": "say a needle here", "name": "good"}));
    daemon.wait_for(&good, "completed");
    let bad = daemon.create_with(json!({"task": "max-turns", "name": "bad", "cwd": below}));
    daemon.wait_for(&bad, "failed");
    let asking = daemon.create("ask-permission true ;; say done");
    daemon.question(&asking);

    assert_eq!(ids(&daemon, ""), [&*asking, &bad, &good]);
    assert_eq!(ids(&daemon, "?state=failed"), [&*bad]);
    assert_eq!(ids(&daemon, "?state=live"), [&*asking]);
    assert_eq!(ids(&daemon, "?state=awaiting_input,completed"), [&*asking, &good]);
    assert_eq!(ids(&daemon, &format!("?directory={}", below.display())), [&*bad]);
    assert_eq!(
        ids(&daemon, &format!("?directory={}", daemon.work().display())).len(),
        3
    );
    assert_eq!(ids(&daemon, "?q=NEEDLE"), [&*good]);
    assert_eq!(ids(&daemon, "?since=2020-01-01").len(), 3);
    assert_eq!(ids(&daemon, "?until=2020-01-01T00:00:00Z").len(), 0);

    let ls = |arguments: &[&str]| {
        let output = daemon
            .command(&[&["ls", "--json"], arguments].concat())
            .output()
            .expect("it runs");
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        found.as_array().expect("sessions").len()
    };
    assert_eq!(ls(&[]), 3);
    assert_eq!(ls(&["--state", "failed", "--directory", "below"]), 1);
    assert_eq!(ls(&["--search", "needle", "--since", "1h"]), 1);
    let (_, questions) = daemon.get("/api/questions");
    assert_eq!(questions["questions"][0]["session_id"], asking);
    assert_eq!(questions["questions"][0]["ask"], "permission");
    daemon.cancel(&asking);
    daemon.wait_for(&asking, "cancelled");
}

#[test]
fn pages_follow_each_other_while_sessions_are_created() {
    let daemon = TestDaemon::start();
    let first: Vec<_> = (0..5).map(|n| daemon.create(&format!("say {n}"))).collect();
    let (_, page) = daemon.get("/api/sessions?limit=3");
    let late = daemon.create("say late");
    let cursor = page["next_cursor"].as_str().expect("there are more").to_owned();
    let rest = ids(&daemon, &format!("?limit=3&cursor={cursor}"));
    assert_eq!(rest, [&*first[1], &first[0]]);
    for id in first.iter().chain([&late]) {
        daemon.wait_for(id, "completed");
    }
}

#[test]
fn the_history_has_days() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    let (_, history) = daemon.get("/api/history");
    let day = &history["days"][0];
    assert_eq!(day["sessions"][0]["session_id"], id);
    let date = day["date"].as_str().expect("a day");
    let (_, same) = daemon.get(&format!("/api/history?date={date}&q=hello"));
    assert_eq!(same, history);
    let (_, none) = daemon.get("/api/history?date=2020-01-01");
    assert_eq!(none["days"], json!([]));
    let output = daemon.command(&["history", "--date", date]).output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(date));
}

#[test]
fn every_value_that_the_description_offers_for_a_list_is_taken() {
    let daemon = TestDaemon::start();
    let (_, description) = daemon.get("/api/openapi.json");
    let mut taken = Vec::new();
    for path in ["/api/sessions", "/api/history"] {
        let parameters = description["paths"][path]["get"]["parameters"]
            .as_array()
            .expect("parameters");
        for parameter in parameters {
            let pattern = parameter["schema"]["pattern"].as_str().unwrap_or_default();
            let Some((values, _)) = pattern.strip_prefix("^(").and_then(|rest| rest.split_once(')')) else {
                continue;
            };
            let name = parameter["name"].as_str().expect("a name");
            for value in values.split('|') {
                let (status, answer) = daemon.get(&format!("{path}?{name}={value}"));
                assert_eq!(status, 200, "{path} {name}={value}: {answer}");
                taken.push(format!("{path} {value}"));
            }
        }
    }
    for value in ["/api/sessions paused", "/api/sessions live", "/api/history failed"] {
        assert!(
            taken.iter().any(|one| one == value),
            "{value} is not offered: {taken:?}"
        );
    }
}
