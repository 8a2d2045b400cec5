//! A person is asked whether what a project brings may start, and what an agent asks for, and the answer is carried out.

use super::decision::{Decision, change, ended, queued, stop_sentence};
use crate::session::journal::{Answered, Entry, Text};
use crate::session::outcome::{Outcome, StopFor};
use crate::session::question::Question;
use crate::session::state::{Lifecycle, State, StateName};
use crate::session::trust::{self, Meaning, Project, Trust};

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
pub(super) fn answer(life: &Lifecycle, answered: Answered, notice: String) -> Decision {
    let mut decision = match trust::meaning(&answered.answer) {
        None => return Decision::default(),
        Some(Meaning::Cancel) => ended(life, Outcome::Cancelled, stop_sentence(StopFor::Cancelled)),
        Some(Meaning::Start(trust::TrustDecision::Run)) => queued(life, "a person lets it start"),
        Some(Meaning::Start(trust::TrustDecision::Without)) => {
            let mut decision = queued(life, "the agent starts without what was asked about");
            decision.entries.insert(0, Entry::Notice(Text { text: notice }));
            decision
        }
    };
    decision.settles(answered);
    decision
}

/// An attempt was not started because of what it found in the directory. The session asks, or goes on without it where
/// that is decided already.
pub(super) fn found(life: &Lifecycle, project: &Project, sentence: &str) -> Decision {
    let mut decision = queued(life, sentence);
    let without = project.told_if_decided().map(|text| Entry::Notice(Text { text }));
    decision.entries.extend(without);
    decision
}
