//! Going on by hand: checkpoints, resume, fork.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::again::texts_of_inputs;
use crate::outside::begin_outside;
use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// Messages that were sent to agents, by text, in order. The journal has the text with the first record only.
pub(crate) fn sent(daemon: &TestDaemon, id: &str) -> Vec<String> {
    let mut texts = BTreeMap::new();
    let inputs = daemon.records_of(id, "input").into_iter();
    let sent = inputs.filter(|record| record["data"]["state"] == "sent");
    sent.map(|record| {
        let uuid = record["data"]["uuid"].to_string();
        if let Some(text) = record["data"]["text"].as_str() {
            texts.insert(uuid.clone(), text.to_owned());
        }
        texts.get(&uuid).cloned().unwrap_or_default()
    })
    .collect()
}

pub(crate) fn resume(daemon: &TestDaemon, id: &str, body: &Value) -> (u16, Value) {
    daemon.post(&format!("/api/sessions/{id}/resume"), body)
}

pub(crate) fn transcripts(daemon: &TestDaemon, conversation: &str) -> Vec<PathBuf> {
    let projects = daemon.root().join("home/.claude/projects");
    let projects = std::fs::read_dir(projects).into_iter().flatten().flatten();
    let files = projects.map(|project| project.path().join(format!("{conversation}.jsonl")));
    files.filter(|path| path.exists()).collect()
}

/// A session whose agent has said `words` and was cancelled then.
pub(crate) fn cancelled_after(daemon: &TestDaemon, words: &str) -> String {
    let id = daemon.create(&format!("say {words} ;; silence"));
    wait_until_written(daemon, &id, words);
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    id
}

/// Waits until the agent has said `words` and knows of it when it is resumed.
fn wait_until_written(daemon: &TestDaemon, id: &str, words: &str) {
    until("the agent's words in its transcript", || {
        let transcript = std::fs::read_to_string(transcripts(daemon, id).first()?).ok()?;
        (daemon.texts(id) == [words] && transcript.contains(r#""record":"done""#)).then_some(())
    });
}

/// A session of two turns, the second one failed, and the checkpoints of both.
fn two_turns(daemon: &TestDaemon) -> (String, Vec<u64>) {
    let id = daemon.create("say first ;; max-turns");
    daemon.wait_for(&id, "failed");
    let (status, view) = resume(daemon, &id, &json!({"instruction": "say second ;; max-turns"}));
    assert_eq!(status, 202, "{view}");
    daemon.wait_for(&id, "failed");
    let (status, page) = daemon.get(&format!("/api/sessions/{id}/checkpoints"));
    assert_eq!(status, 200, "{page}");
    let checkpoints = page["checkpoints"].as_array().expect("a list").iter();
    let seqs = checkpoints
        .map(|checkpoint| checkpoint["seq"].as_u64().expect("a number"))
        .collect();
    (id, seqs)
}

#[test]
fn a_cancelled_session_goes_on_with_its_conversation_and_an_instruction() {
    let daemon = TestDaemon::start();
    let id = cancelled_after(&daemon, "begun");
    let (status, view) = resume(&daemon, &id, &json!({"instruction": "say and now this"}));
    assert_eq!((status, &view["state"]), (202, &json!("queued")), "{view}");
    let (status, problem) = resume(&daemon, &id, &json!({}));
    assert_eq!((status, &problem["code"]), (409, &json!("still_live")), "{problem}");
    until("the second attempt", || {
        (daemon.view(&id)["attempt"] == 2).then_some(())
    });
    let started = daemon.records_of(&id, "attempt.started");
    assert_eq!(
        started[0]["data"]["agent_session_id"],
        started[1]["data"]["agent_session_id"]
    );
    // The turn that was cut, which would be silent for ever, does not go on before the instruction.
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["result"], "and now this", "{view}");
    let instruction = "say and now this";
    assert_eq!(sent(&daemon, &id), ["say begun ;; silence", instruction, instruction]);
    let texts = texts_of_inputs(&daemon, &id);
    assert_eq!(texts.into_values().collect::<Vec<_>>(), [1, 1], "each is shown once");
}

#[test]
fn a_resume_without_an_instruction_asks_to_go_on() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hm ;; max-turns");
    daemon.wait_for(&id, "failed");
    resume(&daemon, &id, &json!({}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 2);
    assert!(
        sent(&daemon, &id)
            .last()
            .unwrap()
            .starts_with("Continue from where you left off")
    );
    let resumed = daemon.records_of(&id, "session.resumed");
    assert_eq!(resumed[0]["data"]["by"], "rest");
    let (status, problem) = resume(&daemon, &id, &json!({}));
    assert_eq!((status, &problem["code"]), (409, &json!("completed")));
}

#[test]
fn a_turn_that_was_cut_goes_on_by_itself_and_its_result_is_the_sessions() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let task = format!("say begun ;; wait-file {} ;; say made it", gate.display());
    let id = daemon.create(&task);
    wait_until_written(&daemon, &id, "begun");
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    std::fs::write(gate, "").unwrap();
    resume(&daemon, &id, &json!({}));
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(2), &json!("made it")));
    assert_eq!(daemon.texts(&id), ["begun", "made it"]);
    assert_eq!(sent(&daemon, &id), [task.clone(), task]);
}

#[test]
fn what_is_no_session_or_no_resume_is_refused_by_name() {
    let daemon = TestDaemon::start();
    let nobody = "01890000-0000-7000-8000-00000000abcd";
    for path in ["resume", "fork"] {
        let (status, _) = daemon.post(&format!("/api/sessions/{nobody}/{path}"), &json!({}));
        assert_eq!(status, 404, "{path}");
    }
    let id = daemon.create("say hm ;; max-turns");
    daemon.wait_for(&id, "failed");
    let (status, problem) = resume(&daemon, &id, &json!({"instrution": "x"}));
    assert_eq!((status, &problem["code"]), (400, &json!("bad_body")));
    let (status, problem) = resume(&daemon, &id, &json!({"at": 1}));
    assert_eq!((status, &problem["code"]), (404, &json!("no_such_checkpoint")));
}

#[test]
fn a_session_that_never_started_gets_its_task_first() {
    let mut daemon = TestDaemon::start_with(&[("CC_EXECUTOR__AGENT__COMMAND", "/no/such/claude")]);
    let id = daemon.create("say the task");
    daemon.wait_for(&id, "failed");
    daemon.terminate();
    let simulator = json!([crate::support::daemon::BINARY, "simulate"]).to_string();
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", &simulator);
    daemon.launch();
    resume(&daemon, &id, &json!({}));
    daemon.wait_for(&id, "completed");
    assert_eq!(daemon.texts(&id), ["the task"]);
}

#[test]
fn limits_count_anew_after_a_resume_by_hand() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "say one ;; say two ;; say three", "max_turns": 2}));
    assert_eq!(daemon.wait_for(&id, "failed")["cause"], "max_turns");
    resume(&daemon, &id, &json!({"instruction": "say four ;; say five"}));
    daemon.wait_for(&id, "completed");
    assert!(daemon.texts(&id).ends_with(&["four".into(), "five".into()]));
}

#[test]
fn active_time_counts_anew_after_a_resume_by_hand() {
    let daemon = TestDaemon::start();
    let id = daemon.create_with(json!({"task": "say hi ;; wait 100000", "timeout_seconds": 1}));
    daemon.wait_for(&id, "timed_out");
    let (_, view) = resume(&daemon, &id, &json!({}));
    assert_eq!(view["state"], "queued", "{view}");
    until("the end of the next attempt", || {
        (daemon.records_of(&id, "session.ended").len() == 2).then_some(())
    });
    assert_eq!(daemon.view(&id)["state"], "timed_out");
    let changes = daemon.records_of(&id, "session.state");
    let last = |state: &str| {
        let change = changes.iter().rfind(|change| change["data"]["to"] == state).unwrap();
        change["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    let worked = last("stopping").duration_since(last("starting"));
    assert!(worked.as_millis() >= 1000, "it had all of its time again: {worked:?}");
}

#[test]
fn a_resumed_session_is_found_again_by_the_next_daemon() {
    let mut daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create("say hm ;; max-turns");
    daemon.wait_for(&id, "failed");
    resume(
        &daemon,
        &id,
        &json!({"instruction": format!("say on ;; wait-file {} ;; say done", gate.display())}),
    );
    until("the agent's word", || {
        daemon.texts(&id).contains(&"on".to_owned()).then_some(())
    });
    daemon.kill();
    std::fs::write(gate, "").unwrap();
    daemon.launch();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 2);
    assert_eq!(daemon.texts(&id), ["hm", "on", "done"]);
}

#[test]
fn checkpoints_are_listed_from_the_latest_on_and_in_pages() {
    let daemon = TestDaemon::start();
    let (id, seqs) = two_turns(&daemon);
    assert!(seqs.len() >= 2 && seqs.is_sorted_by(|a, b| a > b), "{seqs:?}");
    let (_, page) = daemon.get(&format!("/api/sessions/{id}/checkpoints?limit=1"));
    assert_eq!(page["next_before"], seqs[0]);
    let latest = &page["checkpoints"][0];
    assert_eq!(
        (&latest["attempt"], &latest["agent_session_id"]),
        (&json!(2), &json!(id))
    );
    assert!(latest["at"].is_string() && latest["message"].is_string(), "{latest}");
    let (_, page) = daemon.get(&format!("/api/sessions/{id}/checkpoints?limit=1&before={}", seqs[0]));
    assert_eq!(page["checkpoints"][0]["seq"], seqs[1]);
    let out = daemon.command(&["checkpoints", &id, "--json"]).output().unwrap();
    let listed: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), seqs.len(), "{listed}");
}

#[test]
fn a_checkpoint_amid_a_turn_says_where_its_message_ends_and_how_many_rounds_there_were() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say one ;; tool Look {} => seen ;; say two");
    daemon.wait_for(&id, "completed");
    let spool = std::fs::read_to_string(daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"))).unwrap();
    let checkpoints = daemon.records_of(&id, "checkpoint");
    let says = |checkpoint: &Value| {
        let data = &checkpoint["data"];
        let upto = &spool[..data["offset"].as_u64().expect("a number") as usize];
        assert!(upto.ends_with('\n'), "{data}");
        let last: Value = serde_json::from_str(upto.lines().last().expect("a line")).expect("a line of JSON");
        (last["type"].clone(), data["turns"].clone())
    };
    let said: Vec<_> = checkpoints.iter().map(says).collect();
    assert_eq!(said, [(json!("user"), json!(2)), (json!("result"), json!(3))]);
}

#[test]
fn a_resume_at_a_checkpoint_cuts_the_conversation_there() {
    let daemon = TestDaemon::start();
    let (id, seqs) = two_turns(&daemon);
    let first = *seqs.last().unwrap();
    let (status, view) = resume(&daemon, &id, &json!({"at": first, "instruction": "say other"}));
    assert_eq!((status, &view["checkpoint"]), (202, &json!(first)), "{view}");
    daemon.wait_for(&id, "completed");
    let started = daemon.records_of(&id, "attempt.started");
    assert_eq!(started[2]["data"]["resumed_from"], first);
    let transcript = std::fs::read_to_string(&transcripts(&daemon, &id)[0]).unwrap();
    assert!(transcript.contains("cut_at"), "{transcript}");
    assert_eq!(daemon.texts(&id), ["first", "second", "other"]);
}

#[test]
fn a_checkpoint_that_never_reached_the_transcript_falls_back_to_the_one_before() {
    let daemon = TestDaemon::start();
    let (id, seqs) = two_turns(&daemon);
    let checkpoints = daemon.records_of(&id, "checkpoint");
    let lost = checkpoints.last().unwrap()["data"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = &transcripts(&daemon, &id)[0];
    let kept: Vec<String> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .filter(|line| !line.contains(&lost))
        .map(str::to_owned)
        .collect();
    std::fs::write(path, kept.join("\n") + "\n").unwrap();
    let (status, view) = resume(&daemon, &id, &json!({"at": seqs[0], "instruction": "say other"}));
    assert_eq!(status, 202, "{view}");
    daemon.wait_for(&id, "completed");
    let started = daemon.records_of(&id, "attempt.started");
    let used = started[2]["data"]["resumed_from"].as_u64().unwrap();
    assert!(used < seqs[0] && seqs.contains(&used));
    let notices = daemon.records_of(&id, "notice");
    assert!(
        notices.iter().any(|notice| notice["data"]["text"]
            .as_str()
            .unwrap()
            .contains(&format!("checkpoint {used}"))),
        "{notices:?}"
    );
}

#[test]
fn a_fork_is_a_session_of_its_own_and_leaves_the_old_one_alone() {
    let daemon = TestDaemon::start();
    let (id, seqs) = two_turns(&daemon);
    let before = std::fs::read_to_string(&transcripts(&daemon, &id)[0]).unwrap();
    let body = json!({"at": seqs.last().unwrap(), "instruction": "say forked", "name": "the copy"});
    let (status, view) = daemon.post(&format!("/api/sessions/{id}/fork"), &body);
    assert_eq!((status, &view["name"]), (201, &json!("the copy")), "{view}");
    let copy = view["session_id"].as_str().unwrap();
    daemon.wait_for(copy, "completed");
    assert_eq!(daemon.texts(copy), ["forked"]);
    assert_eq!(sent(&daemon, copy), ["say forked"]);
    assert_eq!(daemon.view(copy)["agent_session_id"], copy);
    let origin = &daemon.records(copy)[0]["data"]["request"]["origin"];
    assert_eq!((&origin["session_id"], &origin["how"]), (&json!(id), &json!("fork")));
    let plan = std::fs::read_to_string(daemon.state().join(format!("sessions/{copy}/1/launch.json"))).unwrap();
    assert!(
        plan.contains("--fork-session") && plan.contains("--resume-session-at="),
        "{plan}"
    );
    let after = std::fs::read_to_string(&transcripts(&daemon, &id)[0]).unwrap();
    assert_eq!(before, after);
    assert_eq!(daemon.view(&id)["state"], "failed");
}

#[test]
fn a_completed_session_can_be_forked_and_its_fork_is_restarted_as_itself() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say done");
    daemon.wait_for(&id, "completed");
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "say one ;; crash once ;; say two"}),
    );
    assert_eq!((status, &view["name"]), (201, &json!("fork of say done")), "{view}");
    let copy = view["session_id"].as_str().unwrap();
    assert_eq!(daemon.wait_for(copy, "completed")["attempt"], 2);
    assert_eq!(daemon.texts(copy), ["one", "two"]);
}

#[test]
fn a_fork_is_no_work_of_the_session_that_asked_for_the_original() {
    let daemon = TestDaemon::start();
    let go = daemon.root().join("go");
    let task = format!("wait-file {} ;; say asked", go.display());
    let parent = daemon.create_with(json!({"task": task, "executor_tools": true}));
    daemon.wait_for(&parent, "running");
    let body = json!({"task": "say done", "cwd": daemon.work()});
    let (status, asked) = daemon.post_as(&daemon.mark(&parent, 1), "/api/sessions", &body);
    assert_eq!(status, 201, "{asked}");
    let id = asked["session_id"].as_str().unwrap().to_owned();
    daemon.wait_for(&id, "completed");
    let (_, view) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "say forked"}),
    );
    let copy = view["session_id"].as_str().unwrap();
    daemon.wait_for(copy, "completed");
    let parent_of = |id: &str| daemon.records_of(id, "session.created")[0]["data"]["request"]["parent"].clone();
    assert_eq!((parent_of(&id), parent_of(copy)), (json!(parent), json!(null)));
    std::fs::write(go, "").unwrap();
    daemon.wait_for(&parent, "completed");
}

#[test]
fn a_fork_of_a_session_without_a_conversation_is_refused() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__AGENT__COMMAND", "/no/such/claude")]);
    let id = daemon.create("say never");
    daemon.wait_for(&id, "failed");
    let (status, problem) = daemon.post(&format!("/api/sessions/{id}/fork"), &json!({}));
    assert_eq!((status, &problem["code"]), (409, &json!("no_conversation")));
    let out = daemon.command(&["handover", &id]).output().unwrap();
    assert_eq!(out.status.code(), Some(5));
}

#[test]
fn a_default_budget_is_part_of_a_request_that_has_none() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__MAX_BUDGET_USD", "2.5")]);
    let asked = |id: &str| daemon.records(id)[0]["data"]["request"]["max_budget_usd"].clone();
    let plain = daemon.create("say hi");
    let own = daemon.create_with(json!({"task": "say hi", "max_budget_usd": 1.0}));
    assert_eq!([asked(&plain), asked(&own)], [json!(2.5), json!(1.0)]);
    daemon.wait_for(&plain, "completed");
    daemon.wait_for(&own, "completed");
}

#[test]
fn the_verbs_answer_with_their_exit_codes() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say hm ;; max-turns");
    daemon.wait_for(&id, "failed");
    let run = |line: &[&str]| {
        let out = daemon.command(line).output().unwrap();
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        (out.status.code(), said)
    };
    for verb in ["resume", "fork", "checkpoints", "handover"] {
        assert_eq!(run(&[verb, "00000000"]).0, Some(3), "{verb}");
    }
    assert_eq!(run(&["resume", &id, "--at", "1"]).0, Some(3));
    let (code, said) = run(&["resume", &id, "say better now"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("better now"), "{said}");
    assert_eq!(run(&["resume", &id]).0, Some(5));
    let (code, said) = run(&["fork", &id, "say forked", "--name", "copy"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("forked"), "{said}");
    assert_eq!(run(&["import", "not-a-uuid"]).0, Some(2));
    let (code, said) = run(&["import", "22222222-2222-4222-8222-222222222222"]);
    assert_eq!(code, Some(5), "{said}");
    begin_outside(&daemon, "33333333-3333-4333-8333-333333333333");
    let (code, said) = run(&["import", "33333333-3333-4333", "say mine", "--cwd", "."]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["checkpoints", &id]);
    assert_eq!(code, Some(0));
    assert!(
        said.contains("SEQ") && said.contains("better now"),
        "it says what each comes after: {said}"
    );
    assert_eq!(run(&["import", "333"]).0, Some(2), "too few digits");
    let (code, said) = run(&["import", "4444"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("begins with 4444"), "{said}");
}

#[test]
fn what_was_begun_behind_a_cut_is_not_cut_off_again_when_its_agent_dies() {
    let daemon = TestDaemon::start();
    let (id, seqs) = two_turns(&daemon);
    let task = "say other ;; bash true ;; crash once tool ;; say the end";
    let cut = json!({"at": seqs.last(), "instruction": task});
    let (status, view) = resume(&daemon, &id, &cut);
    assert_eq!(status, 202, "{view}");
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 4);
    assert_eq!(daemon.texts(&id), ["first", "second", "other", "the end"]);
    let transcript = std::fs::read_to_string(&transcripts(&daemon, &id)[0]).unwrap();
    assert_eq!(transcript.matches("cut_at").count(), 1, "{transcript}");
}
