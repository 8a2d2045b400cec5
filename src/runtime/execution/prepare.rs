//! Before an attempt: how its agent is started, written down once.

use std::collections::BTreeMap;

use crate::agent::environment::{self, Conversation, Remaining};
use crate::agent::launch::{self, LaunchError};
use crate::agent_host::protocol::LaunchPlan;
use crate::runtime::settings::RuntimeSettings;
use crate::session::id::{Attempt, SessionId};
use crate::session::request::Request;
use crate::session::summary::Summary;

/// Writes down how the attempt's agent is started; a plan that stands already is taken as it is.
pub(super) fn prepare(
    settings: &RuntimeSettings,
    request: &Request,
    summary: &Summary,
    attempt: Attempt,
) -> Result<LaunchPlan, LaunchError> {
    let session = summary.session_id;
    let directory = settings.attempt_directory(session, attempt);
    if let Some(plan) = launch::plan(&directory)? {
        return Ok(plan);
    }
    let base = base_environment(settings, session)?;
    let agent_session_id = summary.lifecycle.agent_session_id.unwrap_or(session.uuid());
    let mut agent_env = base;
    agent_env.extend(settings.agent_env.clone());
    let is_known = attempt.0 > 1 && environment::has_transcript(&agent_env, agent_session_id);
    let conversation = if is_known {
        Conversation::Resume(agent_session_id)
    } else {
        Conversation::New(agent_session_id)
    };
    let remaining = Remaining {
        turns: request.max_turns.map(|most| most.saturating_sub(summary.turns).max(1)),
        budget_usd: request
            .max_budget_usd
            .map(|most| (most - summary.usage.cost_usd).max(0.01)),
    };
    let temporary = settings.session_directory(session).join("tmp");
    let failed = |source| LaunchError::Prepare {
        path: temporary.clone(),
        source,
    };
    launch::private_directory(&temporary).map_err(failed)?;
    let (arguments, side_files) = environment::arguments(request, conversation, remaining, &directory);
    let plan = LaunchPlan {
        session,
        attempt,
        argv: settings.agent_command.iter().cloned().chain(arguments).collect(),
        env: environment::environment(agent_env, &settings.agent_env, conversation, &temporary),
        cwd: request.cwd.clone(),
        socket: settings.socket(session, attempt),
        transcript_lock: settings.locks.join(format!("{agent_session_id}.lock")),
        agent_session_id,
        spool_reserve_bytes: settings.spool_reserve_bytes,
    };
    launch::prepare(&directory, &plan, &side_files)?;
    Ok(plan)
}

/// The environment that the session's creator gave, or the daemon's own.
fn base_environment(settings: &RuntimeSettings, session: SessionId) -> Result<BTreeMap<String, String>, LaunchError> {
    let path = settings.environment_file(session);
    match std::fs::read(&path) {
        Ok(json) => serde_json::from_slice(&json).map_err(|error| LaunchError::Plan {
            path,
            why: error.to_string(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(daemon_environment()),
        Err(source) => Err(LaunchError::Prepare { path, source }),
    }
}

/// The daemon's own environment. Variables that are no UTF-8 text are left out.
fn daemon_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
