//! What an agent is told first in an attempt: the task, what it may have missed, or the request to go on.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::digest::Digest;
use super::interruption::Interruption;
use super::journal::{Entry, Input, Why};
use super::message::InputState;
use super::summary::Summary;
use super::words::{CONTINUE, is_told_by_us, own_words, with_later};

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

/// Returns true if an agent that resumes the conversation may go on by itself with the turn in it that was cut short.
///
/// A turn was cut if the agent was not done with a message that stands in the conversation. If one of a person's messages
/// is not there yet, or if a person has ended the turn, nothing of that turn may run first.
pub fn goes_on(summary: &Summary, groundwork: &Groundwork) -> bool {
    let mut was_cut = false;
    for input in summary.pending() {
        if groundwork.knows(input) {
            was_cut = true;
        } else if words_of(input).is_some() {
            return false;
        }
    }
    was_cut && summary.work.ended_by_person().is_none()
}

/// What is written down before anything is written to the agent of an attempt: each message that it gets, in order.
/// The first message that is new goes by the id `fresh`; the text of one that is known stands in its first record.
///
/// All that the agent has to know before it begins goes into one message, since it begins with the first one it reads.
pub fn opening(task: &str, summary: &Summary, groundwork: &Groundwork, fresh: Uuid) -> Vec<Entry> {
    let pending: Vec<&Input> = summary.pending().collect();
    let story = summary.lost.as_ref().zip(groundwork.story.as_ref());
    let mut entries = Vec::new();
    if let Some((why, _)) = story {
        entries.push(Entry::ContextRebuilt(Why { why: why.clone() }));
    }
    let unread = pending.iter().filter_map(|input| {
        let words = words_of(input)?;
        let is_known = match story {
            Some(_) => words == task,
            None => groundwork.knows(input),
        };
        (!is_known).then_some((input.uuid, words))
    });
    let unread: Vec<_> = unread.collect();
    let first = groundwork.first_message(task, summary, &unread);
    let first = match summary.timers.tell(story.is_some()) {
        Some(note) => Some(before(
            &note,
            first.or_else(|| unread.first().map(|(_, words)| (*words).to_owned())),
        )),
        None => first,
    };
    for input in &pending {
        let is_unread = unread.iter().any(|(uuid, _)| *uuid == input.uuid);
        let state = match groundwork.state_of(input, !unread.is_empty()) {
            InputState::Sent if is_unread && first.is_some() => InputState::Cancelled,
            state => state,
        };
        // The first records of all messages are forgotten with the conversation.
        if story.is_none() {
            entries.push(known(input, state));
        }
    }
    entries.extend(first.map(|text| sent(fresh, text)));
    let is_sent = |entry: &Entry| matches!(entry, Entry::Input(input) if input.state == InputState::Sent);
    if !entries.iter().any(is_sent) {
        entries.push(sent(fresh, CONTINUE.to_owned()));
    }
    entries
}

impl Groundwork {
    /// Returns true if the conversation is known to hold this message.
    fn knows(&self, input: &Input) -> bool {
        let is_done_with = input.state == InputState::Completed;
        is_done_with || self.entries.contains(&input.uuid) || self.folded_in.contains(&input.uuid)
    }

    /// The one message that the agent gets first, unless a message that the journal has is all there is to tell.
    /// `unread` are a person's messages that the conversation does not have.
    fn first_message(&self, task: &str, summary: &Summary, unread: &[(Uuid, &str)]) -> Option<String> {
        let words = || unread.iter().map(|(_, words)| *words);
        let behind = |before: String| words().fold(before, |told, words| with_later(&told, words));
        let together = || {
            words()
                .map(str::to_owned)
                .reduce(|told, words| with_later(&told, &words))
        };
        if let (Some(why), Some(story)) = (&summary.lost, &self.story) {
            Some(behind(story.tell(task, why)))
        } else if !summary.is_told {
            Some(behind(task.to_owned()))
        } else if let Some(unkept) = &self.unkept {
            Some(unkept.tell_behind(together().as_deref().unwrap_or(task)))
        } else if let Some(interruption) = &self.interruption {
            let later = together();
            Some(later.map_or_else(|| interruption.tell(), |later| interruption.tell_before(&later)))
        } else {
            together().filter(|_| unread.len() > 1)
        }
    }

    /// What becomes of a message that the last agent was not known to be done with. `is_new` says that the agent is told
    /// something that a person wrote and that it has not had.
    fn state_of(&self, input: &Input, is_new: bool) -> InputState {
        let is_folded_in = self.folded_in.contains(&input.uuid);
        // An agent that is told something new needs no message that it has, nor what was told of a stop before.
        let is_told = is_new || self.interruption.is_some() || self.unkept.is_some();
        if is_folded_in || (is_told && self.knows(input)) {
            InputState::Completed
        } else if is_told && words_of(input).is_none() {
            InputState::Cancelled
        } else {
            InputState::Sent
        }
    }
}

/// What a person wrote of a message.
fn words_of(input: &Input) -> Option<&str> {
    own_words(input.text.as_deref()?)
}

/// What is told about timers, before the rest of the first message.
fn before(note: &str, rest: Option<String>) -> String {
    match rest {
        Some(rest) if is_told_by_us(&rest) => format!("{note}\n\n{rest}"),
        Some(rest) => with_later(note, &rest),
        None => note.to_owned(),
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
fn known(input: &Input, state: InputState) -> Entry {
    let (uuid, text) = (input.uuid, None);
    Entry::Input(Input { uuid, state, text })
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
        let both = with_later("do it", "and this");
        assert_eq!(first, [(99, both)], "as one message, so that no turn begins in between");
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
        let interruption = Interruption::default();
        let earlier = interruption.tell();
        let mut summary = summary(&[(1, "do it"), (2, &earlier), (3, CONTINUE), (4, "and this")]);
        summary.is_told = true;
        let groundwork = Groundwork {
            entries: [Uuid::from_u128(1)].into(),
            interruption: Some(interruption.clone()),
            ..Groundwork::default()
        };
        let entries = opening("do it", &summary, &groundwork, FRESH);
        assert_eq!(told(&summary, &entries), [(99, interruption.tell_before("and this"))]);
        let states = entries.iter().filter_map(|entry| match entry {
            Entry::Input(input) => Some(input.state),
            _ => None,
        });
        let states: Vec<_> = states.collect();
        use InputState::{Cancelled, Completed, Sent};
        assert_eq!(states, [Completed, Cancelled, Cancelled, Cancelled, Sent]);
        // It dies once more before it has that: the person's words are told with what is known then.
        let fresh = Uuid::from_u128(100);
        entries
            .iter()
            .for_each(|entry| summary.apply(entry, Timestamp::UNIX_EPOCH));
        let again = opening("do it", &summary, &groundwork, fresh);
        assert_eq!(told(&summary, &again), [(100, interruption.tell_before("and this"))]);
    }

    /// A session whose agent had begun with "do it" when it was cut, and what the next one gets, if that goes on by
    /// itself.
    fn cut_turn(inputs: &[(u128, &str)], groundwork: &Groundwork) -> (bool, Vec<(u128, String)>) {
        let mut summary = summary(inputs);
        summary.is_told = true;
        summary.under_way = vec![Input {
            uuid: Uuid::from_u128(1),
            state: InputState::Completed,
            text: Some("do it".into()),
        }];
        let entries = opening("do it", &summary, groundwork, FRESH);
        (goes_on(&summary, groundwork), told(&summary, &entries))
    }

    #[test]
    fn a_turn_that_was_cut_goes_on_and_what_the_agent_has_of_it_is_sent_again() {
        let (goes_on, told) = cut_turn(&[], &Groundwork::default());
        assert!(goes_on);
        assert_eq!(told, [(1, "do it".into())], "and nobody is asked to continue");
    }

    #[test]
    fn an_instruction_that_the_agent_does_not_have_comes_before_the_turn_that_was_cut() {
        let instruction = [(2, "stop that"), (3, CONTINUE)];
        let (goes_on, told) = cut_turn(&instruction, &Groundwork::default());
        assert!(!goes_on, "nothing of that turn runs before the instruction");
        assert_eq!(told, [(2, "stop that".into())]);
        let has_it = Groundwork {
            entries: [Uuid::from_u128(2)].into(),
            ..Groundwork::default()
        };
        let (goes_on, told) = cut_turn(&instruction, &has_it);
        assert!(goes_on, "the turn that was cut then is that of the instruction");
        assert_eq!(told.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn an_instruction_that_never_arrived_holds_over_every_further_restart() {
        let mut summary = summary(&[(1, "do it"), (2, "and this"), (3, "stop that")]);
        summary.is_told = true;
        let has_task = Groundwork {
            entries: [Uuid::from_u128(1)].into(),
            ..Groundwork::default()
        };
        let both = with_later("and this", "stop that");
        for n in [99, 100, 101] {
            assert!(!goes_on(&summary, &has_task));
            let entries = opening("do it", &summary, &has_task, Uuid::from_u128(n));
            assert_eq!(told(&summary, &entries), [(99, both.clone())], "restart {n}");
            entries
                .iter()
                .for_each(|entry| summary.apply(entry, Timestamp::UNIX_EPOCH));
        }
        summary.apply(
            &known(&summary.inputs[0].clone(), InputState::Started),
            Timestamp::UNIX_EPOCH,
        );
        assert!(
            !goes_on(&summary, &has_task),
            "a message that was begun may not be kept"
        );
        summary.apply(
            &known(&summary.inputs[0].clone(), InputState::Completed),
            Timestamp::UNIX_EPOCH,
        );
        assert!(goes_on(&summary, &has_task));
    }

    #[test]
    fn nothing_goes_on_where_nothing_was_cut_or_a_person_has_ended_the_turn() {
        let mut summary = summary(&[]);
        summary.is_told = true;
        let nothing = Groundwork::default();
        assert!(!goes_on(&summary, &nothing));
        summary.under_way = vec![Input {
            uuid: Uuid::from_u128(1),
            state: InputState::Completed,
            text: Some("do it".into()),
        }];
        assert!(goes_on(&summary, &nothing));
        summary.work.take(&crate::session::samples::denied(true));
        assert!(!goes_on(&summary, &nothing));
    }

    #[test]
    fn a_conversation_that_begins_again_is_told_the_task_and_what_was_done_as_one_message() {
        let mut summary = summary(&[(1, "do it"), (2, "and this")]);
        summary.is_told = true;
        let unkept = Interruption::of_unkept();
        let expected = unkept.tell_behind(&with_later("do it", "and this"));
        let groundwork = Groundwork {
            unkept: Some(unkept),
            ..Groundwork::default()
        };
        let entries = opening("do it", &summary, &groundwork, FRESH);
        assert_eq!(told(&summary, &entries), [(99, expected.clone())]);
        assert_eq!(
            entries[0],
            known(&summary.inputs[0], InputState::Cancelled),
            "in the place of the one before"
        );
        // It dies once more: what was told of the first run gives way to what is told of both.
        entries
            .iter()
            .for_each(|entry| summary.apply(entry, Timestamp::UNIX_EPOCH));
        let again = opening("do it", &summary, &groundwork, Uuid::from_u128(100));
        assert_eq!(told(&summary, &again), [(100, expected)]);
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
        let told: Vec<_> = texts.collect();
        let [(99, text)] = &told[..] else { panic!("{told:?}") };
        assert!(text.contains("do it") && text.ends_with("\n\nand this"), "{told:?}");
        // It is lost once more before it has that.
        entries
            .iter()
            .for_each(|entry| summary.apply(entry, Timestamp::UNIX_EPOCH));
        summary.lost = Some("the file is gone".into());
        let again = opening("do it", &summary, &groundwork, Uuid::from_u128(100));
        let Some(Entry::Input(again)) = again.last() else {
            panic!("{again:?}")
        };
        assert_eq!(again.text.as_ref(), Some(text), "the instruction is not lost with it");
    }
}
