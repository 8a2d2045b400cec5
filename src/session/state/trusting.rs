//! A person is asked whether what a project brings may start, and what an agent asks for, and the answer is carried out.

use super::decide::{Decision, Effect, change, ended, stop_sentence};
use super::{Lifecycle, State, StateName};
use crate::session::journal::{Answered, Entry, QuestionRef, Text};
use crate::session::outcome::{Outcome, StopFor};
use crate::session::question::Question;
use crate::session::trust::{self, Project, Trust, Wish};

/// A session is to start with something that nobody has trusted.
pub(super) fn ask(life: &Lifecycle, question: &Question) -> Decision {
    if life.state != State::Queued || life.trust != Trust::Due {
        return Decision::default();
    }
    let entries = vec![
        change(
            life,
            StateName::Asking,
            "a person is asked about what nobody has trusted",
        ),
        Entry::QuestionAsked(question.clone()),
    ];
    Decision {
        entries,
        effects: vec![],
    }
}

/// Our question is answered. One append, so that no crash comes in between. `notice` is told where the session goes on
/// without what was asked about.
pub(super) fn answer(life: &Lifecycle, answered: &Answered, notice: &str) -> Decision {
    let question = answered.question_id;
    if life.state != State::Asking || !life.trust.is_asking(question) {
        return Decision::default();
    }
    let mut decision = match trust::wish(&answered.answer) {
        None => return Decision::default(),
        Some(Wish::Cancel) => ended(life, Outcome::Cancelled, stop_sentence(StopFor::Cancelled)),
        Some(Wish::Start(trust::Decision::Run)) => go_on(life, "a person lets it start"),
        Some(Wish::Start(trust::Decision::Without)) => {
            let mut decision = go_on(life, "the agent starts without what was asked about");
            let text = notice.to_owned();
            decision.entries.insert(0, Entry::Notice(Text { text }));
            decision
        }
    };
    let told = [
        Entry::QuestionAnswered(answered.clone()),
        Entry::QuestionDelivered(QuestionRef { question_id: question }),
    ];
    decision.entries.splice(0..0, told);
    decision
}

/// An attempt was not started because of what it found in the directory. The session asks, or goes on without it where
/// that is decided already.
pub(super) fn found(life: &Lifecycle, project: &Project, sentence: &str) -> Decision {
    let mut decision = go_on(life, sentence);
    let without = project.told_if_decided().map(|text| Entry::Notice(Text { text }));
    decision.entries.extend(without);
    decision
}

fn go_on(life: &Lifecycle, reason: &str) -> Decision {
    Decision {
        entries: vec![change(life, StateName::Queued, reason)],
        effects: vec![Effect::Enqueue],
    }
}
