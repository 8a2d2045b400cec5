//! One session: its head, its timeline, its transcript, its open questions, its controls, and what goes beside them.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use maud::{Markup, html};

use super::doing::doing;
use super::layout::{Document, NavPlace, answer, fragment};
use super::question::{self, Near};
use super::side::Beside;
use super::text::visible;
use super::transcript::{self, CHUNK_RECORDS, Manner, Window};
use super::words::{self, Form, badge, time};
use super::{caller, forms, off_the_workers};
use crate::session::id::Seq;
use crate::session::journal::Entry;
use crate::session::outcome::Outcome;
use crate::session::summary::{Summary, WaitingFor};
use crate::web::Faces;
use crate::web::error::Problem;
use crate::web::params::Params;

/// `GET /execution/{id}`: with the last records, or those around `seq`.
pub(in crate::web) async fn page(faces: Data<Faces>, request: HttpRequest, id: Path<String>) -> HttpResponse {
    answer(&request, show(&faces, &request, &id).await)
}

async fn show(faces: &Faces, request: &HttpRequest, id: &str) -> Result<HttpResponse, Problem> {
    let params = Params::of(request, &["seq"])?;
    let seq = params.number("seq")?.map(Seq);
    let id = faces.handle.resolve(id).await?;
    let caller = caller::of(request);
    let manner = Manner {
        whole: false,
        may_act: caller.may_act,
    };
    let window = seq.map_or(Window::Last, Window::Around);
    let chunk = transcript::chunk(&faces.handle, id, window, CHUNK_RECORDS, manner).await?;
    let summary = faces.handle.get(id).await?;
    let beside = Beside::of(&faces.handle, &summary).await?;
    let (title, may_act) = (title(&summary), caller.may_act);
    let main = off_the_workers(move || {
        html! {
            (head(&summary, may_act))
            div.columns { (story(&summary, &chunk, may_act)) (beside.render(&summary, may_act)) }
            @if may_act { (forms::dialogs(&summary)) }
        }
    });
    let page = Document {
        title: &title,
        place: NavPlace::Session,
        caller: &caller,
        module: "session.js",
        main: main.await?,
    };
    Ok(page.respond())
}

/// `GET /execution/{id}/parts`: what of it changes, besides the transcript.
pub(in crate::web) async fn parts(
    faces: Data<Faces>,
    request: HttpRequest,
    id: Path<String>,
) -> Result<HttpResponse, Problem> {
    let caller = caller::of(&request);
    let id = faces.handle.resolve(&id).await?;
    let summary = faces.handle.get(id).await?;
    let beside = Beside::of(&faces.handle, &summary).await?;
    let parts = off_the_workers(move || {
        html! {
            div data-title=(title(&summary)) {
                (head(&summary, caller.may_act))
                (questions(&summary, caller.may_act))
                (composer(&summary, caller.may_act))
                (beside.render(&summary, caller.may_act))
            }
        }
    });
    Ok(fragment(parts.await?))
}

fn title(summary: &Summary) -> String {
    let open = open_questions(summary);
    let state = words::state_word(summary.shown_state());
    let name = visible(&summary.name);
    match open {
        0 => format!("{state}: {name} · cc-executor"),
        _ => format!("({open}) {state}: {name} · cc-executor"),
    }
}

fn open_questions(summary: &Summary) -> usize {
    let is_open = |waiting: &&crate::session::summary::Waiting| waiting.answer.is_none();
    summary.questions.values().filter(is_open).count()
}

/// The timeline, the transcript, and below it what waits for a person.
fn story(summary: &Summary, chunk: &Markup, may_act: bool) -> Markup {
    html! {
        div.story {
            (timeline_place())
            section #transcript aria-labelledby="transcript-title" tabindex="0" data-session=(summary.session_id)
                data-kinds=(Entry::KINDS.join(" "))
            {
                div #flow {
                    h2 #transcript-title.visually-hidden { "Transcript" }
                    p #older-note.edge hidden {
                        span { "Loading earlier records…" }
                        button #older.small type="button" { "Earlier records" }
                    }
                    div #records { (chunk) }
                    p #newer-note.edge hidden { "Loading later records…" }
                    div #drafts aria-hidden="true" {}
                    (questions(summary, may_act))
                    (composer(summary, may_act))
                    div #end {}
                }
            }
            button #to-latest.pill type="button" hidden { "To the latest" }
        }
    }
}

/// Whether the session can be gone on with by hand.
fn is_resumable(summary: &Summary) -> bool {
    match summary.lifecycle.state.outcome() {
        None | Some(Outcome::Completed) => false,
        Some(Outcome::Failed { .. } | Outcome::Cancelled | Outcome::TimedOut) => true,
    }
}

/// What the session is and how it stands, with the controls that its state allows.
fn head(summary: &Summary, may_act: bool) -> Markup {
    let is_live = summary.lifecycle.state.outcome().is_none();
    let open = open_questions(summary);
    html! {
        header #head data-state=(summary.shown_state()) data-live=(is_live) data-resumable=(is_resumable(summary))
            data-head=(summary.head)
        {
            div.title {
                h1 { (visible(&summary.name)) }
                (badge(summary.shown_state()))
                @if open > 0 { a #to-questions.pill href="#questions" { (words::count(open as u64, "open question", "open questions")) } }
            }
            @if may_act {
                p.actions {
                    // Sending a message, an interrupt and a pause will stand here.
                    @if is_live { button #cancel.small type="button" data-opens="cancel-dialog" { "Cancel" } }
                    button #fork.small type="button" data-opens="fork-dialog" { "Fork" }
                }
            }
            @if let Some(doing) = doing(summary) { p.doing { (visible(&doing)) } }
            (facts(summary))
        }
    }
}

fn facts(summary: &Summary) -> Markup {
    let now = Timestamp::now();
    html! {
        p.facts {
            span { "attempt " (summary.lifecycle.attempt) }
            span { (words::count(u64::from(summary.turns_by_now()), "turn", "turns")) }
            span { (words::usd(summary.usage.cost_usd)) }
            span { (words::amount(summary.usage.tokens())) " tokens" }
            span { (words::active(summary, now)) " at work" }
            @if summary.waiting_for == WaitingFor::Timer {
                @for timer in summary.timers.described() { span { (visible(&timer)) } }
            }
            @if let Some(until) = summary.waits_until() { span { "goes on " (time(until, Form::Left)) } }
            @if let Some(model) = &summary.model { span { (visible(model)) } }
        }
    }
}

/// Filled by the script once the rest is there.
fn timeline_place() -> Markup {
    html! {
        details #timeline open {
            summary { h2 { "Timeline" } }
            div #timeline-picture {}
        }
    }
}

fn questions(summary: &Summary, may_act: bool) -> Markup {
    html! {
        section #questions aria-labelledby="questions-title" hidden[summary.questions.is_empty()] {
            h2 #questions-title { (question::heading(may_act)) }
            div #question-list { (question::cards(summary, may_act, Near::ItsSession)) }
        }
    }
}

/// Where a person speaks to the session.
fn composer(summary: &Summary, may_act: bool) -> Markup {
    let mode = match (may_act, is_resumable(summary), summary.lifecycle.state.outcome()) {
        (true, true, _) => "resume",
        (_, _, Some(_)) => "over",
        (_, _, None) => "live",
    };
    html! {
        section #composer data-mode=(mode) aria-label="Go on" hidden[mode != "resume"] {
            @if mode == "resume" { (forms::resume(summary)) }
        }
    }
}
