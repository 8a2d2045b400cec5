//! The promises that hold on every step of the walk, and at its end.

use serde_json::Value;

use super::world::World;
use crate::agent_host::protocol::{AgentExit, FromHost, ToHost, WINDOW_BYTES};
use crate::attempt::state::Talk;
use crate::attempt::{AttemptReport, Command};
use crate::session::journal::{AttemptEnd, Entry};
use crate::session::message::Message;
use crate::session::outcome::Ending;

impl World {
    /// Holds a command against the promises.
    pub(super) fn check(&mut self, command: &Command) {
        assert!(
            self.end.is_none() || matches!(command, Command::Arm(..) | Command::Leave | Command::Log(_)),
            "nothing happens after the end is told but {command:?}: {}",
            self.story()
        );
        match command {
            Command::Tell(ToHost::Write { id, line }) => self.check_line(*id, line),
            Command::Tell(ToHost::Window { through }) => self.check_window(*through, self.is_waiting_for_disk()),
            Command::Read { from, through } => {
                assert_eq!(
                    *from,
                    self.position,
                    "it is read on where it was read to: {}",
                    self.story()
                );
                self.check_window(*through, false);
            }
            Command::Show { head, delta } => self.check_partial_text(head.0, &delta.message_id),
            Command::Report(AttemptReport::Over(end)) => self.check_over(end),
            _ => {}
        }
    }

    /// Nothing is told to an agent that is not on disk, and nothing twice on one link.
    fn check_line(&mut self, id: u64, line: &str) {
        let story = self.story();
        assert!(
            !self.knows_of_exit,
            "nothing is told to an agent that has ended: {story}"
        );
        assert!(self.write_ids.insert(id), "each write has a number of its own: {story}");
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let told = match line["type"].as_str() {
            Some("user") => {
                let uuid = line["uuid"].as_str().unwrap_or_default();
                let is_it = |entry: &Entry| matches!(entry, Entry::Input(input) if input.uuid.to_string() == uuid);
                assert!(
                    self.entries.iter().any(is_it),
                    "a message is on disk before it is told: {story}"
                );
                uuid.to_owned()
            }
            Some("control_response") => {
                let answered = self.entries.iter().find_map(|entry| match entry {
                    Entry::QuestionAnswered(answered) => Some(answered.question_id),
                    _ => None,
                });
                let answered = answered.unwrap_or_else(|| panic!("an answer is on disk before it is told: {story}"));
                self.answers_told.insert(answered);
                self.tellings += 1;
                format!("answer {}", answered.0)
            }
            Some(_) | None => return,
        };
        let host = self.host.as_mut().expect("there is a link");
        let is_in_file = line.to_string().contains("stands in the file");
        assert!(
            is_in_file || host.told.insert(told),
            "nothing is told twice on one link: {story}"
        );
    }

    fn is_waiting_for_disk(&self) -> bool {
        !self.queue.is_empty() || !self.acknowledgements.is_empty()
    }

    /// The host sends no more than a window beyond what is on disk, or was read where nothing waits for the disk.
    fn check_window(&self, through: u64, is_waiting: bool) {
        let base = if is_waiting {
            self.heard.through_offset
        } else {
            self.position
        };
        assert!(
            through <= base + WINDOW_BYTES,
            "the window stays in its bound, {through} beyond {base}: {}",
            self.story()
        );
    }

    /// Partial text never overtakes the records of the lines before it.
    fn check_partial_text(&mut self, head: u64, message_id: &str) {
        assert!(
            head <= self.summary.head.0,
            "what is shown first is on disk: {}",
            self.story()
        );
        self.shown.insert(message_id.to_owned());
        let before = match message_id {
            "m1" => "TurnStarted",
            _ => "ToolResult",
        };
        assert!(
            self.said().iter().any(|said| said.starts_with(before)),
            "partial text waits for the records before it, {:?}: {}",
            self.said(),
            self.story()
        );
    }

    /// A line that the host has answered for is not under way any more.
    pub(super) fn check_answered(&self, message: &FromHost) {
        let (FromHost::Written { id } | FromHost::Refused { id, .. }) = message else {
            return;
        };
        let is_open = |talk: &Talk| talk.writing.contains_key(id);
        assert!(
            !self.attempt.state.talk().is_some_and(is_open),
            "each write is answered for once: {}",
            self.story()
        );
    }

    fn check_over(&self, end: &AttemptEnd) {
        assert!(
            end.exit.is_none() || !self.is_waiting_for_disk(),
            "the end is told when all is on disk: {}",
            self.story()
        );
        assert!(
            end.exit.is_none() || self.agent.exit.is_some(),
            "an end with an exit is told of a dead agent: {}",
            self.story()
        );
        assert!(
            !self.is_to_stop || end.ending == Ending::Stopped,
            "the first reason of an end stands: {end:?}: {}",
            self.story()
        );
        let written: Vec<_> = end.answers_written.iter().flatten().copied().collect();
        let is_delivered = self
            .entries
            .iter()
            .any(|entry| matches!(entry, Entry::QuestionDelivered(_)));
        assert!(
            is_delivered || self.answers_told.iter().all(|told| written.contains(told)),
            "every answer that the agent may have is told of: {end:?}: {}",
            self.story()
        );
        assert!(
            self.daemons > 1 || written.iter().all(|id| self.answers_told.contains(id)),
            "no answer is told of that the agent cannot have: {end:?}: {}",
            self.story()
        );
    }

    /// What the journal has of what the agent has said.
    pub(super) fn said(&self) -> Vec<String> {
        let said = self.entries.iter().filter_map(|entry| match entry {
            Entry::AgentMessage(said) => Some(match &said.message {
                Message::TurnEnded(_) => "TurnEnded".to_owned(),
                message => format!("{message:?}"),
            }),
            Entry::QuestionAsked(asked) => Some(format!("{asked:?}")),
            Entry::AgentUnknown(unknown) => Some(format!("{unknown:?}")),
            _ => None,
        });
        said.collect()
    }

    /// Holds the journal of a run that is over against that of one daemon whose agent went on to its end.
    pub(super) fn check_end(&self, one: &[String]) {
        let mut said = self.said();
        if self.agent.exit == Some(AgentExit::Signal { signal: 9 }) {
            // A line that it died over is written down as what it is.
            said.pop_if(|last| last.starts_with("UnknownLine"));
        }
        let end = self
            .end
            .as_ref()
            .unwrap_or_else(|| panic!("it leaves with its report: {}", self.story()));
        assert!(
            one.starts_with(&said),
            "the journal is that of one daemon: {said:#?} is not {one:#?}: {}",
            self.story()
        );
        assert!(
            end.ending != Ending::Finished || said == one,
            "what has finished is whole: {}",
            self.story()
        );
        let is_settled = |shown: &&String| {
            self.entries.iter().any(|entry| match entry {
                Entry::DraftDropped(dropped) => dropped.message_id == **shown,
                Entry::AgentMessage(said) => {
                    matches!(&said.message, Message::Text { message_id, .. } if message_id == *shown)
                }
                _ => false,
            })
        };
        assert!(
            end.exit.is_none() || self.shown.iter().all(|shown| is_settled(&shown)),
            "what was shown becomes whole or is revoked: {}",
            self.story()
        );
        let delivered = |entry: &&Entry| matches!(entry, Entry::QuestionDelivered(_));
        assert!(
            self.entries.iter().filter(delivered).count() <= 1,
            "an answer is journalled as delivered once: {}",
            self.story()
        );
    }
}
