//! A disk that is really full: the state directory on a small file system, which a file of the test fills.

use std::fs::File;
use std::os::unix::fs::symlink;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::daemon::TestDaemon;
use crate::support::namespace::{SmallDisk, in_own_namespace};
use crate::support::spool::compare_with_spools;
use crate::support::wait::until;

/// Room for the database with its log and for the spools, well above what the tests write.
const DISK_MIB: u32 = 64;

/// Lines that fit into the ballast, however many commits they are.
const FLOOD: &str = "flood 20 300";

/// Runs the test `name` with a daemon whose state directory has a disk of its own.
fn on_small_disk(name: &str, body: impl FnOnce(&mut TestDaemon, &SmallDisk)) {
    in_own_namespace(name, || {
        let place = tempfile::tempdir().unwrap();
        let disk = SmallDisk::mount(place.path(), DISK_MIB);
        let mut daemon = TestDaemon::stopped(&[]);
        symlink(place.path(), daemon.root().join("state")).unwrap();
        daemon.launch();
        body(&mut daemon, &disk);
    });
}

/// A reader in the middle of a read: for as long as there is one the write-ahead log only grows, so that every commit
/// needs room.
fn reading(daemon: &TestDaemon) -> Connection {
    let reader = Connection::open(daemon.state().join("journal.sqlite3")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let records: i64 = reader
        .query_row("SELECT count(*) FROM records", [], |row| row.get(0))
        .unwrap();
    assert!(records > 0);
    reader
}

/// Fills the disk, lets `id` write its first flood with what the daemon had put by, and fills it again.
fn fill_up(daemon: &TestDaemon, disk: &SmallDisk, id: &str) {
    disk.fill();
    open_gate(daemon, 1);
    let ballast = daemon.state().join("journal.ballast");
    until("the ballast to be given up", || (!ballast.exists()).then_some(()));
    until("what fits", || (daemon.texts(id).len() == 21).then_some(()));
    disk.fill();
}

fn gate(daemon: &TestDaemon, number: u32) -> String {
    daemon.root().join(format!("gate{number}")).display().to_string()
}

fn open_gate(daemon: &TestDaemon, number: u32) {
    std::fs::write(gate(daemon, number), "").unwrap();
}

/// Says something, and floods when each of two gates opens.
fn flooding(daemon: &TestDaemon) -> String {
    let (first, second) = (gate(daemon, 1), gate(daemon, 2));
    let id = daemon.create(&format!(
        "say before ;; wait-file {first} ;; {FLOOD} ;; wait-file {second} ;; {FLOOD} ;; say the end"
    ));
    until("the first text", || (daemon.texts(&id) == ["before"]).then_some(()));
    id
}

fn assert_says_what_to_free(told: &Value) {
    let told = told.as_str().expect("a sentence");
    assert!(told.contains("the disk is full: free at least 16 MiB"), "{told}");
}

fn wait_until_ready(daemon: &TestDaemon) {
    until("the daemon to be ready again", || {
        (daemon.get("/readyz").0 == 200).then_some(())
    });
}

pub(crate) fn sessions_wait_and_go_on(name: &str) {
    on_small_disk(name, |daemon, disk| {
        let id = flooding(daemon);
        let reader = reading(daemon);
        assert_eq!(daemon.get("/readyz").0, 200);
        fill_up(daemon, disk, &id);

        let (status, problem) = daemon.post("/api/sessions", &json!({"task": "say hello", "cwd": daemon.work()}));
        assert_eq!((status, &problem["code"]), (507, &json!("disk_full")), "{problem}");
        assert_says_what_to_free(&problem["detail"]);
        let (status, problem) = daemon.get("/readyz");
        assert_eq!(status, 503);
        assert_says_what_to_free(&problem["detail"]);

        open_gate(daemon, 2);
        let paused = daemon.wait_for(&id, "paused");
        assert_says_what_to_free(&paused["note"]);
        let listed = daemon.command(&["ls"]).output().unwrap();
        assert!(String::from_utf8_lossy(&listed.stdout).contains("paused"), "{listed:?}");
        let (_, found) = daemon.get("/api/sessions?state=paused");
        let found = found["sessions"].as_array().expect("sessions");
        assert!(found.len() == 1 && found[0]["session_id"] == id, "{found:?}");
        assert_eq!(
            daemon.records(&id).len() as u64,
            paused["head"],
            "what was written can be read"
        );

        drop(reader);
        std::fs::remove_file(disk.fill()).unwrap();
        let done = daemon.wait_for(&id, "completed");
        assert_eq!((&done["attempt"], &done["result"]), (&json!(1), &json!("the end")));
        assert_eq!(daemon.texts(&id).len(), 42);
        compare_with_spools(daemon, &id);
        let notices = daemon.records_of(&id, "notice");
        assert!(
            notices
                .iter()
                .any(|notice| notice.to_string().contains("the disk was full")),
            "{notices:?}"
        );
        wait_until_ready(daemon);
        let next = daemon.create("say hello");
        daemon.wait_for(&next, "completed");
        assert!(daemon.log().contains("there is room on the disk again"));
    });
}

pub(crate) fn questions_stay_open(name: &str) {
    on_small_disk(name, |daemon, disk| {
        let id = flooding(daemon);
        let asking = daemon.create("ask-permission touch allowed ;; say done");
        let question = daemon.question(&asking);
        let reader = reading(daemon);
        fill_up(daemon, disk, &id);
        open_gate(daemon, 2);
        daemon.wait_for(&id, "paused");
        assert_eq!(daemon.view(&asking)["state"], "awaiting_input");
        assert_eq!(daemon.question(&asking), question);

        let name = question["question_id"].as_str().unwrap();
        let (status, problem) = daemon.answer(&asking, name, &json!({"action": "allow"}));
        assert_eq!((status, &problem["code"]), (507, &json!("disk_full")), "{problem}");
        assert_eq!(
            daemon.view(&asking)["state"],
            "paused",
            "the answer waits to be written down"
        );
        assert!(!daemon.work().join("allowed").exists());
        let told = |problem: &Value| problem["detail"].as_str().expect("a sentence").to_owned();
        assert!(told(&problem).contains("not recorded yet"), "{problem}");
        let (status, problem) = daemon.answer(&asking, name, &json!({"action": "deny"}));
        assert_eq!((status, &problem["code"]), (507, &json!("disk_full")), "{problem}");
        assert!(
            told(&problem).contains("has an answer that is not recorded yet"),
            "{problem}"
        );
        assert!(told(&problem).contains("if the daemon stops"), "{problem}");

        drop(reader);
        std::fs::remove_file(disk.fill()).unwrap();
        daemon.wait_for(&asking, "completed");
        assert!(daemon.work().join("allowed").exists());
        assert_eq!(daemon.records_of(&asking, "question.answered").len(), 1);
        daemon.wait_for(&id, "completed");
    });
}

/// Starts the daemon on a disk that has been filled since it ended.
fn start_on_full(daemon: &mut TestDaemon, disk: &SmallDisk, is_killed: bool) {
    if is_killed {
        daemon.kill();
    } else {
        assert_eq!(daemon.terminate(), Some(0));
    }
    disk.fill();
    daemon.launch();
}

#[test]
fn a_daemon_starts_on_a_full_disk_to_read_to_answer_and_to_remove() {
    let name = "disk::a_daemon_starts_on_a_full_disk_to_read_to_answer_and_to_remove";
    on_small_disk(name, |daemon, disk| {
        let asking = daemon.create("ask-permission touch allowed ;; say done");
        let question = daemon.question(&asking)["question_id"].clone();
        let is_killed = [false, true, false, true];
        let ended = is_killed.map(|_| daemon.create(&format!("{FLOOD} ;; say the end")));
        for id in &ended {
            daemon.wait_for(id, "completed");
        }
        for (round, (id, is_killed)) in ended.iter().zip(is_killed).enumerate() {
            start_on_full(daemon, disk, is_killed);
            if round == 0 {
                let answer = json!({"action": "allow"});
                let (status, view) = daemon.answer(&asking, question.as_str().unwrap(), &answer);
                assert_eq!(status, 200, "{view}");
            }
            assert_eq!(daemon.texts(id).len(), 21, "the journal is read");
            assert_eq!(daemon.get("/readyz").0, 503, "it is known from the beginning");
            let (status, problem) = daemon.post("/api/sessions", &json!({"task": "say hello", "cwd": daemon.work()}));
            assert_eq!((status, &problem["code"]), (507, &json!("disk_full")), "{problem}");
            let removed = daemon.command(&["rm", id]).output().unwrap();
            assert!(removed.status.success(), "{removed:?}");
        }
        std::fs::remove_file(disk.fill()).unwrap();
        daemon.wait_for(&asking, "completed");
        wait_until_ready(daemon);
    });
}

#[test]
fn a_disk_is_full_until_a_new_session_has_room_beside_the_ballast() {
    let name = "disk::a_disk_is_full_until_a_new_session_has_room_beside_the_ballast";
    on_small_disk(name, |daemon, disk| {
        let ended = daemon.create("say hello");
        daemon.wait_for(&ended, "completed");
        let filler = disk.fill();
        let file = File::options().write(true).open(&filler).unwrap();
        file.set_len(file.metadata().unwrap().len() - 4 * 1024 * 1024).unwrap();
        drop(file);
        let (status, problem) = daemon.post("/api/sessions", &json!({"task": "say hello", "cwd": daemon.work()}));
        assert_eq!((status, &problem["code"]), (507, &json!("disk_full")), "{problem}");
        assert!(
            daemon.state().join("journal.ballast").exists(),
            "4 MiB are enough for what goes on"
        );
        // Before it does anything else the writer looks whether there is room again.
        let removed = daemon.command(&["rm", &ended]).output().unwrap();
        assert!(removed.status.success(), "{removed:?}");
        assert_eq!(daemon.get("/readyz").0, 503);
        std::fs::remove_file(filler).unwrap();
        wait_until_ready(daemon);
    });
}
