//! Questions of a session and what became of their answers, as far as the journal proves it.
//!
//! An agent acknowledges an answer only by what it says next. So an answer goes three steps: it is given, an agent has
//! taken it, and the call that it let go ahead has a result. Between the first step and the last an agent may have acted
//! without a word of it in the journal. If it dies then, the answer is never handed to its successor.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Summary;
use crate::session::grant::Grant;
use crate::session::id::{Attempt, QuestionId};
use crate::session::journal::{Answered, AttemptEnd};
use crate::session::question::{Answer, Question, QuestionKind};

/// A question that is not done with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// The question.
    pub question: Question,
    /// The time at which it was asked.
    pub asked_at: Timestamp,
    /// The attempt whose agent asked it last; an earlier one than the session's means it is orphaned.
    pub attempt: Attempt,
    /// The answer, while it is not delivered.
    pub answer: Option<Answer>,
    /// What the answer grants, as its giver saw it; none in a row of a version that did not keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Vec<Grant>>,
    /// The answer was never written to an agent: the one that had asked was gone, and no other has asked since. False
    /// where that is not known, as of an answer that the version before has taken.
    #[serde(default)]
    pub is_unused: bool,
}

impl Waiting {
    /// Returns true if an agent may have acted on the answer, and would act a second time if the answer were handed to its
    /// successor.
    pub fn may_be_spent(&self) -> bool {
        self.lets_act() && !self.is_unused
    }

    /// Returns true if the answer lets an agent act. A choice and a denial do no harm twice.
    fn lets_act(&self) -> bool {
        match (&self.question.kind, &self.answer) {
            (QuestionKind::Choice { .. }, _) | (_, None | Some(Answer::Deny { .. } | Answer::Choose { .. })) => false,
            (
                QuestionKind::Permission { .. } | QuestionKind::Plan { .. } | QuestionKind::Form { .. },
                Some(Answer::Allow { .. } | Answer::Submit { .. }),
            ) => true,
        }
    }
}

impl Summary {
    /// The question to which an earlier agent had taken an answer when it died, amid what that answer let it do, where
    /// `kind` asks the same.
    pub fn acted_before(&self, kind: &QuestionKind) -> Option<QuestionId> {
        let attempt = self.lifecycle.attempt;
        let mut acting = self.acting.iter();
        let found = acting.find(|(_, acting)| acting.attempt != attempt && acting.question.kind.is_same(kind));
        found.map(|(id, _)| *id)
    }

    pub(in crate::session) fn ask(&mut self, question: &Question, at: Timestamp) {
        self.questions_asked = self.questions_asked.max(question.question_id.0);
        let attempt = self.lifecycle.attempt;
        // From here on this question is the one that a person is asked.
        self.acting
            .retain(|_, acting| acting.attempt == attempt || !acting.question.kind.is_same(&question.kind));
        let waiting = self.questions.entry(question.question_id).or_insert_with(|| Waiting {
            question: question.clone(),
            asked_at: at,
            attempt,
            answer: None,
            granted: None,
            is_unused: false,
        });
        // Asked again by a resumed agent: the waiting answer goes to the new request.
        waiting.question = question.clone();
        waiting.attempt = attempt;
        waiting.is_unused = false;
    }

    /// Questions that the agent of this attempt has asked, whose answers are given and not known to be taken.
    pub fn answered_in(&self, attempt: Attempt) -> impl Iterator<Item = QuestionId> + '_ {
        let questions = self.questions.iter();
        let answered = questions.filter(move |(_, waiting)| waiting.attempt == attempt && waiting.answer.is_some());
        answered.map(|(id, _)| *id)
    }

    /// An attempt is over: what was never written to its agent is unused.
    pub(super) fn note_unwritten(&mut self, end: &AttemptEnd) {
        let Some(written) = &end.answers_written else { return };
        let answered: Vec<_> = self.answered_in(self.lifecycle.attempt).collect();
        for id in answered {
            if let Some(waiting) = self.questions.get_mut(&id) {
                waiting.is_unused = !written.contains(&id);
            }
        }
    }

    pub(super) fn take_answer(&mut self, answered: &Answered) {
        let has_agent = self.lifecycle.state.has_agent();
        if let Some(waiting) = self.questions.get_mut(&answered.question_id) {
            waiting.take_answer(answered);
            waiting.is_unused = waiting.attempt != self.lifecycle.attempt || !has_agent;
        }
    }

    /// An agent has taken the answer.
    pub(super) fn deliver(&mut self, question_id: QuestionId) {
        let taken = self.questions.remove(&question_id);
        let acting = taken.filter(|waiting| waiting.lets_act() && waiting.question.tool_use_id.is_some());
        self.acting.extend(acting.map(|waiting| (question_id, waiting)));
    }

    /// A tool call has its result.
    pub(super) fn end_acting(&mut self, tool_use_id: &str) {
        self.acting
            .retain(|_, acting| acting.question.tool_use_id.as_deref() != Some(tool_use_id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::{Entry, QuestionRef, StateChange};
    use crate::session::message::{Conclusion, TurnEnd};
    use crate::session::outcome::Ending;
    use crate::session::samples::{
        attempt_ended, attempt_started, created, denied, good_turn, permission, said, tool_result, turn_ended,
    };
    use crate::session::state::StateName;

    const ASKED: QuestionId = QuestionId(1);

    fn asks() -> Entry {
        Entry::QuestionAsked(Question {
            question_id: ASKED,
            request_id: "r".into(),
            tool_use_id: Some("call".into()),
            kind: permission("git push"),
        })
    }

    fn allows() -> Entry {
        Entry::QuestionAnswered(Answered {
            question_id: ASKED,
            answer: Answer::allow(),
            by: "a test".into(),
            granted: Vec::new(),
        })
    }

    fn goes_to(to: StateName) -> Entry {
        Entry::SessionState(StateChange {
            from: StateName::Queued,
            to,
            reason: String::new(),
            until: None,
            stop_for: None,
        })
    }

    /// The fold of the first attempt's records, up to its death or not.
    fn after(entries: &[Entry]) -> Summary {
        let mut summary = Summary::new(SessionId::new(), &created("tidy up"), Timestamp::UNIX_EPOCH);
        let begins = [attempt_started(1), goes_to(StateName::Running), asks()];
        begins
            .iter()
            .chain(entries)
            .for_each(|entry| summary.apply(entry, Timestamp::UNIX_EPOCH));
        summary
    }

    fn dies() -> [Entry; 2] {
        [attempt_ended(Ending::Crashed), goes_to(StateName::WaitingRetry)]
    }

    /// The end of an attempt, to whose agent these answers may have been written.
    fn ends_with(written: &[QuestionId]) -> Entry {
        let Entry::AttemptEnded(mut end) = attempt_ended(Ending::Crashed) else {
            unreachable!()
        };
        end.answers_written = Some(written.to_vec());
        Entry::AttemptEnded(end)
    }

    #[test]
    fn an_answer_is_unused_only_if_no_agent_can_have_taken_it() {
        let given_to_living = after(&[&[allows()][..], &dies()].concat());
        assert!(given_to_living.questions[&ASKED].may_be_spent());
        let given_to_nobody = [&dies()[..], &[allows()]].concat();
        assert!(!after(&given_to_nobody).questions[&ASKED].may_be_spent());
        let never_written = [allows(), ends_with(&[]), goes_to(StateName::WaitingRetry)];
        assert!(!after(&never_written).questions[&ASKED].may_be_spent());
        let written = [allows(), ends_with(&[ASKED]), goes_to(StateName::WaitingRetry)];
        assert!(after(&written).questions[&ASKED].may_be_spent());
        // The next agent asks and gets it: from there on that one may have used it.
        let handed_over = [
            &given_to_nobody[..],
            &[attempt_started(2), goes_to(StateName::Running), asks()],
        ]
        .concat();
        assert!(after(&handed_over).questions[&ASKED].may_be_spent());
        let no = after(&[&[denied(false)][..], &dies()].concat());
        assert!(!no.questions[&ASKED].may_be_spent(), "a denial does no harm twice");
    }

    #[test]
    fn an_answer_that_was_taken_is_remembered_until_its_call_has_a_result() {
        let delivered = Entry::QuestionDelivered(QuestionRef { question_id: ASKED });
        let taken = [allows(), delivered];
        let next = [attempt_started(2), goes_to(StateName::Running)];
        let died = [&taken[..], &dies(), &next].concat();
        assert_eq!(after(&died).acted_before(&permission("git push")), Some(ASKED));
        assert_eq!(
            after(&taken).acted_before(&permission("git push")),
            None,
            "its agent lives"
        );
        let ended = [&taken[..], &[said(tool_result("call", "pushed"))], &dies(), &next].concat();
        assert_eq!(after(&ended).acted_before(&permission("git push")), None);
        let asked = [&died[..], &[asks()]].concat();
        assert_eq!(
            after(&asked).acted_before(&permission("git push")),
            None,
            "a person is asked"
        );
    }

    #[test]
    fn an_answer_that_was_taken_is_remembered_over_a_turn_in_which_the_api_failed() {
        let delivered = Entry::QuestionDelivered(QuestionRef { question_id: ASKED });
        let next = [attempt_started(2), goes_to(StateName::Running)];
        let died = [&[allows(), delivered][..], &dies(), &next].concat();
        let after_turn = |end: TurnEnd| {
            let answers = vec![uuid::Uuid::from_u128(1)];
            let ended = said(turn_ended(TurnEnd { answers, ..end }));
            after(&[&died[..], &[ended]].concat()).acted_before(&permission("git push"))
        };
        let failed = TurnEnd {
            turns: 1,
            is_error: true,
            conclusion: Some(Conclusion::NoStatus),
            ..good_turn()
        };
        assert_eq!(after_turn(failed), Some(ASKED));
        let worked = TurnEnd {
            turns: 1,
            ..good_turn()
        };
        assert_eq!(after_turn(worked), None);
    }

    #[test]
    fn an_answer_in_a_summary_of_the_version_before_may_be_spent() {
        let summary = after(&[allows()]);
        let mut row = serde_json::to_value(&summary).unwrap();
        row["questions"]["q1"].as_object_mut().unwrap().remove("is_unused");
        row.as_object_mut().unwrap().remove("acting");
        let read: Summary = serde_json::from_value(row).unwrap();
        assert_eq!(read, summary);
        assert!(read.questions[&ASKED].may_be_spent());
    }
}
