//! How a removed session leaves the file: hidden at once, deleted bit by bit, also by a later store and beside a full
//! disk.

use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::store::contract::removal::{ended_session, gone};

/// How long the deletion of a few thousand records may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the deletion of records fail, for as long as the writer's connection is open.
const NO_DELETION: &str = "CREATE TEMP TRIGGER keep BEFORE DELETE ON records BEGIN SELECT raise(ABORT, 'not now'); END";

fn count(directory: &Directory, sql: &str) -> i64 {
    let connection = Connection::open(directory.file()).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn records_in_file(directory: &Directory) -> i64 {
    count(directory, "SELECT count(*) FROM records")
}

fn marks_in_file(directory: &Directory) -> i64 {
    count(directory, "SELECT count(*) FROM meta WHERE name LIKE 'removed:%'")
}

fn wait_until_deleted(directory: &Directory) {
    let patient_until = Instant::now() + PATIENCE;
    while marks_in_file(directory) > 0 {
        assert!(Instant::now() < patient_until, "the records are not deleted");
        thread::yield_now();
    }
}

/// A session of several portions that has ended.
fn long_session(store: &SqliteStore) -> SessionId {
    let id = new_session(store);
    for _ in 0..3 {
        write(store, append(id, 0, None, vec![said("hello"); 700]));
    }
    write(store, append(id, 0, None, vec![said(&"x".repeat(1_000_000)); 9]));
    write(store, append(id, 0, None, vec![started(1), ended()]));
    id
}

#[test]
fn the_records_of_a_removed_session_are_deleted_and_no_others() {
    let directory = Directory::default();
    let store = directory.store();
    let (long, other) = (long_session(&store), ended_session(&store));
    let kept = journal(&store, other);
    gone(store.remove(long)).unwrap();
    wait_until_deleted(&directory);
    assert_eq!(records_in_file(&directory), kept.len() as i64);
    assert_eq!(journal(&store, other), kept);
    let free = count(&directory, "SELECT freelist_count FROM pragma_freelist_count");
    assert!(
        free * 16 * 1024 > 9_000_000,
        "{free} pages are there to be written again"
    );
}

#[test]
fn what_could_not_be_deleted_is_hidden_and_goes_with_the_next_store() {
    let directory = Directory::default();
    let store = directory.store();
    let (long, live) = (long_session(&store), new_session(&store));
    let last_id = store.last_id().unwrap();
    store.on_writer(NO_DELETION);
    gone(store.remove(long)).unwrap();
    write(&store, notice(live, "nobody else is concerned"));
    assert_eq!(store.rebuild().unwrap().rows, 1, "a rebuild does not bring it back");
    assert_eq!(store.summary(long).unwrap(), None);
    assert_eq!(journal(&store, long), []);
    assert_eq!(store.last_of_kind(long, "session.ended").unwrap(), None);
    assert_eq!(store.records_of_all(0, 10).unwrap().len(), 2);
    store.close();
    assert!(records_in_file(&directory) > 2000 && marks_in_file(&directory) == 1);

    let store = directory.store();
    wait_until_deleted(&directory);
    assert_eq!(records_in_file(&directory), 2);
    assert_eq!(store.last_id().unwrap(), last_id + 1);
}

#[test]
fn a_session_is_removed_while_others_wait_for_room() {
    let directory = Directory::default();
    let store = directory.store();
    let (old, id) = (ended_session(&store), new_session(&store));
    store.on_writer("PRAGMA max_page_count = 1");
    let waiting = store.append(append(id, 0, None, vec![said(&"x".repeat(1_000_000))]));
    gone(store.remove(old)).unwrap();
    assert_eq!(store.summary(old).unwrap(), None);
    store.on_writer("PRAGMA max_page_count = 1000000");
    assert_eq!(seqs(&answered(waiting).unwrap().records), [2]);
    wait_until_deleted(&directory);
}
