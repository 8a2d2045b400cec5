//! Removing: `rm` what is named, `gc` what ended long ago.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::args::{GcArgs, RmArgs};
use super::clean::{name, one_line};
use super::client::{Client, read, session_path};
use super::columns::{Column, Cut, list, width_of_stdout};
use super::exit::{Exit, Failure};
use super::screen::{eprint, print, print_json};
use super::units;
use super::view::View;
use crate::session::id::SessionId;

/// How long a name may get in the list, in characters.
const NAME_CHARS_MAX: usize = 40;

/// What the list of sessions shows.
const COLUMNS: [Column; 6] = [
    Column::new("ID"),
    Column::new("NAME").cut(Cut::End),
    Column::new("STATE"),
    Column::new("ENDED"),
    Column::new("RECORDS").goes(1),
    Column::new("SIZE"),
];

/// What the daemon has removed, or would; it may take several answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Swept {
    ended_before: String,
    sessions: Vec<Box<RawValue>>,
    folders: Vec<Box<RawValue>>,
    kept: Vec<Box<RawValue>>,
    bytes: u64,
    next_cursor: Option<String>,
}

/// A session that has gone.
#[derive(Deserialize)]
struct Gone {
    session_id: SessionId,
    name: String,
    state: String,
    ended_at: Option<Timestamp>,
    records: u64,
    bytes: u64,
}

/// Sessions that stay, by reason.
#[derive(Deserialize)]
struct KeptSessions {
    what: String,
    why: String,
}

/// `rm`
pub(crate) async fn rm(client: &Client, args: &RmArgs) -> Result<Exit, Failure> {
    let mut worst = Exit::Ok;
    for id in &args.ids {
        match remove(client, id).await {
            Ok(view) => show_removed(&view, args.json)?,
            // One that cannot be removed keeps no other from it.
            Err(failure) if args.ids.len() > 1 => {
                eprint(&format!("error: {}: {failure}", name(id)));
                worst = worst.worse(failure.exit());
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(worst)
}

/// `gc`
pub(crate) async fn gc(client: &Client, args: &GcArgs) -> Result<Exit, Failure> {
    let mut all = Swept::default();
    loop {
        let mut body = json!({
            "older_than_seconds": args.older_than, "dry_run": args.dry_run, "spools_only": args.spools_only,
        });
        if let Some(cursor) = &all.next_cursor {
            body["cursor"] = json!(cursor);
        }
        let answer = client.post("/api/gc", &body).await?;
        all.add(read(&answer)?);
        if all.next_cursor.is_none() {
            break;
        }
        eprint(&so_far(&all, args));
    }
    if args.json {
        print_json(&format!("{}\n", all.object(args)))?;
        return Ok(Exit::Ok);
    }
    for kept in &all.kept {
        let KeptSessions { what, why } = read(kept)?;
        eprint(&format!("{} stays: {}", name(&what), name(&why)));
    }
    let sessions = all
        .sessions
        .iter()
        .map(|raw| read(raw))
        .collect::<Result<Vec<_>, _>>()?;
    if !sessions.is_empty() {
        print(&table(&sessions, Timestamp::now(), width_of_stdout()))?;
    }
    print(&format!("{}\n", total(&all, &sessions, args)))?;
    Ok(Exit::Ok)
}

/// What is typed is made out first: it is told what has gone, and a second look at a few digits might mean another one.
async fn remove(client: &Client, id: &str) -> Result<View, Failure> {
    let view = client.view(id).await?;
    client.delete(&session_path(&view.session_id.to_string())).await?;
    Ok(view)
}

fn show_removed(view: &View, json: bool) -> Result<(), Failure> {
    let told = if json {
        json!({"session_id": view.session_id, "removed": true}).to_string()
    } else {
        format!("session {} is removed", view.session_id.short())
    };
    Ok(print(&format!("{told}\n"))?)
}

impl Swept {
    fn add(&mut self, next: Self) {
        let Self {
            ended_before,
            sessions,
            folders,
            kept,
            bytes,
            next_cursor,
        } = next;
        self.ended_before = ended_before;
        self.sessions.extend(sessions);
        self.folders.extend(folders);
        self.kept.extend(kept);
        self.bytes += bytes;
        self.next_cursor = next_cursor;
    }

    fn object(&self, args: &GcArgs) -> Value {
        json!({
            "dry_run": args.dry_run, "spools_only": args.spools_only, "ended_before": self.ended_before,
            "sessions": self.sessions, "folders": self.folders, "kept": self.kept, "bytes": self.bytes,
        })
    }
}

fn table(sessions: &[Gone], now: Timestamp, width_max: Option<usize>) -> String {
    let row = |gone: &Gone| {
        let ago = gone.ended_at.map(|at| units::duration(now.duration_since(at)));
        [
            gone.session_id.short(),
            one_line(&gone.name, NAME_CHARS_MAX),
            name(&gone.state),
            ago.map(|ago| ago + " ago").unwrap_or_default(),
            gone.records.to_string(),
            units::size(gone.bytes),
        ]
    };
    list(COLUMNS, &sessions.iter().map(row).collect::<Vec<_>>(), width_max)
}

/// The line that shows progress after each answer of the daemon but the last.
fn so_far(swept: &Swept, args: &GcArgs) -> String {
    let done = if args.dry_run { "looked at" } else { "removed" };
    let what = if args.spools_only { "the output of " } else { "" };
    let sessions = counted(swept.sessions.len(), "session");
    format!("{done} {what}{sessions} ({}) so far", units::size(swept.bytes))
}

/// The sentence at the end.
fn total(swept: &Swept, sessions: &[Gone], args: &GcArgs) -> String {
    if sessions.is_empty() && swept.folders.is_empty() {
        let days = units::duration(jiff::SignedDuration::from_secs(
            args.older_than.try_into().unwrap_or(i64::MAX),
        ));
        return format!("nothing to remove: no session has ended more than {days} ago");
    }
    let what = if args.spools_only { "the output of " } else { "" };
    let mut parts = vec![format!("{what}{}", counted(sessions.len(), "session"))];
    if !swept.folders.is_empty() {
        parts.push(counted(swept.folders.len(), "folder") + " of no session");
    }
    let freed = if args.dry_run { "would free" } else { "freed" };
    let mut text = format!("{freed} {}: {}", units::size(swept.bytes), parts.join(", "));
    let records: u64 = sessions.iter().map(|gone| gone.records).sum();
    if records > 0 && !args.spools_only {
        text += &format!("; the room of {records} records in the journal is for later ones");
    }
    text
}

fn counted(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(value: Value) -> Box<RawValue> {
        serde_json::value::to_raw_value(&value).unwrap()
    }

    fn args(dry_run: bool, spools_only: bool) -> GcArgs {
        GcArgs {
            older_than: 30 * 24 * 3600,
            dry_run,
            spools_only,
            json: false,
        }
    }

    fn gone() -> Gone {
        let gone = json!({"session_id": "01890000-0000-7000-8000-00000000abcd", "name": "tidy\nup", "state": "completed",
            "ended_at": "2026-01-01T00:00:00Z", "records": 1234, "bytes": 1_234_567});
        serde_json::from_value(gone).unwrap()
    }

    #[test]
    fn what_goes_is_a_table_and_a_sentence() {
        insta::assert_snapshot!(table(&[gone()], "2026-02-05T06:00:00Z".parse().unwrap(), None), @r"
        ID        NAME     STATE      ENDED         RECORDS  SIZE
        0000abcd  tidy up  completed  35 d 6 h ago  1234     1.2 MB
        ");
        let mut swept = Swept {
            bytes: 1_234_567,
            ..Swept::default()
        };
        let told = |swept: &Swept, args: &GcArgs| total(swept, &[gone()], args);
        let of_records = "; the room of 1234 records in the journal is for later ones";
        assert_eq!(
            told(&swept, &args(true, false)),
            format!("would free 1.2 MB: 1 session{of_records}")
        );
        assert_eq!(
            told(&swept, &args(false, true)),
            "freed 1.2 MB: the output of 1 session"
        );
        swept.sessions = vec![raw(json!({})), raw(json!({}))];
        let progress = |args: GcArgs| so_far(&swept, &args);
        assert_eq!(progress(args(false, false)), "removed 2 sessions (1.2 MB) so far");
        assert_eq!(
            progress(args(true, true)),
            "looked at the output of 2 sessions (1.2 MB) so far"
        );
        swept.folders = vec![raw(json!({})), raw(json!({}))];
        assert_eq!(
            told(&swept, &args(false, false)),
            format!("freed 1.2 MB: 1 session, 2 folders of no session{of_records}")
        );
        let nothing = total(&Swept::default(), &[], &args(false, false));
        assert_eq!(nothing, "nothing to remove: no session has ended more than 30 d ago");
    }

    #[test]
    fn answers_are_added_up() {
        let mut all = Swept::default();
        for (cursor, id) in [(Some("a"), 1), (None, 2)] {
            all.add(Swept {
                sessions: vec![raw(json!({ "n": id }))],
                bytes: 5,
                next_cursor: cursor.map(str::to_owned),
                ..Swept::default()
            });
        }
        let object = all.object(&args(true, false));
        assert_eq!((&object["bytes"], &object["dry_run"]), (&json!(10), &json!(true)));
        assert_eq!(object["sessions"], json!([{"n": 1}, {"n": 2}]));
    }
}
