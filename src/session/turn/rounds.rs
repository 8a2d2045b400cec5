//! The model's rounds since the last result, which counts those before it.

use serde::{Deserialize, Serialize};

/// Number of rounds, and the message of the latest one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rounds {
    #[serde(default)]
    rounds: u32,
    #[serde(default)]
    round: Option<String>,
}

impl Rounds {
    /// Counts a message of the agent itself. Several blocks of one message are one round.
    pub(super) fn note(&mut self, message_id: &str, parent: Option<&str>) {
        if parent.is_none() && self.round.as_deref() != Some(message_id) {
            self.round = Some(message_id.to_owned());
            self.rounds = self.rounds.saturating_add(1);
        }
    }

    /// Takes the latest round back if this message was its own, and was cut off.
    pub(super) fn take_back(&mut self, message_id: &str) {
        if self.round.as_deref() == Some(message_id) {
            self.round = None;
            self.rounds = self.rounds.saturating_sub(1);
        }
    }

    pub(super) fn count(&self) -> u32 {
        self.rounds
    }
}
