//! Who looks at the page, as far as the page has to know.

use actix_web::HttpRequest;

/// What a caller may do here.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// What the page sends back with each call that changes something.
    pub(super) csrf: Option<String>,
    /// Whether there is anything that the caller may change.
    pub(super) may_act: bool,
}

/// The caller of a request that the guard has let through.
pub(super) fn of(_request: &HttpRequest) -> Caller {
    Caller {
        csrf: None,
        may_act: true,
    }
}
