//! Everything that handlers of MCP requests need.

use rmcp::model::RequestStateCodec;
use tokio::sync::watch;

use super::Calls;
use super::log::Levels;
use super::subscriptions::Subscriptions;
use crate::config::McpSettings;
use crate::runtime::Handle;
use crate::web::access::audit::Audit;

/// Everything that handlers of requests need.
pub(super) struct Services {
    /// The way into the runtime.
    pub(super) handle: Handle,
    /// What was done, and by whom.
    pub(super) audit: Audit,
    /// Seals what a client keeps for us between two requests.
    pub(super) seal: RequestStateCodec,
    /// The calls that run.
    pub(super) calls: Calls,
    /// The log levels that clients asked for.
    pub(super) levels: Levels,
    /// The most of everything.
    pub(super) limits: McpSettings,
    /// Who wants to hear of which resource.
    pub(super) subscriptions: Subscriptions,
    /// Turns true when the daemon stops: then calls are cut off, and nobody has left.
    pub(super) stopping: watch::Receiver<bool>,
}
