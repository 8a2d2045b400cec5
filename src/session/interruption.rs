//! What a resumed agent is told of the run before it, where its version does not show that by itself: that it was cut
//! short, behind what, and which tool calls may or may not have taken effect.

use std::collections::BTreeMap;

use super::journal::Entry;
use super::message::{InputState, Message};
use super::question::headline_of_input;
use super::summary::cut;

/// How every such message begins.
pub const HEAD: &str = "The last run of this task ended uncleanly";

/// How much of the last message is told, in bytes.
const MESSAGE_BYTES_MAX: usize = 300;

/// How much of one tool call, in bytes.
const CALL_BYTES_MAX: usize = 300;

/// The most tool calls that are told one by one.
const CALLS_MAX: usize = 20;

/// A fold of the journal: where the last run was cut short, if it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interruption {
    /// A turn was under way.
    is_cut: bool,
    /// The last message, in words that fit "it ended behind …".
    last: Option<String>,
    /// Calls without a result, by their ids.
    calls: BTreeMap<String, String>,
    /// How the run ended.
    ending: Option<String>,
    /// The agent of the latest attempt has said nothing yet: what is known is still that of the run before.
    is_silent: bool,
}

impl Interruption {
    /// Takes the next entry of the journal into account.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::AttemptStarted(_) => self.is_silent = true,
            Entry::AttemptEnded(end) => self.ending = Some(end.ending.to_string()),
            Entry::Input(input) if input.state == InputState::Sent => {
                self.is_cut = true;
                if let Some(text) = input.text.as_deref().filter(|text| !text.starts_with(HEAD)) {
                    self.last = Some(format!("the user's message {}", quoted(text)));
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

    fn take_message(&mut self, message: &Message) {
        match message {
            Message::Text { text, parent: None, .. } => {
                self.speaks();
                self.last = Some(format!("your message {}", quoted(text)));
            }
            Message::ToolUse {
                tool_use_id,
                name,
                input,
                parent: None,
                ..
            } => {
                self.speaks();
                let call = format!("{name}: {}", headline_of_input(input));
                self.calls
                    .insert(tool_use_id.clone(), cut(&call, CALL_BYTES_MAX).to_owned());
                self.is_cut = true;
            }
            Message::ToolResult { tool_use_id, .. } => {
                self.calls.remove(tool_use_id);
            }
            Message::TurnEnded(end) => {
                self.calls.clear();
                self.is_cut &= end.synthetic;
            }
            // The rest is about the run; what a subagent was at is part of the call that started it.
            _ => {}
        }
    }

    /// What the runs before have left open is this agent's past now.
    fn speaks(&mut self) {
        if std::mem::take(&mut self.is_silent) {
            self.calls.clear();
        }
    }

    /// What the next agent is told.
    pub fn tell(&self) -> String {
        let mut told = HEAD.to_owned();
        if let Some(ending) = &self.ending {
            told += &format!(" ({ending})");
        }
        match &self.last {
            Some(last) => told += &format!(". The last thing that is known of it is {last}."),
            None => told += ". Nothing is known of what was said in it.",
        }
        if self.calls.is_empty() {
            told += " No tool call was under way.";
        } else {
            told += "\n\nThese tool calls were under way; each may or may not have taken effect:\n\n";
        }
        let shown = self.calls.values().take(CALLS_MAX);
        shown.for_each(|call| told += &format!("- {}\n", call.replace('\n', " ")));
        if self.calls.len() > CALLS_MAX {
            told += &format!("- and {} more\n", self.calls.len() - CALLS_MAX);
        }
        told + "\nLook at what has taken effect before you repeat anything, then continue from where you left off."
    }
}

fn quoted(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let start = cut(line, MESSAGE_BYTES_MAX);
    let more = if start.len() < text.trim().len() { "…" } else { "" };
    format!("“{start}{more}”")
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
            told.contains("- Bash: make two x") && !told.contains("make one"),
            "{told}"
        );
        assert!(told.contains("may or may not have taken effect"), "{told}");
        assert!(told.len() < 1000, "a call is told in short: {told}");
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
    }
}
