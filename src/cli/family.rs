//! The commands that an agent may not run.
//!
//! The daemon looks by itself. What is decided here needs no daemon: an agent starts none, and reads no token.

use std::ffi::OsString;
use std::path::Path;

use rustix::process::{Pid, getpid, getppid};
use serde_json::Value;

use super::args::Verb;
use super::client::Client;
use super::exit::Failure;
use super::mark::is_inside_agent;
use crate::agent_host::family_marks;

/// Refuses an agent what is for people alone, whether a daemon runs or not.
pub(crate) fn check(verb: &Verb) -> Result<(), Failure> {
    let what = match verb {
        Verb::Token(_) => "tokens are for people",
        Verb::Open(_) => "the page is for people",
        _ => return Ok(()),
    };
    if !is_inside_agent() {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "{what}, and this command is run by an agent: ask a person to run it"
    )))
}

/// Set to anything, it lets `serve`, `simulate` and hosts start below an agent: for work on this program by its own agents.
const NESTED_VARIABLE: &str = "CC_EXECUTOR_NESTED";

/// Refuses an agent the commands that start programs of somebody's choice: who may run them may run anything.
///
/// The daemon, its hosts and `restart` start them too, and what they start is the caller's or the daemon's already.
pub(crate) fn check_start(verb: &str) -> Result<(), Failure> {
    let parent = getppid();
    let is_ours = || parent.is_some_and(|parent| program_of(parent) == program_of(getpid()));
    if std::env::var_os(NESTED_VARIABLE).is_some() || is_ours() {
        return Ok(());
    }
    let above = parent.map(|parent| family_marks(parent.as_raw_nonzero().get()));
    if above.is_none_or(|marks| marks.unwrap_or_default().is_empty()) {
        return Ok(());
    }
    Err(Failure::Refused(format!(
        "`{verb}` starts programs, and this command is run by an agent: ask a person to run it, or set {NESTED_VARIABLE}=1"
    )))
}

/// The name of a process's program; it stays when the program is replaced.
fn program_of(process: Pid) -> Option<OsString> {
    let program = std::fs::read_link(format!("/proc/{}/exe", process.as_raw_nonzero())).ok()?;
    let name = program.file_name()?.to_str()?;
    Some(name.trim_end_matches(" (deleted)").into())
}

/// Asks the daemon whether it serves this agent, before something is done to the daemon that needs no call.
pub(crate) async fn ask(state_dir: &Path) -> Result<(), Failure> {
    if is_inside_agent() {
        Client::find(state_dir)?.get::<Value>("/api/info").await?;
    }
    Ok(())
}
