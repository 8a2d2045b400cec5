//! A session's journal as it is committed, and the spans that are made of it.

use std::sync::Arc;

use futures_util::FutureExt;
use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::Span as LiveSpan;
use tokio::task::unconstrained;

use super::*;
use crate::session::journal::Resumed;
use crate::session::message::ApiFault;
use crate::session::outcome::Cause;
use crate::session::samples::{
    attempt_ended, attempt_started, created, said, session_ended, state_changed, tool_result, tool_use,
};
use crate::store::memory::MemoryStore;
use crate::store::{Append, Journal, lock};

/// Keeps spans.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Kept {
    fn on_start(&self, _: &mut LiveSpan, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        lock(&self.0).push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A store that one tracer observes.
struct World {
    kept: Kept,
    store: Arc<MemoryStore>,
    session: SessionId,
}

impl World {
    fn new() -> Self {
        let kept = Kept::default();
        let store = Arc::new(MemoryStore::new(Arc::new(Traces::through(Box::new(kept.clone())))));
        let session = SessionId::new();
        drop(store.create(session, created("a secret task"), at(0)));
        Self { kept, store, session }
    }

    fn say(&self, second: i64, attempt: Attempt, entry: Entry) {
        let append = Append {
            session_id: self.session,
            attempt,
            span: None,
            at: at(second),
            entries: vec![entry],
        };
        let done = unconstrained(self.store.append(append)).now_or_never();
        done.expect("this store commits at once").unwrap().unwrap();
    }

    fn start(&self, second: i64, attempt: Attempt) {
        self.say(second, Attempt(attempt.0 - 1), attempt_started(attempt.0));
    }

    fn message(&self, second: i64, message: Message) {
        self.say(second, Attempt(1), said(message));
    }

    fn end(&self, second: i64, attempt: Attempt, ending: Ending) {
        self.say(second, attempt, attempt_ended(ending));
    }

    fn finish(&self, second: i64, attempt: Attempt, outcome: Outcome) {
        self.say(second, attempt, session_ended(outcome));
    }

    /// Name, parent's name, first and last second, and whether it is an error.
    fn spans(&self) -> Vec<(String, String, u64, u64, bool)> {
        let spans = lock(&self.kept.0);
        let name_of = |id: SpanId| {
            let found = spans.iter().find(|span| span.span_context.span_id() == id);
            found.map_or_else(String::new, |span| span.name.to_string())
        };
        let second = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let shown = |span: &SpanData| {
            (
                span.name.to_string(),
                name_of(span.parent_span_id),
                second(span.start_time),
                second(span.end_time),
                matches!(span.status, Status::Error { .. }),
            )
        };
        spans.iter().map(shown).collect()
    }
}

fn calls(id: &str) -> Message {
    tool_use(id, "a secret command")
}

#[test]
fn a_session_is_one_trace_of_what_took_time() {
    let world = World::new();
    world.start(2, Attempt(1));
    world.message(3, calls("a"));
    world.message(7, tool_result("a", "a secret"));
    world.message(8, calls("b"));
    world.end(9, Attempt(1), Ending::Crashed);
    world.start(12, Attempt(2));
    world.end(20, Attempt(2), Ending::Finished);
    world.finish(21, Attempt(2), Outcome::Completed);
    let span = |name: &str, parent: &str, from, to, error| (name.to_owned(), parent.to_owned(), from, to, error);
    let agent = "invoke_agent claude";
    assert_eq!(
        world.spans(),
        [
            span("queued", "session", 0, 2, false),
            span("execute_tool Bash", agent, 3, 7, false),
            span("execute_tool Bash", agent, 8, 9, true),
            span(agent, "session", 2, 9, true),
            span(agent, "session", 12, 20, false),
            span("session", "", 0, 21, false),
        ]
    );
    let spans = lock(&world.kept.0);
    let trace = trace_id(world.session);
    assert!(spans.iter().all(|span| span.span_context.trace_id() == trace));
    let mut ids: Vec<_> = spans.iter().map(|span| span.span_context.span_id()).collect();
    ids.sort_by_key(|id| id.to_bytes());
    ids.dedup();
    assert_eq!(ids.len(), spans.len(), "no two spans have one id");
    assert!(
        !format!("{spans:?}").contains("secret"),
        "spans hold nothing that was said"
    );
}

#[test]
fn waits_for_the_api_are_spans_of_their_attempt() {
    let world = World::new();
    world.start(1, Attempt(1));
    let retry = || Message::ApiRetry {
        retry: 1,
        retries_max: 10,
        delay_ms: 1,
        status: Some(529),
        error: ApiFault::Overloaded,
        login_until: None,
    };
    world.message(2, retry());
    world.message(4, retry());
    world.message(6, calls("a"));
    world.end(
        8,
        Attempt(1),
        Ending::NotSignedIn {
            message: String::new(),
            until: None,
        },
    );
    let cause = Cause::Auth;
    world.finish(9, Attempt(1), Outcome::Failed { cause });
    let waits = world.spans().into_iter().find(|span| span.0 == "waiting for the API");
    let agent = "invoke_agent claude".to_owned();
    assert_eq!(waits, Some(("waiting for the API".to_owned(), agent, 2, 6, false)));
    assert!(world.spans().last().unwrap().4, "a failed session is an error");
}

#[test]
fn a_new_daemon_takes_up_the_traces_of_the_old_one() {
    let world = World::new();
    world.start(2, Attempt(1));
    world.say(3, Attempt(1), state_changed(StateName::Queued, StateName::Running));
    let traces = Traces::through(Box::new(world.kept.clone()));
    traces.take_up(&*world.store).unwrap();
    let open = lock(&traces.sessions);
    assert_eq!(open[&world.session].attempt, Some((Attempt(1), at(2))));
    assert_eq!(open[&world.session].since, at(0));
}

#[test]
fn a_session_that_is_resumed_by_hand_has_a_span_within_its_first() {
    let world = World::new();
    world.start(1, Attempt(1));
    world.end(2, Attempt(1), Ending::Stopped);
    world.finish(3, Attempt(1), Outcome::Cancelled);
    let resumed = Resumed {
        by: "a test".into(),
        ..Resumed::default()
    };
    world.say(10, Attempt(1), Entry::SessionResumed(resumed));
    world.finish(15, Attempt(1), Outcome::Cancelled);
    let last = world.spans().pop().unwrap();
    assert_eq!(last, ("session resumed".to_owned(), "session".to_owned(), 10, 15, true));
}
