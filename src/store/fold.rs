//! The fold of a stream's records into its row, for those who read it back from the disk.
//!
//! A stream is of the kind that its first record begins. Sessions are the only kind. A stream of another kind has entries, a
//! row and a fold of its own; records are the same for all kinds, and only who folds them asks what they say.

use super::StoredRecord;
use crate::session::id::Seq;
use crate::session::journal::Entry;
use crate::session::summary::Summary;

/// Folds a record into the row, which the first record of a stream makes. Errors if the record cannot be read, or if no
/// stream begins like this; then the row is as it was.
pub(super) fn fold_in(row: &mut Option<Summary>, record: &StoredRecord) -> Result<(), String> {
    let entry = record.entry().map_err(ToString::to_string)?;
    let row = match (row, entry) {
        (Some(row), _) => row,
        (row @ None, Entry::SessionCreated(created)) if record.seq == Seq(1) => {
            row.insert(Summary::new(record.session_id, created, record.at))
        }
        (None, _) => return Err("a journal does not begin like this".into()),
    };
    row.apply(entry, record.at);
    Ok(())
}
