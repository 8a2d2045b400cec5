//! The command line as scripts use it: what it prints, and how it exits.

mod gone;
mod inside;
mod mcp_config;
mod names;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod texts;
mod tokens;

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use support::daemon::{BINARY, TestDaemon};
use support::wait::until;

fn run(daemon: &TestDaemon, arguments: &[&str]) -> Output {
    daemon.command(arguments).output().expect("the command runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&out(output)).unwrap_or_else(|error| panic!("{error}: {}\n{}", out(output), err(output)))
}

#[test]
fn run_streams_the_text_and_exits_with_the_outcome() {
    let daemon = TestDaemon::start();
    let done = run(&daemon, &["run", "say hello there ;; bash echo from the tool"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert_eq!(
        out(&done).matches("hello there").count(),
        2,
        "once in the name, once as text: {}",
        out(&done)
    );
    assert!(out(&done).contains("from the tool"));
    assert!(!out(&done).contains('\u{1b}'), "no escapes where there is no terminal");
    let failed = run(&daemon, &["run", "max-turns"]);
    assert_eq!(failed.status.code(), Some(1));
    let late = run(&daemon, &["run", "--timeout", "1s", "say hi ;; silence"]);
    assert_eq!(late.status.code(), Some(124), "{}", err(&late));
}

#[test]
fn a_task_comes_through_a_pipe() {
    let daemon = TestDaemon::start();
    for arguments in [&["run", "-"][..], &["run"]] {
        let task = daemon.root().join("task");
        std::fs::write(&task, "say hello from a pipe").expect("a file");
        let mut piped = daemon.command(arguments);
        piped.stdin(std::fs::File::open(&task).expect("the file"));
        let done = piped.output().expect("the command runs");
        assert_eq!(done.status.code(), Some(0), "{}", err(&done));
        assert!(out(&done).contains("hello from a pipe"), "{}", out(&done));
    }
}

#[test]
fn a_directory_that_cannot_be_entered_is_refused() {
    let daemon = TestDaemon::stopped(&[]);
    let closed = daemon.root().join("closed");
    std::fs::DirBuilder::new()
        .mode(0o000)
        .create(&closed)
        .expect("a folder");
    // Root may enter every directory, unless it gives that right up.
    let is_root = rustix::process::geteuid().is_root();
    let mut run_there = daemon.command_of(Path::new(if is_root { "setpriv" } else { BINARY }));
    if is_root {
        run_there.args(["--bounding-set=-dac_override,-dac_read_search", BINARY]);
    }
    run_there.args(["run", "say hello", "--cwd"]).arg(&closed);
    let refused = run_there.output().expect("it runs");
    assert_eq!(refused.status.code(), Some(2), "{}", err(&refused));
    assert!(err(&refused).contains("it cannot be entered"), "{}", err(&refused));
    // So that the test's folder can be removed.
    std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).expect("it is ours");
    let stopped = run(&daemon, &["stop"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", err(&stopped));
}

#[test]
fn run_in_json_prints_one_record_a_line() {
    let daemon = TestDaemon::start();
    let done = run(&daemon, &["run", "--json", "say hello"]);
    let text = out(&done);
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let seqs: Vec<u64> = records
        .iter()
        .map(|record| record["seq"].as_u64().expect("a seq"))
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
    assert_eq!(records.last().expect("records")["kind"], "session.ended");
}

#[test]
fn a_detached_run_is_listed_answered_waited_for_and_logged() {
    let daemon = TestDaemon::start();
    let started = run(
        &daemon,
        &[
            "run",
            "--detach",
            "--json",
            "--name",
            "mine",
            "ask-permission true ;; say done",
        ],
    );
    let view = json(&started);
    assert_eq!(view["name"], "mine");
    let id = view["session_id"].as_str().expect("an id").to_owned();
    daemon.question(&id);
    let unsaid = run(&daemon, &["answer"]);
    assert_eq!(unsaid.status.code(), Some(2));
    assert!(err(&unsaid).contains("--allow"), "{}", err(&unsaid));
    let listed = json(&run(&daemon, &["ls", "--json"]));
    assert_eq!(listed[0]["state"], "awaiting_input");
    for field in ["session_id", "name", "state", "attempt", "cwd", "created_at"] {
        assert!(!listed[0][field].is_null(), "{field} in {listed}");
    }
    let answered = run(&daemon, &["answer", "--allow"]);
    assert_eq!(answered.status.code(), Some(0), "{}", err(&answered));
    let waited = run(&daemon, &["wait", &id]);
    assert_eq!(waited.status.code(), Some(0), "{}", err(&waited));
    let logged = out(&run(&daemon, &["logs", &id, "--json"]));
    let first: Value = serde_json::from_str(logged.lines().next().expect("a line")).expect("JSON");
    assert_eq!((&first["seq"], &first["kind"]), (&1.into(), &"session.created".into()));
    let after = out(&run(&daemon, &["logs", &id, "--json", "--after", "2"]));
    assert!(after.starts_with("{\"seq\":3,"), "{after}");
    assert_eq!(
        run(&daemon, &["answer", &id, "--allow"]).status.code(),
        Some(3),
        "no question is open any more"
    );
}

#[test]
fn logs_print_a_journal_of_many_pages_or_its_end() {
    let daemon = TestDaemon::start();
    let done = run(&daemon, &["run", "--json", "flood 1200"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    let id = out(&run(&daemon, &["ls", "-q"])).trim().to_owned();
    let head = daemon.view(&id)["head"].as_u64().expect("a head");
    let count = |arguments: &[&str]| out(&run(&daemon, arguments)).lines().count() as u64;
    assert!(head > 1200);
    assert_eq!(count(&["logs", &id]), head);
    assert_eq!(count(&["logs", &id, "--json", "--tail", "700"]), 700);
    assert_eq!(count(&["logs", &id, "--follow", "-n", "3"]), 3);
    let last = head.to_string();
    assert_eq!(count(&["logs", &id, "--after", &last]), 0);
    for verb in ["logs", "attach"] {
        let beyond = run(&daemon, &[verb, &id, "--after", "99999"]);
        assert_eq!(beyond.status.code(), Some(2));
        assert!(err(&beyond).contains(&last), "{}", err(&beyond));
    }
}

#[test]
fn a_session_is_named_by_either_end_of_its_short_id_or_not_at_all_while_it_is_the_only_one() {
    let daemon = TestDaemon::start();
    let none = run(&daemon, &["attach"]);
    assert_eq!(none.status.code(), Some(3), "{}", err(&none));
    let first = daemon.create("say first ;; silence");
    let short = first[first.len() - 8..].to_owned();
    for meant in [&short[..4], &short[3..]] {
        assert_eq!(
            json(&run(&daemon, &["status", meant, "--json"]))["session_id"],
            first.as_str()
        );
    }
    assert_eq!(json(&run(&daemon, &["status", "--json"]))["session_id"], first.as_str());
    let second = daemon.create("say second ;; silence");
    let several = run(&daemon, &["status"]);
    assert_eq!(several.status.code(), Some(2));
    assert!(
        err(&several).contains(&short) && err(&several).contains("say second"),
        "{}",
        err(&several)
    );
    let cancelled = run(&daemon, &["cancel", &first, "ffffffff", &second]);
    assert_eq!(
        cancelled.status.code(),
        Some(3),
        "the one that is unknown: {}",
        err(&cancelled)
    );
    let ended = run(&daemon, &["wait", &first, &second]);
    assert_eq!(ended.status.code(), Some(130));
}

#[test]
fn waiting_may_end_with_a_question_or_with_the_time() {
    let daemon = TestDaemon::start();
    let id = daemon.create("ask-permission true ;; silence");
    let asked = run(&daemon, &["wait", "--until", "question", &id]);
    assert_eq!(asked.status.code(), Some(0), "{}", err(&asked));
    assert!(out(&asked).ends_with(" awaiting_input\n"), "{}", out(&asked));
    let again = run(&daemon, &["wait", "--until", "question", "--json", &id]);
    assert_eq!(json(&again)["state"], "awaiting_input", "it still waits");
    let late = run(&daemon, &["wait", "--timeout", "1s", &id]);
    assert_eq!(late.status.code(), Some(124));
    assert!(err(&late).contains("goes on"), "{}", err(&late));
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn the_list_says_that_it_leaves_out_what_is_old() {
    let daemon = TestDaemon::start();
    for _ in 0..51 {
        daemon.create("say hello");
    }
    until("all to end", || {
        out(&run(&daemon, &["ls", "-q", "--state", "live"]))
            .is_empty()
            .then_some(())
    });
    let listed = run(&daemon, &["ps"]);
    assert_eq!(
        out(&listed).lines().count(),
        51,
        "fifty below the titles: {}",
        out(&listed)
    );
    assert!(err(&listed).contains("ls --all"), "{}", err(&listed));
    let all = run(&daemon, &["ls", "--all", "--quiet"]);
    assert_eq!((out(&all).lines().count(), err(&all).as_str()), (51, ""));
}

#[test]
fn a_daemon_of_another_version_is_used_and_named() {
    let daemon = TestDaemon::start();
    let quiet = run(&daemon, &["run", "say hello"]);
    assert!(!err(&quiet).contains("cc-executor restart"), "{}", err(&quiet));
    let file = daemon.state().join("daemon.json");
    let mut written: Value = serde_json::from_slice(&std::fs::read(&file).expect("the file")).expect("JSON");
    written["version"] = "0.0.9".into();
    std::fs::write(&file, written.to_string()).expect("it can be written");
    let done = run(&daemon, &["run", "say hello"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(
        err(&done).contains("0.0.9") && err(&done).contains("cc-executor restart"),
        "{}",
        err(&done)
    );
}

#[test]
fn a_stopped_daemon_leaves_its_agents_to_the_next_one() {
    let mut daemon = TestDaemon::start();
    let id = daemon.create("say begun ;; wait-file go ;; say done");
    daemon.wait_for(&id, "running");
    let stopped = run(&daemon, &["stop"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", err(&stopped));
    assert_eq!(daemon.wait_for_end(), Some(0));
    let nobody = run(&daemon, &["stop"]);
    assert_eq!(nobody.status.code(), Some(4));
    let place = daemon.state().display().to_string();
    assert!(err(&nobody).contains(&place), "it says for whom: {}", err(&nobody));
    std::fs::write(daemon.work().join("go"), "").expect("a file");
    daemon.launch();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!(view["attempt"], 1, "the same agent went on");
}

#[test]
fn attach_shows_what_was_written_and_a_cancel_its_exit_code() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say already there ;; silence");
    daemon.wait_for(&id, "running");
    let attached = daemon
        .command(&["attach", &id])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it runs");
    let cancelled = run(&daemon, &["cancel", &id]);
    assert_eq!(cancelled.status.code(), Some(0), "{}", err(&cancelled));
    let attached = attached.wait_with_output().expect("it ends");
    assert_eq!(attached.status.code(), Some(130));
    assert!(out(&attached).contains("already there"));
}

#[test]
fn mistakes_have_their_own_exit_codes() {
    let daemon = TestDaemon::start();
    let code = |arguments: &[&str]| run(&daemon, arguments).status.code();
    assert_eq!(code(&["run"]), Some(2));
    assert_eq!(code(&["run", "--timeout", "soon", "x"]), Some(2));
    assert_eq!(code(&["status", "ffffffff"]), Some(3));
    assert_eq!(code(&["run", "--cwd", "/no/such/place", "x"]), Some(2));
    assert_eq!(code(&["ls", "--state", "asleep"]), Some(2));
    assert_eq!(code(&["status", ""]), Some(2), "as from a variable that is not set");
    assert_eq!(code(&["help", "run"]), Some(0));
    let unquoted = run(&daemon, &["run", "tidy", "up"]);
    assert_eq!(unquoted.status.code(), Some(2));
    assert!(err(&unquoted).contains("in quotes"), "{}", err(&unquoted));
    let wordless = run(&daemon, &["ls", "up"]);
    assert!(!err(&wordless).contains("in quotes"), "{}", err(&wordless));
    let unknown = run(&daemon, &["attach", "ffffffff"]);
    assert!(err(&unknown).starts_with("error: "), "{}", err(&unknown));
}

#[test]
fn without_a_daemon_only_run_starts_one() {
    let daemon = TestDaemon::stopped(&[]);
    let listed = run(&daemon, &["ls"]);
    assert_eq!(listed.status.code(), Some(4));
    assert!(err(&listed).contains("cc-executor serve"), "{}", err(&listed));
    let place = daemon.root().join("taken");
    std::fs::write(&place, "").expect("a file");
    let place = place.display().to_string();
    let nowhere = run(&daemon, &["--state-dir", &place, "run", "say hello"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(err(&nowhere).contains(&place), "it says where: {}", err(&nowhere));
    let done = run(&daemon, &["run", "say hello"]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    assert!(err(&done).contains("started the daemon"), "{}", err(&done));
    let file = std::fs::read(daemon.state().join("daemon.json")).expect("the daemon says where it is");
    let pid = serde_json::from_slice::<Value>(&file).expect("JSON")["pid"]
        .as_u64()
        .expect("a pid");
    support::daemon::signal(u32::try_from(pid).expect("a pid"), rustix::process::Signal::TERM);
    support::wait::until("the daemon to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn a_second_session_in_the_same_directory_gets_a_warning() {
    let daemon = TestDaemon::start();
    let first = daemon.create("silence");
    daemon.wait_for(&first, "running");
    let second = run(&daemon, &["run", "say hello"]);
    assert!(
        err(&second).contains("already works in this directory"),
        "{}",
        err(&second)
    );
    daemon.cancel(&first);
    daemon.wait_for(&first, "cancelled");
}

#[test]
fn sessions_are_removed_by_name_and_by_age() {
    let daemon = TestDaemon::start();
    let code = |arguments: &[&str]| run(&daemon, arguments).status.code();
    let [one, two, three] = ["say one", "say two", "say three"].map(|task| daemon.create(task));
    for id in [&one, &two, &three] {
        daemon.wait_for(id, "completed");
    }
    let live = daemon.create("ask-permission true ;; say done");
    daemon.question(&live);
    let refused = run(&daemon, &["rm", &live]);
    assert_eq!(refused.status.code(), Some(5));
    assert!(
        err(&refused).contains("`cc-executor cancel` ends it"),
        "{}",
        err(&refused)
    );
    assert_eq!(code(&["rm", "ffffffff"]), Some(3));
    let removed = run(&daemon, &["rm", &one[28..]]);
    assert_eq!(
        out(&removed),
        format!("session {} is removed\n", &one[28..]),
        "{}",
        err(&removed)
    );
    let several = run(&daemon, &["rm", "--json", &one, &two]);
    assert_eq!(
        several.status.code(),
        Some(3),
        "one of them was gone: {}",
        err(&several)
    );
    assert_eq!(json(&several), serde_json::json!({"session_id": two, "removed": true}));

    assert!(out(&run(&daemon, &["gc"])).contains("nothing"), "30 days is long");
    until("a second to have passed since its end, and its host to be gone", || {
        let told = run(&daemon, &["gc", "--older-than", "1s", "--dry-run"]);
        (out(&told).contains(&three[28..]) && out(&told).contains("would free")).then_some(())
    });
    let told = json(&run(&daemon, &["gc", "--older-than", "1s", "--dry-run", "--json"]));
    assert_eq!(
        (&told["dry_run"], &told["sessions"][0]["session_id"]),
        (&true.into(), &three.clone().into())
    );
    let spools = out(&run(&daemon, &["gc", "--older-than", "1s", "--spools-only"]));
    assert!(
        spools.contains("freed") && spools.contains("the output of 1 session"),
        "{spools}"
    );
    assert_eq!(code(&["logs", &three]), Some(0));
    let swept = out(&run(&daemon, &["gc", "--older-than", "1s"]));
    assert!(swept.contains("freed") && swept.contains(": 1 session;"), "{swept}");
    assert_eq!(code(&["logs", &three]), Some(3));
    assert_eq!(code(&["gc", "--older-than", "soon"]), Some(2));
    assert!(out(&run(&daemon, &["rm", "--help"])).contains("Transcripts that Claude itself keeps"));

    assert_eq!(code(&["answer", &live, "--allow"]), Some(0));
    daemon.wait_for(&live, "completed");
}

#[test]
fn open_prints_a_link_that_signs_in_and_starts_the_browser_with_a_file_only() {
    let daemon = TestDaemon::start();
    let printed = run(&daemon, &["open", "--print"]);
    let link = out(&printed);
    assert!(link.contains("/sign-in?code="), "{link}{}", err(&printed));
    assert_eq!(err(&printed), "");
    let bare = run(&daemon, &["open"]);
    assert!(err(&bare).contains("no display"), "{}", err(&bare));
    let browser = daemon.root().join("browser");
    let seen = daemon.root().join("seen");
    std::fs::write(
        &browser,
        format!("#!/bin/sh\necho \"$@\" > {0}.new && mv {0}.new {0}\n", seen.display()),
    )
    .expect("a script");
    std::fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("it is a program");
    let opened = daemon
        .command(&["open", "--json"])
        .env("BROWSER", &browser)
        .output()
        .expect("it runs");
    let link = json(&opened)["url"].as_str().expect("a link").to_owned();
    let given = support::wait::until("the browser", || std::fs::read_to_string(&seen).ok());
    assert!(
        !given.contains("code="),
        "others can see what a program was started with: {given}"
    );
    let page = std::fs::read_to_string(given.trim()).expect("the file is there");
    assert!(page.contains(&link), "{page}");
    let unknown = run(&daemon, &["open", "ffffffff", "--print"]);
    assert_eq!(unknown.status.code(), Some(3));
}

#[test]
fn open_starts_a_daemon_where_none_runs_and_token_does_not() {
    let daemon = TestDaemon::stopped(&[]);
    assert_eq!(run(&daemon, &["token", "ls"]).status.code(), Some(4));
    let opened = run(&daemon, &["open", "--print"]);
    assert_eq!(opened.status.code(), Some(0), "{}", err(&opened));
    assert!(err(&opened).contains("started the daemon"));
    let file = std::fs::read(daemon.state().join("daemon.json")).expect("the daemon says where it is");
    let pid = serde_json::from_slice::<Value>(&file).expect("JSON")["pid"]
        .as_u64()
        .expect("a pid");
    support::daemon::signal(u32::try_from(pid).expect("a pid"), rustix::process::Signal::TERM);
    support::wait::until("the daemon to end", || daemon.family().is_empty().then_some(()));
}
