//! What an agent is owed: answers and messages that are in the journal, and that it has not said to have taken.

use uuid::Uuid;

use super::id::{Attempt, QuestionId};
use super::message::InputState;
use super::question::Answer;
use super::summary::Summary;
use super::summary::Waiting;

/// Something that an agent is owed. It may have it already, and not have said so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Owed<'a> {
    /// The answer to a question that it has asked.
    Answer(QuestionId, &'a Waiting, &'a Answer),
    /// A message, and its text.
    Message(Uuid, &'a str),
}

impl Summary {
    /// What the agent of this attempt is owed, in the order in which it is told. Questions of an attempt before are not its
    /// own: it asks them again.
    pub fn owed(&self, attempt: Attempt) -> impl Iterator<Item = Owed<'_>> {
        let asked = self
            .questions
            .iter()
            .filter(move |(_, waiting)| waiting.attempt == attempt);
        let answers = asked.filter_map(|(id, waiting)| Some(Owed::Answer(*id, waiting, waiting.answer.as_ref()?)));
        let unread = self.inputs.iter().filter(|input| input.state != InputState::Started);
        let messages = unread.filter_map(|input| Some(Owed::Message(input.uuid, input.text.as_deref()?)));
        answers.chain(messages)
    }
}
