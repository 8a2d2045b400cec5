//! `logs`: a session's records, one a line.

use serde_json::value::RawValue;

use super::args::LogsArgs;
use super::clean::clean;
use super::client::{Client, read};
use super::describe::describe;
use super::exit::{Exit, Failure};
use super::follow::{Follow, Happening};
use super::screen::{eprint, print};
use super::units;
use super::view::WireRecord;

/// `logs`
pub(crate) async fn logs(client: Client, args: &LogsArgs) -> Result<Exit, Failure> {
    if args.follow {
        return follow(client, args).await;
    }
    let mut after = args.after;
    loop {
        let page = client.records(&args.id, after).await?;
        let lines = page
            .records
            .iter()
            .map(|raw| line(raw, args.json))
            .collect::<Result<Vec<_>, _>>()?;
        print(&lines.concat())?;
        match page.next_after {
            Some(next) if next > after && !page.records.is_empty() => after = next,
            Some(_) | None => return Ok(Exit::Ok),
        }
    }
}

async fn follow(client: Client, args: &LogsArgs) -> Result<Exit, Failure> {
    let id = client.view(&args.id).await?.session_id.to_string();
    let mut follow = Follow::new(client, id, args.after);
    while let Some(happening) = follow.next().await? {
        match happening {
            Happening::Record(_, line) if args.json => print(&format!("{line}\n"))?,
            Happening::Record(record, _) => print(&told(&record))?,
            Happening::DaemonGone => eprint("the daemon is gone, waiting for it"),
            Happening::DaemonBack => eprint("the daemon is back"),
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
    let words = record
        .entry()
        .map_or_else(|error| clean(&error.to_string()), |entry| describe(&entry));
    let line = format!(
        "{:>6} {} {:<18} {words}",
        record.seq,
        units::clock(record.at),
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
