//! What an agent asks for that no permission holds: a person is shown it, and says whether it runs.

use std::fs;

use serde_json::{Value, json};

use crate::kin::{Parent, assert_refused, request_of};
use crate::support::daemon::{BINARY, TestDaemon};

const RUN: &str = "Run it";
const WITHOUT: &str = "Start without it";

/// An MCP server and a variable, besides this.
fn asking(more: Value) -> Value {
    let servers = json!({"mcpServers": {"db": {"command": "npx", "args": ["-y", "d b"], "env": {"KEY": "hunter2"}}}});
    let mut request = json!({"task": "say hi", "mcp_config": [servers.to_string()], "env": {"ASKED": "s3cret"}});
    let fields = request.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    request
}

fn text_of(question: &Value) -> String {
    question["questions"][0]["question"]
        .as_str()
        .expect("a text")
        .to_owned()
}

fn choice(question: &Value, label: &str) -> Value {
    json!({"action": "choose", "answers": {text_of(question): label}})
}

fn path_of(id: &str, question: &Value) -> String {
    let question = question["question_id"].as_str().expect("an id");
    format!("/api/sessions/{id}/questions/{question}/answer")
}

fn choose(daemon: &TestDaemon, id: &str, label: &str) {
    let question = daemon.question(id);
    let (status, view) = daemon.post(&path_of(id, &question), &choice(&question, label));
    assert_eq!(status, 200, "{view}");
}

/// Whether an attempt was started with the MCP server, and the values of the variables of its asker and of its own.
fn started_with(daemon: &TestDaemon, id: &str, attempt: u32) -> (bool, Value, Value) {
    let plan = daemon.state().join(format!("sessions/{id}/{attempt}/launch.json"));
    let plan: Value = serde_json::from_slice(&fs::read(plan).expect("a plan")).expect("JSON");
    let argv = plan["argv"].as_array().expect("an argv");
    let files = argv
        .iter()
        .filter_map(|word| word.as_str()?.strip_prefix("--mcp-config="));
    let texts: String = files.map(|file| fs::read_to_string(file).expect("a file")).collect();
    let has_server = texts.contains(r#""args":["-y","d b"]"#) && texts.contains("hunter2");
    (has_server, plan["env"]["OWN"].clone(), plan["env"]["ASKED"].clone())
}

fn with() -> (bool, Value, Value) {
    (true, json!("1"), json!("s3cret"))
}

fn without() -> (bool, Value, Value) {
    (false, json!("1"), Value::Null)
}

#[test]
fn a_person_is_shown_the_argv_that_an_agent_asks_for_and_lets_it_run() {
    let mut daemon = TestDaemon::start();
    let parent = Parent::start(&daemon, "p", json!({"env": {"OWN": "1"}}));
    let (status, view) = parent.post("/api/sessions", &{
        let mut request = asking(json!({"task": "say one ;; crash once ;; max-turns"}));
        request["cwd"] = json!(daemon.work());
        request
    });
    assert_eq!(status, 201, "{view}");
    let child = view["session_id"].as_str().unwrap().to_owned();
    let question = daemon.question(&child);
    let text = text_of(&question);
    for shown in [
        "\n  MCP server db (stdio): npx -y \"d b\"; env KEY\n  env ASKED\n",
        &parent.id[parent.id.len() - 8..],
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let status = daemon.command(&["status", &child]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("npx -y \"d b\""),
        "{status:?}"
    );
    assert_refused(
        parent.post(&path_of(&child, &question), &choice(&question, RUN)),
        "exceeds_agent",
        "only a person",
    );
    let (id, mark) = (parent.id.clone(), parent.mark.clone());
    drop(parent);
    daemon.kill();
    daemon.launch();
    assert_eq!(daemon.question(&child), question, "it stays over a restart");
    assert_eq!(daemon.records_of(&child, "attempt.started"), Vec::<Value>::new());
    choose(&daemon, &child, RUN);
    daemon.wait_for(&child, "failed");
    for attempt in [1, 2] {
        assert_eq!(started_with(&daemon, &child, attempt), with(), "attempt {attempt}");
    }
    let journal = daemon.records(&child);
    let told = journal.iter().map(Value::to_string).collect::<String>();
    assert!(!told.contains("hunter2") && !told.contains("s3cret"), "{told}");
    assert!(
        !daemon.state().join("projects.json").exists(),
        "nothing of it is remembered"
    );

    // A person's copy has what the person has let it have; an agent's is asked about again.
    let (_, copy) = daemon.post(
        &format!("/api/sessions/{child}/fork"),
        &json!({"instruction": "say two"}),
    );
    let copy = copy["session_id"].as_str().unwrap().to_owned();
    daemon.wait_for(&copy, "completed");
    assert_eq!(started_with(&daemon, &copy, 1), with());
    let (_, again) = daemon.post_as(
        &mark,
        &format!("/api/sessions/{child}/fork"),
        &json!({"instruction": "say three"}),
    );
    let again = again["session_id"].as_str().unwrap().to_owned();
    assert!(text_of(&daemon.question(&again)).contains("env ASKED"));
    choose(&daemon, &again, WITHOUT);
    daemon.wait_for(&again, "completed");
    assert_eq!(started_with(&daemon, &again, 1), without());
    fs::write(daemon.root().join("go-p"), "").unwrap();
    daemon.wait_for(&id, "completed");
}

#[test]
fn without_a_persons_word_nothing_of_what_an_agent_asks_for_is_there() {
    let daemon = TestDaemon::start_with(&[("CC_EXECUTOR__AGENT__PROJECT_TRUST", "trust")]);
    let parent = Parent::start(&daemon, "p", json!({"env": {"OWN": "1"}}));
    let declined = parent.child(asking(json!({"task": "say one ;; crash once ;; max-turns"})));
    choose(&daemon, &declined, WITHOUT);
    daemon.wait_for(&declined, "failed");
    let path = format!("/api/sessions/{declined}/fork");
    let (_, copy) = daemon.post(&path, &json!({"instruction": "say two"}));
    let copy = copy["session_id"].as_str().unwrap().to_owned();
    let policies = ["deny", "first_option"]
        .map(|policy| parent.child(asking(json!({"on_question": policy, "question_timeout_seconds": 1}))));
    for id in policies.iter().chain([&copy]) {
        daemon.wait_for(id, "completed");
        assert_eq!(started_with(&daemon, id, 1), without());
    }
    for attempt in [1, 2] {
        assert_eq!(
            started_with(&daemon, &declined, attempt),
            without(),
            "attempt {attempt}"
        );
    }
    for id in policies.iter().chain([&declined]) {
        let told = daemon.records_of(id, "notice")[0].to_string();
        assert!(told.contains("no person allowed it") && told.contains("npx"), "{told}");
    }
    // What names no program is not asked about, and neither is a mark.
    let plain =
        parent.child(json!({"task": "say hi", "mcp_config": ["{\"mcpServers\":{}}"], "env": {"CLAUDECODE": "1"}}));
    daemon.wait_for(&plain, "completed");
    assert_eq!(request_of(&daemon, &plain)["env_names"], json!(["OWN"]));
    parent.end();
}

#[test]
fn one_question_is_about_the_project_and_what_the_agent_asks_for() {
    let daemon = TestDaemon::start();
    let project = daemon.work().canonicalize().unwrap();
    let parent = Parent::start(&daemon, "p", json!({"env": {"OWN": "1"}}));
    fs::create_dir(project.join(".claude")).unwrap();
    let hooks = json!({"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": "./x.sh"}]}]}});
    fs::write(project.join(".claude/settings.json"), hooks.to_string()).unwrap();
    let is_without_project = |id: &str| {
        let plan = fs::read_to_string(daemon.state().join(format!("sessions/{id}/1/launch.json")));
        plan.unwrap().contains("--setting-sources=user")
    };
    // The agent's variable names a record in which the project is trusted.
    let record = json!({"projects": {project.display().to_string(): {"hasTrustDialogAccepted": true}}});
    let own = project.join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join(".claude.json"), record.to_string()).unwrap();
    for (label, remembered) in [(WITHOUT, false), (RUN, true)] {
        let child = parent.child(asking(json!({"env": {"ASKED": "s3cret", "CLAUDE_CONFIG_DIR": own}})));
        let text = text_of(&daemon.question(&child));
        assert!(
            text.contains("SessionStart: ./x.sh") && text.contains("npx -y \"d b\""),
            "{text}"
        );
        choose(&daemon, &child, label);
        daemon.wait_for(&child, "completed");
        assert_eq!(is_without_project(&child), label == WITHOUT);
        assert_eq!(
            started_with(&daemon, &child, 1),
            if label == RUN { with() } else { without() }
        );
        assert_eq!(daemon.state().join("projects.json").exists(), remembered, "{label}");
    }
    // The project is known by now, and only the agent's part is asked about; in bypassPermissions nothing is.
    let child = parent.child(asking(json!({})));
    let text = text_of(&daemon.question(&child));
    assert!(!text.contains("SessionStart") && text.contains("env ASKED"), "{text}");
    choose(&daemon, &child, WITHOUT);
    daemon.wait_for(&child, "completed");
    assert_eq!(
        (started_with(&daemon, &child, 1), is_without_project(&child)),
        (without(), false)
    );
    let free = Parent::start(&daemon, "free", json!({"permission_mode": "bypassPermissions"}));
    let child = free.child(asking(json!({})));
    daemon.wait_for(&child, "completed");
    assert_eq!(started_with(&daemon, &child, 1), (true, Value::Null, json!("s3cret")));
    free.end();
    parent.end();
}

#[test]
fn the_command_line_in_an_agent_brings_the_text_of_a_file() {
    let daemon = TestDaemon::start();
    let file = daemon.root().join("servers.json");
    fs::write(
        &file,
        r#"{"mcpServers": {"db": {"command": "npx", "args": ["-y", "d b"]}}}"#,
    )
    .unwrap();
    let state = daemon.state().display().to_string();
    let run = format!(
        "bash {BINARY} --state-dir {state} run --detach --mcp-config {} --env ASKED=1 'say hi'",
        file.display()
    );
    let id = daemon.create_with(json!({"task": run, "executor_tools": true}));
    daemon.wait_for(&id, "completed");
    let (_, page) = daemon.get("/api/sessions?limit=100");
    let views = page["sessions"].as_array().unwrap();
    let child = views.iter().find(|view| view["task"] == "say hi").expect("a child");
    let child = child["session_id"].as_str().unwrap();
    let text = text_of(&daemon.question(child));
    assert!(text.contains("npx -y \"d b\"\n  env ASKED\n"), "{text}");
    daemon.cancel(child);
    daemon.wait_for(child, "cancelled");
    assert_eq!(daemon.records_of(child, "attempt.started"), Vec::<Value>::new());
}
