//! The past: all sessions by date, with search.

use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use super::caller;
use super::layout::{Page, Place, answer};
use super::sessions::list;
use super::words;
use crate::runtime::Handle;
use crate::runtime::handle::CallError;
use crate::session::id::SessionId;
use crate::session::summary::Summary;
use crate::web::Faces;
use crate::web::error::Problem;
use crate::web::params::Params;

/// How many sessions one page has.
const PAGE_SESSIONS: usize = 50;

/// How many sessions a search looks through for one page.
const SEARCHED_MAX: usize = 2_000;

/// States that a search can be narrowed to.
const STATES: &[&str] = &[
    "running",
    "awaiting_input",
    "waiting_quota",
    "waiting_retry",
    "queued",
    "completed",
    "failed",
    "cancelled",
    "timed_out",
];

/// What is looked for.
#[derive(Clone, Debug, Default)]
struct Search {
    text: String,
    state: String,
    before: Option<SessionId>,
}

/// What was found, and where the next page begins.
struct Found {
    sessions: Vec<Arc<Summary>>,
    next: Option<SessionId>,
}

/// `GET /history`
pub(in crate::web) async fn page(faces: Data<Faces>, request: HttpRequest) -> HttpResponse {
    answer(&request, show(&faces, &request).await)
}

async fn show(faces: &Faces, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(request, &["q", "state", "before"])?;
    let before = match params.text("before") {
        Some(id) => Some(faces.handle.resolve(id).await?),
        None => None,
    };
    let search = Search {
        text: params.text("q").unwrap_or_default().trim().to_owned(),
        state: params.text("state").unwrap_or_default().to_owned(),
        before,
    };
    let found = find(&faces.handle, &search).await?;
    let caller = caller::of(request);
    let page = Page {
        title: "History · cc-executor",
        place: Place::History,
        caller: &caller,
        module: "history.js",
        main: render(&search, &found),
    };
    Ok(page.respond())
}

/// The one place where the page looks into the past.
async fn find(handle: &Handle, search: &Search) -> Result<Found, CallError> {
    let mut sessions = Vec::new();
    let mut before = search.before;
    let mut looked_at = 0;
    while looked_at < SEARCHED_MAX {
        let page = handle.recent(before, PAGE_SESSIONS).await?;
        looked_at += page.len();
        let is_last = page.len() < PAGE_SESSIONS;
        for summary in page {
            before = Some(summary.session_id);
            if search.fits(&summary) {
                sessions.push(summary);
            }
            if sessions.len() == PAGE_SESSIONS {
                return Ok(Found { sessions, next: before });
            }
        }
        if is_last {
            return Ok(Found { sessions, next: None });
        }
    }
    Ok(Found { sessions, next: before })
}

impl Search {
    fn fits(&self, summary: &Summary) -> bool {
        let is_state = self.state.is_empty() || summary.shown_state() == self.state;
        let text = self.text.to_lowercase();
        let has = |field: &str| field.to_lowercase().contains(&text);
        is_state
            && (text.is_empty()
                || has(&summary.name)
                || has(&summary.task)
                || has(&summary.cwd.to_string_lossy())
                || has(&summary.session_id.to_string())
                || summary.result.as_deref().is_some_and(has))
    }

    /// The address of the page that begins behind this session.
    fn address(&self, before: SessionId) -> String {
        let pairs = [
            ("q", self.text.as_str()),
            ("state", &self.state),
            ("before", &before.to_string()),
        ];
        let given: Vec<String> = pairs
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        format!("/history?{}", given.join("&"))
    }

    fn is_narrowed(&self) -> bool {
        !self.text.is_empty() || !self.state.is_empty()
    }
}

fn render(search: &Search, found: &Found) -> Markup {
    html! {
        h1 { "History" }
        form.search method="get" action="/history" role="search" {
            p.field.wide {
                label for="search-text" { "Search" }
                input #search-text type="search" name="q" value=(search.text) autocomplete="off"
                    placeholder="Name, task, directory, id or result";
            }
            p.field {
                label for="search-state" { "State" }
                select #search-state name="state" {
                    option value="" { "Any" }
                    @for state in STATES { option value=(state) selected[*state == search.state] { (words::state_word(state)) } }
                }
            }
            p.buttons { button type="submit" { "Search" } }
        }
        div #results {
            @if found.sessions.is_empty() {
                p.empty { @if search.is_narrowed() { "Nothing fits." } @else { "Nothing has run yet." } }
            }
            @for (day, sessions) in by_day(&found.sessions) {
                section aria-label=(day) {
                    h2 { time datetime=(day) data-form="day" { (day) } }
                    (list(sessions.iter().map(|summary| &**summary)))
                }
            }
            @if let Some(next) = found.next {
                p { a #older.button rel="next" href=(search.address(next)) { "Older" } }
            }
        }
    }
}

/// Days as this machine counts them; sessions come newest first.
fn by_day(sessions: &[Arc<Summary>]) -> Vec<(Date, &[Arc<Summary>])> {
    let zone = TimeZone::system();
    let day = |summary: &Arc<Summary>| summary.created_at.to_zoned(zone.clone()).date();
    sessions
        .chunk_by(|one, next| day(one) == day(next))
        .filter_map(|chunk| Some((day(chunk.first()?), chunk)))
        .collect()
}

/// A value in a query: everything but letters and digits by its bytes.
fn encoded(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(byte as char),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_keeps_what_is_looked_for() {
        let search = Search {
            text: "a&b ü".into(),
            ..Search::default()
        };
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(7));
        assert_eq!(
            search.address(id),
            "/history?q=a%26b%20%C3%BC&before=00000000-0000-0000-0000-000000000007"
        );
    }
}
