//! Going on by hand with the real CLI: its own flags, its own transcripts.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::main_job::{messages, transcript, with_claude, with_claude_and};
use crate::support::claude::{claude_binary, claude_env};
use crate::support::daemon::signal;
use crate::support::messages_api::MessagesApi;
use crate::support::wait::until;

/// The text of everything in the last request to the model.
fn last_request(api: &MessagesApi) -> String {
    api.model_requests().last().expect("there is one")["messages"].to_string()
}

#[test]
fn a_cancelled_session_goes_on_with_an_instruction_in_its_conversation() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("never");
    let shell = crate::support::wait::shell_until_exists(&gate);
    let task = format!("FAKE: say begun ;; bash {shell} ;; say never");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    until("the tool", || {
        (!messages(&daemon, &id, "tool_use").is_empty()).then_some(())
    });
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/resume"),
        &json!({"instruction": "FAKE: say and now this"}),
    );
    assert_eq!(status, 202, "{view}");
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["agent_session_id"]), (&json!(2), &json!(id)));
    assert_eq!(view["result"], "and now this");
    assert!(last_request(&api).contains("begun"), "the conversation is the same");
}

#[test]
fn a_turn_that_was_cut_goes_on_by_itself_and_its_result_is_the_sessions() {
    let api = MessagesApi::start();
    let daemon = with_claude_and(&api, &[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let gate = daemon.root().join("gate");
    let shell = crate::support::wait::shell_until_exists(&gate);
    let task = format!("FAKE: say begun ;; bash {shell} ;; say made it");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    until("the tool in the transcript", || {
        let text = std::fs::read_to_string(transcript(&daemon, &id)?).ok()?;
        text.contains("tool_use").then_some(())
    });
    // An agent that is cancelled is done with its turn; one that dies is not.
    signal(daemon.agent_pid(&id, 1), rustix::process::Signal::KILL);
    daemon.wait_for(&id, "failed");
    std::fs::write(gate, "").unwrap();
    daemon.post(&format!("/api/sessions/{id}/resume"), &json!({}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("made it")));
    let inputs = daemon.records_of(&id, "input");
    let told = inputs.iter().filter_map(|input| input["data"]["text"].as_str());
    assert!(told.into_iter().all(|text| text == task), "{inputs:?}");
    let second = messages(&daemon, &id, "turn_ended");
    let second = second.iter().filter(|end| end["result"] == "made it");
    assert_eq!(second.count(), 1);
}

#[test]
fn a_fork_at_a_checkpoint_knows_what_was_before_it_and_nothing_behind() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = "FAKE: say alpha ;; bash echo one ;; say beta ;; error 400 always";
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    daemon.wait_for(&id, "failed");
    let checkpoints = daemon.records_of(&id, "checkpoint");
    let first = checkpoints[0]["seq"].as_u64().unwrap();
    let before = std::fs::read_to_string(transcript(&daemon, &id).unwrap()).unwrap();
    let body = json!({"at": first, "instruction": "FAKE: say forked"});
    let (status, view) = daemon.post(&format!("/api/sessions/{id}/fork"), &body);
    assert_eq!(status, 201, "{view}");
    let copy = view["session_id"].as_str().unwrap();
    let view = daemon.wait_for(copy, "completed");
    assert_eq!(
        (&view["result"], &view["agent_session_id"]),
        (&json!("forked"), &json!(copy))
    );
    assert_eq!(
        daemon.records_of(copy, "notice"),
        Vec::<Value>::new(),
        "the checkpoint itself was used"
    );
    let told = last_request(&api);
    assert!(
        told.contains("alpha") && told.contains("forked") && told.contains("echo one"),
        "{told}"
    );
    assert_eq!(
        std::fs::read_to_string(transcript(&daemon, &id).unwrap()).unwrap(),
        before
    );
}

#[test]
fn a_resume_at_a_checkpoint_forgets_what_came_behind_it() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = "FAKE: say alpha ;; bash echo one ;; bash echo omega ;; error 400 always";
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    daemon.wait_for(&id, "failed");
    let first = daemon.records_of(&id, "checkpoint")[0]["seq"].as_u64().unwrap();
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/resume"),
        &json!({"at": first, "instruction": "FAKE: say another way"}),
    );
    assert_eq!(status, 202, "{view}");
    assert_eq!(daemon.wait_for(&id, "completed")["result"], "another way");
    let told = last_request(&api);
    assert!(told.contains("alpha"), "{told}");
    // The script itself names the command; the call and its result are gone.
    assert!(!told.contains(r#""command":"echo omega""#), "{told}");
}

#[test]
fn a_lost_transcript_is_rebuilt_and_the_task_is_done() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let gate = daemon.root().join("gate");
    let shell = crate::support::wait::shell_until_exists(&gate);
    let task = format!("FAKE: say kept ;; bash {shell} ;; say made it");
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    until("the tool", || {
        (!messages(&daemon, &id, "tool_use").is_empty()).then_some(())
    });
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    std::fs::write(gate, "").unwrap();
    std::fs::remove_file(transcript(&daemon, &id).unwrap()).unwrap();
    daemon.post(&format!("/api/sessions/{id}/resume"), &json!({}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["result"], "made it");
    assert_eq!(daemon.records_of(&id, "context.rebuilt").len(), 1);
    assert!(last_request(&api).contains("The agent said: kept"));
}

#[test]
fn a_session_of_the_cli_itself_is_taken_over() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let conversation = "11111111-1111-4111-8111-111111111111";
    let status = Command::new(claude_binary())
        .args(["-p", "--session-id", conversation, "FAKE: say from outside"])
        .env_clear()
        .envs(claude_env(&daemon.root().join("home"), &api))
        .current_dir(daemon.work())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let body = json!({"agent_session_id": conversation, "instruction": "FAKE: say taken over"});
    let (status, view) = daemon.post("/api/sessions/import", &body);
    assert_eq!(status, 201, "{view}");
    let id = view["session_id"].as_str().unwrap();
    let view = daemon.wait_for(id, "completed");
    assert_eq!(
        (&view["result"], &view["agent_session_id"]),
        (&json!("taken over"), &json!(conversation))
    );
    assert_eq!(
        view["cwd"],
        json!(daemon.work().canonicalize().unwrap()),
        "as the transcript says"
    );
    assert!(last_request(&api).contains("from outside"));
    let (status, handover) = daemon.get(&format!("/api/sessions/{id}/handover"));
    assert_eq!(status, 200);
    assert!(
        handover["line"]
            .as_str()
            .unwrap()
            .ends_with(&format!("claude --resume={conversation}"))
    );
}
