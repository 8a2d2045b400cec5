//! `rm` and `gc`: what is removed is gone from everywhere and for good, what lives is not, and a daemon that is killed in
//! the middle leaves nothing half.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::resume::{resume, transcripts};
use crate::support::daemon::{TestDaemon, signal};
use crate::support::namespace::{SmallDisk, in_own_namespace};
use crate::support::wait::until;

fn done(daemon: &TestDaemon, task: &str) -> String {
    let id = daemon.create(task);
    daemon.wait_for(&id, "completed");
    id
}

/// On a slow machine the host may take longer to leave than a removal waits for it.
fn remove(daemon: &TestDaemon, id: &str) -> (u16, Value) {
    until("its host to leave", || {
        let answer = daemon.delete(&format!("/api/sessions/{id}"));
        let is_held = answer.1["detail"].as_str().is_some_and(|why| why.contains("is held"));
        (!is_held).then_some(answer)
    })
}

/// Waits until no process holds on to what has ended.
fn gc(daemon: &TestDaemon, body: &Value) -> Value {
    until("the hosts to leave", || {
        let hosts = ended(daemon).into_iter().flat_map(|id| daemon.hosts_of(&id));
        (hosts.count() == 0).then_some(())
    });
    let (status, swept) = daemon.post("/api/gc", body);
    assert_eq!((status, &swept["next_cursor"]), (200, &Value::Null), "{swept}");
    swept
}

fn ids(sessions: &Value) -> Vec<String> {
    let ids = sessions.as_array().expect("sessions").iter();
    ids.map(|session| session["session_id"].as_str().expect("an id").to_owned())
        .collect()
}

fn ended(daemon: &TestDaemon) -> Vec<String> {
    let (_, page) = daemon.get("/api/sessions?state=ended&limit=500");
    ids(&page["sessions"])
}

fn folder(daemon: &TestDaemon, id: &str) -> PathBuf {
    daemon.state().join("sessions").join(id)
}

fn folders(daemon: &TestDaemon) -> Vec<PathBuf> {
    let entries = fs::read_dir(daemon.state().join("sessions"))
        .expect("a folder")
        .flatten();
    entries.map(|entry| entry.path()).collect()
}

fn make_old(folder: &std::path::Path) {
    let below = fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path());
    let directories = below.filter(|path| path.is_dir()).chain([folder.to_owned()]);
    for directory in directories.collect::<Vec<_>>() {
        let week_ago = SystemTime::now() - Duration::from_secs(7 * 24 * 3600);
        File::open(directory)
            .expect("it opens")
            .set_modified(week_ago)
            .expect("it is ours");
    }
}

/// How many records the database has, those that nobody is shown included.
fn records_in_file(daemon: &TestDaemon) -> i64 {
    let database = Connection::open(daemon.state().join("journal.sqlite3")).unwrap();
    database
        .query_row("SELECT count(*) FROM records", [], |row| row.get(0))
        .unwrap()
}

fn head_of_all(daemon: &TestDaemon) -> u64 {
    let hello = daemon.stream("/events", None).next().expect("a greeting");
    hello.data["head"].as_u64().expect("a head")
}

#[test]
fn a_removed_session_is_gone_from_everywhere_and_the_others_stay() {
    let daemon = TestDaemon::start();
    let (other, id) = (done(&daemon, "say parser"), done(&daemon, "say parser and more"));
    let others_records = daemon.records(&other);
    let transcript = transcripts(&daemon, &id);
    let short = &id[id.len() - 8..];
    assert_eq!(remove(&daemon, short), (204, json!("")));
    let base = format!("/api/sessions/{id}");
    let gone = ["", "/records", "/wait", "/export", "/checkpoints", "/handover"];
    for path in gone
        .iter()
        .map(|rest| format!("{base}{rest}"))
        .chain([format!("/execution/{id}/stream")])
    {
        let (status, problem) = daemon.get(&path);
        assert_eq!((status, &problem["code"]), (404, &json!("no_such_session")), "{path}");
    }
    for path in ["/resume", "/fork", "/cancel"] {
        let (status, problem) = daemon.post(&format!("{base}{path}"), &json!({}));
        assert_eq!((status, &problem["code"]), (404, &json!("no_such_session")), "{path}");
    }
    let (status, problem) = remove(&daemon, &id);
    assert_eq!(
        (status, &problem["code"]),
        (404, &json!("no_such_session")),
        "{problem}"
    );
    for path in ["/api/sessions", "/api/sessions?q=parser", "/api/sessions?state=ended"] {
        assert_eq!(ids(&daemon.get(path).1["sessions"]), [other.as_str()], "{path}");
    }
    assert_eq!(
        daemon.get("/api/history?q=parser").1.to_string().matches(&id).count(),
        0
    );
    let (_, figures) = daemon.get("/metrics");
    let figures = figures.as_str().expect("text");
    assert!(
        figures.contains("cc_executor_sessions{state=\"completed\"} 1\n"),
        "{figures}"
    );
    assert_eq!(folders(&daemon), [folder(&daemon, &other)]);
    assert_eq!(daemon.records(&other), others_records);
    assert!(
        !transcript.is_empty() && transcripts(&daemon, &id) == transcript,
        "that is the agent's"
    );
    let (_, page) = daemon.get("/api/audit");
    let deletions = page["entries"].as_array().expect("entries").iter();
    let deletions: Vec<_> = deletions
        .filter(|entry| entry["method"] == "DELETE")
        .take(2)
        .map(|entry| (entry["session_id"].as_str(), entry["outcome"].as_str()))
        .collect();
    assert_eq!(deletions, [(Some(&*id), Some("refused")), (Some(&*id), Some("done"))]);
}

#[test]
fn a_session_that_lives_is_not_removed_nor_swept() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let id = daemon.create(&format!("say on ;; wait-file {} ;; say done", gate.display()));
    daemon.wait_for(&id, "running");
    let (status, problem) = remove(&daemon, &id);
    assert_eq!((status, &problem["code"]), (409, &json!("still_live")), "{problem}");
    assert!(
        problem["detail"].as_str().unwrap().contains("/cancel` ends it"),
        "{problem}"
    );
    let swept = gc(&daemon, &json!({"older_than_seconds": 0}));
    assert_eq!((&swept["sessions"], &swept["folders"]), (&json!([]), &json!([])));
    fs::write(gate, "").unwrap();
    let view = daemon.wait_for(&id, "completed");
    assert_eq!((&view["attempt"], &view["result"]), (&json!(1), &json!("done")));
}

#[test]
fn ids_of_removed_records_are_not_used_again_by_the_next_daemon() {
    let mut daemon = TestDaemon::start();
    let (first, last) = (done(&daemon, "say one"), done(&daemon, "say two"));
    let before = daemon.records(&first).len() as u64;
    let head = head_of_all(&daemon);
    assert_eq!(remove(&daemon, &last).0, 204);
    assert_eq!(head_of_all(&daemon), head);
    daemon.terminate();
    daemon.launch();
    assert_eq!(head_of_all(&daemon), head);
    // A reader in the middle of what is gone, one in front of it, and one behind.
    let readers = [before + 2, before - 1, head].map(|cursor| daemon.stream("/events", Some(cursor)));
    let next = done(&daemon, "say three");
    let [inside, in_front, behind] = readers.map(|reader| {
        let mut events = reader.filter(|event| event.id.is_some());
        (events.next().expect("a record"), events.next().expect("another"))
    });
    assert_eq!(
        (inside.0.id, inside.0.data["session_id"].as_str()),
        (Some(head + 1), Some(&*next))
    );
    assert_eq!(behind, inside);
    assert_eq!((in_front.0.id, &in_front.1), (Some(before), &inside.0));
}

#[test]
fn who_reads_a_session_while_it_is_removed_comes_to_an_end() {
    let daemon = TestDaemon::start();
    let id = done(&daemon, "flood 5000 300");
    let head = daemon.view(&id)["head"].as_u64().unwrap();
    let mut reader = daemon.stream(&format!("/execution/{id}/stream"), Some(0));
    assert_eq!(reader.next().expect("a greeting").data["head"], head);
    assert_eq!(remove(&daemon, &id).0, 204);
    let seqs: Vec<u64> = reader.filter_map(|event| event.id).collect();
    assert!(seqs.len() as u64 <= head);
    assert_eq!(
        seqs,
        (1..=seqs.len() as u64).collect::<Vec<_>>(),
        "what it was shown has no gap"
    );
    until("its records to be deleted", || {
        (records_in_file(&daemon) == 0).then_some(())
    });
}

#[test]
fn of_a_removal_and_a_resume_at_the_same_moment_one_wins() {
    let daemon = TestDaemon::start();
    let gate = daemon.root().join("gate");
    let body = json!({"instruction": format!("wait-file {} ;; say done", gate.display())});
    let sessions: Vec<String> = (0..8).map(|_| daemon.create("say hm ;; max-turns")).collect();
    let mut resumed = Vec::new();
    for id in sessions {
        daemon.wait_for(&id, "failed");
        let (resumption, removal) = thread::scope(|scope| {
            let resuming = scope.spawn(|| resume(&daemon, &id, &body));
            let removing = scope.spawn(|| remove(&daemon, &id));
            (resuming.join().unwrap(), removing.join().unwrap())
        });
        match (resumption.0, removal.0) {
            (202, 409) => resumed.push(id),
            (404, 204) => assert_eq!(daemon.get(&format!("/api/sessions/{id}")).0, 404),
            _ => panic!("{resumption:?} {removal:?}"),
        }
    }
    fs::write(gate, "").unwrap();
    for id in resumed {
        assert_eq!(daemon.wait_for(&id, "completed")["result"], "done");
    }
    assert!(!daemon.log().contains("the journal failed"), "{}", daemon.log());
}

#[test]
fn a_copy_of_a_removed_session_goes_on() {
    let daemon = TestDaemon::start();
    let id = daemon.create("say first ;; max-turns");
    daemon.wait_for(&id, "failed");
    let body = json!({"instruction": "say copied ;; max-turns"});
    let (status, view) = daemon.post(&format!("/api/sessions/{id}/fork"), &body);
    assert_eq!(status, 201, "{view}");
    let copy = view["session_id"].as_str().unwrap();
    daemon.wait_for(copy, "failed");
    assert_eq!(remove(&daemon, &id).0, 204);
    let (status, view) = resume(&daemon, copy, &json!({"instruction": "say on"}));
    assert_eq!(status, 202, "{view}");
    daemon.wait_for(copy, "completed");
    let origin = &daemon.records(copy)[0]["data"]["request"]["origin"];
    assert_eq!(origin["session_id"], json!(id), "what it was made from is still said");
    assert_eq!(daemon.get(&format!("/execution/{copy}")).0, 200);
}

#[test]
fn a_sweep_says_first_and_then_removes() {
    let daemon = TestDaemon::start();
    let mut two = [done(&daemon, "say one"), done(&daemon, "flood 20 300000")];
    two.reverse();
    let nothing = gc(&daemon, &json!({}));
    assert_eq!(
        (&nothing["sessions"], &nothing["bytes"]),
        (&json!([]), &json!(0)),
        "30 days is long"
    );
    let records: Vec<_> = two.iter().map(|id| daemon.records(id)).collect();

    let told = gc(&daemon, &json!({"older_than_seconds": 0, "dry_run": true}));
    assert_eq!(ids(&told["sessions"]), two);
    assert_eq!(told["sessions"][0]["records"], json!(records[0].len()));
    assert!(told["sessions"][0]["bytes"].as_u64().unwrap() > 6_000_000, "{told}");
    assert!(told["bytes"].as_u64() > told["sessions"][0]["bytes"].as_u64(), "{told}");
    let spools = gc(
        &daemon,
        &json!({"older_than_seconds": 0, "dry_run": true, "spools_only": true}),
    );
    assert_eq!(ids(&spools["sessions"]), two);
    assert!(folder(&daemon, &two[0]).join("1/stdout.jsonl").exists());

    let freed = gc(&daemon, &json!({"older_than_seconds": 0, "spools_only": true}));
    assert_eq!(
        (&freed["sessions"], &freed["bytes"]),
        (&spools["sessions"], &spools["bytes"])
    );
    for (id, records) in two.iter().zip(&records) {
        assert!(!folder(&daemon, id).join("1/stdout.jsonl").exists());
        assert_eq!(daemon.records(id), *records);
    }
    let again = gc(&daemon, &json!({"older_than_seconds": 0, "spools_only": true}));
    assert_eq!(again["sessions"], json!([]));

    let swept = gc(&daemon, &json!({"older_than_seconds": 0}));
    assert_eq!(ids(&swept["sessions"]), two);
    assert_eq!((ended(&daemon).len(), folders(&daemon).len()), (0, 0));
    for bad in [
        json!({"older": 1}),
        json!({"older_than_seconds": -1}),
        json!({"cursor": "x"}),
    ] {
        assert_eq!(daemon.post("/api/gc", &bad).0, 400, "{bad}");
    }
}

#[test]
fn folders_of_no_session_go_when_they_are_old_and_nothing_holds_them() {
    let daemon = TestDaemon::start();
    let kept = done(&daemon, "say kept");
    let stray = |digit: char| {
        let folder = folder(
            &daemon,
            &kept.replace(|c: char| c.is_ascii_hexdigit(), &digit.to_string()),
        );
        fs::create_dir_all(folder.join("1")).unwrap();
        fs::write(folder.join("1/host.lock"), "").unwrap();
        fs::write(folder.join("1/stdout.jsonl"), "x".repeat(10_000)).unwrap();
        folder
    };
    let (old, young, held) = (stray('1'), stray('2'), stray('3'));
    let mine = folder(&daemon, "mine");
    fs::create_dir(&mine).unwrap();
    symlink(daemon.work(), old.join("link")).unwrap();
    for folder in [&old, &held, &mine, &folder(&daemon, &kept)] {
        make_old(folder);
    }
    let lock = File::open(held.join("1/host.lock")).unwrap();
    lock.lock().unwrap();
    fs::write(daemon.work().join("file"), "").unwrap();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_str().unwrap().to_owned();

    let told = gc(&daemon, &json!({"dry_run": true}));
    assert_eq!(told["folders"][0]["name"], json!(name(&old)), "{told}");
    assert!(old.exists());
    let swept = gc(&daemon, &json!({}));
    assert_eq!(swept["folders"], told["folders"]);
    assert_eq!(swept["kept"][0]["what"], json!(name(&held)), "{swept}");
    assert_eq!(
        (
            swept["folders"].as_array().unwrap().len(),
            swept["kept"].as_array().unwrap().len()
        ),
        (1, 1)
    );
    assert!(
        swept["kept"][0]["why"].as_str().unwrap().contains("host.lock is held"),
        "{swept}"
    );
    let left: Vec<bool> = [&old, &young, &held, &mine, &folder(&daemon, &kept)]
        .map(|path| path.exists())
        .into();
    assert_eq!(left, [false, true, true, true, true]);
    assert!(daemon.work().join("file").exists(), "nothing that a link leads to");
    drop(lock);
    gc(&daemon, &json!({}));
    assert!(!held.exists());
}

#[test]
fn a_daemon_that_is_killed_in_the_middle_leaves_nothing_half() {
    const SESSIONS: usize = 12;
    let mut daemon = TestDaemon::start();
    let created: Vec<String> = (0..SESSIONS).map(|_| daemon.create("flood 800 200")).collect();
    let heads: Vec<u64> = created
        .iter()
        .map(|id| daemon.wait_for(id, "completed")["head"].as_u64().unwrap())
        .collect();
    let head = head_of_all(&daemon);
    until("the hosts to leave", || {
        let hosts: usize = created.iter().map(|id| daemon.hosts_of(id).len()).sum();
        (hosts == 0).then_some(())
    });
    for left in [10, 6, 2] {
        thread::scope(|scope| {
            let sweeping = scope.spawn(|| daemon.post_text("/api/gc", r#"{"older_than_seconds": 0}"#));
            until("some of it to be gone", || {
                (folders(&daemon).len() <= left).then_some(())
            });
            signal(daemon.pid(), rustix::process::Signal::KILL);
            sweeping.join().unwrap();
        });
        daemon.wait_for_end();
        daemon.launch();
        for (id, head) in created.iter().zip(&heads) {
            match daemon.get(&format!("/api/sessions/{id}")).0 {
                200 => {
                    assert_eq!(daemon.records(id).len() as u64, *head);
                    assert!(folder(&daemon, id).join("1/stdout.jsonl").exists());
                }
                status => assert_eq!(
                    (status, daemon.get(&format!("/api/sessions/{id}/records")).0),
                    (404, 404)
                ),
            }
        }
        assert_eq!(head_of_all(&daemon), head);
        let cut_off = || {
            folders(&daemon)
                .into_iter()
                .filter(|path| path.display().to_string().contains("removed-"))
        };
        until("what was cut off to be finished", || {
            (cut_off().count() == 0).then_some(())
        });
    }
    gc(&daemon, &json!({"older_than_seconds": 0}));
    assert_eq!(ended(&daemon), [""; 0]);
    until("the records to be deleted", || {
        (records_in_file(&daemon) == 0).then_some(())
    });
    // A kill between the journal and the files leaves a folder that belongs to nobody.
    assert!(folders(&daemon).len() <= 3);
    folders(&daemon).iter().for_each(|folder| make_old(folder));
    gc(&daemon, &json!({}));
    assert_eq!(folders(&daemon), [""; 0].map(PathBuf::from));
    let next = done(&daemon, "say on");
    let first = daemon
        .stream("/events", Some(head))
        .find(|event| event.id.is_some())
        .unwrap();
    assert_eq!(
        (first.id, first.data["session_id"].as_str()),
        (Some(head + 1), Some(&*next))
    );
}

#[test]
fn a_full_disk_gets_its_room_back_by_a_sweep() {
    in_own_namespace("removal::a_full_disk_gets_its_room_back_by_a_sweep", || {
        let place = tempfile::tempdir().unwrap();
        let disk = SmallDisk::mount(place.path(), 160);
        let mut daemon = TestDaemon::stopped(&[]);
        symlink(place.path(), daemon.root().join("state")).unwrap();
        daemon.launch();
        let old: Vec<String> = (0..4).map(|_| done(&daemon, "flood 20 300000")).collect();
        let second = done(&daemon, "say not so old");
        until("the hosts to leave", || {
            daemon.hosts_of(&second).is_empty().then_some(())
        });
        disk.fill();
        let refused = daemon.post("/api/sessions", &json!({"task": "say hello", "cwd": daemon.work()}));
        assert_eq!(refused.0, 507, "{refused:?}");
        let detail = refused.1["detail"].as_str().unwrap();
        assert!(detail.contains("POST /api/gc"), "{detail}");
        disk.fill();
        gc(&daemon, &json!({"older_than_seconds": 0}));
        for id in old {
            assert_eq!(daemon.get(&format!("/api/sessions/{id}")).0, 404);
        }
        until("the daemon to be ready again", || {
            (daemon.get("/readyz").0 == 200).then_some(())
        });
        done(&daemon, "say hello");
    });
}
