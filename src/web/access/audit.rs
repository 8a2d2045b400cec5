//! What was done, and by whom: one line of JSON for each call that changes something, in a file that only grows, and in
//! one older file once it has grown enough. It has no bodies and no secrets. Refused calls are counted (`refusals`), so that
//! nobody pushes out what matters by knocking; each line is sealed (`chain`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::LOCATION;
use actix_web::{HttpResponse, web};
use percent_encoding::percent_decode_str;

use super::caller::Caller;
use super::chain::{self, Chain, LastLine};
use super::entry::{AuditEntry, CallOutcome};
use super::key::ServerKey;
use super::refusals::{COUNTED, Refusals};
use crate::disk::regular;
use crate::runtime::Handle;

/// The files, in their directory.
const CURRENT_FILE: &str = "audit.jsonl";
const OLDER_FILE: &str = "audit.1.jsonl";
const HEAD_FILE: &str = "audit.head";

/// The server's key, which also seals the log.
pub(super) const KEY_FILE: &str = "key";

/// How often the log is read again before it counts as changed: a daemon may be writing it.
const VERIFY_TRIES: usize = 3;

/// The log; cheap to clone.
#[derive(Clone)]
pub(crate) struct Audit(Arc<Files>);

struct Files {
    current: PathBuf,
    older: PathBuf,
    /// How long the current file may grow.
    bytes_max: u64,
    log: Mutex<Log>,
    /// Refused calls that are not written yet.
    refusals: Refusals,
}

/// The file that is written.
struct Log {
    file: File,
    bytes: u64,
    chain: Chain,
}

impl Audit {
    /// The log in `directory`; it goes on where it ended. `is_new` if the key has sealed nothing yet.
    pub(super) fn open(directory: &Path, bytes_max: u64, key: ServerKey, is_new: bool) -> io::Result<Self> {
        let (current, older) = (directory.join(CURRENT_FILE), directory.join(OLDER_FILE));
        let last = match last_line(&current)? {
            Some(last) => Some(last),
            None => last_line(&older)?,
        };
        let (file, bytes) = begin(&current)?;
        let chain = Chain::open(&directory.join(HEAD_FILE), key, is_new, last.as_ref())?;
        Ok(Self(Arc::new(Files {
            current,
            older,
            bytes_max,
            log: Mutex::new(Log { file, bytes, chain }),
            refusals: Refusals::default(),
        })))
    }

    /// Writes an entry, or counts it where it was refused. What cannot be written is told in the daemon's log: the call
    /// has happened.
    pub(crate) fn append(&self, entry: AuditEntry) {
        self.write(self.counted(entry));
    }

    /// Answers what is to be written of an entry now.
    fn counted(&self, entry: AuditEntry) -> Option<AuditEntry> {
        match entry.outcome == CallOutcome::Refused || entry.reason.is_some() {
            true => self.0.refusals.take(entry, Instant::now()),
            false => Some(entry),
        }
    }

    fn write(&self, entries: impl IntoIterator<Item = AuditEntry>) {
        for entry in entries {
            if let Err(error) = self.try_write(entry) {
                tracing::error!(%error, "a call could not be written to the audit log");
            }
        }
    }

    fn try_write(&self, mut entry: AuditEntry) -> io::Result<()> {
        let mut log = self.0.log.lock().unwrap_or_else(PoisonError::into_inner);
        entry.n = log.chain.next();
        let object = serde_json::to_string(&entry)?;
        let (mut line, mut seal) = log.chain.seal(&object, log.bytes == 0);
        if log.bytes > 0 && log.bytes + line.len() as u64 > self.0.bytes_max {
            fs::rename(&self.0.current, &self.0.older)?;
            (log.file, log.bytes) = begin(&self.0.current)?;
            (line, seal) = log.chain.seal(&object, true);
        }
        if let Err(error) = log.file.write_all(line.as_bytes()) {
            // A part of it would spoil the next one.
            log.file.set_len(log.bytes)?;
            return Err(error);
        }
        log.bytes += line.len() as u64;
        log.chain.advance(seal)
    }

    /// Writes an entry without holding up the caller's thread.
    pub(crate) async fn note(&self, entry: AuditEntry) {
        let Some(entry) = self.counted(entry) else { return };
        let audit = self.clone();
        let _ = tokio::task::spawn_blocking(move || audit.write([entry])).await;
    }

    /// Writes the counts of refused calls whose minute is over.
    fn write_due(&self) {
        self.write(self.0.refusals.due(Instant::now()));
    }

    /// Writes all counts of refused calls.
    pub(in crate::web) fn close(&self) {
        self.write(self.0.refusals.rest());
    }

    /// Writes the counts of refused calls each minute, for as long as anybody has the log.
    pub(in crate::web) fn keep_counting(&self) -> impl Future<Output = ()> + 'static {
        let files: Weak<Files> = Arc::downgrade(&self.0);
        async move {
            loop {
                tokio::time::sleep(COUNTED).await;
                let Some(files) = files.upgrade() else { return };
                let _ = tokio::task::spawn_blocking(move || Self(files).write_due()).await;
            }
        }
    }

    /// At most `limit` entries before the one with the number `before`, the newest first.
    pub(super) fn page(&self, before: Option<u64>, limit: usize) -> io::Result<Vec<AuditEntry>> {
        let mut found = Vec::new();
        // The newer file first; one that becomes the older meanwhile is read twice and shown once.
        for path in [&self.0.current, &self.0.older] {
            let entries = entries(path)?;
            let end = found.last().map_or(before, |last: &AuditEntry| Some(last.n));
            let fits = |entry: &AuditEntry| end.is_none_or(|end| entry.n < end);
            found.extend(entries.into_iter().rev().filter(fits).take(limit - found.len()));
        }
        Ok(found)
    }
}

/// Looks whether anybody changed the log in `directory` who has not the server's key. Answers how it stands; errors with
/// what is wrong with it.
pub fn verify(directory: &Path) -> Result<String, String> {
    let [older, current, head, key] = [OLDER_FILE, CURRENT_FILE, HEAD_FILE, KEY_FILE].map(|name| directory.join(name));
    let unreadable = |error: io::Error| error.to_string();
    let Some(key) = ServerKey::read(&key).map_err(unreadable)? else {
        return match head.exists() {
            true => Err(format!(
                "{} is missing, so nothing tells whether it was changed",
                key.display()
            )),
            false => Ok("nothing is sealed yet".to_owned()),
        };
    };
    let mut outcome = chain::verify([&older, &current], &head, &key).map_err(unreadable)?;
    for _ in 1..VERIFY_TRIES {
        if outcome.is_err() {
            outcome = chain::verify([&older, &current], &head, &key).map_err(unreadable)?;
        }
    }
    outcome
}

/// Opens a file to be grown, and answers its length. A line that was cut off by a crash is ended, so that the next one
/// stands by itself.
fn begin(path: &Path) -> io::Result<(File, u64)> {
    let mut file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let text = regular::read(path)?;
    let mut bytes = text.len() as u64;
    if text.last().is_some_and(|last| *last != b'\n') {
        file.write_all(b"\n")?;
        bytes += 1;
    }
    Ok((file, bytes))
}

/// The last whole line of a file.
fn last_line(path: &Path) -> io::Result<Option<LastLine>> {
    let lines = lines(path)?;
    Ok(lines.into_iter().rev().find_map(|line| {
        let n = serde_json::from_str::<AuditEntry>(&line).ok()?.n;
        Some(LastLine { n, line })
    }))
}

fn lines(path: &Path) -> io::Result<Vec<String>> {
    let Some(file) = regular::if_there(regular::open(path))? else {
        return Ok(Vec::new());
    };
    let lines = BufReader::new(file).split(b'\n');
    lines
        .map(|line| Ok(String::from_utf8_lossy(&line?).into_owned()))
        .collect()
}

/// The entries of a file; a line that was cut off is none.
fn entries(path: &Path) -> io::Result<Vec<AuditEntry>> {
    let lines = lines(path)?;
    Ok(lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect())
}

/// A call that is being carried out. Whatever becomes of it is written down, also where its caller leaves.
pub(super) struct AuditedCall {
    audit: Audit,
    entry: Option<AuditEntry>,
}

impl AuditedCall {
    /// What the path means is looked up before the call: after it a name may mean another session, or several.
    pub(super) async fn begin(audit: &Audit, handle: &Handle, request: &ServiceRequest, caller: &Caller) -> Self {
        let typed = session_in(request.match_info().as_str());
        let route = request.match_pattern();
        let route = route.as_deref().unwrap_or("none");
        let method = request.method().as_str();
        let entry = AuditEntry::now(caller, caller.face(), method, route, CallOutcome::Left);
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

impl Drop for AuditedCall {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.audit.append(entry);
        }
    }
}

/// What names the session in a path.
pub(super) fn session_in(path: &str) -> Option<String> {
    let rest = path
        .strip_prefix("/api/sessions/")
        .or_else(|| path.strip_prefix("/execution/"))?;
    let id = rest.split('/').next()?;
    (!id.is_empty() && id != "import").then(|| percent_decode_str(id).decode_utf8_lossy().into_owned())
}

/// `Audit::page` off the caller's thread.
pub(super) async fn page(audit: Audit, before: Option<u64>, limit: usize) -> io::Result<Vec<AuditEntry>> {
    web::block(move || audit.page(before, limit))
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::super::caller::{Face, Role};
    use super::super::entry::{NOBODY, OTHER_METHOD};
    use super::*;
    use actix_web::http::StatusCode;
    use serde_json::json;
    use std::os::unix::fs::MetadataExt;

    fn entry(route: &str) -> AuditEntry {
        let caller = Caller::holding("ci", Role::Operator);
        AuditEntry::now(&caller, Face::Api, "POST", route, CallOutcome::Done)
    }

    /// The log as a daemon opens it that begins anew in this directory.
    fn open(dir: &Path, bytes_max: u64) -> Audit {
        super::super::open_audit(dir, bytes_max).unwrap().1
    }

    fn numbers(audit: &Audit, before: Option<u64>, limit: usize) -> Vec<u64> {
        let page = audit.page(before, limit).unwrap();
        page.iter().map(|entry| entry.n).collect()
    }

    fn grown(entries: usize) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let audit = open(dir.path(), 1 << 20);
        (0..entries).for_each(|_| audit.append(entry("/x")));
        let path = dir.path().join(CURRENT_FILE);
        (dir, path)
    }

    /// Changes the text of a file of the log.
    fn edit(path: &Path, change: impl FnOnce(Vec<&str>) -> Vec<&str>) {
        let text = fs::read_to_string(path).unwrap();
        let lines: String = change(text.lines().collect())
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(path, lines).unwrap();
    }

    #[test]
    fn the_newest_come_first_in_pages() {
        let (dir, path) = grown(5);
        let audit = open(dir.path(), 1 << 20);
        assert_eq!(numbers(&audit, None, 2), [5, 4]);
        assert_eq!(numbers(&audit, Some(4), 9), [3, 2, 1]);
        assert_eq!(numbers(&audit, Some(1), 9), [0; 0]);
        for name in [CURRENT_FILE, HEAD_FILE, KEY_FILE] {
            let mode = fs::metadata(dir.path().join(name)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let text = fs::read_to_string(path).unwrap();
        assert!(text.lines().all(|line| line.contains("\"seal\":\"")), "{text}");
        assert_eq!(verify(dir.path()), Ok("5 sealed lines".to_owned()));
    }

    #[test]
    fn it_goes_on_where_it_ended_also_after_a_line_that_was_cut_off() {
        let (dir, path) = grown(1);
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"n\":2,\"at")).unwrap();
        let audit = open(dir.path(), 1 << 20);
        audit.append(entry("/y"));
        assert_eq!(numbers(&audit, None, 9), [2, 1]);
        assert_eq!(audit.page(None, 1).unwrap()[0].route, "/y");
        assert_eq!(
            verify(dir.path()),
            Ok("2 sealed lines".to_owned()),
            "nothing is missing"
        );
    }

    #[test]
    fn it_goes_on_where_a_daemon_was_killed_between_a_line_and_its_head() {
        let (dir, _) = grown(2);
        let head = fs::read(dir.path().join(HEAD_FILE)).unwrap();
        open(dir.path(), 1 << 20).append(entry("/x"));
        fs::write(dir.path().join(HEAD_FILE), head).unwrap();
        assert!(verify(dir.path()).is_ok());
        open(dir.path(), 1 << 20).append(entry("/x"));
        assert_eq!(verify(dir.path()), Ok("4 sealed lines".to_owned()));
    }

    #[test]
    fn it_grows_to_two_files_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let line = serde_json::to_string(&entry("/x")).unwrap().len() as u64;
        let most = 3 * (line + 2 * 80);
        let audit = open(dir.path(), most);
        (0..20).for_each(|_| audit.append(entry("/x")));
        let found = numbers(&audit, None, 99);
        assert_eq!(found[0], 20);
        assert!((3..=8).contains(&found.len()), "{found:?}");
        assert!(found.windows(2).all(|pair| pair[0] == pair[1] + 1), "{found:?}");
        for name in [CURRENT_FILE, OLDER_FILE] {
            assert!(fs::metadata(dir.path().join(name)).unwrap().len() <= most, "{name}");
        }
        assert_eq!(verify(dir.path()), Ok(format!("{} sealed lines", found.len())));
        drop(audit);
        open(dir.path(), most).append(entry("/x"));
        assert!(verify(dir.path()).is_ok());
        fs::remove_file(dir.path().join(OLDER_FILE)).unwrap();
        let told = verify(dir.path()).unwrap_err();
        assert!(told.contains("missing"), "{told}");
    }

    #[test]
    fn what_is_changed_without_the_key_is_found() {
        type Change = fn(Vec<&str>) -> Vec<&str>;
        let changes: [(&str, Change); 6] = [
            ("lines 2 to 3 are missing", |lines| [&lines[..1], &lines[3..]].concat()),
            ("line 1 is missing", |lines| lines[1..].to_vec()),
            ("line 5 is missing", |lines| lines[..4].to_vec()),
            ("lines 1 to 5 are missing", |_| Vec::new()),
            ("line 2 is missing", |lines| {
                vec![lines[0], lines[2], lines[1], lines[3], lines[4]]
            }),
            ("line 3 is missing", |lines| {
                [&lines[..2], &["{\"n\":3"], &lines[3..]].concat()
            }),
        ];
        for (told, change) in changes {
            let (dir, path) = grown(5);
            edit(&path, change);
            let found = verify(dir.path()).unwrap_err();
            assert!(found.contains(told), "{told}: {found}");
            open(dir.path(), 1 << 20).append(entry("/x"));
            assert!(
                verify(dir.path()).is_err(),
                "{told}: the daemon that goes on does not heal it"
            );
        }
        // Lines that were made up do not stand in for an older file.
        let dir = tempfile::tempdir().unwrap();
        let audit = open(dir.path(), 900);
        while !dir.path().join(OLDER_FILE).exists() {
            audit.append(entry("/x"));
        }
        let first = entries(&dir.path().join(CURRENT_FILE)).unwrap()[0].n;
        assert!(verify(dir.path()).is_ok());
        let made_up = format!("{}\n", json!({"n": first - 1}));
        fs::write(dir.path().join(OLDER_FILE), made_up).unwrap();
        assert!(verify(dir.path()).is_err());
        for (from, to) in [("\"ci\"", "\"me\""), ("POST", "GET"), (",\"seal\":", ",\"sael\":")] {
            let (dir, path) = grown(3);
            let text = fs::read_to_string(&path).unwrap().replacen(from, to, 1);
            fs::write(&path, text).unwrap();
            assert!(verify(dir.path()).is_err(), "{from} became {to}");
        }
    }

    #[test]
    fn a_log_whose_seals_head_or_key_are_gone_is_found() {
        for name in [HEAD_FILE, KEY_FILE] {
            let (dir, _) = grown(3);
            fs::remove_file(dir.path().join(name)).unwrap();
            assert!(verify(dir.path()).unwrap_err().contains(name));
            open(dir.path(), 1 << 20).append(entry("/x"));
            let found = verify(dir.path());
            assert!(found.is_err(), "a new {name} heals nothing: {found:?}");
        }
        let (dir, path) = grown(3);
        let text = fs::read_to_string(&path).unwrap();
        let plain: String = text
            .lines()
            .map(|line| line.split(",\"seal\"").next().unwrap().to_owned() + "}\n")
            .collect();
        fs::write(&path, plain).unwrap();
        assert!(verify(dir.path()).unwrap_err().contains("sealed"));
    }

    #[test]
    fn lines_of_a_version_that_sealed_none_are_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let old = |n: u64| {
            json!({"n": n, "at": "2026-01-01T00:00:00.000Z", "name": "ci", "role": "operator", "face": "api",
            "method": "POST", "route": "/x", "session_id": null, "outcome": "done", "status": 200})
        };
        assert_eq!(verify(dir.path()), Ok("nothing is sealed yet".to_owned()));
        fs::write(dir.path().join(OLDER_FILE), format!("{}\n", old(7))).unwrap();
        fs::write(dir.path().join(CURRENT_FILE), format!("{}\n{}\n", old(8), old(9))).unwrap();
        let audit = open(dir.path(), 2000);
        assert_eq!(
            verify(dir.path()),
            Ok("0 sealed lines, after 3 of an older version".to_owned())
        );
        audit.append(entry("/x"));
        assert_eq!(numbers(&audit, None, 9), [10, 9, 8, 7]);
        assert_eq!(
            verify(dir.path()),
            Ok("1 sealed lines, after 3 of an older version".to_owned())
        );
        edit(&dir.path().join(CURRENT_FILE), |lines| lines[1..].to_vec());
        assert!(verify(dir.path()).is_ok(), "nothing protects the old ones");
        for _ in 0..20 {
            audit.append(entry("/x"));
            assert!(verify(dir.path()).is_ok(), "whatever of the old ones is left");
        }
    }

    #[test]
    fn whoever_is_refused_fills_no_log() {
        let (dir, path) = grown(0);
        let audit = open(dir.path(), 1 << 20);
        let before = fs::metadata(&path).unwrap().len();
        for n in 0..10_000 {
            let refused = |reason: &str| AuditEntry::refused(None, Face::Api, "GET", "/x", reason);
            audit.append(refused("unauthorized").with_status(StatusCode::UNAUTHORIZED));
            audit.append(refused("too_many").with_status(StatusCode::SERVICE_UNAVAILABLE));
            if n % 1000 == 0 {
                audit.append(entry("/x"));
            }
        }
        assert_eq!(numbers(&audit, None, 99).len(), 12);
        assert!(fs::metadata(&path).unwrap().len() - before < 6000);
        audit.close();
        let last = audit.page(None, 1).unwrap().remove(0);
        assert_eq!((last.calls(), last.name.as_str()), (9999, NOBODY));
        assert!(verify(dir.path()).is_ok());
    }

    #[test]
    fn no_method_that_a_caller_makes_up_is_written() {
        let made_up = "X".repeat(4000);
        assert_eq!(
            AuditEntry::refused(None, Face::Api, &made_up, "/x", "csrf").method,
            OTHER_METHOD
        );
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
