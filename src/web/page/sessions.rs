//! The first page: what waits for a person, what runs, what ended lately, and a form to start a run.

use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use maud::{Markup, html};

use super::caller;
use super::doing::doing;
use super::forms;
use super::layout::{Document, NavPlace, answer, fragment};
use super::off_the_workers;
use super::question::{self, Near};
use super::text::{name, visible};
use super::words::{self, Form, badge, time};
use crate::runtime::CallError;
use crate::session::journal::Entry;
use crate::session::summary::Summary;
use crate::web::Faces;
use crate::web::error::Problem;

/// How many ended sessions the page shows.
const ENDED_MAX: usize = 20;

/// How many directories of earlier sessions the form offers.
const DIRECTORIES_MAX: usize = 12;

/// `GET /`
pub(in crate::web) async fn page(faces: Data<Faces>, request: HttpRequest) -> HttpResponse {
    answer(&request, show(&faces, &request).await)
}

async fn show(faces: &Faces, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = caller::of(request);
    let sessions = gather(faces).await?;
    let title = title(&sessions);
    let may_act = caller.may_act;
    let main = off_the_workers(move || {
        html! {
            div #sessions data-kinds=(Entry::KINDS.join(" ")) {
                h1.visually-hidden { "Sessions" }
                (questions(&sessions, may_act))
                @if may_act { (start(&sessions)) }
                (lists(&sessions))
            }
        }
    });
    let page = Document {
        title: &title,
        place: NavPlace::Sessions,
        caller: &caller,
        module: "sessions.js",
        main: main.await?,
    };
    Ok(page.respond())
}

/// `GET /parts`: what of it changes.
pub(in crate::web) async fn parts(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let caller = caller::of(&request);
    let sessions = gather(&faces).await?;
    let parts = off_the_workers(move || {
        html! {
            div data-title=(title(&sessions)) {
                (questions(&sessions, caller.may_act))
                (lists(&sessions))
            }
        }
    });
    Ok(fragment(parts.await?))
}

/// Those that live, and the last that ended: from memory, and from the store where that knows more.
async fn gather(faces: &Faces) -> Result<Vec<Arc<Summary>>, CallError> {
    let mut sessions = faces.handle.list().await?;
    let ended = sessions.iter().filter(|summary| !is_live(summary)).count();
    if ended < ENDED_MAX {
        for summary in faces.handle.recent(None, ENDED_MAX).await? {
            if !sessions.iter().any(|known| known.session_id == summary.session_id) {
                sessions.push(summary);
            }
        }
    }
    sessions.sort_by_key(|summary| std::cmp::Reverse(summary.created_at));
    Ok(sessions)
}

fn is_live(summary: &Summary) -> bool {
    summary.lifecycle.state.outcome().is_none()
}

fn is_open(summary: &Summary) -> bool {
    summary.questions.values().any(|waiting| waiting.answer.is_none())
}

fn title(sessions: &[Arc<Summary>]) -> String {
    let asking = sessions.iter().filter(|summary| is_open(summary)).count();
    let running = sessions.iter().filter(|summary| is_live(summary)).count();
    match (asking, running) {
        (0, 0) => "Sessions · cc-executor".to_owned(),
        (0, running) => format!("{running} running · cc-executor"),
        (asking, _) => format!("({asking}) needs an answer · cc-executor"),
    }
}

fn questions(sessions: &[Arc<Summary>], may_act: bool) -> Markup {
    let mut asking: Vec<_> = sessions
        .iter()
        .filter(|summary| !summary.questions.is_empty())
        .collect();
    // Who has waited longest is first; what is asked later comes below, where it pushes nothing away.
    asking.sort_by_key(|summary| summary.questions.values().map(|waiting| waiting.asked_at).min());
    html! {
        section #questions aria-labelledby="questions-title" hidden[asking.is_empty()] {
            h2 #questions-title { (question::heading(may_act)) }
            div #question-list {
                @for summary in asking { (question::cards(summary, may_act, Near::OtherSessions)) }
            }
        }
    }
}

fn start(sessions: &[Arc<Summary>]) -> Markup {
    html! {
        section #start aria-labelledby="start-title" {
            details open[sessions.is_empty()] {
                summary { h2 #start-title { "Start a run" } }
                (forms::start(&directories(sessions)))
            }
        }
    }
}

fn lists(sessions: &[Arc<Summary>]) -> Markup {
    let (live, ended): (Vec<_>, Vec<_>) = sessions.iter().partition(|summary| is_live(summary));
    html! {
        section #live aria-labelledby="live-title" {
            h2 #live-title { "Running" span.count { (live.len()) } }
            @if live.is_empty() { p.empty { "Nothing runs." } }
            (list(live.iter().map(|summary| &***summary)))
        }
        section #ended aria-labelledby="ended-title" {
            h2 #ended-title { "Ended lately" }
            @if ended.is_empty() { p.empty { "No sessions yet." } }
            (list(ended.iter().take(ENDED_MAX).map(|summary| &***summary)))
            @if !ended.is_empty() { p.more { a href="/history" { "All of the past" } } }
        }
    }
}

/// Sessions as a list, also for the history.
pub(super) fn list<'a>(sessions: impl Iterator<Item = &'a Summary>) -> Markup {
    let now = Timestamp::now();
    html! { ul.session-list { @for summary in sessions { (row(summary, now)) } } }
}

fn row(summary: &Summary, now: Timestamp) -> Markup {
    let ended = summary.ended_at.filter(|_| !is_live(summary));
    html! {
        li.session-row data-session=(summary.session_id) data-state=(summary.shown_state()) {
            div.head {
                a.name href={ "/execution/" (summary.session_id) } { (visible(&summary.name)) }
                (badge(summary.shown_state()))
            }
            @if let Some(doing) = doing(summary) { p.doing { (visible(&doing)) } }
            p.facts {
                span.mono { (summary.session_id.short()) }
                span.cwd.mono { (name(&summary.cwd.display().to_string())) }
                span { (words::count(u64::from(summary.turns_by_now()), "turn", "turns")) }
                @if summary.lifecycle.attempt.0 > 1 { span { "attempt " (summary.lifecycle.attempt) } }
                span { (words::usd(summary.usage.cost_usd)) }
                span { (words::active(summary, now)) " at work" }
                @if let Some(until) = summary.waits_until() { span { "goes on " (time(until, Form::Left)) } }
                span {
                    @if let Some(ended) = ended { "ended " (time(ended, Form::Ago)) }
                    @else if let Some(started) = summary.started_at { "started " (time(started, Form::Ago)) }
                    @else { "asked for " (time(summary.created_at, Form::Ago)) }
                }
            }
        }
    }
}

fn directories(sessions: &[Arc<Summary>]) -> Vec<String> {
    let mut directories: Vec<String> = Vec::new();
    for summary in sessions {
        let directory = summary.cwd.display().to_string();
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    directories.truncate(DIRECTORIES_MAX);
    directories
}
