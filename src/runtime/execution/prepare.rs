//! Before an attempt: how its agent is started, written down once, and what is known of its conversation.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use uuid::Uuid;

use crate::agent::environment::{self, Conversation, DEPTH_VARIABLE, Remaining};
use crate::agent::launch::{self, LaunchError};
use crate::agent::secrets;
use crate::agent::transcript::{self, TranscriptMatches};
use crate::agent::wire::decode::TIMER_TOOLS;
use crate::agent_host::protocol::LaunchPlan;
use crate::agent_host::{self, Mark};
use crate::disk;
use crate::runtime::projects::{self, Inspection};
use crate::runtime::settings::RuntimeSettings;
use crate::runtime::spans::span_of;
use crate::runtime::{family, places, terms};
use crate::session::amounts::{money, usd};
use crate::session::clarify::{self, Clarify};
use crate::session::digest::Digest;
use crate::session::evidence::Evidence;
use crate::session::id::{Attempt, Seq, SessionId};
use crate::session::interruption::Interruption;
use crate::session::journal::Entry;
use crate::session::limits::Used;
use crate::session::opening::{Groundwork, goes_on};
use crate::session::outcome::{Cause, Ending};
use crate::session::request::{OriginHow, Request};
use crate::session::secrets::is_masked;
use crate::session::summary::Effective;
use crate::session::summary::Summary;
use crate::session::trust::{Project, TrustDecision};
use crate::store::{Journal, PAGE_RECORDS_MAX, Store, StoreError, each_record};

/// How many of a journal's last records are read for what an agent is told of them. They are read at once, so this
/// bounds the time that takes, not what is told.
const TAIL_RECORDS: u64 = 4 * PAGE_RECORDS_MAX as u64;

/// An attempt that can begin.
pub(super) struct Prepared {
    pub plan: LaunchPlan,
    pub groundwork: Groundwork,
}

/// Why an attempt cannot begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unprepared {
    /// There is no agent host.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// There is no conversation to go on with.
    #[error("{0}")]
    Lost(String),
    /// The journal cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no money left for it.
    #[error("the runs before have used {} of {}", usd(*used), usd(*most))]
    Spent {
        /// What was used, in US dollars.
        used: f64,
        /// The most that may be spent, in US dollars.
        most: f64,
    },
    /// The directory starts something by itself that nobody has trusted.
    #[error("{} starts something by itself that nobody has trusted", .0.shown_root())]
    Untrusted(Box<Project>),
}

impl Unprepared {
    /// Whether there was no room on a disk, or this machine has too many processes, files or pages just now, or is so slow
    /// that a host which runs does not listen yet: that passes.
    pub(super) fn is_for_want_of_means(&self) -> bool {
        let wants = [Errno::NOSPC, Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
        let is_want = |error: &std::io::Error| Errno::from_io_error(error).is_some_and(|errno| wants.contains(&errno));
        match self {
            Self::Launch(LaunchError::Prepare { source, .. } | LaunchError::Spawn { source, .. }) => is_want(source),
            Self::Launch(LaunchError::Unreachable { host_runs, .. }) => *host_runs,
            Self::Launch(LaunchError::Plan { .. } | LaunchError::Foreign { .. })
            | Self::Lost(_)
            | Self::Untrusted(_)
            | Self::Store(_)
            | Self::Spent { .. } => false,
        }
    }

    /// How an attempt ends that did not begin.
    pub(super) fn ending(&self) -> Ending {
        let message = self.to_string();
        match self {
            Self::Lost(_) => Ending::LostContext { message },
            Self::Launch(_) | Self::Store(_) => Ending::NotStarted { message },
            Self::Untrusted(project) => Ending::Untrusted {
                project: project.clone(),
            },
            Self::Spent { .. } => {
                let cause = Cause::Budget;
                Ending::Refused { cause, message }
            }
        }
    }
}

/// Writes down how the attempt's agent is started; a plan that stands already is taken as it is.
pub(super) fn prepare(
    settings: &RuntimeSettings,
    store: &dyn Store,
    request: &Request,
    summary: &Summary,
    attempt: Attempt,
) -> Result<Prepared, Unprepared> {
    let session = summary.session_id;
    let directory = settings.attempt_directory(session, attempt);
    let known = launch::plan(&directory)?;
    // The agent of a plan that stands has the environment that is written there.
    let agent_env = match &known {
        Some(plan) => plan.env.clone(),
        None => agent_environment(settings, session, summary.has_asked())?,
    };
    let agent_session_id = summary.lifecycle.agent_session_id.unwrap_or(session.uuid());
    let TranscriptMatches { entries, folded_in } = look_for_inputs(&agent_env, agent_session_id, summary)?;
    let seen = Groundwork {
        entries,
        folded_in,
        ..Groundwork::default()
    };
    let conversation = conversation(&agent_env, request, summary, agent_session_id, &seen);
    let groundwork = groundwork(store, request, summary, conversation.as_ref().ok().copied(), seen)?;
    if let Some(plan) = known {
        return Ok(Prepared { plan, groundwork });
    }
    let conversation = conversation?;
    let remaining = remaining(store, request, summary)?;
    let temporary = settings.session_directory(session).join("tmp");
    let failed = |source| LaunchError::Prepare {
        path: temporary.clone(),
        source,
    };
    disk::create_private_dir(&temporary).map_err(failed)?;
    let request = &*with_kept_files(settings, request, summary)?;
    check_project(settings, store, request, summary)?;
    let effective = terms::in_force(store, summary)?;
    let secrets = settings.secrets_file(session);
    let secret = secrets::keep(&secrets, attempt);
    let secret = secret.map_err(|source| LaunchError::Prepare { path: secrets, source })?;
    let mark = Mark::new(session, attempt, Some(secret.clone())).value();
    let as_run = as_run(settings, request, summary, &effective, &mark);
    let (mut arguments, side_files) = environment::arguments(&as_run, conversation, remaining, &directory);
    narrow(&mut arguments, settings, summary, &effective);
    let mut env = environment::environment(agent_env, &settings.agent_env, conversation, &temporary);
    env.insert(DEPTH_VARIABLE.to_owned(), (request.depth + 1).to_string());
    let transcript_lock = transcript_lock(settings, &env, &request.cwd, agent_session_id);
    let plan = LaunchPlan {
        session,
        attempt,
        argv: settings.agent_command.iter().cloned().chain(arguments).collect(),
        env,
        cwd: request.cwd.clone(),
        socket: settings.socket(session, attempt),
        transcript_lock,
        agent_session_id,
        spool_reserve_bytes: settings.spool_reserve_bytes,
        open_files: settings.open_files,
        umask: request.umask,
        mark: Some(secret),
        places: places::kept(settings, session)?,
        cgroup: settings.cgroup(session, attempt),
    };
    launch::prepare(&directory, &plan, &side_files)?;
    Ok(Prepared { plan, groundwork })
}

/// What a person has decided besides the terms of the request.
fn narrow(arguments: &mut Vec<String>, settings: &RuntimeSettings, summary: &Summary, effective: &Effective) {
    if summary.decided_of_project() == Some(TrustDecision::Without) {
        environment::without_project(arguments);
    }
    if effective.asks_in_plan() {
        environment::ask_in_plan(arguments, &settings.agent_command);
    }
}

/// Errors if the directory starts something by itself that was not there when a person was asked, or when the request was
/// accepted. Once the agent is told the task, the directory is the session's own work, until somebody resumes the session.
fn check_project(
    settings: &RuntimeSettings,
    store: &dyn Journal,
    request: &Request,
    summary: &Summary,
) -> Result<(), Unprepared> {
    if !summary.checks_project {
        return Ok(());
    }
    let asker = request
        .parent
        .map(|parent| store.summary(parent))
        .transpose()?
        .flatten();
    let declined = asker.as_ref().and_then(projects::declined_by);
    // As it was looked at when the request was accepted.
    let environment = agent_environment(settings, summary.session_id, false)?;
    let look = Inspection {
        settings,
        request,
        environment: &environment,
        declined: declined.as_deref(),
    };
    match look.settle_again(summary.project.as_deref(), summary.decided_of_project()) {
        Some(project) => Err(Unprepared::Untrusted(Box::new(project))),
        None => Ok(()),
    }
}

/// What is left of the limits. A round that was cut short may be had once more, for it has brought nothing; money is
/// gone: an agent would spend some before it looks at its limit.
///
/// What the sessions have spent that its agent has asked for is gone too.
fn remaining(store: &dyn Store, request: &Request, summary: &Summary) -> Result<Remaining, Unprepared> {
    let Used { turns, cost_usd, .. } = summary.used_until(summary.updated_at);
    let limits = summary.limits_in_force(request);
    let below = match limits.max_budget_usd {
        Some(_) => family::below(store, summary.session_id)?.spent,
        None => 0.0,
    };
    let cost_usd = cost_usd + below;
    if let Some(most) = limits.max_budget_usd.filter(|most| cost_usd >= *most) {
        return Err(Unprepared::Spent { used: cost_usd, most });
    }
    Ok(Remaining {
        turns: limits.max_turns.map(|most| most.saturating_sub(turns).max(1)),
        budget_usd: limits.max_budget_usd.map(|most| money(most - cost_usd)),
    })
}

/// Where the lock of a conversation's one owner is: with the conversations, so that a daemon with another state directory
/// minds it as well, or among our own where none can be there.
fn transcript_lock(
    settings: &RuntimeSettings,
    env: &BTreeMap<String, String>,
    cwd: &Path,
    conversation: Uuid,
) -> PathBuf {
    let place = transcript::configuration(env, cwd)
        .filter(|configuration| agent_host::can_hold_locks(configuration))
        .map(|configuration| configuration.join("cc-executor"))
        .filter(|place| agent_host::can_hold_locks(place));
    let place = place.as_ref().unwrap_or(&settings.locks);
    place.join(format!("{conversation}.lock"))
}

/// What is found out for what the agent is told first, until that is journalled.
fn groundwork(
    store: &dyn Journal,
    request: &Request,
    summary: &Summary,
    conversation: Option<Conversation>,
    mut groundwork: Groundwork,
) -> Result<Groundwork, StoreError> {
    if summary.work.is_told() {
        return Ok(groundwork);
    }
    match conversation {
        Some(Conversation::ResumeTold(_)) => {
            let interruption = interruption(store, summary, Interruption::default())?;
            groundwork.interruption = Some(interruption).filter(Interruption::is_cut);
        }
        // It begins again, and what was done in it is known from the journal alone.
        Some(Conversation::New(_) | Conversation::Fork { .. }) if summary.evidence != Evidence::Silent => {
            let unkept = interruption(store, summary, Interruption::of_unkept())?;
            groundwork.unkept = Some(unkept).filter(Interruption::has_calls);
        }
        Some(
            Conversation::New(_)
            | Conversation::Fork { .. }
            | Conversation::Resume(_)
            | Conversation::ResumeQuiet(_)
            | Conversation::ResumeAt(..),
        )
        | None => {}
    }
    if summary.lost.is_some() {
        groundwork.story = Some(story(store, request, summary)?);
    }
    Ok(groundwork)
}

/// The request with the files that are kept of it. Where a daemon of the version before has kept none, what the request
/// says is taken; a record of this version says it without values.
///
/// What an agent has asked for is in it only where a person has said so.
fn with_kept_files<'a>(
    settings: &RuntimeSettings,
    request: &'a Request,
    summary: &Summary,
) -> Result<Cow<'a, Request>, LaunchError> {
    let session = summary.session_id;
    let mut as_kept = Cow::Borrowed(request);
    if let Some((_, false)) = summary.asked() {
        as_kept.to_mut().mcp_config.clear();
        return Ok(as_kept);
    }
    for (n, config) in request.mcp_config.iter().enumerate() {
        let kept = settings.mcp_config_file(session, n);
        if kept.exists() {
            as_kept.to_mut().mcp_config[n] = kept.to_string_lossy().into_owned();
        } else if is_masked(config) {
            let source = std::io::ErrorKind::NotFound.into();
            return Err(LaunchError::Prepare { path: kept, source });
        }
    }
    Ok(as_kept)
}

/// The request as this attempt runs it, under the terms that hold by now.
fn as_run<'a>(
    settings: &RuntimeSettings,
    request: &'a Request,
    summary: &Summary,
    effective: &Effective,
    mark: &str,
) -> Cow<'a, Request> {
    let as_asked = match summary.lifecycle.clarify {
        Clarify::Analysing | Clarify::Asking { .. } => Cow::Owned(clarify::for_analysis(request)),
        Clarify::Unasked | Clarify::Settled if request.executor_tools => {
            let own = environment::own_mcp_config(&settings.executable, &settings.state, request.depth + 1, mark);
            let mut request = request.clone();
            request.mcp_config.push(own);
            Cow::Owned(request)
        }
        Clarify::Unasked | Clarify::Settled => Cow::Borrowed(request),
    };
    let mut as_run = effective.terms.applied_to(as_asked);
    if !settings.agent_timers {
        let tools = TIMER_TOOLS.map(str::to_owned);
        as_run.to_mut().disallowed_tools.extend(tools);
    }
    as_run
}

/// The conversation this attempt works in, as the transcripts stand.
fn conversation(
    env: &BTreeMap<String, String>,
    request: &Request,
    summary: &Summary,
    id: Uuid,
    seen: &Groundwork,
) -> Result<Conversation, Unprepared> {
    // A rebuilt conversation has another id and is neither a copy nor taken over.
    let is_import = |from: Uuid| from == id;
    let is_fork = || id == summary.session_id.uuid();
    let origin = request.origin.as_ref();
    let imported = origin.is_some_and(|origin| origin.how == OriginHow::Import && is_import(origin.agent_session_id));
    let forked = origin.filter(|origin| origin.how == OriginHow::Fork && is_fork());
    let can_exist = summary.lifecycle.attempt > Attempt(1) || imported;
    // The agent may keep its files where only it knows, say behind a wrapper. So where it is proven that there was one,
    // the agent is who says that it is lost.
    let is_proven = summary.evidence == Evidence::Written || imported;
    if can_exist && (is_proven || find(env, &summary.cwd, id)?.is_some()) {
        // With one of our messages behind it, the branch after a cut has begun and is the conversation now.
        let branch_begun = !seen.entries.is_empty() || !seen.folded_in.is_empty();
        return Ok(match summary.cut.filter(|_| !branch_begun) {
            Some(message) => Conversation::ResumeAt(id, message),
            None if !environment::resumes_by_itself(summary.agent_version.as_deref()) => Conversation::ResumeTold(id),
            None if goes_on(summary, seen) => Conversation::Resume(id),
            None => Conversation::ResumeQuiet(id),
        });
    }
    // Where nothing proves that there ever was one, the agent was killed before it wrote it: it begins again.
    let Some(origin) = forked else {
        return Ok(Conversation::New(id));
    };
    let from = origin.agent_session_id;
    if find(env, &summary.cwd, from)?.is_none() {
        return Err(Unprepared::Lost(format!("the transcript of {from} is gone")));
    }
    Ok(Conversation::Fork {
        from,
        id,
        message: origin.message,
    })
}

/// Looks in the transcript for messages that the agent is not known to be done with. One that cannot be read says
/// nothing; the agent drops a message that it has had as an entry.
fn look_for_inputs(
    env: &BTreeMap<String, String>,
    conversation: Uuid,
    summary: &Summary,
) -> Result<TranscriptMatches, LaunchError> {
    let wanted: BTreeSet<Uuid> = summary.pending().map(|input| input.uuid).collect();
    if wanted.is_empty() || summary.lifecycle.attempt <= Attempt(1) {
        return Ok(TranscriptMatches::default());
    }
    let Some(path) = find(env, &summary.cwd, conversation)? else {
        return Ok(TranscriptMatches::default());
    };
    Ok(transcript::look(&path, &wanted).unwrap_or_else(|error| {
        tracing::warn!(parent: &span_of(summary.session_id, summary.lifecycle.attempt), path = %path.display(), %error, "cannot read the transcript");
        TranscriptMatches::default()
    }))
}

/// The file of a conversation of an agent that works in `cwd`. One that cannot be looked for is not lost.
fn find(env: &BTreeMap<String, String>, cwd: &Path, conversation: Uuid) -> Result<Option<PathBuf>, LaunchError> {
    transcript::find(env, cwd, conversation).map_err(|source| {
        let path = transcript::configuration(env, cwd).unwrap_or_default().join("projects");
        LaunchError::Prepare { path, source }
    })
}

/// The digest of the session's journal, behind that of the session it is a copy of.
fn story(store: &dyn Journal, request: &Request, summary: &Summary) -> Result<Digest, StoreError> {
    let mut digest = Digest::default();
    let before = request.origin.as_ref().and_then(|origin| origin.session_id);
    if let Some(before) = before.map(|id| store.summary(id)).transpose()?.flatten() {
        take_tail(store, before.session_id, before.head, |entry| digest.take(entry))?;
    }
    take_tail(store, summary.session_id, summary.head, |entry| digest.take(entry))?;
    Ok(digest)
}

/// Where the runs before were cut short, by the last records of the session's journal.
fn interruption(
    store: &dyn Journal,
    summary: &Summary,
    mut interruption: Interruption,
) -> Result<Interruption, StoreError> {
    take_tail(store, summary.session_id, summary.head, |entry| {
        interruption.take(entry)
    })?;
    Ok(interruption)
}

fn take_tail(
    store: &dyn Journal,
    session: SessionId,
    head: Seq,
    mut take: impl FnMut(&Entry),
) -> Result<(), StoreError> {
    let after = Seq(head.0.saturating_sub(TAIL_RECORDS));
    // A record that this version cannot read is left out of the story.
    each_record(store, session, after, Seq(u64::MAX), |record| {
        record.entry().into_iter().for_each(&mut take);
    })
}

/// The environment that agents of this session get before what each attempt adds: the one its creator gave, or the
/// daemon's own, and the operator's settings. `has_asked` tells whether the variables that an agent asked for are among
/// them.
pub(in crate::runtime) fn agent_environment(
    settings: &RuntimeSettings,
    session: SessionId,
    has_asked: bool,
) -> Result<BTreeMap<String, String>, LaunchError> {
    let given = given_environment(settings, session, has_asked)?;
    let mut env = given.unwrap_or_else(daemon_environment);
    env.extend(settings.agent_env.clone());
    Ok(env)
}

/// The same without the operator's settings; none where it is the daemon's own environment.
pub(in crate::runtime) fn given_environment(
    settings: &RuntimeSettings,
    session: SessionId,
    has_asked: bool,
) -> Result<Option<BTreeMap<String, String>>, LaunchError> {
    let given = launch::read_json(settings.environment_file(session))?;
    let asked = match has_asked {
        true => asked_environment(settings, session)?,
        false => BTreeMap::new(),
    };
    if asked.is_empty() {
        return Ok(given);
    }
    let mut env = given.unwrap_or_else(daemon_environment);
    env.extend(asked);
    Ok(Some(env))
}

/// The variables that an agent has asked for, and which a person is asked about.
pub(in crate::runtime) fn asked_environment(
    settings: &RuntimeSettings,
    session: SessionId,
) -> Result<BTreeMap<String, String>, LaunchError> {
    Ok(launch::read_json(settings.asked_environment_file(session))?.unwrap_or_default())
}

/// The daemon's own environment. Variables that are no UTF-8 text are left out.
pub(in crate::runtime) fn daemon_environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
