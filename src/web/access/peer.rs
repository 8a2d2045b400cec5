//! The caller at the daemon's socket, by the process at its other end.
//!
//! [`caller_of`] alone decides who a peer is. It asks for each request, because a process may change after it connected.

use rustix::process::geteuid;

use super::OWNER;
use super::caller::{Caller, Role};
use crate::web::error::{Code, Problem};
use crate::web::peer::Peer;

/// The user who may do everything on this machine.
const ROOT: u32 = 0;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::peer::NOBODY;
    use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
    use std::sync::Arc;
    use tokio::net::UnixStream;

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
