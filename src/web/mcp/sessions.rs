//! MCP sessions, as clients before 2026-07-28 have them: bounded in number, never ended while a call of theirs runs, and
//! known again after the daemon was restarted.
//!
//! What a client said when it introduced itself is kept in a file. A session that was put to rest, here or by the end of
//! the daemon, is therefore woken by its next request, and the client notices nothing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{BoxStream, Stream, StreamExt};
use rmcp::model::{ClientJsonRpcMessage, JsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, SessionConfig, SessionError,
};
use rmcp::transport::streamable_http_server::session::{
    RestoreOutcome, ServerSseMessage, SessionId, SessionManager, SessionState, SessionStore, SessionStoreError,
};
use serde::{Deserialize, Serialize};

use super::SyncStream;
use super::aside::{Dressing, undressed};
use super::caller::SESSION_HEADER;
use super::current;
use super::kept::{BoundedDirectory, DirectoryBounds};
use super::outflow::{CallKey, Outflows};
use crate::config::McpSettings;
use crate::disk::regular;
use crate::disk::write_private;
use crate::store::lock;
use crate::web::access::Signer;

type Transport = Dressing<<LocalSessionManager as SessionManager>::Transport>;
type Error = LocalSessionManagerError;
type Messages = SyncStream<ServerSseMessage>;

/// rmcp's sessions, with our bounds around them.
pub(super) struct McpSessions {
    inner: LocalSessionManager,
    outflows: Arc<Outflows>,
    use_of: Arc<Uses>,
    /// Sessions that were put to rest and whose work has not ended yet. rmcp closes a session once more when it does,
    /// which may be after a request has woken it, and must not end it again.
    falling_asleep: Mutex<Vec<String>>,
    /// The most sessions that are awake. Beyond it the one that was idle longest is put to rest.
    awake_max: usize,
    /// How long a session may be idle before it is put to rest.
    idle_max: Duration,
}

/// What each session is in use for.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<String, Use>>);

struct Use {
    /// Its streams that are open and its calls that run.
    busy: usize,
    /// When it was last used.
    at: Instant,
}

impl McpSessions {
    /// No session yet; the calls of all are carried by `outflows`.
    pub(super) fn new(outflows: Arc<Outflows>, use_of: Arc<Uses>, limits: McpSettings) -> Self {
        let mut inner = LocalSessionManager::default();
        let mut config = SessionConfig::default();
        // rmcp would count a call that is silent for a while as idle, and end it.
        config.keep_alive = None;
        // It names streams that cannot be read on.
        config.sse_retry = None;
        inner.session_config = config;
        Self {
            inner,
            outflows,
            use_of,
            falling_asleep: Mutex::default(),
            awake_max: limits.sessions_awake_max,
            idle_max: Duration::from_secs(limits.session_idle_minutes.saturating_mul(60)),
        }
    }

    /// Puts sessions to rest that are idle too long, and so many more that one can be added.
    async fn make_room(&self) {
        for id in self.use_of.to_rest(self.awake_max, self.idle_max) {
            tracing::debug!(mcp_session = %id, "put to rest");
            let id = SessionId::from(id);
            // A caller may have named a session that there is none of.
            if self.inner.has_session(&id).await.unwrap_or(false) {
                lock(&self.falling_asleep).push(id.to_string());
                let _ = self.inner.close_session(&id).await;
            }
        }
    }

    /// Whether this is the end of a session's work that was put to rest; told once.
    fn has_fallen_asleep(&self, id: &str) -> bool {
        let mut falling = lock(&self.falling_asleep);
        let at = falling.iter().position(|known| known == id);
        at.map(|at| falling.swap_remove(at)).is_some()
    }

    fn used(&self, id: &SessionId, messages: impl Stream<Item = ServerSseMessage> + Send + 'static) -> Messages {
        let busy = self.use_of.begin(id);
        SyncStream::new(
            Busy {
                messages: messages.boxed(),
                _busy: busy,
            }
            .boxed(),
        )
    }
}

impl SessionManager for McpSessions {
    type Error = Error;
    type Transport = Transport;

    async fn create_session(&self) -> Result<(SessionId, Transport), Error> {
        self.make_room().await;
        let (id, transport) = self.inner.create_session().await?;
        drop(self.use_of.begin(&id));
        Ok((id, Dressing(transport)))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, Error> {
        let _busy = self.use_of.begin(id);
        self.inner.initialize_session(id, message).await
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, Error> {
        self.inner.has_session(id).await
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), Error> {
        if self.has_fallen_asleep(id) {
            return Ok(());
        }
        self.use_of.forget(id);
        self.inner.close_session(id).await
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        let call = call_of(id, &message);
        let messages = SessionManager::create_stream(&self.inner, id, message).await?;
        Ok(self.used(id, self.outflows.carry(call, messages.boxed())))
    }

    async fn accept_message(&self, id: &SessionId, message: ClientJsonRpcMessage) -> Result<(), Error> {
        let _busy = self.use_of.begin(id);
        self.inner.accept_message(id, message).await
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        let messages = SessionManager::create_standalone_stream(&self.inner, id).await?;
        // It is opened anew, not read on: rmcp has the last messages.
        let nameless = messages.map(|event| {
            let (mut event, _) = undressed(event);
            event.event_id = None;
            event
        });
        Ok(self.used(id, nameless))
    }

    async fn resume(
        &self,
        id: &SessionId,
        _: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, Error> {
        // The bridge has opened the id.
        let messages = current::read_on().and_then(|(call, after)| self.outflows.read_on(&call, after));
        let messages = messages.ok_or(Error::SessionError(SessionError::InvalidEventId))?;
        Ok(self.used(id, messages))
    }

    async fn restore_session(&self, id: SessionId) -> Result<RestoreOutcome<Transport>, Error> {
        self.make_room().await;
        drop(self.use_of.begin(&id));
        Ok(match self.inner.restore_session(id).await? {
            RestoreOutcome::Restored(transport) => RestoreOutcome::Restored(Dressing(transport)),
            RestoreOutcome::AlreadyPresent => RestoreOutcome::AlreadyPresent,
            _ => RestoreOutcome::NotSupported,
        })
    }
}

/// The call that a message is.
fn call_of(id: &SessionId, message: &ClientJsonRpcMessage) -> Option<CallKey> {
    match message {
        JsonRpcMessage::Request(request) => Some(CallKey {
            mcp_session: id.to_string(),
            request: request.id.clone(),
        }),
        JsonRpcMessage::Response(_) | JsonRpcMessage::Notification(_) | JsonRpcMessage::Error(_) => None,
    }
}

impl Uses {
    /// Marks a session as in use until the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>, id: &str) -> BusyMark {
        let mut all = self.lock();
        let known = all.entry(id.to_owned()).or_insert(Use {
            busy: 0,
            at: Instant::now(),
        });
        known.busy += 1;
        drop(all);
        BusyMark {
            uses: Arc::clone(self),
            id: id.to_owned(),
        }
    }

    fn forget(&self, id: &str) {
        self.lock().remove(id);
    }

    /// The sessions that should rest, which are forgotten.
    fn to_rest(&self, awake_max: usize, idle_max: Duration) -> Vec<String> {
        let mut all = self.lock();
        let mut idle: Vec<(Instant, String)> = all
            .iter()
            .filter(|(_, used)| used.busy == 0)
            .map(|(id, used)| (used.at, id.clone()))
            .collect();
        idle.sort();
        let surplus = (all.len() + 1).saturating_sub(awake_max);
        let rest: Vec<String> = idle
            .into_iter()
            .enumerate()
            .filter(|(n, (at, _))| *n < surplus || at.elapsed() > idle_max)
            .map(|(_, (_, id))| id)
            .collect();
        for id in &rest {
            all.remove(id);
        }
        rest
    }

    /// The sessions that are awake.
    fn awake(&self) -> HashSet<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Use>> {
        lock(&self.0)
    }
}

/// A session is in use while this lives.
pub(super) struct BusyMark {
    uses: Arc<Uses>,
    id: String,
}

impl Drop for BusyMark {
    fn drop(&mut self) {
        if let Some(used) = self.uses.lock().get_mut(&self.id) {
            used.busy = used.busy.saturating_sub(1);
            used.at = Instant::now();
        }
    }
}

/// A stream that keeps its session in use.
struct Busy {
    messages: BoxStream<'static, ServerSseMessage>,
    _busy: BusyMark,
}

impl Stream for Busy {
    type Item = ServerSseMessage;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ServerSseMessage>> {
        self.messages.poll_next_unpin(cx)
    }
}

/// An introduction as it is written.
#[derive(Serialize)]
struct Introduction<'a> {
    #[serde(flatten)]
    state: &'a SessionState,
    /// Whose token made the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
}

/// What an introduction says of its owner.
#[derive(Deserialize)]
struct Owner {
    signer: Option<String>,
}

/// How clients introduced themselves: one file a session.
pub(super) struct Introductions {
    kept: BoundedDirectory,
    use_of: Arc<Uses>,
    /// Whose token made a session, as far as it was looked up: it is asked for at each request.
    owners: Mutex<HashMap<String, Option<String>>>,
    owners_max: usize,
}

impl Introductions {
    /// Kept in this directory, which is made; those that are too old are removed.
    pub(super) fn open(directory: &Path, use_of: Arc<Uses>, limits: McpSettings) -> io::Result<Self> {
        let bounds = DirectoryBounds {
            files_max: limits.sessions_known_max,
            bytes_max: u64::MAX,
            age_max: Duration::from_secs(limits.sessions_known_days.saturating_mul(24 * 3600)),
        };
        Ok(Self {
            kept: BoundedDirectory::open(directory, bounds)?,
            use_of,
            owners: Mutex::default(),
            owners_max: limits.sessions_known_max,
        })
    }

    /// A session's file; only names that rmcp gives are names.
    fn path(&self, id: &str) -> Option<PathBuf> {
        let is_name = id.len() == 36 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        is_name.then(|| self.kept.path(id))
    }

    /// True unless a request names a session of another token. Sessions of versions that did not write down whose they are
    /// belong to the machine's own token.
    pub(super) fn are_open_to<B>(&self, request: &http::Request<B>) -> bool {
        let Some(session) = request.headers().get(SESSION_HEADER) else {
            return true;
        };
        let owner = session.to_str().ok().and_then(|id| self.owner(id));
        // Where a handler is served without our guard, nobody has a token.
        let signer = request.extensions().get::<Signer>();
        match owner {
            Some(owner) => signer.is_some_and(|signer| signer.id == owner),
            None => signer.is_none_or(|signer| signer.is_own),
        }
    }

    /// Whose token made a session, where that is known.
    fn owner(&self, id: &str) -> Option<String> {
        if let Some(owner) = lock(&self.owners).get(id) {
            return owner.clone();
        }
        let text = regular::read(&self.path(id)?).ok()?;
        let owner = serde_json::from_slice::<Owner>(&text).ok()?.signer;
        let mut owners = lock(&self.owners);
        if owners.len() >= self.owners_max {
            owners.clear();
        }
        owners.insert(id.to_owned(), owner.clone());
        owner
    }

    fn read(&self, id: &str) -> Result<Option<SessionState>, SessionStoreError> {
        let Some(path) = self.path(id) else { return Ok(None) };
        let Some(text) = regular::if_there(regular::read(&path))? else {
            return Ok(None);
        };
        // It is known so long from when it was last woken, not from when it was made.
        let woken = fs::File::options().append(true).open(path);
        let _ = woken.and_then(|file| file.set_modified(SystemTime::now()));
        Ok(Some(serde_json::from_slice(&text)?))
    }

    fn write(&self, id: &str, state: &SessionState) -> Result<(), SessionStoreError> {
        let path = self.path(id).ok_or("this is no name of a session")?;
        let signer = current::signer().map(|signer| signer.id);
        write_private(&path, &serde_json::to_vec(&Introduction { state, signer })?)?;
        self.kept.grew(1, 0, || {
            let awake = self.use_of.awake();
            Box::new(move |name| awake.contains(name))
        });
        Ok(())
    }
}

/// What rmcp is given to keep introductions in.
pub(super) struct SharedIntroductions(pub(super) Arc<Introductions>);

type SessionFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SessionStoreError>> + Send + 'a>>;

impl SessionStore for SharedIntroductions {
    fn load<'s, 'i, 'f>(&'s self, id: &'i str) -> SessionFuture<'f, Option<SessionState>>
    where
        's: 'f,
        'i: 'f,
        Self: 'f,
    {
        Box::pin(async move { self.0.read(id) })
    }

    fn store<'s, 'i, 't, 'f>(&'s self, id: &'i str, state: &'t SessionState) -> SessionFuture<'f, ()>
    where
        's: 'f,
        'i: 'f,
        't: 'f,
        Self: 'f,
    {
        Box::pin(async move { self.0.write(id, state) })
    }

    fn delete<'s, 'i, 'f>(&'s self, id: &'i str) -> SessionFuture<'f, ()>
    where
        's: 'f,
        'i: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            if let Some(path) = self.0.path(id) {
                let _ = fs::remove_file(path);
                lock(&self.0.owners).remove(id);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_that_was_idle_longest_rests_first_and_a_busy_one_never() {
        let uses = Arc::new(Uses::default());
        let busy = uses.begin("busy");
        for n in 0..8 {
            drop(uses.begin(&format!("idle {n}")));
        }
        let hour = Duration::from_secs(3600);
        assert_eq!(uses.to_rest(8, hour), ["idle 0", "idle 1"], "room for one more");
        assert!(uses.to_rest(8, hour).is_empty());
        assert_eq!(uses.to_rest(8, Duration::ZERO).len(), 6, "those that are idle too long");
        assert!(uses.awake().contains("busy"));
        drop(busy);
    }

    /// Sessions of which only so many are awake.
    fn sessions(awake_max: usize) -> McpSessions {
        let limits = McpSettings {
            sessions_awake_max: awake_max,
            ..crate::config::Settings::embedded().expect("the defaults are good").mcp
        };
        McpSessions::new(Arc::default(), Arc::default(), limits)
    }

    #[tokio::test]
    async fn sessions_that_are_woken_make_room_as_new_ones_do() {
        let sessions = sessions(2);
        for n in 0..5 {
            sessions.restore_session(format!("s{n}").into()).await.unwrap();
        }
        assert_eq!(sessions.inner.sessions.read().await.len(), 2);
    }

    #[tokio::test]
    async fn the_end_of_its_sleep_ends_no_session_that_was_woken() {
        let sessions = sessions(1);
        let (first, _transport) = sessions.create_session().await.unwrap();
        let _second = sessions.create_session().await.unwrap();
        assert!(!sessions.has_session(&first).await.unwrap(), "it rests");
        sessions.restore_session(Arc::clone(&first)).await.unwrap();
        sessions.close_session(&first).await.unwrap();
        assert!(
            sessions.has_session(&first).await.unwrap(),
            "this was the end of its sleep"
        );
        sessions.close_session(&first).await.unwrap();
        assert!(!sessions.has_session(&first).await.unwrap());
    }

    #[tokio::test]
    async fn a_session_does_not_rest_while_a_stream_of_it_is_read() {
        let sessions = sessions(1);
        let (first, _transport) = sessions.create_session().await.unwrap();
        let stream = sessions.used(&first, futures_util::stream::pending());
        let _second = sessions.create_session().await.unwrap();
        assert!(sessions.has_session(&first).await.unwrap());
        drop(stream);
        let _third = sessions.create_session().await.unwrap();
        assert!(!sessions.has_session(&first).await.unwrap());
    }

    #[tokio::test]
    async fn an_introduction_reads_as_it_is_written_and_other_names_name_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let limits = crate::config::Settings::embedded().unwrap().mcp;
        let kept = Arc::new(Introductions::open(dir.path(), Arc::default(), limits).unwrap());
        let id = "0193abcd-0000-7000-8000-000000000001";
        let state: SessionState = serde_json::from_value(serde_json::json!({"initialize_params": {
            "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}}}))
        .unwrap();
        kept.write(id, &state).unwrap();
        assert_eq!(kept.read(id).unwrap().unwrap().initialize_params.client_info.name, "a");
        assert!(kept.read("../../token").unwrap().is_none());
        assert!(kept.write("x", &state).is_err());
        let file = fs::File::options().append(true).open(dir.path().join(id)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        kept.read(id).unwrap();
        assert_ne!(
            file.metadata().unwrap().modified().unwrap(),
            SystemTime::UNIX_EPOCH,
            "it is young again"
        );
        SharedIntroductions(Arc::clone(&kept)).delete(id).await.unwrap();
        assert!(kept.read(id).unwrap().is_none());
    }
}
