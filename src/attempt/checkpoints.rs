//! Checkpoints: after each step that leaves nothing open, and at least once an interval in which anything happened.

use std::time::Duration;

use super::{Attempt, Moment};
use crate::session::checkpoint::{Checkpoint, GitState};
use crate::session::journal::Entry;
use crate::session::message::Message;
use crate::session::summary::Summary;
use crate::session::turn::Turns;

/// What decides about checkpoints. Points in time count from the beginning of the attempt.
#[derive(Clone, Debug)]
pub(super) struct Checkpoints {
    /// What the agent is up to, ahead of the journal by what is not acknowledged yet.
    work: Turns,
    /// The model's rounds that results have counted.
    turns: u32,
    /// When the last one was written.
    last: Duration,
    /// Where the directory stands, as of the last look.
    git: Option<GitState>,
    /// When that look began; none before the first.
    looked: Option<Duration>,
    /// It goes on.
    is_looking: bool,
}

impl Checkpoints {
    pub(super) fn new(summary: &Summary, now: Moment) -> Self {
        Self {
            work: summary.work.clone(),
            turns: summary.turns,
            last: now.running,
            git: None,
            looked: None,
            is_looking: false,
        }
    }

    /// Takes an entry into account before it is journalled.
    pub(super) fn take(&mut self, entry: &Entry) {
        self.work.take(entry);
        if let Entry::AgentMessage(said) = entry
            && let Message::TurnEnded(end) = &said.message
        {
            self.turns = self.turns.saturating_add(end.model_calls());
        }
    }

    /// Model calls so far, those of a turn that has not ended among them.
    fn turns(&self) -> u32 {
        self.turns.saturating_add(self.uncounted_calls())
    }

    /// Model calls since the last result.
    pub(super) fn uncounted_calls(&self) -> u32 {
        self.work.uncounted_rounds()
    }

    /// True if there is to be one now: nothing is open, and a step has ended or the interval has passed.
    fn is_due(&mut self, is_step: bool, interval: Duration, now: Moment) -> bool {
        let has_passed = now.running.saturating_sub(self.last) >= interval;
        let is_due = (is_step || has_passed) && self.work.is_between_tools();
        if is_due {
            self.last = now.running;
        }
        is_due
    }

    /// True if a look at the directory's git repository is to begin: at most one an interval, and one at a time.
    pub(super) fn looks_at_git(&mut self, interval: Duration, now: Moment) -> bool {
        let is_recent = |looked: Duration| now.running.saturating_sub(looked) < interval;
        if self.is_looking || self.looked.is_some_and(is_recent) {
            return false;
        }
        (self.looked, self.is_looking) = (Some(now.running), true);
        true
    }

    pub(super) fn looked(&mut self, git: Option<GitState>) {
        (self.is_looking, self.git) = (false, git);
    }
}

impl Attempt {
    /// Writes a checkpoint behind the message that was just taken, if one is due. `is_step` is whether that message ends a
    /// step of the work. `offset` is where its line ends.
    pub(super) fn checkpoint_if_clear(&mut self, is_step: bool, offset: u64) {
        if !self.checkpoints.is_due(is_step, self.checkpoint_interval(), self.now) {
            return;
        }
        let checkpoint = Checkpoint {
            agent_session_id: self.summary.lifecycle.agent_session_id.unwrap_or_default(),
            message: self.intake.last_message,
            offset,
            turns: self.checkpoints.turns(),
            usage: self.meter.usage(),
            questions_open: u32::try_from(self.summary.questions.len()).unwrap_or(u32::MAX),
            git: self.checkpoints.git.clone(),
        };
        self.intake.batch.push(Entry::Checkpoint(checkpoint));
    }
}
