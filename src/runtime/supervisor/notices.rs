//! What the supervisor has to say in the journals of sessions.

use actix::prelude::*;

use super::Supervisor;
use crate::runtime::messages::HeldUp;
use crate::session::id::SessionId;
use crate::session::journal::{Entry, Text};
use crate::store::Append;

impl Supervisor {
    /// Says something in the journal of a session that has not ended.
    pub(super) fn write_notice(&self, id: SessionId, text: String) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.life.state.outcome().is_some() {
            return;
        }
        let append = Append {
            session_id: id,
            attempt: session.life.attempt,
            span: None,
            at: self.now(),
            entries: vec![Entry::Notice(Text { text })],
        };
        // Nothing depends on it; a store that fails says so to whoever writes next.
        drop(self.context.store.append(append));
    }
}

impl Handler<HeldUp> for Supervisor {
    type Result = ();

    /// What waited is on disk by now; the journals of those who waited say why there is a gap in their time.
    fn handle(&mut self, HeldUp(passed): HeldUp, _: &mut Self::Context) {
        let seconds = self.now().duration_since(passed.since).as_secs();
        for id in &passed.waiting {
            let text = format!("the disk was full: nothing could be journalled for {seconds} s");
            self.write_notice(*id, text);
        }
    }
}
