//! Deadlines: waits before a next attempt, active time that is used up, questions that nobody answers.
//!
//! They are times on the wall clock, so they are looked at again at least every half minute: a machine that slept has
//! missed none of them. The monotonic clock stands still meanwhile and cannot be set; where the two drift apart the wall
//! clock has jumped, which is journalled, so that no sleep counts as work and no clock that was set back holds anything
//! up.

use std::time::Duration;

use actix::prelude::*;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{SupervisedSession, Supervisor};
use crate::runtime::messages::LookAtClocks;
use crate::session::decide::Event;
use crate::session::id::{Attempt, SessionId};
use crate::session::journal::{ClockJump, Entry};
use crate::session::state::State;
use crate::store::{Append, on_disk};

/// The longest time between two looks at the clock while a deadline is ahead or an agent lives: a machine that slept, or
/// whose clock was set, is noticed this soon.
const CLOCK_LOOK_MAX: Duration = Duration::from_secs(30);

/// Smaller differences between the clocks are not worth a record.
const JUMP_MS_MIN: i64 = 5000;

/// What both clocks showed at the last look.
#[derive(Debug, Default)]
pub(super) struct Jumps {
    last: Option<(Timestamp, Instant)>,
}

impl Jumps {
    /// Whether the wall clock has jumped since the last look.
    fn look(&mut self, wall: Timestamp, monotonic: Instant) -> Option<ClockJump> {
        let (last_wall, last_monotonic) = self.last.replace((wall, monotonic))?;
        let passed = i64::try_from(monotonic.duration_since(last_monotonic).as_millis()).ok()?;
        let shown = wall.as_millisecond() - last_wall.as_millisecond();
        let by_ms = shown - passed;
        let since = Timestamp::from_millisecond(wall.as_millisecond() - passed).ok()?;
        (by_ms.abs() >= JUMP_MS_MIN).then_some(ClockJump { since, by_ms })
    }
}

/// When the wait before the next attempt is over by the monotonic clock, should that be sooner than by the other.
#[derive(Debug, Default)]
pub(super) struct Retry {
    known: Option<(Timestamp, Instant)>,
}

impl Supervisor {
    /// Sets the timer for the next deadline, if there is one.
    pub(super) fn arm_clocks(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let (now, monotonic) = (self.now(), Instant::now());
        self.look_for_jump(now, monotonic, ctx);
        let sessions = self.sessions.values_mut();
        sessions.for_each(|session| session.note_retry(now, monotonic));
        let deadlines = self
            .sessions
            .values()
            .flat_map(|session| session.deadlines(now, monotonic));
        let next = deadlines.map(|(at, _)| at).min();
        let wait = next.map(|next| Duration::try_from(next.duration_since(now)).unwrap_or_default());
        let is_watching = wait.is_some() || self.sessions.values().any(|session| session.life.state.has_agent());
        let wait = wait.unwrap_or(CLOCK_LOOK_MAX).min(CLOCK_LOOK_MAX);
        self.timer = is_watching.then(|| ctx.notify_later(LookAtClocks, wait));
    }

    /// Writes down a jump of the wall clock for every session that has an agent.
    fn look_for_jump(&mut self, now: Timestamp, monotonic: Instant, ctx: &mut Context<Self>) {
        let Some(jump) = self.jumps.look(now, monotonic) else {
            return;
        };
        tracing::warn!(by_ms = jump.by_ms, "the machine slept, or its clock was set");
        let with_agent = self
            .sessions
            .iter()
            .filter(|(_, session)| session.life.state.has_agent());
        for id in with_agent.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.write_jump(id, jump.clone(), now, ctx);
        }
    }

    fn write_jump(&mut self, id: SessionId, jump: ClockJump, now: Timestamp, ctx: &mut Context<Self>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.time_is_unknown = true;
        let append = Append {
            session_id: id,
            attempt: session.life.attempt,
            span: None,
            at: now,
            entries: vec![Entry::ClockJumped(jump)],
        };
        let acknowledgement = self.context.store.append(append);
        ctx.spawn(on_disk(acknowledgement).into_actor(self).map(move |result, act, ctx| {
            if let Some(session) = act.sessions.get_mut(&id) {
                session.time_is_unknown = false;
            }
            act.stepped(id, result, &[], None, ctx);
        }));
    }

    /// The time since an agent has ended that nobody watched is no time at work.
    pub(super) fn agent_found(
        &mut self,
        id: SessionId,
        attempt: Attempt,
        ended_after: Option<Timestamp>,
        ctx: &mut Context<Self>,
    ) {
        let now = self.now();
        let Some(session) = self.sessions.get_mut(&id).filter(|session| {
            let is_of_attempt = session.life.attempt == attempt && session.life.state.has_agent();
            is_of_attempt && session.time_is_unknown
        }) else {
            return;
        };
        let gone_ms = ended_after.map_or(0, |ended| now.as_millisecond() - ended.as_millisecond());
        if gone_ms >= JUMP_MS_MIN {
            let (since, by_ms) = (now, gone_ms);
            return self.write_jump(id, ClockJump { since, by_ms }, now, ctx);
        }
        session.time_is_unknown = false;
        self.look_around_soon(ctx);
    }
}

impl Handler<LookAtClocks> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: LookAtClocks, ctx: &mut Self::Context) {
        self.timer = None;
        let (now, monotonic) = (self.now(), Instant::now());
        self.look_for_jump(now, monotonic, ctx);
        let sessions = self.sessions.iter();
        let due: Vec<_> = sessions
            .flat_map(|(id, session)| {
                let deadlines = session.deadlines(now, monotonic).into_iter();
                deadlines.map(move |(at, due)| (*id, at, due))
            })
            .filter(|(_, at, _)| *at <= now)
            .collect();
        for (id, _, due) in due {
            self.step(id, &due, None, ctx);
        }
        self.arm_clocks(ctx);
    }
}

impl SupervisedSession {
    /// A wait before the next attempt lasts no longer than it was meant to when it was written down.
    fn note_retry(&mut self, now: Timestamp, monotonic: Instant) {
        let State::WaitingRetry { at } = self.life.state else {
            self.retry.known = None;
            return;
        };
        if self.retry.known.is_some_and(|(known, _)| known == at) {
            return;
        }
        let meant = at.duration_since(self.summary.updated_at);
        let left = Duration::try_from(at.duration_since(now).min(meant)).unwrap_or_default();
        self.retry.known = monotonic.checked_add(left).map(|due| (at, due));
    }

    /// When the next attempt is due, by the clock that comes to it first.
    fn retry_at(&self, at: Timestamp, now: Timestamp, monotonic: Instant) -> Timestamp {
        match self.retry.known {
            Some((known, due)) if known == at => {
                let left = due.saturating_duration_since(monotonic).as_millis();
                at.min(after_ms(now, u64::try_from(left).unwrap_or(u64::MAX)))
            }
            Some(_) | None => at,
        }
    }

    fn deadlines(&self, now: Timestamp, monotonic: Instant) -> Vec<(Timestamp, Event)> {
        let mut deadlines = Vec::new();
        if let State::WaitingRetry { at } = self.life.state {
            let attempt = self.life.attempt;
            deadlines.push((self.retry_at(at, now, monotonic), Event::RetryDue { attempt }));
        }
        let is_going = matches!(self.life.state, State::Starting | State::Running);
        if let Some(seconds) = self.summary.limits_in_force(&self.request).timeout_seconds
            && is_going
            && !self.time_is_unknown
            && self.summary.active_since.is_some()
        {
            let left_ms = seconds
                .saturating_mul(1000)
                .saturating_sub(self.summary.used_until(now).active_ms);
            deadlines.push((after_ms(now, left_ms), Event::TimeUp));
        }
        if is_going || self.life.state == State::Asking {
            let unanswered = self.question_deadlines();
            deadlines.extend(unanswered.map(|(at, question_id)| (at, Event::NobodyAnswered { question_id })));
        }
        deadlines
    }
}

pub(super) fn after_ms(at: Timestamp, ms: u64) -> Timestamp {
    let ms = jiff::SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    at.checked_add(ms).unwrap_or(Timestamp::MAX)
}
