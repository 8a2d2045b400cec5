//! To watch a session: while it is written, over reloads and the daemon's death, and when it is long.

use serde_json::json;

use crate::browser::{Script, of_session};
use crate::support::daemon::TestDaemon;

/// Lines of a flood in the tests that interrupt the page; at this pace it lasts a few seconds.
const FLOOD: &str = "slow 20 ;; flood 200";

#[test]
fn a_run_is_seen_as_it_is_written_and_nothing_twice() {
    let daemon = TestDaemon::start();
    let hold = daemon.root().join("hold");
    let task = format!(
        "say begun ;; wait-file {} ;; slow 50 ;; deltas 40 ;; say over",
        hold.display()
    );
    let id = daemon.create(&task);
    let mut script = Script::start(&daemon, "watch", &of_session(&id));
    script.reaches("watching");
    std::fs::write(&hold, "").expect("a file");
    script.go(&json!({}));
    script.finish();
    daemon.wait_for(&id, "completed");
}

#[test]
fn reloads_in_the_middle_miss_nothing() {
    let daemon = TestDaemon::start();
    let id = daemon.create(FLOOD);
    Script::run(&daemon, "reload", &of_session(&id));
    daemon.wait_for(&id, "completed");
}

#[test]
fn the_page_outlives_the_daemon_and_goes_on_by_itself() {
    let mut daemon = TestDaemon::start();
    let url = daemon.base_url().expect("the daemon serves");
    let port = url.rsplit(':').next().expect("a port");
    daemon.set("CC_EXECUTOR__SERVER__PORT", port);
    let [begin, end] = ["begin", "end"].map(|name| daemon.root().join(name));
    let id = daemon.create(&format!(
        "wait-file {} ;; {FLOOD} ;; wait-file {} ;; say over",
        begin.display(),
        end.display()
    ));
    let mut script = Script::start(&daemon, "daemon-death", &of_session(&id));
    script.reaches("open");
    std::fs::write(&begin, "").expect("a file");
    script.go(&json!({}));
    script.reaches("watching");
    daemon.kill();
    script.go(&json!({}));
    script.reaches("lost");
    daemon.launch();
    script.go(&json!({}));
    script.reaches("back");
    std::fs::write(&end, "").expect("a file");
    script.go(&json!({}));
    script.finish();
    daemon.wait_for(&id, "completed");
}

#[test]
fn a_long_session_opens_at_its_end_and_the_page_stays_small() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say the very first ;; flood 20000 80");
    daemon.wait_for(&id, "completed");
    Script::run(&daemon, "long", &of_session(&id));
}
