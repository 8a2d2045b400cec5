//! Whether a store can write at this moment. Known from memory, since a store that cannot write cannot write that down.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;

use super::StoreError;
use crate::session::id::SessionId;

/// How much has to be free on a disk that was full before it no longer counts as full, in bytes. Half of it is taken at
/// once, as the ballast that is given up when the disk fills up.
pub const ROOM_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Whether a store can write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// It can.
    #[default]
    Good,
    /// The disk is full. That passes.
    Full(Shortage),
    /// It failed, for good.
    Failed(StoreError),
}

/// A full disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// Where there is no room.
    pub directory: PathBuf,
    /// Since when.
    pub since: Timestamp,
    /// Sessions that have something to write that waits; of one that has passed, all that had.
    pub waiting: BTreeSet<SessionId>,
}

impl Health {
    /// Why nothing new is admitted, while nothing is.
    pub fn refusal(&self) -> Option<StoreError> {
        match self {
            Self::Good => None,
            Self::Full(shortage) => Some(shortage.refusal()),
            Self::Failed(error) => Some(error.clone()),
        }
    }

    /// The full disk for which something of this session waits.
    pub fn holds_up(&self, session_id: SessionId) -> Option<&Shortage> {
        match self {
            Self::Full(shortage) if shortage.waiting.contains(&session_id) => Some(shortage),
            Self::Good | Self::Full(_) | Self::Failed(_) => None,
        }
    }
}

impl Shortage {
    /// What is said to those who want something written.
    pub fn refusal(&self) -> StoreError {
        StoreError::DiskFull {
            directory: self.directory.clone(),
        }
    }
}
