//! The digest of a journal: what a fresh agent is told of a conversation that is lost.

use std::collections::{BTreeMap, VecDeque};

use super::excerpt;
use super::id::QuestionId;
use super::journal::Entry;
use super::telling::{self, Topic, Weight};
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
    items: VecDeque<Passage>,
    bytes: usize,
    /// How many items were left out before the first one.
    left_out: usize,
    /// What each question was about.
    asked: BTreeMap<QuestionId, String>,
}

#[derive(Clone, Debug)]
struct Passage {
    text: String,
    /// The tool call whose result belongs here.
    tool_use_id: Option<String>,
}

impl Digest {
    /// Takes the next entry of the journal into account. Subagents' words are in the results of their calls; the rest is
    /// about the run, not about the work.
    pub fn take(&mut self, entry: &Entry) {
        let told = telling::tell(entry);
        let own = !told.origin.by_subagent;
        match told.topic {
            Topic::Prompt => {
                if let Some(text) = own_words(&told.line) {
                    self.push(format!("The user wrote: {}", excerpt::head(text, TEXT_BYTES_MAX)), None);
                }
            }
            Topic::Said if own => self.push(
                format!("The agent said: {}", excerpt::head(&told.line, TEXT_BYTES_MAX)),
                None,
            ),
            Topic::Call if own => {
                let call = format!("{}: {}", told.label, told.line);
                let text = format!("The agent called {}", excerpt::head(&call, RESULT_BYTES_MAX));
                self.push(text, told.origin.call.map(str::to_owned));
            }
            Topic::Result => {
                let verb = if told.failed { "failed" } else { "answered" };
                let result = format!(", which {verb}: {}", excerpt::head(&told.line, RESULT_BYTES_MAX));
                self.add_result(told.origin.result_of.unwrap_or_default(), &result);
            }
            Topic::Question => {
                self.asked
                    .extend(told.origin.question.map(|id| (id, told.line.into_owned())));
            }
            Topic::Answer if told.weight == Weight::Major => {
                let asked = told.origin.question.and_then(|id| self.asked.get(&id));
                let asked = asked.map_or("?", String::as_str);
                let answer = told.words(|at| at.to_string());
                self.push(
                    format!("Asked: {asked}. {}", excerpt::head(&answer, TEXT_BYTES_MAX)),
                    None,
                );
            }
            Topic::AttemptEnd => self.push(format!("The run ended here: {}.", told.line), None),
            _ => {}
        }
    }

    fn push(&mut self, text: String, tool_use_id: Option<String>) {
        self.bytes += size_of(&text);
        self.items.push_back(Passage { text, tool_use_id });
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
        for Passage { text, tool_use_id } in self.items.iter().filter(|item| item.text != task_itself) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::Answered;
    use crate::session::question::{Answer, Choice, Question, QuestionKind};
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
    fn each_answer_stands_with_its_own_question_whatever_their_order() {
        let choice = |question: &str| Choice {
            question: question.to_owned(),
            header: String::new(),
            options: vec![],
            multi_select: false,
        };
        let (one, two) = ("Use a cache?", "Add a login?");
        let asked = Question {
            question_id: QuestionId(1),
            request_id: "r".into(),
            tool_use_id: None,
            kind: QuestionKind::Choice {
                questions: vec![choice(one), choice(two)],
                input: serde_json::Value::Null,
            },
        };
        let answers = [(one, "No"), (two, "Yes")].map(|(asked, chosen)| (asked.to_owned(), chosen.to_owned()));
        let answered = Answered {
            question_id: QuestionId(1),
            answer: Answer::Choose {
                answers: answers.into(),
            },
            by: "me".into(),
            granted: vec![],
        };
        let mut digest = Digest::default();
        digest.take(&Entry::QuestionAsked(asked));
        digest.take(&Entry::QuestionAnswered(answered));
        let told = digest.tell("t", "w");
        assert!(told.contains("Add a login? Yes; Use a cache? No"), "{told}");
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
