//! One turn while it is played.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::frames::Spent;
use super::transcript::CutTurn;

/// A turn being played.
pub(super) struct Turn {
    pub(super) uuids: Vec<String>,
    /// The script's text, as the transcript keeps it.
    pub(super) script: String,
    pub(super) step: usize,
    /// What an earlier process left of the step it died in.
    pub(super) flooded: u64,
    pub(super) resets_at: Option<u64>,
    pub(super) resume_reason: Option<String>,
    /// The uuid under which the CLI announces a turn that it resumes by itself.
    pub(super) command: Option<String>,
    pub(super) started: Instant,
    /// Pause between deltas.
    pub(super) pace: Duration,
    pub(super) messages: u64,
    pub(super) text: String,
    pub(super) spent: Spent,
    pub(super) denials: Vec<Value>,
    pub(super) last_uuid: Option<String>,
    pub(super) stream_announced: bool,
    pub(super) message_announced: bool,
}

impl Turn {
    pub(super) fn new(uuids: Vec<String>, script: String) -> Self {
        Self {
            uuids,
            script,
            step: 0,
            flooded: 0,
            resets_at: None,
            resume_reason: None,
            command: None,
            started: Instant::now(),
            pace: Duration::ZERO,
            messages: 0,
            text: String::new(),
            spent: Spent::default(),
            denials: Vec::new(),
            last_uuid: None,
            stream_announced: false,
            message_announced: false,
        }
    }

    pub(super) fn going_on(cut: CutTurn) -> Self {
        let mut turn = Self::new(cut.uuids, cut.script);
        (turn.step, turn.flooded, turn.resets_at) = (cut.done, cut.flooded, cut.resets_at);
        turn
    }

    /// The first stream event and the first assistant frame say which messages they answer.
    pub(super) fn announce(&self, frame: &mut Value) {
        if let Some(last) = self.uuids.last() {
            frame["user_message_uuid"] = json!(last);
            frame["user_message_uuids"] = json!(self.uuids);
        }
        if let Some(reason) = &self.resume_reason {
            frame["resume_reason"] = json!(reason);
        }
    }
}
