//! `history`: sessions by the day they were created on.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::args::HistoryArgs;
use super::clean::name;
use super::client::{Client, query_string, read};
use super::columns::width_of_stdout;
use super::exit::{Exit, Failure};
use super::screen::print;
use super::sessions::{print_object, table, whole_path};
use super::view::View;

/// The daemon's answer.
#[derive(Deserialize)]
struct History {
    /// An older daemon does not say.
    #[serde(default)]
    time_zone: Option<String>,
    days: Vec<Day>,
    #[serde(default)]
    next_cursor: Option<String>,
}

/// The sessions of a day.
#[derive(Deserialize)]
struct Day {
    date: jiff::civil::Date,
    sessions: Vec<View>,
}

/// `history`
pub(crate) async fn history(client: &Client, args: &HistoryArgs) -> Result<Exit, Failure> {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.date.map(|date| ("date", date.to_string())));
    query.extend(args.search.clone().map(|text| ("q", text)));
    query.extend(args.directory.as_deref().map(|dir| ("directory", whole_path(dir))));
    let raw: Box<RawValue> = client.get(&format!("/api/history{}", query_string(&query))).await?;
    if args.json {
        print_object(&raw)?;
    } else {
        print(&shown(&read(&raw)?, width_of_stdout()))?;
    }
    Ok(Exit::Ok)
}

fn shown(history: &History, width: Option<usize>) -> String {
    if history.days.is_empty() {
        return "no sessions\n".to_owned();
    }
    let days = history
        .days
        .iter()
        .map(|day| format!("{}\n{}", day.date, table(&day.sessions, width)));
    let mut text = days.collect::<Vec<_>>().join("\n");
    if let Some(zone) = &history.time_zone {
        text.push_str(&format!("\ndays are counted in {}\n", name(zone)));
    }
    if history.next_cursor.is_some() {
        text.push_str("\nthere are more: --limit shows them, --date and --search narrow them down\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_day_has_a_list_of_its_own() {
        let session = |name: &str| {
            json!({"session_id": "01890000-0000-7000-8000-00000000abcd", "name": name, "state": "completed",
                "created_at": "2026-01-01T00:00:00Z", "cwd": "/srv"})
        };
        let history = json!({"days": [
            {"date": "2026-01-01", "sessions": [session("one")]}, {"date": "2025-12-31", "sessions": [session("two")]},
        ], "next_cursor": "s1", "time_zone": "Europe/Berlin"});
        let history: History = serde_json::from_value(history).unwrap();
        let text = shown(&history, None);
        let places = [
            "2026-01-01\nID",
            "one",
            "\n\n2025-12-31\nID",
            "two",
            "Europe/Berlin",
            "there are more",
        ];
        let found: Vec<_> = places.iter().map(|part| text.find(part).expect(part)).collect();
        assert!(found.is_sorted(), "{text}");
    }
}
