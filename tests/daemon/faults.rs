//! A disk that fails beneath the journal: syncs that fail, writes without room, and power cuts, which take away whatever
//! was not synced. A small library between the daemon and the kernel plays the disk, and one that lies about its syncs
//! shows that a loss would be noticed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::support::daemon::TestDaemon;
use crate::support::spool::compare_with_spools;
use crate::support::wait::until;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/faults.c");

/// The disk.
struct Disk(TempDir);

impl Disk {
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        fs::create_dir(disk.path("durable")).unwrap();
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-pthread", "-o"])
            .arg(disk.path("faults.so"))
            .arg(SOURCE)
            .output()
            .expect("a C compiler (cc) is installed");
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        disk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A daemon whose journal is on this disk.
    fn daemon(&self) -> TestDaemon {
        let path = |name| self.path(name).display().to_string();
        TestDaemon::start_with(&[
            ("LD_PRELOAD", &path("faults.so")),
            ("CC_FAULTS_CONTROL", &path("control")),
            ("CC_FAULTS_DURABLE", &path("durable")),
        ])
    }

    /// From now on this goes wrong; nothing where it is empty.
    fn fail(&self, fault: &str) {
        let (new, control) = (self.path("control.new"), self.path("control"));
        fs::write(&new, fault).unwrap();
        fs::rename(new, control).unwrap();
    }

    /// Puts the journal of a dead daemon into the state in which a power cut had left it.
    fn cut_power(&self, daemon: &TestDaemon) {
        for name in ["journal.sqlite3", "journal.sqlite3-wal"] {
            let (durable, file) = (self.path("durable").join(name), daemon.state().join(name));
            if durable.exists() {
                fs::copy(durable, file).unwrap();
            } else {
                let _ = fs::remove_file(file);
            }
        }
        let _ = fs::remove_file(daemon.state().join("journal.sqlite3-shm"));
    }
}

/// A session that writes a part of its output behind each of two gates.
fn in_two_parts(daemon: &TestDaemon) -> String {
    let gate = |number: u32| daemon.root().join(format!("gate{number}")).display().to_string();
    daemon.create(&format!(
        "wait-file {} ;; flood 1000 300 ;; wait-file {} ;; flood 1000 300 ;; say the end",
        gate(1),
        gate(2)
    ))
}

fn open_gate(daemon: &TestDaemon, number: u32) {
    fs::write(daemon.root().join(format!("gate{number}")), "").unwrap();
}

/// The records that a reader was shown are there, the session goes on to its end, and nothing is lost or doubled.
fn check_goes_on(daemon: &TestDaemon, id: &str, shown: &[u64]) {
    let last = shown.last().copied().expect("something was shown");
    let head = daemon.view(id)["head"].as_u64().unwrap();
    assert!(
        head >= last,
        "record {last} was shown, and the journal ends with {head}"
    );
    open_gate(daemon, 1);
    open_gate(daemon, 2);
    assert_eq!(daemon.wait_for(id, "completed")["attempt"], 1);
    assert_eq!(daemon.texts(id).len(), 2001);
    compare_with_spools(daemon, id);
}

#[test]
fn after_a_sync_that_fails_nothing_is_acknowledged_and_the_daemon_ends_and_says_so() {
    let disk = Disk::new();
    let mut daemon = disk.daemon();
    let id = in_two_parts(&daemon);
    let mut reader = daemon.stream(&format!("/execution/{id}/stream"), None);
    open_gate(&daemon, 1);
    let mut shown: Vec<u64> = reader.by_ref().filter_map(|event| event.id).take(500).collect();
    disk.fail("eio");
    open_gate(&daemon, 2);
    shown.extend(reader.filter_map(|event| event.id));
    assert_eq!(daemon.wait_for_end(), Some(1));
    let log = daemon.log();
    for told in [
        "the journal failed",
        "disk I/O error",
        "the daemon stops; its agents go on",
    ] {
        assert!(log.contains(told), "{told} is not in:\n{log}");
    }
    assert!(
        daemon.family().contains(&(daemon.agent_pid(&id, 1) as i32)),
        "and they do"
    );
    disk.fail("");
    disk.cut_power(&daemon);
    daemon.launch();
    check_goes_on(&daemon, &id, &shown);
}

#[test]
fn a_power_cut_takes_no_acknowledged_record() {
    let disk = Disk::new();
    let mut daemon = disk.daemon();
    let id = in_two_parts(&daemon);
    let mut shown: Vec<u64> = Vec::new();
    for gate in 1..=2 {
        let mut reader = daemon
            .stream(&format!("/execution/{id}/stream"), shown.last().copied())
            .filter_map(|event| event.id);
        open_gate(&daemon, gate);
        shown.extend(reader.by_ref().take(400));
        daemon.kill();
        shown.extend(reader);
        disk.cut_power(&daemon);
        daemon.launch();
        let head = daemon.view(&id)["head"].as_u64();
        assert!(head >= shown.last().copied(), "{head:?} is before {:?}", shown.last());
    }
    check_goes_on(&daemon, &id, &shown);
}

#[test]
fn a_disk_that_lies_about_its_syncs_does_lose_what_was_acknowledged() {
    let disk = Disk::new();
    let mut daemon = disk.daemon();
    disk.fail("lies");
    let id = daemon.create("say hello");
    daemon.wait_for(&id, "completed");
    until("its last process to end", || {
        daemon.hosts_of(&id).is_empty().then_some(())
    });
    daemon.kill();
    disk.cut_power(&daemon);
    disk.fail("");
    daemon.launch();
    assert_eq!(daemon.get(&format!("/api/sessions/{id}")).0, 404, "so a loss is seen");
}

#[test]
fn a_journal_without_room_waits_for_it() {
    let disk = Disk::new();
    let daemon = disk.daemon();
    let id = in_two_parts(&daemon);
    daemon.wait_for(&id, "running");
    disk.fail("enospc");
    open_gate(&daemon, 1);
    daemon.wait_for(&id, "paused");
    assert_eq!(daemon.get("/readyz").0, 503);
    let (status, problem) = daemon.post("/api/sessions", &json!({"task": "say no", "cwd": daemon.work()}));
    assert_eq!((status, &problem["code"]), (507, &json!("disk_full")), "{problem}");
    disk.fail("");
    let head = daemon.wait_for(&id, "running")["head"].as_u64().unwrap();
    check_goes_on(&daemon, &id, &[head]);
}
