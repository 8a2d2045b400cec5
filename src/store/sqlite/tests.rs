//! What only the store on SQLite promises: about its file, its disk, and a process that is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;
use crate::session::id::Attempt;
use crate::session::shown::Shown;
use crate::store::contract::entries::{append, at, checkpoint, created, ended, notice, said, started};
use crate::store::contract::listing::new_child;
use crate::store::contract::{self, Place, answered, journal, new_session, seqs, summary, write};
use crate::store::{Commit, Shortage, Store, Unwritten};

mod kill;
mod migration;
mod plans;
mod removal;
mod salvage;

/// A database in a directory of its own.
struct Directory(TempDir);

impl Default for Directory {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Directory {
    fn file(&self) -> PathBuf {
        self.0.path().join("journal.sqlite3")
    }

    fn store(&self) -> SqliteStore {
        SqliteStore::open(&self.file(), Arc::new(())).unwrap()
    }

    fn error(&self) -> StoreError {
        let opened = SqliteStore::open(&self.file(), Arc::new(()));
        opened.err().expect("this database is not to be opened")
    }

    /// What is said while there is no room here.
    fn full(&self) -> StoreError {
        StoreError::DiskFull {
            directory: self.0.path().to_owned(),
        }
    }

    fn sql(&self, sql: &str) {
        Connection::open(self.file()).unwrap().execute_batch(sql).unwrap();
    }
}

impl Place for Directory {
    fn open(&self, observer: Arc<dyn Observer>) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.file(), observer).unwrap())
    }
}

contract::store_contract!(Directory);

impl SqliteStore {
    /// Runs statements on the writer's connection.
    fn on_writer(&self, sql: &'static str) {
        let (done, is_done) = mpsc::sync_channel(1);
        self.hand_over(WriterJob::Run(sql, done)).unwrap();
        is_done.recv().unwrap();
    }
}

#[test]
fn the_files_are_for_their_owner_only() {
    let directory = Directory::default();
    fs::write(directory.file(), "").unwrap();
    let store = directory.store();
    new_session(&store);
    let mut files = 0;
    for file in fs::read_dir(directory.0.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        files += 1;
    }
    assert_eq!(
        files, 5,
        "the database, its log, the log's index, the ballast and the reserve"
    );
}

#[test]
fn a_closed_store_leaves_the_database_and_what_it_puts_by() {
    let directory = Directory::default();
    let store = directory.store();
    new_session(&store);
    store.close();
    assert_eq!(fs::read_dir(directory.0.path()).unwrap().count(), 3);
}

#[test]
fn the_settings_are_the_durable_ones() {
    let directory = Directory::default();
    let connection = schema::open_writer(&directory.file(), schema::MIGRATIONS).unwrap();
    let setting = |name: &str| {
        let value = connection.pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0));
        format!("{:?}", value.unwrap())
    };
    assert_eq!(setting("journal_mode"), r#"Text("wal")"#);
    assert_eq!(setting("synchronous"), "Integer(2)");
    assert_eq!(setting("page_size"), "Integer(16384)");
    assert_eq!(setting("wal_autocheckpoint"), "Integer(1000)");
}

#[test]
fn a_newer_database_is_left_alone() {
    let directory = Directory::default();
    directory.sql("CREATE TABLE t (x); PRAGMA user_version = 7");
    let before = fs::read(directory.file()).unwrap();
    assert_eq!(directory.error(), StoreError::FromTheFuture { found: 7, known: 4 });
    assert_eq!(fs::read(directory.file()).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let directory = Directory::default();
    fs::write(directory.file(), "hello ".repeat(10_000)).unwrap();
    let error = directory.error().to_string();
    assert!(
        error.contains("journal.sqlite3") && error.contains("cc-executor doctor --rebuild"),
        "{error}"
    );
}

#[test]
fn damage_that_is_met_later_is_named_too() {
    let directory = Directory::default();
    let store = directory.store();
    let id = new_session(&store);
    write(&store, append(id, 0, None, vec![said(&"x".repeat(100_000)); 10]));
    store.close();
    let mut bytes = fs::read(directory.file()).unwrap();
    let behind_the_roots = 16 * 16 * 1024;
    bytes[behind_the_roots..].fill(0x55);
    fs::write(directory.file(), bytes).unwrap();
    let read = match SqliteStore::open(&directory.file(), Arc::new(())) {
        Ok(store) => store.records(id, Seq(0), 100).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(read, StoreError::Damaged { .. }), "{read}");
}

#[test]
fn a_full_disk_loses_nothing_and_passes() {
    let directory = Directory::default();
    let store = directory.store();
    let id = new_session(&store);
    write(&store, append(id, 0, Some((0, 10)), vec![said("before")]));
    store.on_writer("PRAGMA max_page_count = 1");
    let long = said(&"x".repeat(1_000_000));
    let waiting = store.append(append(id, 0, Some((10, 20)), vec![long]));
    let refused = answered(store.create(SessionId::new(), created(), at()));
    assert_eq!(refused.unwrap_err(), directory.full().into(), "nothing new is admitted");
    assert_eq!(summary(&store, id).head, Seq(2), "what does not fit is not shown");
    store.on_writer("PRAGMA max_page_count = 1000000");
    let written = answered(waiting).unwrap();
    assert_eq!(seqs(&written.records), [3]);
    assert_eq!(seqs(&journal(&store, id)), [1, 2, 3]);
}

#[test]
fn a_store_that_is_closed_while_the_disk_is_full_refuses_what_waits() {
    let directory = Directory::default();
    let store = directory.store();
    let id = new_session(&store);
    store.on_writer("PRAGMA max_page_count = 1");
    let waiting = store.append(append(id, 0, None, vec![said(&"x".repeat(1_000_000))]));
    store.close();
    assert_eq!(answered(waiting).unwrap_err(), StoreError::Closed.into());
}

#[test]
fn the_ballast_is_given_up_first_and_taken_again() {
    let directory = Directory::default();
    let ballast = directory.file().with_extension("ballast");
    let store = directory.store();
    let id = new_session(&store);
    assert!(ballast.exists());
    store.on_writer("PRAGMA max_page_count = 1");
    let waiting = store.append(append(id, 0, None, vec![said(&"x".repeat(1_000_000))]));
    let refused = answered(store.create(SessionId::new(), created(), at()));
    assert_eq!(
        (refused.unwrap_err(), ballast.exists()),
        (directory.full().into(), false)
    );
    store.on_writer("PRAGMA max_page_count = 1000000");
    answered(waiting).unwrap();
    write(&store, append(id, 0, None, vec![said("after")]));
    assert!(ballast.exists());
}

#[test]
fn a_full_disk_is_seen_with_those_who_wait_for_it_and_so_is_its_end() {
    /// Remembers the full disks that have passed.
    #[derive(Default)]
    struct Passed(Mutex<Vec<Shortage>>);
    impl Observer for Passed {
        fn committed(&self, _: &Commit) {}

        fn went_on(&self, passed: &Shortage) {
            lock(&self.0).push(passed.clone());
        }
    }
    let directory = Directory::default();
    let passed = Arc::new(Passed::default());
    let store = SqliteStore::open(&directory.file(), Arc::<Passed>::clone(&passed)).unwrap();
    let (waiting, idle) = (new_session(&store), new_session(&store));
    let late = new_session(&store);
    let health = store.health();
    assert_eq!(*health.borrow(), Health::Good);
    store.on_writer("PRAGMA max_page_count = 1");
    let delayed = store.append(append(waiting, 0, None, vec![said(&"x".repeat(1_000_000))]));
    // The first may be refused while the ballast is given up, and nobody waits yet.
    answered(store.create(SessionId::new(), created(), at())).unwrap_err();
    let refused = answered(store.create(SessionId::new(), created(), at())).unwrap_err();
    let shortage = health.borrow().holds_up(waiting).cloned().expect("somebody waits");
    assert_eq!(shortage.waiting, [waiting].into(), "and nobody else");
    let later = store.append(notice(late, "waits as well"));
    answered(store.create(SessionId::new(), created(), at())).unwrap_err();
    let shortage = health
        .borrow()
        .holds_up(late)
        .cloned()
        .expect("whoever comes later waits too");
    assert_eq!(shortage.waiting, [waiting, late].into());
    assert_eq!(health.borrow().refusal().map(Unwritten::from), Some(refused));
    store.on_writer("PRAGMA max_page_count = 1000000");
    answered(delayed).unwrap();
    answered(later).unwrap();
    write(&store, notice(idle, "goes on"));
    assert_eq!(*health.borrow(), Health::Good);
    let passed = lock(&passed.0);
    assert_eq!((passed.len(), &passed[0].waiting), (1, &shortage.waiting));
}

#[test]
fn after_a_failed_commit_nothing_is_acknowledged() {
    let directory = Directory::default();
    let store = directory.store();
    let id = new_session(&store);
    // A foreign key that is looked at by the commit, and by nothing before it.
    store.on_writer(
        "PRAGMA foreign_keys = ON;
        CREATE TEMP TABLE parent (x PRIMARY KEY);
        CREATE TEMP TABLE child (x REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
        CREATE TEMP TRIGGER fail AFTER INSERT ON records BEGIN INSERT INTO child VALUES (1); END;",
    );
    let failed = answered(store.append(notice(id, "one"))).unwrap_err();
    assert!(
        matches!(&failed, Unwritten::Failed(StoreError::Failed(why)) if why.contains("FOREIGN KEY")),
        "{failed}"
    );
    store.on_writer("DROP TRIGGER fail");
    assert_eq!(answered(store.append(notice(id, "two"))).unwrap_err(), failed);
    assert_eq!(
        answered(store.create(SessionId::new(), created(), at())).unwrap_err(),
        failed
    );
    assert_eq!(seqs(&journal(&store, id)), [1], "what was there can be read");
    store.close();
    write(&directory.store(), notice(id, "three"));
}

#[test]
fn an_append_that_sqlite_refuses_takes_no_other_with_it() {
    let directory = Directory::default();
    let store = directory.store();
    let (good, bad) = (new_session(&store), new_session(&store));
    store.on_writer(
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON records WHEN new.body LIKE '%poison%'
        BEGIN SELECT raise(ABORT, 'not this one'); END;",
    );
    let appends = [
        notice(good, "one"),
        append(bad, 0, None, vec![said("half of it"), said("poison")]),
        notice(bad, "two"),
        notice(good, "three"),
    ];
    let waiting = appends.map(|append| store.append(append));
    let [first, refused, second, third] = waiting.map(answered);
    assert!(matches!(refused.unwrap_err(), Unwritten::Failed(StoreError::Failed(why)) if why.contains("not this one")));
    assert_eq!(seqs(&first.unwrap().records), [2]);
    assert_eq!(seqs(&second.unwrap().records), [2]);
    assert_eq!(seqs(&third.unwrap().records), [3]);
    assert_eq!(seqs(&journal(&store, bad)), [1, 2]);
    assert_eq!(store.last_id().unwrap(), 5);
}

#[test]
fn a_rebuild_mends_summaries_and_keeps_offsets() {
    let directory = Directory::default();
    let store = directory.store();
    let ids: Vec<_> = (0..3).map(|_| new_session(&store)).collect();
    for id in &ids {
        write(
            &store,
            append(*id, 0, None, vec![started(1), said("one"), checkpoint(3)]),
        );
        write(&store, append(*id, 1, Some((0, 77)), vec![said("two")]));
    }
    write(&store, append(ids[2], 1, None, vec![ended()]));
    let before: Vec<_> = ids.iter().map(|id| summary(&store, *id)).collect();
    store.on_writer("UPDATE sessions SET summary = '{', ended = 1");
    let unreadable = store.summary(ids[0]).unwrap_err();
    assert!(unreadable.to_string().contains("doctor --rebuild"), "{unreadable}");
    assert_eq!(store.rebuild().unwrap().rows, 3);
    let after: Vec<_> = ids.iter().map(|id| summary(&store, *id)).collect();
    assert_eq!(after, before);
    assert_eq!(store.live().unwrap().len(), 2);
    write(&store, append(ids[0], 1, Some((77, 80)), vec![said("three")]));
}

#[test]
fn what_is_written_after_a_rebuild_follows_the_rebuilt_summary() {
    let directory = Directory::default();
    let id = new_session(&directory.store());
    let name = || summary(&directory.store(), id).name;
    let right = name();
    directory.sql("UPDATE sessions SET summary = json_set(summary, '$.name', 'wrong')");
    let store = directory.store();
    write(&store, notice(id, "the writer knows the wrong summary now"));
    store.rebuild().unwrap();
    write(&store, notice(id, "and has to read the right one"));
    assert_eq!(name(), right);
}

#[test]
fn a_rebuild_makes_a_lost_row_and_notices_a_lost_record() {
    let directory = Directory::default();
    let store = directory.store();
    let id = new_session(&store);
    write(&store, append(id, 0, None, vec![started(1), said("one"), said("two")]));
    let before = summary(&store, id);
    store.on_writer("DELETE FROM sessions");
    assert_eq!(store.rebuild().unwrap().rows, 1);
    assert_eq!(summary(&store, id), before);
    store.on_writer("DELETE FROM records WHERE seq = 3");
    let error = store.rebuild().unwrap_err().to_string();
    assert!(error.contains("record 3"), "{error}");
}

#[test]
fn a_rebuild_leaves_out_what_cannot_be_read_unless_it_may_say_how_the_session_stands() {
    let directory = Directory::default();
    let store = directory.store();
    let id = new_session(&store);
    write(&store, append(id, 0, None, vec![started(1), said("one"), said("two")]));
    let before = summary(&store, id);
    store.on_writer("UPDATE records SET body = '{' WHERE seq = 3; UPDATE sessions SET summary = '{'");
    let rebuilt = store.rebuild().unwrap();
    assert_eq!((rebuilt.rows, rebuilt.left_out), (1, 1));
    let after = summary(&store, id);
    assert_eq!((after.head, &after.lifecycle), (before.head, &before.lifecycle));
    store.on_writer("UPDATE records SET body = '{' WHERE seq = 2");
    let error = store.rebuild().unwrap_err().to_string();
    assert!(error.contains("record 2"), "{error}");
}

#[test]
fn a_session_whose_row_cannot_be_read_does_not_stop_the_others() {
    let directory = Directory::default();
    let (bad, good) = {
        let store = directory.store();
        let ids = (new_session(&store), new_session(&store));
        store.on_writer("UPDATE sessions SET summary = '{' WHERE rowid = 1");
        ids
    };
    let store = directory.store();
    let refused = answered(store.append(notice(bad, "one"))).unwrap_err();
    assert!(
        matches!(refused, Unwritten::Failed(StoreError::Damaged { .. })),
        "{refused}"
    );
    write(&store, notice(good, "two"));
}

#[test]
fn an_observer_may_hold_the_last_handle_of_its_store() {
    struct Holder(mpsc::Receiver<Arc<SqliteStore>>, mpsc::Sender<()>);
    impl Observer for std::sync::Mutex<Holder> {
        fn committed(&self, _: &crate::store::Commit) {
            let holder = self.lock().unwrap();
            drop(holder.0.recv().unwrap());
            holder.1.send(()).unwrap();
        }
    }
    let directory = Directory::default();
    let (give, take) = mpsc::channel();
    let (dropped, is_dropped) = mpsc::channel();
    let observer = std::sync::Mutex::new(Holder(take, dropped));
    let store = Arc::new(SqliteStore::open(&directory.file(), Arc::new(observer)).unwrap());
    let waiting = store.create(SessionId::new(), created(), at());
    give.send(store).unwrap();
    is_dropped.recv().unwrap();
    assert_eq!(answered(waiting).unwrap().summary.lifecycle.attempt, Attempt::NONE);
}

#[test]
fn the_observer_is_through_before_whoever_asked_is_told() {
    /// Says that it is told, and is through when it is let go on.
    struct Slow(mpsc::SyncSender<()>, Mutex<mpsc::Receiver<()>>);
    impl Observer for Slow {
        fn committed(&self, _: &Commit) {
            self.0.send(()).unwrap();
            lock(&self.1).recv().unwrap();
        }
    }
    let directory = Directory::default();
    let (told, is_told) = mpsc::sync_channel(1);
    let (go_on, goes_on) = mpsc::channel();
    let observer = Arc::new(Slow(told, Mutex::new(goes_on)));
    let store = SqliteStore::open(&directory.file(), observer).unwrap();
    let mut waiting = store.create(SessionId::new(), created(), at());
    is_told.recv().unwrap();
    assert!(waiting.try_recv().is_err(), "acknowledged before the observer was told");
    go_on.send(()).unwrap();
    answered(waiting).unwrap();
}
