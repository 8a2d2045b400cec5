//! The last word of an execution.

use actix::prelude::*;

use crate::runtime::messages::{AttemptEvent, Departure, OfAttempt};
use crate::session::id::{Attempt, SessionId};

/// Tells the supervisor when the execution is gone. Its `Drop` runs during a panic too, so nothing in it may panic.
pub(super) struct Guard {
    pub session: SessionId,
    pub attempt: Attempt,
    pub supervisor: Recipient<OfAttempt>,
    /// The daemon is on its way down, or this version of it can do nothing for the session.
    pub with_daemon: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Self {
            session,
            attempt,
            with_daemon,
            ref supervisor,
        } = *self;
        let how = if std::thread::panicking() {
            Departure::Panicked
        } else if with_daemon {
            Departure::WithDaemon
        } else {
            Departure::Stopped
        };
        let event = AttemptEvent::ExecutionGone(how);
        supervisor.do_send(OfAttempt {
            session,
            attempt,
            event,
        });
    }
}
