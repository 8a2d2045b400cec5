//! HTTP over Unix sockets, to servers of a known user: the websocket to an agent host, and the daemon's own clients.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_codec::Framed;
use actix_rt::net::ActixStream;
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use awc::{BoxedSocket, ws};
use tokio::net::UnixStream;

use crate::agent_host::protocol::FRAME_BYTES_MAX;
use crate::config::DAEMON_LOCK;
use crate::disk::identity;

/// How many folders an attempt's directory is below its state directory.
const ATTEMPT_DEPTH: usize = 3;

/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connected websocket, to be split into what is read and what is written.
pub type HostSocket = Framed<BoxedSocket, ws::Codec>;

/// Why the websocket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("no agent host answers at {socket}: {why}")]
pub struct Unreachable {
    socket: String,
    why: String,
}

/// The attempt's directory of another running daemon, where the host that listens at `socket` works there and not in
/// `directory`. A copied state directory names the hosts of the one it was copied from, and a second link to a host
/// would take it from its daemon.
pub async fn other_owner(socket: &Path, directory: &Path) -> Option<PathBuf> {
    // Whoever listens is known before anything is said to it.
    let host = UnixStream::connect(socket).await.ok()?.peer_cred().ok()?.pid()?;
    let own = identity(directory).ok()?;
    let other = fs::read_link(format!("/proc/{host}/cwd")).ok()?;
    if identity(&other).ok()? == own {
        return None;
    }
    let lock = other.ancestors().nth(ATTEMPT_DEPTH)?.join(DAEMON_LOCK);
    let is_held = matches!(File::open(lock).ok()?.try_lock_shared(), Err(TryLockError::WouldBlock));
    is_held.then_some(other)
}

/// Opens the websocket of the host that listens at `socket`.
pub async fn connect(socket: &Path) -> Result<HostSocket, Unreachable> {
    let us = rustix::process::geteuid().as_raw();
    let request = client(socket, us, Some(CONNECT_TIMEOUT)).ws("http://agent-host/");
    let opened = request.max_frame_size(FRAME_BYTES_MAX).connect().await;
    let (_response, framed) = opened.map_err(|error| Unreachable {
        socket: socket.display().to_string(),
        why: error.to_string(),
    })?;
    Ok(framed)
}

/// An HTTP client that reaches nothing but what `user` serves at a Unix socket, whatever host a URL names.
pub fn client(socket: &Path, user: u32, timeout: Option<Duration>) -> awc::Client {
    let path = socket.to_owned();
    let dial = actix_service::fn_service(move |info: ConnectInfo<Uri>| {
        let path = path.clone();
        async move {
            let stream = dial(&path, user).await.map_err(ConnectError::Io)?;
            Ok::<_, ConnectError>(Connection::new(info.request().clone(), stream))
        }
    });
    client_by(dial, timeout)
}

/// An HTTP client that connects by `dial`. It follows no redirect: what it sends is for one server. The head of an answer
/// may take `timeout`.
pub fn client_by<S, Io>(dial: S, timeout: Option<Duration>) -> awc::Client
where
    S: Service<ConnectInfo<Uri>, Response = Connection<Uri, Io>, Error = ConnectError> + Clone + 'static,
    Io: ActixStream + fmt::Debug + 'static,
{
    let connector = awc::Connector::new().connector(dial).timeout(CONNECT_TIMEOUT);
    let client = awc::Client::builder().connector(connector).disable_redirects();
    match timeout {
        Some(timeout) => client.timeout(timeout).finish(),
        None => client.disable_timeout().finish(),
    }
}

/// Connects, and looks who listens before anything is said. A socket is another user's where a shared temporary directory
/// was emptied and somebody has put one in its place.
async fn dial(socket: &Path, user: u32) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket).await?;
    let owner = stream.peer_cred()?.uid();
    if owner != user {
        let why = format!("another user ({owner}) listens there: set state.runtime_dir to a place of your own");
        return Err(io::Error::other(why));
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_of_another_user_is_not_talked_to() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let us = rustix::process::geteuid().as_raw();
        assert!(dial(&socket, us).await.is_ok());
        let refused = dial(&socket, us + 1).await.unwrap_err().to_string();
        assert!(refused.contains("another user"), "{refused}");
    }
}
