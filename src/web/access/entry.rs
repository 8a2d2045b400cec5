//! An entry of the audit log: one call, or refused calls of one kind that are counted together.

use actix_web::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{Caller, Face, Role};
use crate::session::id::SessionId;

/// The name of who has no token, or a wrong one. No token is called this.
pub(super) const NOBODY: &str = "(nobody)";

/// Stands for several where calls that are counted together differ.
const SEVERAL: &str = "(several)";

/// Methods that are written as they are.
const METHODS: [&str; 8] = ["DELETE", "GET", "HEAD", "MCP", "OPTIONS", "PATCH", "POST", "PUT"];

/// Any other method.
pub(super) const OTHER_METHOD: &str = "OTHER";

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct AuditEntry {
    /// Counts the entries, from 1.
    #[serde(default)]
    pub(super) n: u64,
    /// The time of the call, RFC 3339.
    at: String,
    /// The name of the caller's token; `(nobody)` without a token, or with a wrong one.
    pub(super) name: String,
    /// What the caller may do.
    role: Option<Role>,
    /// By which face he called.
    face: Face,
    /// The method; `MCP` of what came by it.
    pub(super) method: String,
    /// The route, with its parameters' names; of MCP, what was done.
    pub(super) route: String,
    /// The session that it was about.
    #[schema(value_type = Option<String>)]
    pub(super) session_id: Option<SessionId>,
    /// The result of the call.
    pub(super) outcome: CallOutcome,
    /// The status of the answer; none by MCP, or where the caller left before.
    status: Option<u16>,
    /// Why it was not let through, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    /// How many refused calls of this kind the entry stands for, where there are several; `at` is that of the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
}

/// Refused calls of one kind are counted together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RefusalKind {
    name: String,
    face: Option<Face>,
    status: Option<u16>,
    reason: Option<String>,
    /// Method and route; none for calls that were not let through, of which anybody can make up as many as he likes.
    call: Option<String>,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CallOutcome)]
pub(crate) enum CallOutcome {
    /// It was carried out.
    Done,
    /// It was not, for a reason of the caller's.
    Refused,
    /// It was not, for a reason of ours.
    Failed,
    /// The caller left before the answer: it may have been carried out.
    Left,
}

impl CallOutcome {
    fn of(status: StatusCode) -> Self {
        if status.is_server_error() {
            Self::Failed
        } else if status.is_client_error() {
            Self::Refused
        } else {
            Self::Done
        }
    }
}

impl AuditEntry {
    /// Something that was done just now.
    pub(crate) fn now(caller: &Caller, face: Face, method: &str, route: &str, outcome: CallOutcome) -> Self {
        Self {
            n: 0,
            at: format!("{:.3}", Timestamp::now()),
            name: caller.name.clone(),
            role: Some(caller.role),
            face,
            method: if METHODS.contains(&method) {
                method
            } else {
                OTHER_METHOD
            }
            .to_owned(),
            route: route.to_owned(),
            session_id: None,
            outcome,
            status: None,
            reason: None,
            count: None,
        }
    }

    /// A call that was not let through just now; the caller is none if nothing says who called.
    pub(super) fn refused(caller: Option<&Caller>, face: Face, method: &str, route: &str, reason: &str) -> Self {
        let nobody = Caller::holding(NOBODY, Role::Viewer);
        Self {
            role: caller.map(|caller| caller.role),
            reason: Some(reason.to_owned()),
            ..Self::now(caller.unwrap_or(&nobody), face, method, route, CallOutcome::Refused)
        }
    }

    /// What it is counted by, if it is refused.
    pub(super) fn kind(&self) -> RefusalKind {
        RefusalKind {
            name: self.name.clone(),
            face: Some(self.face),
            status: self.status,
            reason: self.reason.clone(),
            call: match self.reason {
                Some(_) => None,
                None => Some(format!("{} {}", self.method, self.route)),
            },
        }
    }

    /// Both together, of which `later` is the later.
    pub(super) fn and(self, later: Self) -> Self {
        let same = |one: String, other: String| if one == other { one } else { SEVERAL.to_owned() };
        Self {
            count: Some(self.calls() + later.calls()),
            name: same(self.name, later.name),
            method: same(self.method, later.method),
            route: same(self.route, later.route),
            role: later.role.filter(|role| self.role == Some(*role)),
            session_id: later.session_id.filter(|session| self.session_id == Some(*session)),
            ..later
        }
    }

    /// How many calls it stands for.
    pub(super) fn calls(&self) -> u64 {
        self.count.unwrap_or(1)
    }

    /// What names the page behind this entry.
    pub(super) fn cursor(&self) -> String {
        self.n.to_string()
    }

    /// The same about a session.
    pub(crate) fn about(self, session_id: Option<SessionId>) -> Self {
        Self { session_id, ..self }
    }

    /// The same with the status of the answer.
    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self {
            outcome: CallOutcome::of(status),
            status: Some(status.as_u16()),
            ..self
        }
    }
}
