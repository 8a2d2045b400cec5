//! What a browser has to send with a change, beside its cookie: other sites can have it send the cookie, and where the
//! page's name is not its own, other servers know the cookie.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderName;
use jiff::Timestamp;

use super::Access;
use super::caller::{Caller, is_at_or_below, is_reading};
use super::origin::single;
use super::sign_ins::SignIn;
use super::token::Fingerprint;
use crate::web::error::{Code, Problem};
use crate::web::remedy::Remedy;

/// Carries the CSRF token of a page.
const CSRF_HEADER: HeaderName = HeaderName::from_static("x-csrf-token");

/// Carries the secret that the page's own storage holds; storage knows ports.
const SECRET_HEADER: HeaderName = HeaderName::from_static("x-page-secret");

/// Paths, with all below them, where what a browser may do would outlive its sign-in.
const LASTING: [&str; 2] = ["/api/tokens", "/api/sign-in-links"];

impl Access {
    /// Returns the CSRF token of the page with this cookie.
    pub(super) fn csrf_token(&self, cookie: &str) -> String {
        self.0.key.seal("csrf", &[cookie])
    }

    /// Errors if a change by a cookie does not come from the page, or if the sign-in is too old for it. `sign_in` is the
    /// one that let the caller in; there is none where a token or the socket did.
    pub(super) fn check_change(
        &self,
        caller: &Caller,
        sign_in: Option<&SignIn>,
        request: &ServiceRequest,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let Some(sign_in) = sign_in else {
            return Ok(());
        };
        if is_reading(request.method()) {
            return Ok(());
        }
        let header = |name: HeaderName| single(request.headers(), &name).ok().flatten();
        let csrf = caller.csrf.as_deref().map(Fingerprint::of);
        let given = header(CSRF_HEADER).map(Fingerprint::of);
        if !csrf.zip(given).is_some_and(|(csrf, given)| given.is(&csrf)) {
            let told = "send `X-CSRF-Token` with the token of the page: load the page anew";
            return Err(Problem::new(Code::Csrf, told));
        }
        let given = header(SECRET_HEADER).map(Fingerprint::of);
        if !self.0.site.is_alone && !sign_in.knows(given.as_ref()) {
            let told = "the secret that this browser keeps for the page is missing or wrong";
            return Err(Problem::new(Code::PageSecret, told).with(Remedy::SignIn));
        }
        let is_lasting = LASTING
            .iter()
            .any(|root| is_at_or_below(root, request.match_info().as_str()));
        if is_lasting && !sign_in.is_fresh(self.0.fresh, now) {
            let told = "a browser changes tokens only soon after it was signed in by a link";
            return Err(Problem::new(Code::StaleSignIn, told).with(Remedy::OpenAgain));
        }
        Ok(())
    }
}
