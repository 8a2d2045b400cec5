//! A task is clarified before it is run, whatever dies in between.

use super::agent::{Agent, Script, script};
use super::faults::{Case, tells_each_once};
use super::world::{HOUR, SECOND, World, pass, simulate};
use crate::runtime::handle::Going;
use crate::runtime::refusal::CallError;
use crate::session::id::{QuestionId, SessionId};
use crate::session::journal::Entry;
use crate::session::outcome::Outcome;
use crate::session::question::Answer;
use crate::session::request::{OnQuestion, PermissionMode, Request};
use crate::store::memory::Fault;

const AMBIGUOUS: &str = r#"It is not clear. ```json
{"ambiguous": true, "questions": [{"question": "Which?", "options": [{"label": "Red"}, {"label": "Blue"}]}]}
```"#;

/// Gives this verdict about the task; says a line where it is to do it.
fn analyst(verdict: &'static str) -> Script {
    script(move |agent| analyses(agent, verdict, false))
}

/// The same, and dies once in the analysis and once at work.
fn frail_analyst() -> Script {
    script(move |agent| analyses(agent, AMBIGUOUS, true))
}

async fn analyses(agent: Agent, verdict: &'static str, is_frail: bool) {
    agent.works(SECOND).await;
    let is_analysis = agent.told().contains("Do not do it yet");
    if is_frail && agent.is_first(if is_analysis { "analysis" } else { "work" }) {
        return agent.crashes();
    }
    if is_analysis {
        return agent.finishes_with(verdict);
    }
    assert!(
        agent.told().contains("Say some lines."),
        "it is told the task: {}",
        agent.told()
    );
    agent.says_a_line();
    agent.finishes();
}

fn to_clarify(request: &mut Request) {
    request.clarify = true;
    request.permission_mode = Some(PermissionMode::AcceptEdits);
}

async fn answer(world: &World, id: SessionId, question: QuestionId, label: &str) -> Result<(), CallError> {
    let answer = Answer::Choose {
        answers: [("Which?".to_owned(), label.to_owned())].into(),
    };
    let handle = world.handle();
    handle
        .answer(None, id, question, answer, "a test".into())
        .await
        .map(drop)
}

fn count(world: &World, id: SessionId, kind: &str) -> usize {
    world
        .journal(id)
        .iter()
        .filter(|(_, entry)| entry.kind() == kind)
        .count()
}

/// The task as it was settled.
fn refined(world: &World, id: SessionId) -> String {
    let found = world.journal(id).into_iter().find_map(|(_, entry)| match entry {
        Entry::TaskRefined(refined) => Some(refined.task),
        _ => None,
    });
    found.expect("the task was settled")
}

fn mode(world: &World, id: SessionId, attempt: u32) -> String {
    let argv = world.argv(id, attempt);
    let mode = argv
        .iter()
        .find_map(|argument| argument.strip_prefix("--permission-mode="));
    mode.expect("there is always one").to_owned()
}

#[test]
fn an_ambiguous_task_waits_for_a_person_over_a_restart_and_is_run_in_the_same_conversation() {
    simulate(async {
        let mut world = World::new(analyst(AMBIGUOUS));
        let id = world.create(to_clarify).await;
        let asked = world.shown(id, "awaiting_input").await;
        assert_eq!(world.lines(id).len(), 0, "nothing was done");
        assert!(!asked.takes_slot());
        world.restart();
        pass(24 * HOUR).await;
        let question = *asked.questions.keys().next().unwrap();
        answer(&world, id, question, "Red").await.unwrap();
        let again = answer(&world, id, question, "Blue").await;
        assert!(again.is_err(), "the first answer wins");
        let (outcome, summary) = world.ended(id).await;
        assert_eq!((outcome, world.lines(id).len()), (Outcome::Completed, 1));
        assert!(refined(&world, id).ends_with("Which?\nRed"));
        assert_eq!(
            summary.result.as_deref(),
            Some("All is done."),
            "the verdict is no result"
        );
        assert_eq!([1, 2].map(|attempt| mode(&world, id, attempt)), ["plan", "acceptEdits"]);
        assert!(world.argv(id, 2).contains(&format!("--resume={}", id.uuid())));
        assert!(
            !world
                .argv(id, 2)
                .iter()
                .any(|argument| argument.starts_with("--json-schema"))
        );
        assert_eq!(world.delays(id), [], "no restart was made of it");
    });
}

#[test]
fn a_clear_task_is_run_without_a_question_and_so_is_one_whose_verdict_cannot_be_read() {
    simulate(async {
        for (verdict, notices) in [(r#"{"ambiguous": false}"#, 0), ("All is clear to me.", 1)] {
            let world = World::new(analyst(verdict));
            let id = world.create(to_clarify).await;
            assert_eq!(world.ended(id).await.0, Outcome::Completed);
            assert_eq!(world.lines(id).len(), 1);
            assert_eq!(refined(&world, id), "Say some lines.");
            assert_eq!(count(&world, id, "question.asked"), 0);
            assert_eq!(count(&world, id, "notice"), notices, "{verdict}");
        }
    });
}

#[test]
fn a_question_that_nobody_wants_to_answer_is_left_to_the_agent() {
    simulate(async {
        let world = World::new(analyst(AMBIGUOUS));
        let deny_in_time = |request: &mut Request| {
            to_clarify(request);
            request.on_question = OnQuestion::Deny;
            request.question_timeout_seconds = Some(600);
        };
        let id = world.create(deny_in_time).await;
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
        assert!(refined(&world, id).contains("nobody answered in time"));
    });
}

#[test]
fn a_session_cancelled_while_it_asks_finds_out_anew_when_it_is_resumed() {
    simulate(async {
        let world = World::new(analyst(AMBIGUOUS));
        let id = world.create(to_clarify).await;
        world.shown(id, "awaiting_input").await;
        world.handle().cancel(None, id, "a test".into()).await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Cancelled);
        world
            .handle()
            .resume(None, id, Going::default(), "a test".into())
            .await
            .unwrap();
        let asked = world.shown(id, "awaiting_input").await;
        assert_eq!(asked.questions.keys().copied().collect::<Vec<_>>(), [QuestionId(2)]);
        assert_eq!(mode(&world, id, 2), "plan");
        answer(&world, id, QuestionId(2), "Blue").await.unwrap();
        assert_eq!(world.ended(id).await.0, Outcome::Completed);
    });
}

/// Analysed, asked, answered in time and run, with a death in the analysis and one at work.
const FRAIL: Case = Case {
    script: frail_analyst,
    request: |request| {
        to_clarify(request);
        request.on_question = OnQuestion::FirstOption;
        request.question_timeout_seconds = Some(60);
    },
    look: |world, id, context| {
        assert_eq!(world.lines(id).len(), 1, "{context}");
        assert_eq!(
            world.endings(id),
            ["crashed", "finished", "crashed", "finished"],
            "{context}"
        );
        assert!(tells_each_once(world, id), "{context}");
        for kind in ["question.asked", "question.answered", "task.refined"] {
            assert_eq!(count(world, id, kind), 1, "{kind}, {context}");
        }
        assert!(refined(world, id).ends_with("Which?\nRed"), "{context}");
        assert_eq!(
            [1, 2, 3, 4].map(|attempt| mode(world, id, attempt)),
            ["plan", "plan", "acceptEdits", "acceptEdits"],
            "{context}"
        );
    },
};

#[test]
fn a_daemon_that_dies_at_any_commit_of_a_clarified_session_asks_once_and_runs_the_task_once() {
    for fault in [Fault::DiesBeforeCommit, Fault::DiesAfterCommit] {
        let commits = FRAIL.fails_everywhere(fault);
        assert!(commits > 20, "only {commits} commits were tried");
    }
}
