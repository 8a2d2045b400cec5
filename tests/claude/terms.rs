//! What is settled during a session holds in its next attempt, and nothing becomes wider by a restart.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::main_job::{answer, messages, transcript, with_claude};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;
use crate::support::victim::Victim;
use crate::support::wait::until;

/// The agent alone, and the daemon at the same point.
const VICTIMS: [Victim; 2] = [Victim::Agent, Victim::DaemonThenAgent];

/// A session whose first agent is killed in the middle of a text between two steps.
struct Case {
    daemon: TestDaemon,
    id: String,
}

impl Case {
    fn begin(api: &MessagesApi, before: &str, after: &str, mode: &str) -> Self {
        let daemon = with_claude(api);
        let gate = daemon.root().join("gate");
        let task = format!(
            "FAKE: {before} ;; hold {} half of it ;; {after} ;; say the end",
            gate.display()
        );
        let id = daemon.create_with(json!({"task": task, "permission_mode": mode}));
        Self { daemon, id }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.daemon.work().join(name)
    }

    /// Kills when the text has begun and the CLI has written down the step before.
    fn kill(&mut self, victim: Victim) {
        until("some text", || {
            let path = self.daemon.state().join(format!("sessions/{}/1/stdout.jsonl", self.id));
            std::fs::read_to_string(path).ok()?.contains("text_delta").then_some(())
        });
        until("the step in the transcript", || {
            let text = std::fs::read_to_string(transcript(&self.daemon, &self.id)?).ok()?;
            text.contains("\"tool_result\"").then_some(())
        });
        victim.kill(&mut self.daemon, &self.id);
        std::fs::write(self.daemon.root().join("gate"), "").expect("the gate opens");
    }

    fn completes(&self) -> Value {
        let view = self.daemon.wait_for(&self.id, "completed");
        assert_eq!(
            (&view["attempt"], &view["result"]),
            (&json!(2), &json!("the end")),
            "{view}"
        );
        view
    }

    fn questions(&self) -> usize {
        self.daemon.records_of(&self.id, "question.asked").len()
    }

    /// The mode that the agent says is in force when it begins its last turn.
    fn last_mode(&self) -> Value {
        let turns = messages(&self.daemon, &self.id, "turn_started");
        turns.last().expect("a turn")["permission_mode"].clone()
    }
}

#[test]
fn what_is_granted_once_is_not_asked_again_by_the_next_agent() {
    for victim in VICTIMS {
        println!("{victim:?}");
        let api = MessagesApi::start();
        let mut case = Case::begin(&api, "bash touch one", "bash touch one", "default");
        answer(&case.daemon, &case.id, &json!({"action": "allow", "grant": [0]}));
        until("its effect", || case.file("one").exists().then_some(()));
        std::fs::remove_file(case.file("one")).unwrap();
        case.kill(victim);
        let view = case.completes();
        assert!(case.file("one").exists(), "the second agent did it");
        assert_eq!(case.questions(), 1, "and asked nobody");
        assert_eq!(
            view["terms"],
            json!({"allowed_tools": ["Bash(touch one *)"]}),
            "nothing else was granted"
        );
        assert_eq!(case.last_mode(), "default");
    }
}

#[test]
fn a_mode_and_a_directory_that_were_granted_hold_for_the_next_agent() {
    let api = MessagesApi::start();
    let mut case = Case::begin(&api, "bash touch one", "bash touch two", "default");
    let offers = case.daemon.question(&case.id)["offers"].clone();
    assert!(
        offers[1].as_str().unwrap().starts_with("let the agent work in"),
        "{offers}"
    );
    answer(
        &case.daemon,
        &case.id,
        &json!({"action": "allow", "grant": [offers[1], offers[2]]}),
    );
    case.kill(Victim::Agent);
    let terms = case.completes()["terms"].clone();
    let work = case.daemon.work().canonicalize().unwrap();
    assert_eq!(terms, json!({"permission_mode": "acceptEdits", "add_dirs": [work]}));
    assert_eq!((case.questions(), case.last_mode()), (1, json!("acceptEdits")));
    assert!(case.file("two").exists());
}

#[test]
fn what_had_to_be_asked_is_asked_by_the_next_agent_too() {
    for victim in VICTIMS {
        println!("{victim:?}");
        let api = MessagesApi::start();
        let mut case = Case::begin(&api, "tool EnterPlanMode {}", "bash touch two", "bypassPermissions");
        case.kill(victim);
        let question = case.daemon.question(&case.id);
        assert_eq!(question["input"]["command"], "touch two");
        assert!(!case.file("two").exists(), "nobody has allowed it");
        assert_eq!(case.daemon.view(&case.id)["terms"], json!({"permission_mode": "plan"}));
        answer(&case.daemon, &case.id, &json!({"action": "allow"}));
        case.completes();
        assert_eq!(case.last_mode(), "plan");
        assert!(case.file("two").exists());
    }
}

#[test]
fn a_plan_that_was_approved_stays_approved() {
    let api = MessagesApi::start();
    let mut case = Case::begin(&api, "plan", "bash true", "plan");
    assert_eq!(case.daemon.question(&case.id)["ask"], "plan");
    answer(&case.daemon, &case.id, &json!({"action": "allow"}));
    case.kill(Victim::Agent);
    let view = case.completes();
    assert_eq!(
        (&view["terms"], case.last_mode()),
        (&json!({"permission_mode": "default"}), json!("default"))
    );
}

#[test]
fn a_model_that_an_instruction_switched_to_holds_for_the_next_agent() {
    let api = MessagesApi::start();
    let mut daemon = with_claude(&api);
    let never = crate::support::wait::shell_until_exists(&daemon.root().join("never"));
    let task = format!("FAKE: bash {never} ;; say never");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"], "model": "claude-opus-4-5"}));
    until("the tool", || {
        (!messages(&daemon, &id, "tool_use").is_empty()).then_some(())
    });
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    let resume = |daemon: &TestDaemon, instruction: &str| {
        let body = json!({"instruction": instruction});
        let (status, view) = daemon.post(&format!("/api/sessions/{id}/resume"), &body);
        assert_eq!(status, 202, "{view}");
    };
    resume(&daemon, "/model claude-sonnet-4-5");
    until("the switch", || {
        let ended = daemon.records_of(&id, "session.ended");
        (ended.len() == 2).then_some(())
    });
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.view(&id)["terms"], json!({"model": "claude-sonnet-4-5"}));
    resume(&daemon, "FAKE: say the end");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(3), &json!("the end")));
    let last = api.model_requests().pop().expect("a request");
    assert_eq!(last["model"], "claude-sonnet-4-5", "{view}");
}
