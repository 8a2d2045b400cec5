//! From the spool's bytes to the journal: lines, frames, entries, appends.

use std::collections::VecDeque;

use super::spending::is_for_count;
use super::*;
use crate::agent::wire::decode::{decode, usage_report};
use crate::agent::wire::lines::{Line, Lines};
use crate::agent::wire::plan;
use crate::session::journal::{DroppedDraft, Input, Said, UnknownLine, Withdrawn};
use crate::session::login::Login;
use crate::session::message::{Activity, Asked, Delta, Frame, Message};
use crate::session::question::{Question, QuestionKind};
use crate::session::summary::cut;

/// How much of a line that is not understood is journalled, in bytes.
const UNKNOWN_LINE_BYTES_MAX: usize = 4096;

/// What has been read and not yet handed to the store.
pub(super) struct Intake {
    lines: Lines,
    /// Through which byte the spool was handed to the store.
    handed: u64,
    /// How far the host may send.
    pub window: u64,
    /// Entries of lines since then.
    pub batch: Vec<Entry>,
    /// The end of the last line that has an entry in the batch.
    batch_end: u64,
    /// The content block that began last: the next whole block of its message is that one.
    block: Option<(String, u32)>,
    /// Messages whose text was shown while it was being written and is not whole yet.
    drafts: BTreeSet<(String, u32)>,
    /// Partial text that waits for an append, by its number, to be on disk.
    held_deltas: VecDeque<(u64, Delta)>,
    /// The agent's id of the last message.
    pub last_message: Option<Uuid>,
    /// How many questions were asked, those included that are on their way to the disk.
    questions_asked: u32,
    /// Questions on their way to the disk, by the agent's ids of the requests: no summary has them yet.
    asking: Vec<(String, QuestionId)>,
    /// The plan that the agent may ask approval for.
    plan: plan::Draft,
    /// The permission mode that the agent told of last.
    mode: Option<String>,
    /// The agent's login, by all lines that were read.
    pub login: Login,
    pub send_inputs_when_acknowledged: bool,
}

impl Intake {
    pub(super) fn after(summary: &Summary) -> Self {
        let offset = summary.through_offset;
        Self {
            lines: Lines::starting_at(offset),
            handed: offset,
            window: 0,
            batch: Vec::new(),
            batch_end: offset,
            block: None,
            drafts: BTreeSet::new(),
            held_deltas: VecDeque::new(),
            last_message: None,
            questions_asked: 0,
            asking: Vec::new(),
            plan: plan::Draft::default(),
            mode: None,
            login: summary.login(),
            send_inputs_when_acknowledged: false,
        }
    }

    /// Offset of the next byte that is expected.
    pub(super) fn position(&self) -> u64 {
        self.lines.position()
    }

    /// Everything that was taken so far stands in the journal.
    pub(super) fn all_on_disk(&mut self) {
        self.asking.clear();
    }

    fn is_being_asked(&self, id: QuestionId) -> bool {
        self.asking.iter().any(|(_, asked)| *asked == id)
    }

    /// Whether the message says again what is known.
    fn is_repeated(&mut self, message: &Message) -> bool {
        let (Message::TurnStarted { permission_mode, .. } | Message::ModeChanged { permission_mode }) = message else {
            return false;
        };
        let before = self.mode.replace(permission_mode.clone());
        matches!(message, Message::ModeChanged { .. }) && before.as_ref() == Some(permission_mode)
    }

    fn is_whole(&self) -> bool {
        self.lines.position() == self.lines.start()
    }
}

impl Execution {
    pub(super) fn take_bytes(&mut self, offset: u64, bytes: &[u8], ctx: &mut Context<Self>) {
        if offset != self.intake.position() {
            // Bytes of a read from before the link was lost.
            return tracing::warn!(
                offset,
                expected = self.intake.position(),
                "spool bytes out of place are passed over"
            );
        }
        if !self.is_up {
            self.is_up = true;
            let (session, attempt) = (self.task.session_id, self.task.attempt);
            self.supervisor
                .do_send(super::super::messages::AgentUp { session, attempt });
            self.clocks.sign();
        }
        self.take_pipe_for_read(ctx);
        let mut lines = std::mem::replace(&mut self.intake.lines, Lines::starting_at(0));
        lines.push(bytes, |line| self.take_line(&line));
        self.intake.lines = lines;
        if !self.intake.batch.is_empty() {
            self.look_at_git(ctx);
        }
        self.hand_over(ctx);
        self.raise_window();
        self.settle(ctx);
    }

    /// Hands what was read to the store, through the last line that leaves a record. Lines behind it are covered by the
    /// next append: a daemon that comes after this one reads them again, and so has the whole of an open draft.
    fn hand_over(&mut self, ctx: &mut Context<Self>) {
        if self.intake.batch.is_empty() {
            return;
        }
        let span = Span {
            from: self.intake.handed,
            through: self.intake.batch_end,
        };
        self.intake.handed = span.through;
        let entries = std::mem::take(&mut self.intake.batch);
        self.append(Some(span), entries, ctx);
    }

    /// The spool does not grow any more: what is left of it is a line that was cut off.
    pub(super) fn take_rest(&mut self, ctx: &mut Context<Self>) {
        if !self.intake.is_whole() {
            let mut lines = std::mem::replace(&mut self.intake.lines, Lines::starting_at(0));
            let end = lines.position();
            lines.push(b"\n", |line| self.unknown_line(&line, None));
            self.intake.lines = Lines::starting_at(end);
        }
        self.drop_drafts();
        self.intake.batch_end = self.intake.lines.start();
        self.hand_over(ctx);
    }

    /// Revokes text that was shown while it was being written and does not become whole any more.
    fn drop_drafts(&mut self) {
        let drafts = std::mem::take(&mut self.intake.drafts).into_iter();
        let dropped = drafts.map(|(message_id, from_block)| DroppedDraft { message_id, from_block });
        self.intake.batch.extend(dropped.map(Entry::DraftDropped));
    }

    fn take_line(&mut self, line: &Line<'_>) {
        let before = self.intake.batch.len();
        if line.is_cut() {
            self.clocks.sign();
            self.unknown_line(line, Some("a line that is too long".to_owned()));
        } else {
            decode(line.bytes)
                .into_iter()
                .for_each(|frame| self.take_frame(line, frame));
        }
        if self.intake.batch.len() > before {
            self.intake.batch_end = line.end();
        }
    }

    fn take_frame(&mut self, line: &Line<'_>, frame: Frame) {
        self.note_activity(&frame);
        match frame {
            Frame::Message { uuid, message } => self.take_message_frame(line, uuid, message),
            Frame::Input { uuid, state } => {
                if self.summary.input(uuid).is_some() {
                    let input = Input {
                        uuid,
                        state,
                        text: None,
                    };
                    self.intake.batch.push(Entry::Input(input));
                }
            }
            Frame::BlockStarted { message_id, block } => self.intake.block = Some((message_id, block)),
            Frame::Delta(delta) => self.take_delta(delta),
            Frame::DraftsAbandoned { message_id, from_block } => {
                self.intake
                    .drafts
                    .retain(|(id, block)| *id != message_id || *block < from_block);
                self.intake
                    .batch
                    .push(Entry::DraftDropped(DroppedDraft { message_id, from_block }));
            }
            Frame::Asked(asked) => self.take_question(asked),
            Frame::Unserved { request_id, subtype } => self.refuse_request(&request_id, &subtype),
            Frame::AskCancelled { request_id } => self.withdraw(&request_id),
            Frame::Reply { result: Ok(reply), .. } => {
                if let Some(count) = usage_report(&reply) {
                    self.take_count(count);
                }
                if reply.get("session_state").and_then(|state| state.as_str()) == Some("idle") {
                    self.busy = false;
                }
            }
            // An agent of a version that cannot tell what it has spent tells that with its results.
            Frame::Reply { request_id, .. } if is_for_count(&request_id) => self.checkpoints.meter.refused(),
            Frame::Reply {
                request_id,
                result: Err(error),
            } => {
                tracing::warn!(request_id, error, "the agent refused a request");
            }
            Frame::CallEnded => self.ask_for_count_of_call(),
            Frame::Activity(activity) => self.busy = activity != Activity::Idle,
            Frame::Alive | Frame::Heartbeat { .. } => {}
            Frame::Unknown { kind } => self.unknown_line(line, kind),
        }
    }

    /// Tells the clocks what a line says about the agent's work and about the model's answer.
    fn note_activity(&mut self, frame: &Frame) {
        if self.is_sign_of_work(frame) {
            self.clocks.sign();
        }
        match frame {
            // What is said about our own messages and requests is no answer of the model.
            Frame::Reply { .. } | Frame::Input { .. } | Frame::Heartbeat { .. } => {}
            Frame::Activity(Activity::Requesting) => self.clocks.requesting = true,
            Frame::BlockStarted { .. } | Frame::Delta(_) => self.clocks.answers(),
            Frame::Message {
                message: Message::ApiRetry { status, error, .. },
                ..
            } => self.clocks.api_failed(*status, error),
            _ => self.clocks.requesting = false,
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

    /// Partial text is shown at once, but never before the records of the lines before it.
    fn take_delta(&mut self, delta: Delta) {
        self.intake.drafts.insert((delta.message_id.clone(), delta.block));
        let after = self.appends_sent + u64::from(!self.intake.batch.is_empty());
        if after == self.appends_acknowledged && self.intake.held_deltas.is_empty() {
            return self.show_delta(&delta);
        }
        self.intake.held_deltas.push_back((after, delta));
    }

    /// Shows what waited for records that are on disk now. A block that is whole by now needs no partial text.
    pub(super) fn show_held_deltas(&mut self) {
        while let Some((_, delta)) = self
            .intake
            .held_deltas
            .pop_front_if(|(after, _)| *after <= self.appends_acknowledged)
        {
            if self.intake.drafts.contains(&(delta.message_id.clone(), delta.block)) {
                self.show_delta(&delta);
            }
        }
    }

    fn show_delta(&self, delta: &Delta) {
        let (session, head) = (self.task.session_id, self.summary.head);
        self.surroundings
            .metrics
            .first_sign(session, self.surroundings.outside.clock.now());
        self.surroundings.feeds.delta(session, head, self.task.attempt, delta);
    }

    fn take_message_frame(&mut self, line: &Line<'_>, uuid: Option<Uuid>, mut message: Message) {
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
            } => {
                if let Some((_, begun)) = self.intake.block.as_ref().filter(|(id, _)| id == message_id) {
                    *block = *begun;
                }
                self.intake.drafts.remove(&(message_id.clone(), *block));
            }
            Message::TurnStarted { .. } => self.busy = true,
            _ => {}
        }
        self.intake.plan.note(&message);
        self.hold_login(&mut message);
        if let Message::TurnEnded(end) = &mut message {
            self.drop_drafts();
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
        let used = self.checkpoints.take(&entry);
        self.intake.batch.push(entry);
        self.intake.batch.extend(used.map(Entry::Usage));
        if is_step || is_progress {
            self.checkpoint_if_clear(is_step, line.end());
        }
        if is_step {
            self.ask_for_count_if_due();
        }
    }

    /// A question that a resumed agent asks again keeps its name, and takes the answer that waits for it. Where an agent may
    /// have acted on that answer, a person is asked anew and told so.
    fn take_question(&mut self, asked: Asked) {
        let Asked {
            request_id,
            tool_use_id,
            mut kind,
        } = asked;
        if let QuestionKind::Plan { plan, .. } = &mut kind {
            *plan = plan.take().or_else(|| self.intake.plan.plan());
        }
        // Of several that are the same each is asked again once.
        let orphan = self.summary.questions.values().find(|waiting| {
            waiting.attempt != self.task.attempt
                && waiting.question.kind.is_same(&kind)
                && !self.intake.is_being_asked(waiting.question.question_id)
        });
        let orphan = orphan.map(|waiting| (waiting.question.question_id, waiting.may_be_spent()));
        let question_id = match orphan {
            Some((id, false)) => id,
            Some((id, true)) => {
                self.withdraw_spent(id);
                kind = kind.asked_again_after(id);
                self.next_question_id()
            }
            None => {
                if let Some(id) = self.summary.acted_before(&kind) {
                    kind = kind.asked_again_after(id);
                }
                self.next_question_id()
            }
        };
        self.intake.asking.push((request_id.clone(), question_id));
        let question = Question {
            question_id,
            request_id,
            tool_use_id,
            kind,
        };
        self.intake.batch.push(Entry::QuestionAsked(question));
    }

    fn next_question_id(&mut self) -> QuestionId {
        let asked = self.intake.questions_asked.max(self.summary.questions_asked) + 1;
        self.intake.questions_asked = asked;
        QuestionId(asked)
    }

    /// The answer to this question is never handed over: it may be spent.
    fn withdraw_spent(&mut self, question_id: QuestionId) {
        self.intake.asking.push((String::new(), question_id));
        let why = "its agent died before it said whether it had used the answer: the next agent asks anew".to_owned();
        self.intake
            .batch
            .push(Entry::QuestionWithdrawn(Withdrawn { question_id, why }));
    }

    /// The call that a question was about has its result, so the agent has taken the answer. This holds also for one that
    /// an earlier daemon has written.
    fn take_answers_of_call(&mut self, tool_use_id: &str) {
        let of_call = self.summary.questions.iter().filter(|(_, waiting)| {
            let is_asked_here = waiting.attempt == self.task.attempt;
            is_asked_here && waiting.answer.is_some() && waiting.question.tool_use_id.as_deref() == Some(tool_use_id)
        });
        let of_call: Vec<_> = of_call.map(|(id, _)| *id).collect();
        let taken: Vec<_> = of_call.into_iter().filter_map(|id| self.answer_taken(id)).collect();
        self.intake.batch.extend(taken);
    }

    /// A resumed agent that has ended its turn without asking again has gone past what its predecessor asked.
    fn withdraw_orphans(&mut self) {
        let orphans = self
            .summary
            .questions
            .iter()
            .filter(|(_, waiting)| waiting.attempt != self.task.attempt);
        let passed: Vec<_> = orphans
            .map(|(id, _)| *id)
            .filter(|id| !self.intake.is_being_asked(*id))
            .collect();
        for question_id in passed {
            let why = "the resumed agent went on without it".to_owned();
            self.intake
                .batch
                .push(Entry::QuestionWithdrawn(Withdrawn { question_id, why }));
        }
    }

    fn withdraw(&mut self, request_id: &str) {
        let asking = self.intake.asking.iter().find(|(request, _)| request == request_id);
        let asked = asking.map(|(_, question_id)| *question_id);
        let journalled = self.summary.questions.values().map(|waiting| &waiting.question);
        let journalled = journalled
            .into_iter()
            .find(|question| question.request_id == request_id);
        if let Some(question_id) = asked.or(journalled.map(|question| question.question_id)) {
            let why = "the agent no longer asks".to_owned();
            self.intake
                .batch
                .push(Entry::QuestionWithdrawn(Withdrawn { question_id, why }));
        }
    }

    fn unknown_line(&mut self, line: &Line<'_>, kind: Option<String>) {
        let text = String::from_utf8_lossy(&line.bytes[..line.bytes.len().min(2 * UNKNOWN_LINE_BYTES_MAX)]);
        let text = cut(&text, UNKNOWN_LINE_BYTES_MAX).to_owned();
        let unknown = UnknownLine {
            offset: line.offset,
            kind,
            line: text,
            bytes: line.length,
        };
        self.intake.batch.push(Entry::AgentUnknown(unknown));
    }
}

/// Whether a message stands in the conversation itself, so that it can be cut behind it. A subagent's does not, and the
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
