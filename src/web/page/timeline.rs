//! The timeline of a session: attempts, turns, tool calls, waits, restarts, as a picture and as a list that says the
//! same.
//!
//! It is made from look-ups by kind and from a bounded number of messages only, so a session of 100,000 records costs no
//! more than one of 2,000; what is left out is said. Turns and tool calls that happened before are drawn where the reader
//! goes back to them: each stretch of so many messages is a picture of its own, which begins where another ends.

use std::collections::BTreeMap;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use maud::Markup;

use super::layout::fragment as respond;
use super::off_the_workers;
use crate::runtime::CallError;
use crate::runtime::Handle;
use crate::session::id::{Seq, SessionId};
use crate::session::summary::Summary;
use crate::store::{PAGE_RECORDS_MAX, StoredRecord};
use crate::web::Faces;
use crate::web::error::Problem;
use crate::web::params::Params;

mod draw;
mod fold;

use self::fold::Picture;

/// The kinds that make the picture besides messages; each is one indexed look-up.
const KINDS: &[&str] = &[
    "session.state",
    "attempt.started",
    "attempt.ended",
    "question.asked",
    "question.answered",
    "question.withdrawn",
    "checkpoint",
    "retry.scheduled",
    "context.rebuilt",
    "session.resumed",
    "session.ended",
];

/// The most records of one kind; the latest are taken.
const KIND_RECORDS_MAX: usize = 300;

/// The most messages, from which turns and tool calls are seen; the latest are taken.
const MESSAGES_MAX: usize = 2_000;

/// The records that the picture is made of.
#[derive(Debug, Default)]
struct TimelineRecords {
    records: Vec<StoredRecord>,
    /// Where it is a stretch of the past: the record behind it.
    behind: Option<StoredRecord>,
    /// Messages before this record were not looked at.
    messages_from: Option<Seq>,
    /// There are more records of some kind than were looked at.
    is_cut: bool,
}

/// What of a session is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TimeRange {
    /// The record behind a stretch of the past; none for the whole.
    before: Option<Seq>,
    /// The first record whose turns and tool calls are drawn, where there are more before it.
    from: Option<Seq>,
    /// Something that happened very often is not all there.
    is_cut: bool,
}

/// `GET /execution/{id}/timeline`
pub(in crate::web) async fn fragment(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let before = Params::of(&request, &["before"])?.number("before")?.map(Seq);
    let id = faces.handle.resolve(&id).await?;
    let summary = faces.handle.get(id).await?;
    let found = find(&faces.handle, id, before.filter(|before| *before <= summary.head)).await?;
    let drawn = off_the_workers(move || picture(&summary, &found, Timestamp::now()));
    Ok(respond(drawn.await?))
}

fn picture(summary: &Summary, found: &TimelineRecords, now: Timestamp) -> Markup {
    let until = summary.ended_at.unwrap_or(now).max(summary.created_at);
    let shown = TimeRange {
        before: found.behind.as_ref().map(|behind| behind.seq),
        from: found.messages_from,
        is_cut: found.is_cut,
    };
    let until = found.behind.as_ref().map_or(until, |behind| behind.at);
    let picture = Picture::of(&found.records, found.messages_from, summary.created_at, until);
    let first = found.records.iter().find(|record| Some(record.seq) == shown.from);
    match first.filter(|_| shown.before.is_some()) {
        Some(first) => draw::render(&picture.since(first.at), shown),
        None => draw::render(&picture, shown),
    }
}

async fn find(handle: &Handle, id: SessionId, before: Option<Seq>) -> Result<TimelineRecords, CallError> {
    let mut found = TimelineRecords::default();
    if let Some(before) = before {
        let behind = handle.records(id, Seq(before.0.saturating_sub(1)), 1).await?;
        found.behind = behind.into_iter().next();
    }
    // By number: kinds are looked up one after the other, and the picture is made in the order of the journal.
    let mut records = BTreeMap::new();
    for kind in KINDS {
        let some = handle.latest_of_kind(id, kind, before, KIND_RECORDS_MAX).await?;
        found.is_cut |= some.len() == KIND_RECORDS_MAX;
        records.extend(some.into_iter().map(|record| (record.seq, record)));
    }
    let (messages, from) = messages(handle, id, before).await?;
    records.extend(messages.into_iter().map(|record| (record.seq, record)));
    found.messages_from = from;
    found.records = records.into_values().collect();
    Ok(found)
}

/// The last messages before a record, and from where on, where they are not all.
async fn messages(
    handle: &Handle,
    id: SessionId,
    before: Option<Seq>,
) -> Result<(Vec<StoredRecord>, Option<Seq>), CallError> {
    let mut messages: Vec<StoredRecord> = Vec::new();
    for _ in 0..MESSAGES_MAX.div_ceil(PAGE_RECORDS_MAX) {
        let next = messages.last().map(|record| record.seq).or(before);
        let page = handle
            .latest_of_kind(id, "agent.message", next, PAGE_RECORDS_MAX)
            .await?;
        if page.is_empty() {
            return Ok((messages, None));
        }
        messages.extend(page);
    }
    let from = messages.last().map(|record| record.seq);
    Ok((messages, from))
}
