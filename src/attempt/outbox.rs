//! What an agent is owed, and gets on each link: messages and answers, once they are on disk, and control requests.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::state::{Purpose, Talk};
use super::{Attempt, AttemptTimer, Command};
use crate::agent::wire::control::{ControlRequest, PendingRequests};
use crate::agent::wire::encode;
use crate::agent_host::protocol::{LINE_BYTES_MAX, ToHost};
use crate::session::id::{Attempt as Number, QuestionId};
use crate::session::journal::{Entry, Input, QuestionRef};
use crate::session::message::InputState;
use crate::session::opening::opening;
use crate::session::outbox::Owed;
use crate::session::outcome::{Cause, Ending};
use crate::session::summary::Summary;
use crate::session::words::CONTINUE;

/// How long is waited for what the machine lacks: room on a disk, or the means to start a process.
pub(super) const WANT_PAUSE: Duration = Duration::from_secs(2);

/// How often an agent that is done with all it was told is asked for the result that it has not given.
const ASKED_FOR_RESULT_MAX: u32 = 3;

/// What is known of deliveries on all links.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    /// What the agent is told first was handed to the journal.
    is_opened: bool,
    /// How often the agent was asked for its result.
    asked_for_result: u32,
    /// The number of the next line.
    next_line: u64,
    /// Control requests that wait for a reply.
    pub requests: PendingRequests,
    /// Answers that may have been written to this agent, on any link and by any daemon.
    answers_written: BTreeSet<QuestionId>,
    /// Those that the agent has taken, as was handed to the store.
    answers_taken: BTreeSet<QuestionId>,
}

impl Outbox {
    pub(super) fn new(summary: &Summary, attempt: Number) -> Self {
        Self {
            is_opened: summary.work.is_told(),
            asked_for_result: 0,
            next_line: 0,
            requests: PendingRequests::default(),
            answers_written: summary.answered_in(attempt).collect(),
            answers_taken: BTreeSet::new(),
        }
    }

    /// A link is lost: of the answers that are under way on it nobody knows.
    pub(super) fn may_have_written(&mut self, talk: &Talk) {
        self.answers_written.extend(talk.answers_under_way());
    }

    /// The record of an answer that the agent has taken, unless there is one.
    pub(super) fn answer_taken(&mut self, question_id: QuestionId) -> Option<Entry> {
        let is_news = self.answers_taken.insert(question_id);
        is_news.then_some(Entry::QuestionDelivered(QuestionRef { question_id }))
    }
}

impl Attempt {
    /// Writes a line, where there is a link.
    fn write_line(&mut self, line: String, purpose: Purpose) {
        let id = self.outbox.next_line;
        if let Some(talk) = self.state.talk_mut() {
            self.outbox.next_line += 1;
            talk.writing.insert(id, purpose);
            self.tell(ToHost::Write { id, line });
        }
    }

    pub(super) fn request(&mut self, request: ControlRequest) {
        let unique = format!("{}-{}", self.outbox.next_line, self.now.fresh);
        let line = self.outbox.requests.line(request, &unique);
        self.write_line(line, Purpose::Control);
    }

    pub(super) fn refuse_request(&mut self, request_id: &str, subtype: &str) {
        let error = format!("{subtype} is not served by this host");
        self.write_line(encode::refuse(request_id, &error), Purpose::Control);
    }

    /// What the agent has to be told first on every link: our messages that it is not done with. On the first one of the
    /// attempt they are journalled before. One that has said anything was initialized; its requests are in its spool.
    pub(super) fn greet(&mut self, spool_bytes: u64) {
        if spool_bytes == 0 {
            self.request(ControlRequest::Initialize);
        }
        // What is spent is counted from the first answer that this daemon gets.
        self.ask_for_count();
        if std::mem::replace(&mut self.outbox.is_opened, true) {
            return;
        }
        let told = self.summary.told(&self.task.request.task);
        let entries = opening(&told, &self.summary, &self.groundwork, self.now.fresh);
        self.append(None, entries);
    }

    /// An agent that died between the end of its turn and the result says, when it is resumed, only that our message is
    /// done with. Then there is no result to wait for, and it is asked to go on.
    pub(super) fn ask_for_the_result(&mut self) {
        // It does not ask what its predecessor asked unless it goes on.
        let mut questions = self.summary.questions.values();
        let asks = questions.any(|waiting| waiting.attempt == self.task.attempt);
        let is_done_with_all = self.summary.inputs.is_empty() && !asks;
        let is_idle = self.state.is_working() && self.intake.is_up && !self.intake.is_busy;
        if !is_idle || !is_done_with_all || self.summary.work.is_answered() {
            return;
        }
        if let Some(ending) = self.summary.work.ended_by_person() {
            return self.begin_close(ending);
        }
        self.outbox.asked_for_result += 1;
        if self.outbox.asked_for_result <= ASKED_FOR_RESULT_MAX {
            return self.say(CONTINUE.to_owned());
        }
        let (cause, message) = (
            Cause::AgentError,
            "it is done with its messages and gives no result".to_owned(),
        );
        self.begin_close(Ending::Refused { cause, message });
    }

    /// Journals a message of ours, to be written when that is on disk.
    fn say(&mut self, text: String) {
        let input = Input {
            uuid: self.now.fresh,
            state: InputState::Sent,
            text: Some(text),
        };
        self.append(None, vec![Entry::Input(input)]);
    }

    /// Writes what the agent is owed and has not had on this link: answers at once, and messages in their order when
    /// nothing is on its way to the disk. The agent drops a message that it has seen.
    pub(super) fn deliver(&mut self) {
        let (summary, is_all_on_disk) = (Arc::clone(&self.summary), self.is_all_on_disk());
        for owed in summary.owed(self.task.attempt) {
            let Some(talk) = self.state.work_mut() else { return };
            match owed {
                Owed::Answer(question_id, waiting, answer) => {
                    if talk.answers_sent.insert(question_id) {
                        self.clocks.sign(self.now);
                        let position = self.intake.position();
                        let purpose = Purpose::Answer { question_id, position };
                        self.write_line(encode::answer(&waiting.question, answer, &waiting.grants()), purpose);
                    }
                }
                Owed::Message(uuid, text) => {
                    if is_all_on_disk && talk.filing.is_none() && talk.messages_sent.insert(uuid) {
                        self.write_message(uuid, text);
                    }
                }
            }
        }
    }

    fn write_message(&mut self, uuid: Uuid, text: &str) {
        let line = encode::user_message(uuid, text);
        if line.len() < LINE_BYTES_MAX {
            let is_in_file = false;
            return self.write_line(line, Purpose::Input { uuid, is_in_file });
        }
        if let Some(talk) = self.state.talk_mut() {
            talk.filing = Some(uuid);
        }
        let (text, refusal) = (text.to_owned(), None);
        self.command(Command::KeepInFile { uuid, text, refusal });
    }

    /// A text that does not fit into a line stands in a file, and the agent is told to read it.
    pub(super) fn kept_in_file(&mut self, uuid: Uuid, refusal: Option<String>, result: Result<PathBuf, String>) {
        let Some(talk) = self.state.work_mut() else { return };
        let is_awaited = refusal.is_some() || talk.filing == Some(uuid);
        match (result, refusal) {
            _ if !is_awaited => {}
            (Ok(path), refusal) => {
                if refusal.is_none() {
                    talk.filing = None;
                }
                let told = format!(
                    "The message is long and stands in the file {}. Read that file and follow it.",
                    path.display()
                );
                let is_in_file = true;
                self.write_line(encode::user_message(uuid, &told), Purpose::Input { uuid, is_in_file });
                self.deliver();
            }
            (Err(_), Some(refusal)) => self.not_reached(&refusal),
            (Err(error), None) => {
                talk.messages_sent.remove(&uuid);
                self.command(Command::Log(format!("a message waits: {error}")));
                self.command(Command::Arm(AttemptTimer::Inputs, WANT_PAUSE));
            }
        }
    }

    /// A file could not be written, and is tried again with all that waits for it.
    pub(super) fn file_again(&mut self) {
        let Some(talk) = self.state.talk_mut() else { return };
        if talk.filing.is_some_and(|uuid| !talk.messages_sent.contains(&uuid)) {
            talk.filing = None;
            self.deliver();
        }
    }

    /// The host has not written a line. The system may not let a pipe grow for a long one: what all pipes of a user hold
    /// together is limited. The way by a file is left then.
    pub(super) fn refused(&mut self, id: u64, error: String) {
        let purpose = self.state.talk_mut().and_then(|talk| talk.writing.remove(&id));
        let is_gone = self.state.closing().is_some_and(|closing| closing.is_agent_gone());
        match purpose.filter(|_| !is_gone) {
            Some(Purpose::Control) | None => {}
            Some(Purpose::Answer { .. } | Purpose::Input { is_in_file: true, .. }) => self.not_reached(&error),
            Some(Purpose::Input { uuid, .. }) => {
                let text = self.summary.input(uuid).and_then(|input| input.text.clone());
                let Some(text) = text else {
                    return self.not_reached(&error);
                };
                let refusal = Some(error);
                self.command(Command::KeepInFile { uuid, text, refusal });
            }
        }
    }

    fn not_reached(&mut self, error: &str) {
        self.notice(format!("a message did not reach the agent: {error}"));
    }

    /// A line stands in the agent's stdin.
    pub(super) fn written(&mut self, id: u64) {
        let Some(talk) = self.state.talk_mut() else { return };
        match talk.writing.remove(&id) {
            Some(Purpose::Answer { question_id, position }) => {
                talk.answers_in_pipe.push(question_id);
                self.outbox.answers_written.insert(question_id);
                if self.intake.position() > position {
                    self.take_pipe_for_read();
                }
            }
            Some(Purpose::Input { .. } | Purpose::Control) | None => {}
        }
    }

    /// Journals that the agent has taken the answers in its pipe, since it goes on after them. Of an agent that dies before
    /// that nobody knows.
    pub(super) fn take_pipe_for_read(&mut self) {
        let Some(talk) = self.state.talk_mut() else { return };
        let in_pipe = std::mem::take(&mut talk.answers_in_pipe).into_iter();
        let entries: Vec<_> = in_pipe.filter_map(|id| self.outbox.answer_taken(id)).collect();
        if !entries.is_empty() {
            self.append(None, entries);
        }
    }

    /// Questions whose answers may have been written to the agent, those under way among them.
    pub(super) fn answers_written(&self) -> Vec<QuestionId> {
        let mut written = self.outbox.answers_written.clone();
        written.extend(self.state.talk().into_iter().flat_map(Talk::answers_under_way));
        written.into_iter().collect()
    }
}
