//! What can be read: the sessions that live, all sessions, those of a day, and of each session how it stands, its log
//! and its checkpoints.

use jiff::Timestamp;
use jiff::civil::Date;
use rmcp::ErrorData;
use rmcp::model::{
    ListResourceTemplatesResult, ListResourcesResult, ReadResourceResult, Resource, ResourceContents, ResourceTemplate,
};
use serde_json::{Value, json};

use crate::runtime::CallError;
use crate::runtime::Handle;
use crate::session::excerpt;
use crate::session::id::{Seq, SessionId};
use crate::session::summary::Summary;
use crate::web::days;
use crate::web::remedy::told_to_model;
use crate::web::view::SessionView;

/// How every address of ours begins.
const ROOT: &str = "resource://cc-executor/";

/// The sessions that live.
pub(super) const ACTIVE: &str = "resource://cc-executor/active-sessions";

/// All sessions.
pub(super) const SESSIONS: &str = "resource://cc-executor/sessions";

/// How many resources a page of the list has, and how many sessions a resource.
const PAGE: usize = 50;

/// How many records a page of a log has.
const LOG_RECORDS: usize = 500;

/// The most sessions of a day that are shown.
const DAY_SESSIONS_MAX: usize = 1000;

const JSON: &str = "application/json";

/// How long a client may use what it read, in milliseconds: nothing here stays as it is.
const TTL_MS: u64 = 1000;

/// What an address means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// The sessions that live.
    Active,
    /// All sessions; the first page, or those before one.
    Sessions,
    /// The sessions that were begun on a day, as the daemon counts days.
    History(Date),
    /// One session.
    Session(String),
    /// Its records, after one.
    Log(String, Seq),
    /// Its checkpoints.
    Checkpoints(String),
}

impl Address {
    /// Reads an address.
    pub(super) fn parse(uri: &str) -> Option<Self> {
        let path = uri.strip_prefix(ROOT)?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            ["active-sessions"] => Some(Self::Active),
            ["sessions"] => Some(Self::Sessions),
            ["history", date] => Some(Self::History(date.parse().ok()?)),
            ["session", id] => Some(Self::Session(id.to_owned())),
            ["session", id, "log"] => {
                let after = match query {
                    "" => 0,
                    query => query.strip_prefix("after=")?.parse().ok()?,
                };
                Some(Self::Log(id.to_owned(), Seq(after)))
            }
            ["session", id, "checkpoints"] => Some(Self::Checkpoints(id.to_owned())),
            _ => None,
        }
    }
}

/// `resources/list`: what stands first, then a page of sessions.
pub(super) async fn list(handle: &Handle, cursor: Option<String>) -> Result<ListResourcesResult, ErrorData> {
    let before = match &cursor {
        Some(cursor) => Some(cursor.parse::<SessionId>().map_err(|_| bad_cursor(cursor))?),
        None => None,
    };
    let found = handle.recent(before, PAGE).await.map_err(refused)?;
    let mut resources = Vec::new();
    if before.is_none() {
        let named =
            |uri: &str, name: &str, what: &str| Resource::new(uri, name).with_description(what).with_mime_type(JSON);
        resources.push(named(
            ACTIVE,
            "active-sessions",
            "The sessions that have not ended, newest first",
        ));
        resources.push(named(SESSIONS, "sessions", "All sessions, newest first"));
    }
    resources.extend(found.iter().map(|summary| of_session(summary)));
    let next = found
        .last()
        .filter(|_| found.len() == PAGE)
        .map(|last| last.session_id.to_string());
    let mut result = ListResourcesResult {
        resources,
        next_cursor: next,
        ..Default::default()
    };
    result.ttl_ms = Some(TTL_MS);
    Ok(result)
}

/// `resources/templates/list`
pub(super) fn templates() -> ListResourceTemplatesResult {
    let template = |path: &str, name: &str, what: &str| {
        ResourceTemplate::new(format!("{ROOT}{path}"), name)
            .with_description(what)
            .with_mime_type(JSON)
    };
    let resource_templates = vec![
        template("session/{session_id}", "session", "One session as it stands"),
        template(
            "session/{session_id}/log",
            "session-log",
            "Its records; go on with ?after=SEQ",
        ),
        template(
            "session/{session_id}/checkpoints",
            "session-checkpoints",
            "From where it can be resumed",
        ),
        template(
            "history/{date}",
            "history",
            &format!(
                "The sessions that were begun on a day, in {}, such as 2027-01-31",
                days::zone_name()
            ),
        ),
    ];
    ListResourceTemplatesResult {
        resource_templates,
        ..Default::default()
    }
}

/// `resources/read`
pub(super) async fn read(handle: &Handle, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let not_found = || ErrorData::resource_not_found("there is no such resource", Some(json!({"uri": uri})));
    let address = Address::parse(uri).ok_or_else(not_found)?;
    let content = match content(handle, &address).await {
        Ok(content) => content,
        Err(CallError::NoSuchSession(_)) => return Err(not_found()),
        Err(error) => return Err(refused(error)),
    };
    let contents = vec![ResourceContents::text(content.to_string(), uri).with_mime_type(JSON)];
    let mut result = ReadResourceResult::new(contents);
    result.ttl_ms = Some(TTL_MS);
    Ok(result)
}

async fn content(handle: &Handle, address: &Address) -> Result<Value, CallError> {
    match address {
        Address::Active => {
            let found = handle.list().await?;
            let live = found
                .iter()
                .filter(|summary| summary.lifecycle.state.outcome().is_none());
            Ok(sessions(live.map(|summary| &**summary)))
        }
        Address::Sessions => Ok(sessions(
            handle.recent(None, PAGE).await?.iter().map(|summary| &**summary),
        )),
        Address::History(date) => history(handle, *date).await,
        Address::Session(id) => {
            let id = handle.resolve(id).await?;
            Ok(view(&*handle.get(id).await?))
        }
        Address::Log(id, after) => log(handle, id, *after).await,
        Address::Checkpoints(id) => checkpoints(handle, id).await,
    }
}

/// The sessions that were begun on a day. Ids grow with time, so the pages before the day's end have them first.
async fn history(handle: &Handle, date: Date) -> Result<Value, CallError> {
    let begin = days::beginning(date).unwrap_or(Timestamp::MIN);
    let end = days::end(date).unwrap_or(Timestamp::MAX);
    let mut before = first_at(end);
    let mut of_day = Vec::new();
    while of_day.len() < DAY_SESSIONS_MAX {
        let page = handle.recent(before, PAGE).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.session_id);
        let has_more = page.len() == PAGE && last.created_at >= begin;
        of_day.extend(
            page.into_iter()
                .filter(|summary| summary.created_at >= begin && summary.created_at < end),
        );
        if !has_more {
            break;
        }
    }
    let mut answer = sessions(of_day.iter().map(|summary| &**summary));
    answer["date"] = json!(date);
    answer["time_zone"] = json!(days::zone_name());
    Ok(answer)
}

/// An id before which stand those of all sessions that were begun before this moment: their first 48 bits are
/// milliseconds since 1970.
fn first_at(at: Timestamp) -> Option<SessionId> {
    let milliseconds = u128::try_from(at.as_millisecond()).ok()?;
    Some(SessionId::from_uuid(uuid::Uuid::from_u128(milliseconds << 80)))
}

async fn log(handle: &Handle, id: &str, after: Seq) -> Result<Value, CallError> {
    let id = handle.resolve(id).await?;
    let found = handle.records(id, after, LOG_RECORDS).await?;
    let head = handle.get(id).await?.head;
    let records: Vec<Value> = found
        .iter()
        .filter_map(|record| serde_json::from_str(&record.to_json()).ok())
        .collect();
    let last = found.last().map_or(after, |record| record.seq);
    let next = (last < head).then(|| format!("{ROOT}session/{id}/log?after={last}"));
    Ok(json!({"session_id": id, "records": records, "head": head, "next": next}))
}

async fn checkpoints(handle: &Handle, id: &str) -> Result<Value, CallError> {
    let id = handle.resolve(id).await?;
    let (mut after, mut found) = (Seq(0), Vec::new());
    loop {
        let page = handle.records(id, after, LOG_RECORDS).await?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        let of_kind = page.iter().filter(|record| &*record.kind == "checkpoint");
        found.extend(of_kind.filter_map(|record| serde_json::from_str::<Value>(&record.to_json()).ok()));
    }
    Ok(json!({"session_id": id, "checkpoints": found}))
}

fn of_session(summary: &Summary) -> Resource {
    let what = format!("{}: {}", summary.shown_state(), excerpt::head(&summary.task, 120));
    Resource::new(format!("{ROOT}session/{}", summary.session_id), summary.name.clone())
        .with_description(what)
        .with_mime_type(JSON)
}

fn sessions<'a>(found: impl Iterator<Item = &'a Summary>) -> Value {
    json!({"sessions": found.map(view).collect::<Vec<_>>()})
}

fn view(summary: &Summary) -> Value {
    serde_json::to_value(SessionView::of(summary)).unwrap_or_default()
}

fn bad_cursor(cursor: &str) -> ErrorData {
    ErrorData::invalid_params(format!("{cursor:?} is no cursor of this list: begin without one"), None)
}

/// A refusal as an error of the protocol.
pub(super) fn refused(error: CallError) -> ErrorData {
    match error {
        CallError::NoSuchSession(_) | CallError::AmbiguousId { .. } | CallError::AmbiguousName { .. } => {
            ErrorData::invalid_params(told_to_model(&error), None)
        }
        other => ErrorData::internal_error(told_to_model(&other), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_means_one_thing_or_nothing() {
        let parse = |path: &str| Address::parse(&format!("{ROOT}{path}"));
        assert_eq!(parse("active-sessions"), Some(Address::Active));
        assert_eq!(
            parse("session/abcd/log?after=7"),
            Some(Address::Log("abcd".into(), Seq(7)))
        );
        assert_eq!(
            parse("history/2027-01-31"),
            Some(Address::History(jiff::civil::date(2027, 1, 31)))
        );
        for none in [
            "",
            "session",
            "history/yesterday",
            "session/a/log?before=7",
            "session/a/b",
            "sessions/x",
        ] {
            assert_eq!(parse(none), None, "{none}");
        }
        assert_eq!(Address::parse("file:///etc/passwd"), None);
    }
}
