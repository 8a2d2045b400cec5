//! The stream contract: hello, records, deltas, replay, the end.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::json;

use crate::checks::{ids, messages, whole_journal};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::events::Event;

fn path(id: &str) -> String {
    format!("/execution/{id}/stream")
}

/// Everything a session's stream has after `cursor`; the session must have ended.
fn all_after(daemon: &TestDaemon, id: &str, cursor: Option<u64>) -> Vec<Event> {
    daemon.stream(&path(id), cursor).collect()
}

#[test]
fn a_stream_is_hello_and_then_every_record_under_its_seq_and_kind() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello there ;; bash echo hi ;; usage 100 20 0.5");
    // The reader is there from the beginning; the one of the ended session must see the same.
    let live: Vec<Event> = daemon.stream(&path(&id), None).collect();
    let records = whole_journal(&daemon, &id);
    let late = all_after(&daemon, &id, None);
    for events in [&live, &late] {
        let hello = &events[0];
        assert_eq!(
            (hello.id, &*hello.event, &hello.data["resume"]),
            (None, "hello", &json!("ok"))
        );
        assert!(hello.data["epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()));
        let (recorded, rest): (Vec<&Event>, Vec<&Event>) = events[1..].iter().partition(|event| event.id.is_some());
        assert!(rest.iter().all(|event| event.event == "delta"));
        let expected: Vec<Event> = records
            .iter()
            .map(|record| Event {
                id: record["seq"].as_u64(),
                event: record["kind"].as_str().unwrap().to_owned(),
                data: record.clone(),
            })
            .collect();
        assert_eq!(recorded, expected.iter().collect::<Vec<_>>());
        assert_eq!(
            events.last().map(|event| &*event.event),
            Some("session.ended"),
            "that ends it"
        );
    }
    assert_eq!(late[0].data["head"].as_u64(), Some(records.len() as u64));
    assert_eq!(
        live[0].data["epoch"], late[0].data["epoch"],
        "one database has one epoch"
    );
}

/// Puts deltas together by their offsets; each must begin where the text so far ends.
fn join_deltas<'a>(deltas: impl Iterator<Item = &'a Event>) -> String {
    deltas.fold(String::new(), |text, delta| {
        assert_eq!((&*delta.event, delta.id), ("delta", None));
        assert_eq!(
            delta.data["offset"].as_u64(),
            Some(text.chars().count() as u64),
            "{delta:?}"
        );
        text + delta.data["text"].as_str().expect("text")
    })
}

#[test]
fn a_late_reader_gets_the_open_draft_first_and_goes_on_where_it_ends() {
    let daemon = TestDaemon::start();
    let id = daemon.create("slow 60 ;; deltas 40");
    let early = daemon.stream(&path(&id), None);
    let seen = early.filter(|event| event.event == "delta").take(4).count();
    assert_eq!(seen, 4);
    // The agent stands still, so that there is a draft when the reader comes.
    let agent = daemon.agent_pid(&id, 1);
    signal(agent, Signal::STOP);
    let mut late = daemon.stream(&path(&id), None);
    let draft = late.find(|event| event.event == "delta").unwrap();
    assert!(
        draft.data["text"].as_str().unwrap().starts_with("1 2 3 4 "),
        "the draft in one piece: {draft:?}"
    );
    signal(agent, Signal::CONT);
    let rest: Vec<Event> = late.filter(|event| event.event == "delta").collect();
    assert!(!rest.is_empty(), "the draft was open");
    let text = messages(&whole_journal(&daemon, &id), "text")[0]["text"].clone();
    assert_eq!(json!(join_deltas([draft].iter().chain(&rest))), text);
}

#[test]
fn a_reader_that_comes_back_goes_on_without_gap_or_double() {
    let daemon = TestDaemon::start();
    let id = daemon.create("flood 1500");
    let head = daemon.wait_for(&id, "completed")["head"].as_u64().unwrap();
    for cursor in [0, 1, 499, 500, 501, head / 2, head - 1, head] {
        let expected: Vec<u64> = (cursor + 1..=head).collect();
        let by_header = all_after(&daemon, &id, Some(cursor));
        let by_query: Vec<Event> = daemon.stream(&format!("{}?after={cursor}", path(&id)), None).collect();
        for events in [&by_header, &by_query] {
            assert_eq!((&*events[0].event, &events[0].data["resume"]), ("hello", &json!("ok")));
            assert!(ids(events) == expected, "after {cursor}");
        }
    }
    // A browser reconnects to the URL that it began with.
    let both: Vec<Event> = daemon
        .stream(&format!("{}?after=3", path(&id)), Some(head - 2))
        .collect();
    assert_eq!(ids(&both), [head - 1, head]);
}

#[test]
fn a_cursor_beyond_the_head_is_a_gap_and_everything_comes_from_the_start() {
    let daemon = TestDaemon::start();
    let ended = daemon.create("say hello");
    let head = daemon.wait_for(&ended, "completed")["head"].as_u64().unwrap();
    let events = all_after(&daemon, &ended, Some(head + 1));
    assert_eq!(events[0].data["resume"], "gap");
    assert_eq!(ids(&events), (1..=head).collect::<Vec<_>>());

    let live = daemon.create("say hello ;; silence");
    daemon.wait_for(&live, "running");
    let mut events = daemon.stream(&path(&live), Some(i64::MAX.unsigned_abs()));
    assert_eq!(events.next().unwrap().data["resume"], "gap");
    assert_eq!(events.find_map(|event| event.id), Some(1));

    let mut all = daemon.stream("/events", Some(1_000_000));
    assert_eq!(all.next().unwrap().data["resume"], "gap");
    assert_eq!(all.next().unwrap().id, Some(1));
    daemon.cancel(&live);
    daemon.wait_for(&live, "cancelled");
}

#[test]
fn the_stream_of_all_sessions_has_every_record_replays_and_does_not_end() {
    let daemon = TestDaemon::start();
    let mut from_now = daemon.stream("/events", None);
    assert_eq!(from_now.next().unwrap().event, "hello");
    let mut sessions: Vec<_> = (0..3).map(|n| daemon.create(&format!("say {n} ;; flood 50"))).collect();
    for id in &sessions {
        daemon.wait_for(id, "completed");
    }
    let mut journals: Vec<_> = sessions.iter().map(|id| whole_journal(&daemon, id)).collect();
    let count: usize = journals.iter().map(Vec::len).sum();
    let live: Vec<Event> = from_now.by_ref().take(count).collect();
    let replayed: Vec<Event> = daemon.stream("/events?after=0", None).skip(1).take(count).collect();
    assert_eq!(live, replayed);
    assert!(ids(&live).is_sorted_by(|one, next| one < next));
    assert_eq!(ids(&live).len(), count, "there are no deltas in it");
    for (id, journal) in sessions.iter().zip(&journals) {
        let of_session = live.iter().filter(|event| event.data["session_id"] == **id);
        assert!(of_session.map(|event| &event.data).eq(journal), "each session whole");
    }
    let middle = live[count / 2].id;
    let mut rest = daemon.stream("/events", middle);
    let half: Vec<Event> = rest.by_ref().skip(1).take(count - count / 2 - 1).collect();
    assert_eq!(half, live[count / 2 + 1..]);
    // All sessions have ended; the streams have not.
    sessions.push(daemon.create("say one more"));
    daemon.wait_for(&sessions[3], "completed");
    journals.push(whole_journal(&daemon, &sessions[3]));
    for stream in [from_now, rest] {
        let more = stream.take(journals[3].len()).map(|event| event.data);
        assert!(more.eq(journals[3].iter().cloned()));
    }
}

#[test]
fn a_stream_that_ended_is_a_response_that_ended() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    let base = daemon.base_url().unwrap();
    let host = base.strip_prefix("http://").unwrap();
    let mut connection = TcpStream::connect(host).unwrap();
    let (path, token) = (path(&id), daemon.token());
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let head = answer.split("\r\n\r\n").next().unwrap().to_lowercase();
    assert!(
        head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream"),
        "{head}"
    );
    assert!(head.contains("cache-control: no-store"), "{head}");
    assert!(answer.ends_with("\r\n0\r\n\r\n"), "whole, and not cut off");
}
