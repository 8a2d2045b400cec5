//! What the CLI starts by itself in a project: nothing of it without a yes, and all of it with one.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::main_job::{answer, with_claude_and};
use crate::support::daemon::TestDaemon;
use crate::support::messages_api::MessagesApi;

/// The names of all that a project brings here.
const BROUGHT: [&str; 4] = ["hook", "local-hook", "helper", "server"];

/// A script that leaves its name behind, and an MCP server that does.
fn plant(work: &Path, ran: &Path) {
    let script = work.join("start.sh");
    fs::write(&script, format!("touch {}/$1\n", ran.display())).expect("written");
    let command = |name: &str| format!("sh {} {name}", script.display());
    let hook = |name: &str| json!({"SessionStart": [{"hooks": [{"type": "command", "command": command(name)}]}]});
    let settings = json!({"hooks": hook("hook"), "apiKeyHelper": format!("{}; echo key", command("helper"))});
    let local = json!({"hooks": hook("local-hook"), "env": {"OF_PROJECT": "1"}});
    let servers = json!({"mcpServers": {"planted": {"command": "sh", "args": [script, "server"]}}});
    fs::create_dir(work.join(".claude")).expect("made");
    for (name, content) in [
        (".claude/settings.json", settings),
        (".claude/settings.local.json", local),
        (".mcp.json", servers),
    ] {
        fs::write(work.join(name), content.to_string()).expect("written");
    }
}

fn ran(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn choose(daemon: &TestDaemon, id: &str, label: &str) {
    let question = daemon.question(id);
    let text = question["questions"][0]["question"].as_str().expect("a text");
    answer(daemon, id, &json!({"action": "choose", "answers": {text: label}}));
}

#[test]
fn a_project_starts_what_it_brings_with_a_yes_and_nothing_of_it_without() {
    let api = MessagesApi::start();
    let daemon = with_claude_and(&api, &[]);
    let folder = daemon.root().join("ran");
    fs::create_dir(&folder).unwrap();
    plant(&daemon.work(), &folder);
    let probe = "FAKE: bash echo of-project:$OF_PROJECT: ;; say done";
    let request = || json!({"task": probe, "allowed_tools": ["Bash"]});
    let has_variable = |id: &str| {
        let told = daemon
            .records_of(id, "agent.message")
            .iter()
            .map(Value::to_string)
            .collect::<String>();
        assert!(told.contains("of-project:"), "{told}");
        told.contains("of-project:1:")
    };

    let id = daemon.create_with(request());
    choose(&daemon, &id, "Start without it");
    daemon.wait_for(&id, "completed");
    assert_eq!(ran(&folder), [""; 0]);
    assert!(!has_variable(&id));

    // What starts has changed, so that it is asked about again.
    fs::write(
        daemon.work().join(".mcp.json"),
        fs::read_to_string(daemon.work().join(".mcp.json"))
            .unwrap()
            .replace("planted", "again"),
    )
    .unwrap();
    let id = daemon.create_with(request());
    choose(&daemon, &id, "Run it");
    daemon.wait_for(&id, "completed");
    let mut brought = BROUGHT;
    brought.sort_unstable();
    assert_eq!(ran(&folder), brought);
    assert!(has_variable(&id));
}
