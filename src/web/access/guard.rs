//! The door of every route: from where a call comes, who calls, and whether he may; and then what became of it.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{ACCEPT, AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse};
use jiff::Timestamp;

use super::agent;
use super::audit::{AuditedCall, session_in};
use super::caller::{Caller, Face, Refusal, is_reading, may_call};
use super::entry::AuditEntry;
use super::lease::{Lease, SignedBy};
use super::origin::{Arrival, single};
use super::peer::caller_of;
use super::sign_ins::SignIn;
use super::token::Fingerprint;
use super::{Access, pages};
use crate::runtime::Handle;
use crate::web::error::{Code, Problem};
use crate::web::gate::{Full, Pass};
use crate::web::peer::Peer;
use crate::web::remedy::{Audience, Remedy};

/// The paths that need no token, beside those of assets.
const PUBLIC_PATHS: &[&str] = &["/healthz", "/readyz", "/sign-in"];

/// Where what pages are made of stands; nothing in it is secret.
const ASSETS: &str = "/assets/";

/// Whether a path needs no token. Only the plainest spelling of it is.
pub(in crate::web) fn is_public(path: &str) -> bool {
    let is_asset = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    PUBLIC_PATHS.contains(&path) || path.strip_prefix(ASSETS).is_some_and(is_asset)
}

/// A caller, and what lets him in.
struct KnownCaller {
    caller: Caller,
    by: SignedBy,
    /// The browser's sign-in, where a cookie let it in. It is looked up once, so that all that is judged of one call is
    /// judged by the same.
    sign_in: Option<SignIn>,
}

impl Access {
    /// Who calls, and by which token; none at public paths.
    fn admit(&self, request: &ServiceRequest) -> Result<Option<(Caller, SignedBy)>, Refusal> {
        let by_socket = request.conn_data::<Peer>().map(caller_of).transpose()?;
        match by_socket {
            Some(_) => self.0.origins.check(Arrival::Socket, request.request())?,
            None if self.0.site.is_here(request.request()) => self.0.site.check(request.method(), request.headers())?,
            None => self.0.origins.check(Arrival::Port, request.request())?,
        }
        if is_public(request.path()) {
            return Ok(None);
        }
        let now = Timestamp::now();
        let KnownCaller { caller, by, sign_in } = self.identify(request, by_socket, now)?;
        let judged =
            may_call(&caller, request).and_then(|()| self.check_change(&caller, sign_in.as_ref(), request, now));
        match judged {
            Ok(()) => Ok(Some((caller, by))),
            Err(problem) => Err(Refusal {
                problem,
                caller: Some(Box::new(caller)),
            }),
        }
    }

    /// On the socket the peer decides; the owner may give a token there to act as its holder. On the port a token decides
    /// where there is one, else the cookie.
    fn identify(
        &self,
        request: &ServiceRequest,
        by_socket: Option<Caller>,
        now: Timestamp,
    ) -> Result<KnownCaller, Problem> {
        let has_token = request.headers().contains_key(AUTHORIZATION);
        let found = match by_socket {
            Some(caller) if !(caller.is_owner() && has_token) => Some(KnownCaller {
                caller,
                by: self.signed_by_owner(),
                sign_in: None,
            }),
            Some(_) | None if has_token => {
                bearer(request.headers()).and_then(|token| self.of_token(Fingerprint::of(token), now))
            }
            Some(_) | None => self.of_cookie(request, now),
        };
        found.ok_or_else(unauthorized)
    }

    /// What lets a peer of the socket in holds as long as the daemon: its connection ends with it.
    fn signed_by_owner(&self) -> SignedBy {
        SignedBy {
            token: self.0.owner,
            cookie: None,
        }
    }

    fn of_token(&self, token: Fingerprint, now: Timestamp) -> Option<KnownCaller> {
        let (name, role) = self.holder(&token, now)?;
        Some(KnownCaller {
            caller: Caller::holding(name, role),
            by: SignedBy { token, cookie: None },
            sign_in: None,
        })
    }

    /// Cookies count at the page's own place alone. Others can set cookies of our name: they are passed over.
    fn of_cookie(&self, request: &ServiceRequest, now: Timestamp) -> Option<KnownCaller> {
        if !self.0.site.is_here(request.request()) {
            return None;
        }
        let name = self.cookie_name();
        let cookies = request.cookies().ok()?;
        let ours = cookies.iter().filter(|cookie| cookie.name() == name);
        ours.map(|cookie| cookie.value()).find_map(|value| {
            let cookie = Fingerprint::of(value);
            let sign_in = self.0.sign_ins.find(&cookie, now)?;
            let token = sign_in.token();
            let (name, role) = self.holder(&token, now)?;
            Some(KnownCaller {
                caller: Caller {
                    csrf: Some(self.csrf_token(value)),
                    ..Caller::holding(name, role)
                },
                by: SignedBy {
                    token,
                    cookie: Some(cookie),
                },
                sign_in: Some(sign_in),
            })
        })
    }

    /// Whether what let a caller in still does.
    pub(super) fn lets_in(&self, by: &SignedBy, now: Timestamp) -> bool {
        let is_signed_in = by
            .cookie
            .is_none_or(|cookie| self.0.sign_ins.find(&cookie, now).is_some());
        is_signed_in && self.holder(&by.token, now).is_some()
    }
}

/// The refusal of whom nothing lets in.
pub(super) fn unauthorized() -> Problem {
    Problem::new(Code::Unauthorized, "the token is missing or wrong, or its time is over").with(Remedy::SignIn)
}

/// Gives a caller's connection its place, once all is known of who calls: an agent has none of the owner's places.
fn take_place(request: &ServiceRequest, caller: Caller) -> Result<Caller, Refusal> {
    let Some(pass) = request.conn_data::<Pass>() else {
        return Ok(caller);
    };
    match pass.is_shown(caller.is_owner()) {
        Ok(()) => Ok(caller),
        Err(Full) => Err(Refusal {
            problem: too_many(),
            caller: Some(Box::new(caller)),
        }),
    }
}

/// The refusal of who has none of the owner's places left to take.
fn too_many() -> Problem {
    let told = "there are too many connections of callers with tokens (`server.connections_max`): close some";
    Problem::new(Code::TooManyConnections, told)
}

/// The token of the `Authorization` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = single(headers, &AUTHORIZATION).ok().flatten()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Lets through who may call, tells the routes who it is, and keeps what became of each change. What is read is sent no
/// longer than its reader may have it; a change is answered whatever it changed, be it the right of who made it.
pub(in crate::web) async fn guard<B: MessageBody + 'static>(
    access: Access,
    handle: Handle,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let admitted = match access.admit(&request) {
        Ok(None) => return Ok(next.call(request).await?.map_into_boxed_body()),
        Ok(Some((caller, signed_by))) => {
            let seen = agent::seen(&handle, &request, caller).await;
            seen.and_then(|caller| take_place(&request, caller))
                .map(|caller| (caller, signed_by))
        }
        Err(refusal) => Err(refusal),
    };
    let (caller, signed_by) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let answer = refuse(&access, &request, &refusal);
            let entry = entry_of(&request, &refusal).with_status(answer.status());
            access.audit().note(entry).await;
            return Ok(request.into_response(answer));
        }
    };
    let note = note(&access, &handle, &request, &caller).await;
    let lease = Lease::new(access, signed_by).of_agent(&handle, caller.agent);
    let is_read = is_reading(request.method());
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(signed_by);
    let answered = next.call(request).await;
    if let Some(note) = note {
        match &answered {
            Ok(answer) => note.finish(answer.response()).await,
            Err(error) => note.finish(&error.as_response_error().error_response()).await,
        }
    }
    let answer = in_its_words(answered?.map_into_boxed_body());
    if is_read && !lease.holds() {
        let reader = Audience::of(answer.request());
        return Ok(answer.into_response(unauthorized().respond(reader)));
    }
    Ok(lease.bound(answer))
}

/// The same answer; a refusal names the remedies of the place where it is read.
fn in_its_words(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    let reader = Audience::of(answer.request());
    let problem = answer.response().error().and_then(|error| error.as_error::<Problem>());
    match problem.map(|problem| problem.respond(reader)) {
        Some(refusal) => answer.into_response(refusal),
        None => answer,
    }
}

/// What is to be kept of a call, where it changes something. Those of MCP are kept by their face, which alone
/// understands them.
async fn note(access: &Access, handle: &Handle, request: &ServiceRequest, caller: &Caller) -> Option<AuditedCall> {
    let path = request.match_info().as_str();
    let is_change = !is_reading(request.method()) && *request.method() != Method::OPTIONS && path != "/mcp";
    match is_change {
        true => Some(AuditedCall::begin(access.audit(), handle, request, caller).await),
        false => None,
    }
}

/// What is kept of a call that was not let through.
fn entry_of(request: &ServiceRequest, refusal: &Refusal) -> AuditEntry {
    let has_token = request.headers().contains_key(AUTHORIZATION);
    let face = match &refusal.caller {
        _ if request.match_info().as_str() == "/mcp" => Face::Mcp,
        Some(caller) => caller.face(),
        None if has_token => Face::Api,
        None if wants_page(request) => Face::Page,
        None => Face::Api,
    };
    let reason = match refusal.problem.is(Code::Unauthorized) && has_token {
        true => "wrong_token",
        false => refusal.problem.name(),
    };
    let route = request.match_pattern();
    let route = route.as_deref().unwrap_or("none");
    let session = session_in(request.match_info().as_str()).and_then(|id| id.parse().ok());
    AuditEntry::refused(
        refusal.caller.as_deref(),
        face,
        request.method().as_str(),
        route,
        reason,
    )
    .about(session)
}

/// A browser that wants a page is shown how to sign in, or that the page is elsewhere.
fn refuse(access: &Access, request: &ServiceRequest, refusal: &Refusal) -> HttpResponse {
    tracing::debug!(method = %request.method(), path = request.path(), why = %refusal.problem, "call refused");
    if refusal.problem.is(Code::Unauthorized) && wants_page(request) {
        if !access.0.site.is_here(request.request()) {
            return pages::elsewhere_page();
        }
        let to = request.uri().path_and_query().map_or("/", |to| to.as_str());
        return pages::sign_in_page(None, to);
    }
    refusal.problem.respond(Audience::of(request.request()))
}

fn wants_page(request: &ServiceRequest) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let is_page = match request.path() {
        "/" | "/history" | "/new" => true,
        path => path.strip_prefix("/execution/").is_some_and(|id| !id.contains('/')),
    };
    *request.method() == Method::GET && (is_page || accept.is_some_and(|accept| accept.contains("text/html")))
}
