//! How long agents were at work for a session.
//!
//! The journal's times are those of the wall clock, which a machine that slept finds far ahead, and which can be set. So
//! the journal says when it jumped, and what was counted across the jump is set right.

use jiff::{SignedDuration, Timestamp};

use super::journal::ClockJump;
use super::summary::{Summary, Used};

impl Summary {
    /// How long an agent was at work for it until `now`, in milliseconds.
    pub fn active_ms_until(&self, now: Timestamp) -> u64 {
        let running = self.active_since.map_or(0, |since| ms_between(since, now));
        self.active_ms.saturating_add(running)
    }

    /// What was used until `now` since it was last resumed by hand.
    pub fn used_until(&self, now: Timestamp) -> Used {
        Used {
            turns: self.turns.saturating_sub(self.used_before.turns),
            cost_usd: (self.usage.cost_usd - self.used_before.cost_usd).max(0.0),
            active_ms: self.active_ms_until(now).saturating_sub(self.used_before.active_ms),
        }
    }

    /// Counts from now on, or no more.
    pub(super) fn keep_time(&mut self, at: Timestamp) {
        match (self.takes_slot(), self.active_since) {
            (true, None) => self.active_since = Some(at),
            (false, Some(since)) => {
                self.active_ms = self.active_ms_until(at);
                self.active_since = None;
                self.active_last = Some((since, at));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// The clock jumped, which is noticed at `at`: the jump is no time at work, and nobody has waited for it.
    pub(super) fn take_jump(&mut self, jump: &ClockJump, at: Timestamp) {
        let is_behind = |time: Timestamp| jump.since <= time && time <= at;
        if let Some(since) = self.active_since.as_mut().filter(|since| !is_behind(**since)) {
            *since = moved(*since, jump.by_ms);
        }
        if let Some((since, until)) = self.active_last
            && !is_behind(since)
            && is_behind(until)
        {
            let right = ms_between(moved(since, jump.by_ms), until);
            self.active_ms = self
                .active_ms
                .saturating_sub(ms_between(since, until))
                .saturating_add(right);
            self.active_last = None;
        }
        // A clock that was set back lets nobody wait longer than he would have.
        for waiting in self.questions.values_mut() {
            waiting.asked_at = waiting.asked_at.min(at);
        }
    }
}

fn ms_between(since: Timestamp, until: Timestamp) -> u64 {
    u64::try_from(until.duration_since(since).as_millis()).unwrap_or(0)
}

fn moved(time: Timestamp, by_ms: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_millis(by_ms)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::{Entry, Text};
    use crate::session::message::Message;
    use crate::session::samples::{created, said};
    use crate::session::state::State;
    use crate::session::summary::WaitingFor;

    const HOUR: i64 = 3600;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A session whose agent is at work from second 0 on.
    fn at_work() -> Summary {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), at(0));
        summary.lifecycle.state = State::Running;
        summary.apply(&Entry::Notice(Text { text: "go".into() }), at(0));
        summary
    }

    fn jumps(summary: &mut Summary, since: i64, by: i64, noticed: i64) {
        let (since, by_ms) = (at(since), by * 1000);
        summary.apply(&Entry::ClockJumped(ClockJump { since, by_ms }), at(noticed));
    }

    fn waits_for_quota(summary: &mut Summary, second: i64) {
        let message = Message::RateLimit {
            rejected: true,
            resets_at: None,
            limit: None,
            utilization: None,
        };
        summary.apply(&said(message), at(second));
        assert_eq!(summary.waiting_for, WaitingFor::Quota);
    }

    fn active_seconds(summary: &Summary, second: i64) -> u64 {
        summary.active_ms_until(at(second)) / 1000
    }

    #[test]
    fn a_sleep_of_the_machine_is_no_time_at_work() {
        let mut summary = at_work();
        jumps(&mut summary, 8 * HOUR + 60, 8 * HOUR, 8 * HOUR + 75);
        assert_eq!(active_seconds(&summary, 8 * HOUR + 100), 100);
    }

    #[test]
    fn a_clock_that_is_set_back_takes_no_time_away() {
        let mut summary = at_work();
        jumps(&mut summary, 60 - 5 * HOUR, -5 * HOUR, 75 - 5 * HOUR);
        assert_eq!(active_seconds(&summary, 100 - 5 * HOUR), 100);
    }

    #[test]
    fn a_wait_that_began_before_the_jump_was_noticed_is_set_right_too() {
        let mut summary = at_work();
        waits_for_quota(&mut summary, 8 * HOUR + 65);
        assert_eq!(active_seconds(&summary, 9 * HOUR), 8 * 3600 + 65);
        jumps(&mut summary, 8 * HOUR + 60, 8 * HOUR, 8 * HOUR + 75);
        assert_eq!(active_seconds(&summary, 9 * HOUR), 65);
    }

    #[test]
    fn what_lies_before_or_behind_the_jump_stays_as_it_is() {
        let mut summary = at_work();
        waits_for_quota(&mut summary, 50);
        jumps(&mut summary, 8 * HOUR + 60, 8 * HOUR, 8 * HOUR + 75);
        assert_eq!(active_seconds(&summary, 9 * HOUR), 50);
        let mut summary = at_work();
        summary.active_since = Some(at(8 * HOUR + 70));
        jumps(&mut summary, 8 * HOUR + 60, 8 * HOUR, 8 * HOUR + 75);
        assert_eq!(active_seconds(&summary, 8 * HOUR + 80), 10);
    }
}
