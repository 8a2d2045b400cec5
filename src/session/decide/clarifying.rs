//! What follows an analysis and the answer to our own question about it: a task is clarified, then run.

use uuid::Uuid;

use super::decision::{Decision, DecisionContext, change, ended, queued, stop_sentence};
use crate::session::clarify::{Analysis, Clarifications, Verdict, run_prompt};
use crate::session::journal::{Answered, Entry, Input, Refined, Text};
use crate::session::message::InputState;
use crate::session::outcome::{Outcome, StopFor};
use crate::session::question::{Answer, Question, QuestionKind};
use crate::session::state::{Lifecycle, StateName};

/// The analysis of a task is over: a person is asked, or the task is run.
pub(super) fn after_analysis(life: &Lifecycle, analysis: &Analysis) -> Decision {
    let choices = analysis.verdict.as_ref().map(Verdict::choices).unwrap_or_default();
    if choices.is_empty() {
        let mut decision = run(
            life,
            &analysis.task,
            Clarifications::default(),
            analysis.uuid,
            "the task is clear",
        );
        if analysis.verdict.is_none() {
            let text = "the analysis gave no verdict that can be read: the task is run as it stands".to_owned();
            decision.entries.insert(0, Entry::Notice(Text { text }));
        }
        return decision;
    }
    let question = Question {
        question_id: analysis.question_id,
        request_id: String::new(),
        tool_use_id: None,
        kind: QuestionKind::Choice {
            questions: choices,
            input: serde_json::Value::Null,
        },
    };
    let entries = vec![
        change(life, StateName::Asking, "the task is ambiguous: a person is asked"),
        Entry::QuestionAsked(question),
    ];
    Decision {
        entries,
        effects: vec![],
    }
}

/// Our question is answered: what was meant becomes part of the task. One append, so that no crash comes in between.
pub(super) fn answer(life: &Lifecycle, answered: Answered, context: &DecisionContext<'_>) -> Decision {
    let mut decision = match &answered.answer {
        Answer::Deny { interrupt: true, .. } => ended(life, Outcome::Cancelled, stop_sentence(StopFor::Cancelled)),
        answer @ (Answer::Deny { .. } | Answer::Choose { .. } | Answer::Allow { .. } | Answer::Submit { .. }) => {
            let (task, clarifications) = (&context.request.task, Clarifications::of(answer));
            run(life, task, clarifications, context.fresh, "the task is settled")
        }
    };
    decision.settles(answered);
    decision
}

/// The task is run as it was settled, by an agent that goes on in the conversation of the analysis. No restart: nothing
/// went wrong.
fn run(life: &Lifecycle, task: &str, clarifications: Clarifications, uuid: Uuid, reason: &str) -> Decision {
    let task = clarifications.refine(task);
    let input = Input {
        uuid,
        state: InputState::Sent,
        text: Some(run_prompt(&task)),
    };
    let refined = Refined { task, clarifications };
    let mut decision = queued(life, reason);
    let told = [Entry::TaskRefined(Box::new(refined)), Entry::Input(input)];
    decision.entries.splice(0..0, told);
    decision
}
