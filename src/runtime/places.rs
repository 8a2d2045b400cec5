//! The directories of a session: which ones they were when its request was accepted.

use std::io;
use std::path::Path;

use super::refusal::CallError;
use super::settings::RuntimeSettings;
use crate::agent::launch::{LaunchError, read_json};
use crate::agent_host::place::AcceptedDirectory;
use crate::disk::{create_private_dir, write_private};
use crate::session::id::SessionId;
use crate::session::request::Request;

/// The directories that a request names, as they are now: the working directory `cwd` first, then those that are added.
/// `check` is told each path, and where the directory is that was opened there.
pub(super) fn of(
    request: &Request,
    cwd: &Path,
    check: impl Fn(&Path, &Path) -> Result<(), CallError>,
) -> Result<Vec<AcceptedDirectory>, CallError> {
    let added = request.add_dirs.iter().map(|added| cwd.join(added));
    let each = std::iter::once(cwd.to_owned()).chain(added).map(|path| {
        let (place, found) = AcceptedDirectory::of(&path).map_err(|error| bad(&path, error.to_string()))?;
        check(&path, &found)?;
        Ok(place)
    });
    each.collect()
}

/// Keeps the directories of a session for all of its attempts.
pub(super) fn keep(settings: &RuntimeSettings, id: SessionId, places: &[AcceptedDirectory]) -> io::Result<()> {
    create_private_dir(&settings.session_directory(id))?;
    let json = serde_json::to_vec(places).map_err(io::Error::other)?;
    write_private(&settings.places_file(id), &json)
}

/// The directories that a session was accepted for; none of a session of an older version.
pub(super) fn kept(settings: &RuntimeSettings, id: SessionId) -> Result<Vec<AcceptedDirectory>, LaunchError> {
    Ok(read_json(settings.places_file(id))?.unwrap_or_default())
}

fn bad(path: &Path, why: String) -> CallError {
    CallError::BadDirectory {
        path: path.display().to_string(),
        why,
    }
}
