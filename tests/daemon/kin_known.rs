//! How an agent that calls is known by the Unix socket, and what its command line does.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::kin::{Parent, request_of};
use crate::support::daemon::{BINARY, TestDaemon};

/// The socket that the call of [`calls_by_the_socket`] goes to, and the path that it asks for.
const SOCKET: &str = "CC_EXECUTOR_TEST_SOCKET";
const PATH: &str = "CC_EXECUTOR_TEST_PATH";

/// Another process of a test: it asks for something at the socket and says no word of who it is.
#[test]
fn calls_by_the_socket() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    let path = std::env::var(PATH).unwrap();
    let mut connection = UnixStream::connect(socket).unwrap();
    write!(
        connection,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    println!("\nanswered {}", answer.split_ascii_whitespace().nth(1).unwrap());
}

#[test]
fn a_process_is_known_at_the_socket_by_its_mark_and_by_those_above_it() {
    let daemon = TestDaemon::start();
    let said = std::fs::read(daemon.state().join("daemon.json")).unwrap();
    let socket = serde_json::from_slice::<Value>(&said).unwrap()["socket"]
        .as_str()
        .unwrap()
        .to_owned();
    let status = |own: &str, above: &str, path: &str| {
        let test = std::env::current_exe().unwrap();
        let line = r#"CC_EXECUTOR_ATTEMPT="$OWN" "$0" --exact kin_known::calls_by_the_socket --nocapture; exit $?"#;
        let line = if own.is_empty() {
            line.replace(r#"CC_EXECUTOR_ATTEMPT="$OWN""#, "env -u CC_EXECUTOR_ATTEMPT")
        } else {
            line.into()
        };
        let mut shell = daemon.command_of("/bin/sh".as_ref());
        shell
            .args(["-c", &line])
            .arg(test)
            .env("OWN", own)
            .env(SOCKET, &socket)
            .env(PATH, path);
        if !above.is_empty() {
            shell.env("CC_EXECUTOR_ATTEMPT", above);
        }
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let answered = said.lines().find_map(|line| line.strip_prefix("answered "));
        answered.unwrap_or_else(|| panic!("{output:?}")).parse::<u16>().unwrap()
    };
    let with = Parent::start(&daemon, "with", json!({}));
    let without = Parent::start(&daemon, "without", json!({"executor_tools": false}));
    assert_eq!(status("", "", "/api/tokens"), 200, "it is the owner's");
    for (own, above) in [(with.mark.as_str(), ""), ("", &with.mark), (&with.mark, &with.mark)] {
        assert_eq!(status(own, above, "/api/sessions"), 200, "it has the tools");
        assert_eq!(status(own, above, "/api/tokens"), 403, "and is no owner");
    }
    for (own, above) in [
        (without.mark.as_str(), ""),
        ("", &without.mark),
        // What an agent starts may say that it is another's.
        (&with.mark, &without.mark),
        ("anything", &with.mark),
        ("anything", ""),
    ] {
        assert_eq!(status(own, above, "/api/sessions"), 403, "{own} {above}");
    }
    with.end();
    without.end();
}

#[test]
fn the_command_line_in_an_agent_does_what_the_agents_session_was_given() {
    let daemon = TestDaemon::start();
    let line = |what: &str| format!("bash {BINARY} --state-dir {} {what}", daemon.state().display());
    let steps = [
        "ls --json",
        "run 'say from inside'",
        "token",
        "run --permission-mode bypassPermissions 'say no'",
    ];
    let steps: Vec<_> = steps.iter().map(|what| line(what)).collect();
    let said = |tools: bool| {
        let id = daemon.create_with(json!({"task": steps.join(" ;; "), "executor_tools": tools}));
        daemon.wait_for(&id, "completed");
        let results = daemon
            .records_of(&id, "agent.message")
            .into_iter()
            .map(|record| record["data"]["message"].clone());
        let results = results.filter(|message| message["type"] == "tool_result");
        (
            id,
            results.map(|message| message["text"].to_string()).collect::<Vec<_>>(),
        )
    };
    let (id, with) = said(true);
    assert!(with[0].contains(&id) && with[1].contains("from inside"), "{with:#?}");
    assert!(
        with[2].contains("for people") && with[3].contains("wider than default"),
        "{with:#?}"
    );
    let (_, page) = daemon.get("/api/sessions?limit=100");
    let below = page["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|view| view["task"] == "say from inside");
    let below = below.expect("it ran")["session_id"].as_str().unwrap().to_owned();
    assert_eq!(request_of(&daemon, &below)["parent"], json!(id));
    let (_, without) = said(false);
    assert!(
        [0, 1, 3].iter().all(|n| without[*n].contains("--with-executor")),
        "{without:#?}"
    );
    assert!(!without.concat().contains(&daemon.token()));
}
