//! Who stands at the other end of the daemon's Unix socket: the kernel says it, so no token is needed there.
//!
//! [`caller_of`] alone decides who a peer is. It asks for each request, because a process may change after it connected.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use rustix::time::Timespec;
use tokio::net::UnixStream;

use super::OWNER;
use super::caller::{Caller, Role};
use crate::web::error::{Code, Problem};

/// The user who may do everything on this machine.
const ROOT: u32 = 0;

/// Option of a socket that answers a descriptor of the process at its other end; from Linux 6.5 on.
const SO_PEERPIDFD: libc::c_int = 77;

/// No user's id.
const NOBODY: u32 = u32::MAX;

/// The process that connected, as the kernel noted it when it did. Stands in the connection's data of each request that
/// came by the socket, and of no other.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its effective user.
    pub(crate) uid: u32,
    /// Its process id in the daemon's own namespace; 0 if it has none there.
    pub(crate) pid: i32,
    /// Refers to this very process, whatever its id means later.
    process: Option<Arc<OwnedFd>>,
}

impl Peer {
    /// The process that made a connection. One that the kernel does not name is nobody, who may do nothing.
    pub(in crate::web) fn of(stream: &UnixStream) -> Self {
        let Ok(credentials) = stream.peer_cred() else {
            return Self {
                uid: NOBODY,
                pid: 0,
                process: None,
            };
        };
        let pid = credentials.pid().unwrap_or(0);
        Self {
            uid: credentials.uid(),
            pid,
            process: process_of(stream, pid).ok().map(Arc::new),
        }
    }

    /// Returns true if the process that connected still lives: until then its id means no other process. What is read
    /// of a process by its id is the peer's own if this is true afterwards.
    pub(crate) fn lives(&self) -> bool {
        let Some(process) = &self.process else { return false };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A process descriptor can be read from once the process has ended.
        matches!(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&now)), Ok(0))
    }
}

/// Returns who a peer of the socket is: the daemon's own user and root are the owner.
///
/// Errors if it is another user, or a process of which nothing can be known.
pub(in crate::web) fn caller_of(peer: &Peer) -> Result<Caller, Problem> {
    let (uid, pid) = (peer.uid, peer.pid);
    if ![geteuid().as_raw(), ROOT].contains(&uid) {
        tracing::warn!(uid, pid, "a process of another user was refused at the socket");
        let told = format!("user {uid} may not call the daemon of another user");
        return Err(Problem::new(Code::ForeignUser, told));
    }
    if !peer.lives() {
        let told = "the process that opened this connection has ended, or is not of this machine: open another connection, \
                    or call the TCP port with a token";
        return Err(Problem::new(Code::ForeignUser, told));
    }
    Ok(Caller::holding(OWNER, Role::Admin))
}

/// A descriptor of the process that connected: from the kernel itself, or from a kernel before 6.5 by the process's id.
fn process_of(stream: &UnixStream, pid: i32) -> io::Result<OwnedFd> {
    match peer_pidfd(stream) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NOPROTOOPT) => {
            let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
            Ok(pidfd_open(pid, PidfdFlags::empty())?)
        }
        found => found,
    }
}

#[expect(unsafe_code, reason = "neither std nor rustix has a call for SO_PEERPIDFD")]
fn peer_pidfd(stream: &UnixStream) -> io::Result<OwnedFd> {
    let mut fd: libc::c_int = -1;
    let mut length = libc::socklen_t::try_from(size_of_val(&fd)).map_err(io::Error::other)?;
    let socket = stream.as_fd().as_raw_fd();
    // SAFETY: the option is an int, and `length` says how many bytes there are for it.
    let outcome = unsafe {
        libc::getsockopt(
            socket,
            libc::SOL_SOCKET,
            SO_PEERPIDFD,
            (&raw mut fd).cast(),
            &raw mut length,
        )
    };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{WaitId, WaitIdOptions, waitid};

    /// Both ends of a connection over a socket.
    async fn connected() -> (UnixStream, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let listener = tokio::net::UnixListener::bind(dir.path().join("s")).unwrap();
        let (client, accepted) = tokio::join!(UnixStream::connect(dir.path().join("s")), listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn the_daemons_own_user_and_root_are_the_owner_and_nobody_else() {
        let (_client, accepted) = connected().await;
        let peer = Peer::of(&accepted);
        assert_eq!((peer.uid, peer.pid), (geteuid().as_raw(), std::process::id() as i32));
        let caller = caller_of(&peer).unwrap();
        assert!(caller.is_owner() && caller.role == Role::Admin && caller.csrf.is_none());
        let of = |uid: u32| caller_of(&Peer { uid, ..peer.clone() });
        assert!(of(ROOT).unwrap().is_owner());
        for other in [geteuid().as_raw() + 1, 65_534, NOBODY] {
            assert_eq!(of(other).unwrap_err().code(), Code::ForeignUser, "{other}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_has_ended_is_nobody() {
        let (_client, accepted) = connected().await;
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let peer = Peer {
            pid: child.id() as i32,
            process: Some(Arc::new(process)),
            ..Peer::of(&accepted)
        };
        let before = caller_of(&peer).is_ok();
        child.kill().unwrap();
        // It counts as ended before it is reaped, while its id is still its own.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&child)), ended).unwrap();
        let after = caller_of(&peer).map_err(|problem| problem.code());
        child.wait().unwrap();
        assert!(before);
        assert_eq!(after, Err(Code::ForeignUser));
    }

    #[tokio::test]
    async fn a_process_that_is_not_of_this_namespace_is_nobody() {
        let (_client, accepted) = connected().await;
        let peer = Peer {
            pid: 0,
            process: None,
            ..Peer::of(&accepted)
        };
        assert!(!peer.lives());
        assert_eq!(caller_of(&peer).unwrap_err().code(), Code::ForeignUser);
    }
}
