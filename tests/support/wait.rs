//! Waiting for a condition, never for a time: the one place where tests poll.

use std::path::Path;
use std::time::{Duration, Instant};

/// How long a test waits for something that must happen. Far above what a loaded machine needs: it ends a hung test
/// and says nothing about speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls until `look` finds something. `what` names the awaited thing in the panic of a test that waited in vain.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// The same as a future without a deadline, for the scripted API: the test that forgot to create the file ends first.
pub(crate) async fn until_exists(path: &Path) {
    while !path.exists() {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// A shell command that ends when the file exists, or when its folder is gone with the test that failed to make it.
pub(crate) fn shell_until_exists(path: &Path) -> String {
    let folder = path.parent().unwrap_or(path).display();
    format!(
        "while [ -d {folder} ] && ! [ -e {} ]; do sleep 0.01; done",
        path.display()
    )
}
