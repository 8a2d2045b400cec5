//! Who looks at the page, as far as the page has to know.

use actix_web::{HttpMessage, HttpRequest};

use crate::web::access::{Caller, Role};

/// What a caller may do here.
#[derive(Clone, Debug, Default)]
pub(super) struct PageRights {
    /// What the page sends back with each call that changes something; none for callers that need not.
    pub(super) csrf: Option<String>,
    /// Whether there is anything that the caller may change.
    pub(super) may_act: bool,
}

/// The caller of a request that the guard has let through.
pub(super) fn of(request: &HttpRequest) -> PageRights {
    let extensions = request.extensions();
    let caller = extensions.get::<Caller>();
    PageRights {
        csrf: caller.and_then(|caller| caller.csrf.clone()),
        may_act: caller.is_some_and(|caller| caller.role >= Role::Operator),
    }
}
