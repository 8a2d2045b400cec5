//! Whose token a request has: what a client keeps for us, and MCP sessions, are bound to it. Another token opens neither.

use std::future::Future;

use crate::web::access::Signer;

tokio::task_local! {
    /// Who sent the request that this task works on.
    static CURRENT: Option<Signer>;
}

/// Works on a request of theirs; what is written down meanwhile knows that.
pub(super) async fn scope<F: Future>(signer: Option<Signer>, work: F) -> F::Output {
    CURRENT.scope(signer, work).await
}

/// Who sent the request that this task works on.
pub(super) fn current() -> Option<Signer> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}
