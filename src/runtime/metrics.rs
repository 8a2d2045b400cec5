//! What is counted about sessions, for Prometheus: fed by every commit, so that nothing else has to remember to count.
//!
//! Counters and histograms begin at 0 with the daemon; what a session had used before is not counted again. The gauges
//! are made when somebody looks, from the registry's summaries.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::session::amounts::money;
use crate::session::id::SessionId;
use crate::session::journal::{AttemptEnd, Entry, SessionEnd};
use crate::session::message::{Message, Usage};
use crate::session::shown::Shown;
use crate::session::state::StateName;
use crate::session::summary::Summary;
use crate::store::{Commit, lock};

/// Counters and histograms of the daemon.
pub(crate) struct Metrics {
    registry: Registry,
    gauges: Gauges,
    counted: Counters,
    /// What is needed of each live session to count its next commit.
    seen: Mutex<HashMap<SessionId, SessionTimes>>,
}

/// Made when somebody looks.
#[derive(Default)]
struct Gauges {
    sessions: Family<ByState, Gauge>,
    open_questions: Gauge,
    oldest_question_seconds: Gauge<f64, AtomicU64>,
    stream_readers: Gauge,
}

/// Counted as it happens.
struct Counters {
    sessions_created: Counter,
    sessions_ended: Family<ByOutcome, Counter>,
    attempts_started: Counter,
    attempts_ended: Family<ByEnding, Counter>,
    leftovers_ended: Counter,
    questions_asked: Counter,
    records: Counter,
    tokens: Family<ByKind, Counter>,
    cost_usd: Counter<f64, AtomicU64>,
    turns: Counter,
    queue_wait: Histogram,
    first_token: Histogram,
    commit_delay: Histogram,
    stream_lag: Histogram,
    stream_catch_ups: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByEnding {
    ending: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

/// What was seen of a session.
#[derive(Clone, Copy, Default)]
struct SessionTimes {
    usage: Usage,
    turns: u32,
    queued_at: Option<Timestamp>,
    /// When an attempt began that has not said anything yet.
    silent_since: Option<Timestamp>,
}

impl Metrics {
    /// Counts from now on; `live` are the sessions that there are already.
    pub(super) fn new<'a>(live: impl IntoIterator<Item = &'a Summary>) -> Self {
        let (gauges, counted) = (Gauges::default(), Counters::new());
        let mut registry = Registry::with_prefix("cc_executor");
        gauges.register(&mut registry);
        counted.register(&mut registry);
        let seen = live
            .into_iter()
            .map(|summary| (summary.session_id, SessionTimes::of(summary)));
        Self {
            registry,
            gauges,
            counted,
            seen: Mutex::new(seen.collect()),
        }
    }

    /// Counts a commit.
    pub(super) fn committed(&self, commit: &Commit) {
        let Some(last) = commit.records.last() else { return };
        let id = commit.summary.session_id;
        let mut all = lock(&self.seen);
        let seen = all.entry(id).or_insert_with(|| self.first_sight(commit));
        self.counted.records.inc_by(commit.records.len() as u64);
        for entry in commit.entries() {
            self.counted.take(entry, seen, last.at);
        }
        self.counted.add_usage(&mut seen.usage, commit.summary.usage);
        self.counted.add_turns(&mut seen.turns, commit.summary.turns_by_now());
        if commit.summary.lifecycle.state.outcome().is_some() {
            all.remove(&id);
        }
    }

    /// The agent of a session gave a first sign of its answer.
    pub(super) fn first_sign(&self, session: SessionId, at: Timestamp) {
        if let Some(seen) = lock(&self.seen).get_mut(&session) {
            self.counted.first_sign(seen, at);
        }
    }

    /// Appends were on disk this long after the first of them was handed over.
    pub(super) fn group_committed(&self, waited: Duration) {
        self.counted.commit_delay.observe(waited.as_secs_f64());
    }

    /// A reader was handed items and is this many behind the newest.
    pub(super) fn read(&self, lag: u64) {
        self.counted.stream_lag.observe(lag as f64);
    }

    /// A reader fell behind what is kept in memory, and reads the journal.
    pub(super) fn caught_up_from_journal(&self) {
        self.counted.stream_catch_ups.inc();
    }

    /// Everything in the text format of OpenMetrics; the gauges as of `now` from these sessions.
    pub(super) fn render(&self, sessions: &[impl AsRef<Summary>], readers: usize, now: Timestamp) -> String {
        self.gauges.fill(sessions, readers, now);
        let mut text = String::new();
        // Only a writer that fails makes an error, and a String does not.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }

    /// A session that is resumed after its end was let go of: what it had used then was counted before.
    fn first_sight(&self, commit: &Commit) -> SessionTimes {
        match commit.entries().next() {
            Some(Entry::SessionCreated(_)) => {
                self.counted.sessions_created.inc();
                SessionTimes {
                    queued_at: Some(commit.summary.created_at),
                    ..SessionTimes::default()
                }
            }
            _ => SessionTimes::of(&commit.summary),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl SessionTimes {
    fn of(summary: &Summary) -> Self {
        Self {
            usage: summary.usage,
            turns: summary.turns_by_now(),
            queued_at: None,
            silent_since: None,
        }
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        let Self {
            sessions,
            open_questions,
            oldest_question_seconds,
            stream_readers,
        } = self;
        registry.register(
            "sessions",
            "Sessions that live or ended lately, by the state shown",
            sessions.clone(),
        );
        registry.register(
            "open_questions",
            "Questions that wait for a person",
            open_questions.clone(),
        );
        registry.register_with_unit(
            "oldest_question_age",
            "Age of the oldest open question, 0 where there is none",
            Unit::Seconds,
            oldest_question_seconds.clone(),
        );
        registry.register("stream_readers", "Readers of streams", stream_readers.clone());
    }

    fn fill(&self, sessions: &[impl AsRef<Summary>], readers: usize, now: Timestamp) {
        let count = |state: Shown| {
            sessions
                .iter()
                .filter(|one| one.as_ref().shown_state() == state)
                .count()
        };
        // A state without sessions is 0 and not missing.
        for state in Shown::ALL {
            let label = ByState { state: state.name() };
            self.sessions.get_or_create(&label).set(whole(count(*state)));
        }
        let waiting = sessions.iter().flat_map(|one| one.as_ref().questions.values());
        let asked: Vec<_> = waiting
            .filter(|waiting| waiting.answer.is_none())
            .map(|waiting| waiting.asked_at)
            .collect();
        let age = |since: &Timestamp| now.duration_since(*since).as_secs_f64().max(0.0);
        self.open_questions.set(whole(asked.len()));
        self.oldest_question_seconds.set(asked.iter().min().map_or(0.0, age));
        self.stream_readers.set(whole(readers));
    }
}

impl Counters {
    fn new() -> Self {
        // A millisecond to half an hour; a tenth of a millisecond to about three seconds.
        let waits = || Histogram::new(exponential_buckets(0.001, 4.0, 12));
        let delays = || Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        Self {
            sessions_created: Counter::default(),
            sessions_ended: Family::default(),
            attempts_started: Counter::default(),
            attempts_ended: Family::default(),
            leftovers_ended: Counter::default(),
            questions_asked: Counter::default(),
            records: Counter::default(),
            tokens: Family::default(),
            cost_usd: Counter::default(),
            turns: Counter::default(),
            queue_wait: waits(),
            first_token: waits(),
            commit_delay: delays(),
            stream_lag: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            stream_catch_ups: Counter::default(),
        }
    }

    fn register(&self, registry: &mut Registry) {
        self.register_sessions(registry);
        let Self {
            tokens,
            cost_usd,
            turns,
            commit_delay,
            stream_lag,
            stream_catch_ups,
            records,
            ..
        } = self;
        registry.register("tokens", "Tokens used, by kind", tokens.clone());
        registry.register(
            "cost_usd",
            "Cost in US dollars, as the agents reckon it",
            cost_usd.clone(),
        );
        registry.register("turns", "Model calls in main conversations", turns.clone());
        registry.register("records", "Records journalled", records.clone());
        registry.register_with_unit(
            "commit_delay",
            "From handing an append to the journal until it is on disk",
            Unit::Seconds,
            commit_delay.clone(),
        );
        registry.register(
            "stream_lag_items",
            "How many items a reader is behind when it is handed some",
            stream_lag.clone(),
        );
        registry.register(
            "stream_catch_ups",
            "Pages that readers took from the journal because they were behind the ring",
            stream_catch_ups.clone(),
        );
    }

    fn register_sessions(&self, registry: &mut Registry) {
        registry.register("sessions_created", "Sessions created", self.sessions_created.clone());
        registry.register(
            "sessions_ended",
            "Sessions ended, by outcome and cause",
            self.sessions_ended.clone(),
        );
        registry.register("attempts_started", "Attempts started", self.attempts_started.clone());
        registry.register(
            "attempts_ended",
            "Attempts ended, by ending: all but finished, refused and stopped are followed by a restart if allowed",
            self.attempts_ended.clone(),
        );
        registry.register(
            "leftovers_ended",
            "Processes that agents left behind and that were ended",
            self.leftovers_ended.clone(),
        );
        registry.register("questions_asked", "Questions asked", self.questions_asked.clone());
        registry.register_with_unit(
            "queue_wait",
            "From a session's coming into the queue to its attempt's start",
            Unit::Seconds,
            self.queue_wait.clone(),
        );
        registry.register_with_unit(
            "first_token",
            "From an attempt's start to the first sign of the model's answer",
            Unit::Seconds,
            self.first_token.clone(),
        );
    }

    fn take(&self, entry: &Entry, seen: &mut SessionTimes, at: Timestamp) {
        match entry {
            Entry::SessionState(change) if change.to == StateName::Queued => seen.queued_at = Some(at),
            Entry::AttemptStarted(_) => {
                self.attempts_started.inc();
                seen.silent_since = Some(at);
                if let Some(since) = seen.queued_at.take() {
                    self.queue_wait.observe(seconds(since, at));
                }
            }
            Entry::AgentMessage(said) if is_spoken(&said.message) => self.first_sign(seen, at),
            Entry::QuestionAsked(_) => drop(self.questions_asked.inc()),
            Entry::AttemptEnded(end) => {
                seen.silent_since = None;
                self.end_attempt(end);
            }
            Entry::SessionEnded(end) => self.end_session(end),
            _ => {}
        }
    }

    fn first_sign(&self, seen: &mut SessionTimes, at: Timestamp) {
        if let Some(since) = seen.silent_since.take() {
            self.first_token.observe(seconds(since, at));
        }
    }

    fn end_attempt(&self, end: &AttemptEnd) {
        let ending = end.ending.name();
        self.attempts_ended.get_or_create(&ByEnding { ending }).inc();
        self.leftovers_ended.inc_by(end.leftovers.len() as u64);
    }

    fn end_session(&self, end: &SessionEnd) {
        let labels = ByOutcome {
            outcome: end.outcome.name(),
            cause: end.outcome.cause().map_or("", |cause| cause.name()),
        };
        self.sessions_ended.get_or_create(&labels).inc();
    }

    /// Usage is told as a total, which never falls.
    fn add_usage(&self, before: &mut Usage, now: Usage) {
        let from = *before;
        let kinds = [
            ("input", now.input_tokens, from.input_tokens),
            ("output", now.output_tokens, from.output_tokens),
            ("cache_read", now.cache_read_tokens, from.cache_read_tokens),
            ("cache_write", now.cache_write_tokens, from.cache_write_tokens),
        ];
        for (kind, now, from) in kinds {
            self.tokens
                .get_or_create(&ByKind { kind })
                .inc_by(now.saturating_sub(from));
        }
        // Sums of binary fractions gather noise, so the sum is stored instead of the addend. The caller holds the lock.
        let cost = money(self.cost_usd.get() + (now.cost_usd - from.cost_usd).max(0.0));
        self.cost_usd.inner().store(cost.to_bits(), Ordering::Relaxed);
        *before = now;
    }

    /// Turns are told as a total. It falls by one where the model is asked again for what was cut off.
    fn add_turns(&self, before: &mut u32, now: u32) {
        self.turns.inc_by(u64::from(now.saturating_sub(*before)));
        *before = now.max(*before);
    }
}

/// Whether the model has said this.
fn is_spoken(message: &Message) -> bool {
    matches!(
        message,
        Message::Text { .. } | Message::Thinking { .. } | Message::ToolUse { .. }
    )
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
