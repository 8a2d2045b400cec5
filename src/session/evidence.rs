//! The journal's evidence that the agent has written its own file of the conversation.
//!
//! The agent prints first and writes its file 20 to 200 ms later (measured). If it is killed soon after its first words,
//! there is no file, and the conversation can begin again under its id. Otherwise a missing file is a lost conversation.

use serde::{Deserialize, Deserializer, Serialize};

use super::journal::{Entry, StartRefusal};
use super::message::{InputState, Message};
use super::outcome::Ending;

/// Evidence for the file. Later variants are stronger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Evidence {
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

impl Evidence {
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
            Entry::AgentStderr(said) if said.refusal == Some(StartRefusal::ConversationExists) => *self = Self::Written,
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

/// Reads the field also as version 0.1 wrote it: true if the agent had spoken, which counted as a proof.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Evidence, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        HasSpoken(bool),
        Degree(Evidence),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::HasSpoken(true) => Evidence::Written,
        Either::HasSpoken(false) => Evidence::Silent,
        Either::Degree(evidence) => evidence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::Stderr;
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

    fn after(entries: &[Entry]) -> Evidence {
        let mut evidence = Evidence::default();
        entries.iter().for_each(|entry| evidence.take(entry));
        evidence
    }

    #[test]
    fn words_and_the_answer_of_a_tool_prove_nothing_yet() {
        assert_eq!(after(&[begins(1), input(InputState::Started)]), Evidence::Silent);
        assert_eq!(after(&[begins(1), text(None), text(None)]), Evidence::Spoken);
        let answered = [begins(1), text(None), result(None), text(Some("subagent"))];
        assert_eq!(after(&answered), Evidence::Answered);
        let died = [&answered[..], &[ended(Ending::Crashed), begins(2), text(None)]].concat();
        assert_eq!(after(&died), Evidence::Spoken, "the words are of another process");
        assert_eq!(after(&[result(Some("subagent"))]), Evidence::Silent);
    }

    #[test]
    fn what_is_printed_behind_a_write_proves_it() {
        let check = |entries: &[Entry]| assert_eq!(after(entries), Evidence::Written, "{entries:?}");
        check(&[text(None), result(None), text(None)]);
        check(&[text(None), input(InputState::Completed)]);
        check(&[turn_ended(&[], false)]);
        check(&[turn_ended(&[Uuid::nil()], true)]);
        check(&[text(None), ended(Ending::Stopped)]);
        check(&[turn_ended(&[], false), ended(Ending::Crashed), begins(2), text(None)]);
        assert_eq!(after(&[turn_ended(&[], true)]), Evidence::Silent, "it was not resumed");
        assert_eq!(
            after(&[ended(Ending::Stopped)]),
            Evidence::Silent,
            "it had nothing to write"
        );
    }

    #[test]
    fn an_agent_that_refuses_to_begin_a_conversation_proves_that_there_is_one() {
        let stderr = |refusal| {
            let text = "the CLI's words".into();
            Entry::AgentStderr(Stderr { text, refusal })
        };
        let exists = stderr(Some(StartRefusal::ConversationExists));
        assert_eq!(after(&[begins(2), exists, ended(Ending::Crashed)]), Evidence::Written);
        assert_eq!(after(&[stderr(None)]), Evidence::Silent);
    }

    #[test]
    fn a_fresh_conversation_proves_itself_anew() {
        let lost = Ending::LostContext { message: "gone".into() };
        assert_eq!(after(&[turn_ended(&[], false), ended(lost)]), Evidence::Silent);
        let reset = said(Message::ConversationReset {
            agent_session_id: Uuid::nil(),
        });
        assert_eq!(after(&[turn_ended(&[], false), reset]), Evidence::Silent);
    }
}
