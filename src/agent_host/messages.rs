//! What a connection and the keeper say to each other.

use std::io;

use actix::dev::RecipientRequest;
use actix::prelude::*;

use super::protocol::FromHost;

/// The keeper as its connections know it.
#[derive(Clone)]
pub(super) struct KeeperAddress {
    attach: Recipient<Attach>,
    tell: Recipient<FromLink>,
}

impl KeeperAddress {
    /// The address of the actor that keeps the agent.
    pub(super) fn of<K>(keeper: &Addr<K>) -> Self
    where
        K: Actor<Context = Context<K>> + Handler<Attach> + Handler<FromLink>,
    {
        Self {
            attach: keeper.clone().recipient(),
            tell: keeper.clone().recipient(),
        }
    }

    /// Announces a new connection.
    pub(super) fn attach(&self, link: Recipient<ToLink>) -> RecipientRequest<Attach> {
        self.attach.send(Attach(link))
    }

    /// Sends what a connection has to say.
    pub(super) fn tell(&self, message: FromLink) {
        self.tell.do_send(message);
    }
}

/// To the keeper: a new connection, which takes over from the one before.
#[derive(Message)]
#[rtype(result = "Welcome")]
pub(super) struct Attach(pub(super) Recipient<ToLink>);

/// The number of a new connection and its first frames.
#[derive(MessageResponse)]
pub(super) struct Welcome {
    pub(super) link: u64,
    pub(super) frames: Vec<FromHost>,
}

/// To the keeper, from a connection.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum FromLink {
    /// The connection has ended.
    Detach { link: u64 },
    /// The connection was asked for something that is not its own to do.
    Asked { link: u64, order: Order },
    /// The spool was read on.
    SpoolGrew,
}

/// What the daemon asks of the keeper.
pub(super) enum Order {
    Write { id: u64, line: String },
    Signal(i32),
    CountChildren,
    EndLeftovers,
    Release,
}

/// To the keeper: the agent has ended, or can no longer be watched.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct AgentEnded(pub(super) io::Result<()>);

/// To the keeper: the host exits and leaves the agent alone.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Leave;

/// To a connection.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) enum ToLink {
    /// A frame for the daemon.
    Say(FromHost),
    /// A newer connection has taken over.
    Superseded,
}
