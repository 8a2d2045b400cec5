//! From the spool's bytes to the journal: lines are cut, and their records held until they are handed to the store.

use std::collections::{BTreeSet, VecDeque};

use uuid::Uuid;

use super::{Attempt, AttemptReport, Command};
use crate::agent::wire::decode::decode;
use crate::agent::wire::lines::{Lines, OutputLine};
use crate::agent::wire::plan;
use crate::session::excerpt;
use crate::session::id::QuestionId;
use crate::session::journal::{DroppedDraft, Entry, UnknownLine};
use crate::session::login::Login;
use crate::session::message::{Delta, Message};
use crate::session::summary::Summary;
use crate::store::SpoolSpan;

/// How much of a line that is not understood is journalled, in bytes.
const UNKNOWN_LINE_BYTES_MAX: usize = 4096;

/// What has been read and not yet handed to the store.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    /// The agent has said its first word.
    pub is_up: bool,
    /// The agent says that it works.
    pub is_busy: bool,
    lines: Lines,
    /// Through which byte the spool was handed to the store.
    handed: u64,
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
    pub questions_asked: u32,
    /// Questions on their way to the disk, by the agent's ids of the requests: no summary has them yet.
    pub asking: Vec<(String, QuestionId)>,
    /// The plan that the agent may ask approval for.
    pub plan: plan::PlanDraft,
    /// The permission mode that the agent told of last.
    mode: Option<String>,
    /// The agent's login, by all lines that were read.
    pub login: Login,
}

impl Intake {
    pub(super) fn after(summary: &Summary, is_up: bool) -> Self {
        let offset = summary.through_offset;
        Self {
            is_up,
            is_busy: true,
            lines: Lines::starting_at(offset),
            handed: offset,
            batch: Vec::new(),
            batch_end: offset,
            block: None,
            drafts: BTreeSet::new(),
            held_deltas: VecDeque::new(),
            last_message: None,
            questions_asked: 0,
            asking: Vec::new(),
            plan: plan::PlanDraft::default(),
            mode: None,
            login: summary.login(),
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

    pub(super) fn is_being_asked(&self, id: QuestionId) -> bool {
        self.asking.iter().any(|(_, asked)| *asked == id)
    }

    /// True if the message says again what is known.
    pub(super) fn is_repeated(&mut self, message: &Message) -> bool {
        let (Message::TurnStarted { permission_mode, .. } | Message::ModeChanged { permission_mode }) = message else {
            return false;
        };
        let before = self.mode.replace(permission_mode.clone());
        matches!(message, Message::ModeChanged { .. }) && before.as_ref() == Some(permission_mode)
    }

    pub(super) fn block_started(&mut self, message_id: String, block: u32) {
        self.block = Some((message_id, block));
    }

    /// A block of a message is whole: answers its place, if it began as the last one, and needs its draft no more.
    pub(super) fn block_is_whole(&mut self, message_id: &str, block: &mut u32) {
        if let Some((_, begun)) = self.block.as_ref().filter(|(id, _)| id == message_id) {
            *block = *begun;
        }
        self.drafts.remove(&(message_id.to_owned(), *block));
    }

    /// Revokes what was shown of this message, from this block on.
    pub(super) fn abandon_drafts(&mut self, message_id: String, from_block: u32) {
        self.drafts
            .retain(|(id, block)| *id != message_id || *block < from_block);
        let dropped = DroppedDraft { message_id, from_block };
        self.batch.push(Entry::DraftDropped(dropped));
    }

    /// Revokes text that was shown while it was being written and does not become whole any more.
    pub(super) fn drop_drafts(&mut self) {
        let drafts = std::mem::take(&mut self.drafts).into_iter();
        let dropped = drafts.map(|(message_id, from_block)| DroppedDraft { message_id, from_block });
        self.batch.extend(dropped.map(Entry::DraftDropped));
    }

    pub(super) fn take_unknown_line(&mut self, line: &OutputLine<'_>, kind: Option<String>) {
        let text = String::from_utf8_lossy(&line.bytes[..line.bytes.len().min(2 * UNKNOWN_LINE_BYTES_MAX)]);
        let text = excerpt::head(&text, UNKNOWN_LINE_BYTES_MAX).to_owned();
        let unknown = UnknownLine {
            offset: line.offset,
            kind,
            line: text,
            bytes: line.length,
        };
        self.batch.push(Entry::AgentUnknown(unknown));
    }

    /// The spool does not grow any more: what is left of it is a line that was cut off.
    fn take_rest(&mut self) {
        if self.lines.position() != self.lines.start() {
            let mut lines = std::mem::replace(&mut self.lines, Lines::starting_at(0));
            let end = lines.position();
            lines.push(b"\n", |line| self.take_unknown_line(&line, None));
            self.lines = Lines::starting_at(end);
        }
        self.drop_drafts();
        self.batch_end = self.lines.start();
    }

    /// What was read, through the last line that leaves a record. Lines behind it are covered by the next append: a daemon
    /// that comes after this one reads them again, and so has the whole of an open draft.
    fn hand_over(&mut self) -> Option<(SpoolSpan, Vec<Entry>)> {
        if self.batch.is_empty() {
            return None;
        }
        let (from, through) = (self.handed, self.batch_end);
        self.handed = through;
        Some((SpoolSpan { from, through }, std::mem::take(&mut self.batch)))
    }

    /// Partial text that waits for appends which are on disk now. A block that is whole by now needs none.
    fn next_held_delta(&mut self, acknowledged: u64) -> Option<Delta> {
        while let Some((_, delta)) = self.held_deltas.pop_front_if(|(after, _)| *after <= acknowledged) {
            if self.drafts.contains(&(delta.message_id.clone(), delta.block)) {
                return Some(delta);
            }
        }
        None
    }
}

impl Attempt {
    pub(super) fn take_bytes(&mut self, offset: u64, bytes: &[u8]) {
        self.heard_of_host();
        let expected = self.intake.position();
        if self.state.talk().is_none() || offset != expected {
            // Bytes of a read from before the link was lost.
            let text = format!("spool bytes out of place are passed over: {offset}, expected {expected}");
            return self.command(Command::Log(text));
        }
        if !self.intake.is_up {
            self.intake.is_up = true;
            self.command(Command::Report(AttemptReport::Up));
            self.clocks.sign(self.now);
        }
        self.take_pipe_for_read();
        let mut lines = std::mem::replace(&mut self.intake.lines, Lines::starting_at(0));
        lines.push(bytes, |line| self.take_line(&line));
        self.intake.lines = lines;
        if !self.intake.batch.is_empty() && self.checkpoints.looks_at_git(self.checkpoint_interval(), self.now) {
            self.command(Command::LookAtGit);
        }
        self.hand_over();
        self.raise_window();
        self.settle();
    }

    fn hand_over(&mut self) {
        if let Some((span, entries)) = self.intake.hand_over() {
            self.append(Some(span), entries);
        }
    }

    /// The spool does not grow any more.
    pub(super) fn take_rest(&mut self) {
        self.intake.take_rest();
        self.hand_over();
    }

    fn take_line(&mut self, line: &OutputLine<'_>) {
        let before = self.intake.batch.len();
        if line.is_cut() {
            self.clocks.sign(self.now);
            let kind = "a line that is too long".to_owned();
            self.intake.take_unknown_line(line, Some(kind));
        } else {
            decode(line.bytes)
                .into_iter()
                .for_each(|frame| self.take_frame(line, frame));
        }
        if self.intake.batch.len() > before {
            self.intake.batch_end = line.end();
        }
    }

    /// Partial text is shown at once, but never before the records of the lines before it.
    pub(super) fn take_delta(&mut self, delta: Delta) {
        self.intake.drafts.insert((delta.message_id.clone(), delta.block));
        let after = self.appends.sent + u64::from(!self.intake.batch.is_empty());
        if after == self.appends.acknowledged && self.intake.held_deltas.is_empty() {
            return self.show(delta);
        }
        self.intake.held_deltas.push_back((after, delta));
    }

    pub(super) fn show_held_deltas(&mut self) {
        while let Some(delta) = self.intake.next_held_delta(self.appends.acknowledged) {
            self.show(delta);
        }
    }

    fn show(&mut self, delta: Delta) {
        let head = self.summary.head;
        self.command(Command::Show { head, delta });
    }
}
