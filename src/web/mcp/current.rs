//! What is known of the request that a task works on, beyond what rmcp hands on. What a client keeps for us, and MCP
//! sessions, are bound to the token of whoever sent it: another token opens neither.

use std::future::Future;

use super::outflow::CallKey;
use crate::web::access::Signer;

tokio::task_local! {
    static CURRENT: Current;
}

/// One request.
#[derive(Clone, Default)]
pub(super) struct Current {
    /// Who sent it.
    pub(super) signer: Option<Signer>,
    /// The call that it reads on, behind the event with this number.
    pub(super) read_on: Option<(CallKey, u64)>,
}

/// Works on a request.
pub(super) async fn scope<F: Future>(current: Current, work: F) -> F::Output {
    CURRENT.scope(current, work).await
}

/// Who sent the request.
pub(super) fn signer() -> Option<Signer> {
    CURRENT.try_with(|current| current.signer.clone()).ok().flatten()
}

/// The call that the request reads on.
pub(super) fn read_on() -> Option<(CallKey, u64)> {
    CURRENT.try_with(|current| current.read_on.clone()).ok().flatten()
}
