//! A request is taken in whole: the files that it names, its environment, its umask, and texts of any length.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, TestDaemon};
use crate::support::wait::until;

const SERVERS: &str = r#"{"mcpServers":{"kept":{"command":"true","env":{"KEY":"hunter2"}}}}"#;

/// The launch plan of an attempt.
fn plan(daemon: &TestDaemon, id: &str, attempt: u32) -> Value {
    let path = daemon.state().join(format!("sessions/{id}/{attempt}/launch.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The file that a flag of the agent names.
fn named_file(plan: &Value, flag: &str) -> PathBuf {
    let flag = format!("--{flag}=");
    let words = plan["argv"].as_array().unwrap().iter();
    let path = words
        .filter_map(|word| word.as_str()?.strip_prefix(flag.as_str()))
        .next();
    path.unwrap_or_else(|| panic!("no {flag}: {plan:#}")).into()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_that_a_request_names_may_change_and_go_once_the_request_is_accepted() {
    let daemon = TestDaemon::start();
    let (servers, gate) = (daemon.work().join("servers.json"), daemon.root().join("gate"));
    fs::write(&servers, SERVERS).unwrap();
    let task = format!("say one ;; wait-file {} ;; crash once ;; say two", gate.display());
    let id = daemon.create_with(json!({"task": task, "mcp_config": ["servers.json"]}));
    fs::remove_file(&servers).unwrap();
    fs::write(gate, "").unwrap();
    assert_eq!(daemon.wait_for(&id, "completed")["attempt"], 2);
    let (_, fork) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "say three"}),
    );
    let copy = fork["session_id"].as_str().unwrap();
    daemon.wait_for(copy, "completed");
    for (session, attempt) in [(id.as_str(), 1), (&id, 2), (copy, 1)] {
        let kept = named_file(&plan(&daemon, session, attempt), "mcp-config");
        assert_eq!(fs::read_to_string(&kept).unwrap(), SERVERS);
        assert!(
            kept.starts_with(daemon.state().join("sessions").join(session)),
            "{kept:?}"
        );
        assert_eq!(mode(&kept), 0o600);
    }
    let export = daemon.command(&["export", &id]).output().unwrap();
    let export = String::from_utf8_lossy(&export.stdout).into_owned();
    assert!(
        export.contains("servers.json") && !export.contains("hunter2"),
        "{export}"
    );
    let (status, _) = daemon.delete(&format!("/api/sessions/{id}"));
    assert_eq!(status, 204);
    until("the files to go", || {
        (!daemon.state().join("sessions").join(&id).exists()).then_some(())
    });
}

/// Everything that a viewer can read of a session.
fn read_by_viewers(daemon: &TestDaemon, id: &str) -> Vec<String> {
    let mut read: Vec<String> = [
        format!("/api/sessions/{id}"),
        format!("/api/sessions/{id}/records"),
        format!("/api/sessions/{id}/export?format=json"),
    ]
    .map(|path| daemon.get(&path).1.to_string())
    .into();
    let stream = daemon.stream(&format!("/execution/{id}/stream?after=0"), None);
    read.extend(stream.map(|event| format!("{event:?}")));
    for arguments in [&["export", id][..], &["logs", "--json", id], &["ls", "--json"]] {
        let output = daemon.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        read.push(String::from_utf8(output.stdout).unwrap());
    }
    read
}

#[test]
fn values_of_env_and_headers_are_in_no_record_and_reach_the_agent() {
    let mut daemon = TestDaemon::start();
    let config = r#"{"mcpServers":{"s":{"command":"true","env":{"KEY":"hunter2"}},"w":{"url":"http://127.0.0.1:9","headers":{"X-Key":"hunter2"}}}}"#;
    let id = daemon.create_with(json!({"task": "say one ;; max-turns", "mcp_config": [config]}));
    daemon.wait_for(&id, "failed");
    let created = || daemon.records_of(&id, "session.created").remove(0);
    let recorded = |created: &Value| created["data"]["request"]["mcp_config"][0].as_str().unwrap().to_owned();
    let shown = recorded(&created());
    assert!(shown.contains("KEY") && shown.contains("X-Key"), "{shown}");
    let check = |daemon: &TestDaemon| {
        for read in read_by_viewers(daemon, &id) {
            assert!(!read.contains("hunter2"), "{read}");
        }
    };
    check(&daemon);
    let database = rusqlite::Connection::open(daemon.state().join("journal.sqlite3")).unwrap();
    let count = "SELECT count(*) FROM records WHERE instr(body, 'hunter2') > 0";
    let holding = |database: &rusqlite::Connection| database.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(holding(&database), 0);
    drop(database);
    let (_, fork) = daemon.post(&format!("/api/sessions/{id}/fork"), &json!({"instruction": "say two"}));
    let copy = fork["session_id"].as_str().unwrap().to_owned();
    daemon.wait_for(&copy, "completed");
    for session in [&id, &copy] {
        let kept = named_file(&plan(&daemon, session, 1), "mcp-config");
        assert_eq!(
            (fs::read_to_string(&kept).unwrap().as_str(), mode(&kept)),
            (config, 0o600)
        );
    }

    // The version before has written the values down, and kept no file.
    daemon.terminate();
    let database = rusqlite::Connection::open(daemon.state().join("journal.sqlite3")).unwrap();
    let old = serde_json::to_string(config).unwrap().trim_matches('"').to_owned();
    let new = serde_json::to_string(&shown).unwrap().trim_matches('"').to_owned();
    let change = "UPDATE records SET body = replace(body, ?1, ?2) WHERE kind = 'session.created' AND seq = 1";
    assert!(database.execute(change, [&new, &old]).unwrap() > 0);
    assert_eq!(holding(&database), 2);
    drop(database);
    fs::remove_file(named_file(&plan(&daemon, &id, 1), "mcp-config")).unwrap();
    daemon.launch();
    check(&daemon);
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/resume"),
        &json!({"instruction": "say two"}),
    );
    assert_eq!(status, 202, "{view}");
    daemon.wait_for(&id, "completed");
    let kept = named_file(&plan(&daemon, &id, 2), "mcp-config");
    assert_eq!(
        (fs::read_to_string(&kept).unwrap().as_str(), mode(&kept)),
        (config, 0o600)
    );
}

#[test]
fn a_file_that_cannot_be_taken_in_is_refused_at_once_and_leaves_nothing() {
    let daemon = TestDaemon::start();
    fs::write(daemon.work().join("text"), "mcpServers:").unwrap();
    let refused = [
        ("missing.json", "No such file"),
        ("text", "not JSON"),
        (r#"{"mcpServers": "#, "not JSON"),
        (".", "regular file"),
    ];
    for (config, why) in refused {
        let request = json!({"task": "say no", "cwd": daemon.work(), "mcp_config": [config], "env": {"A": "1"}});
        let (status, problem) = daemon.post("/api/sessions", &request);
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("invalid_request")),
            "{problem}"
        );
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
    assert_eq!(fs::read_dir(daemon.state().join("sessions")).unwrap().count(), 0);
}

#[test]
fn a_session_of_the_version_before_still_reads_its_file_at_each_attempt() {
    let daemon = TestDaemon::start();
    fs::write(daemon.work().join("servers.json"), SERVERS).unwrap();
    let id = daemon.create_with(json!({"task": "say one ;; max-turns", "mcp_config": ["servers.json"]}));
    daemon.wait_for(&id, "failed");
    // That version has kept no copy.
    fs::remove_file(named_file(&plan(&daemon, &id, 1), "mcp-config")).unwrap();
    let (status, view) = daemon.post(
        &format!("/api/sessions/{id}/resume"),
        &json!({"instruction": "say two"}),
    );
    assert_eq!(status, 202, "{view}");
    daemon.wait_for(&id, "completed");
    let file = daemon.work().canonicalize().unwrap().join("servers.json");
    assert_eq!(named_file(&plan(&daemon, &id, 2), "mcp-config"), file);
}

#[test]
fn texts_that_are_too_long_for_an_argument_go_by_file_or_are_refused_with_the_limit() {
    let daemon = TestDaemon::start();
    let long = "long ".repeat(32 * 1024);
    let id = daemon.create_with(json!({"task": "say hi", "append_system_prompt": long}));
    daemon.wait_for(&id, "completed");
    let file = named_file(&plan(&daemon, &id, 1), "append-system-prompt-file");
    assert_eq!((fs::read_to_string(&file).unwrap(), mode(&file)), (long.clone(), 0o600));
    for (field, value) in [
        ("allowed_tools", json!([long])),
        ("disallowed_tools", json!([long])),
        ("json_schema", json!({"title": long})),
        ("model", json!(long)),
        ("env", json!({"LONG": long})),
        ("add_dirs", json!([format!("/{long}")])),
    ] {
        let (status, problem) = daemon.post(
            "/api/sessions",
            &json!({"task": "say no", "cwd": daemon.work(), field: value}),
        );
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("invalid_request")),
            "{field}: {problem}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("130000") && detail.len() < 300, "{field}: {detail}");
    }
    let prompt = daemon.root().join("prompt");
    fs::write(&prompt, &long).unwrap();
    let run = daemon.command(&["run", "say hi", "--append-system-prompt-file", prompt.to_str().unwrap()]);
    assert!({ run }.output().unwrap().status.success());
}

#[test]
fn variables_are_added_to_the_daemons_environment_and_a_caller_may_leave_that_out() {
    let daemon = TestDaemon::start_with(&[("OF_THE_DAEMON", "1")]);
    let add = json!({"task": "say hi", "env": {"ADDED": "2"}});
    let added = daemon.create_with(add);
    daemon.wait_for(&added, "completed");
    let env = plan(&daemon, &added, 1)["env"].clone();
    assert_eq!((&env["OF_THE_DAEMON"], &env["ADDED"]), (&json!("1"), &json!("2")));
    assert_eq!(env["HOME"], json!(daemon.root().join("home")));

    let home = daemon.root().join("home");
    let only = json!({"HOME": home, "CC_EXECUTOR_TEST_ROOT": daemon.root()});
    let alone = daemon.create_with(json!({"task": "say hi", "env": only, "inherit_env": false}));
    daemon.wait_for(&alone, "completed");
    let env = plan(&daemon, &alone, 1)["env"].clone();
    assert!(env["OF_THE_DAEMON"].is_null() && env["PATH"].is_null(), "{env:#}");

    let mut command = daemon.command(&["run", "--detach", "say hi"]);
    let run = command.env_remove("OF_THE_DAEMON").output().unwrap();
    let run = String::from_utf8_lossy(&run.stdout).trim().to_owned();
    let run = daemon.wait_for(&run, "completed")["session_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let env = plan(&daemon, &run, 1)["env"].clone();
    assert!(
        env["OF_THE_DAEMON"].is_null(),
        "what a shell has not, its session has not: {env:#}"
    );
}

#[test]
fn the_program_is_found_on_the_callers_path_and_otherwise_on_the_daemons() {
    let mut daemon = TestDaemon::stopped(&[]);
    let bin = daemon.root().join("bin");
    fs::create_dir(&bin).unwrap();
    // A script whose interpreter is beside it, as npm installs them.
    let agent = format!("#!/usr/bin/env its-interpreter\nexec {BINARY} simulate \"$@\"\n");
    for (name, text) in [
        ("the-agent", agent.as_str()),
        ("its-interpreter", "#!/bin/sh\nexec /bin/sh \"$@\"\n"),
    ] {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    daemon.set("PATH", &format!("{}:/usr/bin:/bin", bin.display()));
    daemon.set("CC_EXECUTOR__AGENT__COMMAND", "the-agent");
    daemon.launch();
    let state = daemon.state().display().to_string();
    // The environment that cron gives.
    let run = |task: &str| {
        let mut run = daemon.command(&["run", "--state-dir", &state, task]);
        run.env_clear()
            .env("HOME", daemon.root().join("home"))
            .env("CC_EXECUTOR_TEST_ROOT", daemon.root())
            .env("PATH", "/usr/bin:/bin");
        run.output().unwrap()
    };
    let done = run("say from cron");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));

    fs::remove_file(bin.join("the-agent")).unwrap();
    let failed = run("say no");
    let told = String::from_utf8_lossy(&failed.stdout).into_owned() + &String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(1), "{told}");
    let daemons = format!("the daemon's ({}:/usr/bin:/bin)", bin.display());
    assert!(
        told.contains("the caller's PATH (/usr/bin:/bin)") && told.contains(&daemons),
        "{told}"
    );
}

#[test]
fn the_callers_umask_is_the_agents_and_not_the_hosts() {
    let daemon = TestDaemon::start();
    let made = |umask: &str, task: &str| {
        let line = format!("umask {umask}; exec {BINARY} run --detach \"$0\"");
        let mut shell = daemon.command_of(Path::new("/bin/sh"));
        let out = shell.args(["-c", &line, task]).output().unwrap();
        let id = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        daemon.wait_for(&id, "completed")["session_id"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let id = made("007", "bash touch shared ;; crash once ;; bash touch later");
    let work = daemon.work();
    assert_eq!((mode(&work.join("shared")), mode(&work.join("later"))), (0o660, 0o660));
    made("077", "bash touch closed");
    assert_eq!(mode(&work.join("closed")), 0o600);
    let (_, fork) = daemon.post(
        &format!("/api/sessions/{id}/fork"),
        &json!({"instruction": "bash touch copied"}),
    );
    daemon.wait_for(fork["session_id"].as_str().unwrap(), "completed");
    assert_eq!(mode(&work.join("copied")), 0o660);
    let own = ["stdout.jsonl", "stderr.log", "host.log", "agent.json", "launch.json"];
    for file in own {
        assert_eq!(
            mode(&daemon.state().join(format!("sessions/{id}/1/{file}"))),
            0o600,
            "{file}"
        );
    }
    let (status, problem) = daemon.post("/api/sessions", &json!({"task": "t", "cwd": work, "umask": "9"}));
    assert!(status == 400 && problem.to_string().contains("octal"), "{problem}");
}

#[test]
fn a_daemon_takes_nothing_over_from_the_agent_that_starts_it() {
    let mut daemon = TestDaemon::stopped(&[
        ("CC_EXECUTOR_ATTEMPT", "0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10/1"),
        ("ANTHROPIC_API_KEY", "of the session"),
        ("CLAUDECODE", "1"),
    ]);
    daemon.launch();
    let environ = fs::read(format!("/proc/{}/environ", daemon.pid())).unwrap();
    let environ = String::from_utf8_lossy(&environ).into_owned();
    for gone in ["CC_EXECUTOR_ATTEMPT", "ANTHROPIC", "CLAUDECODE"] {
        assert!(!environ.contains(gone), "{gone}");
    }
    assert!(
        environ.contains("HOME=") && environ.contains("CC_EXECUTOR__AGENT__COMMAND="),
        "{environ}"
    );
}

#[test]
fn a_session_does_not_begin_in_a_directory_that_was_replaced_while_it_waited() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__LIMITS__MAX_LIVE_AGENTS", "1")]);
    let (go, root) = (daemon.root().join("go"), daemon.root().canonicalize().unwrap());
    let first = daemon.create(&format!("wait-file {} ;; say done", go.display()));
    daemon.wait_for(&first, "running");
    for name in ["moved", "added", "same"] {
        std::fs::create_dir(root.join(name)).unwrap();
    }
    let moved = daemon.create_with(json!({"task": "touch proof ;; say no", "cwd": root.join("moved")}));
    let added = daemon.create_with(json!({"task": "say no", "add_dirs": [root.join("added")]}));
    let same = daemon.create_with(json!({"task": "say yes", "cwd": root.join("same")}));
    let missing = json!({"task": "say no", "cwd": daemon.work(), "add_dirs": [root.join("missing")]});
    let (status, problem) = daemon.post("/api/sessions", &missing);
    assert_eq!((status, &problem["code"]), (400, &json!("bad_directory")), "{problem}");
    for name in ["moved", "added"] {
        std::fs::rename(root.join(name), root.join(format!("{name}-aside"))).unwrap();
        std::os::unix::fs::symlink(daemon.work(), root.join(name)).unwrap();
    }
    std::fs::write(go, "").unwrap();
    for id in [&moved, &added] {
        let view = daemon.wait_for(id, "failed");
        assert!(
            view["note"]
                .as_str()
                .unwrap()
                .contains("is another directory than when"),
            "{view}"
        );
    }
    assert!(!daemon.work().join("proof").exists());
    daemon.wait_for(&same, "completed");
    daemon.wait_for(&first, "completed");
}
