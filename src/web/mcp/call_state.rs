//! Where a call that follows a session stands, so that it can be gone on with: a client of the stateless era keeps this as
//! `requestState`, one of the session era as the id of the last event that it has seen.
//!
//! Both are sealed, and open for the token that they were made for alone. What happened since is narrated from the journal.

use std::time::Duration;

use jiff::Timestamp;
use rmcp::RoleServer;
use rmcp::model::{ProgressToken, RequestId, SealOptions};
use rmcp::service::RequestContext;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Reopened;
use super::aside::Bookmark;
use super::caller::{Era, McpCaller};
use super::narrate::ToldProgress;
use super::outflow::CallKey;
use super::progress::Scale;
use super::services::Services;
use crate::session::id::SessionId;

/// The longest request id and progress token of a client, as JSON in bytes, with which a call can be read on: each of its
/// events carries them.
const GIVEN_BYTES_MAX: usize = 256;

/// How long a client may keep a question before it answers by calling again.
const STATE_TTL: Duration = Duration::from_secs(7 * 24 * 3600);

/// Where a call stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct CallState {
    pub(super) session: SessionId,
    /// What the client was told already: its log is that of the whole call.
    pub(super) told: ToldProgress,
    /// How far its progress is.
    pub(super) scale: Scale,
    pub(super) cancel_on_disconnect: bool,
    /// The client knows by which session it finds the work again.
    #[serde(default)]
    pub(super) is_announced: bool,
    /// When the call ends at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
}

/// What the id of an event says, besides its number.
#[derive(Serialize, Deserialize)]
struct EventId {
    tool: String,
    request: RequestId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressToken>,
    state: CallState,
}

impl CallState {
    /// The beginning of a call of which nothing was told.
    pub(super) fn begin(session: SessionId, told: ToldProgress) -> Self {
        Self {
            session,
            told,
            scale: Scale::default(),
            cancel_on_disconnect: false,
            is_announced: told != ToldProgress::default(),
            until: None,
        }
    }

    /// How long the call may still take; none for as long as it takes.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let left = |until: Timestamp| until.duration_since(Timestamp::now());
        self.until.map(|until| left(until).try_into().unwrap_or_default())
    }

    /// The state as a client of the stateless era keeps it.
    pub(super) fn seal(&self, services: &Services, tool: &str, signer: &str) -> Option<String> {
        let binding = state_binding(tool, signer);
        let options = SealOptions::new().associated_data(binding.as_bytes()).ttl(STATE_TTL);
        services.seal.seal_json_with(self, &options).ok()
    }

    /// The state that a client has kept; none where it was changed, or is another's.
    pub(super) fn open(services: &Services, tool: &str, signer: &str, sealed: &str) -> Option<Self> {
        let binding = state_binding(tool, signer);
        services.seal.open_json_with(sealed, binding.as_bytes()).ok()
    }

    /// The state as the id of an event; none where the call cannot be read on.
    pub(super) fn bookmark(
        &self,
        services: &Services,
        context: &RequestContext<RoleServer>,
        caller: &McpCaller,
        tool: &str,
    ) -> Option<Bookmark> {
        let session = caller.mcp_session.as_ref().filter(|_| caller.era == Era::Sessions)?;
        let id = EventId {
            tool: tool.to_owned(),
            request: context.id.clone(),
            progress: context.meta.get_progress_token(),
            state: Self {
                is_announced: true,
                ..*self
            },
        };
        let given = serde_json::to_string(&(&id.request, &id.progress)).ok()?;
        if given.len() > GIVEN_BYTES_MAX {
            return None;
        }
        let ttl = Duration::from_secs(services.limits.streams_kept_hours.saturating_mul(3600));
        let binding = event_binding(session, &caller.signer);
        let options = SealOptions::new().associated_data(binding.as_bytes()).ttl(ttl);
        let id = services.seal.seal_json_with(&id, &options).ok()?;
        Some(Bookmark { id, is_alone: false })
    }
}

/// What goes on behind an event of a call, for a client with this MCP session and this token.
pub(super) fn reopen(services: &Services, last_event: &str, mcp_session: &str, signer: &str) -> Option<Reopened> {
    let (number, sealed) = last_event.split_once('.')?;
    let binding = event_binding(mcp_session, signer);
    let id: EventId = services.seal.open_json_with(sealed, binding.as_bytes()).ok()?;
    let message = go_on(services, &id.tool, signer, &id.request, id.progress.as_ref(), &id.state)?;
    let call = CallKey {
        mcp_session: mcp_session.to_owned(),
        request: id.request,
    };
    let after = number.parse().ok()?;
    Some(Reopened::Call { call, after, message })
}

/// The message with which a client would go on with its call.
pub(super) fn go_on(
    services: &Services,
    tool: &str,
    signer: &str,
    request: &RequestId,
    progress: Option<&ProgressToken>,
    state: &CallState,
) -> Option<Value> {
    let mut params = json!({"name": tool, "requestState": state.seal(services, tool, signer)?});
    if let Some(token) = progress {
        params["_meta"] = json!({"progressToken": token});
    }
    Some(json!({"jsonrpc": "2.0", "id": request, "method": "tools/call", "params": params}))
}

/// No other tool opens a state that a client keeps, and no other token.
fn state_binding(tool: &str, signer: &str) -> String {
    format!("{tool} {signer}")
}

/// No other MCP session opens the id of an event, and no other token.
fn event_binding(mcp_session: &str, signer: &str) -> String {
    format!("event {mcp_session} {signer}")
}
