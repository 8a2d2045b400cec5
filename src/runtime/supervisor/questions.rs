//! Questions that wait for a person, and the one that an analysis gives rise to.

use jiff::Timestamp;
use uuid::Uuid;

use super::{SupervisedSession, clocks};
use crate::session::clarify::{Analysis, Clarify, Verdict};
use crate::session::id::QuestionId;
use crate::session::request::OnQuestion;

impl SupervisedSession {
    /// What the analysis that has just ended says, where one has. All that its agent said is in the summary by now: a
    /// commit is told of before whoever asked for it goes on.
    pub(super) fn analysis(&self) -> Option<Box<Analysis>> {
        if self.life.clarify != Clarify::Analysing {
            return None;
        }
        let summary = &self.summary;
        Some(Box::new(Analysis {
            verdict: Verdict::read(summary.structured_output.as_ref(), summary.result.as_deref()),
            task: self.request.task.clone(),
            question_id: QuestionId(summary.questions_asked + 1),
            uuid: Uuid::new_v4(),
        }))
    }

    /// When the request's policy answers each question that waits.
    pub(super) fn question_deadlines(&self) -> impl Iterator<Item = (Timestamp, QuestionId)> + '_ {
        let has_policy = self.request.on_question != OnQuestion::Wait;
        let wait_ms = self.request.question_timeout_seconds.unwrap_or(0).saturating_mul(1000);
        let waiting = self.summary.questions.iter().filter(move |(id, waiting)| {
            let is_orphaned = waiting.attempt != self.life.attempt;
            let is_left_alone = is_orphaned && self.request.on_question == OnQuestion::Allow;
            has_policy && !is_left_alone && waiting.answer.is_none() && !self.answering.contains(id)
        });
        waiting.map(move |(id, waiting)| (clocks::after_ms(waiting.asked_at, wait_ms), *id))
    }
}
