//! Directories that are strange, move, or vanish, and what is kept in them.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::json;

use crate::checks::host_pid;
use crate::support::daemon::{BINARY, TestDaemon, signal};
use crate::support::wait::until;

#[test]
fn a_directory_whose_name_is_no_text_is_refused_and_the_daemon_goes_on() {
    let daemon = TestDaemon::start();
    let odd = daemon.root().join(OsStr::from_bytes(b"odd\xff"));
    fs::create_dir(&odd).unwrap();
    let link = daemon.root().join("link");
    symlink(odd, &link).unwrap();
    let (status, problem) = daemon.post("/api/sessions", &json!({"task": "say hello", "cwd": link}));
    assert_eq!(status, 400, "{problem}");
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
}

#[test]
fn a_daemon_whose_journal_is_taken_away_acknowledges_nothing_and_says_so() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    until("its host to end", || daemon.hosts_of(&id).is_empty().then_some(()));
    let aside = daemon.root().join("aside");
    let request = json!({"task": "say lost", "cwd": daemon.work()});
    fs::rename(daemon.state(), &aside).unwrap();
    // What tells where the daemon is stays in its place; its journal does not.
    fs::create_dir(daemon.state()).unwrap();
    for name in ["daemon.json", "token"] {
        fs::copy(aside.join(name), daemon.state().join(name)).unwrap();
    }
    let answer = daemon.post_text("/api/sessions", &request.to_string());
    assert_ne!(
        answer.map(|(status, _)| status),
        Some(201),
        "it would be lost with the file"
    );
    assert_eq!(daemon.wait_for_end(), Some(1));
    let log = daemon.log();
    assert!(log.contains("is no longer where it was"), "{log}");
    fs::remove_dir_all(daemon.state()).ok();
    fs::rename(&aside, daemon.state()).unwrap();
    daemon.launch();
    assert_eq!(daemon.view(&id)["state"], "completed");
}

#[test]
fn a_runtime_directory_with_a_name_too_long_for_sockets_is_refused_at_once() {
    let mut daemon = TestDaemon::stopped(&[]);
    let long = daemon.root().join("x".repeat(80)).display().to_string();
    daemon.set("XDG_RUNTIME_DIR", &long);
    let output = daemon
        .command_of("timeout".as_ref())
        .args(["20", BINARY, "serve"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("state.runtime_dir"), "{told}");
}

#[test]
fn a_session_that_is_refused_leaves_nothing_behind() {
    let daemon = TestDaemon::start_with(&[
        ("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "1"),
        ("CC_EXECUTOR__LIMITS__QUEUED_SESSIONS_MAX", "1"),
    ]);
    let gate = daemon.root().join("gate");
    let ids = [0, 1].map(|_| {
        let id = daemon.create(&format!("wait-file {}", gate.display()));
        until("it to wait or run", || {
            (daemon.view(&id)["state"] != "starting").then_some(())
        });
        id
    });
    let request = json!({"task": "say no", "cwd": daemon.work(), "env": {"SECRET": "s"}});
    for _ in 0..3 {
        let (status, problem) = daemon.post("/api/sessions", &request);
        assert!(status >= 400, "{status} {problem}");
    }
    let kept = fs::read_dir(daemon.state().join("sessions")).unwrap().flatten();
    let strange: Vec<_> = kept
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !ids.contains(name))
        .collect();
    assert_eq!(strange, Vec::<String>::new());
    fs::write(gate, "").unwrap();
    ids.iter().for_each(|id| drop(daemon.wait_for(id, "completed")));
}

#[test]
fn a_git_that_hangs_is_looked_at_once_and_ends_with_the_attempt() {
    let mut daemon = TestDaemon::stopped(&[]);
    let (bin, looks) = (daemon.root().join("bin"), daemon.root().join("looks"));
    fs::create_dir(&bin).unwrap();
    let git = format!("#!/bin/sh\necho $$ >> {}\nexec sleep 1000\n", looks.display());
    fs::write(bin.join("git"), git).unwrap();
    fs::set_permissions(bin.join("git"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    daemon.set("PATH", &path);
    daemon.launch();
    let repository = daemon.work().join(".git");
    fs::create_dir_all(repository.join("objects")).unwrap();
    fs::write(repository.join("HEAD"), "1".repeat(40)).unwrap();
    let steps: Vec<_> = (0..4).map(|n| format!("say {n} ;; wait 1100")).collect();
    let request = json!({"task": steps.join(" ;; "), "checkpoint_interval_seconds": 1});
    let id = daemon.create_with(request);
    daemon.wait_for(&id, "completed");
    let looks = fs::read_to_string(looks).unwrap();
    assert_eq!(looks.lines().count(), 1, "one look at a time");
}

#[test]
fn output_that_somebody_cut_is_told_of() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__SUPERVISION__RESTARTS_MAX", "0")]);
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say before ;; wait-file {} ;; exit 0", gate.display()));
    until("the first text", || (daemon.texts(&id) == ["before"]).then_some(()));
    let spool = daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"));
    fs::File::options().write(true).open(spool).unwrap().set_len(0).unwrap();
    fs::write(gate, "").unwrap();
    let view = daemon.wait_for(&id, "failed");
    assert_eq!(view["cause"], "crashed", "{view}");
    let notices = daemon.records_of(&id, "notice");
    assert!(
        notices.iter().any(|notice| notice.to_string().contains("it was cut")),
        "{notices:?}"
    );
}

#[test]
fn an_agent_whose_output_somebody_cuts_is_followed_by_another() {
    let mut daemon = TestDaemon::start();
    for is_between_daemons in [false, true] {
        let gate = daemon.root().join(format!("gate-{is_between_daemons}"));
        let id = daemon.create(&format!("say before ;; wait-file {} ;; say after", gate.display()));
        until("the first text", || (daemon.texts(&id) == ["before"]).then_some(()));
        let spool = daemon.state().join(format!("sessions/{id}/1/stdout.jsonl"));
        let cut = || fs::File::options().write(true).open(spool).unwrap().set_len(0).unwrap();
        if is_between_daemons {
            daemon.kill();
            cut();
            daemon.launch();
        } else {
            cut();
        }
        until("the next attempt", || (daemon.view(&id)["attempt"] == 2).then_some(()));
        fs::write(gate, "").unwrap();
        daemon.wait_for(&id, "completed");
        assert_eq!(daemon.texts(&id), ["before", "after"]);
        let notices = daemon.records_of(&id, "notice");
        let told = notices
            .iter()
            .filter(|notice| notice.to_string().contains("it was cut"));
        assert_eq!(told.count(), 1, "{notices:?}");
    }
}

#[test]
fn an_agent_whose_directory_is_removed_goes_on() {
    let mut daemon = TestDaemon::start();
    for is_between_daemons in [false, true] {
        let gate = daemon.root().join(format!("gate-{is_between_daemons}"));
        let id = daemon.create(&format!("say before ;; wait-file {} ;; say after", gate.display()));
        until("the first text", || (daemon.texts(&id) == ["before"]).then_some(()));
        let host = host_pid(&daemon, &id);
        if is_between_daemons {
            daemon.kill();
        }
        fs::remove_dir_all(daemon.state().join(format!("sessions/{id}"))).unwrap();
        signal(host, Signal::KILL);
        if is_between_daemons {
            daemon.launch();
        }
        fs::write(gate, "").unwrap();
        assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
        assert_eq!(daemon.texts(&id), ["before", "after"]);
    }
}

#[test]
fn a_copy_of_a_state_directory_leaves_the_agents_to_the_daemon_of_the_original() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say before ;; wait-file {} ;; say after", gate.display()));
    until("the first text", || (daemon.texts(&id) == ["before"]).then_some(()));
    let mut other = TestDaemon::stopped(&[]);
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([daemon.root().join("state"), other.root().to_owned()])
        .status();
    assert!(copied.unwrap().success());
    other.launch();
    until("the copy to find whose the agent is", || {
        let notices = other.records_of(&id, "notice");
        notices
            .iter()
            .any(|notice| notice.to_string().contains("is a copy of that one"))
            .then_some(())
    });
    fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 1);
    assert_eq!(daemon.texts(&id), ["before", "after"]);
    assert!(
        !daemon.log().contains("link to the agent host lost"),
        "{}",
        daemon.log()
    );
    until("its host to end", || daemon.hosts_of(&id).is_empty().then_some(()));
    other.cancel(&id);
    other.wait_for(&id, "cancelled");
}

/// Runs a command that has to end by itself: its exit code and what it says.
fn ends(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = until("the command to end", || child.try_wait().unwrap());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    (status.code(), said)
}

#[test]
fn a_pipe_among_the_state_files_is_told_by_name_and_not_waited_for() {
    let mut daemon = TestDaemon::start();
    let request = json!({"task": "say one ;; max-turns", "env": {"A": "1"}});
    let id = daemon.create_with(request);
    daemon.wait_for(&id, "failed");
    assert_eq!(daemon.terminate(), Some(0));
    let pipe = |path: &Path| {
        let aside = path.with_extension("aside");
        let was_there = fs::rename(path, &aside).is_ok();
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        let path = path.to_owned();
        move || {
            fs::remove_file(&path).unwrap();
            assert!(!was_there || fs::rename(&aside, &path).is_ok());
        }
    };
    for name in [
        "daemon.json",
        "token",
        "journal.sqlite3",
        "projects.json",
        "access/audit.jsonl",
    ] {
        let path = daemon.state().join(name);
        let undo = pipe(&path);
        let (code, said) = ends(daemon.command(&["serve"]));
        let named = said.contains(&path.display().to_string()) && said.contains("it is a pipe");
        assert!(code != Some(0) && named, "{name}: {code:?} {said}");
        let (code, said) = ends(daemon.command(&["ls"]));
        assert_eq!(code, Some(4), "{name}: {said}");
        undo();
    }
    fs::create_dir_all(daemon.state().join("logs")).unwrap();
    for (name, arguments) in [
        ("logs/daemon.log", &["run", "--detach", "say no"][..]),
        ("daemon.lock", &["doctor"]),
        ("daemon.lock", &["run", "--detach", "say no"]),
    ] {
        let path = daemon.state().join(name);
        let undo = pipe(&path);
        let (code, said) = ends(daemon.command(arguments));
        let named = said.contains(&path.display().to_string()) && said.contains("it is a pipe");
        assert!(code != Some(0) && named, "{name}: {code:?} {said}");
        undo();
    }
    daemon.launch();
    let undo = pipe(&daemon.state().join(format!("sessions/{id}/environment.json")));
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/resume"),
        &json!({"instruction": "say two"}),
    );
    assert_eq!(status, 202, "{view}");
    let view = daemon.wait_for(&id, "failed");
    let note = view["note"].as_str().unwrap();
    assert!(
        note.contains("environment.json") && note.contains("it is a pipe"),
        "{view:#}"
    );
    undo();
}
