//! Where sessions may work: the setting holds on every face, for every way to begin or go on.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;

#[track_caller]
fn assert_kept_out((status, problem): (u16, Value), what: &str) {
    assert_eq!(
        (status, &problem["code"]),
        (403, &json!("directory_not_allowed")),
        "{what}: {problem}"
    );
}

fn allow(daemon: &mut TestDaemon, directory: &Path) {
    let allowed = json!([directory]).to_string();
    daemon.set("CC_EXECUTOR__ACCESS__ALLOWED_DIRECTORIES", &allowed);
}

#[test]
fn a_run_starts_only_where_it_is_allowed_whatever_its_path_is_called() {
    let mut daemon = TestDaemon::stopped(&[]);
    let (inside, outside) = (daemon.root().join("inside"), daemon.work());
    std::fs::create_dir_all(inside.join("deep")).unwrap();
    symlink(&outside, inside.join("escape")).unwrap();
    symlink(inside.join("deep"), outside.join("entry")).unwrap();
    allow(&mut daemon, &inside);
    daemon.launch();
    let create = |cwd: &Path| daemon.post("/api/sessions", &json!({"task": "say hello", "cwd": cwd}));
    for cwd in [
        outside.clone(),
        inside.join(".."),
        inside.join("deep/../../work"),
        inside.join("escape"),
        inside.join("escape/missing"),
        daemon.root().join("inside-not"),
        "/".into(),
        "/etc".into(),
        "/proc/self/cwd".into(),
    ] {
        assert_kept_out(create(&cwd), &cwd.display().to_string());
    }
    let adding = json!({"task": "t", "cwd": inside, "add_dirs": [inside.join("escape")]});
    assert_kept_out(daemon.post("/api/sessions", &adding), "a directory that is added");
    let (status, problem) = create(&inside.join("missing"));
    assert_eq!((status, &problem["code"]), (400, &json!("bad_directory")));
    for cwd in [&inside, &outside.join("entry"), &inside.join("deep/../deep")] {
        let (status, view) = create(cwd);
        assert_eq!(status, 201, "{view}");
        assert!(Path::new(view["cwd"].as_str().unwrap()).starts_with(inside.canonicalize().unwrap()));
        daemon.wait_for(view["session_id"].as_str().unwrap(), "completed");
    }
    let said = daemon.command(&["run", "say hello"]).output().unwrap();
    assert_eq!(said.status.code(), Some(5), "the command line is refused too");
    assert!(String::from_utf8_lossy(&said.stderr).contains("access.allowed_directories"));
}

#[test]
fn what_began_elsewhere_does_not_go_on_once_the_setting_is_stricter() {
    let mut daemon = TestDaemon::start();
    let (done, failed) = (daemon.create("say hello"), daemon.create("max-turns"));
    daemon.wait_for(&done, "completed");
    daemon.wait_for(&failed, "failed");
    let conversation = daemon.view(&done)["agent_session_id"].clone();
    let inside = daemon.root().join("inside");
    std::fs::create_dir(&inside).unwrap();
    assert_eq!(daemon.terminate(), Some(0));
    allow(&mut daemon, &inside);
    daemon.launch();
    let post = |path: String, body: Value| daemon.post(&path, &body);
    assert_kept_out(post(format!("/api/sessions/{done}/fork"), json!({})), "a copy");
    assert_kept_out(post(format!("/api/sessions/{failed}/resume"), json!({})), "going on");
    let import = json!({"agent_session_id": conversation, "cwd": daemon.work()});
    assert_kept_out(post("/api/sessions/import".to_owned(), import), "taking over");
    let (status, _) = daemon.get(&format!("/api/sessions/{done}"));
    assert_eq!(status, 200, "it is looked at as before");
}
