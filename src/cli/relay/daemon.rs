//! The daemon behind a relay: found, started where the relay may, or waited for.

use std::time::{Duration, Instant};

use super::{PAUSE, Relay};
use crate::cli::connection::{self, Connection};
use crate::cli::exit::Failure;
use crate::cli::launch::find_or_start;
use crate::cli::mark::is_inside_agent;
use crate::cli::screen::eprint;
use crate::config::DAEMON_LOCK;

/// The longest wait for a daemon that somebody else is to start.
const DAEMON_WAIT: Duration = Duration::from_secs(20);

/// Who needs a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The client has asked for something.
    Request,
    /// Something that was begun is to go on.
    GoOn,
    /// The standing stream, which can do without.
    Stand,
}

impl Relay {
    /// Returns the daemon. One that crashed is replaced; one that was stopped is replaced only for a request of the client.
    /// Inside an agent it is waited for.
    pub(super) async fn daemon(&self, need: Need) -> Result<Connection, String> {
        let deadline = Instant::now() + DAEMON_WAIT;
        let mut has_said_so = false;
        loop {
            {
                let _alone = self.starting.lock().await;
                if let Some(daemon) = connection::look(&self.state_dir) {
                    return Ok(daemon);
                }
                if self.may_start(need) {
                    let started = find_or_start(&self.state_dir).await;
                    started.map_err(|failure| failure.to_string())?;
                    let daemon = connection::look(&self.state_dir);
                    return daemon.ok_or_else(|| "no daemon runs, and none can be started".to_owned());
                }
            }
            if need == Need::Stand || Instant::now() > deadline {
                return Err(self.none_runs());
            }
            if !std::mem::replace(&mut has_said_so, true) {
                eprint(&format!(
                    "no daemon runs for {}: waiting for one",
                    self.state_dir.display()
                ));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn none_runs(&self) -> String {
        if is_inside_agent() {
            return Failure::InsideAgent(self.state_dir.clone()).to_string();
        }
        "the daemon was stopped; the session of this call goes on: call get_execution or list_executions, which starts the \
         daemon again"
            .to_owned()
    }

    fn may_start(&self, need: Need) -> bool {
        // A daemon that ends in order removes its file before it lets go of its lock, so the lock is looked at first.
        let lock = self.state_dir.join(DAEMON_LOCK);
        let has_crashed = || !connection::is_locked(&lock) && self.state_dir.join("daemon.json").exists();
        !is_inside_agent()
            && match need {
                Need::Request => true,
                Need::GoOn => has_crashed(),
                Need::Stand => false,
            }
    }
}
