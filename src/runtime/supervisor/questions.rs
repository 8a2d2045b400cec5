//! Answers: the first one wins, is written down, and then goes to the agent.

use std::sync::Arc;

use actix::prelude::*;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Session, Supervisor, answer_call};
use crate::agent::wire::encode;
use crate::agent_host::protocol::LINE_BYTES_MAX;
use crate::runtime::messages::{AnswerQuestion, Heard, JournalGrew, Reply};
use crate::runtime::refusal::CallError;
use crate::session::clarify::{Analysis, Clarify, Verdict};
use crate::session::grant::Grant;
use crate::session::id::{QuestionId, SessionId};
use crate::session::journal::{Answered, Entry};
use crate::session::kin::Rights;
use crate::session::question::{Answer, AnswerMismatch};
use crate::session::request::OnQuestion;
use crate::session::state::{Event, State};
use crate::session::trust::{self, Decision, Wish};
use crate::store::{Append, Shortage, on_disk};

impl Handler<AnswerQuestion> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: AnswerQuestion, ctx: &mut Self::Context) {
        let AnswerQuestion {
            session,
            question,
            answer,
            by,
            rights,
            reply,
        } = message;
        match self.check_answer(session, question, &answer, rights.as_deref()) {
            Ok(granted) => self.take_answer(
                session,
                Answered {
                    question_id: question,
                    answer,
                    by,
                    granted,
                },
                Some(reply),
                ctx,
            ),
            Err(error) => answer_call(Some(reply), Err(error)),
        }
    }
}

impl Handler<Heard> for Supervisor {
    type Result = ();

    fn handle(&mut self, Heard: Heard, _: &mut Self::Context) -> Self::Result {}
}

impl Supervisor {
    /// What the answer grants, if it can be given.
    fn check_answer(
        &self,
        id: SessionId,
        question: QuestionId,
        answer: &Answer,
        rights: Option<&Rights>,
    ) -> Result<Vec<Grant>, CallError> {
        // A session that has ended has no open question, also where its end is still on its way to the disk; whether
        // there is such a session was looked up before.
        let is_live = |session: &&Session| session.life.state.outcome().is_none();
        let session = self.sessions.get(&id).filter(is_live);
        let session = session.ok_or(CallError::NoSuchQuestion(question))?;
        if let State::Stopping { .. } = session.life.state {
            return Err(CallError::BeingEnded);
        }
        let waiting = session
            .summary
            .questions
            .get(&question)
            .ok_or(CallError::NoSuchQuestion(question))?;
        if session.answering.contains(&question) {
            let health = self.context.store.health();
            let full = health.borrow().holds_up(id).map(Shortage::refusal);
            return Err(full.map_or(CallError::AlreadyAnswered(question), |full| {
                CallError::AnswerDelayed(question, full)
            }));
        }
        if waiting.answer.is_some() {
            return Err(CallError::AlreadyAnswered(question));
        }
        waiting.question.kind.check(answer)?;
        if session.life.trust.is_asking(question) {
            let wish = trust::wish(answer).ok_or(AnswerMismatch::NotOffered)?;
            let lets_run = wish == Wish::Start(Decision::Run);
            rights.filter(|_| lets_run).map_or(Ok(()), Rights::check_trust)?;
        }
        let granted = waiting.question.kind.granted(answer)?;
        if let Some(rights) = rights {
            rights.check_answer(&waiting.question.kind, answer, &granted)?;
        }
        let bytes = encode::answer(&waiting.question, answer, &granted).len();
        if bytes >= LINE_BYTES_MAX {
            let bytes_max = LINE_BYTES_MAX - 1;
            return Err(AnswerMismatch::Long { bytes, bytes_max }.into());
        }
        Ok(granted)
    }

    /// An answer goes to the agent that asked; one to our own question decides what is run.
    fn take_answer(&mut self, id: SessionId, answered: Answered, reply: Option<Reply>, ctx: &mut Context<Self>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let question = answered.question_id;
        let event = if session.life.trust.is_asking(question) {
            let notice = session.summary.project.as_ref().map(|project| project.told_without());
            Event::AnswerForTrust {
                answered,
                notice: notice.unwrap_or_default(),
            }
        } else if session.life.clarify == (Clarify::Asking { question }) {
            Event::Answer {
                answered,
                task: session.request.task.clone(),
                uuid: Uuid::new_v4(),
            }
        } else {
            return self.write_answer(id, answered, reply, ctx);
        };
        session.answering.insert(question);
        self.step(id, &event, reply, ctx);
    }

    /// What the analysis that has just ended says, where one has. All that its agent said is in the summary by now: a
    /// commit is told of before whoever asked for it goes on.
    pub(super) fn analysis(&self, id: SessionId) -> Option<Box<Analysis>> {
        let session = self.sessions.get(&id)?;
        if session.life.clarify != Clarify::Analysing {
            return None;
        }
        let summary = &session.summary;
        Some(Box::new(Analysis {
            verdict: Verdict::read(summary.structured_output.as_ref(), summary.result.as_deref()),
            task: session.request.task.clone(),
            question_id: QuestionId(summary.questions_asked + 1),
            uuid: Uuid::new_v4(),
        }))
    }

    fn write_answer(&mut self, id: SessionId, answered: Answered, reply: Option<Reply>, ctx: &mut Context<Self>) {
        let now = self.now();
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let question = answered.question_id;
        session.answering.insert(question);
        let entries = vec![Entry::QuestionAnswered(answered)];
        let append = Append {
            session_id: id,
            attempt: session.life.attempt,
            span: None,
            at: now,
            entries,
        };
        let acknowledgement = self.context.store.append(append);
        ctx.spawn(on_disk(acknowledgement).into_actor(self).map(move |result, act, ctx| {
            if let Some(session) = act.sessions.get_mut(&id) {
                session.answering.remove(&question);
                if let (Ok(commit), Some((_, execution))) = (&result, &session.execution) {
                    execution.do_send(JournalGrew(Arc::clone(&commit.summary)));
                }
            }
            act.stepped(id, result, &[], reply, ctx);
        }));
    }

    /// Nobody has answered in time: what the request says is done, and written down as its doing.
    pub(super) fn answer_by_policy(&mut self, id: SessionId, question: QuestionId, ctx: &mut Context<Self>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let Some(waiting) = session.summary.questions.get(&question) else {
            return;
        };
        let deny = || Answer::Deny {
            reason: Some("nobody answered in time".to_owned()),
            interrupt: false,
        };
        let allow = Answer::allow();
        let kind = &waiting.question.kind;
        let answer = match session.request.on_question {
            OnQuestion::Wait => return,
            // No policy trusts a project: that takes a person, or the request's own word.
            _ if session.life.trust.is_asking(question) => deny(),
            OnQuestion::Deny => deny(),
            OnQuestion::FirstOption => kind.first_options().unwrap_or_else(deny),
            // Never for a question whose agent has died: what it asked for may have become wrong since.
            OnQuestion::Allow if waiting.attempt != session.life.attempt => return,
            OnQuestion::Allow if kind.check(&allow).is_ok() => allow,
            OnQuestion::Allow => kind.first_options().unwrap_or_else(deny),
        };
        // What the policy says may be too long to be said.
        let answer = self
            .check_answer(id, question, &answer, None)
            .map_or_else(|_| deny(), |_| answer);
        let by = "the request's on_question".to_owned();
        self.take_answer(
            id,
            Answered {
                question_id: question,
                answer,
                by,
                granted: Vec::new(),
            },
            None,
            ctx,
        );
    }
}

impl Session {
    /// When the request's policy answers each question that waits.
    pub(super) fn question_deadlines(&self) -> impl Iterator<Item = (Timestamp, QuestionId)> + '_ {
        let has_policy = self.request.on_question != OnQuestion::Wait;
        let wait_ms = self.request.question_timeout_seconds.unwrap_or(0).saturating_mul(1000);
        let waiting = self.summary.questions.iter().filter(move |(id, waiting)| {
            let is_orphaned = waiting.attempt != self.life.attempt;
            let is_left_alone = is_orphaned && self.request.on_question == OnQuestion::Allow;
            has_policy && !is_left_alone && waiting.answer.is_none() && !self.answering.contains(id)
        });
        waiting.map(move |(id, waiting)| (super::clocks::after_ms(waiting.asked_at, wait_ms), *id))
    }
}
