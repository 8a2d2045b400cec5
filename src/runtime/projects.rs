//! Trust in what a session's directory starts by itself: looked at when the request is accepted and again before the first
//! agent is told the task, and remembered for each repository once a person has decided.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::settings::RuntimeSettings;
use crate::agent::project;
use crate::disk::regular;
use crate::disk::write_private;
use crate::session::asked::AskedExtras;
use crate::session::request::{PermissionMode, Request};
use crate::session::summary::Summary;
use crate::session::trust::{Policy, Project, TrustDecision};

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
    decision: TrustDecision,
    at: Timestamp,
    by: String,
}

/// What is known when a directory is looked at.
pub(super) struct Inspection<'a> {
    /// Settings of the daemon.
    pub settings: &'a RuntimeSettings,
    /// The session's request, with its directory resolved.
    pub request: &'a Request,
    /// The agent's environment without what another agent asks for: that could name another record of trust.
    pub environment: &'a BTreeMap<String, String>,
    /// The project without whose settings the session runs whose agent asks for this one.
    pub declined: Option<&'a Path>,
}

impl Inspection<'_> {
    /// Returns what is recorded of a new session: none if nothing starts by itself, or it is trusted elsewhere.
    pub(super) fn settle(&self, asked: Option<AskedExtras>) -> Option<Project> {
        match (self.find(), asked) {
            (project, None) => project,
            (None, Some(asked)) => Some(Project::of_asked(self.request.cwd.clone(), asked)),
            (Some(project), asked) => Some(Project { asked, ..project }),
        }
    }

    /// Returns what is to be asked or left out before the agent is told the task: none if nothing has come into the
    /// directory since `known` was recorded and answered with `decision`.
    pub(super) fn settle_again(&self, known: Option<&Project>, decision: Option<TrustDecision>) -> Option<Project> {
        if decision == Some(TrustDecision::Without) {
            return None;
        }
        let found = self.find()?;
        let is_known = known.is_some_and(|known| known.digest == found.digest);
        let is_to_run = decision == Some(TrustDecision::Run) && is_known || found.decided == Some(TrustDecision::Run);
        let asked = || known.and_then(|known| known.asked.clone());
        (!is_to_run).then(|| Project {
            asked: asked(),
            ..found
        })
    }

    fn find(&self) -> Option<Project> {
        let Self {
            settings,
            request,
            environment,
            declined,
        } = *self;
        if settings.project_trust == Policy::Trust {
            return None;
        }
        let found = project::look(&request.cwd, environment)?;
        let is_declined = declined == Some(found.root.as_path());
        let decided = match settings.project_trust {
            Policy::Trust => return None,
            Policy::Ignore => Some(TrustDecision::Without),
            // A session gets no more than the one whose agent asks for it.
            Policy::Ask if is_declined => Some(TrustDecision::Without),
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
}

/// Returns the project without whose settings a session runs.
pub(super) fn declined_by(session: &Summary) -> Option<PathBuf> {
    let is_without = session.decided_of_project() == Some(TrustDecision::Without);
    session
        .project
        .as_ref()
        .filter(|_| is_without)
        .map(|project| project.root.clone())
}

/// Whether the request itself lets the project start what it brings. An agent cannot say that it does.
fn is_told_to_run(request: &Request) -> bool {
    let is_of_agent = request.parent.is_some() || request.depth > 0;
    let bypasses = request.asked_mode() == PermissionMode::BypassPermissions;
    bypasses || (request.trust_project && !is_of_agent)
}

/// What was decided about a project, as long as it still starts the same.
fn remembered(file: &Path, root: &Path, digest: &str) -> Option<TrustDecision> {
    let remembered = read(file).unwrap_or_else(|error| {
        tracing::warn!(path = %file.display(), %error, "what was decided about projects cannot be read: people are asked again");
        Remembered::default()
    });
    let of_root = remembered.projects.get(root.to_str()?)?;
    let found = of_root.iter().rfind(|decided| decided.digest == digest);
    found.map(|decided| decided.decision)
}

/// Remembers what a person has decided about a project.
pub(super) fn remember(file: &Path, project: &Project, decision: TrustDecision, by: String) -> io::Result<()> {
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
        declined: Option<PathBuf>,
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
                declined: None,
            }
        }

        fn settled(&self) -> Option<Project> {
            self.settled_with(None)
        }

        fn settled_with(&self, asked: Option<AskedExtras>) -> Option<Project> {
            self.look(|look| look.settle(asked))
        }

        fn look<T>(&self, with: impl FnOnce(&Inspection<'_>) -> T) -> T {
            let home = self.root.path().join("home").display().to_string();
            let look = Inspection {
                settings: &self.settings,
                request: &self.request,
                environment: &[("HOME".to_owned(), home)].into(),
                declined: self.declined.as_deref(),
            };
            with(&look)
        }

        fn remember(&self, decision: TrustDecision) {
            let project = self.settled().expect("a project");
            let file = self.settings.projects_file();
            remember(&file, &project, decision, "a person".into()).expect("remembered");
        }
    }

    #[test]
    fn a_decision_holds_until_what_starts_changes() {
        let case = Case::new();
        assert_eq!(case.settled().unwrap().decided, None);
        case.remember(TrustDecision::Without);
        assert_eq!(case.settled().unwrap().decided, Some(TrustDecision::Without));
        case.remember(TrustDecision::Run);
        assert_eq!(case.settled().unwrap().decided, Some(TrustDecision::Run));
        fs::write(case.request.cwd.join("x.sh"), "").unwrap();
        assert_eq!(
            case.settled().unwrap().decided,
            None,
            "a file that a hook names is there now"
        );
        case.remember(TrustDecision::Without);
        fs::remove_file(case.request.cwd.join("x.sh")).unwrap();
        assert_eq!(
            case.settled().unwrap().decided,
            Some(TrustDecision::Run),
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
        assert_eq!(case.settled().unwrap().decided, Some(TrustDecision::Without));
        case.settings.project_trust = Policy::Trust;
        case.request.permission_mode = None;
        assert_eq!(case.settled(), None);
    }

    #[test]
    fn a_session_gets_no_more_of_a_project_than_the_one_whose_agent_asks_for_it() {
        let mut case = Case::new();
        let decided = |case: &Case| case.settled().expect("a project").decided;
        case.remember(TrustDecision::Run);
        case.declined = Some(case.root.path().join("elsewhere"));
        assert_eq!(decided(&case), Some(TrustDecision::Run));
        case.declined = case.settled().map(|project| project.root);
        assert_eq!(decided(&case), Some(TrustDecision::Without));
        case.request.permission_mode = Some(PermissionMode::BypassPermissions);
        assert_eq!(decided(&case), Some(TrustDecision::Without));
    }

    #[test]
    fn what_has_come_since_is_asked_about_and_what_was_answered_is_not() {
        let case = Case::new();
        let again = |known: Option<&Project>, decision| case.look(|look| look.settle_again(known, decision));
        let known = case.settled().unwrap();
        assert_eq!(again(None, None), Some(known.clone()), "nothing was there before");
        assert_eq!(again(Some(&known), Some(TrustDecision::Run)), None);
        assert_eq!(again(Some(&known), Some(TrustDecision::Without)), None);
        let asked = AskedExtras::of(SessionId::new(), &[], vec!["A".into()]);
        let alone = Project::of_asked(case.request.cwd.clone(), asked.clone().unwrap());
        let found = again(Some(&alone), Some(TrustDecision::Run)).unwrap();
        assert_eq!((found.decided, found.asked), (None, asked));
        fs::write(case.request.cwd.join("x.sh"), "").unwrap();
        let found = again(Some(&known), Some(TrustDecision::Run)).unwrap();
        assert_ne!(found.digest, known.digest);
        case.remember(TrustDecision::Run);
        assert_eq!(
            again(Some(&known), Some(TrustDecision::Run)),
            None,
            "somebody has let it start since"
        );
    }

    #[test]
    fn no_setting_and_nothing_remembered_gives_what_an_agent_asks_for() {
        let mut case = Case::new();
        let asked = || AskedExtras::of(SessionId::new(), &[], vec!["A".into()]);
        let trust = |case: &Case| Trust::of_new(case.settled_with(asked()).as_ref());
        assert_eq!(case.settled_with(asked()).unwrap().decided, None);
        case.remember(TrustDecision::Run);
        assert_eq!(case.settled_with(asked()).unwrap().decided, Some(TrustDecision::Run));
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
        assert!(remember(&file, &project, TrustDecision::Run, String::new()).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "{");
    }
}
