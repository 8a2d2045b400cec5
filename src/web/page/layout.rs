//! The frame of every page, and the headers that keep what is shown in it harmless.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use maud::{DOCTYPE, Markup, html};

use super::caller::Reader;
use crate::runtime::handle::CallError;
use crate::web::access::pages::PAGE_POLICY;
use crate::web::error::Problem;

/// Which place of the site a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The list of sessions.
    Sessions,
    /// The past.
    History,
    /// One session.
    Session,
}

/// One page.
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) place: Place,
    pub(super) caller: &'a Reader,
    /// The module that brings it to life.
    pub(super) module: &'static str,
    pub(super) main: Markup,
}

/// A page that cannot be shown, for people.
#[derive(Debug)]
pub(in crate::web) struct Refusal(Problem);

impl Page<'_> {
    /// The page as an answer.
    pub(super) fn respond(self) -> HttpResponse {
        sealed(StatusCode::OK).body(self.render().into_string())
    }

    fn render(self) -> Markup {
        let class = match self.place {
            Place::Sessions => "sessions",
            Place::History => "history",
            Place::Session => "session",
        };
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    @if let Some(csrf) = &self.caller.csrf { meta name="csrf-token" content=(csrf); }
                    title { (self.title) }
                    link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                    link rel="stylesheet" href="/assets/page.css";
                    link rel="stylesheet" href="/assets/session.css";
                    script type="module" src={ "/assets/" (self.module) } {}
                }
                body class=(class) {
                    a.skip href="#main" { "Skip to the content" }
                    (banner(self.place, self.caller))
                    main #main tabindex="-1" { (self.main) }
                    p #announcer.visually-hidden role="status" aria-live="polite" {}
                }
            }
        }
    }
}

/// A part of a page, for its script.
pub(super) fn fragment(part: Markup) -> HttpResponse {
    sealed(StatusCode::OK).body(part.into_string())
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Self(error.into())
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.0.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let page = Page {
            title: "cc-executor",
            place: Place::Session,
            caller: &Reader::default(),
            module: "common.js",
            main: html! {
                div.refusal {
                    h1 { "This cannot be shown" }
                    p { (self.0) }
                    p { a href="/" { "All sessions" } }
                }
            },
        };
        sealed(self.status_code()).body(page.render().into_string())
    }
}

fn sealed(status: StatusCode) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"));
    response
}

fn banner(place: Place, caller: &Reader) -> Markup {
    let current = |of: Place| (of == place).then_some("page");
    html! {
        header.banner {
            a.brand href="/" { img src="/assets/icon.svg" alt="" width="20" height="20"; "cc-executor" }
            nav aria-label="Site" {
                a href="/" aria-current=[current(Place::Sessions)] { "Sessions" }
                a href="/history" aria-current=[current(Place::History)] { "History" }
            }
            p #connection role="status" data-connection="idle" { span.dot aria-hidden="true" {} span.words { "" } }
            @if caller.csrf.is_some() {
                form data-leave data-action="/sign-out" {
                    button.small type="submit" { "Sign out" }
                    p.problem role="alert" hidden {}
                }
            }
        }
        noscript { p.noscript { "This page shows what stands in the journal now. To see it live and to answer, allow its scripts." } }
    }
}
