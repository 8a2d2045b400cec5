//! Who gets to see the page, and how he leaves it.

use serde_json::json;

use crate::browser::Script;
use crate::support::daemon::TestDaemon;

#[test]
fn a_link_signs_in_once_and_who_signs_out_is_out() {
    let daemon = TestDaemon::start();
    let id = daemon.create("silence");
    daemon.wait_for(&id, "running");
    Script::run(&daemon, "sign-in", &json!({"token": daemon.token(), "session": id}));
    daemon.cancel(&id);
    daemon.wait_for(&id, "cancelled");
}

#[test]
fn script_and_html_of_an_agent_are_inert() {
    let daemon = TestDaemon::start();
    let attack = "<img src=x onerror=alert(1)><script>alert(2)</script><svg onload=alert(3)></svg>\
        <a href=javascript:alert(4)>click</a> [click](javascript:alert(5)) **bold**";
    let name = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    let ended = daemon.create_with(json!({
        "name": name,
        "task": format!(
            "say {attack}\nthink {attack}\ntool Read {} => {attack}\ntool {} {{}} => x\nstderr {attack}\nmax-turns",
            json!({"file_path": attack}),
            "<b>Tool</b>",
        ),
    }));
    daemon.wait_for(&ended, "failed");
    let asking = daemon.create_with(json!({
        "name": name,
        "task": format!("question {attack} | {attack} | no"),
    }));
    let allowing = daemon.create_with(json!({"task": format!("ask-permission true '{attack}'")}));
    daemon.question(&asking);
    daemon.question(&allowing);
    Script::run(
        &daemon,
        "inert",
        &json!({"ended": ended, "asking": asking, "allowing": allowing, "attack": attack, "name": name}),
    );
    for id in [asking, allowing] {
        daemon.cancel(&id);
        daemon.wait_for(&id, "cancelled");
    }
}
