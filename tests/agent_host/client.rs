//! The daemon's end of the link, as a test holds it: it checks each chunk's offset and the window as it goes.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use actix_codec::Framed;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::BoxedSocket;
use awc::ws::{Codec, Frame, Message};
use cc_executor::agent_host::protocol::{CHUNK_BYTES_MAX, FromHost, OFFSET_BYTES, ToHost, WINDOW_BYTES};
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;

use crate::support::wait::{PATIENCE, until};

/// What comes from a host.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Text(FromHost),
    /// Spool bytes; they are in [`Client::taken`] already.
    Bytes,
    Pong,
    Closed,
}

/// One connection to a host.
pub(crate) struct Client {
    link: Framed<BoxedSocket, Codec>,
    /// All spool bytes of the read that is going on, from `from`.
    pub(crate) taken: Vec<u8>,
    from: u64,
    through: u64,
}

impl Client {
    /// Connects as soon as a host listens.
    pub(crate) async fn connect(socket: &Path) -> Self {
        until("a host to listen", || UnixStream::connect(socket).ok());
        let request = http(socket.to_owned()).ws("http://host/");
        let (_, link) = request.connect().await.expect("the host answers");
        Self {
            link,
            taken: Vec::new(),
            from: 0,
            through: 0,
        }
    }

    pub(crate) async fn say(&mut self, message: &ToHost) {
        self.send(Message::Text(serde_json::to_string(message).unwrap().into()))
            .await;
    }

    pub(crate) async fn send(&mut self, message: Message) {
        timeout(PATIENCE, self.link.send(message))
            .await
            .expect("a host reads its socket")
            .expect("the link is up");
    }

    /// Says something to a host that may be dead already.
    pub(crate) async fn try_say(&mut self, message: &ToHost) -> bool {
        self.link
            .send(Message::Text(serde_json::to_string(message).unwrap().into()))
            .await
            .is_ok()
    }

    pub(crate) async fn write(&mut self, id: u64, line: &str) {
        self.say(&ToHost::Write {
            id,
            line: line.to_owned(),
        })
        .await;
    }

    /// Begins a read at an offset.
    pub(crate) async fn read(&mut self, from: u64, through: u64) {
        (self.from, self.through) = (from, through);
        self.taken.clear();
        self.say(&ToHost::Read {
            from,
            through,
            nudged: false,
        })
        .await;
    }

    pub(crate) async fn widen(&mut self, through: u64) {
        self.through = through;
        self.say(&ToHost::Window { through }).await;
    }

    /// The next thing that comes.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            let frame = timeout(PATIENCE, self.link.next())
                .await
                .expect("something should have come by now");
            match frame {
                Some(Ok(Frame::Text(text))) => return Heard::Text(serde_json::from_slice(&text).unwrap()),
                Some(Ok(Frame::Binary(bytes))) => {
                    self.take(&bytes);
                    return Heard::Bytes;
                }
                Some(Ok(Frame::Pong(_))) => return Heard::Pong,
                Some(Ok(Frame::Close(_)) | Err(_)) | None => return Heard::Closed,
                Some(Ok(Frame::Ping(_) | Frame::Continuation(_))) => {}
            }
        }
    }

    /// The next text frame that the test has an answer for; others are passed over.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(FromHost) -> Option<T>) -> T {
        loop {
            match self.next().await {
                Heard::Text(text) => {
                    if let Some(answer) = wanted(text) {
                        return answer;
                    }
                }
                Heard::Bytes | Heard::Pong => {}
                Heard::Closed => panic!("the host closed the link"),
            }
        }
    }

    /// Takes spool bytes, widening the window, until they end with this text.
    pub(crate) async fn take_until(&mut self, end: &str) {
        while !self.taken.ends_with(end.as_bytes()) {
            match self.next().await {
                Heard::Bytes => self.widen(self.from + self.taken.len() as u64 + WINDOW_BYTES).await,
                Heard::Text(_) | Heard::Pong => {}
                Heard::Closed => panic!("the host closed the link"),
            }
        }
    }

    /// Offset after the last byte taken.
    pub(crate) fn at(&self) -> u64 {
        self.from + self.taken.len() as u64
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.taken.clone()).unwrap()
    }

    /// Asks for a pong and hears whatever comes before it.
    pub(crate) async fn settle(&mut self) -> Vec<Heard> {
        self.send(Message::Ping("".into())).await;
        let mut heard = Vec::new();
        loop {
            match self.next().await {
                Heard::Pong => return heard,
                Heard::Closed => panic!("the host closed the link"),
                other => heard.push(other),
            }
        }
    }

    fn take(&mut self, frame: &[u8]) {
        let (offset, bytes) = frame.split_at(OFFSET_BYTES);
        assert_eq!(
            u64::from_le_bytes(offset.try_into().unwrap()),
            self.at(),
            "neither a gap nor a byte twice"
        );
        assert!(
            !bytes.is_empty() && bytes.len() <= CHUNK_BYTES_MAX,
            "{} bytes in a chunk",
            bytes.len()
        );
        self.taken.extend_from_slice(bytes);
        assert!(
            self.at() <= self.through,
            "beyond the window: {} of {}",
            self.at(),
            self.through
        );
    }
}

/// A client whose every connection goes to one Unix socket.
fn http(socket: PathBuf) -> awc::Client {
    let connect = actix_service::fn_service(move |info: ConnectInfo<awc::http::Uri>| {
        let socket = socket.clone();
        async move {
            let stream = tokio::net::UnixStream::connect(&socket)
                .await
                .map_err(ConnectError::Io)?;
            Ok::<_, ConnectError>(Connection::new(info.request().clone(), stream))
        }
    });
    awc::Client::builder()
        .connector(awc::Connector::new().connector(connect))
        .finish()
}
