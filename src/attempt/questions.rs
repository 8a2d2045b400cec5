//! What the agent asks a person: a question keeps its name while it is asked again, and is withdrawn when it is passed.

use super::Attempt;
use crate::session::id::QuestionId;
use crate::session::journal::{Entry, Withdrawn};
use crate::session::message::Asked;
use crate::session::question::{Question, QuestionKind};

impl Attempt {
    /// A question that a resumed agent asks again keeps its name, and takes the answer that waits for it. Where an agent may
    /// have acted on that answer, a person is asked anew and told so.
    pub(super) fn take_question(&mut self, asked: Asked) {
        let Asked {
            request_id,
            tool_use_id,
            mut kind,
        } = asked;
        if let QuestionKind::Plan { plan, .. } = &mut kind {
            *plan = plan.take().or_else(|| self.intake.plan.plan());
        }
        // Of several that are the same each is asked again once.
        let orphan = self.summary.questions.values().find(|waiting| {
            waiting.attempt != self.task.attempt
                && waiting.question.kind.is_same(&kind)
                && !self.intake.is_being_asked(waiting.question.question_id)
        });
        let orphan = orphan.map(|waiting| (waiting.question.question_id, waiting.may_be_spent()));
        let question_id = match orphan {
            Some((id, false)) => id,
            Some((id, true)) => {
                self.withdraw_spent(id);
                kind = kind.asked_again_after(id);
                self.next_question_id()
            }
            None => {
                if let Some(id) = self.summary.acted_before(&kind) {
                    kind = kind.asked_again_after(id);
                }
                self.next_question_id()
            }
        };
        self.intake.asking.push((request_id.clone(), question_id));
        let question = Question {
            question_id,
            request_id,
            tool_use_id,
            kind,
        };
        self.intake.batch.push(Entry::QuestionAsked(question));
    }

    fn next_question_id(&mut self) -> QuestionId {
        let asked = self.intake.questions_asked.max(self.summary.questions_asked) + 1;
        self.intake.questions_asked = asked;
        QuestionId(asked)
    }

    /// The answer to this question is never handed over: it may be spent.
    fn withdraw_spent(&mut self, question_id: QuestionId) {
        self.intake.asking.push((String::new(), question_id));
        let why = "its agent died before it said whether it had used the answer: the next agent asks anew";
        self.withdrawn(question_id, why);
    }

    fn withdrawn(&mut self, question_id: QuestionId, why: &str) {
        let why = why.to_owned();
        let withdrawn = Withdrawn { question_id, why };
        self.intake.batch.push(Entry::QuestionWithdrawn(withdrawn));
    }

    /// The call that a question was about has its result, so the agent has taken the answer. This holds also for one that
    /// an earlier daemon has written.
    pub(super) fn take_answers_of_call(&mut self, tool_use_id: &str) {
        let of_call = self.summary.questions.iter().filter(|(_, waiting)| {
            let is_asked_here = waiting.attempt == self.task.attempt;
            is_asked_here && waiting.answer.is_some() && waiting.question.tool_use_id.as_deref() == Some(tool_use_id)
        });
        let taken = of_call.filter_map(|(id, _)| self.outbox.answer_taken(*id));
        self.intake.batch.extend(taken);
    }

    /// A resumed agent that has ended its turn without asking again has gone past what its predecessor asked.
    pub(super) fn withdraw_orphans(&mut self) {
        let orphans = self.summary.questions.iter();
        let orphans = orphans.filter(|(_, waiting)| waiting.attempt != self.task.attempt);
        let passed = orphans.map(|(id, _)| *id).filter(|id| !self.intake.is_being_asked(*id));
        for question_id in passed.collect::<Vec<_>>() {
            self.withdrawn(question_id, "the resumed agent went on without it");
        }
    }

    /// The agent takes a question back.
    pub(super) fn withdraw(&mut self, request_id: &str) {
        let asking = self.intake.asking.iter().find(|(request, _)| request == request_id);
        let asked = asking.map(|(_, question_id)| *question_id);
        let mut journalled = self.summary.questions.values().map(|waiting| &waiting.question);
        let journalled = journalled.find(|question| question.request_id == request_id);
        if let Some(question_id) = asked.or(journalled.map(|question| question.question_id)) {
            self.withdrawn(question_id, "the agent no longer asks");
        }
    }
}
