//! The official Python client, which nobody here wrote, over HTTP and over the relay, in both eras. `tests/all` installs
//! it; without it these tests fail and say so.

use std::path::{Path, PathBuf};

use crate::support::daemon::{BINARY, TestDaemon};

/// The folder that `tests/all` installs it into.
const CLIENT: &str = "python-mcp-2.3.0";

fn python() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))
        .expect("a home");
    let python = cache.join("cc-executor-tests").join(CLIENT).join("bin/python");
    assert!(
        python.exists(),
        "{} is missing: run tests/all, which installs it",
        python.display()
    );
    python
}

fn whole_session(daemon: &TestDaemon, mode: &str, how: &str, place: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/client.py");
    // The relay finds the daemon by the environment that the daemon itself has.
    let mut command = daemon.command_of(&python());
    command.arg(script).args([mode, how]).arg(daemon.work()).arg(place);
    let output = command
        .env("CC_EXECUTOR_TOKEN", daemon.token())
        .output()
        .expect("python starts");
    assert!(
        output.status.success(),
        "{mode} {how}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_official_python_client_has_a_whole_session_in_both_eras() {
    let daemon = TestDaemon::start();
    let url = format!("{}/mcp", daemon.base_url().expect("the daemon serves"));
    for mode in ["legacy", "auto", "2026-07-28"] {
        whole_session(&daemon, mode, "http", &url);
        whole_session(&daemon, mode, "stdio", BINARY);
    }
}
