//! The listener: bound before anything is served, so that a port that is taken is told at once.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use actix_web::web::ServiceConfig;
use tokio::sync::watch;
use tokio::time::timeout;

use super::access::{Access, Token};
use super::health::Readiness;
use super::info::Doctor;
use super::stream::Streams;
use super::{Faces, app, mcp, routes};
use crate::config::{Paths, ServerSettings, Settings};
use crate::runtime::Handle;

/// Threads that serve requests. They do no work of their own: it is all done behind the handle.
const WORKERS: usize = 2;

/// How long a connection without a request is kept. Clients keep theirs for 15 to 60 seconds; were ours the shorter
/// time, one that sends its next request just then, or while this process is not scheduled, would get no answer to it.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is not one of this machine alone.
    #[error(
        "the setting `server.host` is {0}, which is not a loopback address: use `ssh -L`, or a reverse proxy of this machine"
    )]
    NotLoopback(String),
    /// Somebody listens there already.
    #[error("port {port} is taken{by}: choose another with `server.port` (0 takes any that is free)")]
    PortTaken {
        /// The port.
        port: u16,
        /// By whom, where that may be known.
        by: String,
    },
    /// What is known of callers cannot be read or kept.
    #[error("cannot keep who may call: {0}")]
    Access(io::Error),
    /// The files of the MCP face cannot be made.
    #[error("cannot keep the state of the MCP face: {0}")]
    Mcp(#[from] io::Error),
    /// It cannot be listened there.
    #[error("cannot listen on {address}: {source}")]
    CannotListen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A server that is bound and serves from [`Server::run_until_stopped`] on; until then clients wait.
pub struct Server {
    address: SocketAddr,
    running: actix_web::dev::Server,
    stopping: watch::Sender<bool>,
    grace: Duration,
}

/// Stops a [`Server`].
#[derive(Clone)]
pub struct Stopper {
    server: ServerHandle,
    stopping: watch::Sender<bool>,
    grace: Duration,
}

impl Server {
    /// Binds the listener and puts the faces behind it. Needs a running actix system.
    pub fn build(
        settings: &Settings,
        paths: &Paths,
        handle: Handle,
        token: Token,
        readiness: Readiness,
        doctor: Doctor,
    ) -> Result<Self, ServeError> {
        Self::build_with(settings, paths, handle, token, (readiness, doctor), routes)
    }

    /// As [`Server::build`], with these routes.
    pub(super) fn build_with(
        settings: &Settings,
        paths: &Paths,
        handle: Handle,
        token: Token,
        (readiness, doctor): (Readiness, Doctor),
        routes: fn(&mut ServiceConfig),
    ) -> Result<Self, ServeError> {
        let (listener, address) = bind(&settings.server, paths)?;
        let (stopping, stopped) = watch::channel(false);
        let access = Access::open(&token, address, &paths.access(), &settings.access).map_err(ServeError::Access)?;
        let mcp = mcp::start(
            &paths.state,
            handle.clone(),
            access.audit().clone(),
            settings,
            stopped.clone(),
        )?;
        let streams = Streams::new(settings.limits.stream_readers_max, stopped);
        let faces = Faces::new(settings, handle, access, readiness, streams, mcp).examined_by(doctor);
        let grace = Duration::from_millis(settings.server.shutdown_grace_ms);
        let running = HttpServer::new(move || app(&faces, routes))
            .workers(WORKERS)
            .max_connections(settings.server.connections_max.div_ceil(WORKERS))
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(Duration::from_secs(settings.server.headers_timeout_seconds))
            .tcp_nodelay(true)
            // Who closes his end is gone: the reader of a stream is dropped at once, not at the next write.
            .h1_allow_half_closed(false)
            .shutdown_timeout(grace.as_secs() + 1)
            .disable_signals()
            .listen(listener)
            .map_err(|source| ServeError::CannotListen { address, source })?
            .run();
        Ok(Self {
            address,
            running,
            stopping,
            grace,
        })
    }

    /// The port, also where the settings left it open.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            server: self.running.handle(),
            stopping: self.stopping.clone(),
            grace: self.grace,
        }
    }

    /// Serves until [`Stopper::stop`].
    pub async fn run_until_stopped(self) -> io::Result<()> {
        self.running.await
    }
}

impl Stopper {
    /// Ends all streams, lets other requests finish within `server.shutdown_grace_ms`, then cuts off the rest.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        if timeout(self.grace, self.server.stop(true)).await.is_err() {
            self.server.stop(false).await;
        }
    }
}

fn bind(settings: &ServerSettings, paths: &Paths) -> Result<(TcpListener, SocketAddr), ServeError> {
    let host: IpAddr = settings
        .address()
        .ok_or_else(|| ServeError::NotLoopback(settings.host.clone()))?;
    let address = SocketAddr::new(host, settings.port);
    let cannot_listen = |source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ServeError::PortTaken {
            port: settings.port,
            by: taken_by(paths.daemon_file()),
        },
        _ => ServeError::CannotListen { address, source },
    };
    let listener = TcpListener::bind(address).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    Ok((listener, address))
}

fn taken_by(daemon_file: PathBuf) -> String {
    if daemon_file.exists() {
        return format!(", perhaps by the daemon that {} names", daemon_file.display());
    }
    String::new()
}
