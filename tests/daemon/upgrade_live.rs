//! A daemon of the version before is replaced by one of this version while its agents are at work.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{TestDaemon, signal};
use crate::support::previous::{ENDS, End, previous_binary};
use crate::support::spool::compare_with_spools;
use crate::support::victim::Victim;
use crate::support::wait::until;

/// A session whose agent writes 50 texts before each of two gates, and 51 behind them.
struct Writer {
    id: String,
    gates: [PathBuf; 2],
    agent: u32,
    hosts: Vec<u32>,
}

impl Writer {
    /// It has written the first 50 texts, and the daemon has them.
    fn start(daemon: &TestDaemon) -> Self {
        let gates = ["gate-1", "gate-2"].map(|name| daemon.root().join(name));
        let [first, second] = gates.each_ref().map(|gate| gate.display());
        let id = daemon.create(&format!(
            "flood 50 ;; bash true ;; wait-file {first} ;; flood 50 ;; bash true ;; wait-file {second} ;; flood 50 ;; \
             say the end"
        ));
        until("the first texts", || (daemon.texts(&id).len() == 50).then_some(()));
        let (agent, hosts) = (daemon.agent_pid(&id, 1), daemon.hosts_of(&id));
        assert_eq!(hosts.len(), 1);
        Self {
            id,
            gates,
            agent,
            hosts,
        }
    }

    fn open(&self, gate: usize) {
        fs::write(&self.gates[gate], "").expect("the gate opens");
    }

    /// Lets the agent write its next texts while no daemon runs.
    fn write_alone(&self, daemon: &TestDaemon) {
        self.open(0);
        let spool = daemon.state().join(format!("sessions/{}/1/stdout.jsonl", self.id));
        until("the second texts in the spool", || {
            let spool = fs::read_to_string(&spool).ok()?;
            let is_text = |line: &&str| line.contains("\"type\":\"assistant\"") && line.contains("\"type\":\"text\"");
            (spool.lines().filter(is_text).count() == 100).then_some(())
        });
    }

    /// Lets the agent write the rest. Every text is in the journal, once.
    fn finish(&self, daemon: &TestDaemon) -> Value {
        self.open(1);
        let view = daemon.wait_for(&self.id, "completed");
        compare_with_spools(daemon, &self.id);
        let mut texts = daemon.texts(&self.id);
        assert_eq!(texts.len(), 151, "{texts:?}");
        texts.dedup();
        assert_eq!(texts.len(), 151, "nothing is doubled");
        view
    }
}

/// The agent goes on, with its host, and readers go on with it.
pub(crate) fn output_is_neither_lost_nor_doubled() {
    for end in ENDS {
        let mut daemon = TestDaemon::previous();
        let writer = Writer::start(&daemon);
        let seen = daemon.view(&writer.id)["head"].as_u64().unwrap();
        daemon.end_previous(end);
        writer.write_alone(&daemon);
        daemon.launch();
        let stream = daemon.stream(&format!("/execution/{}/stream", writer.id), Some(seen));
        until("the second texts", || {
            (daemon.texts(&writer.id).len() == 100).then_some(())
        });
        assert_eq!(daemon.agent_pid(&writer.id, 1), writer.agent);
        assert_eq!(daemon.hosts_of(&writer.id), writer.hosts, "the host of before serves");
        assert_eq!(writer.finish(&daemon)["attempt"], 1, "{end:?}");
        let told: Vec<u64> = stream.filter_map(|event| event.id).collect();
        let head = daemon.view(&writer.id)["head"].as_u64().unwrap();
        assert_eq!(told, (seen + 1..=head).collect::<Vec<_>>(), "a reader goes on as well");
    }
}

/// Runs a command of this version.
fn run(daemon: &TestDaemon, arguments: &[&str]) {
    let output = daemon.command(arguments).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_restart_command_replaces_a_daemon_of_before_under_its_agent() {
    let mut daemon = TestDaemon::previous();
    let writer = Writer::start(&daemon);
    let asking = daemon.create("ask-permission touch made ;; say done");
    daemon.question(&asking);
    // A command of the version before follows the session meanwhile.
    let mut follower = daemon.command_of(&previous_binary());
    let follower = follower.args(["logs", "-f", "--json", &asking]);
    let mut follower = follower.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut followed = BufReader::new(follower.stdout.take().unwrap()).lines();
    let first = followed.next();
    run(&daemon, &["restart"]);
    daemon.is_replaced();
    run(&daemon, &["answer", &asking, "--allow"]);
    daemon.wait_for(&asking, "completed");
    let followed = first.into_iter().chain(followed).map(|line| line.unwrap());
    let followed: Vec<Value> = followed.map(|line| serde_json::from_str(&line).unwrap()).collect();
    assert_eq!(followed, daemon.records(&asking));
    assert!(follower.wait().unwrap().success());
    assert!(daemon.work().join("made").exists());
    writer.open(0);
    assert_eq!(writer.finish(&daemon)["attempt"], 1);
    run(&daemon, &["stop"]);
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

/// Tasks that ask, each with an answer.
fn asking() -> [(String, Value); 4] {
    let choose = json!({"action": "choose", "answers": {"Which colour?": "Blue"}});
    let fill = json!({"action": "submit", "content": {"name": "x"}});
    let schema = r#"{"type": "object", "properties": {"name": {"type": "string"}}}"#;
    [
        ("ask-permission true".into(), json!({"action": "allow"})),
        ("question Which colour? | Red | Blue".into(), choose),
        ("plan".into(), json!({"action": "allow"})),
        (format!("form Who? | {schema}"), fill),
    ]
}

/// Questions of every kind are shown as they were, and the agents get the answers.
pub(crate) fn questions_are_answered() {
    for end in ENDS {
        let mut daemon = TestDaemon::previous_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "8")]);
        let sessions = asking().map(|(task, answer)| (daemon.create(&format!("{task} ;; say the end")), answer));
        let asked = sessions.each_ref().map(|(id, _)| daemon.question(id));
        daemon.upgrade(end);
        for ((id, answer), asked) in sessions.iter().zip(asked) {
            let question = daemon.question(id);
            assert_holds(&question, &asked);
            let name = question["question_id"].as_str().unwrap();
            let (status, view) = daemon.answer(id, name, answer);
            assert_eq!(status, 200, "{view}");
            let view = daemon.wait_for(id, "completed");
            assert_eq!((&view["attempt"], &view["result"]), (&json!(1), &json!("the end")));
            assert_eq!(
                daemon.records_of(id, "question.asked").len(),
                1,
                "it is not asked again"
            );
            compare_with_spools(&daemon, id);
        }
    }
}

/// `now` has everything that `before` has.
#[track_caller]
pub(crate) fn assert_holds(now: &Value, before: &Value) {
    assert!(holds(now, before), "now {now:#}\nbefore {before:#}");
}

fn holds(now: &Value, before: &Value) -> bool {
    match (now, before) {
        (Value::Object(now), Value::Object(before)) => before
            .iter()
            .all(|(name, value)| now.get(name).is_some_and(|now| holds(now, value))),
        (Value::Array(now), Value::Array(before)) => {
            now.len() == before.len() && now.iter().zip(before).all(|(now, before)| holds(now, before))
        }
        _ => now == before,
    }
}

#[test]
fn an_answer_that_the_daemon_of_before_took_reaches_its_agent_once() {
    for end in ENDS {
        let mut daemon = TestDaemon::previous();
        let id = daemon.create("ask-permission echo ran >> made ;; say the end");
        daemon.question(&id);
        // The answer is on its way while the daemons change.
        let agent = daemon.agent_pid(&id, 1);
        signal(agent, Signal::STOP);
        let (status, view) = daemon.answer(&id, "q1", &json!({"action": "allow"}));
        assert_eq!(status, 200, "{view}");
        daemon.upgrade(end);
        let (status, problem) = daemon.answer(&id, "q1", &json!({"action": "deny"}));
        assert_eq!(status, 409, "the first answer holds: {problem}");
        signal(agent, Signal::CONT);
        assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
        assert_eq!(fs::read_to_string(daemon.work().join("made")).unwrap(), "ran\n");
        assert_eq!(daemon.records_of(&id, "question.answered").len(), 1);
        assert_eq!(daemon.records_of(&id, "question.delivered").len(), 1);
    }
}

#[test]
fn whatever_dies_of_a_session_of_before_is_followed_by_one_of_this_version() {
    for (victim, attempts) in [
        (Victim::Host, 1),
        (Victim::Agent, 2),
        (Victim::HostThenAgent, 2),
        (Victim::Everything, 2),
    ] {
        let mut daemon = TestDaemon::previous();
        let writer = Writer::start(&daemon);
        daemon.upgrade(End::Killed);
        victim.kill(&mut daemon, &writer.id);
        writer.open(0);
        assert_eq!(writer.finish(&daemon)["attempt"], attempts, "{victim:?}");
    }
}

#[test]
fn a_host_that_died_with_the_daemon_of_before_is_replaced_by_one_that_adopts_the_agent() {
    let mut daemon = TestDaemon::previous();
    let writer = Writer::start(&daemon);
    daemon.end_previous(End::Killed);
    writer.hosts.iter().for_each(|host| signal(*host, Signal::KILL));
    writer.write_alone(&daemon);
    daemon.launch();
    assert_eq!(writer.finish(&daemon)["attempt"], 1);
    assert_eq!(daemon.agent_pid(&writer.id, 1), writer.agent);
}

#[test]
fn a_cancel_ends_an_agent_of_before_and_all_that_it_started() {
    for end in ENDS {
        let mut daemon = TestDaemon::previous_with(&[
            ("CC_EXECUTOR__AGENT__STOP_GRACE_SECONDS", "1"),
            ("CC_EXECUTOR__AGENT__TERM_GRACE_SECONDS", "1"),
        ]);
        let leave = "leave sleep 1000 ;; say begun";
        let tasks = [
            format!("{leave} ;; silence"),
            format!("linger ;; {leave} ;; silence"),
            "ask-permission true".into(),
        ];
        let ids = tasks.map(|task| daemon.create(&task));
        ids[..2].iter().for_each(|id| {
            until("its words", || (daemon.texts(id) == ["begun"]).then_some(()));
            assert!(daemon.processes_of(id).len() >= 2);
        });
        daemon.question(&ids[2]);
        daemon.upgrade(end);
        for id in &ids {
            daemon.cancel(id);
            assert_eq!(daemon.wait_for(id, "cancelled")["attempt"], 1);
            assert_eq!(daemon.processes_of(id), [0; 0]);
            until("the end of its host", || daemon.hosts_of(id).is_empty().then_some(()));
        }
    }
}

#[test]
fn an_agent_of_before_calls_as_itself() {
    let mut daemon = TestDaemon::previous();
    let gate = daemon.root().join("gate");
    let task = format!("wait-file {} ;; say done", gate.display());
    let parent = daemon.create_with(json!({"task": task, "executor_tools": true, "permission_mode": "acceptEdits"}));
    daemon.wait_for(&parent, "running");
    let mark = daemon.mark(&parent, 1);
    daemon.upgrade(End::Asked);
    let ask = |more: Value| {
        let mut request = json!({"task": "say hi", "cwd": daemon.work()});
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        daemon.post_as(&mark, "/api/sessions", &request)
    };
    let (status, view) = ask(json!({}));
    assert_eq!(status, 201, "{view}");
    let child = view["session_id"].as_str().unwrap();
    daemon.wait_for(child, "completed");
    let created = daemon.records_of(child, "session.created");
    assert_eq!(created[0]["data"]["request"]["parent"], json!(parent), "{created:?}");
    let (status, problem) = ask(json!({"permission_mode": "bypassPermissions"}));
    assert_eq!((status, &problem["code"]), (403, &json!("exceeds_agent")), "{problem}");
    let (status, problem) = daemon.post_as(&mark, "/api/tokens", &json!({"name": "n", "role": "viewer"}));
    assert_eq!(status, 403, "{problem}");
    fs::write(gate, "").unwrap();
    daemon.wait_for(&parent, "completed");
}
