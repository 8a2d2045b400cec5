//! The digest of a journal: what a fresh agent is told of a conversation that is lost.

use std::collections::{BTreeMap, VecDeque};

use super::excerpt;
use super::id::QuestionId;
use super::journal::Entry;
use super::message::Message;
use super::question::{Answer, headline_of_input};
use super::words::{REBUILT, own_words};

/// How much of the past is told, in bytes; the task comes on top of it.
pub const DIGEST_BYTES_MAX: usize = 32 * 1024;

/// How much of one text, in bytes.
const TEXT_BYTES_MAX: usize = 2 * 1024;

/// How much of the result of one tool call, in bytes.
const RESULT_BYTES_MAX: usize = 512;

/// How much is set aside for what stands around the items, in bytes.
const FRAME_BYTES: usize = 1024;

/// The last things that happened, oldest first, never more than a message holds.
#[derive(Clone, Debug, Default)]
pub struct Digest {
    items: VecDeque<Item>,
    bytes: usize,
    /// How many items were left out before the first one.
    left_out: usize,
    /// What each question was about.
    asked: BTreeMap<QuestionId, String>,
}

#[derive(Clone, Debug)]
struct Item {
    text: String,
    /// The tool call whose result belongs here.
    tool_use_id: Option<String>,
}

impl Digest {
    /// Takes the next entry of the journal into account.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Input(input) => {
                if let Some(text) = input.text.as_deref().and_then(own_words) {
                    self.push(format!("The user wrote: {}", excerpt::head(text, TEXT_BYTES_MAX)), None);
                }
            }
            Entry::AgentMessage(said) => self.take_message(&said.message),
            Entry::QuestionAsked(question) => {
                self.asked.insert(question.question_id, question.kind.headline());
            }
            Entry::QuestionAnswered(answered) => {
                let asked = self.asked.get(&answered.question_id).map_or("?", String::as_str);
                self.push(format!("Asked: {asked}. {}", words_of(&answered.answer)), None);
            }
            Entry::AttemptEnded(end) => self.push(format!("The run ended here: {}.", end.ending), None),
            Entry::SessionCreated(_)
            | Entry::SessionState(_)
            | Entry::AttemptStarted(_)
            | Entry::AgentUnknown(_)
            | Entry::AgentStderr(_)
            | Entry::DraftDropped(_)
            | Entry::Checkpoint(_)
            | Entry::Usage(_)
            | Entry::QuestionDelivered(_)
            | Entry::QuestionWithdrawn(_)
            | Entry::Control(_)
            | Entry::Notice(_)
            | Entry::WorkCutOff(_)
            | Entry::ClockJumped(_)
            | Entry::RetryScheduled(_)
            | Entry::ContextRebuilt(_)
            | Entry::TaskRefined(_)
            | Entry::SessionResumed(_)
            | Entry::SessionEnded(_) => {}
        }
    }

    fn take_message(&mut self, message: &Message) {
        match message {
            Message::Text { text, parent: None, .. } => {
                self.push(format!("The agent said: {}", excerpt::head(text, TEXT_BYTES_MAX)), None);
            }
            Message::ToolUse {
                name,
                input,
                tool_use_id,
                parent: None,
                ..
            } => {
                let call = format!("{name}: {}", headline_of_input(input));
                let text = format!("The agent called {}", excerpt::head(&call, RESULT_BYTES_MAX));
                self.push(text, Some(tool_use_id.clone()));
            }
            Message::ToolResult {
                tool_use_id,
                text,
                is_error,
                ..
            } => {
                let verb = if *is_error { "failed" } else { "answered" };
                self.add_result(
                    tool_use_id,
                    &format!(", which {verb}: {}", excerpt::head(text, RESULT_BYTES_MAX)),
                );
            }
            // Subagents' words are in the results of their calls; the rest is about the run, not about the work.
            _ => {}
        }
    }

    fn push(&mut self, text: String, tool_use_id: Option<String>) {
        self.bytes += size_of(&text);
        self.items.push_back(Item { text, tool_use_id });
        self.shorten();
    }

    fn add_result(&mut self, tool_use_id: &str, text: &str) {
        let calls = self.items.iter_mut().rev();
        let mut calls = calls.filter(|item| item.tool_use_id.as_deref() == Some(tool_use_id));
        if let Some(call) = calls.next() {
            self.bytes -= size_of(&call.text);
            call.text += text;
            call.tool_use_id = None;
            self.bytes += size_of(&call.text);
            self.shorten();
        }
    }

    fn shorten(&mut self) {
        while self.bytes > DIGEST_BYTES_MAX - FRAME_BYTES {
            let Some(oldest) = self.items.pop_front() else { return };
            self.bytes -= size_of(&oldest.text);
            self.left_out += 1;
        }
    }

    /// The first message of a fresh conversation: the task, and what is known of the work on it.
    pub fn tell(&self, task: &str, why: &str) -> String {
        let why = excerpt::head(why, RESULT_BYTES_MAX);
        let mut told = format!("{REBUILT} ({why}).\n\nThis is the task:\n\n{task}\n\n");
        if self.items.is_empty() && self.left_out == 0 {
            return told + "Nothing is known of what was done before. Look at what stands there before you begin.";
        }
        told += "This is what is known of the work so far, the latest last";
        if self.left_out > 0 {
            told += &format!(" ({} earlier steps are left out)", self.left_out);
        }
        told += ":\n\n";
        let task_itself = format!("The user wrote: {}", excerpt::head(task, TEXT_BYTES_MAX));
        for Item { text, tool_use_id } in self.items.iter().filter(|item| item.text != task_itself) {
            let open = if tool_use_id.is_some() {
                " (no result is known: it may or may not have taken effect)"
            } else {
                ""
            };
            told += &format!("- {}{open}\n", indented(text));
        }
        told + "\nGo on with the task from there. Check what has taken effect before you repeat anything."
    }
}

/// What an item takes up in the message, with its bullet, the indent of its lines and what may be added to it.
fn size_of(text: &str) -> usize {
    text.len() + 2 * text.lines().count() + 64
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

fn words_of(answer: &Answer) -> String {
    match answer {
        Answer::Allow { .. } => "It was allowed.".to_owned(),
        Answer::Deny { reason: None, .. } => "It was denied.".to_owned(),
        Answer::Deny {
            reason: Some(reason), ..
        } => format!("It was denied: {}", excerpt::head(reason, RESULT_BYTES_MAX)),
        Answer::Choose { answers } => {
            let chosen: Vec<_> = answers
                .iter()
                .map(|(asked, chosen)| format!("{asked} {chosen}"))
                .collect();
            format!("The answer was: {}", excerpt::head(&chosen.join("; "), TEXT_BYTES_MAX))
        }
        Answer::Submit { content } => format!(
            "The answer was: {}",
            excerpt::head(&content.to_string(), TEXT_BYTES_MAX)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::samples::{said, text, tool_result, tool_use};

    #[test]
    fn a_digest_tells_the_task_and_what_became_of_each_call() {
        let mut digest = Digest::default();
        for message in [
            text("m", "I begin"),
            tool_use("one", "make one"),
            tool_use("two", "make two"),
            tool_result("one", "all\ngood"),
        ] {
            digest.take(&said(message));
        }
        insta::assert_snapshot!(digest.tell("build it", "its file is gone"), @"
        You take over a task from an agent whose conversation was lost (its file is gone).

        This is the task:

        build it

        This is what is known of the work so far, the latest last:

        - The agent said: I begin
        - The agent called Bash: make one, which answered: all
          good
        - The agent called Bash: make two (no result is known: it may or may not have taken effect)

        Go on with the task from there. Check what has taken effect before you repeat anything.
        ");
    }

    #[test]
    fn a_long_past_is_told_from_its_end() {
        let mut digest = Digest::default();
        for n in 0..1000 {
            let step = format!("step {n}\n{}", "x\n".repeat(500));
            digest.take(&said(text("m", &step)));
        }
        let told = digest.tell("t", "w");
        assert!(told.len() <= DIGEST_BYTES_MAX, "{}", told.len());
        assert!(told.contains("step 999") && !told.contains("step 1\n"));
        assert!(told.contains("earlier steps are left out"));
    }
}
