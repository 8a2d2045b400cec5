//! Who there is to call, and what each may do: one rule, and one table of exceptions.

use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::{HttpMessage, HttpRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::OWNER;
use crate::runtime::handle::CallingAgent;
use crate::session::id::SessionId;
use crate::web::error::{Code, Problem};

/// What a caller may do; each may also do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Look at sessions.
    Viewer,
    /// Start, answer, cancel, resume: all that changes a session.
    Operator,
    /// Say who may call, see who did what, and remove all that is old.
    Admin,
}

impl Role {
    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// By which face a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Face {
    /// HTTP with a token: scripts and the command line.
    Api,
    /// A browser with our cookie.
    Page,
    /// A client of MCP.
    Mcp,
}

/// Who calls; stands in the extensions of every request that got past the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The name of the token; of the machine's own it is `owner`.
    pub(crate) name: String,
    /// The role.
    pub(crate) role: Role,
    /// What a page has to send as `X-CSRF-Token`; none for callers with a token, who need none.
    pub(crate) csrf: Option<String>,
    /// The agent that calls, where one does.
    pub(crate) agent: Option<CallingAgent>,
}

impl Caller {
    /// Who calls with a token of this name and role.
    pub(in crate::web) fn holding(name: impl Into<String>, role: Role) -> Self {
        Self {
            name: name.into(),
            role,
            csrf: None,
            agent: None,
        }
    }

    /// Who made a request; none where the guard did not let it through.
    pub(in crate::web) fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get().cloned()
    }

    /// Whether it has the machine's own token.
    pub(in crate::web) fn is_owner(&self) -> bool {
        self.name == OWNER
    }

    /// The session whose agent calls, where one does.
    pub(in crate::web) fn session(&self) -> Option<SessionId> {
        self.agent.map(|agent| agent.session)
    }

    /// Its name in the journal: the session of an agent, else what the client calls itself.
    pub(in crate::web) fn journalled_as(&self, client: String) -> String {
        match self.session() {
            Some(session) => format!("the agent of session {}", session.short()),
            None => client,
        }
    }

    /// By which face it came over HTTP.
    pub(super) fn face(&self) -> Face {
        match self.csrf {
            Some(_) => Face::Page,
            None => Face::Api,
        }
    }
}

/// A call that is not let through, and who made it where that is known.
pub(super) struct Refusal {
    pub(super) problem: Problem,
    pub(super) caller: Option<Box<Caller>>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self { problem, caller: None }
    }
}

/// Paths, with all below them, at which the method does not say what the role has to be.
///
/// Whatever MCP is asked comes as a POST, and what starts work cannot be told from what reads without understanding it:
/// so all of it is for those who may start work.
const EXCEPTIONS: &[(&str, Role)] = &[
    ("/api/tokens", Role::Admin),
    ("/api/audit", Role::Admin),
    ("/api/gc", Role::Admin),
    ("/api/sign-in-links", Role::Admin),
    ("/mcp", Role::Operator),
    ("/sign-out", Role::Viewer),
];

/// Which role a call needs: reading is for all, everything else for operators, but for the exceptions. `path` is the one
/// by which the router decides.
pub(in crate::web) fn needed(method: &Method, path: &str) -> Role {
    match EXCEPTIONS.iter().find(|(root, _)| is_at_or_below(root, path)) {
        Some((_, role)) => *role,
        None if is_reading(method) => Role::Viewer,
        None => Role::Operator,
    }
}

/// Errors if the caller's role is not enough for the request.
pub(super) fn may_call(caller: &Caller, request: &ServiceRequest) -> Result<(), Problem> {
    let needed = needed(request.method(), request.match_info().as_str());
    if caller.role >= needed {
        return Ok(());
    }
    let what = if caller.agent.is_some() { "the" } else { "the token" };
    let told = format!(
        "{what} {} has the role {}; this needs the role {}",
        caller.name,
        caller.role.name(),
        needed.name()
    );
    Err(Problem::new(Code::ForbiddenRole, told))
}

/// True if a path is `root`, or stands below it.
pub(super) fn is_at_or_below(root: &str, path: &str) -> bool {
    path.strip_prefix(root)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a method promises to change nothing.
pub(super) fn is_reading(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_for_all_and_changing_for_operators() {
        for path in ["/", "/api/sessions", "/execution/x/stream", "/api/tokensx", "/nowhere"] {
            assert_eq!(needed(&Method::GET, path), Role::Viewer, "{path}");
            assert_eq!(needed(&Method::HEAD, path), Role::Viewer, "{path}");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE] {
                assert_eq!(needed(&method, path), Role::Operator, "{method} {path}");
            }
        }
    }

    #[test]
    fn who_may_call_and_what_is_old_is_for_admins_alone() {
        for path in [
            "/api/tokens",
            "/api/tokens/x",
            "/api/audit",
            "/api/gc",
            "/api/sign-in-links",
        ] {
            assert_eq!(needed(&Method::GET, path), Role::Admin, "{path}");
            assert_eq!(needed(&Method::POST, path), Role::Admin, "{path}");
        }
        assert_eq!(needed(&Method::GET, "/mcp"), Role::Operator);
        assert_eq!(needed(&Method::POST, "/sign-out"), Role::Viewer);
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    }
}
