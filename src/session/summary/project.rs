//! The questions that come before the work: what a project starts, and what the task means.

use std::borrow::Cow;

use super::Summary;
use crate::session::asked::AskedExtras;
use crate::session::clarify::{Clarifications, told};
use crate::session::id::QuestionId;
use crate::session::question::Question;
use crate::session::trust::{Trust, TrustDecision};

impl Summary {
    /// Our question about what starts by itself, where it is to be asked now.
    pub fn question_of_trust(&self) -> Option<Question> {
        let project = self.project.as_ref()?;
        Some(project.question(QuestionId(self.questions_asked + 1)))
    }

    /// What is told of a session that starts without the project's settings, whatever a person may say.
    pub fn starts_without_project(&self) -> Option<String> {
        self.project.as_ref()?.told_if_decided()
    }

    /// What holds for the project's settings, where they were in question.
    pub fn decided_of_project(&self) -> Option<TrustDecision> {
        let project = self.project.as_ref()?;
        project.decided.or(self.lifecycle.trust.decision())
    }

    /// What an agent has asked for besides, and whether the session has it.
    pub fn asked(&self) -> Option<(&AskedExtras, bool)> {
        let asked = self.project.as_ref()?.asked.as_ref()?;
        Some((asked, self.lifecycle.trust == Trust::Run))
    }

    /// Whether the session has what an agent has asked for besides.
    pub fn has_asked(&self) -> bool {
        self.asked().is_some_and(|(_, has)| has)
    }
}

impl Summary {
    /// What an agent of this session is told first of its `task`.
    pub fn told<'a>(&self, task: &'a str) -> Cow<'a, str> {
        let nothing = Clarifications::default();
        told(
            task,
            self.lifecycle.clarify,
            self.clarifications.as_ref().unwrap_or(&nothing),
        )
    }
}
