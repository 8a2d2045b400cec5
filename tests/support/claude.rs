//! The real `claude` CLI for tests: where it is, and the clean environment it runs in.

use std::path::{Path, PathBuf};

use super::messages_api::MessagesApi;

/// Where the CLI is, when it is not where the test command puts it.
const BINARY_VARIABLE: &str = "CC_EXECUTOR_TEST_CLAUDE";

/// Names another version of the CLI than the suite's own, for a run against an older or a newer one.
const VERSION_VARIABLE: &str = "CC_EXECUTOR_TEST_CLAUDE_VERSION";

/// The version of the CLI that the suite runs by default.
const VERSION: &str = include_str!("../claude-version");

/// The path of the CLI. A test that needs it fails where it is missing, since a skipped test proves nothing.
pub(crate) fn claude_binary() -> PathBuf {
    let named = std::env::var_os(BINARY_VARIABLE).map(PathBuf::from);
    let path = named.unwrap_or_else(installed_binary);
    assert!(
        path.is_file(),
        "no claude CLI at {}: run `bash tests/all`, which installs it, or name one in {BINARY_VARIABLE}",
        path.display()
    );
    path
}

/// The path at which `tests/all` installs the CLI.
fn installed_binary() -> PathBuf {
    let version = std::env::var(VERSION_VARIABLE).unwrap_or_else(|_| VERSION.trim().to_owned());
    let home = cache_folder().join(format!("cc-executor-tests/claude-{version}"));
    home.join("node_modules/@anthropic-ai/claude-code-linux-x64/claude")
}

/// The folder in which `tests/all` has one of its own for what it installs.
pub(crate) fn cache_folder() -> PathBuf {
    let not_empty = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let of_home = || not_empty("HOME").map(|home| home.join(".cache"));
    not_empty("XDG_CACHE_HOME")
        .or_else(of_home)
        .expect("HOME is set where tests run")
}

/// The whole environment of a CLI (or of a daemon that starts one): nothing of the caller's but `PATH`. Start the
/// process with a cleared environment and these. `home` is a folder of the test's own.
pub(crate) fn claude_env(home: &Path, api: &MessagesApi) -> Vec<(String, String)> {
    let home_folder = home.display().to_string();
    let search_path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned());
    let variables = [
        ("HOME", home_folder.as_str()),
        ("PATH", &search_path),
        ("SHELL", "/bin/bash"),
        ("LANG", "C.UTF-8"),
        ("ANTHROPIC_API_KEY", "test-key-without-worth"),
        ("ANTHROPIC_BASE_URL", &api.base_url()),
        // Task outputs and sockets go below the test's folder too.
        ("CLAUDE_CODE_TMPDIR", &home_folder),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        // Tests may run as root in a container, where the CLI refuses to bypass permissions without it.
        ("IS_SANDBOX", "1"),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}
