//! Whatever dies, whenever, with the real CLI: afterwards the journal has every line once and in order, the outcome is
//! right, no process is left, and no two attempts lived at once.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::main_job::{answer, create_and_allow, transcript, with_claude};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::messages_api::MessagesApi;
use crate::support::spool::compare_with_spools;
use crate::support::victim::Victim;
use crate::support::wait::{shell_until_exists, until};

const ALL: [Victim; 3] = [Victim::Daemon, Victim::Agent, Victim::Everything];

/// When it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The API has the request and holds its answer.
    BeforeTheFirstMessage,
    MidText,
    DuringATool,
    WhileAQuestionIsOpen,
    /// The result is in the spool, and the daemon has not seen it.
    AfterTheResult,
    /// The agent waits, because the API has failed.
    WhileTheApiFails,
    /// The daemon waits, because the agent has died.
    WhileWaitingToRetry,
}

/// A session at its moment, and what lets it go on.
struct Case {
    victim: Victim,
    moment: Moment,
    daemon: TestDaemon,
    id: String,
}

impl Moment {
    /// A task that has this moment and stays in it until there is a file at the gate, where that is possible.
    fn task(self, root: &Path) -> String {
        let (gate, tool) = (root.join("gate"), root.join("tool"));
        let task = match self {
            Self::BeforeTheFirstMessage => format!("wait {} ;; say the end", gate.display()),
            Self::MidText | Self::AfterTheResult | Self::WhileWaitingToRetry => {
                format!("hold {} the end", gate.display())
            }
            Self::DuringATool => {
                let wait = shell_until_exists(&gate);
                format!("bash touch {}; {wait} ;; say the end", tool.display())
            }
            Self::WhileAQuestionIsOpen => "ask Which colour? | Red | Blue ;; say the end".to_owned(),
            Self::WhileTheApiFails => "error 500 2 ;; say the end".to_owned(),
        };
        format!("FAKE: {task}")
    }
}

impl Case {
    fn begin(victim: Victim, moment: Moment, api: &MessagesApi) -> Self {
        let daemon = with_claude(api);
        let task = moment.task(daemon.root());
        let id = match moment {
            Moment::DuringATool => create_and_allow(&daemon, &task),
            Moment::BeforeTheFirstMessage
            | Moment::MidText
            | Moment::WhileAQuestionIsOpen
            | Moment::AfterTheResult
            | Moment::WhileTheApiFails
            | Moment::WhileWaitingToRetry => daemon.create(&task),
        };
        Self {
            victim,
            moment,
            daemon,
            id,
        }
    }

    fn wait_for_moment(&self, api: &MessagesApi) {
        let (daemon, id) = (&self.daemon, &self.id);
        let mid_text = || until("some text", || self.has_written(is_text_delta));
        match self.moment {
            Moment::BeforeTheFirstMessage => until("a request", || (!api.model_requests().is_empty()).then_some(())),
            Moment::MidText => mid_text(),
            Moment::DuringATool => {
                until("the tool", || daemon.root().join("tool").exists().then_some(()));
                self.wait_for_transcript();
            }
            Moment::WhileAQuestionIsOpen => {
                daemon.question(id);
                self.wait_for_transcript();
            }
            Moment::AfterTheResult => {
                mid_text();
                signal(daemon.pid(), Signal::STOP);
                self.open_gate();
                until("the result", || self.has_written(|line| line["type"] == "result"));
            }
            Moment::WhileTheApiFails => drop(daemon.wait_for(id, "waiting_api")),
            Moment::WhileWaitingToRetry => {
                mid_text();
                signal(daemon.agent_pid(id, 1), Signal::KILL);
                until("the end of the first attempt", || {
                    (!daemon.records_of(id, "attempt.ended").is_empty()).then_some(())
                });
            }
        }
    }

    /// The CLI writes down its calls a little later than it shows them, and what a resumed model is told depends on it.
    fn wait_for_transcript(&self) {
        until("the call in the transcript", || {
            let text = std::fs::read_to_string(transcript(&self.daemon, &self.id)?).ok()?;
            text.contains(r#""type":"tool_use""#).then_some(())
        });
    }

    /// Whether the first agent has written such a line.
    fn has_written(&self, is_it: impl Fn(&Value) -> bool) -> Option<()> {
        let path = self.daemon.state().join(format!("sessions/{}/1/stdout.jsonl", self.id));
        let spool = std::fs::read_to_string(path).ok()?;
        let mut lines = spool.lines().filter_map(|line| serde_json::from_str(line).ok());
        lines.any(|line| is_it(&line)).then_some(())
    }

    fn open_gate(&self) {
        std::fs::write(self.daemon.root().join("gate"), "").expect("the gate opens");
    }

    fn strike(&mut self) {
        self.victim.kill(&mut self.daemon, &self.id);
        // A daemon that was stopped until the moment goes on.
        signal(self.daemon.pid(), Signal::CONT);
    }

    fn go_on(&self) -> Value {
        self.open_gate();
        if self.moment == Moment::WhileAQuestionIsOpen {
            let choice = json!({"action": "choose", "answers": {"Which colour?": "Blue"}});
            answer(&self.daemon, &self.id, &choice);
        }
        until("the end of the session", || {
            let attempts = attempts_alive(&self.daemon, &self.id);
            assert!(attempts.len() <= 1, "{attempts:?} live at once");
            let view = self.daemon.view(&self.id);
            (!view["ended_at"].is_null()).then_some(view)
        })
    }

    fn attempts(&self) -> u32 {
        let agent_died = self.victim.has_agent() && self.moment != Moment::AfterTheResult;
        1 + u32::from(agent_died || self.moment == Moment::WhileWaitingToRetry)
    }

    fn check(&self, view: &Value) {
        let (daemon, id) = (&self.daemon, &self.id);
        let records: Vec<_> = daemon.records(id).iter().map(Value::to_string).collect();
        let shown = || format!("{view:#}\n{records:#?}\n{}", daemon.log());
        assert_eq!(
            (&view["state"], &view["result"], &view["attempt"]),
            (&json!("completed"), &json!("the end"), &json!(self.attempts())),
            "{}",
            shown()
        );
        assert_eq!(daemon.texts(id), ["the end"], "{}", shown());
        compare_with_spools(daemon, id);
        let count = |kind: &str| daemon.records_of(id, kind).len();
        assert_eq!(count("attempt.started"), self.attempts() as usize);
        assert_eq!(count("attempt.ended"), self.attempts() as usize);
        assert_eq!(count("session.ended"), 1);
        assert_eq!(count("agent.unknown"), 0, "{}", shown());
        let asked = usize::from(matches!(
            self.moment,
            Moment::WhileAQuestionIsOpen | Moment::DuringATool
        ));
        assert_eq!(
            (
                count("question.answered"),
                count("question.delivered"),
                count("question.withdrawn")
            ),
            (asked, asked, 0),
            "{}",
            shown()
        );
        until("the last process to end", || {
            daemon.processes_of(id).is_empty().then_some(())
        });
    }
}

fn is_text_delta(line: &Value) -> bool {
    line["event"]["delta"]["type"] == "text_delta"
}

/// The attempts of a session that have a process. One that has ended while the others were looked at did not live
/// beside them.
pub(crate) fn attempts_alive(daemon: &TestDaemon, id: &str) -> BTreeSet<String> {
    let seen: Vec<_> = daemon
        .processes_of(id)
        .into_iter()
        .filter_map(|pid| Some((pid, attempt_of(pid)?)))
        .collect();
    let still = seen
        .into_iter()
        .filter(|(pid, attempt)| attempt_of(*pid).as_ref() == Some(attempt));
    still.map(|(_, attempt)| attempt).collect()
}

fn attempt_of(pid: i32) -> Option<String> {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut entries = environment.split(|byte| *byte == 0);
    let mark = entries.find_map(|entry| entry.strip_prefix(b"CC_EXECUTOR_ATTEMPT="))?;
    Some(String::from_utf8_lossy(mark).into_owned())
}

fn check(victim: Victim, moment: Moment) {
    println!("{victim:?} {moment:?}");
    let api = MessagesApi::start();
    let mut case = Case::begin(victim, moment, &api);
    case.wait_for_moment(&api);
    case.strike();
    let view = case.go_on();
    case.check(&view);
}

#[test]
fn before_the_first_message() {
    ALL.into_iter()
        .for_each(|victim| check(victim, Moment::BeforeTheFirstMessage));
}

#[test]
fn in_the_middle_of_a_text() {
    ALL.into_iter().for_each(|victim| check(victim, Moment::MidText));
}

#[test]
fn between_a_tool_call_and_its_result() {
    ALL.into_iter()
        .chain([Victim::BashChild])
        .for_each(|victim| check(victim, Moment::DuringATool));
}

#[test]
fn while_a_question_is_open() {
    ALL.into_iter()
        .for_each(|victim| check(victim, Moment::WhileAQuestionIsOpen));
}

#[test]
fn after_the_result_and_before_its_commit() {
    ALL.into_iter().for_each(|victim| check(victim, Moment::AfterTheResult));
}

#[test]
fn while_the_agent_waits_for_the_api() {
    ALL.into_iter()
        .for_each(|victim| check(victim, Moment::WhileTheApiFails));
}

#[test]
fn while_the_daemon_waits_to_start_the_agent_again() {
    check(Victim::Daemon, Moment::WhileWaitingToRetry);
}
