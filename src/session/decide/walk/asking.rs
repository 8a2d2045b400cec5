//! Questions in the walk: those of the session itself, and one of its agents. Agents ask, take answers and take questions
//! back by records of their own, which no decision is about.

use std::collections::BTreeSet;
use std::fmt;

use super::alphabet::{OF_AGENT, project};
use super::{Beginning, Denied, Event, GivenAnswer, Node, Wish, now};

use crate::session::id::{Attempt, QuestionId, SessionId};
use crate::session::journal::Created;
use crate::session::question::{Answer, Choice, ChoiceOption, Question, QuestionKind};
use crate::session::request::Request;
use crate::session::samples::permission;
use crate::session::state::{Lifecycle, State};
use crate::session::summary::{Summary, Waiting};

/// A question of an agent.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct OfAgent {
    /// The attempt whose agent asked it last.
    attempt: Attempt,
    answer: Asked,
}

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asked {
    Open,
    /// Its answer is decided, and not on disk.
    Decided,
    /// Its answer is on disk.
    Answered,
}

/// A session with a project that nobody has trusted.
pub(super) fn session(request: &Request) -> Summary {
    let created = Created {
        request: request.clone(),
        by: "a person".into(),
        claim: None,
        project: Some(Box::new(project())),
    };
    Summary::new(SessionId::default(), &created, now(0))
}

impl Node {
    pub(super) fn beginning(beginning: Beginning) -> Self {
        let life = Lifecycle {
            clarify: beginning.clarify,
            trust: beginning.trust,
            ..Lifecycle::default()
        };
        Self {
            life,
            live: vec![],
            cancelled: false,
            charged: vec![],
            ticks: 0,
            asked: None,
            refined: 0,
            of_agent: None,
        }
    }

    /// The session as the journal has it at this node.
    pub(super) fn summary(&self, session: &Summary) -> Summary {
        let own = self
            .asked
            .map(|id| (id, self.waiting(id, self.own(id), self.life.attempt, None)));
        let of_agent = self.of_agent.map(|of_agent| {
            let given = (of_agent.answer == Asked::Answered).then(Answer::allow);
            (
                OF_AGENT,
                self.waiting(OF_AGENT, permission("git push"), of_agent.attempt, given),
            )
        });
        Summary {
            lifecycle: self.life.clone(),
            questions: own.into_iter().chain(of_agent).collect(),
            ..session.clone()
        }
    }

    fn own(&self, id: QuestionId) -> QuestionKind {
        if self.life.trust.is_asking(id) {
            return project().question(id).kind;
        }
        let option = |label: &str| ChoiceOption {
            label: label.to_owned(),
            description: String::new(),
        };
        let choice = Choice {
            question: "Which?".into(),
            header: String::new(),
            options: vec![option("A"), option("B")],
            multi_select: false,
        };
        QuestionKind::Choice {
            questions: vec![choice],
            input: serde_json::Value::Null,
        }
    }

    fn waiting(
        &self,
        question_id: QuestionId,
        kind: QuestionKind,
        attempt: Attempt,
        answer: Option<Answer>,
    ) -> Waiting {
        Waiting {
            question: Question {
                question_id,
                request_id: String::new(),
                tool_use_id: None,
                kind,
            },
            asked_at: now(0),
            attempt,
            answer,
            granted: None,
            is_unused: false,
        }
    }

    /// Questions whose answer is decided and not on disk.
    pub(super) fn answering(&self) -> BTreeSet<QuestionId> {
        let decided = self.of_agent.filter(|of_agent| of_agent.answer == Asked::Decided);
        decided.map(|_| OF_AGENT).into_iter().collect()
    }

    /// What the records of an agent can make of this node.
    pub(super) fn told_by_agent(&self) -> Vec<Self> {
        let attempt = self.life.attempt;
        let with = |of_agent| Self {
            of_agent,
            ..self.clone()
        };
        let is_up = self.life.state == State::Running;
        let open = OfAgent {
            attempt,
            answer: Asked::Open,
        };
        match self.of_agent {
            None if is_up => vec![with(Some(open))],
            None => vec![],
            // The store writes without an agent too.
            Some(of_agent) if of_agent.answer == Asked::Decided => vec![with(Some(OfAgent {
                answer: Asked::Answered,
                ..of_agent
            }))],
            // It is asked again by the agent that goes on.
            Some(of_agent) if is_up && of_agent.attempt != attempt => vec![with(Some(OfAgent { attempt, ..of_agent }))],
            // The agent takes the answer, or the question back.
            Some(_) if is_up => vec![with(None)],
            Some(_) => vec![],
        }
    }

    /// The answer to the agent's question is recorded.
    pub(super) fn take_answer(&mut self, context: fmt::Arguments<'_>) {
        let of_agent = self.of_agent.as_mut().filter(|of_agent| of_agent.answer == Asked::Open);
        let Some(of_agent) = of_agent else {
            panic!("only what is open is answered, and once: {context}");
        };
        of_agent.answer = Asked::Decided;
    }

    /// Promises about an answer that is refused.
    pub(super) fn check_refusal(&self, event: &Event, denied: &Denied) {
        let Event::Wish(Wish::Answer(GivenAnswer {
            question_id, rights, ..
        })) = event
        else {
            return;
        };
        let context = format_args!("{event:?} on {:?} was refused: {denied}", self.life);
        let of_agent = self
            .of_agent
            .filter(|_| *question_id == OF_AGENT)
            .map(|asked| asked.answer);
        let own = self.asked.filter(|asked| asked == question_id).map(|_| Asked::Open);
        let expected = match (&self.life.state, of_agent.or(own)) {
            (State::Stopping { .. }, _) => *denied == Denied::BeingEnded,
            (State::Ended { .. }, _) | (_, None) => *denied == Denied::NoSuchQuestion(*question_id),
            (_, Some(Asked::Decided | Asked::Answered)) => *denied == Denied::AlreadyAnswered(*question_id),
            (_, Some(Asked::Open)) => match denied {
                Denied::AnswerMismatch(_) => true,
                Denied::Excess(_) => rights.is_some(),
                _ => false,
            },
        };
        assert!(expected, "an answer is refused for what stands against it: {context}");
    }
}
