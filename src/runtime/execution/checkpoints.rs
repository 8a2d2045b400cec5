//! Checkpoints: after each step that leaves nothing open, and at least once an interval in which anything happened.

use tokio::time::Instant;

use super::spending::Meter;
use super::*;
use crate::runtime::git;
use crate::session::checkpoint::{Checkpoint, GitState};
use crate::session::message::{Message, Usage};
use crate::session::turn::Turns;

/// How long git may take. It may hang where the directory is on a server that does not answer.
const GIT_TIMEOUT: Duration = Duration::from_secs(20);

/// What decides about checkpoints.
pub(super) struct Checkpoints {
    /// What the agent is up to, and what it has used, ahead of the journal by what is not acknowledged yet.
    work: Turns,
    /// The model's rounds that results have counted.
    turns: u32,
    pub meter: Meter,
    /// When the last one was written.
    last: Instant,
    /// Where the directory stands, as of the last look.
    git: Option<GitState>,
    /// When that look began; none before the first.
    looked: Option<Instant>,
    /// It goes on.
    is_looking: bool,
}

impl Checkpoints {
    pub(super) fn new(summary: &Summary) -> Self {
        Self {
            work: summary.work.clone(),
            turns: summary.turns,
            meter: Meter::new(summary),
            last: Instant::now(),
            git: None,
            looked: None,
            is_looking: false,
        }
    }

    /// Takes an entry into account before it is journalled; what was used by now, if that is to be journalled too.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<Usage> {
        self.work.take(entry);
        if let Entry::AgentMessage(said) = entry
            && let Message::TurnEnded(end) = &said.message
        {
            self.turns = self.turns.saturating_add(end.model_calls());
        }
        self.meter.take(entry)
    }

    /// Model calls so far, those of a turn that has not ended among them.
    fn turns(&self) -> u32 {
        self.turns.saturating_add(self.uncounted_calls())
    }

    /// Model calls since the last result.
    pub(super) fn uncounted_calls(&self) -> u32 {
        self.work.uncounted_rounds()
    }
}

impl Execution {
    /// What the request says, or else the daemon's settings.
    pub(super) fn checkpoint_interval(&self) -> Duration {
        let asked_for = self.task.request.checkpoint_interval_seconds.map(Duration::from_secs);
        asked_for.unwrap_or(self.surroundings.settings.checkpoint_interval)
    }

    /// Writes a checkpoint behind the message that was just taken, if it is due and nothing is open. `is_step` is
    /// whether that message ends a step of the work; others are checkpoints only once an interval. `offset` is where its
    /// line ends.
    pub(super) fn checkpoint_if_clear(&mut self, is_step: bool, offset: u64) {
        let interval = self.checkpoint_interval();
        let is_due = is_step || self.checkpoints.last.elapsed() >= interval;
        if !is_due || !self.checkpoints.work.is_between_tools() {
            return;
        }
        self.checkpoints.last = Instant::now();
        let checkpoint = Checkpoint {
            agent_session_id: self.summary.lifecycle.agent_session_id.unwrap_or_default(),
            message: self.intake.last_message,
            offset,
            turns: self.checkpoints.turns(),
            usage: self.checkpoints.meter.usage(),
            questions_open: u32::try_from(self.summary.questions.len()).unwrap_or(u32::MAX),
            git: self.checkpoints.git.clone(),
        };
        self.intake.batch.push(Entry::Checkpoint(checkpoint));
    }

    /// Looks where the directory's git repository stands: at most once an interval, off the actors' threads, and behind
    /// all executions that connect at the time.
    pub(super) fn look_at_git(&mut self, ctx: &mut Context<Self>) {
        let interval = self.checkpoint_interval();
        if self
            .checkpoints
            .looked
            .is_some_and(|looked| looked.elapsed() < interval)
        {
            return;
        }
        if self.checkpoints.is_looking {
            return;
        }
        (self.checkpoints.looked, self.checkpoints.is_looking) = (Some(Instant::now()), true);
        let directory = self.task.request.cwd.clone();
        let settings = &self.surroundings.settings;
        let place = settings.session_directory(self.task.session_id).join("git");
        let (connecting, at_git) = (
            Arc::clone(&self.surroundings.connecting),
            Arc::clone(&self.surroundings.at_git),
        );
        let looking = async move {
            // The semaphores are never closed. Of the first a turn is waited for and not taken: the queue is a fair one.
            drop(connecting.acquire().await);
            let _turn = at_git.acquire().await.ok();
            tokio::time::timeout(GIT_TIMEOUT, git::state(&directory, &place)).await
        };
        ctx.spawn(looking.into_actor(self).map(|git, act, _| {
            act.checkpoints.is_looking = false;
            act.checkpoints.git = git.ok().flatten();
        }));
    }
}
