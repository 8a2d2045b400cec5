//! `cc-executor mcp`: the same, over standard input and output.

use std::io::{BufRead, BufReader, Lines, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::client::{SESSIONS, STATELESS};
use crate::support::daemon::{BINARY, TestDaemon, signal};
use crate::support::previous::previous_binary;
use crate::support::wait::until;

struct Relay {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Relay {
    fn start(daemon: &TestDaemon) -> Self {
        Self::start_with(daemon, Stdio::null())
    }

    /// The same, with somewhere for what it says to a person.
    fn start_with(daemon: &TestDaemon, errors: impl Into<Stdio>) -> Self {
        Self::of(daemon.command(&[]), errors)
    }

    /// The same of any version's program.
    fn of(mut command: Command, errors: impl Into<Stdio>) -> Self {
        command
            .arg("mcp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors);
        let mut child = command.spawn().expect("the relay starts");
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, input, output }
    }

    fn send(&mut self, message: &Value) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{message}").expect("it reads");
    }

    /// The next message that answers, with the progress before it. Every line must be a message.
    fn answer(&mut self) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let line = self
                .output
                .next()
                .expect("the relay goes on")
                .expect("its output is text");
            let message: Value = serde_json::from_str(&line).expect("nothing but messages");
            if message.get("method").is_none() {
                return (before, message);
            }
            if message["method"] == "notifications/progress" {
                before.push(message);
            }
        }
    }

    fn introduce(&mut self) {
        let params =
            json!({"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        self.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        assert_eq!(self.answer().1["result"]["serverInfo"]["name"], "cc-executor");
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    /// Closes its input, upon which it ends.
    fn end(mut self) {
        self.input = None;
        assert!(self.child.wait().expect("it ends").success());
    }
}

fn call(id: u64, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": "p"}});
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
}

#[test]
fn a_task_runs_where_the_relay_was_started() {
    let daemon = TestDaemon::start();
    let mut relay = Relay::start(&daemon);
    relay.introduce();
    relay.send(&call(1, "execute_with_streaming", json!({"task": "say hello"})));
    let (progress, answer) = relay.answer();
    let structured = &answer["result"]["structuredContent"];
    assert_eq!(
        (&answer["id"], &structured["result"]),
        (&json!(1), &json!("hello")),
        "{answer:#}"
    );
    assert!(
        progress[0]["params"]["message"]
            .as_str()
            .unwrap()
            .starts_with("session_id ")
    );
    let view = daemon.view(structured["session_id"].as_str().unwrap());
    assert_eq!(view["cwd"], json!(daemon.work().canonicalize().unwrap()));
    relay.end();
}

#[test]
fn a_client_of_2026_07_28_is_served_without_a_session() {
    let daemon = TestDaemon::start();
    let mut relay = Relay::start(&daemon);
    let meta = json!({"io.modelcontextprotocol/protocolVersion": STATELESS, "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"}});
    relay.send(&json!({"jsonrpc": "2.0", "id": "a", "method": "server/discover", "params": {"_meta": meta}}));
    assert!(
        relay.answer().1["result"]["supportedVersions"]
            .to_string()
            .contains(STATELESS)
    );
    let params = json!({"name": "execute_with_streaming", "arguments": {"task": "say hello"}, "_meta": meta});
    relay.send(&json!({"jsonrpc": "2.0", "id": "b", "method": "tools/call", "params": params}));
    assert_eq!(relay.answer().1["result"]["structuredContent"]["result"], "hello");
    relay.end();
}

/// Begins a call whose session says its last word once the returned file is there, and waits until the session runs.
fn begin_call(daemon: &TestDaemon, relay: &mut Relay) -> PathBuf {
    let go = daemon.root().join("go");
    let task = format!("say first ;; wait-file {} ;; say last", go.display());
    relay.send(&call(1, "execute_resumable", json!({"task": task})));
    let mut lines = relay.output.by_ref().map(|line| line.expect("the relay writes text"));
    let line = lines
        .find(|line| line.contains("session_id "))
        .expect("a line with the id");
    let id = line.split("session_id ").nth(1).expect("the id")[..36].to_owned();
    daemon.wait_for(&id, "running");
    go
}

#[test]
fn a_call_outlives_the_daemon_that_took_it() {
    let mut daemon = TestDaemon::start();
    let mut relay = Relay::start(&daemon);
    relay.introduce();
    let go = begin_call(&daemon, &mut relay);
    daemon.kill();
    std::fs::write(&go, "").unwrap();
    let (_, answer) = relay.answer();
    assert_eq!(answer["result"]["structuredContent"]["result"], "last", "{answer:#}");
    relay.end();
    end_started(&daemon);
}

#[test]
fn a_relay_of_the_version_before_starts_the_daemon_that_was_installed_since_and_its_call_goes_on() {
    let mut daemon = TestDaemon::stopped(&[]);
    let program = daemon.install(&previous_binary());
    daemon.launch();
    let mut relay = Relay::of(daemon.command_of(&program), Stdio::null());
    relay.introduce();
    let go = begin_call(&daemon, &mut relay);
    daemon.install(Path::new(BINARY));
    daemon.kill();
    std::fs::write(&go, "").unwrap();
    let (_, answer) = relay.answer();
    assert_eq!(answer["result"]["structuredContent"]["result"], "last", "{answer:#}");
    let running = PathBuf::from(format!("/proc/{}/exe", started(&daemon)));
    assert_eq!(
        identity(&running),
        identity(&program),
        "the daemon is the one that was installed"
    );
    relay.send(&call(2, "list_executions", json!({})));
    assert_eq!(relay.answer().1["result"]["isError"], false);
    relay.end();
    end_started(&daemon);
}

/// Device and number of a file.
fn identity(path: &Path) -> (u64, u64) {
    let file = std::fs::metadata(path).expect("it is there");
    (file.dev(), file.ino())
}

#[test]
fn agents_that_start_agents_end_somewhere() {
    let mut daemon = TestDaemon::start();
    for (above, is_refused) in [("3", false), ("4", true)] {
        daemon.set("CC_EXECUTOR_DEPTH", above);
        let mut relay = Relay::start(&daemon);
        relay.introduce();
        relay.send(&call(1, "execute_with_streaming", json!({"task": "say hello"})));
        let result = relay.answer().1["result"].clone();
        assert_eq!(result["isError"], is_refused, "{result:#}");
        let told = result["content"][0]["text"].as_str().unwrap();
        assert_eq!(told.contains("do the work here"), is_refused, "{told}");
        let output = daemon.command(&["run", "say hello"]).output().unwrap();
        assert_eq!(
            output.status.success(),
            !is_refused,
            "the command line is no way round it"
        );
        relay.end();
    }
}

#[test]
fn agents_that_wait_for_agents_leave_them_a_slot() {
    let mut daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "1")]);
    let go = daemon.root().join("go");
    let waits = format!("wait-file {} ;; say done", go.display());
    let parent = daemon.create_with(json!({"task": waits, "executor_tools": true}));
    daemon.wait_for(&parent, "running");
    let stranger = daemon.create("say hello");
    // As the agent's own relay, and its command line, would.
    daemon.set("CC_EXECUTOR_DEPTH", "1");
    daemon.set("CC_EXECUTOR_ATTEMPT", &daemon.mark(&parent, 1));
    let mut relay = Relay::start(&daemon);
    relay.introduce();
    relay.send(&call(1, "execute_with_streaming", json!({"task": "say hello"})));
    let result = relay.answer().1["result"].clone();
    assert_eq!(result["structuredContent"]["outcome"], "completed", "{result:#}");
    let output = daemon.command(&["run", "say hello"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        daemon.records_of(&stranger, "attempt.started").len(),
        0,
        "it waits for its turn"
    );
    relay.end();
    std::fs::write(&go, "").unwrap();
    daemon.wait_for(&parent, "completed");
    daemon.wait_for(&stranger, "completed");
}

#[test]
fn what_is_no_message_is_answered_as_such() {
    let daemon = TestDaemon::start();
    let mut relay = Relay::start(&daemon);
    writeln!(relay.input.as_mut().unwrap(), "hello").unwrap();
    assert_eq!(relay.answer().1["error"]["code"], -32700);
    relay.end();
}

/// Stops the daemon in order.
fn stop(daemon: &mut TestDaemon) {
    let output = daemon.command(&["stop"]).output().expect("the command runs");
    assert!(output.status.success(), "{output:?}");
    daemon.is_replaced();
}

/// Pid of the daemon that a relay has started, which is nobody's child here.
fn started(daemon: &TestDaemon) -> u32 {
    let said = std::fs::read(daemon.state().join("daemon.json")).expect("a daemon runs");
    let said: Value = serde_json::from_slice(&said).expect("it says where");
    said["pid"].as_u64().expect("a pid") as u32
}

fn end_started(daemon: &TestDaemon) {
    signal(started(daemon), rustix::process::Signal::TERM);
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

/// Waits until a relay with this log waits for a daemon, and sees that it has started none.
fn wait_until_it_waits(daemon: &TestDaemon, log: &std::path::Path) {
    until("the relay to wait", || {
        let said = std::fs::read_to_string(log).expect("its log");
        assert!(!said.contains("started the daemon"), "{said}");
        said.contains("waiting for one").then_some(())
    });
    assert!(!daemon.state().join("daemon.json").exists(), "no daemon came back");
}

#[test]
fn a_relay_inside_an_agent_serves_nothing_that_its_session_was_not_given() {
    let mut daemon = TestDaemon::start();
    let go = daemon.root().join("go");
    let task = format!("wait-file {} ;; say done", go.display());
    let [without, with] = [false, true].map(|tools| daemon.create_with(json!({"task": task, "executor_tools": tools})));
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let stranger = "0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10";
    for (mark, why) in [
        (daemon.mark(&without, 1), "--with-executor"),
        (format!("{stranger}/1"), "another daemon"),
        (format!("{with}/1"), "not known"),
        ("none".to_owned(), "not known"),
    ] {
        daemon.set("CC_EXECUTOR_ATTEMPT", &mark);
        let mut relay = Relay::start(&daemon);
        let params =
            json!({"protocolVersion": SESSIONS, "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
        relay.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}));
        let introduced = relay.answer().1["result"].clone();
        assert_eq!(introduced["serverInfo"]["name"], "cc-executor");
        assert!(
            introduced["instructions"].as_str().unwrap().contains(why),
            "{introduced:#}"
        );
        relay.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        relay.send(&list);
        assert_eq!(relay.answer().1["result"]["tools"], json!([]));
        relay.send(&call(2, "list_executions", json!({})));
        let refused = relay.answer().1;
        assert!(
            refused["error"].is_object() || refused["result"]["isError"] == true,
            "{refused:#}"
        );
        relay.end();
    }
    daemon.set("CC_EXECUTOR_ATTEMPT", &daemon.mark(&with, 1));
    let mut relay = Relay::start(&daemon);
    relay.introduce();
    relay.send(&list);
    assert_ne!(relay.answer().1["result"]["tools"], json!([]));
    relay.end();
    std::fs::write(&go, "").unwrap();
    [without, with]
        .iter()
        .for_each(|id| drop(daemon.wait_for(id, "completed")));
}

#[test]
fn a_daemon_that_was_stopped_does_not_come_back_by_a_relay_inside_an_agent() {
    let mut daemon = TestDaemon::start();
    let go = daemon.root().join("go");
    let task = format!("wait-file {} ;; say done", go.display());
    let session = daemon.create_with(json!({"task": task, "executor_tools": true}));
    daemon.set("CC_EXECUTOR_ATTEMPT", &daemon.mark(&session, 1));
    let log = daemon.root().join("relay.log");
    let mut relay = Relay::start_with(&daemon, std::fs::File::create(&log).unwrap());
    relay.introduce();
    stop(&mut daemon);
    relay.send(&call(1, "list_executions", json!({})));
    wait_until_it_waits(&daemon, &log);
    // A relay that starts while no daemon runs serves nothing, and starts none either.
    let mut other = Relay::start(&daemon);
    other.introduce();
    other.end();
    assert!(!daemon.state().join("daemon.json").exists());
    daemon.launch();
    assert!(
        relay.answer().1.to_string().contains(&session),
        "the next daemon answers"
    );
    relay.end();
    std::fs::write(&go, "").unwrap();
    daemon.wait_for(&session, "completed");
}

#[test]
fn a_call_waits_for_the_next_daemon_when_its_own_was_stopped() {
    let mut daemon = TestDaemon::start();
    let log = daemon.root().join("relay.log");
    let mut relay = Relay::start_with(&daemon, std::fs::File::create(&log).unwrap());
    relay.introduce();
    let go = begin_call(&daemon, &mut relay);
    stop(&mut daemon);
    wait_until_it_waits(&daemon, &log);
    daemon.launch();
    std::fs::write(&go, "").unwrap();
    let (_, answer) = relay.answer();
    assert_eq!(answer["result"]["structuredContent"]["result"], "last", "{answer:#}");
    relay.end();
}
