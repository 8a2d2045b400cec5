//! How a daemon is reached. Nothing is said to a server before it is known whose it is: requests carry the owner's token,
//! or everything in the caller's environment.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use actix_tls::connect::{ConnectError, ConnectInfo, Connection};
use awc::ClientRequest;
use awc::http::Uri;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::sleep;

use crate::agent::socket;

/// How long a connection may take, and how long a server may take to accept it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it is looked whether a connection is accepted.
const LOOK_PERIOD: Duration = Duration::from_millis(5);

/// The tables of this machine's TCP connections.
const TCP_TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// A way to a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its Unix socket, where the kernel tells each side who the other is: no token is needed.
    Socket {
        /// The socket.
        path: PathBuf,
        /// The user who may listen there.
        user: u32,
    },
    /// The port of a daemon of an older version, which has no socket. The kernel tells who has accepted a connection, so
    /// each one is looked up before it is used.
    Port {
        /// The port.
        address: SocketAddr,
        /// The user who may listen there.
        user: u32,
        /// What the daemon knows the owner by.
        token: String,
    },
    /// What the caller has named, with a token for it.
    Given {
        /// The beginning of its URLs, without a slash at the end.
        url: String,
        /// The token.
        token: String,
    },
}

impl Way {
    /// An HTTP client that goes this way only. Each answer's head may take `timeout`.
    pub(crate) fn client(&self, timeout: Option<Duration>) -> awc::Client {
        let (address, user) = match self {
            Self::Socket { path, user } => return socket::client(path, *user, timeout),
            Self::Given { .. } => return anywhere(timeout),
            Self::Port { address, user, .. } => (*address, *user),
        };
        let dial = actix_service::fn_service(move |info: ConnectInfo<Uri>| async move {
            let stream = dial(address, user).await.map_err(ConnectError::Io)?;
            Ok::<_, ConnectError>(Connection::new(info.request().clone(), stream))
        });
        socket::client_by(dial, timeout)
    }

    /// The URL of a path.
    pub(crate) fn url(&self, path: &str) -> String {
        match self {
            Self::Socket { .. } => format!("http://localhost{path}"),
            Self::Port { address, .. } => format!("http://{address}{path}"),
            Self::Given { url, .. } => format!("{url}{path}"),
        }
    }

    /// The request with what shows who calls.
    pub(crate) fn sign(&self, request: ClientRequest) -> ClientRequest {
        match self {
            Self::Socket { .. } => request,
            Self::Port { token, .. } | Self::Given { token, .. } => request.bearer_auth(token),
        }
    }
}

/// A client that goes where a URL says.
fn anywhere(timeout: Option<Duration>) -> awc::Client {
    let client = awc::Client::builder().disable_redirects();
    match timeout {
        Some(timeout) => client.timeout(timeout).finish(),
        None => client.disable_timeout().finish(),
    }
}

/// Returns the process that listens at a socket, if that is one of `user`. Needs a running runtime.
pub(crate) fn listener_at(socket: &Path, user: u32) -> Option<u32> {
    let stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
    stream.set_nonblocking(true).ok()?;
    let peer = UnixStream::from_std(stream).ok()?.peer_cred().ok()?;
    (peer.uid() == user).then(|| u32::try_from(peer.pid()?).ok()).flatten()
}

/// Returns true if a process of `user` accepts connections at a port.
pub(crate) fn is_accepted_at(address: SocketAddr, user: u32) -> bool {
    let Ok(stream) = std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) else {
        return false;
    };
    let Ok(own) = stream.local_addr() else { return false };
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match acceptor(address, own) {
            Acceptor::User(found) => return found == user,
            Acceptor::NoneYet if Instant::now() < deadline => std::thread::sleep(LOOK_PERIOD),
            Acceptor::NoneYet | Acceptor::Unknown => return false,
        }
    }
}

/// Connects to a port, and looks who has accepted before anything is said.
async fn dial(address: SocketAddr, user: u32) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    let own = stream.local_addr()?;
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    loop {
        match acceptor(address, own) {
            Acceptor::User(found) if found == user => return Ok(stream),
            Acceptor::NoneYet if Instant::now() < deadline => sleep(LOOK_PERIOD).await,
            Acceptor::User(other) => {
                return Err(io::Error::other(format!("another user ({other}) listens at {address}")));
            }
            Acceptor::NoneYet | Acceptor::Unknown => {
                return Err(io::Error::other(format!("who listens at {address} cannot be known")));
            }
        }
    }
}

/// Who has accepted a connection.
#[derive(Debug, PartialEq, Eq)]
enum Acceptor {
    /// A process of this user.
    User(u32),
    /// Nobody yet: the kernel holds it for the listener, and names no user.
    NoneYet,
    /// The kernel shows no such connection.
    Unknown,
}

/// Looks who has accepted our connection from `own` to `address`, in the kernel's table of all connections.
fn acceptor(address: SocketAddr, own: SocketAddr) -> Acceptor {
    let [v4, v6] = TCP_TABLES;
    let table = if address.is_ipv4() { v4 } else { v6 };
    let text = std::fs::read_to_string(table).unwrap_or_default();
    acceptor_in(&text, address, own)
}

/// The same in the text of a table. Its columns: number, local and remote address, state, queues, timer, retransmits, user,
/// timeout, inode (`proc_net_tcp` in the kernel's documentation). The inode is 0 until somebody has accepted.
fn acceptor_in(table: &str, local: SocketAddr, remote: SocketAddr) -> Acceptor {
    let (local, remote) = (in_table(local), in_table(remote));
    let found = table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        let is_it = columns.next() == Some(&local) && columns.next() == Some(&remote);
        let (user, inode) = (columns.nth(4)?, columns.nth(1)?);
        is_it.then(|| Some((user.parse::<u32>().ok()?, inode.parse::<u64>().ok()?)))?
    });
    match found {
        None => Acceptor::Unknown,
        Some((_, 0)) => Acceptor::NoneYet,
        Some((user, _)) => Acceptor::User(user),
    }
}

/// An address as the table has it: each four bytes as a number of this machine, the port as a number.
fn in_table(address: SocketAddr) -> String {
    let bytes = match address {
        SocketAddr::V4(address) => address.ip().octets().to_vec(),
        SocketAddr::V6(address) => address.ip().octets().to_vec(),
    };
    let words = bytes.chunks_exact(4).map(|word| match *word {
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    });
    let words: String = words.map(|word| format!("{word:08X}")).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn own_user() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn a_connection_is_looked_up_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            1: 0100007F:1F45 00000000:0000 0A 00000000:00000001 00:00000000 00000000     7        0 52844 2 0 100 0 0 10 0\n\
            2: 0100007F:1F45 0100007F:C4DC 01 00000000:00000000 00:00000000 00000000  1000        0 99 1 0 20 0 0 10 -1\n\
            3: 0100007F:1F45 0100007F:C4DD 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0 20 0 0 10 -1\n";
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let look = |own: u16| acceptor_in(table, at(8005), at(own));
        assert_eq!(look(0xC4DC), Acceptor::User(1000));
        assert_eq!(look(0xC4DD), Acceptor::NoneYet);
        assert_eq!(look(0xC4DE), Acceptor::Unknown);
        assert_eq!(acceptor_in("torn", at(8005), at(1)), Acceptor::Unknown);
        assert_eq!(
            in_table("[::1]:8005".parse().unwrap()),
            "00000000000000000000000001000000:1F45"
        );
    }

    #[tokio::test]
    async fn a_port_is_used_only_if_the_right_user_has_accepted() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let address = listener.local_addr().unwrap();
            let accepting = std::thread::spawn(move || {
                let accepted = (0..4).map(|_| listener.accept().unwrap());
                accepted.collect::<Vec<_>>()
            });
            assert!(is_accepted_at(address, own_user()));
            assert!(!is_accepted_at(address, own_user() + 1));
            assert!(dial(address, own_user()).await.is_ok());
            let refused = dial(address, own_user() + 1).await.unwrap_err().to_string();
            assert!(refused.contains("another user"), "{refused}");
            drop(accepting.join().unwrap());
        }
    }

    #[tokio::test]
    async fn a_socket_is_used_only_if_the_right_user_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        assert_eq!(listener_at(&path, own_user()), None);
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(listener_at(&path, own_user()), Some(std::process::id()));
        assert_eq!(listener_at(&path, own_user() + 1), None);
    }
}
