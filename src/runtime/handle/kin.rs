//! Agents as callers: who one is by its mark, what it may ask for, and which sessions are its own.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::intake::{self, Passed};
use super::{Handle, blocking, directories};
use crate::agent::environment::{DEPTH_VARIABLE, ENCLOSING_SESSION};
use crate::agent::secrets;
use crate::agent_host::protocol::ATTEMPT_MARK;
use crate::agent_host::{Mark, marked_attempt};
use crate::runtime::new_session::NewSession;
use crate::runtime::refusal::{CallError, NotServed};
use crate::runtime::{family, terms};
use crate::session::id::{Attempt, SessionId};
use crate::session::kin::Rights;
use crate::session::limits::Limits;
use crate::session::request::{DEPTH_MAX, Request};
use crate::session::summary::Summary;
use crate::store::StoreError;

/// An agent that calls, as its mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallingAgent {
    /// The session that it works for.
    pub session: SessionId,
    /// The attempt that it is.
    pub attempt: Attempt,
}

impl CallingAgent {
    fn runs_in(self, summary: &Summary) -> bool {
        let lifecycle = &summary.lifecycle;
        lifecycle.attempt == self.attempt && lifecycle.state.has_agent()
    }
}

impl Handle {
    /// The agent that carries this mark. Returns none for a mark that this daemon itself carried when it was started: a
    /// daemon of an agent's own is that agent's.
    ///
    /// Errors if the mark names no attempt that is running, is not the attempt's own, or is of a session that was not
    /// given our tools.
    pub async fn agent_marked(&self, mark: &str) -> Result<Option<CallingAgent>, CallError> {
        let (session, attempt) = marked_attempt(mark).ok_or(NotServed::Unknown)?;
        let is_enclosing = || self.settings.enclosing_marks.iter().any(|enclosing| enclosing == mark);
        match self.get(session).await {
            Err(CallError::NoSuchSession(_)) if is_enclosing() => return Ok(None),
            Err(CallError::NoSuchSession(_)) => return Err(NotServed::Unknown.into()),
            found => drop(found?),
        }
        let file = self.settings.secrets_file(session);
        let secret = blocking(move || secrets::of(&file, attempt)).await?;
        let secret =
            secret.map_err(|error| StoreError::Failed(format!("cannot read the secrets of marks: {error}")))?;
        if !Mark::new(session, attempt, secret).is(mark) {
            return Err(NotServed::Unknown.into());
        }
        self.served(CallingAgent { session, attempt }).await.map(Some)
    }

    /// The agent in whose cgroup a process is, where there are cgroups and it is in one. Errors as
    /// [`Handle::agent_marked`].
    pub async fn agent_around(&self, pid: i32) -> Result<Option<CallingAgent>, CallError> {
        let Some(tree) = self.settings.cgroups.clone() else {
            return Ok(None);
        };
        let found = blocking(move || tree.attempt_of(pid)).await?;
        let found =
            found.map_err(|error| StoreError::Failed(format!("cannot look for a process's cgroup: {error}")))?;
        match found {
            Some((session, attempt)) => self.served(CallingAgent { session, attempt }).await.map(Some),
            None => Ok(None),
        }
    }

    async fn served(&self, agent: CallingAgent) -> Result<CallingAgent, CallError> {
        let session = agent.session;
        let summary = self.get(session).await.map_err(|error| match error {
            CallError::NoSuchSession(_) => NotServed::Unknown.into(),
            other => other,
        })?;
        if !agent.runs_in(&summary) {
            return Err(NotServed::Ended(session).into());
        }
        if !self.request_of(session).await?.executor_tools {
            return Err(NotServed::NoTools(session).into());
        }
        Ok(agent)
    }

    /// Returns true while the agent may run.
    pub async fn is_running(&self, agent: CallingAgent) -> bool {
        let summary = self.get(agent.session).await;
        summary.is_ok_and(|summary| agent.runs_in(&summary))
    }

    /// The session whose agent asks for a new one: as the face has found out, or as the environment of the request says
    /// by the mark in it.
    pub(super) async fn asker_of(&self, new: &NewSession) -> Result<Option<SessionId>, CallError> {
        let mark = new.env.as_ref().and_then(|env| env.get(ATTEMPT_MARK));
        match (new.asker, mark) {
            (Some(asker), _) => Ok(Some(asker)),
            (None, Some(mark)) => Ok(self.agent_marked(mark).await?.map(|agent| agent.session)),
            (None, None) => Ok(None),
        }
    }

    /// Errors unless the agent of session `by` has asked for session `of`, or for one that has, and so on.
    pub async fn check_kin(&self, by: SessionId, of: SessionId) -> Result<(), CallError> {
        let mut below = of;
        for _ in 0..=DEPTH_MAX {
            let parent = match self.request_of(below).await {
                // Who asked for it cannot be told any more.
                Err(CallError::NoSuchSession(_)) if below != of => None,
                request => request?.parent,
            };
            match parent {
                Some(parent) if parent == by => return Ok(()),
                Some(parent) => below = parent,
                None => break,
            }
        }
        Err(NotServed::NotKin { of, by }.into())
    }

    /// What an agent's session has left is shared out to one session at a time.
    pub(super) async fn turn_of(&self, asker: Option<SessionId>) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        match asker {
            Some(_) => Some(self.admitting.lock().await),
            None => None,
        }
    }

    /// The request as it is accepted from the agent of session `by`. Returns that session where a person is asked about
    /// MCP configurations and variables.
    pub(super) async fn admit(
        &self,
        by: SessionId,
        id: SessionId,
        new: &mut NewSession,
    ) -> Result<Option<SessionId>, CallError> {
        let rights = self.rights_of(by).await?;
        let (settings, mut request) = (Arc::clone(&self.settings), new.request.clone());
        let asks = !rights.has_what_it_brings();
        let brought = new.env.take_if(|env| !env.is_empty()).unwrap_or_default();
        request.env_names = match asks {
            true => Vec::new(),
            false => brought.keys().cloned().collect(),
        };
        let resolving = move || {
            let resolve = |path: &std::path::Path| directories::resolve_one(&settings.allowed_directories, path);
            request.cwd = resolve(&request.cwd)?;
            let added = request.add_dirs.iter().map(|added| resolve(&request.cwd.join(added)));
            request.add_dirs = added.collect::<Result<_, _>>()?;
            Ok::<_, CallError>(request)
        };
        new.request = rights.admit(blocking(resolving).await??, self.settings.max_budget_usd)?;
        if !asks && !brought.is_empty() {
            new.env = Some(brought);
            return Ok(None);
        }
        self.give_environment(by, id, new, brought).await?;
        Ok(asks.then_some(by))
    }

    /// A session is given the environment that the session `by` was given whose agent asks, and no more of the daemon's.
    /// What the agent asks for besides is kept apart.
    async fn give_environment(
        &self,
        by: SessionId,
        id: SessionId,
        new: &mut NewSession,
        mut asked: BTreeMap<String, String>,
    ) -> Result<(), CallError> {
        // No agent gets these from outside.
        asked.retain(|name, _| !ENCLOSING_SESSION.contains(&name.as_str()));
        let (settings, of_asker) = (Arc::clone(&self.settings), self.get(by).await?);
        let has_asked = of_asker.has_asked();
        let copying = move || {
            if !asked.is_empty() {
                intake::keep_asked(&settings, id, &asked)?;
            }
            match settings.environment_file(id).exists() {
                true => Ok(true),
                false => intake::copy_environment(&settings, by, id, has_asked),
            }
        };
        if blocking(copying).await?? {
            new.env = None;
            new.request.env_names = self.request_of(by).await?.env_names;
            new.request.env_names.extend(variables_given(&of_asker));
        }
        Ok(())
    }

    /// What a copy of the session has of what an agent has asked for: as a person has decided then, and a person is asked
    /// anew where an agent asks for the copy. Makes the request fit.
    pub(super) async fn passed_on(
        &self,
        of: &Summary,
        to: Option<SessionId>,
        request: &mut Request,
    ) -> Result<Passed, CallError> {
        let asks = match to {
            Some(asker) => !self.rights_of(asker).await?.has_what_it_brings(),
            None => false,
        };
        Ok(match of.asked() {
            None => Passed::Nothing,
            Some((_, false)) => {
                request.mcp_config.clear();
                Passed::Nothing
            }
            Some((_, true)) if asks => Passed::Asked,
            Some((_, true)) => {
                request.env_names.extend(variables_given(of));
                Passed::All
            }
        })
    }

    /// The limits with which a session goes on that the agent of session `by` resumes.
    pub(super) async fn admit_resume(&self, by: SessionId, of: &Summary, limits: Limits) -> Result<Limits, CallError> {
        self.check_kin(by, of.session_id).await?;
        let (own, its) = (self.rights_of(by).await?, self.rights_of(of.session_id).await?);
        own.check_going_on(&its)?;
        let budget = limits.max_budget_usd;
        let in_force = of
            .limits_in_force(&self.request_of(of.session_id).await?)
            .max_budget_usd;
        let max_budget_usd = own.renewed(budget.or(in_force), of.usage.cost_usd)?;
        Ok(Limits {
            max_budget_usd,
            ..limits
        })
    }

    /// What a session may do, and pass on to those that its agent asks for.
    pub(super) async fn rights_of(&self, id: SessionId) -> Result<Rights, CallError> {
        let (summary, request) = (self.get(id).await?, self.request_of(id).await?);
        let store = Arc::clone(&self.store);
        let working_out = move || {
            let effective = terms::in_force(&*store, &summary)?;
            let has_budget = summary.limits_in_force(&request).max_budget_usd.is_some();
            let committed = match has_budget {
                true => family::below(&*store, id)?.committed,
                false => 0.0,
            };
            let in_force = effective.terms.applied_to(Cow::Borrowed(&request));
            let added = in_force.add_dirs.iter().map(|added| request.cwd.join(added));
            // One that is not there now is none that anything may work in.
            let directories = std::iter::once(request.cwd.clone()).chain(added);
            let directories = directories.filter_map(|path| path.canonicalize().ok()).collect();
            Ok::<_, StoreError>(Rights::of(&request, &summary, &effective, directories, committed))
        };
        Ok(blocking(working_out).await??)
    }
}

/// The variables that an agent has asked for and that the session has.
fn variables_given(of: &Summary) -> Vec<String> {
    let given = of.asked().filter(|(_, has)| *has);
    given.map(|(asked, _)| asked.variables.clone()).unwrap_or_default()
}

/// How many agents stand above a new session is known by the mark of the agent that asks. A number in its environment can
/// only add to that.
pub(super) fn take_depth(new: &mut NewSession) -> Result<(), NotServed> {
    let Some(above) = new.env.as_ref().and_then(|env| env.get(DEPTH_VARIABLE)) else {
        return Ok(());
    };
    let above = above.parse().map_err(|_| NotServed::NoDepth(above.clone()))?;
    new.request.depth = new.request.depth.max(above);
    Ok(())
}
