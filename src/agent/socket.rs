//! The websocket to an agent host: an awc client over a Unix socket.

use std::path::Path;
use std::time::Duration;

use actix_codec::Framed;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::http::Uri;
use awc::{BoxedSocket, ws};

use crate::agent_host::protocol::FRAME_BYTES_MAX;

/// A connected websocket, to be split into what is read and what is written.
pub type HostSocket = Framed<BoxedSocket, ws::Codec>;

/// Why the websocket could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("no agent host answers at {socket}: {why}")]
pub struct Unreachable {
    socket: String,
    why: String,
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
            let stream = tokio::net::UnixStream::connect(&path).await.map_err(ConnectError::Io)?;
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
