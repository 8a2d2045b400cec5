//! Who stands at the other end of the daemon's Unix socket: the kernel says it, so no token is needed there.
//! `access` decides what it may do.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::Timespec;
use tokio::net::UnixStream;

/// Option of a socket that answers a descriptor of the process at its other end; from Linux 6.5 on.
const SO_PEERPIDFD: libc::c_int = 77;

/// No user's id.
pub(super) const NOBODY: u32 = u32::MAX;

/// The process that connected, as the kernel noted it when it did. Stands in the connection's data of each request that
/// came by the socket, and of no other.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its effective user.
    pub(crate) uid: u32,
    /// Its process id in the daemon's own namespace; 0 if it has none there.
    pub(crate) pid: i32,
    /// Refers to this very process, whatever its id means later.
    pub(super) process: Option<Arc<OwnedFd>>,
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
