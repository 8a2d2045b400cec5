//! What an agent is told first in an attempt: the task, what it may have missed, or the request to go on.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::digest::{self, Digest};
use super::interruption::{self, Interruption};
use super::journal::{Entry, Input, Why};
use super::message::InputState;
use super::summary::Summary;

/// Told to an agent that has no message of ours left to work on.
pub const CONTINUE: &str = "Continue from where you left off. The last run of this task was interrupted; \
check what had taken effect before you repeat anything.";

/// What was found out about the conversation before the attempt.
#[derive(Clone, Debug, Default)]
pub struct Groundwork {
    /// Messages that the agent has taken into a turn, though it never said so.
    pub folded_in: BTreeSet<Uuid>,
    /// Messages that stand in the conversation.
    pub entries: BTreeSet<Uuid>,
    /// Where the last run was cut short, if the agent has to be told.
    pub interruption: Option<Interruption>,
    /// What was done for the task of which no conversation knows, where the conversation begins again.
    pub unkept: Option<Interruption>,
    /// The story so far, where the conversation is lost.
    pub story: Option<Digest>,
}

/// What is written down before anything is written to the agent of an attempt: each message that it gets, in order.
/// The first message that is new goes by the id `fresh`; the text of one that is known stands in its first record.
pub fn opening(task: &str, summary: &Summary, groundwork: &Groundwork, fresh: Uuid) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut pending: Vec<Input> = summary.pending().cloned().collect();
    let mut first = None;
    let is_lost = summary.lost.is_some() && groundwork.story.is_some();
    if let (Some(why), Some(story)) = (&summary.lost, &groundwork.story) {
        entries.push(Entry::ContextRebuilt(Why { why: why.clone() }));
        first = Some(story.tell(task, why));
        pending.retain(|input| input.text.as_deref().is_some_and(|text| !is_told_by_digest(text, task)));
    } else if !summary.is_told {
        first = Some(task.to_owned());
    } else if let Some(unkept) = &groundwork.unkept {
        // The task goes with what is to be said about it, as one message in the place of the one before.
        let begun = (!pending.is_empty()).then(|| pending.remove(0));
        let text = begun.as_ref().and_then(|input| input.text.as_deref());
        first = Some(unkept.tell_behind(text.unwrap_or(task)));
        entries.extend(begun.map(|input| known(input, InputState::Cancelled)));
    } else if let Some(interruption) = &groundwork.interruption {
        first = Some(interruption.tell());
    }
    entries.extend(first.map(|text| sent(fresh, text)));
    for input in pending {
        let state = groundwork.state_of(&input);
        entries.push(match state {
            // Its first record is forgotten with the rest of the conversation.
            InputState::Sent if is_lost => Entry::Input(Input { state, ..input }),
            state => known(input, state),
        });
    }
    let is_sent = |entry: &Entry| matches!(entry, Entry::Input(input) if input.state == InputState::Sent);
    if !entries.iter().any(is_sent) {
        entries.push(sent(fresh, CONTINUE.to_owned()));
    }
    entries
}

impl Groundwork {
    /// What becomes of a message that the last agent was not known to be done with.
    fn state_of(&self, input: &Input) -> InputState {
        let is_folded_in = self.folded_in.contains(&input.uuid);
        // An agent that is told where it stopped needs no message that it has, nor what was told of a stop before.
        let is_told = self.interruption.is_some();
        let is_of_us = |text: &str| text == CONTINUE || text.starts_with(interruption::HEAD);
        if is_folded_in || (is_told && self.entries.contains(&input.uuid)) {
            InputState::Completed
        } else if is_told && input.text.as_deref().is_some_and(is_of_us) {
            InputState::Cancelled
        } else {
            InputState::Sent
        }
    }
}

fn sent(uuid: Uuid, text: String) -> Entry {
    Entry::Input(Input {
        uuid,
        state: InputState::Sent,
        text: Some(text),
    })
}

/// What becomes of a message whose text is in the journal.
fn known(input: Input, state: InputState) -> Entry {
    let (uuid, text) = (input.uuid, None);
    Entry::Input(Input { uuid, state, text })
}

/// Whether a message says nothing that a digest does not say.
fn is_told_by_digest(text: &str, task: &str) -> bool {
    let is_of_us = text == CONTINUE || text.starts_with(interruption::HEAD);
    interruption::without_note(text) == task || is_of_us || text.starts_with(digest::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::samples::created;
    use jiff::Timestamp;

    const FRESH: Uuid = Uuid::from_u128(99);

    fn summary(pending: &[(u128, &str)]) -> Summary {
        let mut summary = Summary::new(SessionId::new(), &created("do it"), Timestamp::UNIX_EPOCH);
        summary.inputs = pending
            .iter()
            .map(|(n, text)| Input {
                uuid: Uuid::from_u128(*n),
                state: InputState::Queued,
                text: Some((*text).into()),
            })
            .collect();
        summary
    }

    /// Number and text of each message that is sent; a text that the journal has is taken from there.
    fn told(summary: &Summary, entries: &[Entry]) -> Vec<(u128, String)> {
        let text_of = |input: &Input| {
            let known = summary.pending().find(|known| known.uuid == input.uuid);
            let text = known.and_then(|known| known.text.clone());
            assert!(
                text.is_none() || input.text.is_none(),
                "its text stands twice: {input:?}"
            );
            input.text.clone().or(text).unwrap_or_default()
        };
        let sent = entries.iter().filter_map(|entry| match entry {
            Entry::Input(input) if input.state == InputState::Sent => Some((input.uuid.as_u128(), text_of(input))),
            _ => None,
        });
        sent.collect()
    }

    #[test]
    fn the_task_is_told_first_and_once() {
        let mut summary = summary(&[(1, "and this")]);
        let groundwork = Groundwork::default();
        let first = told(&summary, &opening("do it", &summary, &groundwork, FRESH));
        assert_eq!(first, [(99, "do it".into()), (1, "and this".into())]);
        summary.is_told = true;
        assert_eq!(
            told(&summary, &opening("do it", &summary, &groundwork, FRESH)),
            [(1, "and this".into())]
        );
        summary.inputs.clear();
        assert_eq!(
            told(&summary, &opening("do it", &summary, &groundwork, FRESH)),
            [(99, CONTINUE.into())]
        );
    }

    #[test]
    fn a_message_that_was_folded_in_is_not_sent_again() {
        let mut summary = summary(&[(1, "do it"), (2, "and this")]);
        summary.is_told = true;
        let groundwork = Groundwork {
            folded_in: [Uuid::from_u128(2)].into(),
            ..Groundwork::default()
        };
        let entries = opening("do it", &summary, &groundwork, FRESH);
        assert_eq!(told(&summary, &entries), [(1, "do it".into())]);
        let done = Input {
            uuid: Uuid::from_u128(2),
            state: InputState::Completed,
            text: None,
        };
        assert_eq!(entries[1], Entry::Input(done));
    }

    #[test]
    fn an_agent_that_is_told_where_it_stopped_gets_no_message_twice() {
        let earlier = Interruption::default().tell();
        let mut summary = summary(&[(1, "do it"), (2, &earlier), (3, CONTINUE), (4, "and this")]);
        summary.is_told = true;
        let groundwork = Groundwork {
            entries: [Uuid::from_u128(1)].into(),
            interruption: Some(Interruption::default()),
            ..Groundwork::default()
        };
        let entries = opening("do it", &summary, &groundwork, FRESH);
        assert_eq!(told(&summary, &entries), [(99, earlier), (4, "and this".into())]);
        let states = entries.iter().filter_map(|entry| match entry {
            Entry::Input(input) => Some(input.state),
            _ => None,
        });
        let states: Vec<_> = states.collect();
        use InputState::{Cancelled, Completed, Sent};
        assert_eq!(states, [Sent, Completed, Cancelled, Cancelled, Sent]);
    }

    #[test]
    fn what_the_agent_has_of_a_turn_that_was_cut_is_sent_again() {
        let mut summary = summary(&[(2, "and this")]);
        summary.is_told = true;
        summary.under_way = vec![Input {
            uuid: Uuid::from_u128(1),
            state: InputState::Completed,
            text: Some("do it".into()),
        }];
        let entries = opening("do it", &summary, &Groundwork::default(), FRESH);
        assert_eq!(
            told(&summary, &entries),
            [(1, "do it".into()), (2, "and this".into())],
            "and nobody is asked to continue"
        );
    }

    #[test]
    fn a_conversation_that_begins_again_is_told_the_task_and_what_was_done_as_one_message() {
        let mut summary = summary(&[(1, "do it"), (2, "and this")]);
        summary.is_told = true;
        let unkept = Interruption::of_unkept();
        let expected = unkept.tell_behind("do it");
        let groundwork = Groundwork {
            unkept: Some(unkept),
            ..Groundwork::default()
        };
        let entries = opening("do it", &summary, &groundwork, FRESH);
        assert_eq!(
            told(&summary, &entries),
            [(99, expected.clone()), (2, "and this".into())]
        );
        assert_eq!(
            entries[0],
            known(summary.inputs[0].clone(), InputState::Cancelled),
            "in the place of the one before"
        );
        // It dies once more: what was told of the first run gives way to what is told of both.
        entries
            .iter()
            .for_each(|entry| summary.apply(entry, Timestamp::UNIX_EPOCH));
        let again = opening("do it", &summary, &groundwork, Uuid::from_u128(100));
        assert_eq!(told(&summary, &again), [(100, expected), (2, "and this".into())]);
    }

    #[test]
    fn a_lost_conversation_begins_with_the_story_and_keeps_what_was_not_told() {
        let mut summary = summary(&[(1, "do it"), (2, CONTINUE), (3, "and this")]);
        (summary.is_told, summary.lost) = (true, Some("the file is gone".into()));
        let groundwork = Groundwork {
            story: Some(Digest::default()),
            ..Groundwork::default()
        };
        let entries = opening("do it", &summary, &groundwork, FRESH);
        assert!(matches!(&entries[0], Entry::ContextRebuilt(why) if why.why == "the file is gone"));
        let texts = entries.iter().filter_map(|entry| match entry {
            Entry::Input(input) => Some((input.uuid.as_u128(), input.text.clone().unwrap_or_default())),
            _ => None,
        });
        // What is told anew forgets what was told before, so that the texts stand there once more.
        let told: Vec<_> = texts.collect();
        assert_eq!(told.len(), 2);
        assert!(told[0].1.contains("do it"), "{told:?}");
        assert_eq!(told[1], (3, "and this".into()));
    }
}
