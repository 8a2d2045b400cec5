//! The Unix socket and the server on it; bound anew when a cleaner of temporary files has removed it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix::Addr;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use actix_web_actors::ws;

use super::keeper::Keeper;
use super::protocol::FRAME_BYTES_MAX;
use super::socket::Link;
use super::tail::Tail;
use super::{disk, log};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 16;

/// Where the daemon knocks.
pub(super) struct Door {
    path: PathBuf,
    /// Device and inode of the socket file that is ours.
    file: (u64, u64),
    /// Bound and not yet served.
    listener: Option<UnixListener>,
    server: Option<ServerHandle>,
}

impl Door {
    /// Binds the socket. A file in its place is stale, since whoever calls this holds the host's lock.
    pub(super) fn bind(path: &Path) -> io::Result<Self> {
        let (listener, file) = bind(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            listener: Some(listener),
            server: None,
        })
    }

    /// Serves what is bound, and stops serving what was bound before.
    pub(super) fn open(&mut self, keeper: &Addr<Keeper>, spool: &Arc<File>) -> io::Result<()> {
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
    pub(super) fn mend(&mut self, keeper: &Addr<Keeper>, spool: &Arc<File>) -> io::Result<()> {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            return Ok(());
        }
        log(format_args!(
            "the socket {} has vanished, binding anew",
            self.path.display()
        ));
        let (listener, file) = bind(&self.path)?;
        (self.listener, self.file) = (Some(listener), file);
        self.open(keeper, spool)
    }

    /// Removes the socket file, if it is ours.
    pub(super) fn remove(&self) {
        if file_at(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket for its user alone, in place of whatever has its name, and answers which file it is.
pub(crate) fn bind(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    disk::create_parent(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok((listener, file_at(path)?))
}

/// Device and inode of what is at a path, links not followed.
pub(crate) fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

async fn attach(
    request: HttpRequest,
    stream: web::Payload,
    keeper: web::Data<Addr<Keeper>>,
    spool: web::Data<File>,
) -> Result<HttpResponse, actix_web::Error> {
    let tail = Tail::of(spool.into_inner());
    let link = Link::new(keeper.get_ref().clone(), tail);
    ws::WsResponseBuilder::new(link, &request, stream)
        .frame_size(FRAME_BYTES_MAX)
        .start()
}
