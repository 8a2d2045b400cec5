//! Another user waits where a daemon was, for the owner's token and environment.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::json;

use crate::support::daemon::TestDaemon;
use crate::support::other_user::as_other_user;
use crate::support::wait::until;

const SECRET: &str = "a-secret-of-the-callers-environment";

/// A state directory in the moment in which the next daemon holds the lock and has not yet said where it is: what the one
/// before said is still there.
fn between_daemons(address: &str, socket: Option<&Path>) -> (TestDaemon, fs::File) {
    let daemon = TestDaemon::stopped(&[("SECRET", SECRET)]);
    let state = daemon.state();
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .unwrap();
    let said = json!({
        "pid": 1, "address": address, "port": 1, "version": "0.1.0", "socket": socket, "serve_arguments": [],
    });
    fs::write(state.join("daemon.json"), said.to_string()).unwrap();
    let token = state.join("token");
    fs::write(&token, "0".repeat(64)).unwrap();
    fs::set_permissions(token, PermissionsExt::from_mode(0o600)).unwrap();
    let lock = fs::File::create(state.join("daemon.lock")).unwrap();
    lock.lock().unwrap();
    (daemon, lock)
}

/// Calls with everything that has secrets to tell, all at once, and answers what the listener heard of it.
fn call_all(daemon: &TestDaemon, heard: &Receiver<Vec<u8>>) -> String {
    let calling = [&["mcp"][..], &["run", "--detach", "say hi"], &["ls"]].map(|arguments| {
        let mut command = daemon.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}});
        let _ = writeln!(child.stdin.take().unwrap(), "{hello}");
        child
    });
    for mut child in calling {
        assert!(!child.wait().unwrap().success(), "there is no daemon to call");
    }
    let all: Vec<u8> = heard.try_iter().flatten().collect();
    String::from_utf8_lossy(&all).into_owned()
}

/// How long a client has to say something.
const HEARD: Option<Duration> = Some(Duration::from_secs(1));

/// Passes on what a client says to who accepts its connection.
fn listen_to(mut client: impl Read, say: &Sender<Vec<u8>>) {
    let mut said = vec![0; 65_536];
    let length = client.read(&mut said).unwrap_or(0);
    said.truncate(length);
    let _ = say.send(said);
}

#[test]
fn nothing_is_said_to_another_user_at_the_port_of_a_daemon_that_was_killed() {
    let (say, heard) = channel();
    let (tell, address) = channel();
    let thief = as_other_user(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        tell.send(listener.local_addr().unwrap().to_string()).unwrap();
        // It ends with the test's process.
        for client in listener.incoming() {
            let client = client.unwrap();
            client.set_read_timeout(HEARD).unwrap();
            listen_to(client, &say);
        }
    });
    if thief.is_none() {
        return;
    }
    let (daemon, lock) = between_daemons(&address.recv().unwrap(), None);
    assert_eq!(call_all(&daemon, &heard), "");
    drop(lock);
    // With nobody in the way the command starts a daemon of its own, and is right to talk to it.
    let ran = daemon.command(&["run", "-q", "say hello"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "hello");
    assert!(daemon.command(&["stop"]).output().unwrap().status.success());
    until("the last process to end", || daemon.family().is_empty().then_some(()));
    assert_eq!(heard.try_iter().flatten().count(), 0);
}

#[test]
fn nothing_is_said_to_another_user_at_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    // A socket in a directory of the thief's own, and one that is in the right place and looks like the owner's.
    for is_in_state in [false, true] {
        let socket = folder.path().join(if is_in_state { "s" } else { "theirs/daemon.sock" });
        let (say, heard) = channel();
        let (tell, bound) = channel();
        let place = socket.clone();
        let thief = as_other_user(move || {
            let parent = place.parent().unwrap();
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .unwrap();
            let listener = UnixListener::bind(&place).unwrap();
            tell.send(()).unwrap();
            for client in listener.incoming() {
                let client = client.unwrap();
                client.set_read_timeout(HEARD).unwrap();
                listen_to(client, &say);
            }
        });
        if thief.is_none() {
            return;
        }
        bound.recv().unwrap();
        let (daemon, _lock) = between_daemons("127.0.0.1:1", Some(&socket));
        if is_in_state {
            let right = daemon.state().join("daemon.sock");
            fs::rename(&socket, &right).unwrap();
            chown(&right, Some(0), Some(0)).unwrap();
            let said = fs::read_to_string(daemon.state().join("daemon.json")).unwrap();
            let said = said.replace(&json!(socket).to_string(), &json!(right).to_string());
            fs::write(daemon.state().join("daemon.json"), said).unwrap();
        }
        assert_eq!(call_all(&daemon, &heard), "", "in the state directory: {is_in_state}");
    }
}
