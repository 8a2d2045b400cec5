//! Every refusal, in every place.

use std::path::{Path, PathBuf};

use actix_web::test::TestRequest;
use uuid::Uuid;

use super::*;
use crate::session::id::{Attempt, QuestionId, Seq, SessionId};
use crate::session::kin::Excess;
use crate::session::limits::BudgetSpent;
use crate::session::outcome::Outcome;
use crate::session::question::AnswerMismatch;
use crate::session::request::{InvalidRequest, PermissionMode};
use crate::session::shown::Shown;
use crate::session::state::StateName;
use crate::web::error::Problem;

/// Commands of a terminal that are named elsewhere stand behind this.
const ELSEWHERE: &str = "on the daemon's machine, ";

fn refusals() -> [CallError; 6] {
    let id = SessionId::from_uuid(Uuid::from_u128(7));
    let refusals = [
        StoreRefusal::WrongAttempt {
            given: Attempt(1),
            current: Attempt(2),
        },
        StoreRefusal::WrongOffset { given: 1, stored: 2 },
        StoreRefusal::NoSuchSession(id),
        StoreRefusal::StillLive(id),
        StoreRefusal::SessionExists(id),
        StoreRefusal::KeyTaken(id),
    ];
    refusals.map(CallError::Refused)
}

fn of_store() -> Vec<StoreError> {
    let (file, directory) = (PathBuf::from("/s/journal.db"), PathBuf::from("/s"));
    vec![
        StoreError::FromTheFuture { found: 9, known: 8 },
        StoreError::DiskFull {
            directory: directory.clone(),
        },
        StoreError::Damaged {
            file: file.clone(),
            why: "torn".into(),
        },
        StoreError::Unreadable { file: file.clone() },
        StoreError::Moved { file },
        StoreError::NetworkFileSystem { directory, kind: "nfs" },
        StoreError::Failed("x".into()),
        StoreError::Closed,
    ]
}

fn of_agents() -> impl Iterator<Item = CallError> {
    let id = SessionId::from_uuid(Uuid::from_u128(7));
    let not_served = [
        NotServed::Unknown,
        NotServed::Ended(id),
        NotServed::NoTools(id),
        NotServed::NotForAgents(id),
        NotServed::NoDepth("x".into()),
        NotServed::NotKin { of: id, by: id },
    ];
    let excess = [
        Excess::Mode {
            asked: PermissionMode::Auto,
            own: PermissionMode::Plan,
        },
        Excess::Rule("Bash".into()),
        Excess::Directory {
            path: "/w".into(),
            own: vec!["/v".into()],
        },
        Excess::AllowsQuestions,
        Excess::TrustsProject,
        Excess::NamesFile("x".into()),
        Excess::LongQuestion { bytes: 2, most: 1 },
        Excess::Budget { asked: 2.0, left: 1.0 },
        Excess::Broke,
        Excess::Answer("x".into()),
    ];
    let excess = excess.map(CallError::from);
    not_served.map(CallError::NotServed).into_iter().chain(excess)
}

fn of_questions() -> Vec<AnswerMismatch> {
    vec![
        AnswerMismatch::NeedsYesOrNo,
        AnswerMismatch::NeedsChoice,
        AnswerMismatch::UnknownQuestion("q".into()),
        AnswerMismatch::Unanswered("q".into()),
        AnswerMismatch::NeedsForm,
        AnswerMismatch::NotOffered,
        AnswerMismatch::Deep,
        AnswerMismatch::Long { bytes: 2, bytes_max: 1 },
        AnswerMismatch::BadForm("x".into()),
    ]
}

fn of_requests() -> Vec<InvalidRequest> {
    vec![
        InvalidRequest::EmptyTask,
        InvalidRequest::LongTask { bytes: 9 },
        InvalidRequest::LongName,
        InvalidRequest::RelativeDirectory("w".into()),
        InvalidRequest::TooDeep { depth: 4 },
        InvalidRequest::NotPositive("max_turns"),
        InvalidRequest::DeepSchema,
        InvalidRequest::NulByte("task"),
        InvalidRequest::LongText {
            what: "model".into(),
            bytes: 2,
            most: 1,
        },
        InvalidRequest::LongCommandLine { bytes: 2, most: 1 },
        InvalidRequest::BadMcpConfig {
            name: "/w".into(),
            why: "x".into(),
        },
    ]
}

fn of_wishes() -> Vec<Denied> {
    let denied = [
        Denied::NoSuchQuestion(QuestionId(1)),
        Denied::AlreadyAnswered(QuestionId(1)),
        Denied::BeingEnded,
        Denied::BudgetSpent(BudgetSpent {
            spent: 2.5,
            budget: 2.0,
        }),
        Denied::AlreadyEnded(Outcome::Completed),
        Denied::StillLive(StateName::Running),
        Denied::Completed,
    ];
    let misfits = of_questions().into_iter().map(Denied::from);
    denied.into_iter().chain(misfits).collect()
}

/// One of each kind, the kinds within them too.
fn every_refusal() -> Vec<CallError> {
    let id = SessionId::from_uuid(Uuid::from_u128(7));
    let mut all = vec![
        CallError::NoSuchSession("abcd".into()),
        CallError::AmbiguousId {
            typed: "abcd".into(),
            count: 2,
        },
        CallError::AmbiguousName {
            name: "n".into(),
            candidates: vec![(id, Shown::Running)],
        },
        CallError::BadDirectory {
            path: "/w".into(),
            why: "x".into(),
        },
        CallError::DirectoryNotAllowed {
            path: "/w".into(),
            allowed: "/v".into(),
        },
        CallError::NoSuchCheckpoint(Seq(1)),
        CallError::NoConversation("gone".into()),
        CallError::Owned {
            agent_session_id: Uuid::from_u128(1),
            owner: id,
        },
        CallError::KeyMismatch {
            key: "k".into(),
            owner: id,
        },
        CallError::InUse {
            session: id,
            lock: "/l".into(),
        },
        CallError::NotJournalled(id),
        CallError::FilesUnusable {
            session: id,
            why: "x".into(),
        },
        CallError::FilesStay {
            session: id,
            directory: "/d".into(),
            why: "x".into(),
        },
        CallError::QueueFull(9),
        CallError::LeftAlone(id),
        CallError::Stopping,
    ];
    all.extend(of_agents());
    all.extend(of_wishes().into_iter().map(CallError::Denied));
    all.extend(of_requests().into_iter().map(CallError::InvalidRequest));
    all.extend(of_store().into_iter().map(CallError::Store));
    all.extend(of_store().into_iter().map(CallError::Delayed));
    let delayed = |store| CallError::AnswerDelayed(QuestionId(1), store);
    all.extend(of_store().into_iter().map(delayed));
    all.extend(refusals());
    all
}

/// A terminal's commands that a text names without saying that they are for a terminal.
fn stray(text: &str) -> bool {
    let mut commands = text.match_indices("`cc-executor ").map(|(at, _)| at);
    commands.any(|at| !text[..at].ends_with(ELSEWHERE))
}

#[test]
fn a_refusal_names_the_remedy_of_the_place_where_it_is_read() {
    for error in every_refusal() {
        for reader in Audience::ALL {
            let problem = Problem::from(error.clone());
            let told = problem.told(reader);
            assert!(told.contains(&what(&error)), "{told}");
            if reader != Audience::Terminal {
                assert!(!stray(&told), "{reader:?}: {told}");
            }
            let has_remedy = remedy(&error).is_some_and(|remedy| told.ends_with(remedy.words(reader)));
            assert_eq!(has_remedy, remedy(&error).is_some(), "{reader:?}: {told}");
        }
        assert_eq!(told_to_model(&error), Problem::from(error).told(Audience::Mcp));
    }
}

#[test]
fn what_a_remedy_names_is_there() {
    let routes = include_str!("../mod.rs");
    let tools = crate::web::mcp::tool_names();
    for remedy in Remedy::ALL {
        for reader in Audience::ALL {
            let words = remedy.words(reader);
            for route in words.split('`').filter(|part| part.contains(" /api/")) {
                let path = route.split_once(' ').unwrap().1;
                assert!(routes.contains(&format!("\"{path}\"")), "{words}");
            }
            for named in words.split([' ', ',', ';']).filter(|word| word.contains("_execution")) {
                assert!(tools.iter().any(|tool| tool == named), "{words}");
            }
        }
        assert!(!stray(remedy.words(Audience::Mcp)) && !stray(remedy.words(Audience::Page)));
    }
}

#[test]
fn no_text_of_a_face_names_a_terminals_command_by_itself() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let is_told_to_a_person_at_the_machine = |path: &Path| {
        let known = [
            "remedy.rs",
            "page/side.rs",
            "access/pages.rs",
            "reference/description.rs",
        ];
        known.iter().any(|end| path.ends_with(end))
    };
    let mut left: Vec<PathBuf> = ["web", "runtime", "session"].map(|layer| root.join(layer)).into();
    let mut seen = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.extension().is_none_or(|end| end != "rs")
            || path.ends_with("tests.rs")
            || is_told_to_a_person_at_the_machine(&path)
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            assert!(!line.contains("`cc-executor "), "{}: {line}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}

#[test]
fn a_request_tells_where_its_refusal_is_read() {
    let of = |path: &str, name: &str, value: &str| {
        let request = TestRequest::with_uri(path)
            .insert_header((name, value))
            .to_http_request();
        Audience::of(&request)
    };
    assert_eq!(of("/api/sessions", "x-cc-executor-client", "cli"), Audience::Terminal);
    assert_eq!(of("/api/sessions", "x-cc-executor-client", "page"), Audience::Page);
    assert_eq!(of("/execution/x", "accept", "text/html"), Audience::Page);
    assert_eq!(of("/api/sessions", "x-cc-executor-client", "ci"), Audience::Api);
    assert_eq!(of("/mcp", "accept", "application/json"), Audience::Mcp);
}
