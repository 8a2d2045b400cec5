//! What several tests hold journals and streams against.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::support::daemon::TestDaemon;
use crate::support::events::Event;
use crate::support::wait::until;

/// The ids of the records among events.
pub(crate) fn ids(events: &[Event]) -> Vec<u64> {
    events.iter().filter_map(|event| event.id).collect()
}

/// A reader has seen every record through `head` once and in order.
pub(crate) fn assert_each_once(seen: &[u64], head: u64) {
    let misplaced = seen.iter().zip(1..).position(|(seq, expected)| *seq != expected);
    let around = misplaced.map(|place| &seen[place.saturating_sub(2)..seen.len().min(place + 3)]);
    assert_eq!(
        around,
        None,
        "{} of {head} were seen; the first that is not in its place",
        seen.len()
    );
    assert_eq!(seen.len() as u64, head, "and none is missing at the end");
}

/// All records of a session, which must be numbered from 1 without gaps.
pub(crate) fn whole_journal(daemon: &TestDaemon, id: &str) -> Vec<Value> {
    let records = daemon.records(id);
    let misplaced = records
        .iter()
        .zip(1..)
        .find(|(record, seq)| record["seq"].as_u64() != Some(*seq));
    assert_eq!(misplaced, None, "the journal has no gap and nothing twice");
    records
}

/// The messages of this type that the agent said, in order.
pub(crate) fn messages(records: &[Value], kind: &str) -> Vec<Value> {
    let said = records.iter().filter(|record| record["kind"] == "agent.message");
    said.map(|record| record["data"]["message"].clone())
        .filter(|message| message["type"] == kind)
        .collect()
}

/// The ids of all lines of `bytes` bytes that simulators wrote, in order, from their ledger.
pub(crate) fn lines_written(daemon: &TestDaemon, bytes: usize) -> Vec<String> {
    let ledger = fs::read_to_string(daemon.root().join("ledger")).expect("a ledger");
    let begun = ledger.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    begun
        .filter_map(|words| match words[..] {
            ["begin", _, _, id, length] if length == bytes.to_string() => Some(id.to_owned()),
            _ => None,
        })
        .collect()
}

/// Every line of a flood of lines of `bytes` bytes is in the records, once and in order. The flood's length keeps its
/// lines apart from others.
pub(crate) fn assert_flood_is_journalled(daemon: &TestDaemon, records: &[Value], bytes: usize) {
    let written = lines_written(daemon, bytes);
    let flooded: BTreeSet<&str> = written.iter().map(String::as_str).collect();
    let journalled: Vec<&str> = records
        .iter()
        .filter_map(|record| record["data"]["uuid"].as_str())
        .filter(|uuid| flooded.contains(uuid))
        .collect();
    assert!(!written.is_empty(), "there was a flood");
    assert!(
        journalled == written,
        "{} lines were written, {} are journalled, or not in order",
        written.len(),
        journalled.len()
    );
}

/// Waits until the session has at least so many records.
pub(crate) fn wait_for_head(daemon: &TestDaemon, id: &str, head: u64) -> u64 {
    until("records", || {
        daemon.view(id)["head"].as_u64().filter(|now| *now >= head)
    })
}

/// The agent host of a session.
pub(crate) fn host_pid(daemon: &TestDaemon, id: &str) -> u32 {
    until(&format!("the host of {id} in {}", daemon.root().display()), || {
        daemon.family().into_iter().find_map(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<_> = line.split(|byte| *byte == 0).collect();
            let is_host = words.get(1) == Some(&b"agent-host".as_slice()) && words.get(2) == Some(&id.as_bytes());
            is_host.then_some(pid as u32)
        })
    })
}
