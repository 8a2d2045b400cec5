//! The spans of log lines: all that is logged for a session is within one that names it.

use actix::dev::channel::channel;
use actix::prelude::*;
use tracing::{Instrument, Span};

use crate::session::id::{Attempt, SessionId};

/// How many messages an actor's mailbox holds, as actix has it by itself.
const MAILBOX_CAPACITY: usize = 16;

/// The span of a session's log lines. It is of the highest level, so that no filter takes the names away.
pub(super) fn span_of(session: SessionId, attempt: Attempt) -> Span {
    tracing::error_span!(parent: None, "session", session_id = %session, %attempt)
}

/// Starts an actor of which everything, also what it spawns onto itself, happens within the span.
pub(super) fn start_within<A>(span: Span, arbiter: &ArbiterHandle, make: impl FnOnce() -> A + Send + 'static) -> Addr<A>
where
    A: Actor<Context = Context<A>>,
{
    let (sender, receiver) = channel(MAILBOX_CAPACITY);
    arbiter.spawn_fn(move || {
        let running = Context::with_receiver(receiver).into_future(make());
        actix_rt::spawn(running.instrument(span));
    });
    Addr::new(sender)
}
