//! A decision: what is recorded and then done about an event, and what it depends on.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Uuid;

use crate::session::grant::Grant;
use crate::session::id::{Attempt, QuestionId};
use crate::session::journal::{Answered, Entry, QuestionRef, SessionEnd, StateChange};
use crate::session::outcome::{Outcome, StopFor};
use crate::session::question::{Answer, AnswerMismatch, Question};
use crate::session::request::Request;
use crate::session::restart::RestartPolicy;
use crate::session::state::{Lifecycle, StateName, name_of_outcome};
use crate::session::summary::Summary;

/// What a decision depends on besides the lifecycle and the event.
#[derive(Clone, Copy, Debug)]
pub struct DecisionContext<'a> {
    /// When a failed attempt is followed by another.
    pub policy: &'a RestartPolicy,
    /// The time.
    pub now: Timestamp,
    /// From 0 to 1; spreads the delays of restarts.
    pub jitter: f64,
    /// An id that nothing has, for a message that the decision gives rise to.
    pub fresh: Uuid,
    /// The session's request.
    pub request: &'a Request,
    /// The session as the journal has it.
    pub summary: &'a Summary,
    /// Questions whose answer is decided and not in that journal yet.
    pub answering: &'a BTreeSet<QuestionId>,
    /// Errors if an agent cannot be told this answer, with what it grants, in one line.
    pub check_length: fn(&Question, &Answer, &[Grant]) -> Result<(), AnswerMismatch>,
}

/// The answer to an event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// What is written down, in one append.
    pub entries: Vec<Entry>,
    /// What is done afterwards.
    pub effects: Vec<Effect>,
}

impl Decision {
    /// This follows an answer to our own question, which no agent has to be told.
    pub(super) fn settles(&mut self, answered: Answered) {
        let question_id = answered.question_id;
        let told = [
            Entry::QuestionAnswered(answered),
            Entry::QuestionDelivered(QuestionRef { question_id }),
        ];
        self.entries.splice(0..0, told);
    }
}

/// What is to be done once the entries are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Wait for a slot, behind those who wait already.
    Enqueue,
    /// Start an execution for the attempt that was just recorded.
    Start(Attempt),
    /// Give the agent of this attempt what it is owed.
    Deliver(Attempt),
    /// End the agent of this attempt.
    Stop(Attempt),
}

/// The session ends.
pub(super) fn ended(life: &Lifecycle, outcome: Outcome, sentence: &str) -> Decision {
    let end = SessionEnd {
        outcome,
        summary: sentence.to_owned(),
    };
    let entries = vec![
        change(life, name_of_outcome(outcome), sentence),
        Entry::SessionEnded(end),
    ];
    Decision {
        entries,
        effects: vec![],
    }
}

/// The session waits for a slot.
pub(super) fn queued(life: &Lifecycle, reason: &str) -> Decision {
    Decision {
        entries: vec![change(life, StateName::Queued, reason)],
        effects: vec![Effect::Enqueue],
    }
}

pub(super) fn change(life: &Lifecycle, to: StateName, reason: &str) -> Entry {
    let change = StateChange {
        from: life.state.name(),
        to,
        reason: reason.to_owned(),
        until: None,
        stop_for: None,
    };
    Entry::SessionState(change)
}

pub(super) fn stop_sentence(stop_for: StopFor) -> &'static str {
    match stop_for {
        StopFor::Cancelled => "the session was cancelled",
        StopFor::TimedOut => "the session's time is up",
    }
}
