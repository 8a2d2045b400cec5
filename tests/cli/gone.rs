//! The command line while the daemon is gone: what those are told who wait for it, and that they go on.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Child;

use rustix::process::Signal;

use crate::support::daemon::{TestDaemon, signal};
use crate::support::wait::until;
use crate::{err, run};

/// A command that goes on, and the file that its standard error goes to.
fn begin(daemon: &TestDaemon, arguments: &[&str]) -> (Child, PathBuf) {
    let told = daemon.root().join(format!("{}.stderr", arguments[0]));
    let mut command = daemon.command(arguments);
    command.stdout(File::create(daemon.root().join("stdout")).expect("a file"));
    command.stderr(File::create(&told).expect("a file"));
    (command.spawn().expect("it starts"), told)
}

fn until_streams(daemon: &TestDaemon, number: usize) {
    until("the streams are read", || {
        let (_, figures) = daemon.get("/metrics");
        let line = format!("cc_executor_stream_readers {number}\n");
        figures.as_str()?.contains(&line).then_some(())
    });
}

fn until_told(file: &PathBuf, words: &str) {
    until(words, || {
        let told = fs::read_to_string(file).expect("the file");
        told.contains(words).then_some(())
    });
}

#[test]
fn who_waits_or_reads_is_told_that_the_daemon_is_gone_and_back() {
    let mut daemon = TestDaemon::start();
    let go = daemon.root().join("go");
    let id = daemon.create(&format!("wait-file {} ;; say done", go.display()));
    daemon.wait_for(&id, "running");
    let waiting = ["attach", "wait"].map(|verb| begin(&daemon, &[verb, &id]));
    let (mut reading, read) = begin(&daemon, &["logs", "-f", &id]);
    until_streams(&daemon, 3);
    daemon.kill();
    for told in waiting.iter().map(|(_, told)| told).chain([&read]) {
        until_told(told, "the daemon is gone");
        until_told(told, "`cc-executor serve` starts a daemon");
    }
    daemon.launch();
    fs::write(&go, "").expect("a file");
    for (mut child, told) in waiting {
        assert_eq!(child.wait().expect("it ends").code(), Some(0));
        until_told(&told, "the daemon is back");
    }
    assert_eq!(reading.wait().expect("it ends").code(), Some(0));
}

#[test]
fn who_leaves_while_the_daemon_is_gone_is_told_how_to_come_back() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("silence");
    daemon.wait_for(&id, "running");
    let (mut child, told) = begin(&daemon, &["attach", &id]);
    until_streams(&daemon, 1);
    daemon.kill();
    until_told(&told, "the daemon is gone");
    signal(child.id(), Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    until_told(
        &told,
        "Start a daemon with `cc-executor serve`, then come back with `cc-executor attach",
    );
    daemon.launch();
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn a_failed_session_says_how_to_go_on() {
    let daemon = TestDaemon::start();
    let failed = run(&daemon, &["run", "max-turns"]);
    assert_eq!(failed.status.code(), Some(1));
    let (_, list) = daemon.get("/api/sessions");
    let id = list["sessions"][0]["short_id"].as_str().expect("an id");
    let way = format!("go on with `cc-executor resume {id}`");
    assert!(err(&failed).contains(&way), "{}", err(&failed));
}
