//! Whether anything of an attempt is alive, for many that ask at once.
//!
//! A look goes over all processes of the machine. One that has not begun yet serves all who asked before it begins, so a
//! thousand attempts that end together cost a few looks, and not a thousand.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::agent_host;
use crate::session::id::{Attempt, SessionId};

/// The looks at the machine's processes.
#[derive(Debug, Default)]
pub struct Marks {
    /// How many have asked.
    asked: AtomicU64,
    /// The last look; held while the next one is taken.
    last: Mutex<Look>,
}

#[derive(Debug, Default)]
struct Look {
    /// Whoever asked as one of these asked before it began.
    serves: u64,
    values: HashSet<String>,
}

impl Marks {
    /// Whether a process of this attempt is alive, its host aside. The look begins after the call.
    pub async fn is_alive(&self, session: SessionId, attempt: Attempt) -> bool {
        let look = || Ok(agent_host::marks()?.into_iter().map(|(_, value)| value).collect());
        self.has(&agent_host::mark_value(session, attempt), look).await
    }

    async fn has(&self, value: &str, look: fn() -> io::Result<HashSet<String>>) -> bool {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.serves < number {
            let serves = self.asked.load(Ordering::SeqCst);
            // Where no look is possible, something may be alive.
            let Ok(Ok(values)) = tokio::task::spawn_blocking(look).await else {
                return true;
            };
            *last = Look { serves, values };
        }
        last.values.contains(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    static LOOKS: AtomicUsize = AtomicUsize::new(0);

    /// The n-th look finds the mark `n`, and the mark `always`.
    fn counted() -> io::Result<HashSet<String>> {
        let look = LOOKS.fetch_add(1, Ordering::SeqCst) + 1;
        Ok([look.to_string(), "always".to_owned()].into())
    }

    #[tokio::test]
    async fn where_nobody_can_look_something_may_be_alive() {
        let cannot = || Err(io::Error::other("no file descriptor is left"));
        assert!(Marks::default().has("any", cannot).await);
    }

    #[tokio::test]
    async fn a_look_serves_all_who_asked_before_it_began_and_nobody_later() {
        let marks = Marks::default();
        let many = (0..100).map(|_| marks.has("always", counted));
        let found = futures_util::future::join_all(many).await;
        assert!(found.into_iter().all(|found| found));
        let looks = LOOKS.load(Ordering::SeqCst);
        assert!(looks < 10, "{looks} looks for a hundred");
        assert!(!marks.has("never", counted).await);
        assert_eq!(LOOKS.load(Ordering::SeqCst), looks + 1, "an old look is no answer");
        assert!(!marks.has(&looks.to_string(), counted).await);
    }

    #[test]
    fn what_is_alive_is_found_by_its_mark() {
        let (session, attempt) = (SessionId::new(), Attempt(3));
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env(
                agent_host::protocol::ATTEMPT_MARK,
                agent_host::mark_value(session, attempt),
            )
            .spawn()
            .unwrap();
        let marks = Marks::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let alive = |attempt| runtime.block_on(marks.is_alive(session, attempt));
        let (found, other) = (alive(attempt), alive(Attempt(4)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found && !other);
        assert!(!alive(attempt));
    }
}
