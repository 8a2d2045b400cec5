//! REST about who may call: tokens, links that sign a browser in, and what was done. For admins alone.

use std::time::Duration;

use actix_web::web::{Data, Json, Path, ReqData};
use actix_web::{HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::audit;
use super::caller::Role;
use super::entry::AuditEntry;
use super::lease::SignedBy;
use super::named::{NamedToken, NotMade};
use crate::web::Faces;
use crate::web::body::{Optional, read_fields};
use crate::web::error::{Code, Problem};
use crate::web::params::Params;
use crate::web::remedy::Remedy;

/// How many entries a page of the audit log has when the caller does not say, and at most.
const PAGE_ENTRIES: usize = 50;
const PAGE_ENTRIES_MAX: usize = 500;

/// The longest life of a token that ends by itself: a hundred years.
const LIFE_SECONDS_MAX: u64 = 3_155_760_000;

/// A token that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::web) struct NewToken {
    /// 1 to 32 of `a-z 0-9 _ -`; not `owner`.
    #[schema(pattern = "^[a-z0-9_-]{1,32}$")]
    name: String,
    /// The role.
    role: Role,
    /// After how many seconds it opens nothing any more; absent for never.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 3155760000_u64)]
    expires_in_seconds: Option<u64>,
}

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct TokenView {
    name: String,
    role: Role,
    #[schema(format = DateTime)]
    created_at: String,
    /// When it ends by itself.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    has_expired: bool,
    /// The secret, shown this once to the one who makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// All tokens.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct Tokens {
    tokens: Vec<TokenView>,
}

/// What a link is to show.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::web) struct NewLink {
    /// The session to show; absent for all of them.
    session_id: Option<String>,
}

/// A link that signs one browser in, once.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct LinkView {
    url: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// A page of the audit log, the newest entry first.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::web) struct AuditPage {
    entries: Vec<AuditEntry>,
    /// What to give as `cursor` for the next page; none where there is none.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// `GET /api/tokens`
#[utoipa::path(
    get, path = "/api/tokens", tag = "access", operation_id = "listTokens",
    responses((status = 200, description = "All tokens but the machine's own, without their secrets", body = Tokens)),
)]
pub(in crate::web) async fn tokens(faces: Data<Faces>) -> HttpResponse {
    let now = Timestamp::now();
    let tokens = faces.access.0.tokens.all();
    let tokens = tokens.iter().map(|token| view(token, now)).collect();
    HttpResponse::Ok().json(Tokens { tokens })
}

/// `POST /api/tokens`
#[utoipa::path(
    post, path = "/api/tokens", tag = "access", operation_id = "createToken",
    request_body = NewToken,
    responses((status = 201, description = "The token, with its secret", body = TokenView)),
)]
pub(in crate::web) async fn create_token(
    faces: Data<Faces>,
    body: Json<Map<String, Value>>,
) -> Result<HttpResponse, Problem> {
    let NewToken {
        name,
        role,
        expires_in_seconds,
    } = read_fields(body.into_inner())?;
    let now = Timestamp::now();
    let expires_at = expires_in_seconds
        .map(|seconds| end_of_life(now, seconds))
        .transpose()?;
    let access = faces.access.clone();
    let made = web::block(move || access.0.tokens.create(&name, role, expires_at, now)).await;
    let (named, token) = made.map_err(|_| stopping())?.map_err(not_made)?;
    Ok(HttpResponse::Created().json(TokenView {
        token: Some(token.reveal().to_owned()),
        ..view(&named, now)
    }))
}

/// `DELETE /api/tokens/{name}`: browsers that were signed in with it are signed out.
#[utoipa::path(
    delete, path = "/api/tokens/{name}", tag = "access", operation_id = "revokeToken",
    params(("name" = String, Path, description = "What the token is called")),
    responses((status = 204, description = "It opens nothing any more")),
)]
pub(in crate::web) async fn revoke_token(faces: Data<Faces>, name: Path<String>) -> Result<HttpResponse, Problem> {
    let (access, revoked) = (faces.access.clone(), name.clone());
    let revoked = web::block(move || access.0.tokens.revoke(&revoked)).await;
    match revoked.map_err(|_| stopping())? {
        Ok(true) => Ok(HttpResponse::NoContent().finish()),
        Ok(false) => {
            let told = format!("there is no token {:?}", name.as_str());
            Err(Problem::new(Code::NoSuchToken, told).with(Remedy::ListTokens))
        }
        Err(error) => Err(not_made(NotMade::Unwritten(error))),
    }
}

/// `POST /api/sign-in-links`: the link may do what its maker may.
#[utoipa::path(
    post, path = "/api/sign-in-links", tag = "access", operation_id = "createSignInLink",
    request_body = Option<NewLink>,
    responses((status = 201, description = "A link for one browser, to be used once, within minutes", body = LinkView)),
)]
pub(in crate::web) async fn create_link(
    faces: Data<Faces>,
    signed_by: ReqData<SignedBy>,
    body: Optional<NewLink>,
) -> Result<HttpResponse, Problem> {
    let NewLink { session_id } = body.0;
    let to = match session_id {
        Some(id) => format!("/execution/{}", faces.handle.resolve(&id).await?),
        None => "/".to_owned(),
    };
    let access = &faces.access.0;
    let (code, expires_at) = access.links.make(signed_by.token, to, Timestamp::now());
    Ok(HttpResponse::Created().json(LinkView {
        url: access.site.url(&format!("/sign-in?code={}", code.reveal())),
        expires_at: shown(expires_at),
    }))
}

/// `GET /api/audit`
#[utoipa::path(
    get, path = "/api/audit", tag = "access", operation_id = "listAudit",
    params(
        ("cursor" = Option<u64>, Query, description = "`next_cursor` of the page before", maximum = 9223372036854775807_u64),
        ("limit" = Option<u64>, Query, description = "The length of a page; 50 when absent, 500 at most", minimum = 1),
    ),
    responses((status = 200, description = "What was changed and by whom, the newest first", body = AuditPage)),
)]
pub(in crate::web) async fn audit(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::exact(&request, &["cursor", "limit"])?;
    let limit = params.limit(PAGE_ENTRIES, PAGE_ENTRIES_MAX)?;
    let found = audit::page(faces.access.audit().clone(), params.number("cursor")?, limit).await;
    let entries =
        found.map_err(|error| Problem::new(Code::NotKept, format!("the audit log cannot be read: {error}")))?;
    let next_cursor = entries
        .last()
        .filter(|_| entries.len() == limit)
        .map(AuditEntry::cursor);
    Ok(HttpResponse::Ok().json(AuditPage { entries, next_cursor }))
}

fn view(token: &NamedToken, now: Timestamp) -> TokenView {
    TokenView {
        name: token.name.clone(),
        role: token.role,
        created_at: shown(token.created_at),
        expires_at: token.expires_at.map(shown),
        has_expired: token.has_expired(now),
        token: None,
    }
}

fn shown(at: Timestamp) -> String {
    format!("{at:.3}")
}

fn end_of_life(now: Timestamp, seconds: u64) -> Result<Timestamp, Problem> {
    let fits = (1..=LIFE_SECONDS_MAX).contains(&seconds);
    let end = now.checked_add(Duration::from_secs(seconds)).ok().filter(|_| fits);
    end.ok_or_else(|| {
        let detail = format!("expires_in_seconds is {seconds}; it must be 1 to {LIFE_SECONDS_MAX}");
        Problem::new(Code::BadBody, detail)
    })
}

fn not_made(error: NotMade) -> Problem {
    let code = match error {
        NotMade::BadName => Code::BadBody,
        NotMade::IsOwner | NotMade::Exists(_) | NotMade::TooMany => Code::TokenExists,
        NotMade::Unwritten(_) => Code::NotKept,
    };
    Problem::new(code, error.to_string())
}

fn stopping() -> Problem {
    Problem::new(Code::Stopping, "the daemon is stopping")
}
