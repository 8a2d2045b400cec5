//! Whether the agent's own file of its conversation was ever there, as far as the journal proves it.
//!
//! The agent prints first and writes its file 20 to 200 ms later (measured). So the file of one that was killed soon
//! after its first words never was, and its conversation can begin again under its id; that of another one is lost.

use serde::{Deserialize, Deserializer, Serialize};

use super::journal::Entry;
use super::message::{InputState, Message};
use super::outcome::Ending;

/// How much the journal proves. What comes later proves more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The agent has said nothing in this conversation.
    #[default]
    Silent,
    /// It has spoken, and may not have written that down.
    Spoken,
    /// A tool has answered it since.
    Answered,
    /// It has written its file.
    Written,
}

impl Kept {
    /// Takes the next entry of the journal into account.
    pub fn take(&mut self, entry: &Entry) {
        match entry {
            // The file of an earlier attempt was not there, or it proves itself again.
            Entry::AttemptStarted(_) if *self == Self::Answered => *self = Self::Spoken,
            // An agent is done with a message when that is written down.
            Entry::Input(input) if input.state == InputState::Completed => *self = Self::Written,
            // The message to cut behind was looked up in the file.
            Entry::SessionResumed(resumed) if resumed.at.is_some() => *self = Self::Written,
            Entry::AgentMessage(said) => self.take_message(&said.message),
            // A conversation that was to begin under its id is there, where only the agent finds it.
            Entry::AgentStderr(said) if is_refusal_to_begin(&said.text) => *self = Self::Written,
            Entry::AttemptEnded(end) if matches!(end.ending, Ending::LostContext { .. }) => *self = Self::Silent,
            // An agent that is asked to end writes down what it has said.
            Entry::AttemptEnded(end) if end.ending == Ending::Stopped && *self != Self::Silent => *self = Self::Written,
            _ => {}
        }
    }

    fn take_message(&mut self, message: &Message) {
        match message {
            // The request behind a tool's answer is made when what came before is written down.
            Message::Text { parent: None, .. }
            | Message::Thinking { parent: None, .. }
            | Message::ToolUse { parent: None, .. } => {
                *self = match *self {
                    Self::Silent | Self::Spoken => Self::Spoken,
                    Self::Answered | Self::Written => Self::Written,
                }
            }
            Message::ToolResult { parent: None, .. } if *self == Self::Spoken => *self = Self::Answered,
            // A result is printed behind the write.
            Message::TurnEnded(end) if end.is_of_turn() => *self = Self::Written,
            Message::ConversationReset { .. } => *self = Self::Silent,
            _ => {}
        }
    }
}

/// What the CLI says before it exits where a new conversation would get the id of one that is there (measured).
fn is_refusal_to_begin(stderr: &str) -> bool {
    let mut lines = stderr.lines();
    lines.any(|line| line.starts_with("Error: Session ID ") && line.ends_with(" is already in use."))
}

/// Reads also what stood in the field before there were degrees: whether the agent had spoken, which was taken for a
/// proof.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kept, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        HasSpoken(bool),
        Kept(Kept),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::HasSpoken(true) => Kept::Written,
        Either::HasSpoken(false) => Kept::Silent,
        Either::Kept(kept) => kept,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::Text;
    use crate::session::message::TurnEnd;
    use crate::session::samples::{self, attempt_ended as ended, attempt_started as begins, said};
    use uuid::Uuid;

    fn text(parent: Option<&str>) -> Entry {
        said(Message::Text {
            message_id: "m".into(),
            block: 0,
            text: "words".into(),
            parent: parent.map(str::to_owned),
            aborted: false,
            error: None,
        })
    }

    fn result(parent: Option<&str>) -> Entry {
        said(Message::ToolResult {
            tool_use_id: "t".into(),
            text: String::new(),
            is_error: false,
            parent: parent.map(str::to_owned),
        })
    }

    fn turn_ended(answers: &[Uuid], is_error: bool) -> Entry {
        said(samples::turn_ended(TurnEnd {
            is_error,
            answers: answers.to_vec(),
            ..TurnEnd::default()
        }))
    }

    fn input(state: InputState) -> Entry {
        samples::input(Uuid::nil(), state, None)
    }

    fn after(entries: &[Entry]) -> Kept {
        let mut kept = Kept::default();
        entries.iter().for_each(|entry| kept.take(entry));
        kept
    }

    #[test]
    fn words_and_the_answer_of_a_tool_prove_nothing_yet() {
        assert_eq!(after(&[begins(1), input(InputState::Started)]), Kept::Silent);
        assert_eq!(after(&[begins(1), text(None), text(None)]), Kept::Spoken);
        let answered = [begins(1), text(None), result(None), text(Some("subagent"))];
        assert_eq!(after(&answered), Kept::Answered);
        let died = [&answered[..], &[ended(Ending::Crashed), begins(2), text(None)]].concat();
        assert_eq!(after(&died), Kept::Spoken, "the words are of another process");
        assert_eq!(after(&[result(Some("subagent"))]), Kept::Silent);
    }

    #[test]
    fn what_is_printed_behind_a_write_proves_it() {
        let check = |entries: &[Entry]| assert_eq!(after(entries), Kept::Written, "{entries:?}");
        check(&[text(None), result(None), text(None)]);
        check(&[text(None), input(InputState::Completed)]);
        check(&[turn_ended(&[], false)]);
        check(&[turn_ended(&[Uuid::nil()], true)]);
        check(&[text(None), ended(Ending::Stopped)]);
        check(&[turn_ended(&[], false), ended(Ending::Crashed), begins(2), text(None)]);
        assert_eq!(after(&[turn_ended(&[], true)]), Kept::Silent, "it was not resumed");
        assert_eq!(
            after(&[ended(Ending::Stopped)]),
            Kept::Silent,
            "it had nothing to write"
        );
    }

    #[test]
    fn an_agent_that_refuses_to_begin_a_conversation_proves_that_there_is_one() {
        let stderr = |text: &str| Entry::AgentStderr(Text { text: text.into() });
        let refusal = stderr("a warning\nError: Session ID 32181b7e is already in use.\n");
        assert_eq!(after(&[begins(2), refusal, ended(Ending::Crashed)]), Kept::Written);
        assert_eq!(after(&[stderr("Error: port 80 is already in use.")]), Kept::Silent);
    }

    #[test]
    fn a_fresh_conversation_proves_itself_anew() {
        let lost = Ending::LostContext { message: "gone".into() };
        assert_eq!(after(&[turn_ended(&[], false), ended(lost)]), Kept::Silent);
        let reset = said(Message::ConversationReset {
            agent_session_id: Uuid::nil(),
        });
        assert_eq!(after(&[turn_ended(&[], false), reset]), Kept::Silent);
    }
}
