//! `serve`: the daemon in the foreground.

use std::path::PathBuf;

use rustix::process::setsid;

use super::args::ServeArgs;
use super::exit::{Exit, Failure};

/// What the command line changes about the settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The port on 127.0.0.1; 0 for any.
    pub port: Option<u16>,
    /// A settings file instead of the user's own.
    pub config: Option<PathBuf>,
    /// The state directory; absolute.
    pub state_dir: Option<PathBuf>,
    /// Single settings, as `section.key` and value, in the order they were given.
    pub set: Vec<(String, String)>,
}

/// Runs the daemon until it is told to stop.
pub(crate) fn serve(state_dir: Option<PathBuf>, args: ServeArgs) -> Result<Exit, Failure> {
    if args.new_session {
        // It fails where there is nothing to leave: when this process leads a session already.
        let _ = setsid();
    }
    let overrides = Overrides {
        port: args.port,
        config: args.config,
        state_dir,
        set: args.set,
    };
    run_daemon(overrides)
}

/// The one place where the daemon is called: `crate::daemon::serve(overrides)`.
fn run_daemon(overrides: Overrides) -> Result<Exit, Failure> {
    Err(Failure::Failed(format!(
        "there is no daemon in this build to run with {overrides:?}"
    )))
}
