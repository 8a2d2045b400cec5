//! `serve`: the daemon in the foreground.

use std::path::{Path, PathBuf};

use clap::Parser;
use rustix::process::setsid;

use super::args::{Cli, ServeArgs, Verb};
use super::exit::{Exit, Failure};
use crate::config::Flag;
use crate::daemon::{self, Options};

/// Runs the daemon until it is told to stop.
pub(crate) fn serve(state_dir: Option<PathBuf>, args: ServeArgs) -> Result<Exit, Failure> {
    if args.new_session {
        // It fails where there is nothing to leave: when this process leads a session already.
        let _ = setsid();
    }
    let log_to_files = args.new_session;
    let options = Options {
        log_to_files,
        ..options(state_dir, args)
    };
    daemon::serve(&options)
        .map(|()| Exit::Ok)
        .map_err(|error| Failure::Failed(format!("{error:#}")))
}

/// Whether a daemon of this version that is started with these arguments could read its settings and its journal.
pub(crate) fn check(state_dir: &Path, arguments: &[String]) -> Result<(), Failure> {
    let words = ["cc-executor", "serve"].into_iter().map(str::to_owned);
    let line = Cli::try_parse_from(words.chain(arguments.iter().cloned()));
    let line = line.map_err(|error| Failure::Failed(error.to_string()))?;
    let Verb::Serve(args) = line.verb else { return Ok(()) };
    daemon::check(&options(Some(state_dir.to_owned()), args)).map_err(|error| Failure::Failed(format!("{error:#}")))
}

fn options(state_dir: Option<PathBuf>, args: ServeArgs) -> Options {
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
    Options {
        config: args.config,
        flags,
        log_to_files: false,
    }
}
