//! Commands that an agent of cc-executor runs.

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, TestDaemon};
use crate::support::wait::until;
use crate::{err, run};

#[test]
fn inside_an_agent_no_command_starts_a_daemon() {
    let mut daemon = TestDaemon::stopped(&[]);
    let inside = |daemon: &TestDaemon, mark: &str, arguments: &[&str]| {
        let mut command = daemon.command(arguments);
        command.env("CC_EXECUTOR_ATTEMPT", mark).env("SECRET", "of the session");
        command.output().expect("the command runs")
    };
    let stranger = "0193e9a4-7b1c-4c2e-8f00-1d5c2a7f9b10/1";
    let conversation = "11111111-1111-4111-8111-111111111111";
    for arguments in [&["run", "say hi"][..], &["import", conversation]] {
        let refused = inside(&daemon, stranger, arguments);
        assert_eq!(refused.status.code(), Some(4), "{}", err(&refused));
        assert!(
            err(&refused).contains("an agent does not start one"),
            "{}",
            err(&refused)
        );
    }
    assert!(daemon.family().is_empty());
    daemon.launch();
    for arguments in [&["restart"][..], &["stop"]] {
        let refused = inside(&daemon, stranger, arguments);
        assert_eq!(refused.status.code(), Some(5), "{}", err(&refused));
    }
    let go = daemon.root().join("go");
    let task = format!("wait-file {} ;; say done", go.display());
    let session = daemon.create_with(json!({"task": task, "executor_tools": true}));
    daemon.wait_for(&session, "running");
    let mark = daemon.mark(&session, 1);
    // To replace a daemon is no start: the next one has the environment of the one before.
    let restarted = inside(&daemon, &mark, &["restart"]);
    assert!(restarted.status.success(), "{}", err(&restarted));
    daemon.is_replaced();
    let said: Value =
        serde_json::from_slice(&std::fs::read(daemon.state().join("daemon.json")).expect("it runs")).expect("JSON");
    let pid = said["pid"].as_u64().expect("a number");
    let environ = std::fs::read(format!("/proc/{pid}/environ")).expect("it runs");
    let environ = String::from_utf8_lossy(&environ).into_owned();
    assert!(
        environ.contains("HOME=") && !environ.contains("SECRET") && !environ.contains(&session),
        "{environ}"
    );
    let refused = inside(&daemon, &mark, &["token", "ls"]);
    assert_eq!(
        refused.status.code(),
        Some(5),
        "whose agent it started the daemon in does not matter"
    );
    std::fs::write(go, "").expect("a file");
    daemon.wait_for(&session, "completed");
    assert!(run(&daemon, &["stop"]).status.success());
    until("the last process to end", || daemon.family().is_empty().then_some(()));
}

#[test]
fn inside_an_agent_what_starts_programs_is_refused() {
    let daemon = TestDaemon::stopped(&[]);
    let ran = daemon.root().join("ran");
    let script = daemon.root().join("script");
    std::fs::write(
        &script,
        format!("[[turn]]\n[[turn.step]]\nbash = \"touch {}\"\n", ran.display()),
    )
    .expect("a file");
    let below = |arguments: &str, nested: bool| {
        let mut shell = daemon.command_of("/bin/sh".as_ref());
        // The shell stays: it is what an agent runs its commands in.
        shell.args(["-c", &format!("{BINARY} {arguments}; exit $?")]);
        shell.env("CC_EXECUTOR_ATTEMPT", "none/1");
        if nested {
            shell.env("CC_EXECUTOR_NESTED", "1");
        }
        shell.output().expect("the shell runs")
    };
    let simulate = format!("simulate --script {}", script.display());
    for arguments in ["serve --set agent.command=/bin/true", &simulate, "agent-host none 1"] {
        let refused = below(arguments, false);
        assert_eq!(refused.status.code(), Some(5), "{arguments}: {}", err(&refused));
        assert!(err(&refused).contains("ask a person to run it"), "{}", err(&refused));
    }
    assert!(daemon.family().is_empty() && !ran.exists());
    assert!(below("simulate --version", true).status.success());
}

#[test]
fn inside_an_agent_what_is_for_people_is_refused_whether_a_daemon_runs_or_not() {
    let daemon = TestDaemon::start();
    let below = |arguments: &str| {
        // The command itself carries no mark, the shell above it does.
        let line = format!("env -u CC_EXECUTOR_ATTEMPT {BINARY} {arguments}; exit $?");
        let mut shell = daemon.command_of("/bin/sh".as_ref());
        shell.args(["-c", &line]).env("CC_EXECUTOR_ATTEMPT", "none/1");
        // What would lead a person elsewhere leads an agent nowhere.
        shell
            .env("CC_EXECUTOR_URL", "http://127.0.0.1:9")
            .env("CC_EXECUTOR_TOKEN", "x");
        shell.output().expect("the shell runs")
    };
    for arguments in ["token", "token ls", "token create ci --role admin", "open --print"] {
        let refused = below(arguments);
        let told = err(&refused);
        assert_eq!(refused.status.code(), Some(5), "{arguments}: {told}");
        assert!(told.contains("for people"), "{told}");
        assert!(!String::from_utf8_lossy(&refused.stdout).contains(&daemon.token()));
    }
    for arguments in [
        "ls",
        "status 0193",
        "history",
        "run 'say hi'",
        "stop",
        "restart",
        "gc",
        "logs",
    ] {
        let refused = below(arguments);
        assert_ne!(refused.status.code(), Some(0), "{arguments}");
        assert!(
            err(&refused).contains("inside an agent"),
            "{arguments}: {}",
            err(&refused)
        );
    }
}
