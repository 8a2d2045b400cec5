//! Which of the sessions that wait may start.
//!
//! A slot covers an agent at work. An agent that starts another one mostly waits for it, and would wait for ever if all
//! slots were held by such agents: so a session lends its slot to the sessions that its agent asked for, to one at a time.
//! More of them take slots of their own, or wait for their turn. As lending goes no deeper than agents may start agents,
//! the agents at work stay bounded.

use std::collections::HashSet;

use super::{SupervisedSession, Supervisor};
use crate::session::id::SessionId;

impl SupervisedSession {
    /// Whether its agent is at work, on a slot of its own or on a lent one.
    pub(super) fn takes_slot(&self) -> bool {
        self.life.state.has_agent() && (!self.summary.lifecycle.state.has_agent() || self.summary.takes_slot())
    }
}

impl Supervisor {
    /// Takes the next session that may start from the queue: first come first served, but for those that have a slot
    /// lent to them.
    pub(super) fn next_to_start(&mut self) -> Option<SessionId> {
        if self.queue.is_empty() {
            return None;
        }
        let lenders = self.lenders();
        let at_work = self.sessions.values().filter(|session| session.takes_slot()).count();
        // A lender and whom it lends to hold one slot together.
        if at_work - lenders.len() < self.context.settings.live_agents_max {
            return self.queue.pop_front();
        }
        let may_borrow = |id: &SessionId| {
            let lender = self.sessions.get(id).and_then(|session| self.lender(session));
            lender.is_some_and(|lender| !lenders.contains(&lender))
        };
        let at = self.queue.iter().position(may_borrow)?;
        self.queue.remove(at)
    }

    /// The sessions that have lent their slots.
    fn lenders(&self) -> HashSet<SessionId> {
        let at_work = self.sessions.values().filter(|session| session.takes_slot());
        at_work.filter_map(|session| self.lender(session)).collect()
    }

    /// Who would lend its slot to this session: the one whose agent asked for it, while that is at work.
    fn lender(&self, session: &SupervisedSession) -> Option<SessionId> {
        let parent = session.request.parent?;
        self.sessions.get(&parent)?.takes_slot().then_some(parent)
    }
}
