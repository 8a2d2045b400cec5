//! How records look, and which of them one chunk has.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::session::id::Attempt;
use crate::store::EntryCell;

const MANNER: Manner = Manner {
    whole: false,
    may_act: true,
};

fn id() -> SessionId {
    SessionId::from_uuid(uuid::Uuid::from_u128(7))
}

/// Records with these kinds and data, from number 1.
fn records(of: &[(&str, Value)]) -> Vec<StoredRecord> {
    let record = |(place, (kind, data)): (usize, &(&str, Value))| StoredRecord {
        id: place as i64 + 1,
        session_id: id(),
        seq: Seq(place as u64 + 1),
        attempt: Attempt(1),
        at: Timestamp::from_second(1_800_000_000).unwrap(),
        kind: (*kind).to_owned(),
        data: data.to_string(),
        entry: EntryCell::default(),
    };
    of.iter().enumerate().map(record).collect()
}

fn says(message: Value) -> (&'static str, Value) {
    ("agent.message", json!({"offset": 0, "message": message}))
}

fn shown(of: &[(&str, Value)]) -> String {
    render(id(), Seq(0), &records(of), MANNER).into_string()
}

#[test]
fn a_chunk_is_counted_from_where_it_is_asked_for() {
    let of = |window| bounds(window, Seq(250), 100);
    assert_eq!(of(Window::Last), (Seq(150), 100));
    assert_eq!(of(Window::Before(Seq(151))), (Seq(50), 100));
    assert_eq!(of(Window::Before(Seq(31))), (Seq(0), 30));
    assert_eq!(of(Window::After(Seq(240))), (Seq(240), 100));
    assert_eq!(of(Window::Around(Seq(240))), (Seq(150), 100));
    assert_eq!(of(Window::Around(Seq(5))), (Seq(0), 55));
    assert_eq!(of(Window::Before(Seq(u64::MAX))), (Seq(150), 100));
    assert_eq!(bounds(Window::Last, Seq(0), 100), (Seq(0), 0));
}

#[test]
fn every_record_is_one_element_with_its_number() {
    let html = shown(&[
        (
            "usage",
            json!({"input_tokens": 1, "output_tokens": 1, "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_usd": 0.1}),
        ),
        ("notice", json!({"text": "hello"})),
        ("novel.kind", json!({})),
        (
            "session.state",
            json!({"from": "queued", "to": "starting", "reason": "a slot is free"}),
        ),
    ]);
    for seq in 1..=4 {
        assert_eq!(html.matches(&format!("data-seq=\"{seq}\"")).count(), 1, "{seq}: {html}");
    }
    assert!(html.contains("data-after=\"0\" data-last=\"4\""), "{html}");
    assert!(html.contains("cannot be shown"), "{html}");
}

#[test]
fn a_result_stands_in_its_call() {
    let call = |id: &str| {
        says(
            json!({"type": "tool_use", "message_id": "m", "tool_use_id": id, "name": "Bash", "input": {"command": "ls"}}),
        )
    };
    let result = |id: &str, text: &str, failed: bool| {
        says(json!({"type": "tool_result", "tool_use_id": id, "text": text, "is_error": failed}))
    };
    let html = shown(&[
        call("a"),
        call("b"),
        result("b", "second", true),
        result("a", "first", false),
        result("z", "stray", false),
    ]);
    let order: Vec<usize> = ["r1", "r4", "r2", "r3", "r5"]
        .iter()
        .map(|id| html.find(&format!("id=\"{id}\"")).unwrap())
        .collect();
    assert!(order.is_sorted(), "{html}");
    assert!(
        html.contains("data-status=\"done\"") && html.contains("data-status=\"failed\""),
        "{html}"
    );
    assert_eq!(html.matches("class=\"results\"").count(), 2);
}

#[test]
fn script_in_what_anybody_says_is_inert() {
    let evil = "<script>alert(1)</script><img src=x onerror=alert(1)>";
    let html = shown(&[
        (
            "session.created",
            json!({"request": {"task": evil, "cwd": format!("/{evil}"), "name": "n"}, "by": evil}),
        ),
        (
            "input",
            json!({"uuid": uuid::Uuid::nil(), "state": "sent", "text": evil}),
        ),
        says(json!({"type": "text", "message_id": evil, "text": evil})),
        says(json!({"type": "thinking", "message_id": "\"><b", "text": evil})),
        says(
            json!({"type": "tool_use", "message_id": "m", "tool_use_id": evil, "name": evil, "input": {"command": evil}}),
        ),
        says(
            json!({"type": "tool_use", "message_id": "m", "tool_use_id": "e", "name": "Edit", "input": {"file_path": evil, "old_string": evil, "new_string": "x"}}),
        ),
        says(json!({"type": "tool_result", "tool_use_id": "q", "text": evil, "is_error": true})),
        says(json!({"type": "said", "topic": evil, "text": evil})),
        ("agent.stderr", json!({"text": evil})),
        (
            "agent.unknown",
            json!({"offset": 0, "type": evil, "line": evil, "bytes": 1}),
        ),
        (
            "question.asked",
            json!({"question_id": "q1", "request_id": "r", "ask": "permission", "tool": evil, "input": {"command": evil}, "reason": evil}),
        ),
        (
            "question.answered",
            json!({"question_id": "q1", "answer": {"action": "deny", "reason": evil}, "by": evil}),
        ),
        (
            "attempt.ended",
            json!({"ending": "crashed", "open_tool": evil, "exit": evil, "leftovers": [evil]}),
        ),
        ("session.ended", json!({"outcome": "completed", "summary": evil})),
    ]);
    assert!(!html.contains("<script") && !html.contains("<img"), "{html}");
    assert!(html.contains("&lt;script&gt;"));
    assert!(!html.contains("cannot be shown"), "every record is read: {html}");
    assert!(!html.contains(" style="), "{html}");
}

#[test]
fn a_long_text_is_cut_and_leads_to_all_of_it() {
    let long = "x".repeat(SHOWN_BYTES_MAX + 1);
    let record = [says(
        json!({"type": "tool_result", "tool_use_id": "t", "text": long, "is_error": false}),
    )];
    let html = shown(&record);
    let address = format!("/execution/{}/transcript?after=0&amp;limit=1&amp;whole=true", id());
    assert!(html.contains(&address), "{}", &html[..500]);
    let whole = Manner {
        whole: true,
        may_act: true,
    };
    let html = render(id(), Seq(0), &records(&record), whole).into_string();
    assert!(html.contains(&long) && !html.contains("Cut here"));
}

#[test]
fn a_viewer_sees_checkpoints_without_controls() {
    let checkpoint = [(
        "checkpoint",
        json!({"agent_session_id": uuid::Uuid::nil(), "offset": 1, "turns": 2, "usage": {"input_tokens": 0, "output_tokens": 0, "cache_read_tokens": 0, "cache_write_tokens": 0, "cost_usd": 0.5}}),
    )];
    assert!(shown(&checkpoint).contains("data-fork-from=\"1\""));
    let viewer = Manner {
        whole: false,
        may_act: false,
    };
    let html = render(id(), Seq(0), &records(&checkpoint), viewer).into_string();
    assert!(
        html.contains("after 2 turns, $0.5000") && !html.contains("<button"),
        "{html}"
    );
}

#[test]
fn what_went_wrong_is_told() {
    let html = shown(&[
        (
            "attempt.started",
            json!({"attempt": 2, "agent_session_id": uuid::Uuid::nil(), "resumed_from": 57}),
        ),
        (
            "attempt.ended",
            json!({"ending": "crashed", "exit": "signal 9", "leftovers": ["sleep 100"]}),
        ),
        (
            "retry.scheduled",
            json!({"at": "2027-01-15T08:00:00Z", "cause": "the agent process died"}),
        ),
        ("context.rebuilt", json!({"why": "the transcript is gone"})),
        ("draft.dropped", json!({"message_id": "m", "from_block": 1})),
    ]);
    for words in [
        "goes on from record 57",
        "the agent process died",
        "sleep 100",
        "rebuilt: the transcript is gone",
        "was cut off",
    ] {
        assert!(html.contains(words), "{words}: {html}");
    }
    assert!(html.contains("data-message=\"m\" data-block=\"1\""), "{html}");
}
