//! Conversations whose agents die: gone on with, begun again, or lost and rebuilt.

use std::collections::BTreeMap;

use serde_json::json;

use crate::resume::{cancelled_after, resume, sent, transcripts};
use crate::support::daemon::{BINARY, TestDaemon};
use crate::support::wait::until;

/// How often the journal has a text, by the messages that have one.
pub(crate) fn texts_of_inputs(daemon: &TestDaemon, id: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for input in daemon.records_of(id, "input") {
        if input["data"]["text"].is_string() {
            *counts.entry(input["data"]["uuid"].to_string()).or_default() += 1;
        }
    }
    counts
}

#[test]
fn a_lost_conversation_is_rebuilt_from_the_journal() {
    let daemon = TestDaemon::start();
    let id = cancelled_after(&daemon, "precious");
    std::fs::remove_file(&transcripts(&daemon, &id)[0]).unwrap();
    resume(&daemon, &id, &json!({"instruction": "say heard"}));
    let view = daemon.wait_for(&id, "completed");
    assert_ne!(view["agent_session_id"], id.as_str(), "a conversation of its own");
    assert_eq!(
        daemon.records_of(&id, "attempt.ended")[1]["data"]["ending"],
        "lost_context"
    );
    let rebuilt = daemon.records_of(&id, "context.rebuilt");
    assert!(
        rebuilt[0]["data"]["why"]
            .as_str()
            .unwrap()
            .contains("No conversation found"),
        "{rebuilt:?}"
    );
    let told = sent(&daemon, &id);
    let last = told.last().unwrap();
    assert!(last.contains("say precious ;; silence") && last.contains("The agent said: precious"));
    assert!(
        last.ends_with("\n\nsay heard"),
        "the agent begins with all of it at hand: {told:?}"
    );
}

#[test]
fn a_transcript_that_vanishes_under_a_running_session_is_rebuilt_too() {
    let daemon = TestDaemon::start();
    // An agent that goes on behind a tool's answer has written down what was before.
    let id = daemon.create("tool Look {} => seen ;; say one ;; crash once unsaved ;; say two");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(daemon.records_of(&id, "context.rebuilt").len(), 1);
    assert_eq!(
        view["attempt"], 3,
        "one attempt finds it out, the next one has a fresh conversation"
    );
}

#[test]
fn an_agent_that_dies_before_it_has_said_anything_starts_again_under_its_id() {
    let daemon = TestDaemon::start();
    let id = daemon.create("crash once unsaved ;; say two");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["agent_session_id"]), (&json!(2), &json!(id)));
    assert!(daemon.records_of(&id, "context.rebuilt").is_empty());
    assert_eq!(daemon.texts(&id), ["two"]);
}

#[test]
fn a_conversation_is_found_by_a_path_that_begins_in_its_agents_directory() {
    let daemon = TestDaemon::start_with(&[("CLAUDE_CONFIG_DIR", "own")]);
    let cwd = daemon.work().join("deep");
    std::fs::create_dir(&cwd).unwrap();
    let id = daemon.create_with(json!({"task": "say one ;; crash once ;; say two", "cwd": cwd}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["agent_session_id"]), (&json!(2), &json!(id)));
    assert_eq!(daemon.texts(&id), ["one", "two"]);
    let (status, fork) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "say three"}),
    );
    assert_eq!(status, 201, "{fork}");
    daemon.wait_for(fork["session_id"].as_str().unwrap(), "completed");
}

#[test]
fn a_conversation_that_only_its_agent_finds_is_gone_on_with() {
    let wrapper = json!(["env", "CLAUDE_CONFIG_DIR=own", BINARY, "simulate"]).to_string();
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__AGENT__COMMAND", &wrapper)]);
    // What proves that it was written down, and what does not: then the agent refuses to begin it anew.
    for (begin, attempts) in [("tool Look {} => seen ;; say one", 2), ("say one", 3)] {
        let id = daemon.create(&format!("{begin} ;; crash once ;; say two"));
        let view = daemon.wait_for(&id, "completed");
        assert_eq!(
            (&view["attempt"], &view["agent_session_id"]),
            (&json!(attempts), &json!(id))
        );
        assert!(daemon.records_of(&id, "context.rebuilt").is_empty());
        assert_eq!(daemon.texts(&id), ["one", "two"]);
    }
}

/// How a session ended whose agent died before it had written anything down.
fn begun_again(daemon: &TestDaemon, task: &str) -> String {
    let id = daemon.create(task);
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["agent_session_id"]), (&json!(2), &json!(id)));
    assert!(daemon.records_of(&id, "context.rebuilt").is_empty());
    let ended = daemon.records_of(&id, "attempt.ended");
    let endings: Vec<_> = ended.iter().map(|record| record["data"]["ending"].clone()).collect();
    assert_eq!(endings, ["crashed", "finished"], "nothing is charged but the crash");
    let plan = std::fs::read_to_string(daemon.state().join(format!("sessions/{id}/2/launch.json"))).unwrap();
    assert!(plan.contains(&format!("--session-id={id}")), "{plan}");
    id
}

#[test]
fn an_agent_that_dies_before_its_first_words_are_written_down_starts_again_under_its_id() {
    let daemon = TestDaemon::start();
    let task = "say one ;; crash once unsaved ;; say two";
    let id = begun_again(&daemon, task);
    assert_eq!(sent(&daemon, &id), [task, task]);
    assert_eq!(daemon.texts(&id), ["one", "one", "two"]);
}

#[test]
fn an_agent_that_starts_again_is_told_what_may_have_taken_effect() {
    let daemon = TestDaemon::start();
    let task = "bash echo ran >> ran ;; crash once unsaved ;; say two";
    let id = begun_again(&daemon, task);
    let told = sent(&daemon, &id);
    assert_eq!((told.len(), told[0].as_str()), (2, task));
    let note = told[1].strip_prefix(task).expect("one message with the task");
    assert!(
        note.contains("- Bash: echo ran >> ran") && note.contains("may or may not have taken effect"),
        "{note}"
    );
    assert_eq!(daemon.texts(&id), ["two"]);
}

#[test]
fn an_agent_that_dies_again_and_again_in_a_turn_goes_on_with_that_turn() {
    let daemon = TestDaemon::start();
    let gates = [2, 3].map(|attempt| (attempt, daemon.root().join(format!("gate{attempt}"))));
    let steps = gates.iter().map(|(attempt, gate)| {
        let gate = gate.display();
        format!("say {attempt} ;; wait-file {gate} ;; crash once")
    });
    let steps: Vec<_> = steps.collect();
    let task = format!("say 1 ;; crash once ;; {} ;; say 4", steps.join(" ;; "));
    let id = daemon.create(&task);
    for (attempt, gate) in gates {
        // A resumed agent says so of the message of its turn, and goes on with it.
        until("the message to be done with", || {
            let inputs = daemon.records_of(&id, "input");
            let mut of_attempt = inputs.iter().filter(|input| input["attempt"] == attempt);
            of_attempt
                .any(|input| input["data"]["state"] == "completed")
                .then_some(())
        });
        std::fs::write(gate, "").unwrap();
    }
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 4);
    assert_eq!(daemon.texts(&id), ["1", "2", "3", "4"]);
    assert_eq!(sent(&daemon, &id), [&*task; 4], "nobody is asked to continue");
    assert_eq!(texts_of_inputs(&daemon, &id).into_values().collect::<Vec<_>>(), [1]);
}

#[test]
fn turns_of_an_agent_that_died_count_against_the_limit() {
    let daemon = TestDaemon::start();
    let task = "say one ;; crash once ;; say two ;; say three";
    let id = daemon.create_with(json!({"task": task, "max_turns": 2}));
    let view = daemon.wait_for(&id, "failed");
    assert_eq!((&view["cause"], &view["turns"]), (&json!("max_turns"), &json!(2)));
    assert_eq!(daemon.texts(&id), ["one", "two"]);
}

#[test]
fn money_that_an_agent_has_told_of_in_the_turn_in_which_it_dies_counts_against_the_budget() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let task = format!(
        "usage 100 20 0.5 ;; tool Look {{}} => seen ;; wait-file {} ;; crash once ;; usage 10 2 0.25 ;; say done",
        gate.display()
    );
    let id = daemon.create_with(json!({"task": task, "max_budget_usd": 1.0}));
    until("what the agent has spent", || {
        (daemon.view(&id)["cost_usd"] == 0.5).then_some(())
    });
    std::fs::write(gate, "").unwrap();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["cost_usd"]), (&json!(2), &json!(0.75)));
    assert_eq!(
        (&view["usage"]["input_tokens"], &view["usage"]["output_tokens"]),
        (&json!(110), &json!(22))
    );
    let plan = std::fs::read_to_string(daemon.state().join(format!("sessions/{id}/2/launch.json"))).unwrap();
    assert!(plan.contains("--max-budget-usd=0.5"), "{plan}");
}

#[test]
fn with_nothing_left_of_its_budget_no_agent_is_started_again() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let step = "usage 100 20 0.5 ;; tool Look {} => seen";
    let task = format!("{step} ;; wait-file {} ;; crash once ;; say done", gate.display());
    let id = daemon.create_with(json!({"task": task, "max_budget_usd": 0.5}));
    until("what the agent has spent", || {
        (daemon.view(&id)["cost_usd"] == 0.5).then_some(())
    });
    std::fs::write(gate, "").unwrap();
    let view = daemon.wait_for(&id, "failed");
    assert_eq!(view["cause"], "budget", "{view}");
    assert!(view["note"].as_str().unwrap().contains("$0.5000 of $0.5000"), "{view}");
    assert!(!daemon.state().join(format!("sessions/{id}/2/launch.json")).exists());
}

#[test]
fn money_is_told_amid_a_turn_also_to_the_daemon_that_comes_back() {
    let mut daemon = TestDaemon::start();
    let gates = [1, 2].map(|n| daemon.root().join(format!("gate{n}")));
    let [first, second] = gates.each_ref().map(|gate| gate.display());
    let step = "usage 100 20 0.5 ;; tool Look {} => seen";
    let task = format!("{step} ;; wait-file {first} ;; {step} ;; wait-file {second} ;; crash once ;; say done");
    let id = daemon.create(&task);
    let has_cost = |daemon: &TestDaemon, usd: f64| (daemon.view(&id)["cost_usd"] == usd).then_some(());
    until("what the agent has spent", || has_cost(&daemon, 0.5));
    daemon.kill();
    daemon.launch();
    daemon.wait_for(&id, "running");
    // The agent counts before it goes on: what it is asked stands in its input before the gate opens.
    until("the question to the agent", || {
        let spool = std::fs::read_to_string(daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"))).ok()?;
        (spool.matches("\"total_cost_usd\"").count() >= 3).then_some(())
    });
    std::fs::write(&gates[0], "").unwrap();
    until("what it has spent since", || has_cost(&daemon, 1.0));
    std::fs::write(&gates[1], "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["cost_usd"], 1.0);
}
