//! Answers to the question about a project, remembered for the sessions that follow.

use super::{Handle, blocking};
use crate::runtime::projects;
use crate::runtime::refusal::CallError;
use crate::session::id::QuestionId;
use crate::session::question::Answer;
use crate::session::summary::Summary;
use crate::session::trust::{self, Meaning, Project, TrustDecision};

/// The project that an answer decides about, and what it decides; none where the question is another one, or nothing of it
/// is remembered.
pub(super) fn decided(asked: &Summary, question: QuestionId, answer: &Answer) -> Option<(Project, TrustDecision)> {
    let is_asking = asked.lifecycle.trust.is_asking(question);
    match trust::meaning(answer).filter(|_| is_asking)? {
        Meaning::Start(decision) => {
            let project = asked.project.as_deref()?;
            project.remembered(decision).then(|| (project.clone(), decision))
        }
        Meaning::Cancel => None,
    }
}

impl Handle {
    /// Remembers what a person has decided. Where that cannot be, people are asked again.
    pub(super) async fn remember(
        &self,
        decided: Option<(Project, TrustDecision)>,
        by: String,
    ) -> Result<(), CallError> {
        let Some((project, decision)) = decided else {
            return Ok(());
        };
        let file = self.settings.projects_file();
        let remembering = blocking(move || projects::remember(&file, &project, decision, by)).await?;
        if let Err(error) = remembering {
            tracing::warn!(%error, "what was decided about a project is not remembered: people are asked again");
        }
        Ok(())
    }
}
