//! Messages to the agent: those that it is not done with, and those whose turn is still to be ended.
//!
//! An agent that resumes a turn that was cut short says of its messages, sent again, that it is done with them, and
//! goes on with the turn. Should it die as well, its successor has to be sent them again: they stay known until the
//! turn has ended.

use uuid::Uuid;

use super::journal::Input;
use super::message::{InputState, TurnEnd};
use super::summary::Summary;

impl Summary {
    /// The message with this id, while the agent is not done with it.
    pub fn input(&self, uuid: Uuid) -> Option<&Input> {
        self.inputs.iter().find(|input| input.uuid == uuid)
    }

    /// The messages that a next agent has to be sent, in order, unless its conversation says otherwise.
    pub fn pending(&self) -> impl Iterator<Item = &Input> {
        self.under_way.iter().chain(&self.inputs)
    }

    /// Forgets every message: what has to be said is said anew.
    pub(super) fn forget_inputs(&mut self) {
        self.inputs.clear();
        self.under_way.clear();
    }

    pub(super) fn take_input(&mut self, input: &Input) {
        // Before an attempt a message only waits: the task goes first.
        if input.state == InputState::Sent && self.lifecycle.state.has_agent() {
            self.is_told = true;
            self.checks_project = false;
        }
        match input.state {
            InputState::Completed => self.complete(input.uuid),
            InputState::Cancelled => drop(self.remove(input.uuid)),
            // Sent again, it goes behind what was sent since: a message that waited for its session follows the task.
            InputState::Sent => {
                let again = self.remove(input.uuid);
                let text = again.and_then(|again| again.text).or_else(|| input.text.clone());
                self.inputs.push(Input { text, ..input.clone() });
            }
            InputState::Queued | InputState::Started => {
                match self.inputs.iter_mut().find(|known| known.uuid == input.uuid) {
                    Some(known) => known.state = input.state,
                    None => self.inputs.push(input.clone()),
                }
            }
        }
    }

    /// The turns before this end are over, and what began them is done with.
    pub(super) fn end_turn_of_inputs(&mut self, end: &TurnEnd) {
        if end.is_of_turn() && !end.synthetic {
            self.under_way.clear();
        }
    }

    fn complete(&mut self, uuid: Uuid) {
        let Some(place) = self.inputs.iter().position(|input| input.uuid == uuid) else {
            return;
        };
        let done = self.inputs.remove(place);
        if !self.work.has_answered(uuid) {
            let state = InputState::Completed;
            self.under_way.push(Input { state, ..done });
        }
    }

    fn remove(&mut self, uuid: Uuid) -> Option<Input> {
        let take = |inputs: &mut Vec<Input>| {
            let place = inputs.iter().position(|input| input.uuid == uuid)?;
            Some(inputs.remove(place))
        };
        take(&mut self.inputs).or_else(|| take(&mut self.under_way))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::id::SessionId;
    use crate::session::journal::Entry;
    use crate::session::samples::{attempt_started, created, input, said, turn_ended};
    use jiff::Timestamp;

    const TASK: u128 = 1;

    fn summary() -> Summary {
        Summary::new(SessionId::new(), &created("tidy up"), Timestamp::UNIX_EPOCH)
    }

    impl Summary {
        fn takes(&mut self, entry: &Entry) {
            self.apply(entry, Timestamp::UNIX_EPOCH);
        }

        fn takes_input(&mut self, n: u128, state: InputState, text: Option<&str>) {
            self.takes(&input(Uuid::from_u128(n), state, text));
        }

        fn begins(&mut self, attempt: u32) {
            self.takes(&attempt_started(attempt));
        }

        fn ends_turn(&mut self, end: TurnEnd) {
            self.takes(&said(turn_ended(end)));
        }

        fn texts(&self) -> Vec<&str> {
            self.pending().filter_map(|input| input.text.as_deref()).collect()
        }
    }

    fn answering(n: u128) -> TurnEnd {
        TurnEnd {
            answers: vec![Uuid::from_u128(n)],
            ..TurnEnd::default()
        }
    }

    #[test]
    fn a_message_is_remembered_until_its_turn_has_ended_and_the_agent_is_done_with_it() {
        let mut summary = summary();
        summary.takes_input(TASK, InputState::Sent, Some("hello"));
        summary.takes_input(TASK, InputState::Started, None);
        let kept = summary.input(Uuid::from_u128(TASK)).unwrap();
        assert_eq!((kept.state, kept.text.as_deref()), (InputState::Started, Some("hello")));
        summary.ends_turn(answering(TASK));
        assert_eq!(summary.texts(), ["hello"]);
        summary.takes_input(TASK, InputState::Completed, None);
        assert_eq!(summary.pending().count(), 0);
    }

    #[test]
    fn a_message_that_waited_is_told_behind_the_task() {
        let mut summary = summary();
        summary.takes_input(1, InputState::Sent, Some("and mind the tests"));
        summary.takes_input(2, InputState::Sent, Some("tidy up"));
        summary.takes_input(1, InputState::Sent, None);
        assert_eq!(summary.texts(), ["tidy up", "and mind the tests"]);
    }

    #[test]
    fn a_turn_that_is_cut_again_and_again_keeps_its_message() {
        let mut summary = summary();
        summary.begins(1);
        summary.takes_input(TASK, InputState::Sent, Some("hello"));
        for attempt in 2..5 {
            summary.begins(attempt);
            summary.takes_input(TASK, InputState::Sent, None);
            assert!(summary.input(Uuid::from_u128(TASK)).is_some(), "its text is at hand");
            // A resumed agent has it already, and goes on.
            summary.takes_input(TASK, InputState::Completed, None);
            assert!(summary.input(Uuid::from_u128(TASK)).is_none(), "it is not sent twice");
            assert_eq!(summary.texts(), ["hello"]);
        }
        let notice = TurnEnd {
            synthetic: true,
            ..TurnEnd::default()
        };
        let refusal = TurnEnd {
            is_error: true,
            ..TurnEnd::default()
        };
        summary.ends_turn(notice);
        summary.ends_turn(refusal);
        assert_eq!(summary.texts(), ["hello"], "neither is the end of its turn");
        summary.ends_turn(answering(TASK));
        assert_eq!(summary.pending().count(), 0);
    }

    #[test]
    fn a_message_that_is_cancelled_is_forgotten_wherever_it_stands() {
        let mut summary = summary();
        summary.takes_input(1, InputState::Sent, Some("one"));
        summary.takes_input(2, InputState::Sent, Some("two"));
        summary.takes_input(1, InputState::Completed, None);
        summary.takes_input(1, InputState::Cancelled, None);
        summary.takes_input(2, InputState::Cancelled, None);
        assert_eq!(summary.pending().count(), 0);
    }
}
