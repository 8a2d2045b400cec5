//! Named tokens at the terminal: made, listed, revoked.

use serde_json::Value;

use crate::support::daemon::TestDaemon;
use crate::{err, json, out, run};

#[test]
fn tokens_are_made_listed_and_revoked() {
    let daemon = TestDaemon::start();
    let own = run(&daemon, &["token"]);
    assert_eq!(out(&own).trim(), daemon.token());
    assert_eq!(json(&run(&daemon, &["token", "--json"]))["token"], daemon.token());
    let made = run(
        &daemon,
        &["token", "create", "ci", "--role", "viewer", "--expires", "30d"],
    );
    assert_eq!(
        (made.status.code(), out(&made).trim().len()),
        (Some(0), 64),
        "{}",
        err(&made)
    );
    let json_made = json(&run(
        &daemon,
        &["token", "create", "wall", "--role", "viewer", "--json"],
    ));
    assert_eq!(json_made["expires_at"], Value::Null);
    let listed = out(&run(&daemon, &["token", "ls"]));
    assert!(
        listed.contains("ci") && listed.contains("in 29 d") && listed.contains("never"),
        "{listed}"
    );
    assert!(!listed.contains(out(&made).trim()), "a token is shown once");
    let code = |arguments: &[&str]| run(&daemon, arguments).status.code();
    assert_eq!(code(&["token", "create", "ci", "--role", "admin"]), Some(5));
    assert_eq!(code(&["token", "create", "x", "--role", "root"]), Some(2));
    assert_eq!(code(&["token", "revoke", "ci"]), Some(0));
    assert_eq!(code(&["token", "revoke", "ci"]), Some(3));
    assert_eq!(
        json(&run(&daemon, &["token", "ls", "--json"])).as_array().map(Vec::len),
        Some(1)
    );
}
