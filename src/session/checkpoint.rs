//! Checkpoints: records from which a new attempt can start.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::message::Usage;

/// What a new attempt needs to know about the one before; journalled as `checkpoint`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = CheckpointData)]
pub struct Checkpoint {
    /// The agent's own session id.
    pub agent_session_id: Uuid,
    /// The agent's id of the last message before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Uuid>,
    /// The spool offset after that message, in bytes.
    pub offset: u64,
    /// Model rounds so far, those of a turn that has not ended among them.
    pub turns: u32,
    /// What has been used so far.
    pub usage: Usage,
    /// How many questions were open.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub questions_open: u32,
    /// The directory's git commit, where it is a repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitState>,
}

/// Where a git working tree stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Git)]
pub struct GitState {
    /// The commit that is checked out.
    pub commit: String,
    /// Whether tracked files differed from it.
    pub dirty: bool,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}
