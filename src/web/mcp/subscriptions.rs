//! Who wants to hear when a resource changes, in both eras: a session's subscription, or a request that listens.
//!
//! Each subscriber is a task of its own that reads the stream over all sessions. It tells at most twice a second of the
//! same resource, and always of the last change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::request::Parts;
use rmcp::model::ResourceUpdatedNotificationParam;
use rmcp::service::{NotificationContext, Peer, RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::{ErrorData, RoleServer};
use serde::Deserialize;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::caller::{self, McpCaller};
use super::kept::{BoundedDirectory, DirectoryBounds};
use super::resources::{Address, refused};
use crate::config::McpSettings;
use crate::disk::regular;
use crate::disk::write_private;
use crate::runtime::Handle;
use crate::runtime::feed::{FeedItem, FeedReader};
use crate::session::id::SessionId;

/// The least time between two notifications of the same subscriber.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked whether anybody still listens, while nothing changes.
const LOOK: Duration = Duration::from_secs(60);

/// The kind of record by which the list of resources changes.
const CREATED: &str = "session.created";

/// The subscriptions of MCP sessions. What each session wants to hear of stands in a file, so that one that was put to
/// rest, here or by the end of the daemon, hears of it again when it wakes.
pub(super) struct Subscriptions {
    /// By session and address; none for the list.
    tasks: Mutex<HashMap<SubscriberKey, AbortHandle>>,
    kept: BoundedDirectory,
    handle: Handle,
    /// Maximum number of subscriptions.
    most: usize,
}

type SubscriberKey = (String, Option<String>);

/// What somebody wants to hear of.
struct Wanted {
    /// Each address as it was given, with what it means.
    resources: Vec<(String, Address, Option<SessionId>)>,
    /// That sessions come and go.
    list: bool,
}

/// How somebody is told.
enum Subscriber {
    Session(Peer<RoleServer>),
    Request(SubscriptionSink),
}

#[derive(Deserialize)]
struct ResourceChange {
    session_id: SessionId,
}

impl Subscriptions {
    /// What sessions want to hear of is kept in `directory`, which is made where it is missing, for as long as they are
    /// known.
    pub(super) fn open(directory: &Path, handle: Handle, limits: McpSettings) -> io::Result<Self> {
        let bounds = DirectoryBounds {
            files_max: limits.sessions_known_max,
            bytes_max: u64::MAX,
            age_max: Duration::from_secs(limits.sessions_known_days.saturating_mul(24 * 3600)),
        };
        Ok(Self {
            tasks: Mutex::default(),
            kept: BoundedDirectory::open(directory, bounds)?,
            handle,
            most: limits.subscriptions_max,
        })
    }

    /// `resources/subscribe`, in the era of sessions.
    pub(super) async fn subscribe(&self, uri: String, context: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        let session = McpCaller::of(&context).mcp_session.unwrap_or_default();
        let wanted = Wanted::of(&self.handle, vec![uri.clone()], false).await?;
        self.begin((session.clone(), Some(uri)), wanted, context.peer).await?;
        self.remember(&session);
        Ok(())
    }

    /// Tells a session of what it wants to hear of, as long as it is awake.
    async fn begin(&self, key: SubscriberKey, wanted: Wanted, peer: Peer<RoleServer>) -> Result<(), ErrorData> {
        let reader = self.handle.stream_all(None).await.map_err(refused)?;
        let mut all = self.lock();
        all.retain(|_, task| !task.is_finished());
        if all.len() >= self.most {
            return Err(ErrorData::internal_error(
                "there are too many subscriptions: end some first",
                None,
            ));
        }
        let task = tokio::spawn(tell(reader, wanted, Subscriber::Session(peer)));
        if let Some(earlier) = all.insert(key, task.abort_handle()) {
            earlier.abort();
        }
        Ok(())
    }

    /// Keeps what a session wants to hear of for when it wakes; a session without a name has nothing to wake by.
    fn remember(&self, session: &str) {
        let Some(path) = self.path(session) else { return };
        let all = self.lock();
        let uris: Vec<&String> = all
            .keys()
            .filter(|(of, _)| of == session)
            .filter_map(|(_, uri)| uri.as_ref())
            .collect();
        let written = serde_json::to_vec(&uris)
            .map_err(io::Error::other)
            .and_then(|json| write_private(&path, &json));
        let awake: HashSet<String> = all.keys().map(|(of, _)| of.clone()).collect();
        drop(all);
        self.kept.grew(1, 0, || Box::new(move |name| awake.contains(name)));
        if let Err(error) = written {
            tracing::warn!(%error, "subscriptions cannot be kept: they end with the session's sleep");
        }
    }

    /// What a session wanted to hear of before it was put to rest.
    fn remembered(&self, session: &str) -> Vec<String> {
        let kept = self.path(session).and_then(|path| regular::read(&path).ok());
        kept.and_then(|json| serde_json::from_slice(&json).ok())
            .unwrap_or_default()
    }

    /// A session's file; only names that rmcp gives are names.
    fn path(&self, session: &str) -> Option<PathBuf> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_name = (1..=64).contains(&session.len()) && session.bytes().all(fits);
        is_name.then(|| self.kept.path(session))
    }

    /// Tells an MCP session that was introduced, or wakes, of sessions of ours that come and go, as the declared
    /// capability says, and of what it had subscribed to.
    pub(super) async fn introduced(&self, context: NotificationContext<RoleServer>) -> Result<(), ErrorData> {
        let Some(session) = context
            .extensions
            .get::<Parts>()
            .and_then(|parts| caller::mcp_session(&parts.headers))
        else {
            return Ok(());
        };
        let list = Wanted::of(&self.handle, Vec::new(), true).await?;
        self.begin((session.clone(), None), list, context.peer.clone()).await?;
        for uri in self.remembered(&session) {
            let wanted = Wanted::of(&self.handle, vec![uri.clone()], false).await?;
            self.begin((session.clone(), Some(uri)), wanted, context.peer.clone())
                .await?;
        }
        Ok(())
    }

    /// `resources/unsubscribe`
    pub(super) fn unsubscribe(&self, uri: &str, context: &RequestContext<RoleServer>) {
        let session = McpCaller::of(context).mcp_session.unwrap_or_default();
        let task = self.lock().remove(&(session.clone(), Some(uri.to_owned())));
        if let Some(task) = task {
            task.abort();
            self.remember(&session);
        }
    }

    /// `subscriptions/listen`, from 2026-07-28 on: as long as the request stands.
    pub(super) async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let accepted = context.accepted();
        let uris = accepted.resource_subscriptions.clone().unwrap_or_default();
        let list = accepted.resources_list_changed == Some(true);
        let wanted = Wanted::of(&self.handle, uris, list).await?;
        let reader = self.handle.stream_all(None).await.map_err(refused)?;
        tokio::select! {
            () = context.cancelled() => {}
            () = tell(reader, wanted, Subscriber::Request(context.sink().clone())) => {}
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SubscriberKey, AbortHandle>> {
        // A lock whose holder panicked is taken all the same: every change under it leaves the data whole.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    async fn of(handle: &Handle, uris: Vec<String>, list: bool) -> Result<Self, ErrorData> {
        let mut resources = Vec::new();
        for uri in uris {
            // An address that means nothing now never changes: nobody is told, and nothing is wrong.
            let Some(address) = Address::parse(&uri) else { continue };
            let session = match &address {
                Address::Session(id) | Address::Log(id, _) | Address::Checkpoints(id) => handle.resolve(id).await.ok(),
                Address::Active | Address::Sessions | Address::History(_) => None,
            };
            resources.push((uri, address, session));
        }
        Ok(Self { resources, list })
    }

    /// Whether a record of this kind can be of interest, before anything is made of it: most are not to those who only
    /// want to hear of sessions that come and go.
    fn may_be_changed_by(&self, kind: &str) -> bool {
        !self.resources.is_empty() || (self.list && kind == CREATED)
    }

    /// Which of them a record of this kind and session changes; empty text stands for the list.
    fn changed_by(&self, kind: &str, session: SessionId) -> impl Iterator<Item = String> + '_ {
        let is_state = matches!(
            kind,
            "session.created"
                | "session.state"
                | "session.ended"
                | "session.resumed"
                | "question.asked"
                | "question.answered"
                | "question.delivered"
                | "question.withdrawn"
                | "attempt.started"
        );
        let (is_new, is_checkpoint) = (kind == CREATED, kind == "checkpoint");
        let touched = move |(uri, address, of): &(String, Address, Option<SessionId>)| {
            let is_touched = match address {
                Address::Active | Address::Sessions | Address::History(_) => is_state,
                Address::Session(_) => is_state && *of == Some(session),
                Address::Log(..) => *of == Some(session),
                Address::Checkpoints(_) => is_checkpoint && *of == Some(session),
            };
            is_touched.then(|| uri.clone())
        };
        let list = (self.list && is_new).then(String::new);
        self.resources.iter().filter_map(touched).chain(list)
    }
}

impl Subscriber {
    /// Whether nobody can be told any more; a request that listens is ended by its own context.
    fn is_gone(&self) -> bool {
        match self {
            Self::Session(peer) => peer.is_transport_closed(),
            Self::Request(_) => false,
        }
    }

    /// Tells of a change; false when nobody listens any more.
    fn tell(&self, uri: String) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            match (self, uri.is_empty()) {
                (Self::Session(peer), false) => peer
                    .notify_resource_updated(ResourceUpdatedNotificationParam::new(uri))
                    .await
                    .is_ok(),
                (Self::Session(peer), true) => peer.notify_resource_list_changed().await.is_ok(),
                (Self::Request(sink), false) => sink.notify_resource_updated(uri).await.is_ok(),
                (Self::Request(sink), true) => sink.notify_resource_list_changed().await.is_ok(),
            }
        })
    }
}

/// Tells of changes until nobody listens any more.
async fn tell(mut reader: FeedReader, wanted: Wanted, listener: Subscriber) {
    let mut changed = BTreeSet::new();
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(not_before), if !changed.is_empty() => {
                for uri in std::mem::take(&mut changed) {
                    if !listener.tell(uri).await {
                        return;
                    }
                }
                not_before = Instant::now() + PAUSE;
            }
            () = tokio::time::sleep(LOOK), if changed.is_empty() => {
                if listener.is_gone() {
                    return;
                }
            }
            item = reader.next() => {
                let Some(item) = item else { return };
                let FeedItem::Record(record) = item else { continue };
                let kind = String::from_utf8_lossy(&record.kind);
                if wanted.may_be_changed_by(&kind)
                    && let Ok(ResourceChange { session_id }) = serde_json::from_slice(&record.json)
                {
                    changed.extend(wanted.changed_by(&kind, session_id));
                }
            }
        }
    }
}
