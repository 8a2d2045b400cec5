//! What the operations of the REST API read and answer alike.

use std::collections::BTreeMap;

use actix_web::http::header::LOCATION;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Faces;
use super::access::Caller;
use super::body::write_whole_numbers;
use super::error::{Code, Problem};
use super::view::SessionView;
use crate::runtime::{EnvironmentBase, NewSession};
use crate::session::id::SessionId;
use crate::session::request::Request;
use crate::session::summary::Summary;

/// The header in which a client names itself, for `by` in the journal: 1 to 32 of `a-z 0-9 _ -`.
pub const CLIENT_HEADER: &str = "X-CC-Executor-Client";

/// What a client that does not name itself is called; with a named token, the token's name follows a colon.
const CLIENT_DEFAULT: &str = "rest";

/// The longest name of a client, in bytes.
const CLIENT_BYTES_MAX: usize = 32;

/// Maximum number of sessions that a warning names.
const WARNED_OF_MAX: usize = 5;

/// A session that was just created, with what its creator should know.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CreatedSession)]
pub(super) struct Created<'a> {
    #[serde(flatten)]
    session: SessionView<'a>,
    /// Sessions that already work in its directory, for example.
    warnings: Vec<String>,
    #[serde(skip)]
    id: SessionId,
}

impl<'a> Created<'a> {
    pub(super) async fn of(faces: &Faces, summary: &'a Summary) -> Self {
        // The session exists: that it could not be compared with others is no reason to say otherwise.
        let others = faces.handle.list().await.unwrap_or_default();
        Self {
            session: SessionView::of(summary),
            warnings: warnings(summary, others.iter().map(|other| &**other)),
            id: summary.session_id,
        }
    }

    /// Where the session can be looked at.
    pub(super) fn location(&self) -> String {
        location(self.id)
    }
}

/// A session as an answer.
pub(super) fn shown(summary: &Summary) -> HttpResponse {
    HttpResponse::Ok().json(SessionView::of(summary))
}

/// The answer to what goes on after it: 202 until that has ended.
pub(super) fn going_on(summary: &Summary) -> HttpResponse {
    let mut response = match summary.lifecycle.state.outcome() {
        None => HttpResponse::Accepted(),
        Some(_) => HttpResponse::Ok(),
    };
    response
        .insert_header((LOCATION, location(summary.session_id)))
        .json(SessionView::of(summary))
}

fn location(id: SessionId) -> String {
    format!("/api/sessions/{id}")
}

/// Whose call it is: what belongs to one caller is not another's.
pub(super) fn caller_name(request: &HttpRequest) -> Result<String, Problem> {
    let caller = Caller::of(request).map(|caller| caller.name);
    caller.ok_or_else(|| Problem::new(Code::Unauthorized, "it is not known who calls"))
}

/// The session whose agent calls, where one does.
pub(super) fn asker(request: &HttpRequest) -> Option<SessionId> {
    Caller::of(request)?.session()
}

/// The caller's name in the journal. Errors if the client gives itself a name that does not fit.
pub(super) fn client(request: &HttpRequest) -> Result<String, Problem> {
    let client = client_of(request)?;
    Ok(match Caller::of(request) {
        Some(caller) => caller.journalled_as(client),
        None => client,
    })
}

/// The name that the client gives itself in [`CLIENT_HEADER`].
fn client_of(request: &HttpRequest) -> Result<String, Problem> {
    let Some(value) = request.headers().get(CLIENT_HEADER) else {
        return Ok(unnamed_client(Caller::of(request)));
    };
    let fits = |name: &&str| {
        (1..=CLIENT_BYTES_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
    };
    value.to_str().ok().filter(fits).map(str::to_owned).ok_or_else(|| {
        let detail = format!("{CLIENT_HEADER} must be 1 to {CLIENT_BYTES_MAX} of a-z, 0-9, _ and -");
        Problem::new(Code::BadHeader, detail)
    })
}

fn unnamed_client(caller: Option<Caller>) -> String {
    match caller.filter(|caller| !caller.is_owner()) {
        Some(Caller { name, .. }) => format!("{CLIENT_DEFAULT}:{name}"),
        None => CLIENT_DEFAULT.to_owned(),
    }
}

/// Reads the body of a create without a look at what is missing.
pub(super) fn unchecked_session(mut body: Map<String, Value>, by: String) -> Result<NewSession, Problem> {
    if body.contains_key("origin") {
        return Err(bad_body(
            "origin cannot be given: fork a session, or import a conversation",
        ));
    }
    write_whole_numbers(&mut body);
    let env = body.remove("env").map(read_env).transpose()?;
    let base = read_base(body.remove("inherit_env"))?;
    let mut request = Request::deserialize(&body).map_err(|error| misfit(&body, &error))?;
    let given = env.iter().flatten().map(|(name, _)| name);
    if let Some(missing) = request
        .env_names
        .iter()
        .find(|name| !given.clone().any(|other| other == *name))
    {
        return Err(bad_body(format!("env_names has {missing:?}, which env has not")));
    }
    request.env_names = given.cloned().collect();
    // Without the daemon's environment, no variables are an empty environment.
    let env = env.or_else(|| (base == EnvironmentBase::Nothing).then(BTreeMap::new));
    Ok(NewSession {
        request,
        env,
        base,
        by,
        claim: None,
        asker: None,
    })
}

fn read_base(inherit: Option<Value>) -> Result<EnvironmentBase, Problem> {
    match inherit {
        None | Some(Value::Bool(true)) => Ok(EnvironmentBase::Daemon),
        Some(Value::Bool(false)) => Ok(EnvironmentBase::Nothing),
        Some(_) => Err(bad_body("inherit_env must be true or false")),
    }
}

/// Values are secrets: what is wrong is told by name only.
fn read_env(value: Value) -> Result<BTreeMap<String, String>, Problem> {
    let Value::Object(fields) = value else {
        return Err(bad_body("env must be an object of strings"));
    };
    let mut env = BTreeMap::new();
    for (name, value) in fields {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(bad_body(format!("env has {name:?}, which is no name of a variable")));
        }
        match value {
            Value::String(value) if !value.contains('\0') => env.insert(name, value),
            _ => {
                return Err(bad_body(format!(
                    "env has a {name} that is not a string without NUL bytes"
                )));
            }
        };
    }
    Ok(env)
}

/// Says which field does not fit: each is tried on its own, since all are optional to the parser.
fn misfit(body: &Map<String, Value>, error: &serde_json::Error) -> Problem {
    for (name, value) in body {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = Request::deserialize(&alone) {
            let told = error.to_string();
            let names_it = told.contains(&format!("`{name}`"));
            return bad_body(if names_it { told } else { format!("{name}: {told}") });
        }
    }
    bad_body(error.to_string())
}

/// A body that does not fit.
pub(super) fn bad_body(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadBody, detail)
}

/// What the creator of a session should know.
pub(super) fn warnings<'a>(created: &Summary, others: impl Iterator<Item = &'a Summary>) -> Vec<String> {
    let beside: Vec<_> = others
        .filter(|other| other.session_id != created.session_id && other.cwd == created.cwd)
        .filter(|other| other.lifecycle.state.outcome().is_none())
        .collect();
    let named = beside.iter().take(WARNED_OF_MAX);
    let named: Vec<_> = named
        .map(|other| format!("{} ({})", other.session_id.short(), other.name))
        .collect();
    match (beside.len(), beside.len() - named.len()) {
        (0, _) => Vec::new(),
        (1, _) => vec![format!("session {} already works in this directory", named.concat())],
        (count, 0) => vec![format!(
            "{count} sessions already work in this directory: {}",
            named.join(", ")
        )],
        (count, rest) => vec![format!(
            "{count} sessions already work in this directory: {} and {rest} more",
            named.join(", ")
        )],
    }
}
