//! Tool calls without a result: what each one is, and since when it runs. The clock of a silent tool reads them.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Turns;
use crate::session::id::SessionId;
use crate::session::journal::ClockJump;
use crate::session::question::headline_of_input;

/// The name under which agents know our own MCP server.
pub const OWN_MCP_SERVER: &str = "cc-executor";

/// What the name of every tool of an MCP server begins with: `mcp__<server>__<tool>`.
const MCP_PREFIX: &str = "mcp__";

/// Tools that wait for work elsewhere in the agent: subagents, background shells, workflows. They start no process, and
/// the CLI bounds their time or shows their work itself.
const WAITING_TOOLS: [&str; 6] = ["Agent", "Task", "TaskOutput", "BashOutput", "Monitor", "Workflow"];

/// One tool call without a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Call {
    /// The tool's name and what matters most of its input.
    line: String,
    /// The call whose subagent makes this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    /// A time no later than the call; none where nothing is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// The session that its input names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    session: Option<SessionId>,
}

/// Reads calls of a summary's row. Version 0.1 kept the line alone.
fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Call>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Row {
        Line(String),
        Call(Call),
    }
    let rows = BTreeMap::<String, Row>::deserialize(deserializer)?.into_iter();
    let call = |row| match row {
        Row::Line(line) => Call {
            line,
            ..Call::default()
        },
        Row::Call(call) => call,
    };
    Ok(rows.map(|(id, row)| (id, call(row))).collect())
}

/// What shows that a silent call is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// A process that began after the call.
    Process,
    /// The agent's heartbeats.
    Heartbeat,
    /// Nothing but its result: an MCP server does the work.
    Result,
    /// A session that has not ended.
    Session,
}

impl Call {
    /// A call of the tool `name`.
    fn new(name: &str, input: &Value, parent: Option<&str>, since: Option<Timestamp>) -> Self {
        let session = input.get("session_id").and_then(Value::as_str);
        Self {
            line: format!("{name}: {}", headline_of_input(input)),
            parent: parent.map(str::to_owned),
            since,
            session: session.and_then(|id| id.parse().ok()),
        }
    }

    fn sign(&self) -> Sign {
        let name = self.line.split(": ").next().unwrap_or_default();
        let Some(of_server) = name.strip_prefix(MCP_PREFIX) else {
            return if WAITING_TOOLS.contains(&name) {
                Sign::Heartbeat
            } else {
                Sign::Process
            };
        };
        match of_server.strip_prefix(OWN_MCP_SERVER) {
            Some(tool) if tool.starts_with("__") => Sign::Session,
            Some(_) | None => Sign::Result,
        }
    }
}

/// The calls in which an agent is silent, as far as its clock goes. Of a subagent's calls only those that it makes itself
/// are here, not the call that started it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenCalls {
    /// A call of a tool that usually starts a process is open.
    pub has_process: bool,
    /// A time no later than the first of those calls; none where nothing is known of one of them.
    pub process_since: Option<Timestamp>,
    /// A call of an MCP server's tool is open.
    pub is_mcp: bool,
    /// For each open call of our own tools the session that its input names.
    pub of_ours: Vec<Option<SessionId>>,
}

impl OpenCalls {
    fn of<'a>(calls: impl Iterator<Item = &'a Call>) -> Self {
        let mut open = Self::default();
        let mut since = Vec::new();
        for call in calls {
            match call.sign() {
                Sign::Process => since.push(call.since),
                // What it waits for may have begun at any time.
                Sign::Heartbeat => since.push(None),
                Sign::Result => open.is_mcp = true,
                Sign::Session => open.of_ours.push(call.session),
            }
        }
        open.has_process = !since.is_empty();
        // An unknown time sorts first.
        open.process_since = since.into_iter().min().flatten();
        open
    }
}

/// Tool calls without a result, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct ToolCalls {
    #[serde(deserialize_with = "read")]
    open_tools: BTreeMap<String, Call>,
    /// Calls that background subagents made in a turn that has ended.
    #[serde(default, deserialize_with = "read")]
    calls_beside: BTreeMap<String, Call>,
    /// When the last records were written, and those before them.
    #[serde(default)]
    times: (Option<Timestamp>, Option<Timestamp>),
}

impl ToolCalls {
    /// Those of an agent that is just started.
    pub(super) fn of_next_agent(&self) -> Self {
        Self {
            times: self.times,
            ..Self::default()
        }
    }

    pub(super) fn begin(
        &mut self,
        id: &str,
        name: &str,
        input: &Value,
        parent: Option<&str>,
        called_at: Option<Timestamp>,
    ) {
        let call = Call::new(name, input, parent, self.no_later_than_call(called_at));
        self.open_tools.insert(id.to_owned(), call);
    }

    pub(super) fn end(&mut self, id: &str) {
        self.open_tools.remove(id);
        self.calls_beside.remove(id);
    }

    /// Keeps the calls of subagents, which may go on in the background.
    pub(super) fn end_turn(&mut self) {
        let open = std::mem::take(&mut self.open_tools).into_iter();
        self.calls_beside.extend(open.filter(|(_, call)| call.parent.is_some()));
    }

    /// Forgets the calls that background subagents made.
    pub(super) fn forget_beside(&mut self) {
        self.calls_beside.clear();
    }

    /// Notes when the next record was written. Records of one append have one time.
    pub(super) fn note_time(&mut self, at: Timestamp) {
        if self.times.0 != Some(at) {
            self.times = (Some(at), self.times.0);
        }
    }

    /// A clock that was set back shows earlier times for the calls before it. One that went ahead may have slept, and
    /// then the times of processes went ahead with it.
    pub(super) fn take_jump(&mut self, jump: &ClockJump) {
        let by = SignedDuration::from_millis(jump.by_ms.min(0));
        let noticed = self.times.0.unwrap_or(Timestamp::MAX);
        let is_behind = |at: &mut Timestamp| jump.since <= *at && *at <= noticed;
        let calls = self.open_tools.values_mut().chain(self.calls_beside.values_mut());
        for at in calls.filter_map(|call| call.since.as_mut()) {
            if !is_behind(at) {
                *at = at.checked_add(by).unwrap_or(*at);
            }
        }
    }

    /// The call's own time where the agent tells one that can be right, else that of the records before it: a daemon
    /// that was away reads a call long after it was made.
    fn no_later_than_call(&self, called_at: Option<Timestamp>) -> Option<Timestamp> {
        let is_possible = |at: &Timestamp| self.times.0.is_none_or(|read| *at <= read);
        called_at.filter(is_possible).or(self.times.1)
    }

    fn all(&self) -> impl Iterator<Item = (&String, &Call)> {
        self.open_tools.iter().chain(&self.calls_beside)
    }

    /// True if no subagent of this call has a call open.
    fn is_innermost(&self, id: &str) -> bool {
        self.all().all(|(_, call)| call.parent.as_deref() != Some(id))
    }
}

impl Turns {
    /// The tool call that is open, as one line; the one whose id sorts last where there are several.
    pub fn open_tool(&self) -> Option<&str> {
        self.calls
            .open_tools
            .values()
            .next_back()
            .map(|call| call.line.as_str())
    }

    /// The open tool call with this id, as one line.
    pub fn tool(&self, id: &str) -> Option<&str> {
        self.calls.open_tools.get(id).map(|call| call.line.as_str())
    }

    /// Returns true if no tool call is open.
    pub fn is_between_tools(&self) -> bool {
        self.calls.open_tools.is_empty()
    }

    /// The calls in which the agent is silent while it says nothing.
    pub fn open_calls(&self) -> OpenCalls {
        let innermost = self.calls.all().filter(|(id, _)| self.calls.is_innermost(id));
        OpenCalls::of(innermost.map(|(_, call)| call))
    }

    /// Returns true if a heartbeat about this call shows that the agent is at work.
    pub fn is_shown_by_heartbeats(&self, id: &str) -> bool {
        let call = self.calls.open_tools.get(id);
        call.is_some_and(|call| call.sign() == Sign::Heartbeat && self.calls.is_innermost(id))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::session::journal::{ClockJump, Entry};
    use crate::session::message::{BackgroundTask, Message, TaskKind};
    use crate::session::samples::{good_turn, said, tool_result, turn_ended};
    use crate::session::turn::Turns;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn call(id: &str, name: &str, parent: Option<&str>, called_at: Option<i64>) -> Message {
        Message::ToolUse {
            message_id: "m".into(),
            block: 0,
            tool_use_id: id.into(),
            name: name.into(),
            input: json!({}),
            parent: parent.map(str::to_owned),
            called_at: called_at.map(at),
        }
    }

    /// Takes what was written at these times.
    fn taken(records: &[(i64, Entry)]) -> Turns {
        let mut turns = Turns::default();
        for (second, entry) in records {
            turns.note_time(at(*second));
            turns.take(entry);
        }
        turns
    }

    fn since(records: &[(i64, Entry)]) -> Option<i64> {
        let since = taken(records).open_calls().process_since;
        since.map(|since| since.as_second() - at(0).as_second())
    }

    #[test]
    fn a_call_is_as_old_as_the_agent_says_or_as_the_records_before_it() {
        let notice = || (3, said(tool_result("x", "done")));
        let called = |called_at| (9, said(call("a", "Bash", None, called_at)));
        assert_eq!(since(&[notice(), called(Some(5))]), Some(5));
        assert_eq!(since(&[notice(), called(None)]), Some(3));
        let of_one_append = |called_at| [notice(), (9, said(tool_result("y", "done"))), called(called_at)];
        assert_eq!(since(&of_one_append(None)), Some(3));
        assert_eq!(since(&of_one_append(Some(99))), Some(3), "no time to come");
        assert_eq!(since(&[called(None)]), None);
    }

    #[test]
    fn the_oldest_of_several_calls_counts_but_not_the_one_whose_subagent_makes_them() {
        let agent = (1, said(call("agent", "Agent", None, Some(1))));
        let inner = |id: &str, second| (second, said(call(id, "Bash", Some("agent"), Some(second))));
        assert_eq!(since(&[agent.clone(), inner("a", 5), inner("b", 8)]), Some(5));
        let alone = [agent, inner("a", 5), (6, said(tool_result("a", "done")))];
        assert!(taken(&alone).is_shown_by_heartbeats("agent"));
        assert!(!taken(&alone[..2]).is_shown_by_heartbeats("agent"));
        assert_eq!(since(&alone), None, "its work may have begun before");
    }

    #[test]
    fn a_call_of_a_background_subagent_stays_open_behind_the_turn() {
        let task = BackgroundTask {
            task_id: "t".into(),
            task: TaskKind::Agent,
            description: String::new(),
        };
        let tasks = |tasks| (1, said(Message::BackgroundTasks { tasks }));
        let inner = (2, said(call("a", "mcp__x__y", Some("agent"), None)));
        let of_turn = (2, said(call("b", "Bash", None, None)));
        let mut records = vec![tasks(vec![task]), inner, of_turn, (3, said(turn_ended(good_turn())))];
        let open = taken(&records).open_calls();
        assert!(open.is_mcp && !open.has_process, "{open:?}");
        assert_eq!(taken(&records).open_tool(), None);
        records.push(tasks(vec![]));
        assert_eq!(taken(&records).open_calls(), OpenCalls::default());
    }

    #[test]
    fn a_clock_that_was_set_back_takes_the_calls_before_it_along() {
        let called = (100, said(call("a", "Bash", None, Some(90))));
        let jump = |by: i64| {
            let since = at(120 + by);
            (
                125 + by,
                Entry::ClockJumped(ClockJump {
                    since,
                    by_ms: by * 1000,
                }),
            )
        };
        assert_eq!(since(&[called.clone(), jump(-50)]), Some(40));
        assert_eq!(since(&[called, jump(500)]), Some(90), "it may have slept");
    }

    #[test]
    fn our_own_tools_are_told_from_those_of_other_servers() {
        let of = |name: &str| OpenCalls::of([Call::new(name, &json!({}), None, None)].iter());
        assert_eq!(of("mcp__cc-executor__execute_resumable").of_ours, [None]);
        for name in ["mcp__cc-executors__x", "mcp__other__cc-executor"] {
            assert!(of(name).is_mcp && of(name).of_ours.is_empty(), "{name}");
        }
        let id = SessionId::new();
        let named = Call::new(
            "mcp__cc-executor__get_execution",
            &json!({"session_id": id}),
            None,
            None,
        );
        assert_eq!(OpenCalls::of([named].iter()).of_ours, [Some(id)]);
    }

    #[test]
    fn a_call_of_the_version_before_is_read_as_its_line() {
        let row = json!({"open_tools": {"a": "Bash: make"}});
        let calls: ToolCalls = serde_json::from_value(row).unwrap();
        assert_eq!(
            (calls.open_tools["a"].line.as_str(), calls.open_tools["a"].since),
            ("Bash: make", None)
        );
        let mut calls = ToolCalls::default();
        calls.begin("a", "Bash", &json!({"command": "make"}), Some("p"), Some(at(1)));
        let row = serde_json::to_value(&calls).unwrap();
        assert_eq!(serde_json::from_value::<ToolCalls>(row).unwrap(), calls);
    }
}
