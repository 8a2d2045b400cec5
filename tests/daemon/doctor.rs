//! `restart` and `doctor`: the daemon replaced under its agents, and what is in its way.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::Value;

use crate::support::daemon::{BINARY, TestDaemon, signal};
use crate::support::wait::until;

fn run(daemon: &TestDaemon, line: &[&str]) -> (Option<i32>, String) {
    let out = daemon.command(line).output().expect("it runs");
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (out.status.code(), said.concat())
}

#[test]
fn a_restart_takes_over_and_agents_go_on() {
    let mut daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say one ;; wait-file {} ;; say two", gate.display()));
    daemon.wait_for(&id, "running");
    let (old, agent) = (daemon.pid(), daemon.agent_pid(&id, 1));
    let (code, said) = run(&daemon, &["restart"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains(&format!("pid {old}")) && said.contains("has taken over"),
        "{said}"
    );
    daemon.is_replaced();
    assert_eq!(daemon.agent_pid(&id, 1), agent);
    std::fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    let new: Value = serde_json::from_slice(&std::fs::read(daemon.state().join("daemon.json")).unwrap()).unwrap();
    signal(new["pid"].as_u64().unwrap() as u32, rustix::process::Signal::TERM);
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn a_restart_keeps_the_arguments_of_the_old_daemon() {
    let daemon = TestDaemon::stopped(&[]);
    std::fs::write(daemon.work().join("mine.toml"), "[supervision]\nmax_budget_usd = 3.5\n").unwrap();
    let line = ["serve", "--config", "mine.toml", "--set", "limits.max_live_agents=7"];
    let mut old = daemon.command(&line).spawn().expect("it starts");
    let said = |not: u32| {
        let file = std::fs::read(daemon.state().join("daemon.json")).ok()?;
        let said: Value = serde_json::from_slice(&file).ok()?;
        (said["pid"] != not).then_some(said)
    };
    let before = until("the daemon to serve", || said(0));
    // Twice: the arguments of a daemon that was started by `restart` are kept as well, and do not grow.
    for _ in 0..2 {
        let (code, told) = run(&daemon, &["restart"]);
        assert_eq!(code, Some(0), "{told}");
    }
    old.wait().unwrap();
    let after = until("the new daemon to serve", || said(old.id()));
    assert_eq!(after["serve_arguments"], before["serve_arguments"]);
    assert_eq!(after["serve_arguments"].as_array().map(Vec::len), Some(2), "{after}");
    let id = daemon.create("say hi");
    daemon.wait_for(&id, "completed");
    let created = &daemon.records_of(&id, "session.created")[0];
    assert_eq!(created["data"]["request"]["max_budget_usd"], 3.5, "{created}");
    signal(after["pid"].as_u64().unwrap() as u32, rustix::process::Signal::TERM);
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn a_daemon_whose_program_was_replaced_or_removed_starts_hosts_of_its_own_version() {
    let daemon = TestDaemon::stopped(&[]);
    let program = daemon.root().join("cc-executor");
    std::fs::copy(BINARY, &program).unwrap();
    let mut old = daemon.command_of(&program).arg("serve").spawn().expect("it starts");
    until("the daemon to serve", || {
        (run(&daemon, &["ls"]).0 == Some(0)).then_some(())
    });
    // What an upgrade does: another file takes the name. This one would be no host.
    let new = daemon.root().join("new");
    std::fs::write(&new, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&new, &program).unwrap();
    let id = daemon.create("say hi");
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    std::fs::remove_file(&program).unwrap();
    let id = daemon.create("say hi");
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(run(&daemon, &["stop"]).0, Some(0));
    old.wait().unwrap();
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn two_restarts_at_once_leave_one_daemon_and_none_is_told_of_a_failure() {
    let mut daemon = TestDaemon::start();
    let restart = |daemon: &TestDaemon| {
        let mut command = daemon.command(&["restart"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it runs")
    };
    for round in 0..3 {
        let both = [restart(&daemon), restart(&daemon)].map(|one| one.wait_with_output().expect("it ends"));
        let codes = both.each_ref().map(|out| out.status.code());
        // One that comes when the old daemon has gone and the new one is not there yet finds none.
        let is_well = codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 4)));
        let said = both.map(|out| String::from_utf8_lossy(&out.stderr).into_owned());
        assert!(is_well, "{codes:?}: {said:?}");
        if round == 0 {
            daemon.is_replaced();
        }
        // The one that came second tries for the lock a moment longer.
        until("one daemon", || (daemon.family().len() == 1).then_some(()));
    }
    assert_eq!(run(&daemon, &["stop"]).0, Some(0));
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn a_daemon_is_not_ended_for_one_that_could_not_read_its_settings() {
    let daemon = TestDaemon::stopped(&[]);
    let config = daemon.work().join("mine.toml");
    std::fs::write(&config, "[supervision]\nmax_budget_usd = 3.5\n").unwrap();
    let mut old = daemon
        .command(&["serve", "--config", "mine.toml"])
        .spawn()
        .expect("it starts");
    until("the daemon to serve", || {
        (run(&daemon, &["ls"]).0 == Some(0)).then_some(())
    });
    std::fs::write(&config, "[supervision]\nmax_budget_usd = \"much\"\n").unwrap();
    let (code, said) = run(&daemon, &["restart"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("max_budget_usd") && said.contains("goes on"), "{said}");
    let id = daemon.create("say hi");
    daemon.wait_for(&id, "completed");
    assert!(old.try_wait().unwrap().is_none(), "the old one serves");
    assert_eq!(run(&daemon, &["stop"]).0, Some(0));
    old.wait().unwrap();
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn a_restart_of_nothing_says_so() {
    let daemon = TestDaemon::stopped(&[]);
    assert_eq!(run(&daemon, &["restart"]).0, Some(4));
}

fn findings(daemon: &TestDaemon) -> (Option<i32>, Vec<Value>) {
    let out = daemon.command(&["doctor", "--json"]).output().expect("it runs");
    (
        out.status.code(),
        serde_json::from_slice(&out.stdout).expect("there is one"),
    )
}

fn finding(findings: &[Value], check: &str) -> (bool, String) {
    let found = findings
        .iter()
        .find(|finding| finding["check"] == check)
        .expect("there is one");
    (
        found["ok"].as_bool().expect("true or false"),
        found["detail"].as_str().expect("a text").to_owned(),
    )
}

#[test]
fn a_doctor_finds_a_well_daemon_well_and_changes_nothing_before_there_is_one() {
    let mut daemon = TestDaemon::stopped(&[]);
    let (code, found) = findings(&daemon);
    assert_eq!(code, Some(0), "{found:?}");
    assert!(!daemon.state().exists());
    std::fs::write(daemon.root().join("state"), "").expect("a file where a folder belongs");
    let (code, found) = findings(&daemon);
    assert_eq!(code, Some(1));
    assert!(
        finding(&found, "state directory").1.contains("cannot make"),
        "{found:?}"
    );
    std::fs::remove_file(daemon.root().join("state")).expect("it goes again");
    daemon.launch();
    let id = daemon.create("say hi");
    daemon.wait_for(&id, "completed");
    let (code, found) = findings(&daemon);
    assert_eq!(code, Some(0), "{found:?}");
    assert!(finding(&found, "daemon").1.contains(&format!("pid {}", daemon.pid())));
    assert!(finding(&found, "journal").1.starts_with("1 session in "));
    let agent = &finding(&found, "agent").1;
    // The suite's own version of the CLI is among those that the doctor names.
    let tested = include_str!("../claude-version").trim();
    assert!(agent.contains("version") && agent.contains(tested), "{agent}");
    let (code, said) = run(&daemon, &["doctor", "--rebuild"]);
    assert_eq!(code, Some(5), "{said}");
}

#[test]
fn a_doctor_names_what_is_wrong() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("say hi ;; leave sleep 1000");
    daemon.wait_for(&id, "completed");
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", "/no/such/claude");
    let token = daemon.state().join("token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut leftover = std::process::Command::new("sleep")
        .arg("1000")
        .env("CC_EXECUTOR_ATTEMPT", format!("{id}/1"))
        .spawn()
        .unwrap();
    let (code, found) = findings(&daemon);
    let pid = leftover.id().to_string();
    leftover.kill().unwrap();
    leftover.wait().unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(code, Some(1));
    for (check, told) in [
        ("agent", "/no/such/claude"),
        ("token", "chmod 600"),
        ("leftovers", &pid),
    ] {
        let (is_well, detail) = finding(&found, check);
        assert!(!is_well && detail.contains(told), "{check}: {detail}");
    }
}

#[test]
fn a_row_that_cannot_be_read_is_found_and_rebuilt() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("say hi");
    let before = daemon.wait_for(&id, "completed");
    daemon.terminate();
    let journal = daemon.state().join("journal.sqlite3");
    let database = rusqlite::Connection::open(&journal).unwrap();
    database.execute("UPDATE sessions SET summary = '{}'", []).unwrap();
    drop(database);
    let (code, found) = findings(&daemon);
    assert_eq!(code, Some(1));
    assert!(finding(&found, "journal").1.contains("doctor --rebuild"), "{found:?}");
    let (code, said) = run(&daemon, &["doctor", "--rebuild"]);
    assert_eq!((code, said.contains("1 sessions")), (Some(0), true), "{said}");
    daemon.launch();
    assert_eq!(daemon.view(&id), before);
}

#[test]
fn doctor_sees_a_daemon_that_stands_still() {
    let daemon = TestDaemon::start();
    let check = || {
        let (code, said) = run(&daemon, &["doctor"]);
        let line = said.lines().find(|line| line[4..].trim_start().starts_with("daemon "));
        (code, line.expect("a line about the daemon").to_owned())
    };
    assert!(check().1.starts_with("ok "));
    signal(daemon.pid(), rustix::process::Signal::STOP);
    let (code, line) = check();
    signal(daemon.pid(), rustix::process::Signal::CONT);
    assert!(code == Some(1) && line.starts_with("BAD"), "{code:?} {line}");
    assert!(line.contains(&format!("kill -CONT {}", daemon.pid())), "{line}");
}

#[test]
fn a_second_daemon_is_told_how_to_stop_the_first() {
    let daemon = TestDaemon::start();
    let (code, said) = run(&daemon, &["serve"]);
    let stop = format!("cc-executor stop --state-dir={}", daemon.state().display());
    assert!(code == Some(1) && said.contains(&stop), "{code:?} {said}");
}
