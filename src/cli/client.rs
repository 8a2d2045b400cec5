//! The daemon's REST interface, and the streams it opens, seen from a client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use awc::ClientRequest;
use awc::http::StatusCode;
use awc::http::header::CONTENT_TYPE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::session::id::QuestionId;
use crate::session::question::Answer;
use crate::web::access::MARK_HEADER;

use super::clean::clean;
use super::connection::{self, Connection};
use super::exit::Failure;
use super::mark::mark_as_header;
use super::view::View;

/// How long the daemon may take for the head of an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest answer, in bytes: a page of records, of which one may hold a line of 16 MiB.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What cannot stand in a part of a URL as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How many records are asked for at a time.
const PAGE_RECORDS: u32 = 500;

/// A daemon to talk to. Each call is a connection of its own: none can be stale after hours of waiting.
pub(crate) struct Client {
    http: awc::Client,
    connection: Connection,
    state_dir: PathBuf,
}

/// A page of records, each as the daemon wrote it.
#[derive(Debug, Deserialize)]
pub(crate) struct RecordPage {
    /// The records; each is one line of JSON. None stand behind the last one.
    pub(crate) records: Vec<Box<RawValue>>,
}

/// A page of sessions, each as the daemon wrote it.
#[derive(Debug, Deserialize)]
pub(crate) struct SessionPage {
    /// The sessions, newest first.
    pub(crate) sessions: Vec<Box<RawValue>>,
    /// The cursor of the next page; none at the end.
    #[serde(default)]
    pub(crate) next_cursor: Option<String>,
}

/// An error in the daemon's words.
#[derive(Debug, Default, Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: Option<String>,
}

impl Client {
    /// A client of the daemon of this state directory; an error when none lives.
    pub(crate) fn find(state_dir: &Path) -> Result<Self, Failure> {
        Ok(Self::of(connection::find(state_dir)?, state_dir))
    }

    /// The same without waiting for one that is not there yet.
    pub(crate) fn look(state_dir: &Path) -> Option<Self> {
        Some(Self::of(connection::look(state_dir)?, state_dir))
    }

    fn of(connection: Connection, state_dir: &Path) -> Self {
        Self {
            http: connection.way.client(Some(ANSWER_TIMEOUT)),
            connection,
            state_dir: state_dir.to_owned(),
        }
    }

    /// Looks for the daemon again: it may have come back at another place.
    pub(crate) fn find_again(&mut self) -> Result<(), Failure> {
        *self = Self::find(&self.state_dir)?;
        Ok(())
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.connection.pid
    }

    /// The arguments that the daemon was started with, behind `serve`.
    pub(crate) fn serve_arguments(&self) -> &[String] {
        &self.connection.serve_arguments
    }

    /// The daemon's version, where it is another one than ours.
    pub(crate) fn other_version(&self) -> Option<&str> {
        let version = self.connection.version.as_str();
        (!version.is_empty() && version != env!("CARGO_PKG_VERSION")).then_some(version)
    }

    /// Whether the daemon is up and answers.
    pub(crate) async fn is_healthy(&self) -> bool {
        matches!(self.request("GET", "/healthz").send().await, Ok(answer) if answer.status().is_success())
    }

    /// Creates a session; the answer is its view with `warnings`.
    pub(crate) async fn create(&self, body: &impl Serialize) -> Result<Box<RawValue>, Failure> {
        self.call(self.request("POST", "/api/sessions"), Some(body)).await
    }

    /// The newest sessions that fit a query.
    pub(crate) async fn page(&self, query: &[(&str, String)]) -> Result<SessionPage, Failure> {
        self.get(&format!("/api/sessions{}", query_string(query))).await
    }

    /// All sessions that fit a query, newest first, each as the daemon wrote it.
    pub(crate) async fn list(&self, query: &[(&str, String)]) -> Result<Vec<Box<RawValue>>, Failure> {
        let mut sessions = Vec::new();
        let mut query = query.to_vec();
        loop {
            let list = self.page(&query).await?;
            sessions.extend(list.sessions);
            let Some(cursor) = list.next_cursor else {
                return Ok(sessions);
            };
            query.retain(|(name, _)| *name != "cursor");
            query.push(("cursor", cursor));
        }
    }

    /// The sessions that have not ended, newest first.
    pub(crate) async fn live(&self) -> Result<Vec<Box<RawValue>>, Failure> {
        self.list(&[("state", "live".to_owned()), ("limit", "500".to_owned())])
            .await
    }

    /// One session as the daemon wrote it.
    pub(crate) async fn get_raw(&self, id: &str) -> Result<Box<RawValue>, Failure> {
        self.get(&session_path(id)).await
    }

    /// One session.
    pub(crate) async fn view(&self, id: &str) -> Result<View, Failure> {
        let raw = self.get_raw(id).await?;
        read(&raw)
    }

    /// Records after `after`.
    pub(crate) async fn records(&self, id: &str, after: u64) -> Result<RecordPage, Failure> {
        let path = format!("{}/records?after={after}&limit={PAGE_RECORDS}", session_path(id));
        self.get(&path).await
    }

    /// Cancels a session.
    pub(crate) async fn cancel(&self, id: &str) -> Result<Box<RawValue>, Failure> {
        let request = self.request("POST", &format!("{}/cancel", session_path(id)));
        self.call(request, None::<&()>).await
    }

    /// Answers a question.
    pub(crate) async fn answer(
        &self,
        id: &str,
        question: QuestionId,
        answer: &Answer,
    ) -> Result<Box<RawValue>, Failure> {
        let path = format!("{}/questions/{question}/answer", session_path(id));
        self.call(self.request("POST", &path), Some(answer)).await
    }

    /// Opens a session's stream behind the record `after`.
    pub(crate) async fn open_stream(&self, id: &str, after: u64) -> Result<awc::ClientResponse, Failure> {
        self.open(&format!("/execution/{id}/stream"), after).await
    }

    /// Opens the stream of all sessions behind the record with the id `after`.
    pub(crate) async fn open_stream_of_all(&self, after: u64) -> Result<awc::ClientResponse, Failure> {
        self.open("/events", after).await
    }

    async fn open(&self, path: &str, after: u64) -> Result<awc::ClientResponse, Failure> {
        let request = self.request("GET", &format!("{path}?after={after}"));
        let request = request
            .insert_header(("Accept", "text/event-stream"))
            .insert_header(("Last-Event-ID", after.to_string()))
            .no_decompress();
        let mut answer = request.send().await.map_err(lost)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer.body().limit(ANSWER_BYTES_MAX).await.unwrap_or_default();
        Err(refusal(answer.status(), &body))
    }

    /// Opens an answer of any length, to be read piece by piece.
    pub(crate) async fn open_file(&self, path: &str) -> Result<awc::ClientResponse, Failure> {
        let mut answer = self.request("GET", path).no_decompress().send().await.map_err(lost)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let body = answer.body().limit(ANSWER_BYTES_MAX).await.unwrap_or_default();
        Err(refusal(answer.status(), &body))
    }

    /// Asks for something to be done about sessions; the answer is a session's view.
    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Box<RawValue>, Failure> {
        self.call(self.request("POST", path), Some(body)).await
    }

    /// Reads what stands at a path.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.call(self.request("GET", path), None::<&()>).await
    }

    /// Deletes what stands at a path.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let mut answer = self.request("DELETE", path).send().await.map_err(lost)?;
        if answer.status().is_success() {
            return Ok(());
        }
        let body = answer.body().limit(ANSWER_BYTES_MAX).await.unwrap_or_default();
        Err(refusal(answer.status(), &body))
    }

    fn request(&self, method: &str, path: &str) -> ClientRequest {
        let way = &self.connection.way;
        let method = match method {
            "POST" => awc::http::Method::POST,
            "DELETE" => awc::http::Method::DELETE,
            _ => awc::http::Method::GET,
        };
        let request = way.sign(self.http.request(method, way.url(path)));
        let request = match mark_as_header() {
            Some(mark) => request.insert_header((MARK_HEADER, mark)),
            None => request,
        };
        request.insert_header(("X-CC-Executor-Client", "cli")).force_close()
    }

    async fn call<T: DeserializeOwned>(
        &self,
        request: ClientRequest,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let sent = match body {
            Some(body) => request.send_json(body),
            None => request.send(),
        };
        let mut answer = sent.await.map_err(lost)?;
        let status = answer.status();
        let is_problem = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/problem+json"));
        let body = answer.body().limit(ANSWER_BYTES_MAX).await.map_err(lost)?;
        if !status.is_success() || is_problem {
            return Err(refusal(status, &body));
        }
        serde_json::from_slice(&body).map_err(misunderstood)
    }
}

/// Reads JSON that the daemon wrote.
pub(crate) fn read<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, Failure> {
    serde_json::from_str(raw.get()).map_err(misunderstood)
}

/// The query of a URL, from its question mark on; nothing where there is nothing to ask.
pub(crate) fn query_string(query: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in query {
        text.push(if text.is_empty() { '?' } else { '&' });
        text.push_str(name);
        text.push('=');
        text.extend(utf8_percent_encode(value, ENCODED));
    }
    text
}

/// A session's path. What a person typed becomes one segment and nothing else.
pub(crate) fn session_path(id: &str) -> String {
    format!("/api/sessions/{}", utf8_percent_encode(id, ENCODED))
}

/// The daemon did not answer.
pub(crate) fn lost(error: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!(
        "the daemon does not answer ({error}): see `logs/daemon.log` in its state directory"
    ))
}

fn misunderstood(error: serde_json::Error) -> Failure {
    Failure::Failed(format!(
        "the daemon's answer cannot be read ({error}): is it of another version? Restart it with `cc-executor serve`"
    ))
}

/// What an error of the daemon means to the command.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let said = problem
        .detail
        .filter(|detail| !detail.is_empty())
        .unwrap_or(problem.title);
    let message = match said.as_str() {
        "" => format!("the daemon answered {status}"),
        said => clean(said),
    };
    match status {
        StatusCode::NOT_FOUND => Failure::UnknownId(message),
        StatusCode::BAD_REQUEST => Failure::Usage(message),
        _ => Failure::Refused(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_written_so_that_it_is_read_as_it_was_meant() {
        let query = [("q", "a b&c=\u{e4}".to_owned()), ("limit", "5".to_owned())];
        assert_eq!(query_string(&query), "?q=a%20b%26c%3D%C3%A4&limit=5");
        assert_eq!(query_string(&[]), "");
    }

    #[test]
    fn what_is_typed_stays_one_segment() {
        assert_eq!(session_path("abcd1234"), "/api/sessions/abcd1234");
        assert_eq!(session_path("../x?y#z"), "/api/sessions/..%2Fx%3Fy%23z");
        assert_eq!(session_path("50% done \u{e4}"), "/api/sessions/50%25%20done%20%C3%A4");
    }

    #[test]
    fn a_problem_is_told_in_the_daemons_words() {
        let body =
            br#"{"title":"Not Found","status":404,"detail":"there is no session ab12","code":"no_such_session"}"#;
        let failure = refusal(StatusCode::NOT_FOUND, body);
        assert_eq!(
            (failure.exit().code(), failure.to_string().as_str()),
            (3, "there is no session ab12")
        );
        let failure = refusal(StatusCode::CONFLICT, b"<html>");
        assert_eq!(failure.exit().code(), 5);
        assert!(failure.to_string().contains("409"));
    }
}
