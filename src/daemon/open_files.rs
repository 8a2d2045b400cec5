//! The limit of open files. A daemon with many sessions and clients needs more than the usual 1024, which is only the soft
//! limit: programs that use `select` cannot handle more. So the daemon raises its own, and agents get the one from before.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises this process's limit of open files as far as it may. Returns the limit from before, for agents; none if that
/// was no limit.
pub(super) fn raise() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        ..before
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(limit = before.current, %error, "the limit of open files is not raised");
    }
    before.current
}
