//! The frame of every page, and the headers that keep what is shown in it harmless.

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use maud::{DOCTYPE, Markup, html};

use super::caller::PageRights;
use super::text::sentence;
use crate::web::access::pages::PAGE_POLICY;
use crate::web::error::Problem;
use crate::web::remedy;

/// Which place of the site a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NavPlace {
    /// The list of sessions.
    Sessions,
    /// The past.
    History,
    /// One session.
    Session,
}

/// One page.
pub(super) struct Document<'a> {
    pub(super) title: &'a str,
    pub(super) place: NavPlace,
    pub(super) caller: &'a PageRights,
    /// The module that brings it to life.
    pub(super) module: &'static str,
    pub(super) main: Markup,
}

impl Document<'_> {
    /// The page as an answer.
    pub(super) fn respond(self) -> HttpResponse {
        sealed(StatusCode::OK).body(self.render().into_string())
    }

    fn render(self) -> Markup {
        let class = match self.place {
            NavPlace::Sessions => "sessions",
            NavPlace::History => "history",
            NavPlace::Session => "session",
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

/// A page, or why it cannot be shown: in words for a browser, as a problem document for others.
pub(super) fn answer(request: &HttpRequest, shown: Result<HttpResponse, Problem>) -> HttpResponse {
    let problem = match shown {
        Ok(page) => return page,
        Err(problem) => problem,
    };
    let accepts = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    if !accepts.is_some_and(|accepts| accepts.contains("text/html")) {
        return problem.error_response();
    }
    let page = Document {
        title: "cc-executor",
        place: NavPlace::Session,
        caller: &PageRights::default(),
        module: "common.js",
        main: html! {
            div.refusal {
                h1 { "This cannot be shown" }
                p { (sentence(&problem.told(remedy::Audience::Page))) }
                p { a href="/" { "All sessions" } }
            }
        },
    };
    sealed(problem.status_code()).body(page.render().into_string())
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

fn banner(place: NavPlace, caller: &PageRights) -> Markup {
    let current = |of: NavPlace| (of == place).then_some("page");
    html! {
        header.banner {
            a.brand href="/" { img src="/assets/icon.svg" alt="" width="20" height="20"; span.name { "cc-executor" } }
            nav aria-label="Site" {
                a href="/" aria-current=[current(NavPlace::Sessions)] { "Sessions" }
                a href="/history" aria-current=[current(NavPlace::History)] { "History" }
                a href="/api/reference" { "API" }
            }
            p #connection role="status" data-connection="idle" { span.dot aria-hidden="true" {} span.words { "" } a href="" hidden { "Sign in again" } }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::error::Code;
    use actix_web::body::to_bytes;
    use actix_web::test::TestRequest;

    fn refused(accept: &str) -> HttpResponse {
        let request = TestRequest::default()
            .insert_header(("Accept", accept))
            .to_http_request();
        answer(
            &request,
            Err(Problem::new(Code::NoSuchSession, "there is no <session>")),
        )
    }

    async fn text(response: HttpResponse) -> String {
        String::from_utf8(to_bytes(response.into_body()).await.unwrap().to_vec()).unwrap()
    }

    #[actix_web::test]
    async fn a_browser_is_refused_in_words_and_a_program_by_a_problem() {
        let page = refused("text/html,application/xhtml+xml");
        assert_eq!(page.status(), 404);
        assert!(page.headers().contains_key(CONTENT_SECURITY_POLICY));
        assert!(text(page).await.contains("there is no &lt;session&gt;"));
        let problem = refused("*/*");
        assert_eq!(problem.status(), 404);
        assert!(text(problem).await.starts_with('{'));
    }

    #[actix_web::test]
    async fn a_page_allows_no_script_but_its_own_and_carries_what_its_calls_need() {
        let reader = PageRights {
            csrf: Some("a\"b".to_owned()),
            may_act: true,
        };
        let page = Document {
            title: "<t>",
            place: NavPlace::Sessions,
            caller: &reader,
            module: "sessions.js",
            main: html! {},
        };
        let response = page.respond();
        let policy = response
            .headers()
            .get(CONTENT_SECURITY_POLICY)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        assert!(
            policy.contains("script-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let html = text(response).await;
        assert!(
            html.contains("<meta name=\"csrf-token\" content=\"a&quot;b\">"),
            "{html}"
        );
        assert!(
            html.contains("<title>&lt;t&gt;</title>") && !html.contains(" style="),
            "{html}"
        );
        assert_eq!(html.matches("<script").count(), 1);
    }
}
