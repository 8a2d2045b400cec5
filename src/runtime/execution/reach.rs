//! The way to the agent's host: the attempt is prepared, and its host found or started.
//!
//! An agent goes on where no host can be had for it, say because no process can be started just now. Then it is reached
//! for again and again, ever more slowly; the session fails only once nothing of the agent is alive. Where it is to
//! end meanwhile, it is ended by the mark on its processes.

use super::prepare::{Prepared, Unprepared, prepare};
use super::*;
use crate::agent::launch::LaunchError;

/// The longest wait before the host is reached for again.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long an attempt waits before it is prepared again that finds a full disk, or no means to start a process.
pub(super) const WANT_PAUSE: Duration = Duration::from_secs(2);

/// What is known of a host that cannot be reached though its agent lives.
#[derive(Default)]
pub(super) struct Reach {
    /// How often in a row it was reached for in vain.
    failed: u32,
    /// The wait before the next time.
    timer: Option<SpawnHandle>,
}

impl Reach {
    /// Whether the agent lives without a host that answers.
    pub(super) fn is_failing(&self) -> bool {
        self.failed > 0
    }

    /// 1, 2, 4, 8, 16, 32 and from then on 60 seconds.
    fn pause(&self) -> Duration {
        let doubled = 2u64.saturating_pow(self.failed.saturating_sub(1));
        Duration::from_secs(doubled).min(PAUSE_MAX)
    }
}

impl Execution {
    /// Prepares the attempt where that has not happened, and opens the link.
    pub(super) fn connect(&mut self, ctx: &mut Context<Self>) {
        let (directory, hosts) = (self.directory(), Arc::clone(&self.surroundings.outside.hosts));
        let (settings, request) = (Arc::clone(&self.surroundings.settings), Arc::clone(&self.task.request));
        let slots = Arc::clone(&self.surroundings.connecting);
        let (summary, attempt, known) = (Arc::clone(&self.task.summary), self.task.attempt, self.plan.clone());
        let (store, known_groundwork) = (Arc::clone(&self.surroundings.store), self.groundwork.clone());
        let connecting = async move {
            // The semaphore is never closed.
            let _slot = slots.acquire().await.ok();
            let prepared = match known {
                Some(plan) => Prepared {
                    plan,
                    groundwork: known_groundwork,
                },
                None => {
                    let prepare = move || prepare(&settings, &*store, &request, &summary, attempt);
                    let prepared = tokio::task::spawn_blocking(prepare).await;
                    prepared.map_err(|error| LaunchError::Plan {
                        path: directory.clone(),
                        why: error.to_string(),
                    })??
                }
            };
            let socket = hosts.reach(&directory, &prepared.plan).await?;
            Ok((prepared, socket))
        };
        ctx.spawn(
            connecting
                .into_actor(self)
                .map(|connected, act, ctx| act.connected(connected, ctx)),
        );
    }

    fn connected(&mut self, connected: Result<(Prepared, HostSocket), Unprepared>, ctx: &mut Context<Self>) {
        match connected {
            Ok((Prepared { plan, groundwork }, socket)) => {
                self.plan = Some(plan);
                self.groundwork = groundwork;
                self.open_link(socket, ctx);
            }
            Err(error) if error.is_for_want_of_means() && !self.closing.is_begun() => {
                tracing::warn!(%error, "no agent yet");
                ctx.run_later(WANT_PAUSE, |act, ctx| act.connect(ctx));
            }
            Err(error) => self.host_missing(error.ending(), error.to_string(), ctx),
        }
    }

    /// There is no host: the attempt is over if there is no agent either.
    pub(super) fn host_missing(&mut self, ending: Ending, why: String, ctx: &mut Context<Self>) {
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        let looking = self.surroundings.outside.hosts.is_anything_alive(session, attempt);
        ctx.spawn(looking.into_actor(self).map(move |is_alive, act, ctx| {
            if is_alive {
                return act.reach_later(&why, ctx);
            }
            tracing::error!(%why, "no agent");
            act.give_up(ending, ctx);
        }));
    }

    fn reach_later(&mut self, why: &str, ctx: &mut Context<Self>) {
        self.reach.failed = self.reach.failed.saturating_add(1);
        self.tell_found(false);
        tracing::warn!(
            why,
            tries = self.reach.failed,
            "the agent lives, its host does not answer"
        );
        if self.reach.failed == 1 {
            let text =
                format!("the agent lives, but no host of it can be reached: {why}; this is tried again and again");
            self.notice(text, ctx);
        }
        if self.closing.is_begun() {
            return self.end_without_host(ctx);
        }
        let pause = self.reach.pause();
        self.reach.timer = Some(ctx.run_later(pause, |act, ctx| {
            act.reach.timer = None;
            act.connect(ctx);
        }));
    }

    /// Reaches for the host at once, since the agent is to end.
    pub(super) fn hurry(&mut self, ctx: &mut Context<Self>) {
        if let Some(timer) = self.reach.timer.take() {
            ctx.cancel_future(timer);
            self.connect(ctx);
        }
    }

    /// Ends what is alive of the attempt. The next host, if there is one, finds a dead agent, whose output it serves.
    fn end_without_host(&mut self, ctx: &mut Context<Self>) {
        let (session, attempt) = (self.task.session_id, self.task.attempt);
        let ending = self.surroundings.outside.hosts.end_everything(session, attempt);
        ctx.spawn(ending.into_actor(self).map(|ended, act, ctx| {
            act.notice(format!("ended without a host: {}", ended.join(", ")), ctx);
            act.connect(ctx);
        }));
    }

    /// The host has said hello.
    pub(super) fn host_answers(&mut self, ctx: &mut Context<Self>) {
        self.links_lost = 0;
        if std::mem::take(&mut self.reach.failed) > 0 {
            self.notice("the agent's host answers again".to_owned(), ctx);
        }
    }
}
