//! How many connections there may be, and for how long one may say nothing: whoever can reach a listener can fill it, and
//! who has a token gets in all the same.
//!
//! A connection is a stranger's until a request on it shows who calls. Strangers have a part of the connections only, and
//! a time. Who comes when that part is full takes the place of the oldest: nobody holds a place by waiting. Guests, who are
//! known and not the owner, have a part as well, so that the owner always has the rest.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix_web::dev::Extensions;
use rustix::net::{Shutdown, shutdown};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpStream, UnixStream};

use super::peer::Peer;
use crate::config::ServerSettings;

/// The part of this process's open files that the connections of one listener may take: with strangers, of which each has
/// two, and a second listener this leaves half of them.
const OPEN_FILES_PART: u64 = 8;

/// The part of the connections that guests leave to the owner.
const OWNERS_PART: usize = 4;

/// Counts the connections of one listener; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Gate(Arc<GateState>);

#[derive(Debug)]
struct GateState {
    connections_max: usize,
    strangers_max: usize,
    patience: Duration,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The number of the next connection.
    next: u64,
    /// Connections of the owner.
    owners: usize,
    /// Connections of others who have shown who they are.
    guests: usize,
    /// The others by their numbers, the oldest first.
    strangers: BTreeMap<u64, Stranger>,
}

/// A connection that may be ended.
#[derive(Debug)]
struct Stranger {
    since: Instant,
    /// A second descriptor of the connection; the first is the server's own.
    connection: OwnedFd,
}

impl Stranger {
    /// Ends the connection: the server finds it closed by its client. One that is closed already stays so.
    fn end(self) {
        let _ = shutdown(&self.connection, Shutdown::Both);
    }
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Stranger,
    Guest,
    Owner,
}

/// One connection; stands in its data, and ends with it.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<GateState>,
    number: u64,
    holder: Mutex<Holder>,
}

/// Guests have as many connections as they may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Gate {
    pub(super) fn new(settings: &ServerSettings) -> Self {
        let open_files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let fit = usize::try_from(open_files / OPEN_FILES_PART)
            .unwrap_or(usize::MAX)
            .max(1);
        if fit < settings.connections_max {
            tracing::warn!(
                open_files,
                connections = fit,
                "few files may be open: fewer connections are taken"
            );
        }
        let connections_max = settings.connections_max.min(fit);
        Self(Arc::new(GateState {
            connections_max,
            strangers_max: settings.strangers_max.min(connections_max),
            patience: Duration::from_secs(settings.strangers_seconds),
            counts: Mutex::default(),
        }))
    }

    /// The most connections that the server may accept: a stranger is accepted before another is ended for it.
    pub(super) fn accepted_max(&self) -> usize {
        self.0.connections_max + self.0.strangers_max
    }

    /// Takes in a new connection of the server, and notes by the kernel's word who made it where that can be known.
    pub(super) fn greet(&self, connection: &dyn Any, data: &mut Extensions) {
        let pass = if let Some(stream) = connection.downcast_ref::<UnixStream>() {
            data.insert(Peer::of(stream));
            self.enter(stream.as_fd())
        } else if let Some(stream) = connection.downcast_ref::<TcpStream>() {
            self.enter(stream.as_fd())
        } else {
            return;
        };
        match pass {
            Ok(pass) => drop(data.insert(pass)),
            Err(error) => tracing::warn!(%error, "a connection was ended: it cannot be watched"),
        }
    }

    /// Takes in a stranger, in the place of the oldest if there are too many.
    fn enter(&self, connection: BorrowedFd<'_>) -> io::Result<Pass> {
        let copy = connection.try_clone_to_owned().inspect_err(|_| {
            let _ = shutdown(connection, Shutdown::Both);
        })?;
        let mut counts = self.0.counts();
        let number = counts.next;
        counts.next += 1;
        let stranger = Stranger {
            since: Instant::now(),
            connection: copy,
        };
        counts.strangers.insert(number, stranger);
        let mut over = Vec::new();
        while counts.strangers.len() > self.0.room(counts.owners + counts.guests) {
            over.extend(counts.strangers.pop_first());
        }
        drop(counts);
        over.into_iter().for_each(|(_, stranger)| stranger.end());
        Ok(Pass {
            gate: Arc::clone(&self.0),
            number,
            holder: Mutex::default(),
        })
    }

    /// Ends the strangers whose time is over.
    pub(super) fn sweep(&self, now: Instant) {
        let mut counts = self.0.counts();
        let is_over = |stranger: &Stranger| now.duration_since(stranger.since) >= self.0.patience;
        let over: Vec<_> = counts
            .strangers
            .extract_if(.., |_, stranger| is_over(stranger))
            .collect();
        drop(counts);
        over.into_iter().for_each(|(_, stranger)| stranger.end());
    }
}

impl GateState {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most guests.
    fn guests_max(&self) -> usize {
        self.connections_max - self.connections_max / OWNERS_PART
    }

    /// The most strangers beside so many others; always one, which may yet show who it is.
    fn room(&self, known: usize) -> usize {
        let left = self.connections_max.saturating_sub(known);
        left.min(self.strangers_max).max(1)
    }
}

impl Pass {
    /// A request on this connection has shown who calls. Errors if that is a guest and there are too many.
    pub(super) fn is_shown(&self, is_owner: bool) -> Result<(), Full> {
        let mut holder = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if *holder != Holder::Stranger {
            return Ok(());
        }
        let mut counts = self.gate.counts();
        if is_owner {
            counts.owners += 1;
            *holder = Holder::Owner;
        } else if counts.guests < self.gate.guests_max() {
            counts.guests += 1;
            *holder = Holder::Guest;
        } else {
            return Err(Full);
        }
        counts.strangers.remove(&self.number);
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let holder = *self.holder.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut counts = self.gate.counts();
        match holder {
            Holder::Stranger => drop(counts.strangers.remove(&self.number)),
            Holder::Guest => counts.guests = counts.guests.saturating_sub(1),
            Holder::Owner => counts.owners = counts.owners.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream as Pair;

    fn gate(connections_max: usize, strangers_max: usize) -> Gate {
        Gate(Arc::new(GateState {
            connections_max,
            strangers_max,
            patience: Duration::from_secs(30),
            counts: Mutex::default(),
        }))
    }

    /// A connection: the client's end, the server's, and its pass.
    fn knock(gate: &Gate) -> (Pair, Pair, Pass) {
        let (client, server) = Pair::pair().unwrap();
        client.set_nonblocking(true).unwrap();
        let pass = gate.enter(server.as_fd()).unwrap();
        (client, server, pass)
    }

    fn is_ended(client: &mut Pair) -> bool {
        matches!(client.read(&mut [0]), Ok(0))
    }

    #[test]
    fn a_further_stranger_takes_the_place_of_the_oldest() {
        let gate = gate(9, 2);
        let mut all: Vec<_> = (0..3).map(|_| knock(&gate)).collect();
        let ended: Vec<_> = all.iter_mut().map(|(client, ..)| is_ended(client)).collect();
        assert_eq!(ended, [true, false, false]);
    }

    #[test]
    fn who_has_shown_who_calls_is_left_alone() {
        let gate = gate(3, 2);
        let mut all: Vec<_> = (0..2).map(|_| knock(&gate)).collect();
        for is_owner in [true, false] {
            let shown = all.iter().map(|(_, _, pass)| pass.is_shown(is_owner));
            assert!(shown.collect::<Result<Vec<_>, _>>().is_ok());
        }
        all.extend((0..3).map(|_| knock(&gate)));
        let ended: Vec<_> = all.iter_mut().map(|(client, ..)| is_ended(client)).collect();
        // Beside two that are known there is room for one; a new one is always let in.
        assert_eq!(ended, [false, false, true, true, false]);
        gate.sweep(Instant::now() + Duration::from_secs(31));
        let ended: Vec<_> = all.iter_mut().map(|(client, ..)| is_ended(client)).collect();
        assert_eq!(ended, [false, false, true, true, true]);
        drop(all);
        let counts = gate.0.counts();
        assert_eq!((counts.owners, counts.guests, counts.strangers.len()), (0, 0, 0));
    }

    #[test]
    fn guests_leave_a_part_to_the_owner() {
        let gate = gate(4, 4);
        let all: Vec<_> = (0..5).map(|_| knock(&gate)).collect();
        let shown: Vec<_> = all[..4].iter().map(|(_, _, pass)| pass.is_shown(false)).collect();
        assert_eq!(shown, [Ok(()), Ok(()), Ok(()), Err(Full)]);
        assert_eq!(all[4].2.is_shown(true), Ok(()));
        drop(all);
        assert_eq!(gate.0.counts().guests, 0);
        assert_eq!(knock(&gate).2.is_shown(false), Ok(()));
    }

    #[test]
    fn a_strangers_time_is_counted_from_its_beginning() {
        let gate = gate(9, 9);
        let mut one = knock(&gate);
        gate.sweep(Instant::now());
        assert!(!is_ended(&mut one.0));
        gate.sweep(Instant::now() + Duration::from_secs(30));
        assert!(is_ended(&mut one.0));
    }
}
