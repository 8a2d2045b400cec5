//! What a connection and the keeper say to each other.

use std::io;

use actix::prelude::*;

use super::protocol::FromHost;
use super::socket::Link;

/// To the keeper: a new connection, which takes over from the one before.
#[derive(Message)]
#[rtype(result = "Welcome")]
pub(super) struct Attach(pub(super) Addr<Link>);

/// The number of a new connection and its first frames.
#[derive(MessageResponse)]
pub(super) struct Welcome {
    pub(super) link: u64,
    pub(super) frames: Vec<FromHost>,
}

/// To the keeper: a connection has ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Detach {
    pub(super) link: u64,
}

/// To the keeper: a connection was asked for something that is not its own to do.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Asked {
    pub(super) link: u64,
    pub(super) order: Order,
}

/// What the daemon asks of the keeper.
pub(super) enum Order {
    Write { id: u64, line: String },
    Signal(i32),
    CountChildren,
    EndLeftovers,
    Release,
}

/// To the keeper: the spool was read on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct SpoolGrew;

/// To the keeper: the agent has ended, or can no longer be watched.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AgentEnded(pub(super) io::Result<()>);

/// To the keeper: the host exits and leaves the agent alone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

/// To a connection: a frame for the daemon.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Say(pub(super) FromHost);

/// To a connection: a newer one has taken over.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Superseded;
