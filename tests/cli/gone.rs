//! The command line while the daemon is gone: what those are told who wait for it, and that they go on.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Child;

use rustix::process::Signal;
use serde_json::json;

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

#[test]
fn a_token_that_no_daemon_has_made_yet_is_no_error_of_the_system() {
    let daemon = TestDaemon::stopped(&[]);
    for line in [&["token"][..], &["token", "--json"]] {
        let told = run(&daemon, line);
        assert_eq!(told.status.code(), Some(4), "{}", err(&told));
        assert!(
            err(&told).contains("start one with `cc-executor serve`"),
            "{}",
            err(&told)
        );
    }
}

#[test]
fn a_long_gc_shows_how_far_it_is() {
    let daemon = TestDaemon::stopped(&[]);
    let state = daemon.state();
    // A client believes what is in a directory of its user's alone.
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .expect("a folder");
    let lock = File::create(state.join("daemon.lock")).expect("a file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("a lock");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let said = json!({"pid": 1, "address": address, "port": address.port(), "version": "1"});
    fs::write(state.join("daemon.json"), said.to_string()).expect("a file");
    fs::write(state.join("token"), "secret").expect("a file");
    std::thread::spawn(move || answer_in_parts(&listener));
    let done = run(&daemon, &["gc"]);
    assert!(done.status.success(), "{}", err(&done));
    let told = err(&done);
    assert!(told.contains("removed 1 session (2.0 kB) so far"), "{told}");
    assert!(
        !told.contains("2 sessions"),
        "the end is told on standard output: {told}"
    );
}

/// Answers requests for `gc` as a daemon does that is done with the second one.
fn answer_in_parts(listener: &TcpListener) {
    let gone = json!({"session_id": "01890000-0000-7000-8000-00000000abcd", "name": "tidy up", "state": "completed",
        "ended_at": "2026-01-01T00:00:00Z", "records": 1, "bytes": 2000});
    for connection in listener.incoming().map_while(Result::ok) {
        let mut reader = BufReader::new(connection);
        loop {
            let mut length = 0;
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                let header = line.to_ascii_lowercase();
                if let Some(value) = header.strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut asked = vec![0; length];
            if length == 0 || reader.read_exact(&mut asked).is_err() {
                break;
            }
            let is_second = String::from_utf8_lossy(&asked).contains("cursor");
            let next = if is_second {
                json!(null)
            } else {
                json!("01890000-0000-7000-8000-00000000abcd")
            };
            let body = json!({"ended_before": "2026-01-01T00:00:00Z", "sessions": [gone], "folders": [], "kept": [],
                "bytes": 2000, "next_cursor": next})
            .to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            if write!(reader.get_mut(), "{head}{body}").is_err() {
                break;
            }
        }
    }
}
