//! Whether a session that is asked for now could be run: what `/readyz` says.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use crate::config::Settings;
use crate::store::Journal;
use crate::web::Readiness;

/// Looks at the journal, the disk and the agent's command, whenever somebody asks. Nothing of it blocks.
pub(super) fn readiness(settings: &Settings, journal: Arc<dyn Journal>) -> Readiness {
    let program = settings.agent.command.as_slice()[0].clone();
    let path = settings.agent.env.get("PATH").map(OsString::from);
    let path = path.or_else(|| std::env::var_os("PATH"));
    Arc::new(move || {
        let refusal = journal.health().borrow().refusal();
        refusal.map_or(Ok(()), Err).map_err(|error| error.to_string())?;
        journal.last_id().map_err(|error| error.to_string())?;
        look_for(&program, path.clone())
    })
}

/// Whether agents can be started: the program is where the daemon's own environment finds it.
fn look_for(program: &str, path: Option<OsString>) -> Result<(), String> {
    match which::which_in(program, path, Path::new("/")) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "the agent's command {program} is not found ({error}): install Claude Code, or set `agent.command` to where it is"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_found_by_its_path_or_its_name() {
        let path = || Some(OsString::from("/nowhere:/bin"));
        assert_eq!(look_for("sh", path()), Ok(()));
        assert_eq!(look_for("/bin/sh", None), Ok(()));
        for missing in ["no-such-program-of-ours", "/bin", "/nowhere/claude"] {
            let told = look_for(missing, path()).unwrap_err();
            assert!(told.contains(missing) && told.contains("agent.command"), "{told}");
        }
    }
}
