//! The agent's program: on the search path of the agent's own environment, otherwise on the daemon's.
//!
//! A caller such as cron has a short `PATH` that does not lead to the program, while the daemon's often does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The search path of a process that has no `PATH`.
const USUAL_SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Where the program is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// The system finds it by its name or path.
    AsNamed,
    /// Only the daemon's search path has it.
    OfDaemon {
        /// The whole path of the program.
        path: PathBuf,
        /// The agent's search path with the daemon's behind it: the program may be a script whose interpreter is there.
        search_path: OsString,
    },
}

/// Looks for a program. One that is nowhere stays as it is named, and the system refuses to start it.
pub(super) fn find(program: &str, env: &BTreeMap<String, String>, cwd: &Path, of_daemon: Option<OsString>) -> Program {
    let is_there = |path: &Path| path.is_file() && access(path, Access::EXEC_OK).is_ok();
    let own = own_search_path(env);
    if program.contains('/') || std::env::split_paths(&own).any(|dir| is_there(&cwd.join(dir).join(program))) {
        return Program::AsNamed;
    }
    let of_daemon = of_daemon.unwrap_or_default();
    let whole = std::env::split_paths(&of_daemon).filter(|dir| dir.is_absolute());
    let Some(path) = whole.map(|dir| dir.join(program)).find(|path| is_there(path)) else {
        return Program::AsNamed;
    };
    let mut search_path = OsString::from(own);
    search_path.push(":");
    search_path.push(&of_daemon);
    Program::OfDaemon { path, search_path }
}

/// The error for a program that is on neither search path.
pub(super) fn missing(program: &str, env: &BTreeMap<String, String>, of_daemon: Option<OsString>) -> String {
    let (own, of_daemon) = (own_search_path(env), of_daemon.unwrap_or_default());
    format!(
        "cannot start {program}: it is neither on the caller's PATH ({own}) nor on the daemon's ({}); install it, or set \
         agent.command to its path",
        of_daemon.display()
    )
}

fn own_search_path(env: &BTreeMap<String, String>) -> &str {
    env.get("PATH").map_or(USUAL_SEARCH_PATH, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn folder_with(name: &str, mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn env(path: &Path) -> BTreeMap<String, String> {
        [("PATH".to_owned(), path.display().to_string())].into()
    }

    #[test]
    fn the_callers_own_program_is_taken_before_the_daemons() {
        let (own, daemons) = (folder_with("agent", 0o755), folder_with("agent", 0o755));
        let found = |name: &str, own: &Path| find(name, &env(own), Path::new("/"), Some(daemons.path().into()));
        assert_eq!(found("agent", own.path()), Program::AsNamed);
        let nowhere = tempfile::tempdir().unwrap();
        let expected = Program::OfDaemon {
            path: daemons.path().join("agent"),
            search_path: format!("{}:{}", nowhere.path().display(), daemons.path().display()).into(),
        };
        assert_eq!(found("agent", nowhere.path()), expected);
        let closed = folder_with("agent", 0o644);
        assert!(
            matches!(found("agent", closed.path()), Program::OfDaemon { .. }),
            "it cannot be run"
        );
        assert_eq!(found("other", nowhere.path()), Program::AsNamed);
        assert_eq!(
            found("./agent", nowhere.path()),
            Program::AsNamed,
            "a path is not searched for"
        );
    }

    #[test]
    fn a_relative_search_path_counts_from_the_agents_directory() {
        let (work, daemons) = (folder_with("agent", 0o755), folder_with("agent", 0o755));
        let found = find("agent", &env(Path::new(".")), work.path(), Some(daemons.path().into()));
        assert_eq!(found, Program::AsNamed);
        let found = find("agent", &env(Path::new("/nowhere")), work.path(), Some(".".into()));
        assert_eq!(
            found,
            Program::AsNamed,
            "the daemon's directory means nothing to the agent"
        );
    }

    #[test]
    fn a_missing_program_is_told_with_both_search_paths() {
        let told = missing("claude", &env(Path::new("/usr/bin")), Some("/opt/bin".into()));
        assert!(
            told.contains("(/usr/bin)") && told.contains("(/opt/bin)") && told.contains("agent.command"),
            "{told}"
        );
    }
}
