//! Waits of a session whose agent has ended its turn, and the login that it was held for.

use jiff::Timestamp;

use super::{State, Summary, WaitingFor};
use crate::session::login::Login;
use crate::session::turn::Pending;

impl Summary {
    /// A session whose agent has ended its turn well waits for the timers that the agent has set.
    pub(super) fn note_wait_for_timers(&mut self, at: Timestamp) {
        let waits = self.lifecycle.state == State::Running
            && self.work.has_ended_well()
            && self.open(false)
                == Pending {
                    timers: true,
                    ..Pending::default()
                };
        match self.waiting_for {
            WaitingFor::Nothing if waits => {
                self.waiting_for = WaitingFor::Timer;
                self.timers.wait_from(at);
            }
            WaitingFor::Timer if !waits => self.waiting_for = WaitingFor::Nothing,
            _ => {}
        }
    }
}

impl Summary {
    /// The agent's login, as far as the session has used it. Rows of earlier versions know of it by the usage alone.
    pub fn login(&self) -> Login {
        let login = self.lifecycle.login;
        let worked = login.worked || self.usage.output_tokens > 0;
        Login { worked, ..login }
    }
}
