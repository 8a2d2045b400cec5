//! The secrets of the marks of a session's attempts, in one file of the session with mode 0600. It is not among the
//! session's own files: whatever becomes of those, the agent's processes are still known.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::agent_host::Secret;
use crate::disk::{create_private_dir, regular, write_private};
use crate::session::id::Attempt;

/// The secret of an attempt, which is made if there is none. It is on disk when this returns.
pub fn keep(file: &Path, attempt: Attempt) -> io::Result<Secret> {
    let mut secrets = read(file)?;
    if let Some(secret) = secrets.get(&attempt.0) {
        return Ok(secret.clone());
    }
    let secret = Secret::random();
    secrets.insert(attempt.0, secret.clone());
    if let Some(directory) = file.parent() {
        create_private_dir(directory)?;
    }
    write_private(file, &serde_json::to_vec(&secrets).map_err(io::Error::other)?)?;
    Ok(secret)
}

/// The secret of an attempt; none of one that an older version has begun. Errors if that cannot be found out.
pub fn of(file: &Path, attempt: Attempt) -> io::Result<Option<Secret>> {
    Ok(read(file)?.remove(&attempt.0))
}

fn read(file: &Path) -> io::Result<BTreeMap<u32, Secret>> {
    match regular::if_there(regular::read(file))? {
        Some(json) => serde_json::from_slice(&json).map_err(io::Error::other),
        None => Ok(BTreeMap::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn each_attempt_has_a_secret_that_stays_and_nobody_else_can_read() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("marks/s.json");
        assert_eq!(of(&file, Attempt(1)).unwrap(), None);
        let first = keep(&file, Attempt(1)).unwrap();
        let second = keep(&file, Attempt(2)).unwrap();
        assert_ne!(first, second);
        assert_eq!(keep(&file, Attempt(1)).unwrap(), first);
        assert_eq!(of(&file, Attempt(2)).unwrap(), Some(second));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        std::fs::write(&file, "torn").unwrap();
        assert!(of(&file, Attempt(1)).is_err(), "what cannot be read is not absent");
    }
}
