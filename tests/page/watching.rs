//! To watch a session: while it is written, over reloads and the daemon's death, and when it is long.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::browser::{Script, of_session};
use crate::support::daemon::TestDaemon;

/// A session that writes for seconds once it may begin, and ends once it may.
struct Held {
    id: String,
    begin: PathBuf,
    end: PathBuf,
}

impl Held {
    fn create(daemon: &TestDaemon) -> Self {
        let [begin, end] = ["begin", "end"].map(|name| daemon.root().join(name));
        let task = format!(
            "wait-file {} ;; slow 20 ;; flood 200 ;; wait-file {} ;; say over",
            begin.display(),
            end.display()
        );
        let id = daemon.create(&task);
        Self { id, begin, end }
    }
}

/// Lets the session go on, and the script.
fn release(hold: &Path, script: &mut Script) {
    std::fs::write(hold, "").expect("a file");
    script.go(&json!({}));
}

#[test]
fn a_run_is_seen_as_it_is_written_and_nothing_twice() {
    let daemon = TestDaemon::start();
    let hold = daemon.root().join("hold");
    let id = daemon.create(&format!(
        "say begun ;; wait-file {} ;; slow 50 ;; deltas 40 ;; say over",
        hold.display()
    ));
    let mut script = Script::start(&daemon, "watch", &of_session(&id));
    script.reaches("watching");
    release(&hold, &mut script);
    script.finish();
    daemon.wait_for(&id, "completed");
}

#[test]
fn reloads_in_the_middle_miss_nothing() {
    let daemon = TestDaemon::start();
    let session = Held::create(&daemon);
    let mut script = Script::start(&daemon, "reload", &of_session(&session.id));
    script.reaches("open");
    release(&session.begin, &mut script);
    script.reaches("reloaded");
    release(&session.end, &mut script);
    script.finish();
    daemon.wait_for(&session.id, "completed");
}

#[test]
fn the_page_outlives_the_daemon_and_goes_on_by_itself() {
    let mut daemon = TestDaemon::start();
    let url = daemon.base_url().expect("the daemon serves");
    let port = url.rsplit(':').next().expect("a port");
    daemon.set("CC_EXECUTOR__SERVER__PORT", port);
    let session = Held::create(&daemon);
    let mut script = Script::start(&daemon, "daemon-death", &of_session(&session.id));
    script.reaches("open");
    release(&session.begin, &mut script);
    script.reaches("watching");
    daemon.kill();
    script.go(&json!({}));
    script.reaches("lost");
    daemon.launch();
    script.go(&json!({}));
    script.reaches("back");
    release(&session.end, &mut script);
    script.finish();
    daemon.wait_for(&session.id, "completed");
}

#[test]
fn a_long_session_opens_at_its_end_and_the_page_stays_small() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say the very first ;; flood 20000 80");
    daemon.wait_for(&id, "completed");
    Script::run(&daemon, "long", &of_session(&id));
}

#[test]
fn the_timeline_of_a_long_session_goes_back_to_its_beginning() {
    let daemon = TestDaemon::start();
    let calls = 2_500;
    let id = daemon.create(&"tool Read {} => read\n".repeat(calls));
    daemon.wait_for(&id, "completed");
    Script::run(&daemon, "timeline", &json!({"session": id, "calls": calls}));
}
