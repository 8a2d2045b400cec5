//! A journal that is damaged, gone, or of another version: what is told, and what can be had again.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::Value;

use crate::access::Caller;
use crate::access_roles::token;
use crate::support::daemon::{TestDaemon, signal};
use crate::support::wait::until;

fn journal(daemon: &TestDaemon) -> PathBuf {
    daemon.state().join("journal.sqlite3")
}

/// Runs a command that ends by itself: its exit code, and what it says.
fn run(daemon: &TestDaemon, line: &[&str]) -> (Option<i32>, String) {
    let out = daemon.command(line).output().expect("it runs");
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (out.status.code(), said.concat())
}

/// What the doctor says of this.
fn finding(daemon: &TestDaemon, check: &str) -> (bool, String) {
    let out = daemon.command(&["doctor", "--json"]).output().expect("it runs");
    let found: Vec<Value> = serde_json::from_slice(&out.stdout).expect("findings");
    let found = found
        .iter()
        .find(|found| found["check"] == check)
        .expect("there is one");
    (
        found["ok"] == true,
        found["detail"].as_str().expect("a text").to_owned(),
    )
}

#[test]
fn a_journal_with_a_damaged_header_is_saved_and_its_agents_go_on() {
    let mut daemon = TestDaemon::start();
    let past = daemon.create("flood 300 500 ;; say done");
    let ended = daemon.wait_for(&past, "completed");
    let records = daemon.records(&past);
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say before ;; wait-file {} ;; say after", gate.display()));
    until("the first text", || (daemon.texts(&id) == ["before"]).then_some(()));
    // It empties the log, from which SQLite would mend the header by itself.
    daemon.terminate();
    let file = fs::File::options().write(true).open(journal(&daemon)).unwrap();
    file.write_all_at(&[0; 100], 0).unwrap();

    let (code, said) = run(&daemon, &["serve"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("is damaged") && said.contains("doctor --rebuild"),
        "{said}"
    );
    let (is_well, said) = finding(&daemon, "journal");
    assert!(!is_well && said.contains("doctor --rebuild"), "{said}");
    let (code, said) = run(&daemon, &["doctor", "--rebuild"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("of 2 sessions were saved") && said.contains(".damaged-1"),
        "{said}"
    );

    daemon.launch();
    assert!(finding(&daemon, "journal").0);
    assert_eq!(daemon.view(&past), ended);
    assert_eq!(daemon.records(&past), records);
    fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(daemon.texts(&id), ["before", "after"]);
}

#[test]
fn a_journal_of_which_nothing_is_left_is_told_without_leading_in_a_circle() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("say hi");
    daemon.wait_for(&id, "completed");
    daemon.terminate();
    fs::write(journal(&daemon), "nothing ".repeat(5000)).unwrap();
    let (code, said) = run(&daemon, &["doctor", "--rebuild"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("move it away") && !said.contains("--rebuild"), "{said}");
}

#[test]
fn a_journal_that_is_gone_is_missed() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("say hi");
    daemon.wait_for(&id, "completed");
    daemon.terminate();
    fs::remove_file(journal(&daemon)).unwrap();
    let (is_well, said) = finding(&daemon, "journal");
    assert!(!is_well && said.contains("there is no journal at"), "{said}");
    daemon.launch();
    assert!(daemon.log().contains("there is no journal at"), "{}", daemon.log());
}

#[test]
fn a_directory_in_the_place_of_a_file_and_the_other_way_round_are_found() {
    let daemon = TestDaemon::stopped(&[]);
    fs::create_dir_all(daemon.state().join("daemon.json")).unwrap();
    fs::write(daemon.state().join("mcp"), "").unwrap();
    fs::set_permissions(daemon.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for name in ["mcp is no directory", "daemon.json is no file"] {
        let (is_well, said) = finding(&daemon, "state directory");
        assert!(!is_well && said.contains(name), "{said}");
        fs::remove_file(daemon.state().join("mcp")).ok();
    }
}

#[test]
fn a_daemon_is_not_ended_for_one_that_could_not_read_its_journal() {
    let mut daemon = TestDaemon::start();
    let database = rusqlite::Connection::open(journal(&daemon)).unwrap();
    let format: i64 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    database.pragma_update(None, "user_version", format + 1).unwrap();
    let (code, said) = run(&daemon, &["restart"]);
    database.pragma_update(None, "user_version", format).unwrap();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the daemon goes on") && said.contains("use the newer version"),
        "{said}"
    );
    let id = daemon.create("say hi");
    daemon.wait_for(&id, "completed");
    drop(database);
    signal(daemon.pid(), Signal::TERM);
    assert_eq!(daemon.wait_for_end(), Some(0));
}

/// Makes a database of a daemon that does not run unusable.
fn damage(file: &Path) {
    let file = fs::File::options().write(true).open(file).expect("a file");
    file.write_all_at(&[0; 100], 0).expect("room");
}

#[test]
fn damage_to_the_journal_or_to_what_is_kept_of_callers_leaves_the_other_alone() {
    let mut daemon = TestDaemon::start();
    let past = daemon.create("say done");
    let ended = daemon.wait_for(&past, "completed");
    let ci = token(&daemon, "ci", "viewer");
    let read = |daemon: &TestDaemon| Caller::of(daemon).call("GET", "/api/sessions", &[&ci], "").status;
    daemon.terminate();
    damage(&journal(&daemon));
    let (code, said) = run(&daemon, &["doctor", "--rebuild"]);
    assert_eq!(code, Some(0), "{said}");
    daemon.launch();
    assert_eq!(read(&daemon), 200, "tokens are not in the journal");
    daemon.terminate();
    damage(&daemon.state().join("clients.sqlite3"));
    daemon.launch();
    assert_eq!(daemon.view(&past), ended, "sessions are not in the other database");
    assert_eq!(read(&daemon), 401);
    let told = daemon.log();
    for words in [
        "clients.sqlite3 is damaged",
        "clients.sqlite3.damaged-1",
        "cc-executor token create",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
