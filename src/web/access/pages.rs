//! How a browser signs in and out: by a link that can be used once, or with a token.

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, WWW_AUTHENTICATE};
use actix_web::web::{Data, Form};
use actix_web::{Error, HttpRequest, HttpResponse, web};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Access;
use super::caller::{Caller, Face};
use super::entry::{AuditEntry, CallOutcome};
use super::origin::is_led_from_elsewhere;
use super::sign_ins::{NewSignIn, Opener};
use super::token::{Fingerprint, Token};
use crate::web::Faces;
use crate::web::error::{Code, Problem};
use crate::web::params::Params;

/// What our pages may load and do: what the daemon itself serves.
pub(in crate::web) const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What is wrong with a link that opens nothing.
const DEAD_LINK: &str = "This link was used already, or is too old.";

/// What is wrong with a token that opens nothing.
const WRONG_TOKEN: &str = "That is no token of this daemon, or one that has expired.";

/// What is typed into the form.
#[derive(Deserialize, ToSchema)]
pub(in crate::web) struct SignInForm {
    /// The token.
    token: String,
    /// The page that was asked for.
    #[serde(default)]
    to: String,
}

/// `GET /sign-in?code=…`: uses a link up.
#[utoipa::path(
    get, path = "/sign-in", tag = "access", operation_id = "useSignInLink",
    params(("code" = Option<String>, Query, description = "The code of the link")),
    responses(
        (status = 200, description = "The browser is signed in; the page leads on", content_type = "text/html"),
        (status = 303, description = "The browser is signed in"),
        (status = 401, description = "How to sign in", content_type = "text/html"),
    ),
)]
pub(in crate::web) async fn use_link(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request, &["code"])?;
    if !faces.access.0.site.is_here(&request) {
        return Ok(elsewhere_page());
    }
    let Some(code) = params.text("code") else {
        return Ok(sign_in_page(None, "/"));
    };
    match faces.access.0.links.take(code, Timestamp::now()) {
        Some((token, to)) => sign_in(&faces.access, &request, (token, Opener::Link), &to).await,
        None => Ok(wrong(&faces.access, &request, Opener::Link, "/").await),
    }
}

/// `POST /sign-in`: a token, typed into the form.
#[utoipa::path(
    post, path = "/sign-in", tag = "access", operation_id = "signIn",
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "The browser is signed in; the page leads on", content_type = "text/html"),
        (status = 303, description = "The browser is signed in"),
        (status = 401, description = "How to sign in", content_type = "text/html"),
    ),
)]
pub(in crate::web) async fn use_token(
    faces: Data<Faces>,
    request: HttpRequest,
    form: Result<Form<SignInForm>, Error>,
) -> Result<HttpResponse, Problem> {
    let form = form.map_err(|error| Problem::new(Code::BadBody, error.to_string()))?;
    if !faces.access.0.site.is_here(&request) {
        return Ok(elsewhere_page());
    }
    let token = Fingerprint::of(form.token.trim());
    let to = if is_own(&form.to) { &form.to } else { "/" };
    sign_in(&faces.access, &request, (token, Opener::Token), to).await
}

/// `POST /sign-out`
#[utoipa::path(
    post, path = "/sign-out", tag = "access", operation_id = "signOut",
    responses((status = 204, description = "The browser's cookie opens nothing any more")),
)]
pub(in crate::web) async fn sign_out(faces: Data<Faces>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let name = faces.access.cookie_name();
    let cookies: Vec<String> = request.cookies().map_or_else(
        |_| Vec::new(),
        |cookies| {
            let ours = cookies.iter().filter(|cookie| cookie.name() == name);
            ours.map(|cookie| cookie.value().to_owned()).collect()
        },
    );
    let access = faces.access.clone();
    let ending = move || cookies.iter().try_for_each(|cookie| access.0.sign_ins.end(cookie));
    kept(web::block(ending).await)?;
    let mut gone = cookie(&faces.access, String::new());
    gone.make_removal();
    Ok(HttpResponse::NoContent().cookie(gone).finish())
}

/// Signs the browser in with what the token may, and shows it `to`.
async fn sign_in(
    access: &Access,
    request: &HttpRequest,
    (token, by): (Fingerprint, Opener),
    to: &str,
) -> Result<HttpResponse, Problem> {
    let now = Timestamp::now();
    let Some((name, role)) = access.holder(&token, now) else {
        return Ok(wrong(access, request, by, to).await);
    };
    let beginning = access.clone();
    let begin = move || {
        let is_token = |token: &Fingerprint| beginning.holder(token, now).is_some();
        beginning.0.sign_ins.begin(token, by, now, is_token)
    };
    let given = kept(web::block(begin).await)?;
    let caller = Caller::holding(name, role);
    let entry = AuditEntry::now(
        &caller,
        Face::Page,
        request.method().as_str(),
        "/sign-in",
        CallOutcome::Done,
    );
    access.audit().note(entry.with_status(StatusCode::SEE_OTHER)).await;
    Ok(lead(access, request, to, &given))
}

/// Tells the browser that nothing opens by what it has. The audit log counts it.
async fn wrong(access: &Access, request: &HttpRequest, by: Opener, to: &str) -> HttpResponse {
    let (told, reason) = match by {
        Opener::Link => (DEAD_LINK, "wrong_link"),
        Opener::Token => (WRONG_TOKEN, "wrong_token"),
    };
    tracing::debug!(reason, "a sign-in was refused");
    let entry = AuditEntry::refused(None, Face::Page, request.method().as_str(), "/sign-in", reason);
    access.audit().note(entry.with_status(StatusCode::UNAUTHORIZED)).await;
    sign_in_page(Some(told), to)
}

/// Leads a browser that was signed in on to what it wanted. A browser sends a strict cookie only where our own page leads
/// it: whom another one led here is led on by a page. So is one that has to keep a secret of the page.
fn lead(access: &Access, request: &HttpRequest, to: &str, given: &NewSignIn) -> HttpResponse {
    let mut cookie = cookie(access, given.cookie.reveal().to_owned());
    let life = i64::try_from(access.0.sign_ins.life.as_secs()).unwrap_or(i64::MAX);
    cookie.set_max_age(CookieDuration::seconds(life));
    if given.secret.is_some() || is_led_from_elsewhere(request.headers()) {
        let mut answer = HttpResponse::Ok();
        answer.cookie(cookie);
        return page(&mut answer, &entered(to, given.secret.as_ref()));
    }
    HttpResponse::SeeOther()
        .cookie(cookie)
        .insert_header((LOCATION, to))
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .finish()
}

fn cookie(access: &Access, value: String) -> Cookie<'static> {
    Cookie::build(access.cookie_name(), value)
        .path("/")
        .http_only(true)
        .secure(access.0.site.is_secure())
        .same_site(SameSite::Strict)
        .finish()
}

/// What came of keeping something on disk, on another thread.
fn kept<T>(outcome: Result<std::io::Result<T>, actix_web::error::BlockingError>) -> Result<T, Problem> {
    let outcome = outcome.map_err(|_| Problem::new(Code::Stopping, "the daemon is stopping"))?;
    outcome.map_err(|error| Problem::new(Code::NotKept, format!("it cannot be kept on disk: {error}")))
}

/// Whether this leads to a page of ours and nowhere else, however a browser reads it.
fn is_own(to: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.?=&%+".contains(&byte);
    to.starts_with('/') && !to.starts_with("//") && to.bytes().all(fits)
}

/// The page of those who are not signed in; who signs in is led `to` the page that he wanted.
pub(in crate::web) fn sign_in_page(wrong: Option<&str>, to: &str) -> HttpResponse {
    let mut answer = HttpResponse::Unauthorized();
    answer.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"cc-executor\""));
    page(&mut answer, &signing_in(wrong, to))
}

/// The page of those who look for the page at another address than its own, which is not told: it is known to nobody but
/// the browsers that were signed in.
pub(in crate::web) fn elsewhere_page() -> HttpResponse {
    let mut answer = HttpResponse::Unauthorized();
    answer.insert_header((WWW_AUTHENTICATE, "Bearer realm=\"cc-executor\""));
    let body = html! {
        h1 { "The page is not at this address" }
        p { "Run " code { "cc-executor open" } " in a terminal of this machine: it opens the page, signed in." }
    };
    page(&mut answer, &document("Not here", &html! {}, &body))
}

fn page(answer: &mut actix_web::HttpResponseBuilder, markup: &Markup) -> HttpResponse {
    answer
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, PAGE_POLICY))
        // Of a page that tells nobody where it is, a browser says of its form too that it comes from nowhere.
        .insert_header((REFERRER_POLICY, "same-origin"))
        .body(markup.0.clone())
}

fn signing_in(wrong: Option<&str>, to: &str) -> Markup {
    let body = html! {
        h1 { "Sign in to cc-executor" }
        @if let Some(wrong) = wrong {
            p role="alert" { strong { (wrong) } }
        }
        p { "Run " code { "cc-executor open" } " in a terminal of this machine: it opens this page signed in." }
        form method="post" action="/sign-in" {
            label for="token" { "Or sign in with a token" }
            " "
            input #token type="password" name="token" autocomplete="off" required;
            " "
            input type="hidden" name="to" value=(to);
            button type="submit" { "Sign in" }
        }
    };
    document("Sign in", &html! {}, &body)
}

/// Leads on; where there is a secret to keep, by a script that keeps it.
fn entered(to: &str, secret: Option<&Token>) -> Markup {
    let head = html! {
        @match secret {
            Some(secret) => {
                meta name="page-secret" content=(secret.reveal());
                script type="module" src="/assets/entered.js" {}
            }
            None => { meta http-equiv="refresh" content={ "0;url=" (to) }; }
        }
    };
    let body = html! {
        h1 { "Signed in" }
        p { a href=(to) { "Go on to the page" } }
    };
    document("Signed in", &head, &body)
}

fn document(title: &str, head: &Markup, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · cc-executor" }
                link rel="icon" href="/assets/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/assets/page.css";
                (head)
            }
            body.sign-in { main { (body) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_own;

    #[test]
    fn who_signs_in_is_led_to_a_page_of_ours_only() {
        for own in ["/", "/history?q=a%20b&state=live", "/execution/0193-abcd?seq=5"] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nSet-Cookie: a=b",
            "evil",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }
}
