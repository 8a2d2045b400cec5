//! Deadlines: waits before a next attempt, active time that is used up, questions that nobody answers.
//!
//! They are times on the wall clock, so they are looked at again at least every half minute: a machine that slept has
//! missed none of them.

use super::*;

/// Something that becomes due.
enum Due {
    Event(Event),
    Unanswered(QuestionId),
}

impl Supervisor {
    /// Sets the timer for the next deadline, if there is one.
    pub(super) fn arm_clocks(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let now = self.now();
        let deadlines = self.sessions.values().flat_map(|session| session.deadlines(now));
        let Some(next) = deadlines.map(|(at, _)| at).min() else {
            return;
        };
        let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        self.timer = Some(ctx.notify_later(LookAtClocks, wait.min(CLOCK_LOOK_MAX)));
    }
}

impl Handler<LookAtClocks> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: LookAtClocks, ctx: &mut Self::Context) {
        self.timer = None;
        let now = self.now();
        let sessions = self.sessions.iter();
        let due: Vec<_> = sessions
            .flat_map(|(id, session)| session.deadlines(now).into_iter().map(move |(at, due)| (*id, at, due)))
            .filter(|(_, at, _)| *at <= now)
            .collect();
        for (id, _, due) in due {
            match due {
                Due::Event(event) => self.step(id, &event, None, ctx),
                Due::Unanswered(question) => self.answer_by_policy(id, question, ctx),
            }
        }
        self.arm_clocks(ctx);
    }
}

impl Session {
    fn deadlines(&self, now: Timestamp) -> Vec<(Timestamp, Due)> {
        let mut deadlines = Vec::new();
        if let State::WaitingRetry { at } = self.life.state {
            deadlines.push((
                at,
                Due::Event(Event::RetryDue {
                    attempt: self.life.attempt,
                }),
            ));
        }
        let is_going = matches!(self.life.state, State::Starting | State::Running);
        if let Some(seconds) = self.request.timeout_seconds
            && is_going
            && self.summary.active_since.is_some()
        {
            let left_ms = seconds
                .saturating_mul(1000)
                .saturating_sub(self.summary.used_until(now).active_ms);
            deadlines.push((after_ms(now, left_ms), Due::Event(Event::TimeUp)));
        }
        if is_going || self.life.state == State::Asking {
            deadlines.extend(
                self.question_deadlines()
                    .map(|(at, question)| (at, Due::Unanswered(question))),
            );
        }
        deadlines
    }
}

pub(super) fn after_ms(at: Timestamp, ms: u64) -> Timestamp {
    let ms = jiff::SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    at.checked_add(ms).unwrap_or(Timestamp::MAX)
}
