//! Trust in what a project starts by itself. Without a terminal the CLI runs a directory's hooks, helpers and MCP servers
//! before anybody is asked. So a session in a directory that brings such things begins with a question, unless somebody
//! trusts it already. The same question is about what an agent asks for that no permission holds ([`AskedExtras`]).
//!
//! ```text
//!  due ─► asking ──(run it)────────────► run
//!            ├─────(start without it)──► without: no attempt has what was asked about
//!            └─────(cancel)            ► the session ends
//! ```
//!
//! All of it is a fold of the journal: `session.created`, `question.asked`, `question.answered`, `attempt.ended`. The
//! directory is looked at when the request is accepted, and again before an agent is told the task, or what somebody resumes
//! the session with: something may have come into it meanwhile. In between it is the session's own work, and nobody is asked
//! about it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::asked::AskedExtras;
use super::id::QuestionId;
use super::question::{Answer, Choice, ChoiceOption, Question, QuestionKind};
use super::visible;

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

/// What a directory starts by itself, where neither the request nor the CLI's own record says that it may, and what an
/// agent asks for besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// The root of the main repository, or the directory itself outside of one.
    #[schema(value_type = String)]
    pub root: PathBuf,
    /// A digest of everything that starts by itself, and of the repository's files that it names.
    pub digest: String,
    /// Each thing that starts by itself, in a line; none where the directory is not in question.
    pub starts: Vec<String>,
    /// What holds for the directory without asking; a person is asked where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<TrustDecision>,
    /// What an agent asks for; a person is always asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedExtras>,
}

/// What holds for a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Decision)]
pub enum TrustDecision {
    /// What it brings starts by itself.
    Run,
    /// The agent starts without the project's settings.
    Without,
}

/// How far a session has come with the project's trust.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Trust {
    /// Nobody is asked: so far nothing starts by itself that is not trusted already.
    #[default]
    Unasked,
    /// A person is asked before anything starts.
    Due,
    /// A person is asked.
    Asking {
        /// The id of the question.
        question: QuestionId,
    },
    /// A person lets it start.
    Run,
    /// No attempt has what was asked about.
    Without,
}

/// What an answer to our question asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// To go on in this way.
    Start(TrustDecision),
    /// To end the session.
    Cancel,
}

impl Trust {
    /// Where a new session stands.
    pub fn of_new(project: Option<&Project>) -> Self {
        match project {
            None => Self::Unasked,
            Some(Project { asked: Some(_), .. } | Project { decided: None, .. }) => Self::Due,
            Some(Project {
                decided: Some(decision),
                ..
            }) => Self::decided(*decision),
        }
    }

    /// Where a session stands once it is decided.
    pub fn decided(decision: TrustDecision) -> Self {
        match decision {
            TrustDecision::Run => Self::Run,
            TrustDecision::Without => Self::Without,
        }
    }

    /// What a person has decided.
    pub(super) fn decision(self) -> Option<TrustDecision> {
        match self {
            Self::Run => Some(TrustDecision::Run),
            Self::Without => Some(TrustDecision::Without),
            Self::Unasked | Self::Due | Self::Asking { .. } => None,
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
    /// What an agent asks for in a directory that is not in question.
    pub fn of_asked(directory: PathBuf, asked: AskedExtras) -> Self {
        Self {
            root: directory,
            digest: String::new(),
            starts: Vec::new(),
            decided: Some(TrustDecision::Run),
            asked: Some(asked),
        }
    }

    /// Whether a person is asked about the directory.
    fn is_in_question(&self) -> bool {
        self.decided.is_none()
    }

    /// What is remembered of an answer, if anything: what was decided about the directory. One that declines both the
    /// directory and what an agent asks for does not say which of them was meant.
    pub fn remembered(&self, decision: TrustDecision) -> bool {
        self.is_in_question() && (self.asked.is_none() || decision == TrustDecision::Run)
    }

    /// The question about it.
    pub fn question(&self, question_id: QuestionId) -> Question {
        let option = |label: &str, description: &str| ChoiceOption {
            label: label.to_owned(),
            description: description.to_owned(),
        };
        let (run, without) = self.descriptions();
        let choice = Choice {
            question: self.text(),
            header: "Trust".to_owned(),
            options: vec![
                option(RUN, run),
                option(WITHOUT, without),
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

    /// The root in one line, whatever its name is.
    pub fn shown_root(&self) -> String {
        visible::line(&self.root.display().to_string()).into_owned()
    }

    fn text(&self) -> String {
        let listed = |lines: &[String]| lines.iter().map(|line| format!("\n  {line}")).collect::<String>();
        let mut text = String::new();
        if self.is_in_question() {
            text = format!(
                "The project {} is not trusted. With each agent it starts these, without asking for permission:{}\n",
                self.shown_root(),
                listed(&self.starts)
            );
        }
        if let Some(asked) = &self.asked {
            text += &format!(
                "The agent of session {} asks for these in the session. They run outside of its permissions:{}\n",
                asked.by.short(),
                listed(&asked.lines())
            );
        }
        text += "Run it?";
        if self.is_in_question() {
            text += " Claude itself ignores the allow rules of the project until you trust it there.";
        }
        text
    }

    /// What the answers mean that let the session start: all of it runs, or nothing of it.
    fn descriptions(&self) -> (&'static str, &'static str) {
        match (self.is_in_question(), self.asked.is_some()) {
            (_, false) => (
                "Asked again only when what starts by itself has changed",
                "No settings of the project: no hooks, helpers, MCP servers, commands, skills or CLAUDE.md of it",
            ),
            (false, true) => ("For this session alone", "None of these MCP servers and variables"),
            (true, true) => (
                "What the agent asks for, for this session alone; the project until what starts by itself has changed",
                "None of these MCP servers and variables, and no settings of the project: no hooks, helpers, MCP servers, \
                 commands, skills or CLAUDE.md of it",
            ),
        }
    }

    /// Tells that the session goes on without what a person was asked about.
    pub fn told_without(&self) -> String {
        let of_directory = self.is_in_question().then(|| self.told_without_directory());
        let of_asked = self.asked.as_ref().map(|asked| {
            format!(
                "The agent starts without what the agent of session {} asked for, because no person allowed it: {}.",
                asked.by.short(),
                asked.lines().join("; "),
            )
        });
        let told: Vec<String> = of_directory.into_iter().chain(of_asked).collect();
        told.join("\n")
    }

    /// Tells that the session goes on without the project's settings, where that is decided without asking.
    pub fn told_if_decided(&self) -> Option<String> {
        (self.decided == Some(TrustDecision::Without)).then(|| self.told_without_directory())
    }

    fn told_without_directory(&self) -> String {
        format!(
            "The agent starts without the settings of {}: the project is not trusted and starts things by itself, such as: {}. \
             To run them, start a session with --trust-project, or trust the project in Claude itself.",
            self.shown_root(),
            self.starts.first().map_or("hooks", String::as_str),
        )
    }
}

/// What an answer to our question asks for; none where it is none of those that are offered.
pub fn meaning(answer: &Answer) -> Option<Meaning> {
    match answer {
        Answer::Deny { interrupt: true, .. } => Some(Meaning::Cancel),
        Answer::Deny { interrupt: false, .. } => Some(Meaning::Start(TrustDecision::Without)),
        Answer::Choose { answers } => match answers.values().next()?.as_str() {
            RUN => Some(Meaning::Start(TrustDecision::Run)),
            WITHOUT => Some(Meaning::Start(TrustDecision::Without)),
            CANCEL => Some(Meaning::Cancel),
            _ => None,
        },
        Answer::Allow { .. } | Answer::Submit { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::summary::Summary;

    fn project() -> Project {
        Project {
            root: "/srv/repo".into(),
            digest: "d".into(),
            starts: vec!["hook SessionStart: ./x.sh".into(), "MCP server db: npx db".into()],
            decided: None,
            asked: None,
        }
    }

    fn asked() -> AskedExtras {
        let config = r#"{"mcpServers": {"db": {"command": "npx", "args": ["-y", "d b"]}}}"#;
        let by = "0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10".parse().unwrap();
        AskedExtras::of(by, &[config.to_owned()], vec!["LD_PRELOAD".into()]).unwrap()
    }

    fn text_of(project: &Project) -> String {
        match &project.question(QuestionId(1)).kind {
            QuestionKind::Choice { questions, .. } => questions[0].question.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn summary(project: Project, answer: Option<TrustDecision>) -> Summary {
        let mut created = crate::session::samples::created("t");
        created.project = Some(Box::new(project));
        let mut summary = Summary::new(
            crate::session::id::SessionId::new(),
            &created,
            jiff::Timestamp::UNIX_EPOCH,
        );
        summary.lifecycle.trust = Trust::of_new(summary.project.as_deref());
        if let Some(answer) = answer {
            summary.lifecycle.trust = Trust::decided(answer);
        }
        summary
    }

    #[test]
    fn what_an_agent_asks_for_is_listed_with_its_argv_in_one_question() {
        let told = "asks for these in the session. They run outside of its permissions:\n  MCP server db (stdio): npx -y \"d b\"\n  \
                    env LD_PRELOAD\nRun it?";
        let alone = text_of(&Project::of_asked("/w".into(), asked()));
        assert!(
            alone.starts_with("The agent of session ") && alone.ends_with(told),
            "{alone}"
        );
        let asked = Some(asked());
        let both = text_of(&Project { asked, ..project() });
        assert!(
            both.contains("MCP server db: npx db\nThe agent of session") && both.contains(told),
            "{both}"
        );
    }

    #[test]
    fn the_name_of_a_directory_adds_no_lines() {
        let root = "/srv/x\n  hook: true\nRun it?".into();
        let forged = Project { root, ..project() };
        assert_eq!(text_of(&forged).lines().count(), text_of(&project()).lines().count());
        assert_eq!(forged.told_without_directory().lines().count(), 1);
    }

    #[test]
    fn what_an_agent_asks_for_is_always_asked_about_and_only_an_answer_gives_it() {
        for decided in [None, Some(TrustDecision::Run), Some(TrustDecision::Without)] {
            let project = Project {
                decided,
                asked: Some(asked()),
                ..project()
            };
            assert_eq!(Trust::of_new(Some(&project)), Trust::Due);
            assert!(!summary(project.clone(), None).has_asked());
            for answer in [TrustDecision::Run, TrustDecision::Without] {
                let summary = summary(project.clone(), Some(answer));
                assert_eq!(summary.has_asked(), answer == TrustDecision::Run);
                assert_eq!(summary.decided_of_project(), Some(decided.unwrap_or(answer)));
            }
        }
    }

    #[test]
    fn only_what_was_decided_about_the_project_alone_or_all_of_it_is_remembered() {
        let both = Project {
            asked: Some(asked()),
            ..project()
        };
        let known = Project {
            decided: Some(TrustDecision::Without),
            ..both.clone()
        };
        let alone = Project::of_asked("/w".into(), asked());
        for (project, run, without) in [
            (project(), true, true),
            (both, true, false),
            (known, false, false),
            (alone, false, false),
        ] {
            let remembered = [TrustDecision::Run, TrustDecision::Without].map(|decision| project.remembered(decision));
            assert_eq!(remembered, [run, without], "{project:?}");
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
        assert!(text.contains("ignores the allow rules"), "{text}");
        let choose = |label: &str| Answer::Choose {
            answers: [(text.clone(), label.to_owned())].into(),
        };
        let wishes = questions[0].options.iter().map(|option| {
            let answer = choose(&option.label);
            assert_eq!(question.kind.check(&answer), Ok(()));
            meaning(&answer).unwrap()
        });
        let expected = [
            Meaning::Start(TrustDecision::Run),
            Meaning::Start(TrustDecision::Without),
            Meaning::Cancel,
        ];
        assert_eq!(wishes.collect::<Vec<_>>(), expected);
        assert_eq!(meaning(&choose("run it, please")), None);
        assert_eq!(meaning(&Answer::allow()), None);
    }

    #[test]
    fn to_decline_starts_without_it_and_never_runs_it() {
        let deny = |interrupt| Answer::Deny {
            reason: None,
            interrupt,
        };
        assert_eq!(meaning(&deny(false)), Some(Meaning::Start(TrustDecision::Without)));
        assert_eq!(meaning(&deny(true)), Some(Meaning::Cancel));
    }

    #[test]
    fn a_session_of_a_version_before_is_not_asked_about() {
        assert_eq!(Trust::of_new(None), Trust::Unasked);
        assert_eq!(Trust::of_new(Some(&project())), Trust::Due);
        let decided = Some(TrustDecision::Without);
        assert_eq!(Trust::of_new(Some(&Project { decided, ..project() })), Trust::Without);
    }
}
