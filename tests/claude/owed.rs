//! What a person has said to an agent that dies: an instruction comes first, and an answer is spent once.

use std::os::unix::fs::OpenOptionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::main_job::{answer, with_claude, with_claude_and};
use super::recovery::{kill_agent, resume, tool, wait_for_call, wait_for_transcript};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::messages_api::MessagesApi;
use crate::support::victim::Victim;
use crate::support::wait::{shell_until_exists, until};

const INSTRUCTION: &str = "FAKE: say the new end";

const RESTARTS_MAX: &str = "CC_EXECUTOR__SUPERVISION__RESTARTS_MAX";

/// A session whose agent has died amid a call. An agent that goes on with the turn makes another one.
fn cut_short(api: &MessagesApi) -> (TestDaemon, String) {
    let daemon = with_claude_and(api, &[(RESTARTS_MAX, "0")]);
    let later = daemon.root().join("later");
    let call = tool(daemon.root(), "one");
    let task = format!("FAKE: {call} ;; bash touch {} ;; say the old end", later.display());
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    wait_for_call(&daemon, &id, "one");
    kill_agent(&daemon, &id, 1);
    std::fs::write(daemon.root().join("one.gate"), "").expect("the gate opens");
    (daemon, id)
}

/// The instruction was followed, and the model had it in each request from this one on.
fn check_obeyed(daemon: &TestDaemon, id: &str, api: &MessagesApi, from: usize) -> Value {
    let view = daemon.wait_for(id, "completed");
    assert_eq!(view["result"], "the new end", "{view}");
    assert!(!daemon.root().join("later").exists(), "nothing of the old turn ran");
    let told: Vec<_> = api.model_requests().split_off(from);
    let told: Vec<_> = told.iter().map(|request| request["messages"].to_string()).collect();
    assert!(
        !told.is_empty() && told.iter().all(|text| text.contains(INSTRUCTION)),
        "{told:?}"
    );
    let last = told.last().expect("a request");
    assert_eq!(last.matches(INSTRUCTION).count(), 1, "{last}");
    assert_eq!(
        last.matches("Tool call interrupted").count(),
        1,
        "the call that was cut is shown: {last}"
    );
    let inputs = daemon.records_of(id, "input");
    let texts: Vec<_> = inputs
        .iter()
        .filter_map(|input| input["data"]["text"].as_str())
        .collect();
    assert_eq!(texts.len(), 2, "the task and the instruction: {texts:?}");
    view
}

#[test]
fn a_resume_with_an_instruction_obeys_it_before_anything_of_the_turn_that_was_cut() {
    let api = MessagesApi::start();
    let (daemon, id) = cut_short(&api);
    let before = api.model_requests().len();
    resume(&daemon, &id, &json!({"instruction": INSTRUCTION}));
    assert_eq!(check_obeyed(&daemon, &id, &api, before)["attempt"], 2);
}

#[test]
fn a_turn_that_ended_with_its_session_is_not_begun_again_by_a_resume() {
    let api = MessagesApi::start();
    let daemon = with_claude(&api);
    let task = format!("FAKE: {} ;; say the old end", tool(daemon.root(), "one"));
    let id = daemon.create_with(json!({"task": task, "allowed_tools": ["Bash"]}));
    wait_for_call(&daemon, &id, "one");
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    let before = api.model_requests().len();
    resume(&daemon, &id, &json!({}));
    daemon.wait_for(&id, "completed");
    let plan = daemon.state().join(format!("sessions/{id}/2/launch.json"));
    let plan = std::fs::read_to_string(plan).unwrap();
    assert!(!plan.contains("RESUME_INTERRUPTED_TURN"), "nothing was cut: {plan}");
    let told = api.model_requests().split_off(before);
    let asks = |request: &Value| {
        request["messages"]
            .to_string()
            .contains("Continue from where you left off")
    };
    assert!(!told.is_empty() && told.iter().all(asks), "{told:?}");
}

#[test]
fn an_instruction_comes_first_also_when_daemon_and_agent_die_before_the_model_has_it() {
    for victim in [Victim::Agent, Victim::Everything] {
        let api = MessagesApi::start();
        let (mut daemon, id) = cut_short(&api);
        assert_eq!(daemon.terminate(), Some(0));
        daemon.set(RESTARTS_MAX, "3");
        daemon.launch();
        let before = api.model_requests().len();
        resume(&daemon, &id, &json!({"instruction": INSTRUCTION}));
        // The CLI needs longer to start than it takes to kill it.
        let agent = daemon.agent_pid(&id, 2);
        signal(agent, Signal::STOP);
        assert_eq!(
            api.model_requests().len(),
            before,
            "{victim:?}: it is killed before it asks the model"
        );
        victim.kill(&mut daemon, &id);
        let view = check_obeyed(&daemon, &id, &api, before);
        assert_eq!(view["attempt"], 3, "{victim:?}: {view}");
    }
}

/// Waits until there is something in the pipe that is the stdin of this attempt's agent, which stands still.
fn wait_for_pipe(daemon: &TestDaemon, id: &str) {
    let path = daemon.state().join(format!("sessions/{id}/1/stdin"));
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let pipe = std::fs::OpenOptions::new().read(true).custom_flags(nonblock).open(path);
    let pipe = pipe.expect("the agent's stdin");
    let waiting = || rustix::io::ioctl_fionread(&pipe).expect("a pipe");
    until("the answer in the pipe", || (waiting() > 0).then_some(()));
}

#[test]
fn an_answer_that_the_daemon_wrote_before_it_went_away_is_not_spent_a_second_time() {
    for is_killed in [true, false] {
        let api = MessagesApi::start();
        let mut daemon = with_claude(&api);
        let (done, gate) = (daemon.root().join("done"), daemon.root().join("gate"));
        let push = format!("bash echo push >> {}; {}", done.display(), shell_until_exists(&gate));
        let pushed = || std::fs::read_to_string(&done).map_or(0, |text| text.lines().count());
        // The next agent's model makes the same call again.
        let id = daemon.create(&format!("FAKE: {push} ;; {push} ;; say the end"));
        let first = daemon.question(&id);
        let agent = daemon.agent_pid(&id, 1);
        signal(agent, Signal::STOP);
        answer(&daemon, &id, &json!({"action": "allow"}));
        wait_for_pipe(&daemon, &id);
        if is_killed {
            daemon.kill();
        } else {
            assert_eq!(daemon.terminate(), Some(0));
        }
        signal(agent, Signal::CONT);
        until("the push", || (pushed() == 1).then_some(()));
        // Its successor repeats the call only where the transcript has it.
        wait_for_transcript(&daemon, &id, "echo push >>");
        signal(agent, Signal::KILL);
        daemon.launch();

        let second = daemon.question(&id);
        assert_eq!(daemon.view(&id)["attempt"], 2);
        assert_ne!(second["question_id"], first["question_id"], "{second}");
        let told = second.to_string();
        assert!(told.contains("may already be done"), "{told}");
        assert_eq!(pushed(), 1, "a person is asked before it is done again");
        std::fs::write(&gate, "").unwrap();
        answer(&daemon, &id, &json!({"action": "allow"}));
        assert_eq!(daemon.wait_for(&id, "completed")["result"], "the end");
        assert_eq!(pushed(), 2);
    }
}
