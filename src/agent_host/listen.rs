//! The Unix socket and the server on it; bound anew when a cleaner of temporary files has removed it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;

use super::log;
use super::messages::KeeperAddress;
use super::protocol::FRAME_BYTES_MAX;
use super::socket::HostConnection;
use super::tail::SpoolTail;
use crate::disk;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 16;

/// The file of a socket that this process has bound.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Its device and inode.
    file: (u64, u64),
}

impl SocketFile {
    /// Binds a socket for its user alone, in place of whatever has its name.
    pub(crate) fn bind(path: &Path) -> io::Result<(Self, UnixListener)> {
        disk::create_parent(path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let (path, file) = (path.to_owned(), file_at(path)?);
        Ok((Self { path, file }, listener))
    }

    /// The path of the socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if the file is still there and ours.
    pub(crate) fn is_there(&self) -> bool {
        file_at(&self.path).is_ok_and(|file| file == self.file)
    }

    /// Removes the file, if it is ours.
    pub(crate) fn remove(&self) {
        if self.is_there() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Where the daemon knocks.
pub(super) struct HostSocketFile {
    file: SocketFile,
    /// Bound and not yet served.
    listener: Option<UnixListener>,
    server: Option<ServerHandle>,
}

impl HostSocketFile {
    /// Binds the socket. A file in its place is stale, since whoever calls this holds the host's lock.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let (file, listener) = SocketFile::bind(path)?;
        Ok(Self {
            file,
            listener: Some(listener),
            server: None,
        })
    }

    /// Serves what is bound, and stops serving what was bound before.
    pub(super) fn open(&mut self, keeper: &KeeperAddress, spool: &Arc<File>) -> io::Result<()> {
        let Some(listener) = self.listener.take() else {
            return Ok(());
        };
        let (keeper, spool) = (web::Data::new(keeper.clone()), web::Data::from(Arc::clone(spool)));
        let app = move || {
            let data = App::new().app_data(keeper.clone()).app_data(spool.clone());
            data.route("/", web::get().to(attach))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .backlog(BACKLOG)
            .disable_signals()
            .listen_uds(listener)?
            .run();
        let before = self.server.replace(server.handle());
        actix::spawn(server);
        if let Some(before) = before {
            actix::spawn(before.stop(false));
        }
        Ok(())
    }

    /// Binds anew if the socket file is gone or no longer ours. This ends every connection there is.
    pub(super) fn mend(&mut self, keeper: &KeeperAddress, spool: &Arc<File>) -> io::Result<()> {
        if self.file.is_there() {
            return Ok(());
        }
        let path = self.file.path();
        log(format_args!("the socket {} has vanished, binding anew", path.display()));
        let (file, listener) = SocketFile::bind(path)?;
        (self.listener, self.file) = (Some(listener), file);
        self.open(keeper, spool)
    }

    /// Removes the socket file, if it is ours.
    pub(super) fn remove(&self) {
        self.file.remove();
    }
}

/// Device and inode of what is at a path, links not followed.
fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

async fn attach(
    request: HttpRequest,
    stream: web::Payload,
    keeper: web::Data<KeeperAddress>,
    spool: web::Data<File>,
) -> Result<HttpResponse, actix_web::Error> {
    let tail = SpoolTail::of(spool.into_inner());
    let link = HostConnection::new(keeper.get_ref().clone(), tail);
    ws::WsResponseBuilder::new(link, &request, stream)
        .frame_size(FRAME_BYTES_MAX)
        .start()
}
