//! One run of the real CLI as a conversation: lines in, messages out.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::claude::{claude_binary, claude_env};
use crate::support::messages_api::MessagesApi;
use crate::support::wait::PATIENCE;

/// The id of the one session that each home has.
const SESSION: &str = "6f2b8c1e-4a57-4d0e-9d3b-5b0c7e1f2a34";

/// A running CLI with a home and a working directory of its own, killed when dropped.
pub(crate) struct Cli {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    /// All messages so far.
    pub(crate) seen: Vec<Value>,
    folder: TempDir,
}

impl Cli {
    /// Starts the CLI as the daemon does: stream-json both ways, prompts on stdio.
    pub(crate) fn start(api: &MessagesApi, permission_mode: &str) -> Cli {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = command(api, folder.path());
        command.args(["--permission-mode", permission_mode, "--session-id", SESSION]);
        Cli::spawn(command, folder)
    }

    /// Kills the CLI in mid-turn and starts another that goes on with the turn by itself.
    pub(crate) fn killed_and_resumed(mut self, api: &MessagesApi) -> Cli {
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder"));
        drop(self);
        let mut command = command(api, folder.path());
        command.args(["--permission-mode", "bypassPermissions", "--resume", SESSION]);
        command.env("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1");
        Cli::spawn(command, folder)
    }

    /// The session's transcript as the CLI has written it by now.
    pub(crate) fn transcript(&self) -> String {
        let projects = self.folder().join(".claude/projects").read_dir().into_iter().flatten();
        let files = projects
            .flatten()
            .map(|project| project.path().join(format!("{SESSION}.jsonl")));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).collect()
    }

    fn spawn(mut command: Command, folder: TempDir) -> Cli {
        let mut child = command.spawn().expect("claude starts");
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            // Either end may go first: a test that has seen enough, or the CLI.
            let _ = BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line));
        });
        Cli {
            child,
            stdin,
            lines,
            seen: Vec::new(),
            folder,
        }
    }

    /// The working directory.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn prompt(&mut self, text: &str) {
        let message = json!({ "role": "user", "content": text });
        // Only a message with an id of its own is announced when it is queued.
        let uuid = Uuid::new_v4();
        self.send(&json!({ "type": "user", "message": message, "parent_tool_use_id": null, "uuid": uuid }));
    }

    /// Allows a request of the CLI's, with the input that shall be used.
    pub(crate) fn allow(&mut self, request: &Value, input: &Value) {
        let decision = json!({ "behavior": "allow", "updatedInput": input });
        let response = json!({ "subtype": "success", "request_id": request["request_id"], "response": decision });
        self.send(&json!({ "type": "control_response", "response": response }));
    }

    pub(crate) fn permission_request(&mut self) -> Value {
        self.next("control_request", |message| message["type"] == "control_request")
    }

    pub(crate) fn result(&mut self) -> Value {
        self.next("result", |message| message["type"] == "result")
    }

    /// The texts of the `text_delta`s so far.
    pub(crate) fn text_deltas(&self) -> Vec<&str> {
        let delta =
            |message: &'_ Value| message["type"] == "stream_event" && message["event"]["delta"]["text"].is_string();
        self.seen
            .iter()
            .filter(|m| delta(m))
            .filter_map(|m| m["event"]["delta"]["text"].as_str())
            .collect()
    }

    /// Reads on until a message is the wanted one.
    pub(crate) fn next(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| panic!("no {what}: {error}; seen: {:#?}", self.seen));
            let message: Value = serde_json::from_str(&line).expect("the CLI prints JSON lines");
            self.seen.push(message.clone());
            if wanted(&message) {
                return message;
            }
        }
    }

    fn send(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("the CLI reads its stdin");
    }
}

fn command(api: &MessagesApi, folder: &Path) -> Command {
    let mut command = Command::new(claude_binary());
    command
        .args([
            "-p",
            "--output-format",
            "stream-json",
            "--input-format",
            "stream-json",
            "--verbose",
        ])
        .args(["--include-partial-messages", "--permission-prompt-tool", "stdio"])
        .env_clear()
        .envs(claude_env(folder, api))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

impl Drop for Cli {
    fn drop(&mut self) {
        self.child.kill().expect("the CLI is ours to kill");
        self.child.wait().expect("the CLI can be waited for");
    }
}
