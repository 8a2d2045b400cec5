//! The listeners, a TCP port and a Unix socket: bound before anything is served, so that a port that is taken is told at
//! once. Each has connections and threads of its own, so that nobody at the port is in the way of the socket's callers.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpServer;
use actix_web::dev::ServerHandle;
use actix_web::web::ServiceConfig;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use super::access::{Access, Token};
use super::gate::Gate;
use super::health::Readiness;
use super::info::Doctor;
use super::socket::DaemonSocket;
use super::stream::Streams;
use super::{Faces, app, mcp, routes};
use crate::config::{Paths, ServerSettings, Settings};
use crate::runtime::Handle;
use crate::store::SmallStore;

/// Threads that serve requests, for each listener. They do no work of their own: it is all done behind the handle.
const WORKERS: usize = 2;

/// How long a connection without a request is kept. Clients keep theirs for 15 to 60 seconds; were ours the shorter
/// time, one that sends its next request just then, or while this process is not scheduled, would get no answer to it.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How many connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;

/// How often the listeners are looked after: whether the socket is still there, and whose time is over.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// How long connections through a socket that has vanished may go on beside those through the next one.
const VANISHED_GRACE: Duration = Duration::from_secs(3600);

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
        /// The error below it.
        source: io::Error,
    },
    /// There can be no Unix socket.
    #[error(
        "cannot make the Unix socket by which commands call: {0}; set `state.runtime_dir` to a place that can hold one"
    )]
    NoSocket(io::Error),
}

/// A server that is bound and serves from [`Server::run_until_stopped`] on; until then clients wait.
pub struct Server {
    address: SocketAddr,
    /// What serves the port.
    running: actix_web::dev::Server,
    port_gate: Gate,
    socket: SocketServer,
    stopping: watch::Sender<bool>,
    grace: Duration,
}

/// The Unix socket, and what makes a server for it, again if it vanishes.
struct SocketServer {
    door: DaemonSocket,
    gate: Gate,
    settings: ServerSettings,
    faces: Faces,
    routes: fn(&mut ServiceConfig),
    /// The server of the socket that is there now.
    handle: Arc<Mutex<ServerHandle>>,
    /// The path of the socket.
    place: watch::Sender<PathBuf>,
}

/// Stops a [`Server`].
#[derive(Clone)]
pub struct Stopper {
    port: ServerHandle,
    socket: Arc<Mutex<ServerHandle>>,
    stopping: watch::Sender<bool>,
    grace: Duration,
}

/// One of the two listeners.
enum Listener {
    Port(TcpListener),
    Socket(UnixListener),
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
        let clients = SmallStore::open(&paths.clients()).map_err(ServeError::Access)?;
        let access =
            Access::open(&token, address, &paths.access(), Arc::new(clients), settings).map_err(ServeError::Access)?;
        let mcp = mcp::start(
            &paths.state,
            handle.clone(),
            access.audit().clone(),
            settings,
            stopped.clone(),
        )?;
        actix_web::rt::spawn(access.audit().keep_counting());
        let streams = Streams::new(settings.limits.stream_readers_max, stopped);
        let faces = Faces::new(settings, handle, access, readiness, streams, mcp).examined_by(doctor);
        let grace = Duration::from_millis(settings.server.shutdown_grace_ms);
        let port_gate = Gate::new(&settings.server);
        let running = serve(
            Listener::Port(listener),
            &port_gate,
            &settings.server,
            (&faces, routes),
            Duration::from_secs(grace.as_secs() + 1),
        )
        .map_err(|source| ServeError::CannotListen { address, source })?;
        let socket = SocketServer::bind(settings, paths, faces, routes).map_err(ServeError::NoSocket)?;
        Ok(Self {
            address,
            running,
            port_gate,
            socket,
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

    /// Where the Unix socket is; changes if it has to be bound at another place.
    pub fn socket(&self) -> watch::Receiver<PathBuf> {
        self.socket.place.subscribe()
    }

    /// A handle that stops the server.
    pub fn stopper(&self) -> Stopper {
        Stopper {
            port: self.running.handle(),
            socket: Arc::clone(&self.socket.handle),
            stopping: self.stopping.clone(),
            grace: self.grace,
        }
    }

    /// Serves until [`Stopper::stop`].
    pub async fn run_until_stopped(self) -> io::Result<()> {
        let Self {
            running,
            port_gate,
            mut socket,
            ..
        } = self;
        let looking = async {
            let mut looks = interval(LOOK_PERIOD);
            let mut trouble = String::new();
            loop {
                looks.tick().await;
                port_gate.sweep(Instant::now());
                socket.gate.sweep(Instant::now());
                trouble = socket.mend(trouble);
            }
        };
        let outcome = tokio::select! {
            outcome = running => outcome,
            () = looking => Ok(()),
        };
        socket.door.remove();
        socket.faces.access.audit().close();
        outcome
    }
}

impl SocketServer {
    fn bind(settings: &Settings, paths: &Paths, faces: Faces, routes: fn(&mut ServiceConfig)) -> io::Result<Self> {
        let (door, listener) = DaemonSocket::bind(paths)?;
        let gate = Gate::new(&settings.server);
        let listener = Listener::Socket(listener);
        let serving = serve(listener, &gate, &settings.server, (&faces, routes), VANISHED_GRACE)?;
        let handle = Arc::new(Mutex::new(serving.handle()));
        actix_web::rt::spawn(serving);
        Ok(Self {
            place: watch::Sender::new(door.path().to_owned()),
            door,
            gate,
            settings: settings.server.clone(),
            faces,
            routes,
            handle,
        })
    }

    /// Binds the socket anew if its file is gone or no longer ours. Connections through the one before go on. Returns what
    /// is in the way, which is logged once, or nothing.
    fn mend(&mut self, trouble: String) -> String {
        if self.door.is_there() {
            return String::new();
        }
        match self.bind_again() {
            Ok(()) => {
                let path = self.door.path().to_owned();
                tracing::warn!(socket = %path.display(), "the Unix socket has vanished and is bound anew");
                self.place.send_replace(path);
                String::new()
            }
            Err(error) if error.to_string() == trouble => trouble,
            Err(error) => {
                tracing::error!(%error, "the Unix socket has vanished and cannot be bound anew");
                error.to_string()
            }
        }
    }

    fn bind_again(&mut self) -> io::Result<()> {
        let listener = Listener::Socket(self.door.bind_again()?);
        let app = (&self.faces, self.routes);
        let serving = serve(listener, &self.gate, &self.settings, app, VANISHED_GRACE)?;
        let mut handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *handle, serving.handle());
        drop(handle);
        actix_web::rt::spawn(serving);
        actix_web::rt::spawn(before.stop(true));
        Ok(())
    }
}

impl Stopper {
    /// Ends all streams, lets other requests finish within `server.shutdown_grace_ms`, then cuts off the rest.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let both = futures_util::future::join(self.port.stop(true), socket.stop(true));
        if timeout(self.grace, both).await.is_err() {
            self.port.stop(false).await;
        }
    }
}

/// Serves what a listener accepts.
fn serve(
    listener: Listener,
    gate: &Gate,
    settings: &ServerSettings,
    (faces, routes): (&Faces, fn(&mut ServiceConfig)),
    shutdown_timeout: Duration,
) -> io::Result<actix_web::dev::Server> {
    let (faces, greeting) = (faces.clone(), gate.clone());
    let server = HttpServer::new(move || app(&faces, routes))
        .workers(WORKERS)
        .max_connections(gate.accepted_max().div_ceil(WORKERS))
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(Duration::from_secs(settings.headers_timeout_seconds))
        .tcp_nodelay(true)
        // Who closes his end is gone: the reader of a stream is dropped at once, not at the next write.
        .h1_allow_half_closed(false)
        .shutdown_timeout(shutdown_timeout.as_secs())
        .on_connect(move |connection, data| greeting.greet(connection, data))
        .disable_signals();
    let server = match listener {
        Listener::Port(listener) => server.listen(listener)?,
        Listener::Socket(listener) => server.listen_uds(listener)?,
    };
    Ok(server.run())
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
    // The standard library asks for fewer.
    rustix::net::listen(&listener, BACKLOG).map_err(|error| cannot_listen(error.into()))?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    Ok((listener, address))
}

fn taken_by(daemon_file: PathBuf) -> String {
    if daemon_file.exists() {
        return format!(", perhaps by the daemon that {} names", daemon_file.display());
    }
    String::new()
}
