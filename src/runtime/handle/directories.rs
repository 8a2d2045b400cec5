//! Where sessions may work. All faces pass here: whatever names a directory is held against the same settings.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::CallError;
use crate::session::request::Request;

/// The directory of a request without links and dots, where it and those it adds are there and allowed.
pub(super) fn resolve(allowed: &[PathBuf], request: &Request) -> Result<PathBuf, CallError> {
    if !allowed.is_empty() {
        for added in &request.add_dirs {
            resolve_one(allowed, added)?;
        }
    }
    resolve_one(allowed, &request.cwd)
}

/// A directory without links and dots, where it is there and allowed.
pub(super) fn resolve_one(allowed: &[PathBuf], given: &Path) -> Result<PathBuf, CallError> {
    let bad = |why: String| CallError::BadDirectory {
        path: given.display().to_string(),
        why,
    };
    let resolved = given.canonicalize();
    if !allowed.is_empty() {
        // Of what is outside nothing is told, not even whether it is there.
        let is_allowed = resolved.as_ref().is_ok_and(|path| is_within(allowed, path));
        if !is_allowed && (resolved.is_ok() || !breaks_off_within(allowed, given)) {
            return Err(not_allowed(allowed, given));
        }
    }
    let resolved = resolved.map_err(|error| bad(error.to_string()))?;
    if resolved.to_str().is_none() {
        return Err(bad(format!(
            "it leads to {}, whose name is no UTF-8 text",
            resolved.display()
        )));
    }
    if !resolved.is_dir() {
        return Err(bad("it is not a directory".to_owned()));
    }
    rustix::fs::access(&resolved, Access::EXEC_OK).map_err(|error| bad(format!("it cannot be entered: {error}")))?;
    Ok(resolved)
}

/// Checks where a directory is that was just opened at `path`, which was looked at before: something else may have its name
/// by now. `is_exact` if the path has no links.
pub(super) fn check_opened(allowed: &[PathBuf], path: &Path, is_exact: bool, found: &Path) -> Result<(), CallError> {
    if is_exact && path != found {
        return Err(CallError::BadDirectory {
            path: path.display().to_string(),
            why: "it has just been replaced: ask again".to_owned(),
        });
    }
    match allowed.is_empty() || is_within(allowed, found) {
        true => Ok(()),
        false => Err(not_allowed(allowed, path)),
    }
}

fn not_allowed(allowed: &[PathBuf], path: &Path) -> CallError {
    CallError::DirectoryNotAllowed {
        path: path.display().to_string(),
        allowed: listed(allowed),
    }
}

/// Whether a path without links is in or below an allowed directory, as that is now.
fn is_within(allowed: &[PathBuf], path: &Path) -> bool {
    allowed
        .iter()
        .filter_map(|dir| dir.canonicalize().ok())
        .any(|dir| path.starts_with(dir))
}

/// Whether a path that leads nowhere breaks off below an allowed directory.
fn breaks_off_within(allowed: &[PathBuf], path: &Path) -> bool {
    let there = path.ancestors().find_map(|above| above.canonicalize().ok());
    there.is_some_and(|above| is_within(allowed, &above))
}

fn listed(allowed: &[PathBuf]) -> String {
    let dirs: Vec<String> = allowed.iter().map(|dir| dir.display().to_string()).collect();
    dirs.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// `ok/in` is allowed; `out` is not; `ok/escape` leads to `out`, `entry` leads to `ok/in`.
    fn tree() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().canonicalize().unwrap();
        fs::create_dir_all(path.join("ok/in")).unwrap();
        fs::create_dir_all(path.join("out/secret")).unwrap();
        fs::create_dir_all(path.join("ok-not")).unwrap();
        fs::write(path.join("ok/file"), "").unwrap();
        symlink(path.join("out"), path.join("ok/escape")).unwrap();
        symlink(path.join("ok/in"), path.join("entry")).unwrap();
        (root, path)
    }

    fn outcome(allowed: &[PathBuf], path: &Path) -> String {
        match resolve_one(allowed, path) {
            Ok(found) => found.display().to_string(),
            Err(CallError::DirectoryNotAllowed { .. }) => "not allowed".to_owned(),
            Err(other) => other.to_string(),
        }
    }

    #[test]
    fn a_directory_is_held_against_where_it_leads() {
        let (_root, root) = tree();
        let allowed = [root.join("ok")];
        let inside = root.join("ok/in").display().to_string();
        for path in ["ok/in", "ok/./in", "ok/in/../in", "entry", "out/../ok/in"] {
            assert_eq!(outcome(&allowed, &root.join(path)), inside, "{path}");
        }
        assert_eq!(
            outcome(&allowed, &root.join("ok")),
            root.join("ok").display().to_string()
        );
        for path in [
            "out",
            "ok/escape",
            "ok/escape/secret",
            "ok/../out",
            "ok-not",
            "",
            "ok/in/../../out",
        ] {
            assert_eq!(outcome(&allowed, &root.join(path)), "not allowed", "{path}");
        }
        assert_eq!(outcome(&allowed, Path::new("/")), "not allowed");
    }

    #[test]
    fn nothing_is_told_of_what_is_outside() {
        let (_root, root) = tree();
        let allowed = [root.join("ok")];
        for path in [
            "out/missing",
            "ok/../out/missing",
            "ok/escape/missing",
            "missing/in",
            "missing",
        ] {
            assert_eq!(outcome(&allowed, &root.join(path)), "not allowed", "{path}");
        }
        assert!(outcome(&allowed, &root.join("ok/missing")).contains("missing"));
        assert!(outcome(&allowed, &root.join("ok/file")).contains("not a directory"));
    }

    #[test]
    fn the_directories_a_request_adds_are_held_against_the_same() {
        let (_root, root) = tree();
        let request = |added: &str| Request {
            cwd: root.join("ok/in"),
            add_dirs: vec![root.join(added)],
            ..Request::default()
        };
        let allowed = [root.join("ok")];
        assert!(resolve(&allowed, &request("ok")).is_ok());
        assert!(resolve(&allowed, &request("ok/escape")).is_err());
        assert!(
            resolve(&[], &request("missing")).is_ok(),
            "without bounds the agent sees for itself"
        );
    }

    #[test]
    fn what_was_opened_is_held_against_the_same() {
        let (_root, root) = tree();
        let allowed = [root.join("ok")];
        let (inside, outside) = (root.join("ok/in"), root.join("out"));
        for (bounds, is_exact, found, is_taken) in [
            (&allowed[..], true, &inside, true),
            (&allowed, false, &outside, false),
            (&[], false, &outside, true),
            (&[], true, &outside, false),
        ] {
            let checked = check_opened(bounds, &inside, is_exact, found);
            assert_eq!(checked.is_ok(), is_taken, "{bounds:?} {is_exact} {found:?}");
        }
    }

    #[test]
    fn an_allowed_directory_may_be_a_link_and_need_not_be_there() {
        let (_root, root) = tree();
        let link = [root.join("missing"), root.join("entry")];
        assert_eq!(
            outcome(&link, &root.join("ok/in")),
            root.join("ok/in").display().to_string()
        );
        assert_eq!(outcome(&link, &root.join("ok")), "not allowed");
        assert_eq!(outcome(&[root.join("missing")], &root.join("ok")), "not allowed");
    }
}
