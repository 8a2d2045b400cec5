//! Databases of versions before: migrated once, with a copy kept.

use super::*;

#[test]
fn an_older_database_is_migrated_and_a_copy_kept() {
    let directory = Directory::default();
    let store = directory.store();
    let id = new_session(&store);
    let records = journal(&store, id);
    store.close();

    let next = [schema::MIGRATIONS, &["ALTER TABLE sessions ADD COLUMN colour TEXT"]].concat();
    let store = SqliteStore::open_migrated(&directory.file(), Arc::new(()), &next).unwrap();
    store.on_writer("UPDATE sessions SET colour = 'red'");
    write(&store, notice(id, "after"));
    store.close();

    let backup = directory.0.path().join("journal.sqlite3.v4.backup");
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let old = SqliteStore::open(&backup, Arc::new(())).unwrap();
    assert_eq!(
        journal(&old, id),
        records,
        "the copy is of before, and this version can read it"
    );
    let found = directory.error();
    assert_eq!(found, StoreError::FromTheFuture { found: 5, known: 4 });
}

#[test]
fn sessions_of_the_first_format_are_listed_after_its_migration() {
    let directory = Directory::default();
    let store = SqliteStore::open(&directory.file(), Arc::new(())).unwrap();
    let ids: Vec<_> = (0..3).map(|_| new_session(&store)).collect();
    write(&store, append(ids[0], 0, None, vec![started(1), ended()]));
    store.close();
    // What the first format had: no such table. One row cannot be read, which stops nothing.
    directory.sql("DROP TABLE listing; PRAGMA user_version = 1");
    directory.sql("UPDATE sessions SET summary = '{' WHERE rowid = 3");

    let store = directory.store();
    assert!(directory.0.path().join("journal.sqlite3.v1.backup").exists());
    let found = |store: &SqliteStore| {
        let found = store.find(&Filter::default(), None, 10).unwrap();
        found.iter().map(|summary| summary.session_id).collect::<Vec<_>>()
    };
    assert_eq!(found(&store), [ids[1], ids[0]]);
    assert_eq!(store.rebuild().unwrap().rows, 3);
    assert_eq!(found(&store), [ids[2], ids[1], ids[0]]);
    let completed = Filter {
        states: vec![Shown::Completed],
        ..Filter::default()
    };
    assert_eq!(store.find(&completed, None, 10).unwrap()[0].session_id, ids[0]);
}

#[test]
fn sessions_of_the_second_format_are_found_by_their_names_after_its_migration() {
    let directory = Directory::default();
    let store = directory.store();
    let ids: Vec<_> = (0..2).map(|_| new_session(&store)).collect();
    store.close();
    // What the second format had: neither parents nor names. One row cannot be read, which stops nothing.
    directory.sql("DROP INDEX listing_by_parent; ALTER TABLE listing DROP COLUMN parent");
    directory.sql("DROP INDEX listing_by_name; ALTER TABLE listing DROP COLUMN name; PRAGMA user_version = 2");
    directory.sql("UPDATE sessions SET summary = '{' WHERE rowid = 2");

    let store = directory.store();
    let named = Filter {
        name: Some(summary(&store, ids[0]).name),
        ..Filter::default()
    };
    let found = || {
        let found = store.find(&named, None, 10).unwrap();
        found.iter().map(|summary| summary.session_id).collect::<Vec<_>>()
    };
    assert_eq!(found(), [ids[0]]);
    assert_eq!(store.rebuild().unwrap().rows, 2);
    assert_eq!(found(), [ids[1], ids[0]]);
}

#[test]
fn sessions_of_the_third_format_are_found_by_their_parent_after_its_migration() {
    let directory = Directory::default();
    let store = directory.store();
    let parent = new_session(&store);
    let children: Vec<_> = (0..3).map(|_| new_child(&store, parent)).collect();
    store.close();
    // What the third format had: no parents. One row cannot be read, which stops nothing.
    directory.sql("DROP INDEX listing_by_parent; ALTER TABLE listing DROP COLUMN parent; PRAGMA user_version = 3");
    directory.sql("UPDATE sessions SET summary = '{' WHERE rowid = 4");

    let store = directory.store();
    assert!(directory.0.path().join("journal.sqlite3.v3.backup").exists());
    let found = |of| {
        let filter = Filter {
            parent: Some(of),
            ..Filter::default()
        };
        let found = store.find(&filter, None, 10).unwrap();
        found.iter().map(|summary| summary.session_id).collect::<Vec<_>>()
    };
    assert_eq!(found(parent), [children[1], children[0]]);
    assert_eq!(found(children[0]), []);
    let later = new_child(&store, parent);
    assert_eq!(found(parent), [later, children[1], children[0]]);
    assert_eq!(store.rebuild().unwrap().rows, 5);
    assert_eq!(found(parent), [later, children[2], children[1], children[0]]);
}

#[test]
fn a_migration_that_fails_changes_nothing() {
    let directory = Directory::default();
    let id = new_session(&directory.store());
    let bad = [schema::MIGRATIONS, &["DROP TABLE sessions; SELECT no_such_function()"]].concat();
    assert!(SqliteStore::open_migrated(&directory.file(), Arc::new(()), &bad).is_err());
    assert_eq!(summary(&directory.store(), id).session_id, id);
}
