//! Checkpoints: after each step that leaves nothing open, and at least once an interval in which anything happened.

use std::path::Path;
use std::process::{Command, Stdio};

use tokio::time::Instant;

use super::spending::Meter;
use super::*;
use crate::session::checkpoint::{Checkpoint, GitState};
use crate::session::message::{Message, Usage};
use crate::session::turn::Turns;

/// What decides about checkpoints.
pub(super) struct Checkpoints {
    /// What the agent is up to, and what it has used, ahead of the journal by what is not acknowledged yet.
    work: Turns,
    turns: u32,
    pub meter: Meter,
    /// When the last one was written.
    last: Instant,
    /// Where the directory stands, as of the last look.
    git: Option<GitState>,
    /// When that look began; none before the first.
    looked: Option<Instant>,
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
        }
    }

    /// Takes an entry into account before it is journalled; what was used by now, if that is to be journalled too.
    pub(super) fn take(&mut self, entry: &Entry) -> Option<Usage> {
        self.work.take(entry);
        if let Entry::AgentMessage(said) = entry
            && let Message::TurnEnded(end) = &said.message
        {
            self.turns = self.turns.saturating_add(end.turns);
        }
        self.meter.take(entry)
    }
}

impl Execution {
    /// What the request says, or else the daemon's settings.
    pub(super) fn checkpoint_interval(&self) -> Duration {
        let asked_for = self.task.request.checkpoint_interval_seconds.map(Duration::from_secs);
        asked_for.unwrap_or(self.surroundings.settings.checkpoint_interval)
    }

    /// Writes a checkpoint behind the message that was just taken, if it is due and nothing is open. `is_step` is
    /// whether that message ends a step of the work; others are checkpoints only once an interval.
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
            turns: self.checkpoints.turns,
            usage: self.checkpoints.meter.usage(),
            questions_open: u32::try_from(self.summary.questions.len()).unwrap_or(u32::MAX),
            git: self.checkpoints.git.clone(),
        };
        self.intake.batch.push(Entry::Checkpoint(checkpoint));
    }

    /// Looks where the directory's git repository stands: at most once an interval, and off the actors' threads.
    pub(super) fn look_at_git(&mut self, ctx: &mut Context<Self>) {
        let interval = self.checkpoint_interval();
        if self
            .checkpoints
            .looked
            .is_some_and(|looked| looked.elapsed() < interval)
        {
            return;
        }
        self.checkpoints.looked = Some(Instant::now());
        let directory = self.task.request.cwd.clone();
        let looking = tokio::task::spawn_blocking(move || git_state(&directory));
        let looking = async move { looking.await.ok().flatten() };
        ctx.spawn(looking.into_actor(self).map(|git, act, _| act.checkpoints.git = git));
    }
}

/// The commit and whether tracked files differ from it; none outside a repository. Takes no lock of git's, so that it
/// is in nobody's way.
fn git_state(directory: &Path) -> Option<GitState> {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .arg("--no-optional-locks")
            .arg("-C")
            .arg(directory)
            .args(arguments);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let dirty = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(GitState { commit, dirty })
}
