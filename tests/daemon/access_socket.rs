//! The daemon's Unix socket: by it the command line and the relay call, and the kernel says who that is.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, TestDaemon};
use crate::support::other_user::{OTHER_USER, as_other_user};
use crate::support::wait::{PATIENCE, until};

/// The whole answer to a request without a token.
fn ask(socket: &Path, request: &str) -> String {
    let mut connection = UnixStream::connect(socket).expect("somebody listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    // Who may not call may be cut off before all is written.
    let _ = connection.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = connection.read_to_string(&mut answer);
    answer
}

fn cli(daemon: &TestDaemon, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = daemon.command(arguments);
    command.envs(environment.iter().copied());
    command.output().expect("the command runs")
}

fn assert_works(daemon: &TestDaemon, environment: &[(&str, &str)]) {
    let done = cli(daemon, &["ls", "--json"], environment);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_owner_needs_no_token_at_the_socket() {
    let daemon = TestDaemon::start();
    let socket = daemon.socket();
    let file = fs::symlink_metadata(&socket).unwrap();
    let directory = fs::metadata(socket.parent().unwrap()).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!((file.mode() & 0o777, directory.mode() & 0o777), (0o600, 0o700));
    assert!(ask(&socket, "GET /api/tokens").starts_with("HTTP/1.1 200"));
    // A token says less than the peer may, and is held to be right.
    let wrong = ask(
        &socket,
        "GET /api/tokens HTTP/1.1\r\nAuthorization: Bearer wrong\r\nX-Rest:",
    );
    assert!(wrong.starts_with("HTTP/1.1 401"), "{wrong}");
    let page = ask(
        &socket,
        "GET /api/tokens HTTP/1.1\r\nOrigin: http://localhost\r\nX-Rest:",
    );
    assert!(page.contains("foreign_origin"), "{page}");
    // The command line works without the token's file.
    fs::remove_file(daemon.state().join("token")).unwrap();
    assert_works(&daemon, &[]);
    fs::write(daemon.state().join("token"), "0".repeat(64)).unwrap();
}

#[test]
fn another_user_may_not_call_by_the_socket() {
    let daemon = TestDaemon::start();
    let socket = daemon.socket();
    let place = socket.clone();
    let Some(kept_out) = as_other_user(move || UnixStream::connect(place).map(drop)) else {
        return;
    };
    assert!(kept_out.join().unwrap().is_err(), "the directory is its owner's alone");
    // Even where somebody has opened the way.
    let open = |mode: u32, place: &Path| fs::set_permissions(place, PermissionsExt::from_mode(mode)).unwrap();
    open(0o711, daemon.state().parent().unwrap());
    open(0o711, &daemon.state());
    open(0o666, &socket);
    let place = socket.clone();
    let asking = as_other_user(move || ["/api/sessions", "/healthz"].map(|path| ask(&place, &format!("GET {path}"))));
    for answer in asking.unwrap().join().unwrap() {
        let is_refused = answer.starts_with("HTTP/1.1 403") && answer.contains("foreign_user");
        assert!(is_refused && !answer.contains("sessions\":"), "{answer}");
    }
    open(0o700, &daemon.state());
}

#[test]
fn root_may_call_the_daemon_of_any_user() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (home, program) = (folder.path().join("home"), folder.path().join("cc-executor"));
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(OTHER_USER), Some(OTHER_USER)).unwrap();
    fs::copy(BINARY, &program).unwrap();
    let user = OTHER_USER.to_string();
    let mut daemon = std::process::Command::new("setpriv")
        .args([
            format!("--reuid={user}"),
            format!("--regid={user}"),
            "--clear-groups".into(),
        ])
        .arg(&program)
        .args(["serve", "--port=0"])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .current_dir(&home)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state = home.join(".local/state/cc-executor");
    until("the daemon to say where it is", || {
        state.join("daemon.json").exists().then_some(())
    });
    let call = |verb: &str| {
        let mut command = std::process::Command::new(&program);
        command.args([verb, "--state-dir"]).arg(&state).output().unwrap()
    };
    let listed = call("ls");
    let stopped = call("stop");
    if !stopped.status.success() {
        daemon.kill().unwrap();
    }
    daemon.wait().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
}

#[test]
fn a_socket_that_vanishes_is_bound_anew_and_streams_go_on() {
    let daemon = TestDaemon::start();
    let id = daemon.create("silence");
    let mut following = daemon.command(&["logs", "-f", "--json", &id]);
    let mut following = following.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("session_id"));
    fs::remove_file(daemon.socket()).unwrap();
    assert_works(&daemon, &[("XDG_RUNTIME_DIR", "/nowhere")]);
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
    assert!(lines.any(|line| line.unwrap().contains("session.ended")));
    let mut told = String::new();
    following.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    following.wait().unwrap();
    assert!(!told.contains("gone"), "{told}");
}

#[test]
fn a_socket_in_the_runtime_directory_is_found_from_any_environment_and_outlives_it() {
    // A state directory whose name is too long for a socket.
    let mut daemon = TestDaemon::stopped(&[]);
    let long = daemon.root().join("x".repeat(90));
    daemon.set("CC_EXECUTOR__STATE__DIR", &long.display().to_string());
    let mut serving = daemon.command(&["serve"]);
    let mut serving = serving.stderr(Stdio::null()).spawn().unwrap();
    let socket = || {
        let said: Value = serde_json::from_slice(&fs::read(long.join("daemon.json")).ok()?).ok()?;
        Some(std::path::PathBuf::from(said["socket"].as_str()?))
    };
    let first = until("the daemon to say where it is", socket);
    assert!(first.starts_with(daemon.root().join("run")), "{}", first.display());
    assert_works(&daemon, &[("XDG_RUNTIME_DIR", "/nowhere")]);
    fs::remove_dir_all(daemon.root().join("run")).unwrap();
    assert_works(&daemon, &[("XDG_RUNTIME_DIR", "/nowhere")]);
    let stopped = cli(&daemon, &["stop"], &[]);
    serving.wait().unwrap();
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(!first.exists(), "it takes its socket away");
}

#[test]
fn a_daemon_of_the_version_before_is_used_and_replaced() {
    let mut daemon = TestDaemon::start();
    let path = daemon.state().join("daemon.json");
    let mut said: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    said.as_object_mut().unwrap().remove("socket");
    fs::write(&path, said.to_string()).unwrap();
    assert_works(&daemon, &[]);
    let ran = cli(&daemon, &["run", "-q", "say hello"], &[]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout).trim(), "hello");
    let restarted = cli(&daemon, &["restart"], &[]);
    assert!(
        restarted.status.success(),
        "{}",
        String::from_utf8_lossy(&restarted.stderr)
    );
    daemon.is_replaced();
    assert!(daemon.socket().exists());
    assert_works(&daemon, &[]);
    assert!(cli(&daemon, &["stop"], &[]).status.success());
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

/// What a relay answers to a client that introduces itself and leaves.
fn introduced(mut relay: std::process::Command) -> Value {
    let mut relay = relay.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let params =
        json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let hello = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
    writeln!(relay.stdin.as_mut().unwrap(), "{hello}").unwrap();
    let answer = BufReader::new(relay.stdout.take().unwrap())
        .lines()
        .next()
        .unwrap()
        .unwrap();
    drop(relay.stdin.take());
    relay.wait().unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[test]
fn a_daemon_elsewhere_is_called_by_its_url_with_a_token() {
    let daemon = TestDaemon::start();
    let (status, made) = daemon.post("/api/tokens", &json!({"name": "far", "role": "viewer"}));
    assert_eq!(status, 201, "{made}");
    let url = daemon.base_url().unwrap();
    let far = [
        ("CC_EXECUTOR_URL", url.as_str()),
        ("CC_EXECUTOR_TOKEN", made["token"].as_str().unwrap()),
    ];
    // Another state directory: nothing in it is looked at, and no daemon is started there.
    let empty = daemon.root().join("empty").display().to_string();
    let elsewhere = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--state-dir", &empty]).collect();
        let done = cli(&daemon, &arguments, environment);
        (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    assert_eq!(elsewhere(&["ls"], &far).0, Some(0));
    let (code, told) = elsewhere(&["run", "say hi"], &far);
    assert!(code == Some(5) && told.contains("viewer"), "{code:?} {told}");
    for verb in ["stop", "restart"] {
        let (code, told) = elsewhere(&[verb], &far);
        assert!(code == Some(2) && told.contains("CC_EXECUTOR_URL"), "{code:?} {told}");
    }
    assert_eq!(elsewhere(&["ls"], &far[..1]).0, Some(2), "a token is needed");
    let (_, made) = daemon.post("/api/tokens", &json!({"name": "near", "role": "operator"}));
    let mut relay = daemon.command(&["mcp", "--state-dir", &empty]);
    relay.envs([far[0], ("CC_EXECUTOR_TOKEN", made["token"].as_str().unwrap())]);
    assert!(introduced(relay)["result"]["serverInfo"].is_object());
    let inside = [
        far[0],
        far[1],
        ("CC_EXECUTOR_ATTEMPT", "0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10/1"),
    ];
    assert_eq!(
        elsewhere(&["ls"], &inside).0,
        Some(4),
        "an agent has no daemon elsewhere"
    );
    assert!(!Path::new(&empty).exists());
}
