//! What an agent may write and how it may die, and what comes of it.

use serde_json::{Value, json};

use crate::checks::{assert_flood_is_journalled, messages, wait_for_head, whole_journal};
use crate::support::daemon::TestDaemon;

const MIB: usize = 1024 * 1024;

fn unknown(records: &[Value]) -> Vec<&Value> {
    let unknown = records.iter().filter(|record| record["kind"] == "agent.unknown");
    unknown.map(|record| &record["data"]).collect()
}

#[test]
fn a_line_of_16_mib_is_one_record_and_a_longer_one_is_kept_cut() {
    let daemon = TestDaemon::start();
    let id = daemon.create("line 16m ;; line 17m ;; say still here");
    daemon.wait_for(&id, "completed");
    let records = whole_journal(&daemon, &id);
    let texts = messages(&records, "text");
    assert_eq!(texts.len(), 2);
    let long = texts[0]["text"].as_str().unwrap();
    assert!(
        long.len() > 15 * MIB && long.bytes().all(|byte| byte == b'x'),
        "{} bytes",
        long.len()
    );
    assert_eq!(texts[1]["text"], "still here");
    let unknown = unknown(&records);
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0]["bytes"], 17 * MIB - 1, "without its newline");
    assert!(unknown[0]["line"].as_str().unwrap().len() <= 4096);
    let streamed = daemon.stream(&format!("/execution/{id}/stream"), None).skip(1);
    assert!(
        streamed.map(|event| event.data).eq(records),
        "a stream carries them too"
    );
}

#[test]
fn lines_that_nobody_understands_are_kept_and_do_no_harm() {
    let daemon = TestDaemon::start();
    let id = daemon.create("garbage ;; unknown ;; garbage ;; say done");
    daemon.wait_for(&id, "completed");
    let records = whole_journal(&daemon, &id);
    let kinds: Vec<_> = unknown(&records)
        .iter()
        .map(|unknown| unknown["type"].clone())
        .collect();
    assert_eq!(kinds, [Value::Null, json!("of_a_later_version"), Value::Null]);
    assert!(unknown(&records)[0]["line"].as_str().unwrap().contains("mess age"));
    assert_eq!(messages(&records, "text")[0]["text"], "done");
}

#[test]
fn a_cancel_takes_effect_in_the_middle_of_a_flood() {
    let daemon = TestDaemon::start();
    let id = daemon.create("flood 5000000 300");
    wait_for_head(&daemon, &id, 1000);
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert!(daemon.processes_of(&id).is_empty());
    let records = whole_journal(&daemon, &id);
    assert!(records.len() < 5_000_000);
    assert_flood_is_journalled(&daemon, &records, 300);
    assert_eq!(records.last().unwrap()["kind"], "session.ended");
}

#[test]
fn a_crashed_agent_is_started_again_and_goes_on() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say first ;; bash echo ran >> ran ;; crash once ;; say second");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("second")));
    let records = whole_journal(&daemon, &id);
    let texts: Vec<_> = messages(&records, "text")
        .iter()
        .map(|text| text["text"].clone())
        .collect();
    assert_eq!(texts, ["first", "second"]);
    let ran = std::fs::read_to_string(daemon.work().join("ran")).unwrap();
    assert_eq!(ran, "ran\n", "what was done is not done again");
    let of = |kind: &str| -> Vec<_> { records.iter().filter(|record| record["kind"] == kind).collect() };
    assert_eq!(of("attempt.ended")[0]["data"]["exit"], "signal 9");
    assert_eq!(of("retry.scheduled").len(), 1);
    assert_eq!(of("attempt.started").len(), 2);
}

#[test]
fn a_crash_without_restarts_fails_the_session() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let id = daemon.create("say first ;; crash 3 ;; say never");
    let view = daemon.wait_for(&id, "failed");
    assert_eq!((&view["cause"], &view["attempt"]), (&json!("crashed"), &json!(1)));
    assert_eq!(
        daemon.records_of(&id, "attempt.ended")[0]["data"]["exit"],
        "exit code 3"
    );
}

#[test]
fn text_that_died_with_its_agent_is_revoked() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("wait-file {} ;; crash text", gate.display()));
    let reader = daemon.stream(&format!("/execution/{id}/stream"), None);
    std::fs::write(gate, "").unwrap();
    let events: Vec<_> = reader.collect();
    let shown: Vec<_> = events.iter().filter(|event| event.event == "delta").collect();
    let text: String = shown.iter().map(|delta| delta.data["text"].as_str().unwrap()).collect();
    assert_eq!(text, "this is never finished ");
    let dropped: Vec<_> = events.iter().filter(|event| event.event == "draft.dropped").collect();
    assert_eq!(dropped.len(), 1);
    assert_eq!(
        dropped[0].data["data"]["message_id"], shown[0].data["message_id"],
        "and it says which"
    );
    daemon.wait_for(&id, "failed");
}
