//! Who calls: what the client said about itself, whichever revision it speaks.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use http::HeaderMap;
use http::request::Parts;
use rmcp::RoleServer;
use rmcp::model::ProtocolVersion;
use rmcp::service::RequestContext;

use super::level::Level;
use crate::session::id::SessionId;
use crate::web::access;

/// The header in which our relay tells where it was started: the directory that a request without one means.
pub(crate) const DIRECTORY_HEADER: &str = "X-CC-Executor-Directory";

/// The header that names the MCP session.
pub(super) const SESSION_HEADER: &str = "Mcp-Session-Id";

/// The longest name of a client, in characters.
const NAME_CHARS_MAX: usize = 32;

/// The two ways in which clients and servers talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Era {
    /// Up to 2025-11-25: sessions, and the server may send requests.
    Sessions,
    /// From 2026-07-28 on: each request stands by itself, and what the server needs is asked for in its answer.
    Stateless,
}

/// One caller.
#[derive(Clone, Debug)]
pub(super) struct McpCaller {
    /// The protocol era.
    pub(super) era: Era,
    /// It shows forms to a person.
    pub(super) can_fill_forms: bool,
    /// It polls tasks.
    pub(super) knows_tasks: bool,
    /// Its MCP session, where it has one.
    pub(super) mcp_session: Option<String>,
    /// Where it works, if it said so.
    pub(super) directory: Option<PathBuf>,
    /// How many agents stand above what it starts, as it says itself.
    pub(super) depth: u32,
    /// What this request wants to have logged, in the stateless era.
    pub(super) log_level: Option<Level>,
    /// Whose token it has; none only where a handler is served without our guard.
    pub(super) signed_in: Option<access::Caller>,
    /// Names that token; empty where there is none.
    pub(super) signer: String,
    /// What the journal calls it.
    pub(super) by: String,
}

impl McpCaller {
    /// Who sent this request.
    pub(super) fn of(context: &RequestContext<RoleServer>) -> Self {
        let version = context.protocol_version();
        let is_stateless = version.is_some_and(|version| version.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
        let capabilities = context.client_capabilities().unwrap_or_default();
        // A client that names no kind of elicitation means forms.
        let forms = capabilities.elicitation.as_ref();
        let can_fill_forms = forms.is_some_and(|kinds| kinds.form.is_some() || kinds.url.is_none());
        let header = |name: &str| context.extensions.get::<Parts>()?.headers.get(name);
        let signed_in: Option<access::Caller> = context
            .extensions
            .get::<Parts>()
            .and_then(|parts| parts.extensions.get().cloned());
        let client = named(context.client_info().map(|client| client.name).as_deref());
        Self {
            era: if is_stateless { Era::Stateless } else { Era::Sessions },
            can_fill_forms,
            knows_tasks: is_stateless && capabilities.supports_tasks(),
            mcp_session: context
                .extensions
                .get::<Parts>()
                .and_then(|parts| mcp_session(&parts.headers)),
            directory: header(DIRECTORY_HEADER).map(|path| OsStr::from_bytes(path.as_bytes()).into()),
            depth: header(access::DEPTH_HEADER.as_str())
                .and_then(|depth| depth.to_str().ok()?.parse().ok())
                .unwrap_or(0),
            log_level: context.meta.log_level().and_then(Level::of),
            by: match &signed_in {
                Some(caller) => caller.journalled_as(client),
                None => client,
            },
            signed_in,
            signer: context
                .extensions
                .get::<Parts>()
                .and_then(|parts| parts.extensions.get::<access::Signer>())
                .map(|signer| signer.id.clone())
                .unwrap_or_default(),
        }
    }
}

impl McpCaller {
    /// The session whose agent calls, where one does.
    pub(super) fn asker(&self) -> Option<SessionId> {
        self.signed_in.as_ref().and_then(access::Caller::session)
    }
}

/// The MCP session that a request names.
pub(super) fn mcp_session(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(SESSION_HEADER)?;
    id.to_str().ok().map(str::to_owned)
}

/// `mcp`, with the client's name where it has one that can be shown.
fn named(client: Option<&str>) -> String {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let spelled = |letter: char| if fits(letter) { letter } else { '-' };
    let name: String = client
        .unwrap_or_default()
        .chars()
        .take(NAME_CHARS_MAX)
        .map(spelled)
        .collect();
    if name.is_empty() {
        "mcp".to_owned()
    } else {
        format!("mcp:{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_modestly() {
        assert_eq!(named(Some("claude-code")), "mcp:claude-code");
        assert_eq!(named(Some("My <b>client</b>")), "mcp:My--b-client--b-");
        assert_eq!(named(None), "mcp");
    }
}
