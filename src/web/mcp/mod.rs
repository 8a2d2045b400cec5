//! The MCP face, for every client: those of 2026-07-28, which has no sessions, and those of the four revisions before it.
//!
//! Read in this order: `bridge` (from actix-web to rmcp), `sessions`, `outflow` and `call_state` (what outlives a
//! connection, and the daemon), `server` (what rmcp asks of us), `tools` (what can be done), `resources` (what can be read).
//! Nothing here decides anything about sessions of ours: every call goes through the runtime's handle.

mod aside;
mod bridge;
mod call_state;
pub(crate) mod caller;
mod current;
mod follow;
mod former;
mod forms;
mod guard;
mod kept;
#[expect(
    deprecated,
    reason = "deprecated in 2026-07-28, and what clients of all revisions still show"
)]
mod level;
#[expect(
    deprecated,
    reason = "deprecated in 2026-07-28, and what clients of all revisions still show"
)]
mod log;
mod narrate;
mod outflow;
mod progress;
mod prompts;
mod resources;
mod result;
mod schema;
mod server;
mod services;
mod sessions;

mod steer;
mod subscriptions;
mod tasks;
mod tools;

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::{BoxStream, Stream, StreamExt};
use rmcp::ServerHandler;
use rmcp::model::RequestStateCodec;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::bridge::Bridge;
use self::former::Former;
pub use self::guard::answered;
use self::log::Levels;
pub use self::log::tell as tell_log;
pub use self::outflow::CallKey;
use self::outflow::Outflows;
use self::server::Product;
use self::services::Services;
use self::sessions::{BusyMark, Introductions, McpSessions, SharedIntroductions, Uses};
use self::subscriptions::Subscriptions;
#[cfg(any(test, fuzzing))]
pub use self::tools::fuzz;
use super::Faces;
use super::access::audit::Audit;
use crate::config::{McpSettings, PageAddress, Settings};
use crate::disk::{create_private_dir, regular, write_private};
use crate::runtime::Handle;

/// Threads of the runtime that MCP has to itself.
const THREADS: usize = 2;

/// The endpoint of the daemon.
pub(crate) type Mcp = Endpoint<Product>;

/// Starts the endpoint of the daemon; what outlives it is kept under `state`.
pub(crate) fn start(
    state: &Path,
    handle: Handle,
    audit: Audit,
    settings: &Settings,
    stopping: watch::Receiver<bool>,
) -> io::Result<Mcp> {
    let directory = state.join("mcp");
    create_private_dir(&directory)?;
    let calls = Calls::default();
    let subscriptions = Subscriptions::open(&directory.join("subscriptions"), handle.clone(), settings.mcp)?;
    let services = Arc::new(Services {
        handle,
        audit,
        seal: RequestStateCodec::try_new(seal_key(&directory.join("seal"))?).map_err(io::Error::other)?,
        calls: calls.clone(),
        levels: Levels::default(),
        limits: settings.mcp,
        subscriptions,
        stopping: stopping.clone(),
    });
    let (former, opener) = (Former::open(&directory)?, Arc::clone(&services));
    let reopen = Arc::new(move |last_event: &str, mcp_session: &str, signer: &str| {
        let reopened = call_state::reopen(&opener, last_event, mcp_session, signer);
        reopened.or_else(|| former.reopen(&opener, last_event, mcp_session, signer))
    });
    let options = EndpointOptions {
        directory: &directory,
        body_bytes_max: settings.limits.body_bytes_max,
        limits: settings.mcp,
        public: settings.server.public().ok().flatten(),
        stopping,
        calls,
        reopen,
    };
    Endpoint::start(Product(services), options)
}

/// The key that seals what clients keep for us: made once, so that they may come back after a restart.
fn seal_key(path: &Path) -> io::Result<Vec<u8>> {
    match regular::if_there(regular::read(path))? {
        Some(key) if key.len() == SEAL_KEY_BYTES => Ok(key),
        Some(_) | None => {
            let key: [u8; SEAL_KEY_BYTES] = rand::random();
            write_private(path, &key)?;
            Ok(key.to_vec())
        }
    }
}

/// `POST|GET|DELETE /mcp`
pub(super) async fn handle(faces: web::Data<Faces>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    faces.mcp.handle(request, payload).await
}

/// The names of the tools.
#[cfg(test)]
pub(super) fn tool_names() -> Vec<String> {
    tools::all().iter().map(|tool| tool.name.to_string()).collect()
}

/// How long the key of the seal is.
const SEAL_KEY_BYTES: usize = 32;

/// How an endpoint is set up.
pub struct EndpointOptions<'a> {
    /// Where it keeps what outlives it; made where it is missing.
    pub directory: &'a Path,
    /// The longest request body, in bytes.
    pub body_bytes_max: usize,
    /// The most of everything.
    pub limits: McpSettings,
    /// Address behind a proxy, where it may be called too.
    pub public: Option<PageAddress>,
    /// Turns true when it is to end.
    pub stopping: watch::Receiver<bool>,
    /// The calls that run.
    pub calls: Calls,
    /// Opens the ids of events.
    pub reopen: Arc<Reopen>,
}

/// Says what goes on behind an event: by its id, for a client with an MCP session and a token.
pub type Reopen = dyn Fn(&str, &str, &str) -> Option<Reopened> + Send + Sync;

/// What goes on behind an event.
pub enum Reopened {
    /// A call.
    Call {
        /// The call.
        call: CallKey,
        /// The number of the event in its stream.
        after: u64,
        /// The message that goes on with the call if it does not run any more.
        message: Value,
    },
    /// An answer that was given already.
    Answer(Value),
}

/// One MCP endpoint: rmcp's service for a handler, on a runtime of its own, behind actix-web.
pub struct Endpoint<S> {
    bridge: Arc<Bridge<S>>,
    runtime: Option<Runtime>,
}

impl<S: ServerHandler + Clone + Send + Sync + 'static> Endpoint<S> {
    /// An endpoint that serves `handler`.
    pub fn start(handler: S, options: EndpointOptions<'_>) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("mcp")
            .enable_all()
            .build()?;
        let limits = options.limits;
        let outflows = Arc::new(Outflows::default());
        let introductions = Arc::new(Introductions::open(
            &options.directory.join("sessions"),
            Arc::clone(&options.calls.0),
            limits,
        )?);
        let mut config = StreamableHttpServerConfig::default();
        // Host and Origin are looked at before, for all routes and against the port; this is a second look.
        config.allowed_origins = ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"]
            .map(str::to_owned)
            .into();
        if let Some(PageAddress { is_secure, host, port }) = options.public {
            let scheme = if is_secure { "https" } else { "http" };
            config.allowed_origins.push(format!("{scheme}://{host}:{port}"));
            config.allowed_hosts.push(host);
        }
        // An answer that nothing is told before is one document.
        config.json_response = true;
        config.max_request_body_bytes = options.body_bytes_max;
        config.sse_keep_alive = Some(Duration::from_secs(limits.keep_alive_seconds));
        config.session_store = Some(Arc::new(SharedIntroductions(Arc::clone(&introductions))));
        let stopped = config.cancellation_token.clone();
        let (mut stopping, ended) = (options.stopping, Arc::clone(&outflows));
        runtime.spawn(async move {
            // Streams end first: otherwise the server would wait for them.
            let _ = stopping.wait_for(|stopping| *stopping).await;
            ended.stop();
            stopped.cancel();
        });
        let sessions = Arc::new(McpSessions::new(Arc::clone(&outflows), options.calls.0, limits));
        let bridge = Bridge {
            service: StreamableHttpService::new(move || Ok(handler.clone()), sessions, config),
            introductions,
            outflows,
            reopen: options.reopen,
            runtime: runtime.handle().clone(),
            body_bytes_max: options.body_bytes_max,
        };
        Ok(Self {
            bridge: Arc::new(bridge),
            runtime: Some(runtime),
        })
    }

    /// `POST|GET|DELETE /mcp`
    pub async fn handle(&self, request: HttpRequest, payload: web::Payload) -> HttpResponse {
        self.bridge.carry(request, payload).await
    }
}

impl<S> Drop for Endpoint<S> {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped by another runtime, which must not wait.
            runtime.shutdown_background();
        }
    }
}

/// The calls that run, by MCP session: a session with a call that runs is not put to rest.
#[derive(Clone, Default)]
pub struct Calls(Arc<Uses>);

impl Calls {
    /// A call runs in this MCP session until the answer is dropped.
    fn begin(&self, mcp_session: &str) -> BusyMark {
        self.0.begin(mcp_session)
    }
}

/// A stream that may be shared between threads, as rmcp wants it, though only one reads it.
struct SyncStream<T>(Mutex<BoxStream<'static, T>>);

impl<T> SyncStream<T> {
    fn new(stream: BoxStream<'static, T>) -> Self {
        Self(Mutex::new(stream))
    }
}

impl<T> Stream for SyncStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .poll_next_unpin(cx)
    }
}
