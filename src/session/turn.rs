//! When an agent has finished: what is open, what its last result says, and how an attempt that ends now ended.
//!
//! "A result came" is not enough: subagents and background shells go on after it, and a deferred or aborted turn also
//! says success. So an attempt is finished when there is a good result for our last message, the agent is idle, no
//! input is queued, no question is open, no background agent lives and the agent has set no timer.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::calls::{OWN_MCP_SERVER, OpenCalls};
pub use self::result::first_paragraph;

use self::calls::{Call, is_shown_by_heartbeats};
use self::result::{NO_CONVERSATION, classify, interrupted, is_interrupted, line_of};
use super::journal::{ClockJump, Entry, Input};
use super::login::{NO_LOGIN, is_refusal};
use super::message::{BackgroundTask, InputState, Message, TASK_FAILED, TaskKind, TurnEnd};
use super::outcome::{Cause, Ending};
use super::question::Answer;

/// What the agent of the current attempt is up to: a fold of that attempt's records, so that a daemon that comes back
/// knows it as well as the one before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Turns {
    /// Our last message: its result is the one that counts.
    last_input: Option<Uuid>,
    /// What the result for our last message says, once it came.
    answered: Option<Ending>,
    /// The model's rounds since the last result, which counts those before it; and the message of the latest one.
    #[serde(default)]
    rounds: u32,
    #[serde(default)]
    round: Option<String>,
    /// The messages that the last turn has answered.
    #[serde(default)]
    last_answers: Vec<Uuid>,
    /// Tool calls without a result.
    open_tools: BTreeMap<String, Call>,
    /// Calls without a result that background subagents made in a turn that has ended.
    #[serde(default)]
    calls_beside: BTreeMap<String, Call>,
    /// When the last records were written, and those before them.
    #[serde(default)]
    times: (Option<Timestamp>, Option<Timestamp>),
    /// Background tasks that live.
    background: BTreeMap<String, TaskKind>,
    /// Descriptions of background tasks.
    #[serde(default)]
    described: BTreeMap<String, String>,
    /// The login was refused, and the agent does not try it any longer, or must not.
    not_signed_in: bool,
    /// Why the message under way is not done if its turn ends without a round of the model, and the CLI's words.
    #[serde(default)]
    failure: Option<(Cause, String)>,
    /// The kind of the CLI's own report of an error in this turn, and its words.
    #[serde(default)]
    reported: Option<(String, String)>,
    /// A turn has begun and not ended.
    #[serde(default)]
    in_turn: bool,
    /// Somebody has answered a question so that the turn is to end with it; known over the death of the agent that asked.
    #[serde(default)]
    is_to_be_interrupted: bool,
    /// What it wrote to its stderr is told.
    #[serde(default)]
    has_stderr: bool,
}

/// What else decides whether an agent has finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Open {
    /// The agent says that it works.
    pub busy: bool,
    /// A message of ours was not begun yet.
    pub queued: bool,
    /// A question was not answered yet, or its answer not delivered.
    pub asked: bool,
    /// The agent has timers of its own that are still to fire.
    pub timers: bool,
}

/// What follows from where the agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    Working,
    /// It would be finished, but for background shells.
    OnlyShells,
    /// It would be finished, but timers that it has set will wake it.
    OnlyTimers,
    /// The attempt is over, though its process may live.
    Over(Ending),
}

impl Turns {
    /// Takes one record into account.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::AttemptStarted(_) => {
                *self = Self {
                    is_to_be_interrupted: self.is_to_be_interrupted,
                    times: self.times,
                    ..Self::default()
                };
            }
            Entry::QuestionAnswered(answered) => {
                self.is_to_be_interrupted |= matches!(answered.answer, Answer::Deny { interrupt: true, .. });
            }
            // What a person asks for now is not what was to be ended.
            Entry::SessionResumed(_) => self.is_to_be_interrupted = false,
            Entry::Input(Input {
                uuid,
                state: InputState::Sent,
                ..
            }) => {
                self.last_input = Some(*uuid);
                self.answered = None;
            }
            Entry::AgentMessage(said) => self.take_message(&said.message),
            Entry::AgentStderr(said) => self.take_stderr(&said.text),
            // The model is asked once more for what was cut off, by this agent or by the one that goes on.
            Entry::DraftDropped(dropped) if self.round.as_ref() == Some(&dropped.message_id) => {
                self.round = None;
                self.rounds = self.rounds.saturating_sub(1);
            }
            Entry::ClockJumped(jump) => self.take_jump(jump),
            _ => {}
        }
    }

    /// Notes when the next record was written. Records of one append have one time.
    pub fn note_time(&mut self, at: Timestamp) {
        if self.times.0 != Some(at) {
            self.times = (Some(at), self.times.0);
        }
    }

    /// A clock that was set back shows earlier times for the calls before it. One that went ahead may have slept, and
    /// then the times of processes went ahead with it.
    fn take_jump(&mut self, jump: &ClockJump) {
        let by = SignedDuration::from_millis(jump.by_ms.min(0));
        let noticed = self.times.0.unwrap_or(Timestamp::MAX);
        let is_behind = |at: Timestamp| jump.since <= at && at <= noticed;
        let calls = self.open_tools.values_mut().chain(self.calls_beside.values_mut());
        for at in calls
            .filter_map(|call| call.since.as_mut())
            .filter(|at| !is_behind(**at))
        {
            *at = at.checked_add(by).unwrap_or(*at);
        }
    }

    /// The call's own time where the agent tells one that can be right, else that of the records before it: a daemon
    /// that was away reads a call long after it was made.
    fn no_later_than_call(&self, called_at: Option<Timestamp>) -> Option<Timestamp> {
        let is_possible = |at: &Timestamp| self.times.0.is_none_or(|read| *at <= read);
        called_at.filter(is_possible).or(self.times.1)
    }

    fn take_stderr(&mut self, text: &str) {
        self.has_stderr = true;
        // A version that prints no result with it says so here alone, and nothing else.
        if self.is_untouched() {
            let refusal = text.lines().find(|line| line.contains(NO_CONVERSATION));
            self.answered = refusal.map(|line| Ending::LostContext {
                message: line.trim().to_owned(),
            });
        }
    }

    /// Whether the journal has what the agent wrote to its stderr, which is told at its end.
    pub fn has_stderr(&self) -> bool {
        self.has_stderr
    }

    /// Where the agent stands while its process lives.
    pub fn standing(&self, open: Open) -> Standing {
        if self.not_signed_in {
            return Standing::Over(self.no_login());
        }
        let is_quiet = !open.busy && !open.queued && !open.asked;
        let Some(ending) = self.answered.as_ref().filter(|_| is_quiet) else {
            return Standing::Working;
        };
        if *ending != Ending::Finished {
            return Standing::Over(ending.clone());
        }
        if !self.has_only_shells() {
            Standing::Working
        } else if open.timers {
            Standing::OnlyTimers
        } else if self.background.is_empty() {
            Standing::Over(Ending::Finished)
        } else {
            Standing::OnlyShells
        }
    }

    /// How the attempt ended, given that its process is gone.
    pub fn ending_of_gone(&self, open: Open) -> Ending {
        if self.not_signed_in {
            return self.no_login();
        }
        // An agent that died over the answer of a person who ended its turn has ended it.
        let cut_short = || self.ended_by_person().unwrap_or(Ending::Crashed);
        match &self.answered {
            Some(Ending::Finished)
                if open.queued || open.asked || open.timers || self.in_turn || !self.has_only_shells() =>
            {
                cut_short()
            }
            Some(ending) => ending.clone(),
            None => cut_short(),
        }
    }

    /// The tool call that is open, as one line; the one whose id sorts last where there are several.
    pub fn open_tool(&self) -> Option<&str> {
        self.open_tools.values().next_back().map(|call| call.line.as_str())
    }

    /// The calls in which the agent is silent while it says nothing.
    pub fn open_calls(&self) -> OpenCalls {
        OpenCalls::of(
            self.calls()
                .filter(|(id, _)| self.is_innermost(id))
                .map(|(_, call)| call),
        )
    }

    /// True if a heartbeat about this call says that the agent is at work.
    pub fn is_shown_by_heartbeats(&self, tool_use_id: &str) -> bool {
        let call = self.open_tools.get(tool_use_id);
        call.is_some_and(|call| is_shown_by_heartbeats(call) && self.is_innermost(tool_use_id))
    }

    fn calls(&self) -> impl Iterator<Item = (&String, &Call)> {
        self.open_tools.iter().chain(&self.calls_beside)
    }

    /// True if no subagent of this call has a call open.
    fn is_innermost(&self, tool_use_id: &str) -> bool {
        let mut calls = self.calls();
        calls.all(|(_, call)| call.parent.as_deref() != Some(tool_use_id))
    }

    /// The open tool call with this id, as one line.
    pub fn tool(&self, tool_use_id: &str) -> Option<&str> {
        self.open_tools.get(tool_use_id).map(|call| call.line.as_str())
    }

    /// True if the turn for our last message has ended well, and nothing but shells and timers goes on.
    pub fn has_ended_well(&self) -> bool {
        self.answered == Some(Ending::Finished) && !self.in_turn && self.has_only_shells()
    }

    /// The open tool call that this record says has succeeded.
    pub fn passed_tool(&self, entry: &Entry) -> Option<&str> {
        let Entry::AgentMessage(said) = entry else { return None };
        match &said.message {
            Message::ToolResult {
                tool_use_id,
                is_error: false,
                ..
            } => self.open_tools.get(tool_use_id).map(|call| call.line.as_str()),
            _ => None,
        }
    }

    /// Whether no tool call is open.
    pub fn is_between_tools(&self) -> bool {
        self.open_tools.is_empty()
    }

    /// Whether a message of ours was journalled for the agent of this attempt.
    pub fn is_told(&self) -> bool {
        self.last_input.is_some()
    }

    /// The ending of an attempt whose turn a person has ended with an answer, while the agent has not said that it is
    /// over.
    pub fn ended_by_person(&self) -> Option<Ending> {
        self.is_to_be_interrupted.then(interrupted)
    }

    /// Whether the result for our last message has come.
    pub fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// The model's rounds that no result has counted, and none will when the agent is gone: that of a resumed turn
    /// begins at 0.
    pub fn uncounted_rounds(&self) -> u32 {
        self.rounds
    }

    /// Takes the model's calls that no result has counted, as they are counted now.
    pub(super) fn take_uncounted_rounds(&mut self) -> u32 {
        self.round = None;
        std::mem::take(&mut self.rounds)
    }

    /// Whether the last turn has answered this message.
    pub fn has_answered(&self, uuid: Uuid) -> bool {
        self.last_answers.contains(&uuid)
    }

    /// Background tasks that live, each with its description and its id.
    pub fn background_tasks(&self) -> impl Iterator<Item = String> {
        self.background.keys().map(|id| match self.described.get(id) {
            Some(description) if !description.is_empty() => format!("{description} ({id})"),
            Some(_) | None => id.clone(),
        })
    }

    /// Whether the agent has begun no turn.
    fn is_untouched(&self) -> bool {
        !self.in_turn && self.rounds == 0 && self.answered.is_none()
    }

    fn has_only_shells(&self) -> bool {
        self.background.values().all(|kind| *kind == TaskKind::Shell)
    }

    fn take_message(&mut self, message: &Message) {
        match message {
            Message::ToolUse {
                tool_use_id,
                name,
                input,
                message_id,
                parent,
                called_at,
                ..
            } => {
                self.note_round(message_id, parent.as_deref());
                let since = self.no_later_than_call(*called_at);
                let call = Call::new(name, input, parent.as_deref(), since);
                self.open_tools.insert(tool_use_id.clone(), call);
            }
            Message::ToolResult { tool_use_id, .. } => {
                self.open_tools.remove(tool_use_id);
                self.calls_beside.remove(tool_use_id);
            }
            Message::TaskStarted {
                task_id,
                task,
                background: true,
                description,
            } => {
                self.background.insert(task_id.clone(), *task);
                self.described.insert(task_id.clone(), description.clone());
            }
            Message::TaskEnded { task_id, status, .. } => self.end_task(task_id, status),
            Message::BackgroundTasks { tasks } => self.set_background(tasks),
            Message::ApiRetry { login_until, .. } => {
                self.not_signed_in |= login_until.is_none() && is_refusal(message);
            }
            Message::Text {
                error: Some(error),
                text,
                parent,
                ..
            } => {
                // A refusal that a subagent meets is a failed tool call to its caller.
                self.not_signed_in |= error == NO_LOGIN && parent.is_none();
                self.reported = Some((error.clone(), line_of(text)));
            }
            Message::Said { stopped: Some(why), .. } => self.failure = Some((Cause::PromptBlocked, line_of(why))),
            Message::CommandOutput { text, failed: true } => {
                self.failure = Some((Cause::CommandFailed, line_of(&first_paragraph(text))));
            }
            Message::TurnEnded(end) => self.end_turn(end),
            Message::Text {
                message_id,
                parent,
                error: None,
                ..
            }
            | Message::Thinking { message_id, parent, .. } => self.note_round(message_id, parent.as_deref()),
            Message::TurnStarted { .. } => (self.in_turn, self.reported) = (true, None),
            Message::UserText { .. }
            | Message::ModeChanged { .. }
            | Message::PermissionDenied { .. }
            | Message::TaskStarted { background: false, .. }
            | Message::Timer(_)
            | Message::RateLimit { .. }
            | Message::Compacted { .. }
            | Message::ConversationReset { .. }
            | Message::CommandOutput { failed: false, .. }
            | Message::Said { stopped: None, .. } => {}
        }
    }

    /// The background tasks are exactly these now.
    fn set_background(&mut self, tasks: &[BackgroundTask]) {
        self.background = tasks.iter().map(|task| (task.task_id.clone(), task.task)).collect();
        let described = tasks
            .iter()
            .map(|task| (task.task_id.clone(), task.description.clone()));
        self.described = described.collect();
        self.forget_calls_beside();
    }

    fn end_task(&mut self, task_id: &str, status: &str) {
        let was_background = self.background.remove(task_id).is_some();
        self.described.remove(task_id);
        self.forget_calls_beside();
        if !was_background && status == TASK_FAILED {
            // A slash command that runs as a fork; its words are in the result.
            self.failure = Some((Cause::CommandFailed, String::new()));
        }
    }

    /// Without background work nobody makes a call beside the turn.
    fn forget_calls_beside(&mut self) {
        if self.background.is_empty() {
            self.calls_beside.clear();
        }
    }

    fn no_login(&self) -> Ending {
        let message = self.reported.as_ref().map(|(_, words)| words.clone());
        Ending::NotSignedIn {
            message: message.unwrap_or_default(),
            until: None,
        }
    }

    /// A message of the agent itself; several blocks of one are one round.
    fn note_round(&mut self, message_id: &str, parent: Option<&str>) {
        if parent.is_none() && self.round.as_deref() != Some(message_id) {
            self.round = Some(message_id.to_owned());
            self.rounds = self.rounds.saturating_add(1);
        }
    }

    fn end_turn(&mut self, end: &TurnEnd) {
        // A notice that comes amid a turn counts none of its rounds.
        if end.turns > 0 {
            (self.rounds, self.round) = (0, None);
        }
        let of_subagents = |(_, call): &(String, Call)| call.parent.is_some();
        let open = std::mem::take(&mut self.open_tools).into_iter();
        self.calls_beside.extend(open.filter(of_subagents));
        self.forget_calls_beside();
        self.last_answers.clone_from(&end.answers);
        self.in_turn = false;
        let is_ours = match self.last_input {
            Some(uuid) => end.answers.contains(&uuid) || (end.answers.is_empty() && !end.synthetic),
            None => false,
        };
        let failure = self.failure.take().filter(|_| end.turns == 0 && !end.is_error);
        // An error of a turn in which nothing happened does not undo what was done before it.
        let is_empty_error = end.is_error && end.turns == 0;
        let is_undone = is_empty_error && self.answered == Some(Ending::Finished);
        if (is_ours || (end.is_error && end.answers.is_empty())) && !is_undone {
            self.answered = Some(self.ending_of_turn(end, failure));
        }
        self.is_to_be_interrupted = false;
    }

    fn ending_of_turn(&self, end: &TurnEnd, failure: Option<(Cause, String)>) -> Ending {
        // A turn that a signal from outside has interrupted was not ended by anybody who may.
        if is_interrupted(end) && !self.is_to_be_interrupted {
            return Ending::Crashed;
        }
        match failure {
            Some((cause, words)) => Ending::Refused {
                cause,
                message: if words.is_empty() {
                    line_of(&first_paragraph(&end.result))
                } else {
                    words
                },
            },
            None => classify(end, self.reported.as_ref().map(|(kind, _)| kind.as_str())),
        }
    }
}

mod calls;
mod result;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::{DroppedDraft, Text};
    use crate::session::samples::{
        attempt_started, denied, good_turn, input, said, text, tool_use, turn_ended as result,
    };

    const OURS: Uuid = Uuid::from_u128(1);
    const QUIET: Open = Open {
        timers: false,
        busy: false,
        queued: false,
        asked: false,
    };

    fn good() -> TurnEnd {
        TurnEnd {
            answers: vec![OURS],
            ..good_turn()
        }
    }

    fn tasks(kinds: &[TaskKind]) -> Message {
        let task = |kind: &TaskKind| BackgroundTask {
            task_id: "t".into(),
            task: *kind,
            description: String::new(),
        };
        Message::BackgroundTasks {
            tasks: kinds.iter().map(task).collect(),
        }
    }

    fn sent(turns: &mut Turns, uuid: Uuid) {
        turns.take(&input(uuid, InputState::Sent, None));
    }

    fn after(messages: &[Message]) -> Turns {
        let mut turns = Turns::default();
        sent(&mut turns, OURS);
        for message in messages {
            turns.take(&said(message.clone()));
        }
        turns
    }

    #[test]
    fn a_result_alone_is_not_the_end() {
        let turns = after(&[result(good())]);
        assert_eq!(turns.standing(Open { busy: true, ..QUIET }), Standing::Working);
        assert_eq!(turns.standing(QUIET), Standing::Over(Ending::Finished));
    }

    #[test]
    fn a_result_for_something_else_is_not_ours() {
        let other = TurnEnd {
            answers: vec![Uuid::from_u128(2)],
            ..good()
        };
        assert_eq!(after(&[result(other)]).standing(QUIET), Standing::Working);
        let synthetic = TurnEnd {
            answers: vec![],
            synthetic: true,
            ..good()
        };
        assert_eq!(after(&[result(synthetic)]).standing(QUIET), Standing::Working);
    }

    #[test]
    fn what_is_open_keeps_the_attempt_going() {
        let turns = after(&[result(good())]);
        assert_eq!(turns.standing(Open { asked: true, ..QUIET }), Standing::Working);
        assert_eq!(turns.standing(Open { queued: true, ..QUIET }), Standing::Working);
        assert_eq!(
            after(&[tasks(&[TaskKind::Agent]), result(good())]).standing(QUIET),
            Standing::Working
        );
        let shells = after(&[tasks(&[TaskKind::Shell]), result(good())]);
        assert_eq!(shells.standing(QUIET), Standing::OnlyShells);
        let ended = after(&[tasks(&[TaskKind::Shell]), result(good()), tasks(&[])]);
        assert_eq!(ended.standing(QUIET), Standing::Over(Ending::Finished));
    }

    #[test]
    fn a_new_message_waits_for_its_own_result() {
        let mut turns = after(&[result(good())]);
        sent(&mut turns, Uuid::from_u128(2));
        assert_eq!(turns.standing(QUIET), Standing::Working);
    }

    #[test]
    fn an_agent_that_is_gone_has_finished_only_after_a_good_result() {
        assert_eq!(after(&[]).ending_of_gone(QUIET), Ending::Crashed);
        assert_eq!(after(&[result(good())]).ending_of_gone(QUIET), Ending::Finished);
        assert_eq!(
            after(&[result(good())]).ending_of_gone(Open { asked: true, ..QUIET }),
            Ending::Crashed
        );
        let with = |kind| after(&[tasks(&[kind]), result(good())]).ending_of_gone(QUIET);
        assert_eq!(with(TaskKind::Shell), Ending::Finished);
        assert_eq!(with(TaskKind::Agent), Ending::Crashed, "its work is lost");
        let further = Message::TurnStarted {
            agent_session_id: Uuid::nil(),
            model: String::new(),
            permission_mode: String::new(),
            agent_version: String::new(),
            mcp_servers_failed: vec![],
        };
        let amid = after(&[result(good()), further]);
        assert_eq!(amid.ending_of_gone(QUIET), Ending::Crashed, "it died in another turn");
    }

    #[test]
    fn what_an_attempt_or_a_turn_had_open_ends_with_it() {
        let open = || after(&[tasks(&[TaskKind::Agent]), tool_use("one", "make")]);
        assert!(!open().is_between_tools());
        let mut next = open();
        next.take(&attempt_started(2));
        assert_eq!(next, Turns::default(), "nothing of a dead agent is left");
        let mut ended = open();
        ended.take(&said(result(good())));
        assert!(
            ended.is_between_tools(),
            "a call that a turn leaves behind has no result"
        );
        assert_eq!(ended.standing(QUIET), Standing::Working, "but a subagent goes on");
        let (task_id, status, summary) = ("t".into(), String::new(), String::new());
        ended.take(&said(Message::TaskEnded {
            task_id,
            status,
            summary,
        }));
        assert_eq!(ended.standing(QUIET), Standing::Over(Ending::Finished));
    }

    #[test]
    fn a_refused_login_ends_the_attempt_at_once_unless_it_is_held() {
        let retry = |login_until| Message::ApiRetry {
            retry: 1,
            retries_max: 10,
            delay_ms: 500,
            status: Some(401),
            error: "authentication_failed".into(),
            login_until,
        };
        let busy = Open { busy: true, ..QUIET };
        let (message, until) = (String::new(), None);
        assert_eq!(
            after(&[retry(None)]).standing(busy),
            Standing::Over(Ending::NotSignedIn { message, until })
        );
        let held = retry(Some(jiff::Timestamp::UNIX_EPOCH));
        assert_eq!(after(std::slice::from_ref(&held)).standing(busy), Standing::Working);
        let passed = [held.clone(), text("m", "It works."), result(good())];
        assert_eq!(after(&passed).standing(QUIET), Standing::Over(Ending::Finished));
        let died = after(&[held]).ending_of_gone(QUIET);
        assert_eq!(died, Ending::Crashed, "an agent that dies of something else meanwhile");
    }

    /// A turn in which the model had no round.
    fn without_rounds() -> TurnEnd {
        TurnEnd {
            terminal_reason: None,
            result: "the CLI's words".into(),
            ..good()
        }
    }

    fn stopped(why: &str) -> Message {
        Message::Said {
            topic: "informational".into(),
            text: "UserPromptSubmit operation blocked by hook".into(),
            stopped: Some(why.into()),
        }
    }

    fn printed(text: &str, failed: bool) -> Message {
        let text = text.to_owned();
        Message::CommandOutput { text, failed }
    }

    fn task_failed() -> Message {
        let (task_id, status, summary) = ("t".into(), "failed".into(), "/forked".into());
        Message::TaskEnded {
            task_id,
            status,
            summary,
        }
    }

    #[test]
    fn what_never_reached_the_model_has_failed_in_the_words_of_the_cli() {
        let ending = |before: &[Message]| {
            let messages = [before, &[result(without_rounds())]].concat();
            let Standing::Over(ending) = after(&messages).standing(QUIET) else {
                panic!("it is over: {before:?}")
            };
            ending
        };
        let refused = |cause, message: &str| Ending::Refused {
            cause,
            message: message.into(),
        };
        let blocked = refused(Cause::PromptBlocked, "not today");
        assert_eq!(ending(&[stopped("not today")]), blocked);
        assert_eq!(
            blocked.to_string(),
            "a hook stopped the prompt before the model saw it: not today"
        );
        let failed = refused(Cause::CommandFailed, "ls: no such file");
        assert_eq!(ending(&[printed("ls:\nno such file\n\nand more", true)]), failed);
        assert_eq!(failed.to_string(), "the slash command failed: ls: no such file");
        let forked = [task_failed(), printed("API Error: 500", false)];
        assert_eq!(ending(&forked), refused(Cause::CommandFailed, "the CLI's words"));
        assert_eq!(ending(&[printed("## Context Usage", false)]), Ending::Finished);
    }

    #[test]
    fn what_is_stopped_beside_the_work_of_the_model_does_not_fail_it() {
        let worked = || result(TurnEnd { turns: 1, ..good() });
        let messages = [
            stopped("a follow-up"),
            task_failed(),
            text("m", "All is done."),
            worked(),
        ];
        let mut turns = after(&messages);
        assert_eq!(turns.standing(QUIET), Standing::Over(Ending::Finished));
        turns.take(&said(result(without_rounds())));
        let next = Standing::Over(Ending::Finished);
        assert_eq!(turns.standing(QUIET), next, "it is forgotten with its turn");
    }

    #[test]
    fn an_error_without_rounds_does_not_undo_a_good_result() {
        let error = |turns| {
            let (is_error, subtype) = (true, "error_during_execution".into());
            result(TurnEnd {
                subtype,
                is_error,
                turns,
                ..TurnEnd::default()
            })
        };
        let over = |messages: &[Message]| after(messages).ending_of_gone(QUIET).name();
        assert_eq!(over(&[result(good()), error(0)]), "finished");
        assert_eq!(over(&[result(good()), error(1)]), "refused", "the model had begun");
        assert_eq!(over(&[error(0)]), "refused", "there is nothing to undo");
        let mut turns = after(&[result(good())]);
        sent(&mut turns, Uuid::from_u128(2));
        turns.take(&said(error(0)));
        assert_eq!(turns.ending_of_gone(QUIET).name(), "refused", "another message waits");
    }

    #[test]
    fn rounds_of_the_model_are_counted_until_a_result_has_them() {
        let text = |message: &str, parent: Option<&str>, error: Option<&str>| Message::Text {
            message_id: message.into(),
            block: 0,
            text: "words".into(),
            parent: parent.map(str::to_owned),
            aborted: false,
            error: error.map(str::to_owned),
        };
        let rounds = [
            text("m1", None, None),
            text("m1", None, None),
            text("s1", Some("subagent"), None),
            text("m2", None, None),
            text("e1", None, Some("server_error")),
        ];
        let counted = |more: Option<TurnEnd>| {
            let more = more.map(result);
            let messages: Vec<_> = rounds.iter().cloned().chain(more).collect();
            after(&messages)
        };
        assert_eq!(counted(None).uncounted_rounds(), 2);
        let notice = TurnEnd {
            synthetic: true,
            ..good()
        };
        assert_eq!(counted(Some(notice)).uncounted_rounds(), 2);
        let end = TurnEnd { turns: 2, ..good() };
        assert_eq!(counted(Some(end)).uncounted_rounds(), 0);
        let mut cut = counted(None);
        let (message_id, from_block) = ("m2".into(), 0);
        cut.take(&Entry::DraftDropped(DroppedDraft { message_id, from_block }));
        assert_eq!(
            cut.uncounted_rounds(),
            1,
            "the model is asked again for what was cut off"
        );
    }

    #[test]
    fn a_missing_login_is_told_by_the_text_in_the_models_place() {
        let text = |error: Option<&str>| Message::Text {
            message_id: "m".into(),
            block: 0,
            text: "Not logged in \u{b7} Please run /login".into(),
            parent: None,
            aborted: false,
            error: error.map(str::to_owned),
        };
        let told = |error| after(&[text(error)]).standing(QUIET);
        let message = "Not logged in \u{b7} Please run /login".to_owned();
        let not_signed_in = Ending::NotSignedIn { message, until: None };
        assert_eq!(told(Some(NO_LOGIN)), Standing::Over(not_signed_in.clone()));
        assert_eq!(told(Some("rate_limit")), Standing::Working);
        assert_eq!(told(None), Standing::Working, "an agent may say so of something else");
        assert_eq!(after(&[text(Some(NO_LOGIN))]).ending_of_gone(QUIET), not_signed_in);
        let sentence = not_signed_in.to_string();
        assert!(
            sentence.contains("run `claude` once") && sentence.ends_with("Please run /login"),
            "{sentence}"
        );
    }

    #[test]
    fn a_conversation_that_is_missing_is_told_on_stderr_at_the_start_alone() {
        let stderr = |turns: &mut Turns, text: &str| turns.take(&Entry::AgentStderr(Text { text: text.into() }));
        let missing = "warning\nNo conversation found with session ID: x\n";
        let message = "No conversation found with session ID: x".to_owned();
        let mut turns = after(&[]);
        stderr(&mut turns, "warning");
        assert_eq!(turns.ending_of_gone(QUIET), Ending::Crashed);
        stderr(&mut turns, missing);
        assert_eq!(turns.ending_of_gone(QUIET), Ending::LostContext { message });
        let mut turns = after(&[text("m", "I look.")]);
        stderr(&mut turns, missing);
        assert_eq!(turns.ending_of_gone(QUIET), Ending::Crashed);
    }

    #[test]
    fn an_api_that_cannot_be_reached_is_told_from_an_answer_that_cannot_be_used() {
        let check = |kind: &str, expected: &str| {
            let report = Message::Text {
                message_id: "m".into(),
                block: 0,
                text: "API Error: the words are those of the version".into(),
                parent: None,
                aborted: false,
                error: Some(kind.to_owned()),
            };
            let end = TurnEnd {
                is_error: true,
                terminal_reason: Some("api_error".into()),
                ..good()
            };
            let Standing::Over(ending) = after(&[report, result(end)]).standing(QUIET) else {
                panic!("{kind}: it goes on")
            };
            assert_eq!(ending.name(), expected, "{kind}");
        };
        check("server_error", "api_down");
        check("unknown", "api_down");
        check("max_output_tokens", "refused");
        check("invalid_request", "refused");
    }

    #[test]
    fn a_turn_is_interrupted_by_an_answer_or_cut_off() {
        let interrupted = || {
            result(TurnEnd {
                terminal_reason: Some("aborted_tools".into()),
                is_error: true,
                ..good()
            })
        };
        assert_eq!(after(&[interrupted()]).ending_of_gone(QUIET), Ending::Crashed);
        let ending = |interrupt| {
            let mut turns = after(&[]);
            turns.take(&denied(interrupt));
            turns.take(&attempt_started(2));
            sent(&mut turns, OURS);
            turns.take(&said(interrupted()));
            turns.ending_of_gone(QUIET).name()
        };
        assert_eq!((ending(true), ending(false)), ("refused", "crashed"));
    }
}
