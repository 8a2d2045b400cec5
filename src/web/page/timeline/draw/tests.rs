//! Timelines of made-up journals.

use serde_json::{Value, json};

use super::*;
use crate::session::id::{Attempt, SessionId};
use crate::store::{EntryCell, StoredRecord};

const BEGIN: i64 = 1_800_000_000;

/// Records of these kinds and data, so many seconds after the beginning.
fn picture(of: &[(i64, &str, Value)], seconds: i64) -> Picture {
    picture_from(None, of, seconds)
}

/// The same, of which messages before one were left out.
fn picture_from(from: Option<Seq>, of: &[(i64, &str, Value)], seconds: i64) -> Picture {
    let at = |seconds: i64| Timestamp::from_second(BEGIN + seconds).unwrap();
    let record = |(place, (seconds, kind, data)): (usize, &(i64, &str, Value))| StoredRecord {
        id: 1,
        session_id: SessionId::from_uuid(uuid::Uuid::nil()),
        seq: Seq(place as u64 + 1),
        attempt: Attempt(1),
        at: at(*seconds),
        kind: (*kind).to_owned(),
        data: data.to_string(),
        entry: EntryCell::default(),
    };
    let records: Vec<StoredRecord> = of.iter().enumerate().map(record).collect();
    Picture::of(&records, from, at(0), at(seconds))
}

const WHOLE: TimeRange = TimeRange {
    before: None,
    from: None,
    is_cut: false,
};

fn says(seconds: i64, message: Value) -> (i64, &'static str, Value) {
    (seconds, "agent.message", json!({"offset": 0, "message": message}))
}

fn crash_and_question() -> Picture {
    let call = json!({"type": "tool_use", "message_id": "m", "tool_use_id": "t", "name": "Bash", "input": {"command": "make <all>"}});
    let question = json!({"question_id": "q1", "request_id": "r", "ask": "permission", "tool": "Bash", "input": {"command": "rm x"}});
    let answer = json!({"question_id": "q1", "answer": {"action": "allow"}, "by": "me"});
    let agent = uuid::Uuid::nil();
    picture(
        &[
            (
                0,
                "session.state",
                json!({"from": "queued", "to": "queued", "reason": "all slots are taken"}),
            ),
            (10, "attempt.started", json!({"attempt": 1, "agent_session_id": agent})),
            says(20, call),
            (40, "attempt.ended", json!({"ending": "crashed"})),
            (
                40,
                "session.state",
                json!({"from": "running", "to": "waiting_retry", "reason": "the agent process died"}),
            ),
            (50, "attempt.started", json!({"attempt": 2, "agent_session_id": agent})),
            (60, "question.asked", question),
            (90, "question.answered", answer),
        ],
        100,
    )
}

#[test]
fn waits_and_attempts_are_bars_from_begin_to_end() {
    let picture = crash_and_question();
    let bars: Vec<_> = picture
        .bars
        .iter()
        .map(|bar| {
            let second = |at: Timestamp| at.as_second() - BEGIN;
            (bar.lane, bar.class, second(bar.from), second(bar.to))
        })
        .collect();
    assert_eq!(
        bars,
        [
            (Lane::Attempts, "attempt failed", 10, 40),
            (Lane::Attempts, "attempt", 50, 100),
            (Lane::Tools, "tool failed", 20, 40),
            (Lane::Waits, "queue", 0, 10),
            (Lane::Waits, "retry", 40, 50),
            (Lane::Waits, "person", 60, 90),
        ]
    );
}

#[test]
fn the_picture_has_words_for_everything_and_no_inline_style() {
    let cut = TimeRange {
        from: Some(Seq(400)),
        is_cut: true,
        ..WHOLE
    };
    let html = render(&crash_and_question(), cut).into_string();
    assert!(
        html.contains("2 attempts in 1 min 40 s") && html.contains("30 s for people"),
        "{html}"
    );
    assert!(html.contains("make &lt;all&gt;") && !html.contains(" style="), "{html}");
    assert!(html.contains("before record 400 are left out"), "{html}");
    assert!(html.contains("data-stretch=\"earlier\" data-before=\"400\""), "{html}");
    assert!(
        html.contains("the agent process died") && html.contains("href=\"?seq=4#r4\""),
        "{html}"
    );
}

#[test]
fn a_restart_is_marked_with_its_reason() {
    let picture = crash_and_question();
    let restarts: Vec<_> = picture.marks.iter().filter(|mark| mark.class == "restart").collect();
    assert_eq!(restarts.len(), 1);
    assert_eq!(restarts[0].words, "The attempt ended: the agent process died");
}

#[test]
fn thousands_of_tool_calls_are_few_bars() {
    let calls: Vec<_> = (0..2_000_i64)
        .flat_map(|n| {
            let id = format!("t{n}");
            let call = json!({"type": "tool_use", "message_id": "m", "tool_use_id": id, "name": "Read", "input": {}});
            [
                says(n, call),
                says(
                    n,
                    json!({"type": "tool_result", "tool_use_id": id, "text": "", "is_error": false}),
                ),
            ]
        })
        .collect();
    let picture = picture(&calls, 2_000);
    assert_eq!(picture.tools, 2_000);
    assert!(merged(&picture, Lane::Tools).len() <= 1_000);
    let html = render(&picture, WHOLE).into_string();
    assert!(html.contains("tool call") && html.len() < 400_000, "{}", html.len());
}

#[test]
fn a_session_without_records_is_a_picture_too() {
    let html = render(&picture(&[], 0), WHOLE).into_string();
    assert!(html.contains("0 attempts"), "{html}");
}

#[test]
fn a_stretch_of_the_past_has_what_reaches_into_it_and_a_scale_from_the_beginning() {
    let stretch = crash_and_question().since(Timestamp::from_second(BEGIN + 45).unwrap());
    let left: Vec<_> = stretch.bars.iter().map(|bar| (bar.lane, bar.class)).collect();
    assert_eq!(
        left,
        [
            (Lane::Attempts, "attempt"),
            (Lane::Waits, "retry"),
            (Lane::Waits, "person")
        ]
    );
    assert!(stretch.marks.is_empty(), "{:?}", stretch.marks);
    let shown = TimeRange {
        before: Some(Seq(9)),
        from: Some(Seq(5)),
        ..WHOLE
    };
    let html = render(&stretch, shown).into_string();
    assert!(html.contains("Records 5 to 8"), "{html}");
    assert!(
        html.contains("1 attempt in 55 s") && html.contains(">1 min</text>"),
        "{html}"
    );
    for way in ["earlier", "later", "whole"] {
        assert!(html.contains(&format!("data-stretch=\"{way}\"")), "{way}");
    }
}

#[test]
fn a_turn_whose_beginning_is_left_out_lasts_from_where_one_looks() {
    let turns = |of: &[(i64, &'static str, Value)]| -> Vec<(i64, i64)> {
        let picture = picture_from(Some(Seq(1)), of, 100);
        let bars = picture.bars.iter().filter(|bar| bar.lane == Lane::Turns);
        bars.map(|bar| (bar.from.as_second() - BEGIN, bar.to.as_second() - BEGIN))
            .collect()
    };
    let text = || says(10, json!({"type": "text", "message_id": "m", "text": "x"}));
    let started = says(
        30,
        json!({"type": "turn_started", "agent_session_id": uuid::Uuid::nil(), "model": "m",
            "permission_mode": "default", "agent_version": "1"}),
    );
    let ended = says(
        20,
        json!({"type": "turn_ended", "subtype": "success", "is_error": false, "result": "", "queued_turns": 0,
            "turns": 1, "usage": crate::session::message::Usage::default()}),
    );
    assert_eq!(turns(&[text()]), [(10, 100)], "it goes on");
    assert_eq!(turns(&[text(), ended.clone()]), [(10, 20)]);
    assert_eq!(turns(&[text(), ended, started.clone()]), [(10, 20), (30, 100)]);
    assert_eq!(turns(&[text(), started]), [(30, 100)], "it was between two turns");
}
