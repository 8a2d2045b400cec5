//! What a resumed agent is told of the run before it, where its version does not show that by itself: that it was cut
//! short, behind what, and which tool calls may or may not have taken effect.

use std::collections::BTreeMap;

use super::excerpt;
use super::journal::Entry;
use super::message::{InputState, Message};
use super::question::headline_of_input;
use super::words::{CUT, CUT_BEHIND_TASK, own_words, with_later, without_note};

/// Stands at the end of every such message.
const CHECK_FIRST: &str = "Look at what has taken effect before you repeat anything";

/// How much of the last message is told, in bytes.
const MESSAGE_BYTES_MAX: usize = 300;

/// How much of one tool call, in bytes.
const CALL_BYTES_MAX: usize = 300;

/// How much of a tool call that has ended, in bytes.
const ENDED_BYTES_MAX: usize = 100;

/// The most tool calls that are told one by one.
const CALLS_MAX: usize = 20;

/// A fold of the journal: where the last run was cut short, if it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interruption {
    /// A turn was under way.
    is_cut: bool,
    /// The last message.
    last: Option<LastMessage>,
    /// The last tool call that ended after that message, as one line.
    ended_since: Option<String>,
    /// Calls by their ids.
    calls: BTreeMap<String, OpenCall>,
    /// The ending of the run, in words.
    ending: Option<String>,
    /// The agent of the latest attempt has said nothing yet: what is known is still that of the run before.
    is_silent: bool,
    /// No conversation has any of it, however many runs there were.
    is_unkept: bool,
}

/// The author of a run's last message, and its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
enum LastMessage {
    User(String),
    Agent(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct OpenCall {
    line: String,
    has_result: bool,
}

impl Interruption {
    /// One that keeps what all runs of the conversation have called, since the next agent knows nothing of it.
    pub fn of_unkept() -> Self {
        Self {
            is_unkept: true,
            ..Self::default()
        }
    }

    /// Takes the next entry of the journal into account.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::AttemptStarted(_) => self.is_silent = true,
            Entry::AttemptEnded(end) => self.ending = Some(end.ending.to_string()),
            // What was before is told otherwise, or is not to be known.
            Entry::ContextRebuilt(_) => self.forget(),
            Entry::Input(input) if input.state == InputState::Sent => {
                self.is_cut = true;
                if let Some(text) = input.text.as_deref().and_then(own_words) {
                    self.note_last(LastMessage::User(quoted(text)));
                }
            }
            Entry::AgentMessage(said) => self.take_message(&said.message),
            _ => {}
        }
    }

    /// Whether a turn was cut short.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether anything may have taken effect.
    pub fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    fn take_message(&mut self, message: &Message) {
        match message {
            Message::Text { text, parent: None, .. } => {
                self.speaks();
                self.note_last(LastMessage::Agent(quoted(text)));
            }
            Message::ToolUse {
                tool_use_id,
                name,
                input,
                parent: None,
                ..
            } => {
                self.speaks();
                let line = format!("{name}: {}", headline_of_input(input));
                let call = OpenCall {
                    line: excerpt::head(&line, CALL_BYTES_MAX).replace('\n', " "),
                    has_result: false,
                };
                self.calls.insert(tool_use_id.clone(), call);
                self.is_cut = true;
            }
            Message::ToolResult { tool_use_id, .. } => {
                if let Some(call) = self.calls.get_mut(tool_use_id) {
                    call.has_result = true;
                    self.ended_since = Some(excerpt::head(&call.line, ENDED_BYTES_MAX).to_owned());
                }
            }
            Message::TurnEnded(end) => {
                self.calls.clear();
                self.is_cut &= end.synthetic;
            }
            Message::ConversationReset { .. } => self.forget(),
            // The rest is about the run; what a subagent was at is part of the call that started it.
            _ => {}
        }
    }

    /// What the runs before have left open is this agent's past now.
    fn speaks(&mut self) {
        if std::mem::take(&mut self.is_silent) && !self.is_unkept {
            self.calls.clear();
        }
    }

    fn note_last(&mut self, message: LastMessage) {
        self.last = Some(message);
        self.ended_since = None;
    }

    fn forget(&mut self) {
        let (is_silent, is_unkept) = (self.is_silent, self.is_unkept);
        *self = Self {
            is_silent,
            is_unkept,
            ..Self::default()
        };
    }

    /// What the next agent is told.
    pub fn tell(&self) -> String {
        self.tell_state() + "\n" + CHECK_FIRST + ", then continue from where you left off."
    }

    /// What the next agent is told where a person's message is to be followed first.
    pub fn tell_before(&self, later: &str) -> String {
        with_later(&(self.tell_state() + "\n" + CHECK_FIRST + "."), later)
    }

    /// Where the run stood when it was cut short.
    fn tell_state(&self) -> String {
        let mut told = CUT.to_owned() + &self.told_ending();
        told += &match &self.last {
            Some(LastMessage::Agent(text)) => format!(". The last message of it that is known is your message {text}."),
            Some(LastMessage::User(text)) => {
                format!(". The last message of it that is known is the user's message {text}.")
            }
            None => ". Nothing is known of what was said in it.".to_owned(),
        };
        if let Some(call) = &self.ended_since {
            told += &format!(" The last tool call that ended after it is “{call}”.");
        }
        let open: Vec<_> = self.calls.values().filter(|call| !call.has_result).collect();
        if open.is_empty() {
            told += " No tool call was under way.";
        } else {
            told += "\n\nThese tool calls were under way; each may or may not have taken effect:\n\n";
            told += &listed(&open);
        }
        told
    }

    /// What the next agent is told where nothing of the conversation was kept: the task again, and what was done of it.
    pub fn tell_behind(&self, task: &str) -> String {
        let mut told = without_note(task).to_owned() + CUT_BEHIND_TASK + &self.told_ending();
        told += ", and nothing of its conversation was kept.";
        if let Some(LastMessage::Agent(text)) = &self.last {
            told += &format!(" The last thing that it said was {text}.");
        }
        told += " It had made these tool calls; each may or may not have taken effect:\n\n";
        told += &listed(&self.calls.values().collect::<Vec<_>>());
        told + "\n" + CHECK_FIRST + "."
    }

    fn told_ending(&self) -> String {
        self.ending
            .as_ref()
            .map_or_else(String::new, |ending| format!(" ({ending})"))
    }
}

fn listed(calls: &[&OpenCall]) -> String {
    let shown = calls.iter().take(CALLS_MAX);
    let mut list: String = shown.map(|call| format!("- {}\n", call.line)).collect();
    if calls.len() > CALLS_MAX {
        list += &format!("- and {} more\n", calls.len() - CALLS_MAX);
    }
    list
}

fn quoted(text: &str) -> String {
    format!("“{}”", excerpt::first_line_of_bytes(text, MESSAGE_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::message::TurnEnd;
    use crate::session::outcome::Ending;
    use crate::session::samples::{
        attempt_ended, attempt_started as begins, input, said, text, tool_result, tool_use, turn_ended,
    };
    use uuid::Uuid;

    fn says(words: &str) -> Entry {
        said(text("m", words))
    }

    fn call(id: &str) -> Entry {
        said(tool_use(id, &format!("make {id} {}", "x".repeat(1000))))
    }

    fn result(id: &str) -> Entry {
        said(tool_result(id, "done"))
    }

    fn sent(text: &str) -> Entry {
        input(Uuid::nil(), InputState::Sent, Some(text))
    }

    fn crashes() -> Entry {
        attempt_ended(Ending::Crashed)
    }

    fn after(entries: &[Entry]) -> Interruption {
        let mut interruption = Interruption::default();
        entries.iter().for_each(|entry| interruption.take(entry));
        interruption
    }

    #[test]
    fn a_run_that_was_cut_is_told_with_its_last_message_and_its_open_calls() {
        let known = after(&[
            begins(1),
            sent("build it"),
            says("I build it.\nThen I test."),
            call("one"),
            call("two"),
            result("one"),
            crashes(),
            begins(2),
        ]);
        assert!(known.is_cut());
        let told = known.tell();
        assert!(told.contains("(the agent process died)"), "{told}");
        assert!(told.contains("your message “I build it.…”"), "{told}");
        assert!(
            told.contains("- Bash: make two x") && !told.contains("- Bash: make one"),
            "{told}"
        );
        assert!(
            told.contains("The last tool call that ended after it is “Bash: make one x"),
            "{told}"
        );
        assert!(told.contains("may or may not have taken effect"), "{told}");
        assert!(told.len() < 1000, "a call is told in short: {told}");
    }

    #[test]
    fn a_tool_call_that_ended_is_the_last_thing_known_until_something_is_said() {
        let mut past = vec![begins(1), sent("build it"), call("one"), result("one"), crashes()];
        let told = after(&past).tell();
        assert!(told.contains("the user's message “build it”"), "{told}");
        assert!(told.contains("that ended after it is “Bash: make one x"), "{told}");
        past.insert(4, says("I have built it."));
        let told = after(&past).tell();
        assert!(
            told.contains("I have built it.") && !told.contains("make one"),
            "{told}"
        );
        let told = after(&past).tell_before("stop that");
        assert!(told.starts_with(CUT) && told.ends_with("\n\nstop that"), "{told}");
        assert!(!told.contains("continue from where you left off"), "{told}");
    }

    #[test]
    fn a_run_that_died_before_its_first_word_leaves_what_is_known_of_the_one_before() {
        let past = [
            begins(1),
            sent("build it"),
            call("one"),
            crashes(),
            begins(2),
            crashes(),
            begins(3),
        ];
        assert!(after(&past).tell().contains("make one"));
        let spoke = [&past[..], &[says("I look."), crashes(), begins(4)]].concat();
        let told = after(&spoke).tell();
        assert!(!told.contains("make one") && told.contains("I look."), "{told}");
    }

    #[test]
    fn a_task_whose_conversation_begins_again_is_told_with_all_that_was_called_for_it() {
        let past = [
            begins(1),
            sent("build it"),
            call("one"),
            result("one"),
            crashes(),
            begins(2),
            says("I look."),
            call("two"),
            crashes(),
            begins(3),
        ];
        let mut known = Interruption::of_unkept();
        past.iter().for_each(|entry| known.take(entry));
        assert!(known.has_calls());
        let told = known.tell_behind("build it");
        assert!(told.starts_with("build it\n\nAn earlier run"), "{told}");
        assert!(told.contains("make one") && told.contains("make two"), "{told}");
        assert!(told.contains("it said was “I look.”"), "{told}");
        assert_eq!(without_note(&told), "build it");
        assert_eq!(known.tell_behind(&told), told, "a second time it stands there once");
    }

    #[test]
    fn what_was_before_a_conversation_was_rebuilt_is_told_by_the_digest() {
        let rebuilt = Entry::ContextRebuilt(crate::session::journal::Why { why: "gone".into() });
        let mut known = Interruption::of_unkept();
        [call("one"), rebuilt, sent("the story"), says("I look.")]
            .iter()
            .for_each(|entry| known.take(entry));
        assert!(known.is_cut() && !known.has_calls());
    }

    #[test]
    fn a_run_that_ended_between_turns_was_not_cut() {
        let end = |synthetic| {
            let end = TurnEnd {
                synthetic,
                ..TurnEnd::default()
            };
            said(turn_ended(end))
        };
        assert!(!after(&[begins(1), sent("build it"), call("one"), end(false), crashes()]).is_cut());
        assert!(after(&[begins(1), sent("build it"), end(true), crashes()]).is_cut());
        let further = [
            begins(1),
            sent("build it"),
            call("one"),
            end(false),
            sent("test it"),
            crashes(),
        ];
        let told = after(&further).tell();
        assert!(told.contains("test it") && !told.contains("make one"), "{told}");
    }
}
