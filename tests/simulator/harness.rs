//! A simulator with piped stdio in a home of its own, killed when dropped.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::support::wait::{PATIENCE, until};

pub(crate) const ALLOW: &str = "allow";
pub(crate) const SESSION: &str = "6f0c3a52-1d1b-4f4e-9c39-0a8c53bd54e1";

const CLAUDE_FLAGS: [&str; 9] = [
    "-p",
    "--output-format",
    "stream-json",
    "--verbose",
    "--input-format",
    "stream-json",
    "--include-partial-messages",
    "--permission-prompt-tool",
    "stdio",
];

/// A directory that is home and working directory.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cc-executor"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        command
            .env("HOME", self.0.path())
            .env("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS", "1");
        command
            .current_dir(self.0.path())
            .arg("simulate")
            .args(CLAUDE_FLAGS)
            .args(args);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, args: &[&str]) -> Simulator {
        Simulator::spawn(self.command(args))
    }

    /// A process that goes on with the session's cut turn by itself.
    pub(crate) fn resume(&self, session: &str) -> Simulator {
        let mut command = self.command(&["--resume", session]);
        command.env("CLAUDE_CODE_RESUME_INTERRUPTED_TURN", "1");
        Simulator::spawn(command)
    }
}

pub(crate) struct Simulator {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Simulator {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    pub(crate) fn write(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn user(&mut self, uuid: &str, text: &str) {
        let message = json!({"type": "user", "message": {"role": "user", "content": text}, "uuid": uuid});
        self.write(&message.to_string());
    }

    pub(crate) fn request(&mut self, id: &str, request: Value) {
        self.write(&json!({"type": "control_request", "request_id": id, "request": request}).to_string());
    }

    pub(crate) fn answer(&mut self, request: &Value, response: Value) {
        let response = json!({"subtype": "success", "request_id": request["request_id"], "response": response});
        self.write(&json!({"type": "control_response", "response": response}).to_string());
    }

    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn next(&self) -> Value {
        serde_json::from_str(&self.lines.recv_timeout(PATIENCE).expect("a frame in time")).unwrap()
    }

    /// Reads up to and including the first frame that `wanted` takes.
    pub(crate) fn until(&self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next();
            let found = wanted(&frame);
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    pub(crate) fn find(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.until(wanted).pop().unwrap()
    }

    pub(crate) fn result(&self) -> Value {
        self.find(|frame| frame["type"] == "result")
    }

    /// Everything that is still printed, once the process has ended.
    pub(crate) fn rest(&self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            lines.push(line);
        }
        lines
    }

    pub(crate) fn status(&mut self) -> ExitStatus {
        until("the simulator to end", || self.child.try_wait().unwrap())
    }

    pub(crate) fn ended_by_itself(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `type`, or `system/subtype`, or the event of a stream.
pub(crate) fn kind(frame: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match frame["type"].as_str() {
        Some("system") => format!("system/{}", text(&frame["subtype"])),
        Some("stream_event") => text(&frame["event"]["type"]),
        Some("command_lifecycle") => format!("lifecycle/{}", text(&frame["state"])),
        _ => text(&frame["type"]),
    }
}

pub(crate) fn is_permission_request(frame: &Value) -> bool {
    frame["type"] == "control_request" && frame["request"]["subtype"] == "can_use_tool"
}

pub(crate) fn is_tool_result(frame: &Value) -> bool {
    frame["message"]["content"][0]["type"] == "tool_result"
}

pub(crate) fn assistant_texts(frames: &[Value]) -> Vec<String> {
    let assistant = frames.iter().filter(|frame| frame["type"] == "assistant");
    assistant
        .filter_map(|frame| frame["message"]["content"][0]["text"].as_str().map(str::to_owned))
        .collect()
}

pub(crate) fn lines_of(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

pub(crate) fn is_idle(frame: &Value) -> bool {
    frame["subtype"] == "session_state_changed" && frame["state"] == "idle"
}

pub(crate) fn is_completed(frame: &Value, uuid: &str) -> bool {
    kind(frame) == "lifecycle/completed" && frame["command_uuid"] == uuid
}

pub(crate) fn is_alive(pid_file: &Path) -> bool {
    let pid: i32 = std::fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap()).is_ok()
}

pub(crate) fn wait_until(condition: impl Fn() -> bool) {
    until("the condition", || condition().then_some(()));
}
