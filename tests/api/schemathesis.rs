//! Schemathesis, which nobody here wrote, holds the running server to its own description. `tests/all` installs it;
//! without it this test fails and says so.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// The folder that `tests/all` installs it into.
const FOLDER: &str = "python-schemathesis-4.32.5";

fn program() -> PathBuf {
    installed("schemathesis")
}

/// The Python that has what Schemathesis is made of, a validator of JSON Schema among it.
pub(crate) fn python() -> PathBuf {
    installed("python3")
}

fn installed(name: &str) -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache
        .or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))
        .expect("a home");
    let program = cache.join("cc-executor-tests").join(FOLDER).join("bin").join(name);
    assert!(
        program.exists(),
        "{} is missing: run tests/all, which installs it",
        program.display()
    );
    program
}

/// Ends what the tried calls have begun.
fn cancel_all(daemon: &TestDaemon) {
    until("all sessions to end", || {
        let (_, page) = daemon.get("/api/sessions?state=live&limit=500");
        let live = page["sessions"].as_array().expect("sessions").clone();
        for session in &live {
            let id = session["session_id"].as_str().expect("an id");
            daemon.post(&format!("/api/sessions/{id}/cancel"), &json!({}));
        }
        live.is_empty().then_some(())
    });
}

/// Runs Schemathesis against the daemon with this token; fails where it finds anything.
fn run(daemon: &TestDaemon, token: &str, role: &str, options: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api");
    let url = daemon.base_url().expect("the daemon serves");
    let description = daemon.root().join("openapi.json");
    let (_, text) = daemon.get("/api/openapi.json");
    std::fs::write(&description, text.to_string()).expect("a file");
    let mut command = daemon.command_of(&program());
    command
        .arg("--config-file")
        .arg(folder.join("schemathesis.toml"))
        .args(["--no-color", "run", "--warnings", "off", "--url", &url])
        .args(options)
        .arg(description)
        .current_dir(daemon.root())
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", &folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CC_EXECUTOR_TEST_WORK", daemon.work())
        .env("CC_EXECUTOR_TEST_ROLE", role)
        .env("CC_EXECUTOR_TOKEN", token);
    let output = command.output().expect("it starts");
    cancel_all(daemon);
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_server_is_what_its_description_says() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__QUEUED_SESSIONS_MAX", "5000")]);
    let sample = daemon.create("say hello ;; max-turns");
    daemon.wait_for(&sample, "failed");
    run(&daemon, &daemon.token(), "admin", &[]);
}

#[test]
fn whoever_reads_only_changes_nothing() {
    let mut daemon = TestDaemon::start();
    let (status, made) = daemon.post("/api/tokens", &json!({"name": "reader", "role": "viewer"}));
    assert_eq!(status, 201, "{made}");
    let token = made["token"].as_str().expect("a token");
    let checks = "not_a_server_error,what_a_role_may";
    let options = ["--checks", checks, "--phases", "examples,coverage,fuzzing", "-n", "3"];
    run(&daemon, token, "viewer", &options);
    let (_, page) = daemon.get("/api/sessions");
    assert_eq!(page["sessions"], json!([]), "nothing was started");
    // What was counted of refused calls is written once a minute, and at the end.
    assert_eq!(daemon.terminate(), Some(0));
    daemon.launch();
    let (_, page) = daemon.get("/api/audit?limit=500");
    let entries = page["entries"].as_array().expect("entries");
    let of_reader = entries.iter().filter(|entry| entry["name"] == "reader");
    let (mut refused, mut done) = (0, 0);
    for entry in of_reader {
        match entry["outcome"].as_str() {
            Some("refused") => refused += entry["count"].as_u64().unwrap_or(1),
            _ if entry["route"] == "/sign-out" => done += 1,
            _ => panic!("{entry}"),
        }
    }
    assert!(refused > 10 && done > 0, "{refused} refused, {done} done: it was tried");
}
