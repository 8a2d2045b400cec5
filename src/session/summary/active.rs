//! How long agents were at work for a session.
//!
//! The journal's times are those of the wall clock, which a machine that slept finds far ahead, and which can be set. So
//! the journal says when it jumped, and what was counted across the jump is set right.

use jiff::{SignedDuration, Timestamp};

use super::Summary;
use crate::session::amounts::money;
use crate::session::journal::ClockJump;
use crate::session::limits::Used;

impl Summary {
    /// How long an agent was at work for it until `now`, in milliseconds.
    pub fn active_ms_until(&self, now: Timestamp) -> u64 {
        let running = self.active_since.map_or(0, |since| ms_between(since, now));
        self.active_ms.saturating_add(running)
    }

    /// Model calls so far in the main conversation, over all attempts.
    ///
    /// While an agent lives, its calls since its last result are among them. The end of an attempt has counted them, which
    /// rows of earlier versions do not show otherwise.
    pub fn turns_by_now(&self) -> u32 {
        if self.lifecycle.state.has_agent() {
            self.turns.saturating_add(self.work.uncounted_rounds())
        } else {
            self.turns
        }
    }

    /// What was used until `now` and counts against the limits.
    pub fn used_until(&self, now: Timestamp) -> Used {
        Used {
            turns: self.turns_by_now().saturating_sub(self.used_before.turns),
            cost_usd: money((self.usage.cost_usd - self.used_before.cost_usd).max(0.0)),
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

/// The time that is so many milliseconds later.
pub(super) fn moved(time: Timestamp, by_ms: i64) -> Timestamp {
    time.checked_add(SignedDuration::from_millis(by_ms)).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::{Entry, Text};
    use crate::session::message::{Message, TurnEnd, Usage};
    use crate::session::outcome::Ending;
    use crate::session::samples::{
        attempt_ended, attempt_started, created, said, state_changed, text, tool_use, turn_ended,
    };
    use crate::session::state::{State, StateName};
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
    fn calls_of_a_turn_that_goes_on_are_turns_and_their_end_counts_them_once() {
        let mut summary = at_work();
        let mut take = |entry: Entry| {
            summary.apply(&entry, at(1));
            summary.turns_by_now()
        };
        take(attempt_started(1));
        assert_eq!(take(said(text("m1", "one"))), 1);
        assert_eq!(take(said(tool_use("t", "make"))), 2);
        let subagent = Message::Thinking {
            message_id: "m9".into(),
            block: 0,
            text: String::new(),
            parent: Some("t".into()),
        };
        assert_eq!(
            take(said(subagent)),
            2,
            "a subagent's call is none of the main conversation"
        );
        // The CLI counts three, as it does where a limit or an interrupt ends a turn.
        let end = |turns, calls| {
            turn_ended(TurnEnd {
                turns,
                calls,
                ..TurnEnd::default()
            })
        };
        assert_eq!(take(said(end(3, Some(2)))), 2);
        assert_eq!(take(said(end(3, None))), 5, "an earlier version did not count calls");
        assert_eq!(take(said(text("m3", "three"))), 6);
        assert_eq!(take(attempt_ended(Ending::Crashed)), 6);
        take(state_changed(StateName::Running, StateName::WaitingRetry));
        assert_eq!((summary.turns_by_now(), summary.turns), (6, 6));
    }

    #[test]
    fn money_that_was_spent_before_a_conversation_was_cleared_stays() {
        let mut summary = at_work();
        // As the CLI reports three messages of which the second is `/clear`: its own total begins anew.
        for (total, spent) in [(0.011_12, 0.011_12), (0.0, 0.0), (0.011_608, 0.011_608)] {
            let usage = |cost_usd| Usage {
                cost_usd,
                ..Usage::default()
            };
            let end = TurnEnd {
                usage: usage(total),
                spent: Some(usage(spent)),
                ..TurnEnd::default()
            };
            summary.apply(&said(turn_ended(end)), at(1));
        }
        assert_eq!(summary.usage.cost_usd, 0.022_728);
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
