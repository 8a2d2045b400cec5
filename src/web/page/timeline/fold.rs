//! From records to the bars and marks of a timeline: pure.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::session::id::{QuestionId, Seq};
use crate::session::journal::{AttemptEnd, Entry, StateChange};
use crate::session::message::Message;
use crate::session::outcome::Ending;
use crate::session::state::StateName;
use crate::session::telling::{Telling, tell};
use crate::store::StoredRecord;
use crate::web::page::text::{capitalised, one_line};

/// The most characters that a bar says.
const WORDS_CHARS_MAX: usize = 120;

/// In which row something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    Attempts,
    Turns,
    Tools,
    Waits,
}

/// Something that takes time.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bar {
    pub(super) lane: Lane,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// For the style sheet.
    pub(super) class: &'static str,
    pub(super) words: String,
    /// The record it begins with.
    pub(super) seq: Seq,
}

/// Something that happens at a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimelineMark {
    pub(super) at: Timestamp,
    pub(super) class: &'static str,
    pub(super) words: String,
    pub(super) seq: Seq,
}

/// All of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    /// When the session began: the scale counts from there.
    pub(super) zero: Timestamp,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) bars: Vec<Bar>,
    pub(super) marks: Vec<TimelineMark>,
    /// How many model calls of the main conversation, and tool calls, there are among the records.
    pub(super) turns: usize,
    pub(super) tools: usize,
}

/// What has begun and not ended yet.
#[derive(Debug, Default)]
struct OpenBars {
    attempt: Option<Bar>,
    turn: Option<Bar>,
    /// The turn began before the first message that is looked at, unless the next one is found to begin first.
    is_turn_guessed: bool,
    tools: HashMap<String, Bar>,
    questions: HashMap<QuestionId, Bar>,
    /// A wait of the whole session, or of its agent.
    wait: Option<Bar>,
    /// The latest model call.
    call: String,
    /// What the last attempt ended with.
    last_class: &'static str,
}

impl Picture {
    /// The picture of these records, in the order of their numbers, between two times; `messages_from` is the first
    /// message among them where others were before it.
    pub(super) fn of(records: &[StoredRecord], messages_from: Option<Seq>, from: Timestamp, to: Timestamp) -> Self {
        let mut picture = Self {
            zero: from,
            from,
            to,
            bars: Vec::new(),
            marks: Vec::new(),
            turns: 0,
            tools: 0,
        };
        let mut open = OpenBars::default();
        for record in records {
            if Some(record.seq) == messages_from {
                open.turn = Some(turn(record));
                open.is_turn_guessed = true;
            }
            if let Ok(entry) = record.entry() {
                picture.take(&mut open, record, entry);
            }
        }
        picture.end(open);
        picture
    }

    fn take(&mut self, open: &mut OpenBars, record: &StoredRecord, entry: &Entry) {
        let (at, told) = (record.at, tell(entry));
        match entry {
            Entry::AttemptStarted(_) => {
                self.close(&mut open.wait, at);
                open.attempt = Some(bar(record, Lane::Attempts, "attempt", &capitalised(&told.label)));
            }
            Entry::AttemptEnded(end) => self.end_attempt(open, record, end, &told),
            Entry::SessionState(change) => self.change_state(open, record, change),
            Entry::QuestionAsked(question) => {
                let words = format!("Waits for a person: {}", told.line);
                let wait = || bar(record, Lane::Waits, "person", &words);
                open.questions.entry(question.question_id).or_insert_with(wait);
            }
            Entry::QuestionAnswered(answered) => self.close_question(open, answered.question_id, at),
            Entry::QuestionWithdrawn(withdrawn) => self.close_question(open, withdrawn.question_id, at),
            Entry::Checkpoint(_) => self.mark(record, "checkpoint", &told),
            Entry::ContextRebuilt(_) => self.mark(record, "rebuilt", &told),
            Entry::SessionResumed(_) => self.mark(record, "resumed", &told),
            Entry::SessionEnded(_) => self.mark(record, "ended", &told),
            Entry::AgentMessage(said) => self.take_message(open, record, &said.message, &told),
            _ => {}
        }
    }

    fn take_message(&mut self, open: &mut OpenBars, record: &StoredRecord, message: &Message, told: &Telling<'_>) {
        let at = record.at;
        if let Some(call) = message.model_call().filter(|call| *call != open.call) {
            call.clone_into(&mut open.call);
            self.turns += 1;
        }
        match message {
            Message::TurnStarted { .. } => {
                let before = open.turn.replace(turn(record));
                let is_guess = std::mem::take(&mut open.is_turn_guessed);
                self.close(&mut before.filter(|_| !is_guess), at);
            }
            Message::TurnEnded(_) => {
                open.is_turn_guessed = false;
                self.close(&mut open.turn, at);
                self.close(&mut open.wait, at);
            }
            Message::ToolUse { tool_use_id, .. } => {
                self.close(&mut open.wait, at);
                self.tools += 1;
                let tool = bar(record, Lane::Tools, "tool", &told.words(utc));
                open.tools.insert(tool_use_id.clone(), tool);
            }
            Message::ToolResult {
                tool_use_id, is_error, ..
            } => {
                if let Some(mut tool) = open.tools.remove(tool_use_id) {
                    tool.to = at;
                    tool.class = if *is_error { "tool failed" } else { "tool" };
                    self.bars.push(tool);
                }
            }
            Message::Text { .. } | Message::Thinking { .. } => self.close(&mut open.wait, at),
            Message::ApiRetry { .. } => {
                let wait = || bar(record, Lane::Waits, "api", &capitalised(&told.words(utc)));
                open.wait.get_or_insert_with(wait);
            }
            Message::RateLimit { rejected: true, .. } => {
                self.close(&mut open.wait, at);
                open.wait = Some(bar(record, Lane::Waits, "quota", &capitalised(&told.words(utc))));
            }
            _ => {}
        }
    }

    fn end_attempt(&mut self, open: &mut OpenBars, record: &StoredRecord, end: &AttemptEnd, told: &Telling<'_>) {
        let at = record.at;
        let failed = end.ending.is_charged();
        if let Some(attempt) = &mut open.attempt {
            attempt.words = format!("{}: {}", attempt.words, end.ending);
            attempt.class = if failed { "attempt failed" } else { "attempt" };
        }
        if end.ending != Ending::Finished {
            self.mark(record, "restart", told);
        }
        open.last_class = match end.ending {
            Ending::Quota { .. } => "quota",
            Ending::ApiDown { .. } => "api",
            _ => "retry",
        };
        self.close(&mut open.attempt, at);
        self.close(&mut open.turn, at);
        self.close(&mut open.wait, at);
        for (_, mut tool) in open.tools.drain() {
            tool.to = at;
            tool.class = "tool failed";
            self.bars.push(tool);
        }
    }

    fn change_state(&mut self, open: &mut OpenBars, record: &StoredRecord, change: &StateChange) {
        let class = match change.to {
            StateName::Queued => "queue",
            StateName::WaitingRetry => open.last_class,
            // The question itself is the wait.
            StateName::Asking
            | StateName::Starting
            | StateName::Running
            | StateName::Stopping
            | StateName::Completed
            | StateName::Failed
            | StateName::Cancelled
            | StateName::TimedOut => return,
        };
        self.close(&mut open.wait, record.at);
        let class = if class.is_empty() { "retry" } else { class };
        open.wait = Some(bar(record, Lane::Waits, class, &change.reason));
    }

    fn close_question(&mut self, open: &mut OpenBars, question: QuestionId, at: Timestamp) {
        let mut waiting = open.questions.remove(&question);
        self.close(&mut waiting, at);
    }

    fn close(&mut self, bar: &mut Option<Bar>, at: Timestamp) {
        if let Some(mut bar) = bar.take() {
            bar.to = at;
            self.bars.push(bar);
        }
    }

    fn mark(&mut self, record: &StoredRecord, class: &'static str, told: &Telling<'_>) {
        let words = capitalised(&told.words(utc));
        self.marks.push(TimelineMark {
            at: record.at,
            class,
            words: one_line(&words, WORDS_CHARS_MAX),
            seq: record.seq,
        });
    }

    /// What is still open lasts until now.
    fn end(&mut self, open: OpenBars) {
        let OpenBars {
            attempt,
            turn,
            tools,
            questions,
            wait,
            is_turn_guessed: _,
            call: _,
            last_class: _,
        } = open;
        let left = [attempt, turn, wait]
            .into_iter()
            .flatten()
            .chain(tools.into_values())
            .chain(questions.into_values());
        for mut bar in left {
            bar.to = self.to;
            self.bars.push(bar);
        }
        self.bars.sort_by_key(|bar| (bar.lane, bar.from, bar.seq));
    }

    /// The part of it that begins then. What reaches into it is still there, as whole as it is known.
    pub(super) fn since(mut self, from: Timestamp) -> Self {
        self.from = from;
        self.bars.retain(|bar| bar.to >= from);
        self.marks.retain(|mark| mark.at >= from);
        self
    }

    /// How much of a bar is within the picture.
    pub(super) fn within(&self, bar: &Bar) -> SignedDuration {
        bar.to.duration_since(bar.from.max(self.from))
    }

    /// How long the whole takes; never nothing.
    pub(super) fn span(&self) -> SignedDuration {
        self.to.duration_since(self.from).max(SignedDuration::from_secs(1))
    }
}

/// A turn that begins here.
fn turn(record: &StoredRecord) -> Bar {
    bar(record, Lane::Turns, "turn", "A turn")
}

/// Something that begins here.
fn bar(record: &StoredRecord, lane: Lane, class: &'static str, words: &str) -> Bar {
    Bar {
        lane,
        from: record.at,
        to: record.at,
        class,
        words: one_line(words, WORDS_CHARS_MAX),
        seq: record.seq,
    }
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
