//! The version before this one: its program, and a daemon of it that a test upgrades.

use std::path::{Path, PathBuf};

use super::claude::cache_folder;
use super::daemon::{BINARY, TestDaemon};

/// Names the program, when it is not where the test command puts it.
const BINARY_VARIABLE: &str = "CC_EXECUTOR_TEST_PREVIOUS";

/// The commit that the test command builds the program from.
const COMMIT: &str = include_str!("../previous-version");

/// The path of the version before. A test that needs it fails where it is missing, since a skipped test proves nothing.
pub(crate) fn previous_binary() -> PathBuf {
    let named = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from);
    let path = named.unwrap_or_else(|| {
        let home = format!("cc-executor-tests/previous-{}", COMMIT.trim());
        cache_folder().join(home).join("cc-executor")
    });
    assert!(
        path.is_file(),
        "no cc-executor of the version before at {}: run `bash tests/all`, which builds it, or name one in \
         {BINARY_VARIABLE}",
        path.display()
    );
    path
}

/// How the daemon of the version before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By SIGKILL.
    Killed,
    /// By SIGTERM.
    Asked,
}

/// Both ends.
pub(crate) const ENDS: [End; 2] = [End::Killed, End::Asked];

impl TestDaemon {
    /// A daemon of the version before. The agent is no part of it: the simulated one is that of all tests.
    pub(crate) fn previous() -> Self {
        Self::previous_with(&[])
    }

    /// The same with more environment variables, settings among them.
    pub(crate) fn previous_with(environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::previous_stopped(environment);
        daemon.launch();
        daemon
    }

    /// Everything but the daemon itself.
    pub(crate) fn previous_stopped(environment: &[(&str, &str)]) -> Self {
        let mut daemon = Self::stopped(environment);
        daemon.program = previous_binary();
        daemon
    }

    /// Puts a program into the test's folder, in the place of the one before, as an installation does. From now on it is the
    /// one that is launched. Returns its path.
    pub(crate) fn install(&mut self, program: &Path) -> PathBuf {
        let (new, installed) = (self.root().join("new"), self.root().join("cc-executor"));
        std::fs::copy(program, &new).expect("room for a program");
        std::fs::rename(&new, &installed).expect("it takes the name");
        self.program.clone_from(&installed);
        installed
    }

    /// Ends the daemon of the version before. Its hosts and agents go on. The next daemon is one of this version, on the same
    /// port: a page belongs to its port.
    pub(crate) fn end_previous(&mut self, end: End) {
        let url = self.base_url().expect("the daemon serves");
        self.set("CC_EXECUTOR__SERVER__PORT", url.rsplit(':').next().expect("a port"));
        match end {
            End::Killed => self.kill(),
            End::Asked => assert_eq!(self.terminate(), Some(0), "{}", self.log()),
        }
        self.program = BINARY.into();
    }

    /// Ends the daemon of the version before and starts one of this version.
    pub(crate) fn upgrade(&mut self, end: End) {
        self.end_previous(end);
        self.launch();
    }
}
