//! The transcript as HTML, a window of records at a time, so that a long session costs no more than a short one.

use std::collections::HashMap;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use maud::{Markup, html};

use super::caller;
use super::layout::fragment as respond;
use super::off_the_workers;
use super::record::{self, ReadRecord};
use super::text::{SHOWN_BYTES_MAX, TextRoom};
use crate::runtime::CallError;
use crate::runtime::Handle;
use crate::session::id::{Seq, SessionId};
use crate::session::telling::{Telling, tell};
use crate::store::{PAGE_RECORDS_MAX, StoredRecord};
use crate::web::Faces;
use crate::web::error::{Code, Problem};
use crate::web::params::Params;

/// How many records one chunk has when nobody says how many.
pub(super) const CHUNK_RECORDS: usize = 100;

/// What of a session is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    /// The records behind this one.
    After(Seq),
    /// The records before this one.
    Before(Seq),
    /// The records around this one.
    Around(Seq),
    /// The last records.
    Last,
}

/// How a chunk is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Texts are not cut.
    pub(super) whole: bool,
    /// There are controls.
    pub(super) may_act: bool,
}

/// `GET /execution/{id}/transcript`: a chunk of records as HTML.
pub(in crate::web) async fn fragment(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, &["after", "before", "around", "limit", "whole"])?;
    let limit = params.limit(CHUNK_RECORDS, PAGE_RECORDS_MAX)?;
    let window = window(&params)?;
    let manner = Manner {
        whole: params.flag("whole")?,
        may_act: caller::of(&request).may_act,
    };
    let id = faces.handle.resolve(&id).await?;
    Ok(respond(chunk(&faces.handle, id, window, limit, manner).await?))
}

/// At most `limit` records as one element, which says between which numbers it stands.
pub(super) async fn chunk(
    handle: &Handle,
    id: SessionId,
    window: Window,
    limit: usize,
    manner: Manner,
) -> Result<Markup, CallError> {
    let head = handle.get(id).await?.head;
    let (after, count) = bounds(window, head, limit);
    let records = read(handle, id, after, count).await?;
    off_the_workers(move || render(id, after, &records, manner)).await
}

fn window(params: &Params) -> Result<Window, Problem> {
    let seq = |name| params.number(name).map(|number| number.map(Seq));
    let given = [
        seq("after")?.map(Window::After),
        seq("before")?.map(Window::Before),
        seq("around")?.map(Window::Around),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (None, _) => Ok(Window::Last),
        (Some(window), None) => Ok(window),
        (Some(_), Some(_)) => Err(Problem::new(
            Code::BadQuery,
            "give one of after, before and around".to_owned(),
        )),
    }
}

/// The record before the first one shown, and how many are shown. Numbers have no gaps, so it is all arithmetic.
fn bounds(window: Window, head: Seq, limit: usize) -> (Seq, usize) {
    let limit = limit as u64;
    let back_from = |end: u64| {
        let after = end.saturating_sub(limit);
        (Seq(after), (end - after) as usize)
    };
    match window {
        Window::After(seq) => (seq, limit as usize),
        Window::Before(seq) => back_from(seq.0.saturating_sub(1).min(head.0)),
        Window::Around(seq) => back_from(seq.0.saturating_add(limit / 2).min(head.0)),
        Window::Last => back_from(head.0),
    }
}

/// A page of the journal may be shorter than asked for, where records are long.
async fn read(handle: &Handle, id: SessionId, after: Seq, count: usize) -> Result<Vec<StoredRecord>, CallError> {
    let mut records: Vec<StoredRecord> = Vec::new();
    while records.len() < count {
        let from = records.last().map_or(after, |record| record.seq);
        let page = handle.records(id, from, count - records.len()).await?;
        if page.is_empty() {
            break;
        }
        records.extend(page);
    }
    Ok(records)
}

fn render(id: SessionId, after: Seq, records: &[StoredRecord], manner: Manner) -> Markup {
    let told: Vec<_> = records.iter().map(|record| record.entry().map(tell)).collect();
    let mut inner = results_by_call(&told);
    let mut results: HashMap<usize, Vec<(Markup, bool)>> = HashMap::new();
    let mut shown = Vec::new();
    // Backwards, so that results are there when their call is met.
    for (place, (record, told)) in records.iter().zip(&told).enumerate().rev() {
        let telling = match told {
            Ok(telling) => telling,
            Err(why) => {
                shown.push(record::unreadable(record, &why.to_string()));
                continue;
            }
        };
        let mut own = results.remove(&place).unwrap_or_default();
        own.reverse();
        let whole_at = format!(
            "/execution/{id}/transcript?after={}&limit=1&whole=true",
            record.seq.0 - 1
        );
        let item = ReadRecord {
            record,
            telling,
            failed: own.last().map(|(_, failed)| *failed),
            results: own.into_iter().map(|(markup, _)| markup).collect(),
            room: room(&whole_at, manner.whole),
            may_act: manner.may_act,
        };
        let rendered = record::render(&item);
        match inner.remove(&place) {
            Some(call) => results.entry(call).or_default().push((rendered, telling.failed)),
            None => shown.push(rendered),
        }
    }
    shown.reverse();
    let last = records.last().map_or(after, |record| record.seq);
    html! {
        section.chunk data-after=(after) data-last=(last) { @for element in &shown { (element) } }
    }
}

fn room(whole_at: &str, whole: bool) -> TextRoom<'_> {
    if whole {
        return TextRoom::WHOLE;
    }
    TextRoom {
        whole_at: Some(whole_at),
        bytes_max: SHOWN_BYTES_MAX,
    }
}

/// For each result whose call is among these records too: the place of the call.
fn results_by_call<E>(told: &[Result<Telling<'_>, E>]) -> HashMap<usize, usize> {
    let mut calls: HashMap<&str, usize> = HashMap::new();
    let mut inner = HashMap::new();
    for (place, told) in told.iter().enumerate() {
        let Ok(told) = told else { continue };
        calls.extend(told.origin.call.map(|call| (call, place)));
        let call = told.origin.result_of.and_then(|call| calls.get(call));
        inner.extend(call.map(|call| (place, *call)));
    }
    inner
}

#[cfg(test)]
mod tests;
