//! `mcp-config`: nothing that it prints, and nothing that a shell makes of it, has the token in a command line.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::daemon::TestDaemon;
use crate::{err, out, run};

const CLIENTS: [&str; 5] = ["claude", "claude-desktop", "cursor", "vscode", "codex"];

#[test]
fn no_form_of_mcp_config_prints_the_token() {
    let daemon = TestDaemon::start();
    for client in CLIENTS {
        for form in [vec!["mcp-config", client], vec!["mcp-config", client, "--http"]] {
            let printed = run(&daemon, &form);
            let is_refused = client == "claude-desktop" && form.contains(&"--http");
            assert_eq!(
                printed.status.code(),
                Some(if is_refused { 2 } else { 0 }),
                "{form:?}: {}",
                err(&printed)
            );
            assert_eq!(out(&printed).is_empty(), is_refused, "{form:?}: {}", out(&printed));
            for text in [out(&printed), err(&printed)] {
                assert!(!text.contains(&daemon.token()), "{form:?}: {text}");
            }
        }
    }
}

#[test]
fn the_command_for_claude_has_no_token_in_its_arguments_when_a_shell_runs_it() {
    let daemon = TestDaemon::start();
    let printed = run(&daemon, &["mcp-config", "claude", "--http"]);
    let hint = err(&printed);
    let export = hint
        .lines()
        .find(|line| line.starts_with("export "))
        .expect("the way of the token");
    let folder = daemon.root().join("stand-in");
    fs::create_dir(&folder).unwrap();
    let claude = folder.join("claude");
    fs::write(
        &claude,
        "#!/bin/sh\nprintf '%s\\n' \"$@\" > argv\nprintf '%s' \"$CC_EXECUTOR_TOKEN\" > variable\n",
    )
    .unwrap();
    fs::set_permissions(&claude, Permissions::from_mode(0o755)).unwrap();
    let mut shell = daemon.command_of(Path::new("/bin/sh"));
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let line = format!("{export}\n{}", out(&printed));
    let ran = shell.args(["-c", &line]).env("PATH", path).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let read = |name: &str| fs::read_to_string(daemon.work().join(name)).unwrap();
    assert_eq!(read("variable"), daemon.token(), "its environment has it");
    let argv = read("argv");
    assert!(!argv.contains(&daemon.token()), "{argv}");
    assert!(
        argv.ends_with("\n--header\nAuthorization: Bearer ${CC_EXECUTOR_TOKEN}\n"),
        "{argv}"
    );
}
