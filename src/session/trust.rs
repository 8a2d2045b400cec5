//! Trust in what a project starts by itself. Without a terminal the CLI runs a directory's hooks, helpers and MCP servers
//! before anybody is asked. So a session in a directory that brings such things begins with a question, unless somebody
//! trusts it already.
//!
//! ```text
//!  due ─► asking ──(run it)────────────► run
//!            ├─────(start without it)──► without: no attempt has the project's settings
//!            └─────(cancel)            ► the session ends
//! ```
//!
//! All of it is a fold of the journal: `session.created`, `question.asked`, `question.answered`. A session that was begun
//! before is never asked about.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::id::QuestionId;
use super::question::{Answer, Choice, ChoiceOption, Question, QuestionKind};
use super::summary::Summary;

/// The answer by which the project's programs start.
pub const RUN: &str = "Run it";

/// The answer by which the agent starts without them.
pub const WITHOUT: &str = "Start without it";

/// The answer by which nothing starts.
pub const CANCEL: &str = "Cancel";

/// What happens to projects that nobody has trusted: the setting `agent.project_trust`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// A person is asked.
    #[default]
    Ask,
    /// They are trusted.
    Trust,
    /// Agents start without the settings of any project that starts something by itself.
    Ignore,
}

/// What a directory starts by itself, where neither the request nor the CLI's own record says that it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// The root of the main repository, or the directory itself outside of one.
    #[schema(value_type = String)]
    pub root: PathBuf,
    /// A digest of everything that starts by itself, and of the repository's files that it names.
    pub digest: String,
    /// Each thing that starts by itself, in a line.
    pub starts: Vec<String>,
    /// What holds for the session without asking; a person is asked where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decision>,
}

/// What holds for a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// What it brings starts by itself.
    Run,
    /// The agent starts without the project's settings.
    Without,
}

/// How far a session has come with the project's trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Trust {
    /// Nobody is asked: nothing starts by itself, it is trusted already, or the session was begun by an older version.
    #[default]
    Unasked,
    /// A person is asked before anything starts.
    Due,
    /// A person is asked.
    Asking {
        /// What.
        question: QuestionId,
    },
    /// A person lets it start.
    Run,
    /// No attempt has the project's settings.
    Without,
}

/// What an answer to our question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// To go on in this way.
    Start(Decision),
    /// To end the session.
    Cancel,
}

impl Trust {
    /// Where a new session stands.
    pub fn of_new(project: Option<&Project>) -> Self {
        match project.map(|project| project.decided) {
            None => Self::Unasked,
            Some(None) => Self::Due,
            Some(Some(decision)) => Self::decided(decision),
        }
    }

    /// Where a session stands once it is decided.
    pub fn decided(decision: Decision) -> Self {
        match decision {
            Decision::Run => Self::Run,
            Decision::Without => Self::Without,
        }
    }

    /// Whether this is the question that waits for its answer.
    pub fn is_asking(self, question: QuestionId) -> bool {
        self == Self::Asking { question }
    }

    /// Whether a person has yet to say what starts.
    pub fn is_open(self) -> bool {
        match self {
            Self::Due | Self::Asking { .. } => true,
            Self::Unasked | Self::Run | Self::Without => false,
        }
    }

    /// A question does not outlive the end of its session; a resumed one is asked anew.
    pub(super) fn ask_again(&mut self) {
        if let Self::Asking { .. } = self {
            *self = Self::Due;
        }
    }
}

impl Project {
    /// The question about it.
    pub fn question(&self, question_id: QuestionId) -> Question {
        let root = self.root.display();
        let starts: String = self.starts.iter().map(|line| format!("\n  {line}")).collect();
        let option = |label: &str, description: &str| ChoiceOption {
            label: label.to_owned(),
            description: description.to_owned(),
        };
        let choice = Choice {
            question: format!(
                "Nobody has trusted {root}. With an agent this starts by itself, without any permission:{starts}\nRun it? \
                 Claude goes on ignoring the allow rules of the project until the project is trusted in Claude itself."
            ),
            header: "Trust".to_owned(),
            options: vec![
                option(RUN, "Asked again only when what starts by itself has changed"),
                option(
                    WITHOUT,
                    "No settings of the project: no hooks, helpers, MCP servers, commands, skills or CLAUDE.md of it",
                ),
                option(CANCEL, "Nothing starts"),
            ],
            multi_select: false,
        };
        Question {
            question_id,
            request_id: String::new(),
            tool_use_id: None,
            kind: QuestionKind::Choice {
                questions: vec![choice],
                input: serde_json::Value::Null,
            },
        }
    }

    /// Tells that the session goes on without the project's settings.
    pub fn told_without(&self) -> String {
        format!(
            "The agent starts without the settings of {}: nobody has trusted what the project starts by itself, such as: {}. \
             To run it, start a session with --trust-project, or trust the project in Claude itself.",
            self.root.display(),
            self.starts.first().map_or("hooks", String::as_str),
        )
    }
}

impl Summary {
    /// Our question about the project, where it is to be asked now.
    pub fn question_of_trust(&self) -> Option<Question> {
        let project = self.project.as_ref()?;
        Some(project.question(QuestionId(self.questions_asked + 1)))
    }

    /// What is told of a session that starts without the project's settings.
    pub fn starts_without_project(&self) -> Option<String> {
        let project = self.project.as_ref()?;
        (self.lifecycle.trust == Trust::Without).then(|| project.told_without())
    }
}

/// What an answer to our question asks for; none where it is none of those that are offered.
pub fn wish(answer: &Answer) -> Option<Wish> {
    match answer {
        Answer::Deny { interrupt: true, .. } => Some(Wish::Cancel),
        Answer::Deny { interrupt: false, .. } => Some(Wish::Start(Decision::Without)),
        Answer::Choose { answers } => match answers.values().next()?.as_str() {
            RUN => Some(Wish::Start(Decision::Run)),
            WITHOUT => Some(Wish::Start(Decision::Without)),
            CANCEL => Some(Wish::Cancel),
            _ => None,
        },
        Answer::Allow { .. } | Answer::Submit { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project() -> Project {
        Project {
            root: "/srv/repo".into(),
            digest: "d".into(),
            starts: vec!["hook SessionStart: ./x.sh".into(), "MCP server db: npx db".into()],
            decided: None,
        }
    }

    #[test]
    fn the_question_lists_what_starts_and_takes_the_answers_it_offers() {
        let question = project().question(QuestionId(3));
        let QuestionKind::Choice { questions, .. } = &question.kind else {
            panic!("{question:?}");
        };
        let text = &questions[0].question;
        assert!(
            text.contains("\n  hook SessionStart: ./x.sh\n  MCP server db: npx db\n"),
            "{text}"
        );
        assert!(text.contains("ignoring the allow rules"), "{text}");
        let choose = |label: &str| Answer::Choose {
            answers: [(text.clone(), label.to_owned())].into(),
        };
        let wishes = questions[0].options.iter().map(|option| {
            let answer = choose(&option.label);
            assert_eq!(question.kind.check(&answer), Ok(()));
            wish(&answer).unwrap()
        });
        let expected = [Wish::Start(Decision::Run), Wish::Start(Decision::Without), Wish::Cancel];
        assert_eq!(wishes.collect::<Vec<_>>(), expected);
        assert_eq!(wish(&choose("run it, please")), None);
        assert_eq!(wish(&Answer::allow()), None);
    }

    #[test]
    fn to_decline_starts_without_it_and_never_runs_it() {
        let deny = |interrupt| Answer::Deny {
            reason: None,
            interrupt,
        };
        assert_eq!(wish(&deny(false)), Some(Wish::Start(Decision::Without)));
        assert_eq!(wish(&deny(true)), Some(Wish::Cancel));
    }

    #[test]
    fn a_session_of_a_version_before_is_not_asked_about() {
        assert_eq!(Trust::of_new(None), Trust::Unasked);
        assert_eq!(Trust::of_new(Some(&project())), Trust::Due);
        let decided = Some(Decision::Without);
        assert_eq!(Trust::of_new(Some(&Project { decided, ..project() })), Trust::Without);
    }
}
