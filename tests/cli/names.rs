//! Sessions by their names.

use crate::support::daemon::TestDaemon;
use crate::{err, json, run};

/// Starts a session with this name and gives its id.
fn start_named(daemon: &TestDaemon, name: &str, task: &str) -> String {
    let started = json(&run(daemon, &["run", "--detach", "--json", "--name", name, task]));
    started["session_id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_session_is_meant_by_its_name_wherever_an_id_is_taken() {
    let daemon = TestDaemon::start();
    // Nothing in a name is taken for a part of an address.
    let name = "nightly/50% of \u{e4}ll? #1+&";
    let id = start_named(&daemon, name, "ask-permission true ;; say done");
    let asked = json(&run(&daemon, &["wait", "--until", "question", "--json", name]));
    assert_eq!(asked["session_id"], id.as_str());
    let status = json(&run(&daemon, &["status", "--json", name]));
    assert_eq!(status["session_id"], id.as_str());
    let part = run(&daemon, &["status", "nightly"]);
    assert_eq!(part.status.code(), Some(3), "only a whole name is one: {}", err(&part));
    let link = run(&daemon, &["open", "--print", name]);
    assert_eq!(link.status.code(), Some(0), "{}", err(&link));
    let answered = run(&daemon, &["answer", name, "--allow"]);
    assert_eq!(answered.status.code(), Some(0), "{}", err(&answered));
    for verb in ["wait", "attach", "logs", "export", "checkpoints", "handover"] {
        let done = run(&daemon, &[verb, name]);
        assert_eq!(done.status.code(), Some(0), "{verb}: {}", err(&done));
    }
    let fork = json(&run(&daemon, &["fork", "--detach", "--json", name, "say more"]));
    assert_eq!(fork["name"], format!("fork of {name}"));
    daemon.wait_for(fork["session_id"].as_str().expect("an id"), "completed");
    for verb in ["cancel", "resume"] {
        let refused = run(&daemon, &[verb, name]);
        assert_eq!(refused.status.code(), Some(5), "it is completed: {}", err(&refused));
    }
}

#[test]
fn a_name_that_several_have_means_the_only_live_one_or_is_refused_with_a_choice() {
    let daemon = TestDaemon::start();
    let first = start_named(&daemon, "build", "say hello");
    daemon.wait_for(&first, "completed");
    let second = start_named(&daemon, "build", "silence");
    daemon.wait_for(&second, "running");
    assert_eq!(
        json(&run(&daemon, &["status", "--json", "build"]))["session_id"],
        second.as_str()
    );
    let third = start_named(&daemon, "build", "silence");
    daemon.wait_for(&third, "running");
    let refused = run(&daemon, &["cancel", "build"]);
    assert_eq!(refused.status.code(), Some(5), "{}", err(&refused));
    let short = |id: &str| id[id.len() - 8..].to_owned();
    let choice = format!(
        "several sessions are called \"build\": give the id of the one you mean, {} (running), {} (running), {} (completed)",
        short(&third),
        short(&second),
        short(&first)
    );
    assert!(err(&refused).contains(&choice), "{}", err(&refused));
    for id in [&second, &third] {
        daemon.cancel(id);
        daemon.wait_for(id, "cancelled");
    }
}
