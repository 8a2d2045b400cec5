//! The limits of a session, and what counts against them.

use jiff::Timestamp;

use super::Summary;
use crate::session::journal::Resumed;
use crate::session::limits::{Limits, Used, in_words};
use crate::session::request::Request;

impl Summary {
    /// What counts against each limit until `now`, as [`Limits::used`] says it.
    pub fn used_of_limits(&self, now: Timestamp) -> Option<String> {
        self.limits?.used(&self.used_until(now))
    }

    /// Time at work until `now`, such as `1 h 2 min`.
    pub fn at_work(&self, now: Timestamp) -> String {
        in_words(self.active_ms_until(now) / 1000)
    }

    /// The limits in force. `request` is the session's own: rows of earlier versions do not hold its limits.
    pub fn limits_in_force(&self, request: &Request) -> Limits {
        self.limits.unwrap_or_else(|| request.limits())
    }

    /// Takes a resume into account: turns and time are counted anew, money over the whole session.
    pub(super) fn resume(&mut self, resumed: &Resumed) {
        self.ended_at = None;
        self.checks_project = true;
        self.used_before = Used {
            turns: self.turns,
            // A resume of an earlier version let the budget count anew too.
            cost_usd: if resumed.limits.is_some() {
                0.0
            } else {
                self.usage.cost_usd
            },
            active_ms: self.active_ms,
        };
        self.limits = resumed.limits.or(self.limits);
        if resumed.at.is_some() {
            self.checkpoint = resumed.at;
            self.cut = resumed.message;
            self.forget_inputs();
        }
    }
}
