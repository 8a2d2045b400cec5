//! `logs`: a session's records, one a line.

use serde_json::value::RawValue;

use super::args::LogsArgs;
use super::clean::clean;
use super::client::{Client, read};
use super::describe::describe;
use super::exit::{Exit, Failure};
use super::follow::{DAEMON_BACK, DAEMON_GONE, Follow, Happening};
use super::screen::{eprint, print, print_json};
use super::sessions::meant;
use super::units;
use super::view::{View, WireRecord};

/// `logs`
pub(crate) async fn logs(client: Client, args: &LogsArgs) -> Result<Exit, Failure> {
    let raw = meant(&client, args.id.as_deref()).await?;
    let view: View = read(&raw)?;
    let id = view.session_id.to_string();
    let mut after = begin(&view, args.after, args.tail)?;
    if args.follow {
        return follow(client, id, after, args.json).await;
    }
    while after < view.head {
        let page = client.records(&id, after).await?;
        let Some(last) = page.records.last() else { break };
        after = read::<WireRecord>(last)?.seq;
        let lines = page.records.iter().map(|raw| line(raw, args.json));
        let lines = lines.collect::<Result<Vec<_>, _>>()?.concat();
        match args.json {
            true => print_json(&lines)?,
            false => print(&lines)?,
        }
    }
    Ok(Exit::Ok)
}

/// The record behind which a reader of this session wants to begin.
pub(crate) fn begin(view: &View, after: Option<u64>, tail: Option<u64>) -> Result<u64, Failure> {
    let head = view.head;
    match (after, tail) {
        (Some(after), _) if after > head => Err(Failure::Usage(format!(
            "--after {after}: the last record of the session is {head}"
        ))),
        (Some(after), _) => Ok(after),
        (None, Some(tail)) => Ok(head.saturating_sub(tail)),
        (None, None) => Ok(0),
    }
}

async fn follow(client: Client, id: String, after: u64, json: bool) -> Result<Exit, Failure> {
    let mut follow = Follow::new(client, id, after);
    while let Some(happening) = follow.next().await? {
        match happening {
            Happening::Record(_, line) if json => print_json(&format!("{line}\n"))?,
            Happening::Record(record, _) => print(&told(&record))?,
            Happening::DaemonGone => eprint(DAEMON_GONE),
            Happening::DaemonBack => eprint(DAEMON_BACK),
            Happening::Hello(_) | Happening::Delta(_) => {}
        }
    }
    Ok(Exit::Ok)
}

fn line(raw: &RawValue, json: bool) -> Result<String, Failure> {
    if json {
        return Ok(format!("{}\n", raw.get()));
    }
    Ok(told(&read(raw)?))
}

fn told(record: &WireRecord) -> String {
    let words = record.entry().map_or_else(|error| clean(&error.to_string()), describe);
    let line = format!(
        "{:>6} {} {:<18} {words}",
        record.seq,
        units::moment(record.at),
        clean(&record.kind)
    );
    line.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_line() {
        let json = r#"{"seq":12,"session_id":"x","attempt":1,"at":"2026-01-01T00:00:00Z","kind":"notice","data":{"text":"two\nlines"}}"#;
        let record: WireRecord = serde_json::from_str(json).unwrap();
        let line = told(&record);
        assert!(
            line.starts_with("    12 ") && line.ends_with(" notice             two lines\n"),
            "{line:?}"
        );
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        assert_eq!(super::line(&raw, true).unwrap(), format!("{json}\n"));
    }
}
