//! The websocket to an agent host: an awc client over a Unix socket.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix_codec::Framed;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use awc::{BoxedSocket, ws};
use tokio::net::UnixStream;

use crate::agent_host::identity;
use crate::agent_host::protocol::FRAME_BYTES_MAX;
use crate::config::DAEMON_LOCK;

/// How many folders an attempt's directory is below its state directory.
const ATTEMPT_DEPTH: usize = 3;

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
    let unreachable = |why: String| Unreachable {
        socket: socket.display().to_string(),
        why,
    };
    let path = socket.to_owned();
    let dial = actix_service::fn_service(move |info: ConnectInfo<Uri>| {
        let path = path.clone();
        async move {
            let us = rustix::process::geteuid().as_raw();
            let stream = dial(&path, us).await.map_err(ConnectError::Io)?;
            Ok::<_, ConnectError>(Connection::new(info.request().clone(), stream))
        }
    });
    let connector = awc::Connector::new().connector(dial).timeout(Duration::from_secs(5));
    let client = awc::Client::builder().connector(connector).finish();
    let request = client.ws("http://agent-host/").max_frame_size(FRAME_BYTES_MAX);
    let (_response, framed) = request
        .connect()
        .await
        .map_err(|error| unreachable(error.to_string()))?;
    Ok(framed)
}

/// A socket is another user's where a shared temporary directory was emptied and somebody has put one in its place.
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
