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

/// Reads the body of a create: a request and, beside it, `env`.
pub(super) fn new_session(body: Map<String, Value>, by: String) -> Result<NewSession, Problem> {
    let new = unchecked_session(body, by)?;
    let checked = new.request.check();
    checked.map_err(|error| Problem::new(Code::InvalidRequest, error.to_string()))?;
    Ok(new)
}

/// The same without a look at what is missing.
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
fn warnings<'a>(created: &Summary, others: impl Iterator<Item = &'a Summary>) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal;
    use crate::session::outcome::Outcome;
    use crate::session::state::State;
    use actix_web::test::TestRequest;
    use jiff::Timestamp;
    use serde_json::json;

    fn read(body: Value) -> Result<NewSession, String> {
        let Value::Object(body) = body else {
            panic!("a test gives an object")
        };
        new_session(body, "rest".into()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn a_body_is_a_request_with_an_environment() {
        let new = read(json!({"task": "t", "cwd": "/w", "max_turns": 3, "env": {"B": "2", "A": "1"}})).unwrap();
        assert_eq!(
            (new.request.max_turns, new.request.env_names.join(" ")),
            (Some(3), "A B".into())
        );
        assert_eq!(new.env.unwrap()["B"], "2");
        assert!(read(json!({"task": "t", "cwd": "/w"})).unwrap().env.is_none());
    }

    #[test]
    fn a_body_says_if_its_environment_is_all_there_is() {
        let body = |more: Value| {
            let mut body = json!({"task": "t", "cwd": "/w", "umask": "027"});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            read(body).unwrap()
        };
        assert_eq!(body(json!({})).request.umask.unwrap().bits(), 0o27);
        assert_eq!(body(json!({"env": {}})).base, EnvironmentBase::Daemon);
        let whole = body(json!({"inherit_env": false}));
        assert_eq!(
            (whole.base, whole.env),
            (EnvironmentBase::Nothing, Some(BTreeMap::new()))
        );
    }

    #[test]
    fn the_field_that_does_not_fit_is_named() {
        let wrong = [
            (json!({"task": "t", "cwd": "/w", "max_turn": 3}), "`max_turn`"),
            (json!({"task": "t", "cwd": "/w", "max_turns": "3"}), "max_turns"),
            (json!({"task": "t", "cwd": "/w", "max_turns": -3}), "max_turns"),
            (
                json!({"task": "t", "cwd": "/w", "permission_mode": "yolo"}),
                "permission_mode",
            ),
            (json!({"task": ["t"], "cwd": "/w"}), "task"),
            (json!({"cwd": "/w"}), "task"),
            (json!({"task": "t"}), "cwd"),
            (json!({"task": "t", "cwd": "w"}), "absolute"),
            (json!({"task": "t", "cwd": "/w", "origin": {}}), "origin"),
            (json!({"task": "t", "cwd": "/w", "env": []}), "env"),
            (json!({"task": "t", "cwd": "/w", "inherit_env": "no"}), "inherit_env"),
            (json!({"task": "t", "cwd": "/w", "umask": "rwx"}), "octal digits"),
            (json!({"task": "t", "cwd": "/w", "env": {"A=": "x"}}), "A="),
            (json!({"task": "t", "cwd": "/w", "env_names": ["A"]}), "env_names"),
        ];
        for (body, told) in wrong {
            let error = read(body.clone()).unwrap_err();
            assert!(error.contains(told), "{body}: {error}");
        }
    }

    #[test]
    fn a_value_of_the_environment_is_never_told() {
        let error = read(json!({"task": "t", "cwd": "/w", "env": {"KEY": ["hunter2"]}})).unwrap_err();
        assert!(error.contains("KEY") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_client_may_name_itself_modestly() {
        let of = |name: &str| {
            client(
                &TestRequest::default()
                    .insert_header((CLIENT_HEADER, name))
                    .to_http_request(),
            )
        };
        assert_eq!(client(&TestRequest::default().to_http_request()), Ok("rest".into()));
        assert_eq!(of("my-script_2"), Ok("my-script_2".into()));
        for bad in ["", "Me", "a b", "<script>", &"x".repeat(33)] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_second_session_in_a_directory_is_warned_of() {
        let session = |cwd: &str| {
            let request = Request {
                task: "t".into(),
                cwd: cwd.into(),
                ..Request::default()
            };
            let by = "a test".to_owned();
            Summary::new(
                SessionId::new(),
                &journal::Created {
                    request,
                    by,
                    claim: None,
                    project: None,
                },
                Timestamp::UNIX_EPOCH,
            )
        };
        let (new, live, elsewhere, mut ended) = (session("/w"), session("/w"), session("/v"), session("/w"));
        ended.lifecycle.state = State::Ended {
            outcome: Outcome::Completed,
        };
        let told = warnings(&new, [&new, &live, &elsewhere, &ended].into_iter());
        assert_eq!(told.len(), 1);
        assert!(told[0].contains(&live.session_id.short()), "{told:?}");
        let many: Vec<_> = (0..9).map(|_| session("/w")).collect();
        let told = warnings(&new, many.iter());
        assert_eq!(told.len(), 1, "one line, however many there are");
        assert!(
            told[0].starts_with("9 sessions") && told[0].ends_with("and 4 more"),
            "{told:?}"
        );
    }
}
