//! The demo as whoever tries it sees it: without a terminal and without any configuration.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the command in a home and a temporary directory of its own.
fn run(arguments: &[&str], home: &Path) -> Output {
    let temporary = home.join("tmp");
    std::fs::create_dir_all(&temporary).expect("a temporary directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cc-executor"));
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .env("TMPDIR", temporary)
        // A setting that no daemon would start with, were it read.
        .env("CC_EXECUTOR__NO__SUCH_KEY", "1")
        .stdin(Stdio::null());
    command.output().expect("the command runs")
}

/// What the command has left of itself: files in its temporary directory, and processes that know of it.
fn left_behind(home: &Path) -> Vec<String> {
    let files = std::fs::read_dir(home.join("tmp"))
        .expect("its temporary directory")
        .flatten();
    let mut left: Vec<String> = files.map(|file| file.path().display().to_string()).collect();
    let home = home.display().to_string();
    for process in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
        if String::from_utf8_lossy(&environment).contains(&home) {
            left.push(process.path().display().to_string());
        }
    }
    left
}

#[test]
fn the_demo_loses_nothing_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let output = run(&["demo"], home.path());
    let (shown, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(0), "{shown}\n{errors}");
    let mut rest = &*shown;
    for told in [
        "started a daemon",
        "the demo answers its own question",
        "killed the daemon",
        "restarted the daemon",
        "the session completed",
        "each once and in order",
        "nothing was lost, nothing was doubled",
    ] {
        let at = rest.find(told);
        rest = &rest[at.unwrap_or_else(|| panic!("{told:?} is missing, or in the wrong place:\n{shown}"))..];
    }
    let lines: Vec<_> = shown.lines().filter(|line| line.starts_with("line ")).collect();
    let expected: Vec<_> = (1..=300).map(|number| format!("line {number}")).collect();
    assert_eq!(lines, expected, "shown once and in order, across the daemon's death");
    assert_eq!(left_behind(home.path()), [""; 0]);
}

#[test]
fn the_count_can_be_had_as_json() {
    let home = tempfile::tempdir().unwrap();
    let output = run(&["demo", "--json"], home.path());
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["state"], &report["stream"]["lost"]),
        (&"completed".into(), &0.into())
    );
    assert_eq!(report["journal"]["seen"], report["messages_written"]);
}

#[test]
fn an_interrupted_demo_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let temporary = home.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_cc-executor"))
        .arg("demo")
        .env("TMPDIR", &temporary)
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = std::io::BufReader::new(demo.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("line 5") {
        line.clear();
        assert!(
            std::io::BufRead::read_line(&mut shown, &mut line).unwrap() > 0,
            "it ended"
        );
    }
    let pid = rustix::process::Pid::from_raw(demo.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    // Until here somebody read: a reader that goes away is another reason to end.
    drop(shown);
    assert_eq!(left_behind(home.path()), [""; 0]);
}

#[test]
fn a_flood_is_measured_and_nothing_of_it_is_lost() {
    let home = tempfile::tempdir().unwrap();
    let output = run(
        &["bench", "stream", "--lines", "2000", "--samples", "5", "--json"],
        home.path(),
    );
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(figures[0]["unit"], "lines/s");
    assert_eq!(figures[0]["references"].as_array().unwrap().len(), 2);
    assert_eq!(left_behind(home.path()), [""; 0]);
}

#[test]
fn recovery_and_start_are_measured() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        &[
            "bench",
            "recovery",
            "--sessions",
            "3",
            "--records",
            "1000,2000",
            "--json",
        ][..],
        &["bench", "start", "--sessions", "50", "--samples", "2", "--json"],
    ] {
        let output = run(arguments, home.path());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{errors}");
        let figures: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            figures
                .as_array()
                .unwrap()
                .iter()
                .all(|figure| figure["value"].as_f64() > Some(0.0))
        );
    }
    assert_eq!(left_behind(home.path()), [""; 0]);
}
