//! Sessions that the calls of agents wait for.

use actix::prelude::*;

use super::{SupervisedSession, Supervisor};
use crate::runtime::messages::IsAwaited;

impl Handler<IsAwaited> for Supervisor {
    type Result = bool;

    fn handle(&mut self, IsAwaited { by, awaited }: IsAwaited, _: &mut Self::Context) -> bool {
        let lives = |session: &SupervisedSession| session.life.state.outcome().is_none();
        awaited.into_iter().any(|named| match named {
            Some(id) => id != by && self.sessions.get(&id).is_some_and(lives),
            None => self
                .sessions
                .values()
                .any(|session| session.request.parent == Some(by) && lives(session)),
        })
    }
}
