//! When an agent has finished: what is open, what its last result says, and how an attempt that ends now ended.
//!
//! "A result came" is not enough: subagents and background shells go on after it, and a deferred or aborted turn also
//! says success. So an attempt is finished when there is a good result for our last message, the agent is idle, no
//! input is queued, no question is open, no background agent lives and the agent has set no timer.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::calls::{OWN_MCP_SERVER, OpenCalls};

use self::background::BackgroundWork;
use self::calls::ToolCalls;
use self::rounds::Rounds;
use super::excerpt::{first_paragraph, report};
use super::journal::{Entry, Input, StartRefusal};
use super::login::is_refusal;
use super::message::{ApiFault, Conclusion, InputState, Message, TaskStatus, TurnEnd};
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
    /// The model's rounds that no result has counted.
    #[serde(flatten)]
    rounds: Rounds,
    /// The messages that the last turn has answered.
    #[serde(default)]
    last_answers: Vec<Uuid>,
    /// Tool calls without a result.
    #[serde(flatten)]
    calls: ToolCalls,
    /// Background tasks that live.
    #[serde(flatten)]
    background: BackgroundWork,
    /// The login was refused, and the agent does not try it any longer, or must not.
    not_signed_in: bool,
    /// Why the message under way is not done if its turn ends without a round of the model, and the CLI's words.
    #[serde(default)]
    failure: Option<(Cause, String)>,
    /// The kind of the CLI's own report of an error in this turn, and its words.
    #[serde(default)]
    reported: Option<(ApiFault, String)>,
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
pub struct Pending {
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
                    calls: self.calls.of_next_agent(),
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
            Entry::AgentStderr(said) => self.take_stderr(said.refusal.as_ref()),
            // The model is asked once more for what was cut off, by this agent or by the one that goes on.
            Entry::DraftDropped(dropped) => self.rounds.take_back(&dropped.message_id),
            Entry::ClockJumped(jump) => self.calls.take_jump(jump),
            _ => {}
        }
    }

    /// Notes when the next record was written. Records of one append have one time.
    pub fn note_time(&mut self, at: Timestamp) {
        self.calls.note_time(at);
    }

    fn take_stderr(&mut self, refusal: Option<&StartRefusal>) {
        self.has_stderr = true;
        let is_untouched = !self.in_turn && self.rounds.count() == 0 && self.answered.is_none();
        if let Some(StartRefusal::NoConversation { message }) = refusal
            && is_untouched
        {
            let message = message.clone();
            self.answered = Some(Ending::LostContext { message });
        }
    }

    /// Whether the journal has what the agent wrote to its stderr, which is told at its end.
    pub fn has_stderr(&self) -> bool {
        self.has_stderr
    }

    /// Where the agent stands while its process lives.
    pub fn standing(&self, open: Pending) -> Standing {
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
        if !self.background.has_only_shells() {
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
    pub fn ending_of_gone(&self, open: Pending) -> Ending {
        if self.not_signed_in {
            return self.no_login();
        }
        // An agent that died over the answer of a person who ended its turn has ended it.
        let cut_short = || self.ended_by_person().unwrap_or(Ending::Crashed);
        match &self.answered {
            Some(Ending::Finished)
                if open.queued || open.asked || open.timers || self.in_turn || !self.background.has_only_shells() =>
            {
                cut_short()
            }
            Some(ending) => ending.clone(),
            None => cut_short(),
        }
    }

    /// True if the turn for our last message has ended well, and nothing but shells and timers goes on.
    pub fn has_ended_well(&self) -> bool {
        self.answered == Some(Ending::Finished) && !self.in_turn && self.background.has_only_shells()
    }

    /// The open tool call that this record says has succeeded.
    pub fn passed_tool(&self, entry: &Entry) -> Option<&str> {
        let Entry::AgentMessage(said) = entry else { return None };
        match &said.message {
            Message::ToolResult {
                tool_use_id,
                is_error: false,
                ..
            } => self.tool(tool_use_id),
            _ => None,
        }
    }

    /// Whether a message of ours was journalled for the agent of this attempt.
    pub fn is_told(&self) -> bool {
        self.last_input.is_some()
    }

    /// The ending of an attempt whose turn a person has ended with an answer, while the agent has not said that it is
    /// over.
    pub fn ended_by_person(&self) -> Option<Ending> {
        self.is_to_be_interrupted
            .then(|| self.ending_of(Conclusion::Interrupted, ""))
    }

    /// Whether the result for our last message has come.
    pub fn is_answered(&self) -> bool {
        self.answered.is_some()
    }

    /// The model's rounds that no result has counted, and none will when the agent is gone: that of a resumed turn
    /// begins at 0.
    pub fn uncounted_rounds(&self) -> u32 {
        self.rounds.count()
    }

    /// Takes the model's calls that no result has counted, as they are counted now.
    pub(super) fn take_uncounted_rounds(&mut self) -> u32 {
        std::mem::take(&mut self.rounds).count()
    }

    /// Whether the last turn has answered this message.
    pub fn has_answered(&self, uuid: Uuid) -> bool {
        self.last_answers.contains(&uuid)
    }

    /// Background tasks that live, each with its description and its id.
    pub fn background_tasks(&self) -> impl Iterator<Item = String> {
        self.background.described()
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
                self.rounds.note(message_id, parent.as_deref());
                self.calls
                    .begin(tool_use_id, name, input, parent.as_deref(), *called_at);
            }
            Message::ToolResult { tool_use_id, .. } => self.calls.end(tool_use_id),
            Message::TaskStarted {
                task_id,
                task,
                background: true,
                description,
            } => self.background.begin(task_id, *task, description),
            Message::TaskEnded { task_id, status, .. } => self.end_task(task_id, status),
            Message::BackgroundTasks { tasks } => {
                self.background = BackgroundWork::of(tasks);
                self.forget_calls_beside();
            }
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
                self.not_signed_in |= *error == ApiFault::AuthenticationFailed && parent.is_none();
                self.reported = Some((error.clone(), report(text)));
            }
            Message::Said { stopped: Some(why), .. } => self.failure = Some((Cause::PromptBlocked, report(why))),
            Message::CommandOutput { text, failed: true } => {
                self.failure = Some((Cause::CommandFailed, report(&first_paragraph(text))));
            }
            Message::TurnEnded(end) => self.end_turn(end),
            Message::Text {
                message_id,
                parent,
                error: None,
                ..
            }
            | Message::Thinking { message_id, parent, .. } => self.rounds.note(message_id, parent.as_deref()),
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

    fn end_task(&mut self, task_id: &str, status: &TaskStatus) {
        let was_background = self.background.end(task_id);
        self.forget_calls_beside();
        if !was_background && *status == TaskStatus::Failed {
            // A slash command that runs as a fork; its words are in the result.
            self.failure = Some((Cause::CommandFailed, String::new()));
        }
    }

    /// Without background work nobody makes a call beside the turn.
    fn forget_calls_beside(&mut self) {
        if self.background.is_empty() {
            self.calls.forget_beside();
        }
    }

    fn no_login(&self) -> Ending {
        let message = self.reported.as_ref().map(|(_, words)| words.clone());
        Ending::NotSignedIn {
            message: message.unwrap_or_default(),
            until: None,
        }
    }

    fn end_turn(&mut self, end: &TurnEnd) {
        // A notice that comes amid a turn counts none of its rounds.
        if end.turns > 0 {
            self.rounds = Rounds::default();
        }
        self.calls.end_turn();
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
        let conclusion = end.concluded();
        // A turn that a signal from outside has interrupted was not ended by anybody who may.
        if conclusion == Conclusion::Interrupted && !self.is_to_be_interrupted {
            return Ending::Crashed;
        }
        match failure {
            Some((cause, words)) => Ending::Refused {
                cause,
                message: if words.is_empty() {
                    report(&first_paragraph(&end.result))
                } else {
                    words
                },
            },
            None => self.ending_of(conclusion, &end.why),
        }
    }

    /// The ending of an attempt whose turn came to this conclusion.
    fn ending_of(&self, conclusion: Conclusion, why: &str) -> Ending {
        let message = why.to_owned();
        match conclusion {
            Conclusion::Good => Ending::Finished,
            Conclusion::Interrupted => Ending::Refused {
                cause: Cause::AgentError,
                message: "its turn was interrupted".to_owned(),
            },
            Conclusion::NoConversation => Ending::LostContext { message },
            Conclusion::UsageLimit => Ending::Quota { resets_at: None },
            Conclusion::LoginRefused => Ending::NotSignedIn { message, until: None },
            Conclusion::ApiFailed => Ending::ApiDown { message },
            Conclusion::NoStatus if self.reported.as_ref().is_some_and(|(fault, _)| fault.passes()) => {
                Ending::ApiDown { message }
            }
            Conclusion::NoStatus => Ending::Refused {
                cause: Cause::AgentError,
                message,
            },
            Conclusion::Failed(cause) => Ending::Refused { cause, message },
        }
    }
}

mod background;
mod calls;
mod rounds;

#[cfg(test)]
mod tests;
