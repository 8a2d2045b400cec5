//! When an agent has finished: what is open, what its last result says, and how an attempt that ends now ended.
//!
//! "A result came" is not enough: subagents and background shells go on after it, and a deferred or aborted turn also
//! says success. So an attempt is finished when there is a good result for our last message, the agent is idle, no
//! input is queued, no question is open and no background agent lives.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::message::{Activity, Frame, InputState, Message, TaskKind, TurnEnd};
use super::outcome::{Cause, Ending};
use super::question::headline_of_input;

/// What an agent is up to, followed frame by frame.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    /// Our last message: its result is the one that counts.
    last_input: Option<Uuid>,
    /// Messages the agent has and has not begun.
    queued: BTreeSet<Uuid>,
    /// The result for our last message, once it came.
    answered: Option<TurnEnd>,
    /// The agent says that it waits for input.
    idle: bool,
    /// Requests of the agent that nobody has answered.
    asked: BTreeSet<String>,
    /// Tool calls without a result, and what they are.
    open_tools: BTreeMap<String, String>,
    /// Background tasks that live.
    background: BTreeMap<String, TaskKind>,
    /// The login was refused.
    not_signed_in: bool,
}

/// What follows from where the agent stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    Working,
    /// It would be finished, but for background shells.
    OnlyShells,
    /// The attempt is over, though its process may live.
    Over(Ending),
}

impl Turns {
    /// A message was sent to the agent; from now on its result is waited for.
    pub fn sent(&mut self, uuid: Uuid) {
        self.last_input = Some(uuid);
        self.answered = None;
        self.idle = false;
    }

    /// An answer was written to the agent.
    pub fn delivered(&mut self, request_id: &str) {
        self.asked.remove(request_id);
    }

    /// Takes one frame into account.
    pub fn observe(&mut self, frame: &Frame) {
        match frame {
            Frame::Message { message, .. } => self.observe_message(message),
            Frame::Input { uuid, state } => self.observe_input(*uuid, *state),
            Frame::Asked(asked) => {
                self.asked.insert(asked.request_id.clone());
            }
            Frame::AskCancelled { request_id } => {
                self.asked.remove(request_id);
            }
            Frame::Activity(activity) => self.idle = *activity == Activity::Idle,
            Frame::Delta(_)
            | Frame::DraftsAbandoned { .. }
            | Frame::Reply { .. }
            | Frame::Alive
            | Frame::Unknown { .. } => {}
        }
    }

    /// Where the agent stands while its process lives.
    pub fn standing(&self) -> Standing {
        if self.not_signed_in {
            return Standing::Over(Ending::NotSignedIn);
        }
        let Some(end) = self.answered.as_ref().filter(|_| self.is_quiet()) else {
            return Standing::Working;
        };
        let ending = classify(end);
        if ending != Ending::Finished || self.background.is_empty() {
            return Standing::Over(ending);
        }
        let only_shells = self.background.values().all(|kind| *kind == TaskKind::Shell);
        if only_shells {
            Standing::OnlyShells
        } else {
            Standing::Working
        }
    }

    /// How the attempt ended, given that its process is gone.
    pub fn ending_of_gone(&self) -> Ending {
        if self.not_signed_in {
            return Ending::NotSignedIn;
        }
        match &self.answered {
            Some(end) if self.queued.is_empty() && self.asked.is_empty() => match classify(end) {
                Ending::Finished if !self.background.values().all(|kind| *kind == TaskKind::Shell) => Ending::Crashed,
                ending => ending,
            },
            Some(_) | None => Ending::Crashed,
        }
    }

    /// The tool call that is open, as one line; the one whose id sorts last where there are several.
    pub fn open_tool(&self) -> Option<&str> {
        self.open_tools.values().next_back().map(String::as_str)
    }

    /// Whether nothing is open: a place from which a new attempt loses no work.
    pub fn is_clear(&self) -> bool {
        self.open_tools.is_empty() && self.asked.is_empty()
    }

    fn is_quiet(&self) -> bool {
        self.idle && self.queued.is_empty() && self.asked.is_empty()
    }

    fn observe_input(&mut self, uuid: Uuid, state: InputState) {
        match state {
            InputState::Queued => {
                self.queued.insert(uuid);
            }
            InputState::Sent | InputState::Started | InputState::Completed | InputState::Cancelled => {
                self.queued.remove(&uuid);
            }
        }
    }

    fn observe_message(&mut self, message: &Message) {
        match message {
            Message::ToolUse {
                tool_use_id,
                name,
                input,
                ..
            } => {
                self.open_tools
                    .insert(tool_use_id.clone(), format!("{name}: {}", headline_of_input(input)));
            }
            Message::ToolResult { tool_use_id, .. } => {
                self.open_tools.remove(tool_use_id);
            }
            Message::TaskStarted {
                task_id,
                task,
                background: true,
                ..
            } => {
                self.background.insert(task_id.clone(), *task);
            }
            Message::TaskEnded { task_id, .. } => {
                self.background.remove(task_id);
            }
            Message::BackgroundTasks { tasks } => {
                self.background = tasks.iter().map(|task| (task.task_id.clone(), task.task)).collect();
            }
            Message::ApiRetry { error, .. } if error == "authentication_failed" => self.not_signed_in = true,
            Message::TurnEnded(end) => self.end_turn(end),
            Message::TurnStarted { .. } => self.idle = false,
            Message::Text { .. }
            | Message::Thinking { .. }
            | Message::UserText { .. }
            | Message::PermissionDenied { .. }
            | Message::TaskStarted { background: false, .. }
            | Message::ApiRetry { .. }
            | Message::RateLimit { .. }
            | Message::Compacted { .. }
            | Message::ConversationReset { .. }
            | Message::Said { .. } => {}
        }
    }

    fn end_turn(&mut self, end: &TurnEnd) {
        self.open_tools.clear();
        let is_ours = match self.last_input {
            Some(uuid) => end.answers.contains(&uuid) || (end.answers.is_empty() && !end.synthetic),
            None => false,
        };
        if is_ours || (end.is_error && end.answers.is_empty()) {
            self.answered = Some(end.clone());
        }
    }
}

/// What a result says about the attempt.
///
/// The CLI's subtype alone does not tell: API errors come as `success` with `is_error`.
pub fn classify(end: &TurnEnd) -> Ending {
    let refused = |cause| Ending::Refused {
        cause,
        message: words_of(end),
    };
    let reason = end.terminal_reason.as_deref();
    if !end.is_error && matches!(reason, None | Some("completed")) {
        return Ending::Finished;
    }
    if end.errors.iter().any(|error| error.contains("No conversation found")) {
        return Ending::LostContext { message: words_of(end) };
    }
    if end.api_error.as_deref() == Some("usage_limit_reached") {
        return Ending::Quota { resets_at: None };
    }
    match (end.subtype.as_str(), reason) {
        ("error_max_turns", _) | (_, Some("max_turns")) => return refused(Cause::MaxTurns),
        ("error_max_budget_usd", _) | (_, Some("budget_exhausted")) => return refused(Cause::Budget),
        (_, Some("prompt_too_long")) => return refused(Cause::PromptTooLong),
        _ => {}
    }
    match (end.api_status, reason) {
        (Some(401 | 403), _) => Ending::NotSignedIn,
        (Some(400 | 404 | 413 | 422), _) => refused(Cause::BadRequest),
        (Some(408 | 429 | 500..=599), _) => Ending::ApiDown { message: words_of(end) },
        (None, Some("api_error")) if words_of(end).contains("Connection") || words_of(end).contains("ECONN") => {
            Ending::ApiDown { message: words_of(end) }
        }
        _ => refused(Cause::AgentError),
    }
}

/// What the agent itself says about the end of a turn, in one short line.
fn words_of(end: &TurnEnd) -> String {
    let text = if end.errors.is_empty() {
        end.result.clone()
    } else {
        end.errors.join("; ")
    };
    let text = if text.is_empty() {
        end.terminal_reason.clone().unwrap_or_default()
    } else {
        text
    };
    super::summary::cut(text.lines().next().unwrap_or_default(), 500).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::message::{Asked, BackgroundTask};
    use crate::session::question::QuestionKind;

    const OURS: Uuid = Uuid::from_u128(1);

    fn good() -> TurnEnd {
        let terminal_reason = Some("completed".to_owned());
        TurnEnd {
            subtype: "success".into(),
            terminal_reason,
            answers: vec![OURS],
            ..TurnEnd::default()
        }
    }

    fn result(end: TurnEnd) -> Frame {
        Frame::Message {
            uuid: None,
            message: Message::TurnEnded(Box::new(end)),
        }
    }

    fn tasks(kinds: &[TaskKind]) -> Frame {
        let task = |kind: &TaskKind| BackgroundTask {
            task_id: "t".into(),
            task: *kind,
            description: String::new(),
        };
        let tasks = kinds.iter().map(task).collect();
        Frame::Message {
            uuid: None,
            message: Message::BackgroundTasks { tasks },
        }
    }

    fn asked() -> Frame {
        let kind = QuestionKind::Plan {
            plan: None,
            input: serde_json::Value::Null,
        };
        Frame::Asked(Asked {
            request_id: "r".into(),
            tool_use_id: None,
            kind,
        })
    }

    const IDLE: Frame = Frame::Activity(Activity::Idle);

    fn after(frames: &[Frame]) -> Turns {
        let mut turns = Turns::default();
        turns.sent(OURS);
        frames.iter().for_each(|frame| turns.observe(frame));
        turns
    }

    #[test]
    fn a_result_alone_is_not_the_end() {
        assert_eq!(after(&[result(good())]).standing(), Standing::Working);
        assert_eq!(
            after(&[result(good()), IDLE]).standing(),
            Standing::Over(Ending::Finished)
        );
    }

    #[test]
    fn a_result_for_something_else_is_not_ours() {
        let other = TurnEnd {
            answers: vec![Uuid::from_u128(2)],
            ..good()
        };
        assert_eq!(after(&[result(other), IDLE]).standing(), Standing::Working);
        let synthetic = TurnEnd {
            answers: vec![],
            synthetic: true,
            ..good()
        };
        assert_eq!(after(&[result(synthetic), IDLE]).standing(), Standing::Working);
    }

    #[test]
    fn what_is_open_keeps_the_attempt_going() {
        assert_eq!(after(&[asked(), result(good()), IDLE]).standing(), Standing::Working);
        let queued = Frame::Input {
            uuid: Uuid::from_u128(2),
            state: InputState::Queued,
        };
        assert_eq!(after(&[queued, result(good()), IDLE]).standing(), Standing::Working);
        assert_eq!(
            after(&[tasks(&[TaskKind::Agent]), result(good()), IDLE]).standing(),
            Standing::Working
        );
        assert_eq!(
            after(&[tasks(&[TaskKind::Shell]), result(good()), IDLE]).standing(),
            Standing::OnlyShells
        );
        let ended = [tasks(&[TaskKind::Shell]), result(good()), tasks(&[]), IDLE];
        assert_eq!(after(&ended).standing(), Standing::Over(Ending::Finished));
    }

    #[test]
    fn a_new_message_waits_for_its_own_result() {
        let mut turns = after(&[result(good()), IDLE]);
        turns.sent(Uuid::from_u128(2));
        assert_eq!(turns.standing(), Standing::Working);
    }

    #[test]
    fn an_agent_that_is_gone_has_finished_only_after_a_good_result() {
        assert_eq!(after(&[]).ending_of_gone(), Ending::Crashed);
        assert_eq!(after(&[result(good())]).ending_of_gone(), Ending::Finished);
        assert_eq!(after(&[asked(), result(good())]).ending_of_gone(), Ending::Crashed);
    }

    #[test]
    fn results_are_told_apart() {
        let check = |change: fn(&mut TurnEnd), expected: &str| {
            let mut end = TurnEnd {
                is_error: true,
                terminal_reason: Some("api_error".into()),
                ..good()
            };
            change(&mut end);
            let ending = classify(&end);
            let cause = if let Ending::Refused { cause, .. } = &ending {
                cause.name()
            } else {
                ending.name()
            };
            assert_eq!(cause, expected, "{end:?}");
        };
        check(|end| end.subtype = "error_max_turns".into(), "max_turns");
        check(|end| end.subtype = "error_max_budget_usd".into(), "budget");
        check(
            |end| end.terminal_reason = Some("prompt_too_long".into()),
            "prompt_too_long",
        );
        check(|end| end.api_status = Some(401), "not_signed_in");
        check(|end| end.api_status = Some(400), "bad_request");
        check(|end| end.api_status = Some(529), "api_down");
        check(
            |end| end.result = "API Error: Connection refused (ECONNREFUSED)".into(),
            "api_down",
        );
        check(|end| end.api_error = Some("usage_limit_reached".into()), "quota");
        check(
            |end| end.errors = vec!["No conversation found with session ID: x".into()],
            "lost_context",
        );
        check(|_| {}, "agent_error");
        let aborted = |end: &mut TurnEnd| {
            (end.is_error, end.terminal_reason) = (false, Some("aborted_streaming".into()));
        };
        check(aborted, "agent_error");
    }
}
