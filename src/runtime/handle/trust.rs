//! Whether a session may start what its project brings: looked at when the request is accepted, and remembered for each
//! repository once a person has said it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CallError, Handle, blocking};
use crate::agent::launch::write_private;
use crate::agent::project;
use crate::agent_host::regular;
use crate::runtime::settings::RuntimeSettings;
use crate::session::asked::Asked;
use crate::session::id::QuestionId;
use crate::session::question::Answer;
use crate::session::request::{PermissionMode, Request};
use crate::session::summary::Summary;
use crate::session::trust::{self, Decision, Policy, Project, Wish};

/// The most repositories that are remembered.
const ROOTS_MAX: usize = 2000;

/// The most decisions that are remembered for one repository: its directories may each bring other things.
const DECISIONS_MAX: usize = 50;

/// One at a time writes the file.
static WRITING: Mutex<()> = Mutex::new(());

/// What people have decided, by the roots of repositories.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Remembered {
    projects: BTreeMap<String, Vec<Decided>>,
}

/// One decision; those of a repository stand in the order in which they were made.
#[derive(Debug, Serialize, Deserialize)]
struct Decided {
    digest: String,
    decision: Decision,
    at: Timestamp,
    by: String,
}

/// What is recorded of what starts in a new session: nothing if nothing does, or it is trusted elsewhere. `environment` has
/// nothing of what an agent asks for: that could name another record of trust.
pub(super) fn settle(
    settings: &RuntimeSettings,
    request: &Request,
    environment: &BTreeMap<String, String>,
    asked: Option<Asked>,
) -> Option<Project> {
    let project = of_directory(settings, request, environment);
    match (project, asked) {
        (project, None) => project,
        (None, Some(asked)) => Some(Project::of_asked(request.cwd.clone(), asked)),
        (Some(project), asked) => Some(Project { asked, ..project }),
    }
}

fn of_directory(
    settings: &RuntimeSettings,
    request: &Request,
    environment: &BTreeMap<String, String>,
) -> Option<Project> {
    if settings.project_trust == Policy::Trust {
        return None;
    }
    let found = project::look(&request.cwd, environment)?;
    let decided = match settings.project_trust {
        Policy::Trust => return None,
        Policy::Ignore => Some(Decision::Without),
        Policy::Ask if is_told_to_run(request) || project::is_trusted(&request.cwd, environment) => return None,
        Policy::Ask => remembered(&settings.projects_file(), &found.root, &found.digest),
    };
    Some(Project {
        root: found.root,
        digest: found.digest,
        starts: found.starts,
        decided,
        asked: None,
    })
}

/// Whether the request itself lets the project start what it brings. An agent cannot say that it does.
fn is_told_to_run(request: &Request) -> bool {
    let is_of_agent = request.parent.is_some() || request.depth > 0;
    let bypasses = request.asked_mode() == PermissionMode::BypassPermissions;
    bypasses || (request.trust_project && !is_of_agent)
}

/// What was decided about a project, as long as it still starts the same.
fn remembered(file: &Path, root: &Path, digest: &str) -> Option<Decision> {
    let remembered = read(file).unwrap_or_else(|error| {
        tracing::warn!(path = %file.display(), %error, "what was decided about projects cannot be read: people are asked again");
        Remembered::default()
    });
    let of_root = remembered.projects.get(root.to_str()?)?;
    let found = of_root.iter().rfind(|decided| decided.digest == digest);
    found.map(|decided| decided.decision)
}

/// The project that an answer decides about, and what it decides; none where the question is another one, or nothing of it
/// is remembered.
pub(super) fn wish(asked: &Summary, question: QuestionId, answer: &Answer) -> Option<(Project, Decision)> {
    let is_asking = asked.lifecycle.trust.is_asking(question);
    match trust::wish(answer).filter(|_| is_asking)? {
        Wish::Start(decision) => {
            let project = asked.project.as_deref()?;
            project.remembered(decision).then(|| (project.clone(), decision))
        }
        Wish::Cancel => None,
    }
}

impl Handle {
    /// Remembers what a person has decided. Where that cannot be, people are asked again.
    pub(super) async fn remember(&self, wish: Option<(Project, Decision)>, by: String) -> Result<(), CallError> {
        let Some((project, decision)) = wish else { return Ok(()) };
        let file = self.settings.projects_file();
        let remembering = blocking(move || remember(&file, &project, decision, by)).await?;
        if let Err(error) = remembering {
            tracing::warn!(%error, "what was decided about a project is not remembered: people are asked again");
        }
        Ok(())
    }
}

/// Remembers what a person has decided about a project.
pub(super) fn remember(file: &Path, project: &Project, decision: Decision, by: String) -> io::Result<()> {
    let Some(root) = project.root.to_str() else {
        return Ok(());
    };
    let _turn = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut remembered = read(file)?;
    let of_root = remembered.projects.entry(root.to_owned()).or_default();
    of_root.retain(|decided| decided.digest != project.digest);
    of_root.push(Decided {
        digest: project.digest.clone(),
        decision,
        at: Timestamp::now(),
        by,
    });
    of_root.drain(..of_root.len().saturating_sub(DECISIONS_MAX));
    while remembered.projects.len() > ROOTS_MAX {
        let latest = |of_root: &Vec<Decided>| of_root.last().map(|decided| decided.at);
        let oldest = remembered.projects.iter().min_by_key(|(_, of_root)| latest(of_root));
        let Some(oldest) = oldest.map(|(root, _)| root.clone()) else {
            break;
        };
        remembered.projects.remove(&oldest);
    }
    write_private(file, &serde_json::to_vec_pretty(&remembered)?)
}

fn read(file: &Path) -> io::Result<Remembered> {
    match regular::if_there(regular::read(file))? {
        Some(json) => Ok(serde_json::from_slice(&json)?),
        None => Ok(Remembered::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::trust::Trust;
    use std::fs;

    struct Case {
        root: tempfile::TempDir,
        settings: RuntimeSettings,
        request: Request,
    }

    impl Case {
        fn new() -> Self {
            let root = tempfile::tempdir().expect("a directory");
            let cwd = root.path().canonicalize().expect("a path").join("work");
            fs::create_dir_all(cwd.join(".claude")).expect("a directory");
            let hooks = r#"{"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "./x.sh"}]}]}}"#;
            fs::write(cwd.join(".claude/settings.json"), hooks).expect("written");
            let settings = RuntimeSettings {
                state: root.path().to_owned(),
                ..RuntimeSettings::for_tests()
            };
            let request = Request {
                task: "t".into(),
                cwd,
                ..Request::default()
            };
            Self {
                root,
                settings,
                request,
            }
        }

        fn settled(&self) -> Option<Project> {
            self.settled_with(None)
        }

        fn settled_with(&self, asked: Option<Asked>) -> Option<Project> {
            let home = self.root.path().join("home").display().to_string();
            settle(
                &self.settings,
                &self.request,
                &[("HOME".to_owned(), home)].into(),
                asked,
            )
        }

        fn remember(&self, decision: Decision) {
            let project = self.settled().expect("a project");
            let file = self.settings.projects_file();
            remember(&file, &project, decision, "a person".into()).expect("remembered");
        }
    }

    #[test]
    fn a_decision_holds_until_what_starts_changes() {
        let case = Case::new();
        assert_eq!(case.settled().unwrap().decided, None);
        case.remember(Decision::Without);
        assert_eq!(case.settled().unwrap().decided, Some(Decision::Without));
        case.remember(Decision::Run);
        assert_eq!(case.settled().unwrap().decided, Some(Decision::Run));
        fs::write(case.request.cwd.join("x.sh"), "").unwrap();
        assert_eq!(
            case.settled().unwrap().decided,
            None,
            "a file that a hook names is there now"
        );
        case.remember(Decision::Without);
        fs::remove_file(case.request.cwd.join("x.sh")).unwrap();
        assert_eq!(
            case.settled().unwrap().decided,
            Some(Decision::Run),
            "both are remembered"
        );
    }

    #[test]
    fn the_request_or_the_setting_may_decide_and_an_agent_may_not() {
        let mut case = Case::new();
        case.request.trust_project = true;
        assert_eq!(case.settled(), None);
        case.request.depth = 1;
        assert!(case.settled().is_some(), "an agent asks for it");
        case.request.permission_mode = Some(PermissionMode::BypassPermissions);
        assert_eq!(case.settled(), None);
        case.settings.project_trust = Policy::Ignore;
        assert_eq!(case.settled().unwrap().decided, Some(Decision::Without));
        case.settings.project_trust = Policy::Trust;
        case.request.permission_mode = None;
        assert_eq!(case.settled(), None);
    }

    #[test]
    fn no_setting_and_nothing_remembered_gives_what_an_agent_asks_for() {
        let mut case = Case::new();
        let asked = || Asked::of(SessionId::new(), &[], vec!["A".into()]);
        let trust = |case: &Case| Trust::of_new(case.settled_with(asked()).as_ref());
        assert_eq!(case.settled_with(asked()).unwrap().decided, None);
        case.remember(Decision::Run);
        assert_eq!(case.settled_with(asked()).unwrap().decided, Some(Decision::Run));
        for policy in [Policy::Ask, Policy::Trust, Policy::Ignore] {
            case.settings.project_trust = policy;
            assert_eq!(trust(&case), Trust::Due, "{policy:?}");
        }
        case.request.cwd = case.root.path().to_owned();
        assert_eq!((case.settled(), trust(&case)), (None, Trust::Due));
    }

    #[test]
    fn a_file_that_cannot_be_read_trusts_nothing_and_stays() {
        let case = Case::new();
        let file = case.settings.projects_file();
        fs::write(&file, "{").unwrap();
        let project = case.settled().unwrap();
        assert_eq!(project.decided, None);
        assert!(remember(&file, &project, Decision::Run, String::new()).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "{");
    }
}
