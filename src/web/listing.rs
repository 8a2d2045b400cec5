//! Lists: sessions by what is looked for, the history by days, and the questions that wait.

use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Faces;
use super::days;
use super::error::Problem;
use super::params::{Params, bad_query};
use super::view::{QuestionView, SessionView};
use crate::session::id::SessionId;
use crate::session::shown::Shown;
use crate::session::summary::Summary;
use crate::store::Filter;

/// How many sessions a page has when the caller does not say.
const PAGE_SESSIONS: usize = 50;

/// The most sessions in one page.
const PAGE_SESSIONS_MAX: usize = 500;

/// What a cursor begins with, so that it is not taken for an id.
const CURSOR_MARK: &str = "s";

/// The parameters of every list of sessions.
const LIST_PARAMETERS: &[&str] = &["state", "directory", "since", "until", "q", "cursor", "limit"];

/// The parameters of the history.
const HISTORY_PARAMETERS: &[&str] = &["date", "state", "directory", "q", "cursor", "limit"];

/// A page of sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sessions)]
pub(super) struct SessionsPage<'a> {
    sessions: Vec<SessionView<'a>>,
    /// What to give as `cursor` for the next page; none where there is none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A page of the history: days, latest first, each with its sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(super) struct History<'a> {
    /// The zone in which days are counted: that of the daemon.
    time_zone: String,
    days: Vec<Day<'a>>,
    /// What to give as `cursor` for the next page, which may begin with more of the last day; none where there is none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The sessions that were created on one day.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Day)]
pub(super) struct Day<'a> {
    /// The day, in `time_zone`.
    #[schema(value_type = String, format = Date)]
    date: Date,
    sessions: Vec<SessionView<'a>>,
}

/// The questions of all sessions: open ones first, those that have waited longest before the others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Questions)]
pub(super) struct Questions<'a> {
    questions: Vec<ListedQuestion<'a>>,
}

/// A question, and who asks it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AskedQuestion)]
pub(super) struct ListedQuestion<'a> {
    #[schema(value_type = Uuid)]
    session_id: SessionId,
    /// The end of the session's id.
    short_id: String,
    /// What the session is called.
    session_name: &'a str,
    #[schema(value_type = String)]
    cwd: &'a std::path::Path,
    #[serde(flatten)]
    question: QuestionView<'a>,
}

/// `GET /api/sessions`: newest first.
#[utoipa::path(
    get, path = "/api/sessions", tag = "sessions", operation_id = "listSessions",
    params(
        ("state" = Option<String>, Query, description = "States as they are shown, `live` or `ended`, apart by commas",
            pattern = "^(queued|starting|running|awaiting_input|waiting_quota|waiting_api|waiting_login|waiting_timer|paused|waiting_retry|stopping|completed|failed|cancelled|timed_out|live|ended)(,(queued|starting|running|awaiting_input|waiting_quota|waiting_api|waiting_login|waiting_timer|paused|waiting_retry|stopping|completed|failed|cancelled|timed_out|live|ended))*$"),
        ("directory" = Option<String>, Query, description = "The directory that a session works in, or one above", pattern = "^/"),
        ("since" = Option<String>, Query, format = DateTime, description = "Created then or later; a date means its beginning, where the daemon is"),
        ("until" = Option<String>, Query, format = DateTime, description = "Created before that"),
        ("q" = Option<String>, Query, description = "A text in the name, the task, the result or the note, in any case of letters; there is no index of it: a search that finds little reads every session, which of 10,000 takes about half a second"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^s[0-9a-f]{32}$"),
        ("limit" = Option<u64>, Query, description = "The length of a page; 50 when absent, 500 at most", minimum = 1),
    ),
    responses((status = 200, description = "A page of sessions, newest first", body = SessionsPage)),
)]
pub(super) async fn list(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::exact(&request, LIST_PARAMETERS)?;
    let (found, next_cursor) = page(&faces, &params, filter(&params)?).await?;
    let sessions = found.iter().map(|summary| SessionView::of(summary)).collect();
    Ok(HttpResponse::Ok().json(SessionsPage { sessions, next_cursor }))
}

/// `GET /api/history`: the same by days.
#[utoipa::path(
    get, path = "/api/history", tag = "sessions", operation_id = "showHistory",
    params(
        ("date" = Option<String>, Query, format = Date, description = "One day only, where the daemon is"),
        ("state" = Option<String>, Query, description = "As in the list of sessions", pattern = "^(live|ended|completed|failed|cancelled|timed_out)$"),
        ("directory" = Option<String>, Query, description = "As in the list of sessions", pattern = "^/"),
        ("q" = Option<String>, Query, description = "As in the list of sessions"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before", pattern = "^s[0-9a-f]{32}$"),
        ("limit" = Option<u64>, Query, description = "How many sessions a page has; 50 when absent, 500 at most", minimum = 1),
    ),
    responses((status = 200, description = "Days, latest first, with their sessions", body = History)),
)]
pub(super) async fn history(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::exact(&request, HISTORY_PARAMETERS)?;
    let mut filter = filter(&params)?;
    if let Some(text) = params.text("date") {
        let date: Date = text
            .parse()
            .map_err(|_| bad_query(format!("date is {text:?}, not a day such as 2027-01-31")))?;
        filter.since = Some(beginning(date)?);
        filter.until = days::end(date);
    }
    let (found, next_cursor) = page(&faces, &params, filter).await?;
    Ok(HttpResponse::Ok().json(History {
        time_zone: days::zone_name(),
        days: by_days(&found),
        next_cursor,
    }))
}

/// `GET /api/questions`: what people are waited for.
#[utoipa::path(
    get, path = "/api/questions", tag = "questions", operation_id = "listQuestions",
    responses((status = 200, description = "Questions of all sessions, open ones first", body = Questions)),
)]
pub(super) async fn questions(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    Params::exact(&request, &[])?;
    let sessions = faces.handle.list().await?;
    let mut questions: Vec<_> = sessions.iter().flat_map(|summary| asked_by(summary)).collect();
    questions.sort_by_key(|asked| (!asked.question.is_open(), asked.question.asked_at()));
    Ok(HttpResponse::Ok().json(Questions { questions }))
}

/// What a query looks for.
fn filter(params: &Params) -> Result<Filter, Problem> {
    let states = params.text("state").map(states).transpose()?;
    let directory = params.text("directory").map(directory).transpose()?;
    Ok(Filter {
        states: states.unwrap_or_default(),
        name: None,
        parent: None,
        directory,
        since: time(params, "since")?,
        until: time(params, "until")?,
        search: params.text("q").map(str::to_owned),
    })
}

/// The page that a query asks for, and the cursor of the next one.
async fn page(faces: &Faces, params: &Params, filter: Filter) -> Result<(Vec<Arc<Summary>>, Option<String>), Problem> {
    let limit = params.limit(PAGE_SESSIONS, PAGE_SESSIONS_MAX)?;
    let before = params.text("cursor").map(read_cursor).transpose()?;
    // One more than the page has tells whether there is another page.
    let mut found = faces.handle.find(filter, before, limit + 1).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let last = found.last().filter(|_| has_more);
    let next_cursor = last.map(|last| cursor_after(last.session_id));
    Ok((found, next_cursor))
}

/// Where a page ends: behind this session. Sessions that come later do not shift it.
fn cursor_after(session: SessionId) -> String {
    format!("{CURSOR_MARK}{}", session.uuid().simple())
}

fn read_cursor(text: &str) -> Result<SessionId, Problem> {
    let digits = text.strip_prefix(CURSOR_MARK).filter(|digits| digits.len() == 32);
    let id = digits.and_then(|digits| Uuid::try_parse(digits).ok());
    id.map(SessionId::from_uuid)
        .ok_or_else(|| bad_query(format!("cursor is {text:?}, not the next_cursor of a page")))
}

fn states(text: &str) -> Result<Vec<Shown>, Problem> {
    let mut states = Vec::new();
    for name in text.split(',') {
        match name {
            "live" => states.extend(Shown::live()),
            "ended" => states.extend(Shown::ended()),
            name => states.push(
                name.parse()
                    .map_err(|error| bad_query(format!("state: {error}, live or ended")))?,
            ),
        }
    }
    Ok(states)
}

fn directory(text: &str) -> Result<PathBuf, Problem> {
    let directory = PathBuf::from(text);
    if directory.is_absolute() {
        return Ok(directory);
    }
    Err(bad_query(format!("directory is {text:?}, which is not absolute")))
}

fn time(params: &Params, name: &str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = params.text(name) else {
        return Ok(None);
    };
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Some(at));
    }
    match text.parse::<Date>() {
        Ok(date) if text.len() == "2027-01-31".len() => beginning(date).map(Some),
        Ok(_) | Err(_) => Err(bad_query(format!(
            "{name} is {text:?}, neither a time as in RFC 3339 nor a day such as 2027-01-31"
        ))),
    }
}

fn beginning(date: Date) -> Result<Timestamp, Problem> {
    days::beginning(date).ok_or_else(|| bad_query(format!("there is no day {date}")))
}

fn by_days(newest_first: &[Arc<Summary>]) -> Vec<Day<'_>> {
    let mut days: Vec<Day<'_>> = Vec::new();
    for summary in newest_first {
        let date = days::of(summary.created_at);
        let session = SessionView::of(summary);
        match days.last_mut().filter(|day| day.date == date) {
            Some(day) => day.sessions.push(session),
            None => days.push(Day {
                date,
                sessions: vec![session],
            }),
        }
    }
    days
}

fn asked_by(summary: &Summary) -> impl Iterator<Item = ListedQuestion<'_>> {
    QuestionView::all_of(summary).map(|question| ListedQuestion {
        session_id: summary.session_id,
        short_id: summary.session_id.short(),
        session_name: &summary.name,
        cwd: &summary.cwd,
        question,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn params(query: &str) -> Params {
        let request = TestRequest::with_uri(&format!("/x?{query}")).to_http_request();
        Params::exact(&request, LIST_PARAMETERS).unwrap()
    }

    #[test]
    fn every_state_of_a_session_can_be_looked_for() {
        assert_eq!(states("live,ended").unwrap().len(), Shown::ALL.len());
        assert_eq!(states("failed,paused").unwrap(), [Shown::Failed, Shown::Paused]);
    }

    #[test]
    fn the_description_lists_every_state() {
        let names: Vec<&str> = Shown::ALL.iter().map(|state| state.name()).collect();
        let one = format!("({}|live|ended)", names.join("|"));
        let operation = <__path_list as utoipa::Path>::operation();
        let parameters = serde_json::to_value(operation.parameters).unwrap();
        assert_eq!(parameters[0]["schema"]["pattern"], format!("^{one}(,{one})*$"));
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let id = SessionId::new();
        assert_eq!(read_cursor(&cursor_after(id)).unwrap(), id);
        for bad in ["", "s", &id.to_string(), "s0123"] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (query, told) in [
            ("state=asleep", "asleep"),
            ("state=failed,", "\"\""),
            ("directory=here", "absolute"),
            ("since=soon", "since"),
            ("until=2027-02-30", "until"),
            ("since=2027-01-01T25:00:00Z", "since"),
        ] {
            let error = filter(&params(query)).unwrap_err().to_string();
            assert!(error.contains(told), "{query}: {error}");
        }
        let dates = filter(&params("since=2027-01-31&until=2027-01-31T10:00:00%2B01:00")).unwrap();
        assert_eq!(dates.until, Some("2027-01-31T09:00:00Z".parse().unwrap()));
        assert!(dates.since.is_some());
    }
}
