//! From what the agent says to records: each frame of a line does its part.

use serde_json::Value;
use uuid::Uuid;

use super::{Attempt, Command};
use crate::agent::wire::control::{ControlReply, ControlRequest};
use crate::agent::wire::lines::OutputLine;
use crate::session::journal::{Entry, Input, Said};
use crate::session::login;
use crate::session::message::{Activity, Frame, Message};

impl Attempt {
    pub(super) fn take_frame(&mut self, line: &OutputLine<'_>, frame: Frame) {
        self.note_activity(&frame);
        match frame {
            Frame::Message { uuid, message } => self.take_message_frame(line, uuid, message),
            Frame::Input { uuid, state } => {
                if self.summary.input(uuid).is_some() {
                    let text = None;
                    self.intake.batch.push(Entry::Input(Input { uuid, state, text }));
                }
            }
            Frame::BlockStarted { message_id, block } => self.intake.block_started(message_id, block),
            Frame::Delta(delta) => self.take_delta(delta),
            Frame::DraftsAbandoned { message_id, from_block } => self.intake.abandon_drafts(message_id, from_block),
            Frame::Asked(asked) => self.take_question(asked),
            Frame::Unserved { request_id, subtype } => self.refuse_request(&request_id, &subtype),
            Frame::AskCancelled { request_id } => self.withdraw(&request_id),
            Frame::Reply { request_id, result } => self.take_reply(&request_id, result),
            Frame::CallEnded => self.ask_for_count_of_call(),
            Frame::Activity(activity) => self.intake.is_busy = activity != Activity::Idle,
            Frame::Alive | Frame::Heartbeat { .. } => {}
            Frame::Unknown { kind } => self.intake.take_unknown_line(line, kind),
        }
    }

    fn take_reply(&mut self, request_id: &str, result: Result<Value, String>) {
        match (self.outbox.requests.answered(request_id), result) {
            (Some(request), Ok(reply)) => match request.read(&reply) {
                ControlReply::Used(count) => self.take_count(count),
                ControlReply::Idle => self.intake.is_busy = false,
                ControlReply::Taken => {}
            },
            // An agent of a version that cannot tell what it has spent tells that with its results.
            (Some(ControlRequest::GetUsage), Err(_)) => self.meter.refused(),
            (_, Err(error)) => self.command(Command::Log(format!(
                "the agent refused a request, {request_id}: {error}"
            ))),
            (None, Ok(_)) => {}
        }
    }

    /// Tells the clocks what a line says about the agent's work and about the model's answer.
    fn note_activity(&mut self, frame: &Frame) {
        if self.is_sign_of_work(frame) {
            self.clocks.sign(self.now);
        }
        match frame {
            // What is said about our own messages and requests is no answer of the model.
            Frame::Reply { .. } | Frame::Input { .. } | Frame::Heartbeat { .. } => {}
            Frame::Activity(Activity::Requesting) => self.clocks.asks_model(true),
            Frame::BlockStarted { .. } | Frame::Delta(_) => self.clocks.answers(self.now),
            Frame::Message {
                message: Message::ApiRetry { status, error, .. },
                ..
            } => self.clocks.api_failed(*status, error),
            _ => self.clocks.asks_model(false),
        }
    }

    /// Returns false for what a hung agent says too: replies to the daemon's own requests, which it sends at regular
    /// times, and heartbeats of calls that other signs tell of.
    fn is_sign_of_work(&self, frame: &Frame) -> bool {
        match frame {
            Frame::Reply { .. } => false,
            Frame::Heartbeat { tool_use_id } => {
                let call = tool_use_id.as_deref();
                call.is_some_and(|call| self.summary.work.is_shown_by_heartbeats(call))
            }
            Frame::Message { .. }
            | Frame::Input { .. }
            | Frame::CallEnded
            | Frame::BlockStarted { .. }
            | Frame::Delta(_)
            | Frame::DraftsAbandoned { .. }
            | Frame::Asked(_)
            | Frame::Unserved { .. }
            | Frame::AskCancelled { .. }
            | Frame::Activity(_)
            | Frame::Alive
            | Frame::Unknown { .. } => true,
        }
    }

    fn take_message_frame(&mut self, line: &OutputLine<'_>, uuid: Option<Uuid>, mut message: Message) {
        if self.intake.is_repeated(&message) {
            return;
        }
        match &mut message {
            Message::Text {
                message_id,
                block,
                parent: None,
                ..
            }
            | Message::Thinking {
                message_id,
                block,
                parent: None,
                ..
            }
            | Message::ToolUse {
                message_id,
                block,
                parent: None,
                ..
            } => self.intake.block_is_whole(message_id, block),
            Message::TurnStarted { .. } => self.intake.is_busy = true,
            _ => {}
        }
        self.intake.plan.note(&message);
        self.hold_login(&mut message);
        if let Message::TurnEnded(end) = &mut message {
            self.intake.drop_drafts();
            // A result of no turn leaves the calls so far to the next one.
            end.calls = (end.turns > 0).then(|| self.checkpoints.uncounted_calls());
            if !end.synthetic {
                self.withdraw_orphans();
            }
        }
        let is_step = matches!(
            message,
            Message::TurnEnded(_) | Message::ToolResult { .. } | Message::Compacted { .. }
        );
        let is_progress = is_of_conversation(&message);
        if is_progress {
            self.intake.last_message = uuid.or(self.intake.last_message);
        }
        let offset = line.offset;
        if let Message::ToolResult { tool_use_id, .. } = &message {
            self.take_answers_of_call(tool_use_id);
        }
        let entry = Entry::AgentMessage(Box::new(Said { uuid, offset, message }));
        self.checkpoints.take(&entry);
        let used = self.meter.take(&entry);
        self.intake.batch.push(entry);
        self.intake.batch.extend(used.map(Entry::Usage));
        if is_step || is_progress {
            self.checkpoint_if_clear(is_step, line.end());
        }
        if is_step {
            self.ask_for_count_after(self.checkpoint_interval());
        }
    }

    /// Notes in a refusal of the login until when the login is tried again.
    fn hold_login(&mut self, message: &mut Message) {
        let is_refusal = login::is_refusal(message);
        if let Message::ApiRetry { login_until, .. } = message
            && is_refusal
        {
            *login_until = self.intake.login.refused(self.now.wall, self.settings.login_hold);
        }
        self.intake.login.take_message(message);
    }
}

/// True if a message stands in the conversation itself, so that it can be cut behind it. A subagent's does not, and the
/// CLI's own report of an error is no place to go on from.
fn is_of_conversation(message: &Message) -> bool {
    matches!(
        message,
        Message::Text {
            parent: None,
            error: None,
            ..
        } | Message::Thinking { parent: None, .. }
            | Message::ToolUse { parent: None, .. }
            | Message::ToolResult { parent: None, .. }
    )
}
