//! Whether anything of an attempt is alive, for many that ask at once.
//!
//! A look goes over all processes of the machine. One that has not begun yet serves all who asked before it begins, so a
//! thousand attempts that end together cost a few looks, and not a thousand.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::agent_host::{self, Mark, Marked};

/// The looks at the machine's processes.
#[derive(Debug, Default)]
pub struct Marks {
    /// How many have asked.
    asked: AtomicU64,
    /// The last look; held while the next one is taken.
    last: Mutex<ProcessScan>,
}

#[derive(Debug, Default)]
struct ProcessScan {
    /// Whoever asked as one of these asked before it began.
    serves: u64,
    found: Vec<Marked>,
}

impl Marks {
    /// Whether a process with this mark is alive, its host aside. The look begins after the call.
    pub(crate) async fn is_alive(&self, mark: &Mark) -> bool {
        !mark.in_cgroup().is_empty() || self.has(|marked| mark.fits(marked), agent_host::marks).await
    }

    async fn has(&self, is_meant: impl Fn(&Marked) -> bool, look: fn() -> io::Result<Vec<Marked>>) -> bool {
        let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.serves < number {
            let serves = self.asked.load(Ordering::SeqCst);
            // Where no look is possible, something may be alive.
            let Ok(Ok(found)) = tokio::task::spawn_blocking(look).await else {
                return true;
            };
            *last = ProcessScan { serves, found };
        }
        last.found.iter().any(is_meant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent_host::Secret;
    use crate::session::id::{Attempt, SessionId};
    use std::sync::atomic::AtomicUsize;

    static LOOKS: AtomicUsize = AtomicUsize::new(0);

    /// The n-th look finds the mark `n`, and the mark `always`.
    fn counted() -> io::Result<Vec<Marked>> {
        let look = LOOKS.fetch_add(1, Ordering::SeqCst) + 1;
        Ok([look.to_string(), "always".to_owned()].map(Marked::of_value).into())
    }

    fn called(value: &str) -> impl Fn(&Marked) -> bool {
        let value = value.to_owned();
        move |marked| marked.value == value
    }

    #[tokio::test]
    async fn where_nobody_can_look_something_may_be_alive() {
        let cannot = || Err(io::Error::other("no file descriptor is left"));
        assert!(Marks::default().has(|_| false, cannot).await);
    }

    #[tokio::test]
    async fn a_look_serves_all_who_asked_before_it_began_and_nobody_later() {
        let marks = Marks::default();
        let many = (0..100).map(|_| marks.has(called("always"), counted));
        let found = futures_util::future::join_all(many).await;
        assert!(found.into_iter().all(|found| found));
        let looks = LOOKS.load(Ordering::SeqCst);
        assert!(looks < 10, "{looks} looks for a hundred");
        assert!(!marks.has(called("never"), counted).await);
        assert_eq!(LOOKS.load(Ordering::SeqCst), looks + 1, "an old look is no answer");
        assert!(!marks.has(called(&looks.to_string()), counted).await);
    }

    #[test]
    fn what_is_alive_is_found_by_its_mark() {
        let session = SessionId::new();
        let mark = |secret| Mark::new(session, Attempt(3), secret);
        let own = mark(Some(Secret::random()));
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env(agent_host::protocol::ATTEMPT_MARK, own.value())
            .spawn()
            .unwrap();
        let marks = Marks::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let alive = |mark: &Mark| runtime.block_on(marks.is_alive(mark));
        let found = (alive(&own), alive(&mark(Some(Secret::random()))));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, (true, false));
        assert!(!alive(&own));
    }
}
