//! The journal held against the spools: what the agents really wrote.

use serde_json::Value;

use super::daemon::TestDaemon;

/// Lines of type `system` that are messages.
const SYSTEM_MESSAGES: [&str; 7] = [
    "init",
    "api_retry",
    "permission_denied",
    "task_started",
    "task_notification",
    "background_tasks_changed",
    "compact_boundary",
];

/// Each attempt's spool is what its agent wrote: its messages must stand in the journal, each once and in order.
pub(crate) fn compare_with_spools(daemon: &TestDaemon, id: &str) {
    let records = daemon.records(id);
    let seqs: Vec<_> = records
        .iter()
        .map(|record| record["seq"].as_u64().expect("a seq"))
        .collect();
    assert_eq!(
        seqs,
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "numbered without gaps"
    );
    let attempts = daemon.view(id)["attempt"].as_u64().expect("an attempt");
    for attempt in 1..=attempts {
        let path = daemon.state().join(format!("sessions/{id}/{attempt}/stdout.jsonl"));
        let written: Vec<String> = messages_in_spool(&std::fs::read_to_string(&path).unwrap_or_default());
        let of_attempt = records
            .iter()
            .filter(|record| record["attempt"] == attempt && record["kind"] == "agent.message");
        let journalled: Vec<String> = of_attempt.filter_map(|record| text(&record["data"]["uuid"])).collect();
        assert_eq!(journalled, written, "attempt {attempt} of {id}");
    }
}

/// The uuids of the lines that are messages; partial text, signs of life and a line that was cut off are none.
pub(crate) fn messages_in_spool(spool: &str) -> Vec<String> {
    let lines = spool
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let is_message = |line: &Value| {
        let subtype = line["subtype"].as_str().unwrap_or_default();
        match line["type"].as_str().unwrap_or_default() {
            "assistant" | "user" | "result" | "rate_limit_event" => true,
            "system" => SYSTEM_MESSAGES.contains(&subtype),
            _ => false,
        }
    };
    lines
        .filter(is_message)
        .filter_map(|line| text(&line["uuid"]))
        .collect()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
