//! Agents among the callers. Whoever calls from inside an agent is that agent, whatever token he has read: he may do what
//! his session was given, and never what is for a person.
//!
//! By the Unix socket the calling process is looked at, and those above it; each carries the mark of its attempt in its
//! environment, or sits in the attempt's cgroup. By the port only the header tells, in which our own command line and
//! relay name the mark.

use std::io;

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::http::header::HeaderName;
use rustix::process::geteuid;
use tokio::task::spawn_blocking;

use super::caller::{Caller, Refusal, Role, is_reading, may_call};
use super::origin::single;
use crate::agent_host::family_marks;
use crate::runtime::Handle;
use crate::runtime::handle::CallingAgent;
use crate::runtime::{CallError, NotServed};
use crate::web::error::{Code, Problem};
use crate::web::peer::Peer;

/// The header in which our command line and our relay name the mark of the agent that has started them.
pub(crate) const MARK_HEADER: HeaderName = HeaderName::from_static("x-cc-executor-parent");

/// The header in which a relay tells how many agents stand above it.
pub(crate) const DEPTH_HEADER: HeaderName = HeaderName::from_static("x-cc-executor-depth");

/// What an agent may change; all else that changes something is for people.
const CHANGES: &[(Method, &str)] = &[
    (Method::POST, "/api/sessions"),
    (Method::POST, "/api/sessions/{id}/cancel"),
    (Method::POST, "/api/sessions/{id}/resume"),
    (Method::POST, "/api/sessions/{id}/fork"),
    (Method::POST, "/api/sessions/{id}/questions/{question}/answer"),
    (Method::POST, "/mcp"),
    (Method::DELETE, "/mcp"),
];

/// The caller as he is seen once it is known whether he is an agent.
pub(super) async fn seen(handle: &Handle, request: &ServiceRequest, caller: Caller) -> Result<Caller, Refusal> {
    let refused = |problem: Problem, caller: &Caller| Refusal {
        problem,
        caller: Some(Box::new(caller.clone())),
    };
    check_depth(request).map_err(|problem| refused(problem, &caller))?;
    let marks = marks(request).await.map_err(|problem| refused(problem, &caller))?;
    let peer = request.conn_data::<Peer>();
    let agent = agent_of(handle, peer.map(|peer| peer.pid), marks).await;
    let agent = agent.map_err(|error| refused(error.into(), &caller))?;
    // What is read of a process is its own only if it still lives afterwards.
    if peer.is_some_and(|peer| !peer.lives()) {
        let told = "the process that opened this connection has ended: open another one";
        return Err(refused(Problem::new(Code::ForbiddenAgent, told), &caller));
    }
    let Some(agent) = agent else { return Ok(caller) };
    let caller = named(caller, agent);
    let judged = may_call(&caller, request).and_then(|()| may_change(agent, request));
    judged.map_err(|problem| refused(problem, &caller))?;
    Ok(caller)
}

/// An agent is called by its session, and is no admin whoever's token it has.
fn named(caller: Caller, agent: CallingAgent) -> Caller {
    Caller {
        name: format!("agent of session {}", agent.session),
        role: caller.role.min(Role::Operator),
        csrf: caller.csrf,
        agent: Some(agent),
    }
}

/// An agent's process is told by its cgroup, which it was given, or else by what is furthest above it: what it starts may
/// say something else of itself.
async fn agent_of(handle: &Handle, pid: Option<i32>, marks: Vec<String>) -> Result<Option<CallingAgent>, CallError> {
    if let Some(pid) = pid
        && let Some(around) = handle.agent_around(pid).await?
    {
        return Ok(Some(around));
    }
    let mut found = None;
    for mark in marks {
        found = handle.agent_marked(&mark).await?.or(found);
    }
    Ok(found)
}

/// The marks on the process that calls and those above it, or else the one that the request names.
async fn marks(request: &ServiceRequest) -> Result<Vec<String>, Problem> {
    let named = match single(request.headers(), &MARK_HEADER) {
        Ok(None) => None,
        Ok(Some(mark)) => Some(mark.to_owned()),
        Err(_) => return Err(unreadable(&MARK_HEADER)),
    };
    let mut marks = match request.conn_data::<Peer>() {
        Some(peer) => marks_of(peer.pid, peer.uid).await?,
        None => Vec::new(),
    };
    // What calls may say that it is an agent's, never that it is another's.
    if marks.is_empty() {
        marks.extend(named);
    }
    marks.dedup();
    Ok(marks)
}

async fn marks_of(pid: i32, uid: u32) -> Result<Vec<String>, Problem> {
    let looked = spawn_blocking(move || family_marks(pid)).await;
    let looked = looked.map_err(io::Error::other).flatten();
    match looked {
        // Root may call, and what it runs cannot be looked at by others. An agent that can become root is root.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && uid != geteuid().as_raw() => Ok(Vec::new()),
        looked => looked.map_err(|error| {
            let told = format!("it cannot be told whether the process that calls is an agent's: {error}");
            Problem::new(Code::ForbiddenAgent, told)
        }),
    }
}

/// How deep an agent stands is known by its mark. A header that says more than can be read is no reason to take it for
/// less.
fn check_depth(request: &ServiceRequest) -> Result<(), Problem> {
    match single(request.headers(), &DEPTH_HEADER) {
        Ok(None) => Ok(()),
        Ok(Some(depth)) if depth.parse::<u32>().is_ok() => Ok(()),
        Ok(Some(_)) | Err(_) => Err(unreadable(&DEPTH_HEADER)),
    }
}

fn unreadable(header: &HeaderName) -> Problem {
    Problem::new(Code::BadHeader, format!("the header {header} cannot be read"))
}

fn may_change(agent: CallingAgent, request: &ServiceRequest) -> Result<(), Problem> {
    if is_reading(request.method()) {
        return Ok(());
    }
    let pattern = request.match_pattern();
    let is_open = |(method, route): &(Method, &str)| method == request.method() && pattern.as_deref() == Some(*route);
    match CHANGES.iter().any(is_open) {
        true => Ok(()),
        false => Err(CallError::NotServed(NotServed::NotForAgents(agent.session)).into()),
    }
}
