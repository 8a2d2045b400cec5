//! The past: all sessions by date, with search.

use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::civil::Date;
use maud::{Markup, html};

use super::caller;
use super::layout::{Document, NavPlace, answer};
use super::off_the_workers;
use super::sessions::list;
use super::words;
use crate::runtime::CallError;
use crate::runtime::Handle;
use crate::session::id::SessionId;
use crate::session::shown::Shown;
use crate::session::summary::Summary;
use crate::store::Filter;
use crate::web::Faces;
use crate::web::days;
use crate::web::error::{Code, Problem};
use crate::web::params::Params;

/// How many sessions one page has.
const PAGE_SESSIONS: usize = 50;

/// The filter of the history page.
#[derive(Clone, Debug, Default)]
struct Search {
    /// A text, a directory, or an id.
    text: String,
    state: Option<Shown>,
    /// The first and the last day, as this machine counts days.
    since: Option<Date>,
    until: Option<Date>,
    /// The session behind which the page begins.
    before: Option<SessionId>,
}

/// What was found, and where the next page begins.
struct Matches {
    sessions: Vec<Arc<Summary>>,
    next: Option<SessionId>,
}

/// `GET /history`
pub(in crate::web) async fn page(faces: Data<Faces>, request: HttpRequest) -> HttpResponse {
    answer(&request, show(&faces, &request).await)
}

async fn show(faces: &Faces, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(request, &["q", "state", "since", "until", "before"])?;
    let before = match params.text("before") {
        Some(id) => Some(faces.handle.resolve(id).await?),
        None => None,
    };
    let search = Search {
        text: params.text("q").unwrap_or_default().trim().to_owned(),
        state: state(&params)?,
        since: day(&params, "since")?,
        until: day(&params, "until")?,
        before,
    };
    let found = find(&faces.handle, &search).await?;
    let caller = caller::of(request);
    let page = Document {
        title: "History · cc-executor",
        place: NavPlace::History,
        caller: &caller,
        module: "history.js",
        main: off_the_workers(move || render(&search, &found)).await?,
    };
    Ok(page.respond())
}

fn state(params: &Params) -> Result<Option<Shown>, Problem> {
    let state = params.text("state").filter(|state| !state.is_empty());
    let read = |name: &str| {
        name.parse()
            .map_err(|error| Problem::new(Code::BadQuery, format!("state: {error}")))
    };
    state.map(read).transpose()
}

fn day(params: &Params, name: &str) -> Result<Option<Date>, Problem> {
    let read = |text: &str| {
        text.parse()
            .map_err(|_| Problem::new(Code::BadQuery, format!("{name} is {text:?}, not a day like 2027-01-31")))
    };
    params.text(name).map(read).transpose()
}

/// The one place where the page looks into the past.
async fn find(handle: &Handle, search: &Search) -> Result<Matches, CallError> {
    let mut sessions = handle.find(search.filter(), search.before, PAGE_SESSIONS).await?;
    if sessions.is_empty()
        && let Ok(id) = handle.resolve_id(&search.text).await
    {
        sessions.push(handle.get(id).await?);
    }
    let next = sessions
        .last()
        .filter(|_| sessions.len() == PAGE_SESSIONS)
        .map(|last| last.session_id);
    Ok(Matches { sessions, next })
}

impl Search {
    /// A text that begins like a path means the directory.
    fn filter(&self) -> Filter {
        let is_path = self.text.starts_with('/');
        Filter {
            states: self.state.into_iter().collect(),
            name: None,
            parent: None,
            directory: is_path.then(|| PathBuf::from(&self.text)),
            since: self.since.and_then(days::beginning),
            until: self.until.and_then(days::end),
            search: Some(self.text.clone()).filter(|text| !text.is_empty() && !is_path),
        }
    }

    /// The address of the page that begins behind this session.
    fn address(&self, before: SessionId) -> String {
        let day = |day: Option<Date>| day.map(|day| day.to_string()).unwrap_or_default();
        let pairs = [
            ("q", self.text.clone()),
            ("state", self.state.map_or("", Shown::name).to_owned()),
            ("since", day(self.since)),
            ("until", day(self.until)),
            ("before", before.to_string()),
        ];
        let given: Vec<String> = pairs
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect();
        format!("/history?{}", given.join("&"))
    }

    fn is_narrowed(&self) -> bool {
        self.filter() != Filter::default()
    }
}

fn render(search: &Search, found: &Matches) -> Markup {
    html! {
        h1 { "History" }
        p.hint { "Days are counted in the zone " (days::zone_name()) "." }
        (form(search))
        div #results {
            @if found.sessions.is_empty() {
                p.empty { @if search.is_narrowed() { "No matches." } @else { "No sessions yet." } }
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

fn form(search: &Search) -> Markup {
    html! {
        form.search method="get" action="/history" role="search" {
            p.field.wide {
                label for="search-text" { "Search" }
                input #search-text type="search" name="q" value=(search.text) autocomplete="off"
                    placeholder="Name, task, result, /directory or id";
            }
            p.field {
                label for="search-state" { "State" }
                select #search-state name="state" {
                    option value="" { "Any" }
                    @for state in Shown::ALL {
                        option value=(state) selected[search.state == Some(*state)] { (words::state_word(*state)) }
                    }
                }
            }
            (day_field("since", "From", search.since))
            (day_field("until", "To", search.until))
            p.buttons { button type="submit" { "Search" } }
        }
    }
}

fn day_field(name: &str, label: &str, day: Option<Date>) -> Markup {
    html! {
        p.field {
            label for={ "search-" (name) } { (label) }
            input type="date" id={ "search-" (name) } name=(name) value=[day];
        }
    }
}

/// Days as this machine counts them; sessions come newest first.
fn by_day(sessions: &[Arc<Summary>]) -> Vec<(Date, &[Arc<Summary>])> {
    sessions
        .chunk_by(|one, next| days::of(one.created_at) == days::of(next.created_at))
        .filter_map(|chunk| Some((days::of(chunk.first()?.created_at), chunk)))
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
            since: Some(Date::constant(2027, 1, 2)),
            ..Search::default()
        };
        let id = SessionId::from_uuid(uuid::Uuid::from_u128(7));
        assert_eq!(
            search.address(id),
            "/history?q=a%26b%20%C3%BC&since=2027-01-02&before=00000000-0000-0000-0000-000000000007"
        );
    }

    #[test]
    fn a_path_means_the_directory_and_days_are_whole() {
        let search = Search {
            text: "/srv/app".into(),
            since: Some(Date::constant(2027, 1, 2)),
            until: Some(Date::constant(2027, 1, 2)),
            ..Search::default()
        };
        let filter = search.filter();
        assert_eq!(
            (filter.directory, filter.search),
            (Some(PathBuf::from("/srv/app")), None)
        );
        let (since, until) = (filter.since.unwrap(), filter.until.unwrap());
        let hours = until.duration_since(since).as_hours();
        assert!((23..=25).contains(&hours), "{hours}");
        assert!(!Search::default().is_narrowed());
    }
}
