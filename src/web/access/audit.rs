//! What was done, and by whom: one line of JSON for each call that changes something, in a file that only grows, and in
//! one older file once it has grown enough. It has no bodies, no secrets, and nothing of calls by strangers, who could
//! otherwise push out what matters.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::dev::ServiceRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{Caller, Face, Role};
use crate::runtime::Handle;
use crate::session::id::SessionId;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct Entry {
    /// Counts the entries, from 1.
    #[serde(default)]
    n: u64,
    /// When the call came.
    at: String,
    /// The name of the caller's token.
    name: String,
    /// What the caller may do.
    role: Role,
    /// By which face he called.
    face: Face,
    /// The method; `MCP` of what came by it.
    method: String,
    /// The route, with its parameters' names; of MCP, what was done.
    route: String,
    /// The session that it was about.
    #[schema(value_type = Option<String>)]
    session_id: Option<SessionId>,
    /// What became of it.
    outcome: Outcome,
    /// The status of the answer; none by MCP, or where the caller left before.
    status: Option<u16>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CallOutcome)]
pub(crate) enum Outcome {
    /// It was carried out.
    Done,
    /// It was not, for a reason of the caller's.
    Refused,
    /// It was not, for a reason of ours.
    Failed,
    /// The caller left before the answer: it may have been carried out.
    Left,
}

impl Outcome {
    fn of(status: StatusCode) -> Self {
        if status.is_server_error() {
            Self::Failed
        } else if status.is_client_error() {
            Self::Refused
        } else {
            Self::Done
        }
    }
}

impl Entry {
    /// Something that was done just now.
    pub(crate) fn now(caller: &Caller, face: Face, method: &str, route: &str, outcome: Outcome) -> Self {
        Self {
            n: 0,
            at: format!("{:.3}", Timestamp::now()),
            name: caller.name.clone(),
            role: caller.role,
            face,
            method: method.to_owned(),
            route: route.to_owned(),
            session_id: None,
            outcome,
            status: None,
        }
    }

    /// What names the page behind this entry.
    pub(super) fn cursor(&self) -> String {
        self.n.to_string()
    }

    /// The same about a session.
    pub(crate) fn about(self, session_id: Option<SessionId>) -> Self {
        Self { session_id, ..self }
    }

    /// The same with the status of the answer.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self {
            outcome: Outcome::of(status),
            status: Some(status.as_u16()),
            ..self
        }
    }
}

/// The log; cheap to clone.
#[derive(Clone)]
pub(crate) struct Audit(Arc<Files>);

struct Files {
    current: PathBuf,
    older: PathBuf,
    /// How long the current file may grow.
    bytes_max: u64,
    log: Mutex<Log>,
}

/// The file that is written.
struct Log {
    file: File,
    bytes: u64,
    /// The number of the next entry.
    next: u64,
}

impl Audit {
    /// The log in `directory`; it goes on where it ended.
    pub(super) fn open(directory: &Path, bytes_max: u64) -> io::Result<Self> {
        let (current, older) = (directory.join("audit.jsonl"), directory.join("audit.1.jsonl"));
        let last = match last_number(&current)? {
            Some(last) => Some(last),
            None => last_number(&older)?,
        };
        let log = Log {
            next: last.unwrap_or(0) + 1,
            ..begin(&current)?
        };
        Ok(Self(Arc::new(Files {
            current,
            older,
            bytes_max,
            log: Mutex::new(log),
        })))
    }

    /// Writes an entry. What cannot be written is told in the daemon's log: the call has happened.
    pub(crate) fn append(&self, entry: Entry) {
        if let Err(error) = self.try_append(entry) {
            tracing::error!(%error, "a call could not be written to the audit log");
        }
    }

    fn try_append(&self, mut entry: Entry) -> io::Result<()> {
        let mut log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        entry.n = log.next;
        let line = serde_json::to_string(&entry)? + "\n";
        let length = line.len() as u64;
        if log.bytes > 0 && log.bytes + length > self.0.bytes_max {
            fs::rename(&self.0.current, &self.0.older)?;
            *log = Log {
                next: log.next,
                ..begin(&self.0.current)?
            };
        }
        log.file.write_all(line.as_bytes())?;
        log.bytes += length;
        log.next += 1;
        Ok(())
    }

    /// Writes an entry without holding up the caller's thread.
    pub(crate) async fn note(&self, entry: Entry) {
        let audit = self.clone();
        let _ = tokio::task::spawn_blocking(move || audit.append(entry)).await;
    }

    /// At most `limit` entries before the one with the number `before`, the newest first.
    pub(super) fn page(&self, before: Option<u64>, limit: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        // The newer file first; one that becomes the older meanwhile is read twice and shown once.
        for path in [&self.0.current, &self.0.older] {
            let entries = entries(path)?;
            let end = found.last().map_or(before, |last: &Entry| Some(last.n));
            let fits = |entry: &Entry| end.is_none_or(|end| entry.n < end);
            found.extend(entries.into_iter().rev().filter(fits).take(limit - found.len()));
        }
        Ok(found)
    }
}

/// Opens a file to be grown. A line that was cut off by a crash is ended, so that the next one stands by itself.
fn begin(path: &Path) -> io::Result<Log> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let text = fs::read(path)?;
    let mut bytes = text.len() as u64;
    if text.last().is_some_and(|last| *last != b'\n') {
        file.write_all(b"\n")?;
        bytes += 1;
    }
    Ok(Log { file, bytes, next: 1 })
}

fn last_number(path: &Path) -> io::Result<Option<u64>> {
    Ok(entries(path)?.last().map(|entry| entry.n))
}

/// The entries of a file; a line that was cut off is none.
fn entries(path: &Path) -> io::Result<Vec<Entry>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries = Vec::new();
    for line in BufReader::new(file).split(b'\n') {
        if let Ok(entry) = serde_json::from_slice(&line?) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// A call that is being carried out. Whatever becomes of it is written down, also where its caller leaves.
pub(super) struct Note {
    audit: Audit,
    entry: Option<Entry>,
}

impl Note {
    /// What the path means is looked up before the call: after it a name may mean another session, or several.
    pub(super) async fn begin(audit: &Audit, handle: &Handle, request: &ServiceRequest, caller: &Caller) -> Self {
        let typed = session_in(request.match_info().as_str());
        let route = request.match_pattern();
        let route = route.as_deref().unwrap_or("none");
        let method = request.method().as_str();
        let entry = Entry::now(caller, caller.face(), method, route, Outcome::Left);
        let mut note = Self {
            audit: audit.clone(),
            entry: Some(entry.about(typed.as_deref().and_then(|id| id.parse().ok()))),
        };
        if let Some(typed) = typed
            && let Ok(meant) = handle.resolve(&typed).await
        {
            note.entry = note.entry.take().map(|entry| entry.about(Some(meant)));
        }
        note
    }

    /// Writes down what became of it.
    pub(super) async fn finish<B>(mut self, answer: &HttpResponse<B>) {
        let created = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let created = created.and_then(session_in).and_then(|id| id.parse().ok());
        if let Some(entry) = self.entry.take() {
            let entry = entry.with_status(answer.status());
            let session = created.or(entry.session_id);
            self.audit.note(entry.about(session)).await;
        }
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.append(entry);
        }
    }
}

/// What names the session in a path.
fn session_in(path: &str) -> Option<String> {
    let rest = path
        .strip_prefix("/api/sessions/")
        .or_else(|| path.strip_prefix("/execution/"))?;
    let id = rest.split('/').next()?;
    (!id.is_empty() && id != "import").then(|| percent_decode_str(id).decode_utf8_lossy().into_owned())
}

/// `Audit::page` off the caller's thread.
pub(super) async fn page(audit: Audit, before: Option<u64>, limit: usize) -> io::Result<Vec<Entry>> {
    web::block(move || audit.page(before, limit))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn entry(route: &str) -> Entry {
        let caller = Caller {
            name: "ci".into(),
            role: Role::Operator,
            csrf: None,
            agent: None,
        };
        Entry::now(&caller, Face::Api, "POST", route, Outcome::Done)
    }

    fn numbers(audit: &Audit, before: Option<u64>, limit: usize) -> Vec<u64> {
        let page = audit.page(before, limit).unwrap();
        page.iter().map(|entry| entry.n).collect()
    }

    #[test]
    fn the_newest_come_first_in_pages() {
        let dir = tempfile::tempdir().unwrap();
        let audit = Audit::open(dir.path(), 1 << 20).unwrap();
        (0..5).for_each(|_| audit.append(entry("/x")));
        assert_eq!(numbers(&audit, None, 2), [5, 4]);
        assert_eq!(numbers(&audit, Some(4), 9), [3, 2, 1]);
        assert_eq!(numbers(&audit, Some(1), 9), [0; 0]);
        let mode = fs::metadata(dir.path().join("audit.jsonl")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn it_goes_on_where_it_ended_also_after_a_line_that_was_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        Audit::open(dir.path(), 1 << 20).unwrap().append(entry("/x"));
        let path = dir.path().join("audit.jsonl");
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"n\":2,\"at")).unwrap();
        let audit = Audit::open(dir.path(), 1 << 20).unwrap();
        audit.append(entry("/y"));
        assert_eq!(numbers(&audit, None, 9), [2, 1]);
        assert_eq!(audit.page(None, 1).unwrap()[0].route, "/y");
    }

    #[test]
    fn it_grows_to_two_files_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let line = serde_json::to_string(&entry("/x")).unwrap().len() as u64;
        let most = 3 * (line + 4);
        let audit = Audit::open(dir.path(), most).unwrap();
        (0..10).for_each(|_| audit.append(entry("/x")));
        let found = numbers(&audit, None, 99);
        assert_eq!(found[0], 10);
        assert!((3..=6).contains(&found.len()), "{found:?}");
        assert!(found.windows(2).all(|pair| pair[0] == pair[1] + 1), "{found:?}");
        for name in ["audit.jsonl", "audit.1.jsonl"] {
            assert!(fs::metadata(dir.path().join(name)).unwrap().len() <= most, "{name}");
        }
        drop(audit);
        fs::remove_file(dir.path().join("audit.jsonl")).unwrap();
        let audit = Audit::open(dir.path(), most).unwrap();
        audit.append(entry("/x"));
        let after = numbers(&audit, None, 2);
        assert_eq!(after[0], after[1] + 1, "the older file is gone on from");
    }

    #[test]
    fn a_session_is_found_in_a_path() {
        assert_eq!(session_in("/api/sessions/ab12/cancel").as_deref(), Some("ab12"));
        assert_eq!(session_in("/execution/ab12").as_deref(), Some("ab12"));
        for path in ["/api/sessions", "/api/sessions/", "/api/sessions/import", "/mcp"] {
            assert_eq!(session_in(path), None, "{path}");
        }
    }
}
