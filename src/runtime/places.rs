//! The directories of a session: which ones they were when its request was accepted.

use std::io;
use std::path::{Path, PathBuf};

use super::handle::CallError;
use super::settings::RuntimeSettings;
use crate::agent::launch::{LaunchError, private_directory, read_json, write_private};
use crate::agent_host::place::Place;
use crate::session::id::SessionId;
use crate::session::request::Request;

/// The directories that a request names, as they are now: the working directory first, which stands without links in
/// `cwd`, then those that are added.
pub(super) fn of(request: &Request, cwd: &Path) -> Result<Vec<Place>, CallError> {
    let working = place(cwd)?;
    // Whoever asked was told that he may work in this path: it must not have become a link to another meanwhile.
    if cwd.canonicalize().ok().as_deref() != Some(cwd) {
        return Err(replaced(cwd));
    }
    let added = request.add_dirs.iter().map(|added| place(&cwd.join(added)));
    std::iter::once(Ok(working)).chain(added).collect()
}

/// Keeps the directories of a session for all of its attempts.
pub(super) fn keep(settings: &RuntimeSettings, id: SessionId, places: &[Place]) -> io::Result<()> {
    private_directory(&settings.session_directory(id))?;
    let json = serde_json::to_vec(places).map_err(io::Error::other)?;
    write_private(&settings.places_file(id), &json)
}

/// The directories that a session was accepted for; none of a session of an older version.
pub(super) fn kept(settings: &RuntimeSettings, id: SessionId) -> Result<Vec<Place>, LaunchError> {
    Ok(read_json(settings.places_file(id))?.unwrap_or_default())
}

fn place(path: &Path) -> Result<Place, CallError> {
    Place::of(path).map_err(|error| bad(path, error.to_string()))
}

fn replaced(path: &Path) -> CallError {
    bad(path, "it has just been replaced: ask again".to_owned())
}

fn bad(path: &Path, why: String) -> CallError {
    CallError::BadDirectory {
        path: PathBuf::from(path).display().to_string(),
        why,
    }
}
