//! What an agent writes is shown, whatever it is, and holds up nothing.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;

/// A page as it comes.
fn page(daemon: &TestDaemon, path: &str) -> String {
    match daemon.get(path) {
        (200, Value::String(html)) => html,
        (status, other) => panic!("{status}: {other}"),
    }
}

/// How deep elements of this name are nested.
fn depth_of(html: &str, name: &str) -> usize {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let (mut depth, mut most, mut rest) = (0_usize, 0, html);
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        if rest.starts_with(&begin) {
            depth += 1;
            most = most.max(depth);
        } else if rest.starts_with(&end) {
            depth -= 1;
        }
        rest = &rest[1..];
    }
    most
}

/// Waits until the daemon has at most half as much memory again as it had.
fn wait_for_memory(daemon: &TestDaemon, before: u64) {
    let most = std::cell::Cell::new(0);
    until("memory to be given back", || {
        most.set(daemon.memory());
        (most.get() <= before + before / 2).then_some(())
    });
}

#[test]
fn a_plan_of_nothing_but_quotes_is_shown_bounded_holds_up_no_cancel_and_leaves_no_memory() {
    let daemon = TestDaemon::start();
    // What the first page and the first question need is there from then on.
    let first = daemon.create("plan-of > a **plan**");
    daemon.question(&first);
    for path in ["/".to_owned(), format!("/execution/{first}")] {
        assert_eq!(depth_of(&page(&daemon, &path), "blockquote"), 1);
    }
    daemon.cancel(&first);
    daemon.wait_for(&first, "cancelled");
    let before = daemon.memory();
    let id = daemon.create(&format!("plan-of {}x", ">".repeat(48_000)));
    daemon.question(&id);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|n| {
                let path = if n % 2 == 0 {
                    "/".to_owned()
                } else {
                    format!("/execution/{id}")
                };
                let daemon = &daemon;
                scope.spawn(move || page(daemon, &path))
            })
            .collect();
        for reader in readers {
            let html = reader.join().expect("it is shown");
            let depth = depth_of(&html, "blockquote");
            assert!((1..=64).contains(&depth), "{depth} levels");
        }
        daemon.cancel(&id);
    });
    daemon.wait_for(&id, "cancelled");
    wait_for_memory(&daemon, before);
}

#[test]
fn a_burst_of_stream_readers_leaves_no_memory() {
    let readers = 2_000;
    let files = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let daemon = TestDaemon::start_with(&[
        ("CC_EXECUTOR__SERVER__CONNECTIONS_MAX", "4096"),
        ("CC_EXECUTOR__LIMITS__STREAM_READERS_MAX", "4096"),
    ]);
    let id = daemon.create("flood 20 300");
    daemon.wait_for(&id, "completed");
    let base = daemon.base_url().unwrap();
    let address = base.trim_start_matches("http://");
    let token = daemon.token();
    let read = || {
        let mut stream = TcpStream::connect(address).expect("a connection");
        let request =
            format!("GET /execution/{id}/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = BufReader::new(stream);
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        answer
    };
    // What the first readers need is there from then on.
    let burst = |readers: usize| drop((0..readers).map(|_| read()).collect::<Vec<_>>());
    burst(readers / 20);
    let before = daemon.memory();
    burst(readers);
    wait_for_memory(&daemon, before);
}

/// A daemon's question about this command.
fn asking(daemon: &TestDaemon, command: &str) -> (String, Value) {
    let id = daemon.create(&format!("ask-permission {command} ;; say done"));
    let question = daemon.question(&id);
    (id, question)
}

#[test]
fn what_is_hidden_in_a_command_stands_in_its_place_on_the_page_and_is_what_runs() {
    let daemon = TestDaemon::start();
    let command = "touch a\u{200d}b\u{202e}c\u{61c}d\u{ad}e";
    let (id, question) = asking(&daemon, command);
    let html = page(&daemon, &format!("/execution/{id}"));
    let shown = "a⟨U+200D⟩b⟨U+202E⟩c⟨U+061C⟩d⟨U+00AD⟩e";
    assert!(html.contains(shown), "{html}");
    let hidden = ['\u{200d}', '\u{202e}', '\u{61c}', '\u{ad}'];
    let texts = html.split('<').filter_map(|part| part.split_once('>'));
    let left: Vec<&str> = texts
        .map(|(_, text)| text)
        .filter(|text| text.contains(hidden))
        .collect();
    assert!(left.is_empty(), "nowhere it is as it was written: {left:?}");
    daemon.answer(
        &id,
        question["question_id"].as_str().unwrap(),
        &json!({"action": "allow"}),
    );
    daemon.wait_for(&id, "completed");
    assert!(daemon.work().join("a\u{200d}b\u{202e}c\u{61c}d\u{ad}e").exists());
}

#[test]
fn an_address_that_a_server_wants_opened_is_shown_and_answered() {
    let daemon = TestDaemon::start();
    let id = daemon.create("open Sign in first | https://e.example/?a=1\u{200b} ;; say done");
    let question = daemon.question(&id);
    assert_eq!(question["url"], "https://e.example/?a=1\u{200b}", "{question}");
    let html = page(&daemon, &format!("/execution/{id}"));
    assert!(html.contains("https://e.example/?a=1⟨U+200B⟩"), "{html}");
    let (status, view) = daemon.answer(&id, "q1", &json!({"action": "allow"}));
    assert_eq!(status, 200, "{view}");
    daemon.wait_for(&id, "completed");
    let told = daemon.texts(&id).join(" ");
    assert!(told.contains("done"), "{told}");
    let results = daemon
        .records_of(&id, "agent.message")
        .iter()
        .map(Value::to_string)
        .collect::<String>();
    assert!(results.contains("It was filled in"), "{results}");
}
