//! Databases with damaged pages: what can be read of them, and how their sessions stand after that.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

use super::*;
use crate::session::outcome::{Cause, Outcome};
use crate::store::contract::removal::ended_session;

const PAGE_BYTES: u64 = 16 * 1024;

/// Sessions with records that fill pages, a live and an ended one among them, closed.
fn full(directory: &Directory) -> BTreeMap<SessionId, (Vec<StoredRecord>, Summary)> {
    let store = directory.store();
    let ended = ended_session(&store);
    let live: Vec<_> = (0..3).map(|_| new_session(&store)).collect();
    for id in &live {
        write(&store, append(*id, 0, None, vec![started(1)]));
    }
    for n in 0..200 {
        let text = format!("{n} {}", "x".repeat(1000));
        let through = (n + 1) * 10;
        write(&store, append(live[n as usize % 3], 1, None, vec![said(&text)]));
        write(&store, append(live[0], 1, Some((n * 10, through)), vec![]));
    }
    let all = live.into_iter().chain([ended]);
    all.map(|id| (id, (journal(&store, id), summary(&store, id)))).collect()
}

impl Directory {
    /// Writes over so many pages, counted from 1.
    fn damage(&self, first: u64, pages: u64) {
        let file = fs::File::options().write(true).open(self.file()).unwrap();
        let rubbish = vec![0x5a; (pages * PAGE_BYTES) as usize];
        file.write_all_at(&rubbish, (first - 1) * PAGE_BYTES).unwrap();
    }

    fn number(&self, sql: &str) -> u64 {
        let connection = Connection::open(self.file()).unwrap();
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64
    }

    fn root_of(&self, table: &str) -> u64 {
        self.number(&format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'"))
    }
}

/// The records are those of before, in the place of the lost ones notices; answers how many those are.
fn compare(store: &SqliteStore, id: SessionId, before: &[StoredRecord]) -> usize {
    let after = journal(store, id);
    let numbers: Vec<u64> = (1..=after.len() as u64).collect();
    assert_eq!(seqs(&after), numbers);
    assert!(after.len() >= before.len());
    let pairs = before.iter().zip(&after);
    let lost = pairs.filter(|(before, after)| {
        let is_same = (&before.kind, &before.data, before.at) == (&after.kind, &after.data, after.at);
        assert!(is_same || after.data.contains("this record was lost"), "{after:?}");
        !is_same
    });
    lost.count()
}

#[test]
fn damaged_pages_take_the_records_on_them_and_nothing_else() {
    let directory = Directory::default();
    let before = full(&directory);
    let pages = directory.number("PRAGMA page_count");
    let of_records = directory.root_of("records");
    assert!(pages > 12 && of_records == 2, "{pages} pages");
    directory.damage(pages - 5, 2);
    assert!(inspect(&directory.file(), &[]).map_or(true, |look| look.damage.is_some()));
    let salvaged = salvage(&directory.file()).unwrap();
    assert_eq!((salvaged.sessions, salvaged.ended, salvaged.gone), (4, 0, 0));
    assert!(salvaged.lost > 0 && salvaged.lost < 100, "{salvaged:?}");
    assert!(salvaged.kept.exists());

    let store = directory.store();
    let mut lost = 0;
    for (id, (records, row)) in &before {
        lost += compare(&store, *id, records);
        assert_eq!(summary(&store, *id), *row, "how it stands is known from its row");
    }
    assert_eq!(lost, salvaged.lost);
    assert_eq!(store.rebuild().unwrap().rows, 4);
    for (id, (_, row)) in &before {
        assert_eq!(summary(&store, *id), *row, "also after another rebuild");
    }
    store.close();
    assert_eq!(inspect(&directory.file(), &[]).unwrap().damage, None);
    let mut files = fs::read_dir(directory.0.path()).unwrap().flatten();
    assert!(files.all(|file| !file.file_name().to_string_lossy().contains("salvage")));
}

#[test]
fn a_live_session_whose_row_is_lost_is_ended_and_one_that_has_ended_stays_so() {
    let directory = Directory::default();
    let before = full(&directory);
    let rows = directory.root_of("sessions");
    directory.damage(rows, 1);
    let salvaged = salvage(&directory.file()).unwrap();
    assert_eq!((salvaged.sessions, salvaged.lost, salvaged.ended), (4, 0, 3));
    let store = directory.store();
    for (id, (records, row)) in &before {
        assert_eq!(compare(&store, *id, records), 0);
        let after = summary(&store, *id);
        let outcome = row.lifecycle.state.outcome();
        let expected = outcome.unwrap_or(Outcome::Failed { cause: Cause::Crashed });
        assert_eq!(after.lifecycle.state.outcome(), Some(expected));
        assert_eq!(after.lifecycle.attempt, row.lifecycle.attempt);
    }
    assert_eq!(store.live().unwrap(), vec![]);
}

#[test]
fn a_database_without_its_first_page_is_read_all_the_same() {
    let directory = Directory::default();
    let before = full(&directory);
    directory.damage(1, 1);
    let salvaged = salvage(&directory.file()).unwrap();
    assert_eq!((salvaged.sessions, salvaged.lost, salvaged.ended), (4, 0, 0));
    let store = directory.store();
    for (id, (records, row)) in &before {
        assert_eq!(compare(&store, *id, records), 0);
        assert_eq!(summary(&store, *id), *row);
    }
}

#[test]
fn a_file_of_which_nothing_can_be_read_is_left_as_it_is() {
    let directory = Directory::default();
    let rubbish = "hello ".repeat(10_000);
    fs::write(directory.file(), &rubbish).unwrap();
    let error = salvage(&directory.file()).unwrap_err();
    assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
    assert_eq!(fs::read_to_string(directory.file()).unwrap(), rubbish);
    assert_eq!(fs::read_dir(directory.0.path()).unwrap().count(), 1);
}

#[test]
fn a_newer_database_is_not_salvaged() {
    let directory = Directory::default();
    full(&directory);
    directory.sql("PRAGMA user_version = 9");
    assert_eq!(
        salvage(&directory.file()).unwrap_err(),
        StoreError::FromTheFuture { found: 9, known: 4 }
    );
}
