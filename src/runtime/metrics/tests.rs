//! Commits of a session's life, and what is counted of them.

use std::sync::Arc;

use super::*;
use crate::session::id::{Attempt, Seq};
use crate::session::message::TurnEnd;
use crate::session::outcome::{Ending, Outcome};
use crate::session::samples::{attempt_started, created, said, session_ended, state_changed, text, turn_ended};
use crate::store::StoredRecord;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A session whose entries are counted as they come.
struct Life {
    metrics: Metrics,
    summary: Summary,
}

impl Life {
    fn begin() -> Self {
        let created = created("t");
        let summary = Summary::new(SessionId::new(), &created, at(0));
        let mut life = Self {
            metrics: Metrics::new([]),
            summary,
        };
        life.say(0, Entry::SessionCreated(Box::new(created)));
        life
    }

    fn say(&mut self, second: i64, entry: Entry) {
        self.summary.apply(&entry, at(second));
        let record = StoredRecord {
            id: 1,
            session_id: self.summary.session_id,
            seq: Seq(1),
            attempt: Attempt(1),
            at: at(second),
            kind: entry.kind().to_owned(),
            data: String::new(),
            entry: Arc::new(entry).into(),
        };
        self.metrics.committed(&Commit {
            summary: Arc::new(self.summary.clone()),
            records: Arc::new([record]),
        });
    }

    fn start_attempt(&mut self, second: i64) {
        self.say(second, attempt_started(1));
    }

    fn end_turn(&mut self, second: i64, cost_usd: f64, output_tokens: u64) {
        let usage = Usage {
            cost_usd,
            output_tokens,
            ..Usage::default()
        };
        let end = TurnEnd {
            turns: 1,
            usage,
            ..TurnEnd::default()
        };
        self.say(second, said(turn_ended(end)));
    }

    fn text(&self, now: i64) -> String {
        self.metrics.render(&[Arc::new(self.summary.clone())], 2, at(now))
    }
}

#[track_caller]
fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|has| has == line), "no {line:?} in\n{text}");
}

#[test]
fn a_life_is_counted() {
    let mut life = Life::begin();
    life.start_attempt(3);
    for second in [5, 6] {
        life.say(second, said(text("m", "hello")));
    }
    life.end_turn(7, 0.25, 10);
    life.end_turn(8, 0.5, 30);
    life.say(
        9,
        Entry::AttemptEnded(AttemptEnd {
            ending: Ending::Crashed,
            exit: None,
            open_tool: None,
            leftovers: vec!["sleep".into(), "make".into()],
            answers_written: None,
            cut_off: Vec::new(),
        }),
    );
    life.say(10, session_ended(Outcome::Cancelled));
    let text = life.text(10);
    for line in [
        "cc_executor_sessions_created_total 1",
        "cc_executor_sessions_ended_total{outcome=\"cancelled\",cause=\"\"} 1",
        "cc_executor_attempts_ended_total{ending=\"crashed\"} 1",
        "cc_executor_leftovers_ended_total 2",
        "cc_executor_queue_wait_seconds_sum 3.0",
        "cc_executor_first_token_seconds_sum 2.0",
        "cc_executor_first_token_seconds_count 1",
        "cc_executor_tokens_total{kind=\"output\"} 30",
        "cc_executor_cost_usd_total 0.5",
        "cc_executor_turns_total 2",
        "cc_executor_records_total 8",
        "cc_executor_stream_readers 2",
        "cc_executor_sessions{state=\"queued\"} 0",
    ] {
        assert_has(&text, line);
    }
    assert!(lock(&life.metrics.seen).is_empty(), "an ended session is let go of");
}

#[test]
fn a_wait_in_the_queue_after_a_crash_is_counted_from_there() {
    let mut life = Life::begin();
    life.start_attempt(1);
    life.say(5, state_changed(StateName::WaitingRetry, StateName::Queued));
    life.start_attempt(9);
    assert_has(&life.text(9), "cc_executor_queue_wait_seconds_sum 5.0");
}

#[test]
fn sums_of_money_have_no_noise() {
    let mut life = Life::begin();
    for (second, cost) in [(1, 0.1), (2, 0.3), (3, 0.6)] {
        life.end_turn(second, cost, 1);
    }
    assert_has(&life.text(3), "cc_executor_cost_usd_total 0.6");
}

#[test]
fn what_was_used_before_the_daemon_came_is_not_counted_again() {
    let mut life = Life::begin();
    life.end_turn(1, 2.0, 100);
    life.metrics = Metrics::new([&life.summary]);
    life.end_turn(2, 3.0, 150);
    let text = life.text(2);
    assert_has(&text, "cc_executor_cost_usd_total 1.0");
    assert_has(&text, "cc_executor_tokens_total{kind=\"output\"} 50");
}
