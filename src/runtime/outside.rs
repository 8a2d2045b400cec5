//! What the runtime has of the world outside: the time, the agents' hosts and threads. Tests put others in their place.

use std::path::Path;
use std::sync::Arc;

use actix::{Arbiter, ArbiterHandle};
use futures_util::future::LocalBoxFuture;
use jiff::Timestamp;

use super::settings::RuntimeSettings;
use crate::agent::launch::{self, LaunchError};
use crate::agent::marks::Marks;
use crate::agent::secrets;
use crate::agent::socket::HostSocket;
use crate::agent_host::{self, Mark, protocol::LaunchPlan};
use crate::session::id::{Attempt, SessionId};

/// The world outside, as every actor sees it.
#[derive(Clone)]
pub(super) struct Outside {
    pub clock: Clock,
    pub hosts: Arc<dyn Hosts>,
}

impl Outside {
    /// The machine's clock, and hosts that are processes of their own.
    pub(super) fn real(settings: &RuntimeSettings) -> Self {
        Self {
            clock: Clock::reading(Timestamp::now),
            hosts: Arc::new(HostProcesses {
                settings: settings.clone(),
                marks: Arc::new(Marks::default()),
            }),
        }
    }
}

/// The wall clock.
#[derive(Clone)]
pub(super) struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    pub(super) fn reading(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time, as precise as the journal keeps it, so that a fold of the journal gives the same state.
    pub(super) fn now(&self) -> Timestamp {
        let now = (self.0)();
        Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
    }
}

/// Brings an execution and its agent's host together.
pub(super) trait Hosts: Send + Sync {
    /// Opens a link to the host of the prepared attempt in `directory`, starting one where none answers.
    fn reach<'a>(
        &'a self,
        directory: &'a Path,
        plan: &'a LaunchPlan,
    ) -> LocalBoxFuture<'a, Result<HostSocket, LaunchError>>;

    /// Whether anything of the attempt is alive: its agent, or what that has left behind. It needs no host to be found
    /// out; where nobody can tell, it is.
    fn is_anything_alive(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, bool>;

    /// Ends all that is alive of the attempt where no host can be asked to; says what that was.
    fn end_everything(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, Vec<String>>;

    /// Kills the hosts of an attempt, for they do not answer any more. Links to them end.
    fn kill_hosts(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, ()>;
}

struct HostProcesses {
    settings: RuntimeSettings,
    /// One look at the machine's processes for all attempts that ask at the time.
    marks: Arc<Marks>,
}

impl HostProcesses {
    /// The mark of an attempt. Where its secret cannot be read, whatever names the attempt is taken for its process: an
    /// agent must not be doubled.
    fn mark(&self, session: SessionId, attempt: Attempt) -> impl Future<Output = Mark> + use<> {
        let file = self.settings.secrets_file(session);
        let cgroup = self.settings.cgroup(session, attempt);
        let reading = tokio::task::spawn_blocking(move || secrets::of(&file, attempt));
        async move {
            let secret = reading.await.map_err(std::io::Error::other).flatten();
            let secret = secret.unwrap_or_else(|error| {
                tracing::error!(%error, %session, "the secret of an agent's mark cannot be read");
                None
            });
            Mark::new(session, attempt, secret).within(cgroup)
        }
    }
}

impl Hosts for HostProcesses {
    fn reach<'a>(
        &'a self,
        directory: &'a Path,
        plan: &'a LaunchPlan,
    ) -> LocalBoxFuture<'a, Result<HostSocket, LaunchError>> {
        Box::pin(async move {
            let reached = launch::reach(directory, plan, &launch::own_program(&self.settings.executable)).await;
            if let Err(LaunchError::Unreachable { .. }) = &reached {
                // Whatever became of it, it must not start an agent when nobody expects it any more.
                self.kill_hosts(plan.session, plan.attempt).await;
            }
            reached
        })
    }

    fn is_anything_alive(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, bool> {
        let (marks, mark) = (Arc::clone(&self.marks), self.mark(session, attempt));
        // Where nobody could look, the agent counts as alive: it must not be doubled.
        Box::pin(async move { marks.is_alive(&mark.await).await })
    }

    fn end_everything(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, Vec<String>> {
        let mark = self.mark(session, attempt);
        Box::pin(async move { agent_host::end_everything(mark.await).await })
    }

    fn kill_hosts(&self, session: SessionId, attempt: Attempt) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let killing = move || agent_host::kill_hosts(session, attempt);
            if let Err(error) = tokio::task::spawn_blocking(killing).await {
                tracing::error!(%error, "a host that does not answer was not ended");
            }
        })
    }
}

/// Where the actors run.
pub(super) struct Threads {
    /// The supervisor's and the registry's.
    pub own: ArbiterHandle,
    /// The executions', used in turn; at least one.
    pub executions: Vec<ArbiterHandle>,
}

impl Threads {
    /// One for the supervisor and the registry, and for executions as many as there are cores.
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            own: Arbiter::new().handle(),
            executions: (0..cores).map(|_| Arbiter::new().handle()).collect(),
        }
    }
}
