//! Commands that an agent of cc-executor runs.

use serde_json::Value;

use crate::support::daemon::TestDaemon;
use crate::support::wait::until;
use crate::{err, run};

#[test]
fn inside_an_agent_no_command_starts_a_daemon() {
    let mut daemon = TestDaemon::stopped(&[]);
    let mark = "0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10/1";
    let inside = |daemon: &TestDaemon, arguments: &[&str]| {
        let mut command = daemon.command(arguments);
        command.env("CC_EXECUTOR_ATTEMPT", mark).env("SECRET", "of the session");
        command.output().expect("the command runs")
    };
    let conversation = "11111111-1111-4111-8111-111111111111";
    for arguments in [&["run", "say hi"][..], &["open", "--print"], &["import", conversation]] {
        let refused = inside(&daemon, arguments);
        assert_eq!(refused.status.code(), Some(4), "{}", err(&refused));
        assert!(
            err(&refused).contains("an agent does not start one"),
            "{}",
            err(&refused)
        );
    }
    assert!(daemon.family().is_empty());
    daemon.launch();
    // To replace a daemon is no start: the next one has the environment of the one before.
    let restarted = inside(&daemon, &["restart"]);
    assert!(restarted.status.success(), "{}", err(&restarted));
    daemon.is_replaced();
    let said: Value =
        serde_json::from_slice(&std::fs::read(daemon.state().join("daemon.json")).expect("it runs")).expect("JSON");
    let pid = said["pid"].as_u64().expect("a number");
    let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("it runs");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(
        environ.contains("HOME=") && !environ.contains("SECRET") && !environ.contains(mark),
        "{environ}"
    );
    assert!(run(&daemon, &["stop"]).status.success());
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}
