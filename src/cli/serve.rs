//! `serve`: the daemon in the foreground.

use std::path::PathBuf;

use rustix::process::setsid;

use super::args::ServeArgs;
use super::exit::{Exit, Failure};
use crate::config::Flag;
use crate::daemon::{self, Options};

/// Runs the daemon until it is told to stop.
pub(crate) fn serve(state_dir: Option<PathBuf>, args: ServeArgs) -> Result<Exit, Failure> {
    if args.new_session {
        // It fails where there is nothing to leave: when this process leads a session already.
        let _ = setsid();
    }
    let flag = |flag: &str, key: &str, value: String| Flag {
        flag: flag.to_owned(),
        key: key.to_owned(),
        value,
    };
    let mut flags: Vec<Flag> = args
        .set
        .iter()
        .map(|(key, value)| flag("--set", key, value.clone()))
        .collect();
    flags.extend(args.port.map(|port| flag("--port", "server.port", port.to_string())));
    flags.extend(state_dir.map(|dir| flag("--state-dir", "state.dir", dir.display().to_string())));
    let options = Options {
        config: args.config,
        flags,
        log_to_files: args.new_session,
    };
    daemon::serve(&options)
        .map(|()| Exit::Ok)
        .map_err(|error| Failure::Failed(format!("{error:#}")))
}
