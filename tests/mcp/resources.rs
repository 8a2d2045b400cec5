//! What can be read of sessions, and who is told of changes.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::client::{Client, Messages, SESSIONS, STATELESS};
use crate::support::daemon::TestDaemon;

const ACTIVE: &str = "resource://cc-executor/active-sessions";

fn read(client: &Client, uri: &str) -> Value {
    let result = client.request("resources/read", json!({"uri": uri}));
    assert_eq!(result["contents"][0]["uri"], uri);
    let text = result["contents"][0]["text"].as_str().expect("a text");
    serde_json::from_str(text).expect("it is JSON")
}

#[test]
fn sessions_can_be_read_in_every_way_that_is_listed() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    let live = daemon.create("bash sleep 1000");
    for revision in [SESSIONS, STATELESS] {
        let client = Client::connect(&daemon, revision);
        let listed = client.request("resources/list", json!({}));
        assert!(listed["resources"].to_string().contains(&id));
        let active = read(&client, ACTIVE);
        assert_eq!(
            (
                &active["sessions"][0]["session_id"],
                active["sessions"].as_array().unwrap().len()
            ),
            (&json!(live), 1)
        );
        assert_eq!(
            read(&client, "resource://cc-executor/sessions")["sessions"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        let session = read(&client, &format!("resource://cc-executor/session/{id}"));
        assert_eq!(session["result"], "hello");
        let day = daemon.get("/api/history").1["days"][0]["date"]
            .as_str()
            .unwrap()
            .to_owned();
        let history = read(&client, &format!("resource://cc-executor/history/{day}"));
        assert!(history.to_string().contains(&id));
        let none = read(&client, "resource://cc-executor/history/2001-01-01");
        assert_eq!((&none["sessions"], &none["date"]), (&json!([]), &json!("2001-01-01")));
        let log = read(&client, &format!("resource://cc-executor/session/{id}/log?after=1"));
        assert_eq!((&log["records"][0]["seq"], &log["next"]), (&json!(2), &Value::Null));
        let checkpoints = read(&client, &format!("resource://cc-executor/session/{id}/checkpoints"));
        assert!(checkpoints["checkpoints"].is_array());
        let templates = client.request("resources/templates/list", json!({}));
        assert_eq!(templates["resourceTemplates"].as_array().unwrap().len(), 4);
        for none in ["resource://cc-executor/session/ffffffff", "file:///etc/passwd"] {
            let error = client.refused("resources/read", json!({"uri": none}));
            assert_eq!(error["data"]["uri"], none, "{error:#}");
        }
    }
    daemon.cancel(&live);
    daemon.wait_for(&live, "cancelled");
}

#[test]
fn a_subscriber_is_told_of_changes_in_both_eras() {
    let daemon = TestDaemon::start();
    let client = Client::connect(&daemon, SESSIONS);
    let mut standing = client.listen(None);
    client.request("resources/subscribe", json!({"uri": ACTIVE}));
    let stateless = Client::connect(&daemon, STATELESS);
    let wanted = json!({"notifications": {"resourceSubscriptions": [ACTIVE], "resourcesListChanged": true}});
    let mut listening = stateless.send("subscriptions/listen", wanted);
    listening.wait_for("notifications/subscriptions/acknowledged");
    let id = daemon.create("say hello");
    assert_eq!(
        standing.wait_for("notifications/resources/updated")["params"]["uri"],
        ACTIVE
    );
    let (mut list, mut resource) = (false, false);
    while !(list && resource) {
        let message = listening.next().expect("the stream goes on");
        list |= message["method"] == "notifications/resources/list_changed";
        resource |= message["method"] == "notifications/resources/updated";
    }
    daemon.wait_for(&id, "completed");
}

/// Reads the stream until it has told of all these methods, while sessions come and go: whoever is introduced is
/// listened for a moment later. Answers what it told.
fn told_of(daemon: &TestDaemon, stream: &mut Messages, methods: &[&str]) -> Vec<Value> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let id = daemon.create("say hello");
                daemon.wait_for(&id, "completed");
            }
        });
        let mut told = Vec::new();
        while !methods
            .iter()
            .all(|method| told.iter().any(|message: &Value| message["method"] == *method))
        {
            let Some(message) = stream.next() else { break };
            told.push(message);
        }
        is_over.store(true, Ordering::Relaxed);
        told
    })
}

#[test]
fn whoever_is_introduced_hears_of_new_sessions_and_what_it_subscribed_to_also_after_a_restart() {
    const CHANGED: &str = "notifications/resources/list_changed";
    const UPDATED: &str = "notifications/resources/updated";
    let mut daemon = TestDaemon::start();
    let mut client = Client::connect(&daemon, SESSIONS);
    let told = told_of(&daemon, &mut client.listen(None), &[CHANGED]);
    assert!(told.iter().any(|message| message["method"] == CHANGED), "{told:?}");
    client.request("resources/subscribe", json!({"uri": ACTIVE}));
    let other = json!({"uri": "resource://cc-executor/sessions"});
    client.request("resources/subscribe", other.clone());
    client.request("resources/unsubscribe", other);
    daemon.kill();
    daemon.launch();
    client.find_again(&daemon);
    let told = told_of(&daemon, &mut client.listen(None), &[CHANGED, UPDATED]);
    assert!(told.iter().any(|message| message["method"] == CHANGED), "{told:?}");
    let updated: Vec<&Value> = told.iter().filter(|message| message["method"] == UPDATED).collect();
    assert!(
        !updated.is_empty() && updated.iter().all(|message| message["params"]["uri"] == ACTIVE),
        "{told:?}"
    );
}

#[test]
fn ids_and_days_are_completed_and_prompts_are_filled_in() {
    let daemon = TestDaemon::start();
    let id = daemon.create("bash sleep 1000");
    for revision in [SESSIONS, STATELESS] {
        let client = Client::connect(&daemon, revision);
        let complete = |reference: Value, name: &str, value: &str| {
            let params = json!({"ref": reference, "argument": {"name": name, "value": value}});
            client.request("completion/complete", params)["completion"]["values"].clone()
        };
        let prompt = json!({"type": "ref/prompt", "name": "resume_interrupted"});
        assert_eq!(complete(prompt, "session_id", &id[..6]), json!([id]));
        let history = json!({"type": "ref/resource", "uri": "resource://cc-executor/history/{date}"});
        assert!(!complete(history, "date", "20").as_array().unwrap().is_empty());
        let names = client.request("prompts/list", json!({}))["prompts"].to_string();
        assert!(names.contains("run_task") && names.contains("resume_interrupted"));
        let arguments = json!({"name": "resume_interrupted", "arguments": {"session_id": id}});
        let text = client.request("prompts/get", arguments)["messages"][0]["content"]["text"].clone();
        assert!(text.as_str().unwrap().contains("bash sleep 1000"), "{text}");
        let error = client.refused("prompts/get", json!({"name": "run_task"}));
        assert_eq!(error["code"], -32602);
    }
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn days_are_those_of_the_daemons_zone_on_every_face() {
    // In one of these zones it is another day than in UTC, whatever the time.
    let is_late = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour() >= 11;
    let (zone, name) = if is_late {
        ("XXX-14", "UTC+14")
    } else {
        ("XXX+12", "UTC-12")
    };
    let daemon = TestDaemon::start_with(&[("TZ", zone)]);
    let id = daemon.create("say hello");
    let created = daemon.wait_for(&id, "completed")["created_at"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, history) = daemon.get("/api/history");
    let day = history["days"][0]["date"].as_str().unwrap().to_owned();
    assert_ne!(day, created[..10], "the test's own zone");
    let client = Client::connect(&daemon, SESSIONS);
    let read_day = |day: &str| read(&client, &format!("resource://cc-executor/history/{day}"));
    let of_day = read_day(&day);
    assert_eq!(of_day["sessions"][0]["session_id"], id.as_str());
    assert_eq!(read_day(&created[..10])["sessions"], json!([]));
    let templates = client.request("resources/templates/list", json!({}));
    let printed = daemon.command(&["history", "--date", &day]).output().expect("it runs");
    let printed = String::from_utf8_lossy(&printed.stdout).into_owned();
    assert!(printed.starts_with(&day) && printed.contains("say hello"), "{printed}");
    for told in [
        history["time_zone"].to_string(),
        of_day["time_zone"].to_string(),
        templates.to_string(),
        printed,
    ] {
        assert!(told.contains(name), "{told}");
    }
}
