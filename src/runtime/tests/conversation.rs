//! What a simulated agent keeps of its conversation.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

/// What is kept of a conversation when its agent dies.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    pub(super) seen: BTreeSet<Uuid>,
    /// The messages of the turn that is not over.
    pub(super) turn: Vec<Uuid>,
    /// How many lines were said in it.
    pub(super) lines: u32,
    /// What its agents have done that they do once only.
    pub(super) deeds: BTreeSet<String>,
    /// What it was told last.
    pub(super) told: String,
    /// How often they were told something.
    pub(super) heard: u32,
    /// How often their connection was initialized.
    pub(super) initialized: u32,
    /// A time that they keep in mind.
    pub(super) remembered: Timestamp,
}

/// Writes one of our messages into the conversation's file, which is there from the first one on.
pub(super) fn note(transcript: &Path, input: Uuid) {
    let mut file = OpenOptions::new();
    let mut file = file
        .create(true)
        .append(true)
        .open(transcript)
        .expect("the transcript can be written");
    writeln!(file, "{}", json!({"type": "user", "uuid": input})).expect("the transcript can be written");
}
