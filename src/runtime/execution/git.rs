//! Where the directory's git repository stands, for checkpoints.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use super::Execution;
use crate::attempt::AttemptInput;
use crate::runtime::git;

/// The most executions that look at git repositories at once.
pub(in crate::runtime) const AT_GIT_MAX: usize = 4;

/// How long git may take. It may hang where the directory is on a server that does not answer.
const GIT_TIMEOUT: Duration = Duration::from_secs(20);

impl Execution {
    /// Looks off the actors' threads, and behind all executions that connect at the time.
    pub(super) fn look_at_git(&mut self, ctx: &mut Context<Self>) {
        let directory = self.task.request.cwd.clone();
        let settings = &self.context.settings;
        let place = settings.session_directory(self.task.session_id).join("git");
        let (connecting, at_git) = (Arc::clone(&self.context.connecting), Arc::clone(&self.context.at_git));
        let looking = async move {
            // The semaphores are never closed. Of the first a turn is waited for and not taken: the queue is a fair one.
            drop(connecting.acquire().await);
            let _turn = at_git.acquire().await.ok();
            tokio::time::timeout(GIT_TIMEOUT, git::state(&directory, &place)).await
        };
        ctx.spawn(
            looking
                .into_actor(self)
                .map(|git, act, ctx| act.step(AttemptInput::Git(git.ok().flatten()), ctx)),
        );
    }
}
