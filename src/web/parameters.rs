//! What several operations take or answer in the same words: described once, never made.

#![expect(dead_code, reason = "these types are described and never made")]

use utoipa::{IntoParams, IntoResponses};

use super::calls::Created;

/// The session, by id or by a beginning of it.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::web) struct SessionPath {
    /// The session: its id or the last digits of it, or the name that it alone has, or alone of those that are live
    id: String,
}

/// Who says that he calls.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::web) struct ClientHeader {
    /// What the client calls itself, for `by` in the journal
    #[param(rename = "X-CC-Executor-Client", pattern = "^[a-z0-9_-]{1,32}$")]
    client: Option<String>,
}

/// Under which key something is created.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::web) struct KeyHeader {
    /// The caller's own key: the same call again finds the session instead of creating another one
    #[param(rename = "Idempotency-Key", pattern = "^[!-~]{1,255}$")]
    key: Option<String>,
}

/// The session is on disk and waits for its turn
#[derive(IntoResponses)]
#[response(status = 201, headers(
    ("Location" = String, description = "The session"),
    ("Idempotency-Replayed" = Option<String>, description = "`true` where an earlier call under this key created it"),
))]
pub(in crate::web) struct CreatedSession(Created<'static>);
