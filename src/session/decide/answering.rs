//! Answers: the first one that fits is recorded. It goes to the agent that asked, or decides what is run.

use super::decision::{Decision, DecisionContext, Effect};
use super::event::{Denied, GivenAnswer};
use super::{clarifying, trusting};
use crate::session::clarify::Clarify;
use crate::session::grant::Grant;
use crate::session::id::QuestionId;
use crate::session::journal::{Answered, Entry};
use crate::session::question::{Answer, AnswerMismatch};
use crate::session::request::OnQuestion;
use crate::session::state::{Lifecycle, State};
use crate::session::trust::{self, Meaning};

/// Who answers where nobody does in time.
const POLICY: &str = "the request's on_question";

/// Somebody answers a question. An answer to our own question decides what is run.
pub(super) fn answer(life: &Lifecycle, given: &GivenAnswer, context: &DecisionContext<'_>) -> Result<Decision, Denied> {
    let granted = check(life, given, context)?;
    let question = given.question_id;
    let answered = Answered {
        question_id: question,
        answer: given.answer.clone(),
        by: given.by.clone(),
        granted,
    };
    Ok(if life.trust.is_asking(question) {
        let project = context.summary.project.as_ref();
        let notice = project.map(|project| project.told_without()).unwrap_or_default();
        trusting::answer(life, answered, notice)
    } else if life.clarify == (Clarify::Asking { question }) {
        clarifying::answer(life, answered, context)
    } else {
        let is_to_be_told = life.state.has_agent();
        Decision {
            entries: vec![Entry::QuestionAnswered(answered)],
            effects: is_to_be_told
                .then_some(Effect::Deliver(life.attempt))
                .into_iter()
                .collect(),
        }
    })
}

/// What the answer grants, if it can be given.
fn check(life: &Lifecycle, given: &GivenAnswer, context: &DecisionContext<'_>) -> Result<Vec<Grant>, Denied> {
    let (question, answer) = (given.question_id, &given.answer);
    match life.state {
        State::Stopping { .. } => return Err(Denied::BeingEnded),
        State::Ended { .. } => return Err(Denied::NoSuchQuestion(question)),
        State::Queued | State::Starting | State::Running | State::Asking | State::WaitingRetry { .. } => {}
    }
    let waiting = context.summary.questions.get(&question);
    let waiting = waiting.ok_or(Denied::NoSuchQuestion(question))?;
    if waiting.answer.is_some() || context.answering.contains(&question) {
        return Err(Denied::AlreadyAnswered(question));
    }
    let kind = &waiting.question.kind;
    kind.check(answer)?;
    let granted = kind.granted(answer)?;
    let lets_start = match trust::meaning(answer) {
        _ if !life.trust.is_asking(question) => false,
        None => return Err(AnswerMismatch::NotOffered.into()),
        Some(meaning) => meaning == Meaning::Start(trust::TrustDecision::Run),
    };
    if let Some(rights) = &given.rights {
        if lets_start {
            rights.check_trust()?;
        }
        rights.check_answer(kind, answer, &granted)?;
    }
    (context.check_length)(&waiting.question, answer, &granted)?;
    Ok(granted)
}

/// Nobody has answered in time: what the request says is done, and recorded as its doing.
pub(super) fn by_policy(life: &Lifecycle, question_id: QuestionId, context: &DecisionContext<'_>) -> Decision {
    let Some(waiting) = context.summary.questions.get(&question_id) else {
        return Decision::default();
    };
    let deny = || Answer::Deny {
        reason: Some("nobody answered in time".to_owned()),
        interrupt: false,
    };
    let kind = &waiting.question.kind;
    let allow = Answer::allow();
    let said = match context.request.on_question {
        OnQuestion::Wait => return Decision::default(),
        // No policy trusts a project: that takes a person, or the request's own word.
        _ if life.trust.is_asking(question_id) => deny(),
        OnQuestion::Deny => deny(),
        OnQuestion::FirstOption => kind.first_options().unwrap_or_else(deny),
        // Never for a question whose agent has died: what it asked for may have become wrong since.
        OnQuestion::Allow if waiting.attempt != life.attempt => return Decision::default(),
        OnQuestion::Allow if kind.check(&allow).is_ok() => allow,
        OnQuestion::Allow => kind.first_options().unwrap_or_else(deny),
    };
    let gives = |said| {
        let given = GivenAnswer {
            question_id,
            answer: said,
            by: POLICY.to_owned(),
            rights: None,
        };
        answer(life, &given, context)
    };
    // What the policy says may be too long to be said.
    gives(said).or_else(|_| gives(deny())).unwrap_or_default()
}
