//! How SQLite goes about the statements: by an index each, and reading no long row that is not asked for.

use super::*;
use crate::session::shown::Shown;
use crate::store::sqlite::reader::{LATEST_MESSAGES_SQL, LATEST_OF_KIND_SQL, LIVE_SQL, RECORDS_SQL};

#[test]
fn reads_go_by_an_index() {
    let directory = Directory::default();
    let store = directory.store();
    new_session(&store);
    let plan = |sql: &str| plan_of(&directory, sql);
    let by = |sql, index| {
        let plan = plan(sql);
        assert!(
            plan.starts_with(&format!("SEARCH {index}")) && !plan.contains("TEMP B-TREE"),
            "{plan}"
        );
    };
    by(
        RECORDS_SQL,
        "records USING INDEX sqlite_autoindex_records_1 (session=? AND seq>?)",
    );
    by(
        LATEST_OF_KIND_SQL,
        "records USING INDEX records_by_kind (session=? AND kind=? AND seq<?)",
    );
    by(
        LATEST_MESSAGES_SQL,
        "records USING INDEX sqlite_autoindex_records_1 (session=? AND seq<?)",
    );
    let live = plan(LIVE_SQL);
    assert_eq!(live, "SCAN sessions USING INDEX sessions_live\n");
}

#[test]
fn lists_go_by_an_index_and_read_only_the_rows_of_their_page() {
    let directory = Directory::default();
    new_session(&directory.store());
    // The keys of the page come first, in order where an index has it, and only then the long rows.
    let listed = |filter: Filter, index: &str| {
        let plan = plan_of(&directory, &listing::query(&filter).0);
        let key_only = format!(
            "CO-ROUTINE (subquery-1)\nSEARCH {index}\nSCAN (subquery-1)\n\
             SEARCH sessions USING INDEX sqlite_autoindex_sessions_1 (session=?)\n"
        );
        assert_eq!(plan, key_only);
    };
    listed(
        Filter::default(),
        "listing USING COVERING INDEX sqlite_autoindex_listing_1 (session<?)",
    );
    let old = Filter {
        until: Some(at()),
        ..Filter::default()
    };
    listed(old, "listing USING COVERING INDEX listing_by_age (session<?)");
    let completed = Filter {
        states: vec![Shown::Completed],
        ..Filter::default()
    };
    listed(
        completed,
        "listing USING COVERING INDEX listing_by_state (state=? AND session<?)",
    );
    let named = Filter {
        name: Some("nightly".to_owned()),
        ..Filter::default()
    };
    listed(
        named,
        "listing USING COVERING INDEX listing_by_name (name=? AND session<?)",
    );
    let child = Filter {
        parent: Some(SessionId::new()),
        ..Filter::default()
    };
    listed(
        child,
        "listing USING COVERING INDEX listing_by_parent (parent=? AND session<?)",
    );
    let live = Filter {
        states: vec![Shown::Running, Shown::Queued],
        ..Filter::default()
    };
    listed(
        live,
        "listing USING COVERING INDEX listing_by_state (state=? AND session<?)\nUSE TEMP B-TREE FOR ORDER BY",
    );
}

/// How SQLite would go about a statement, a line for each step.
fn plan_of(directory: &Directory, sql: &str) -> String {
    let connection = Connection::open(directory.file()).unwrap();
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut rows = statement.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next().unwrap() {
        plan += &format!("{}\n", row.get::<_, String>(3).unwrap());
    }
    plan
}
