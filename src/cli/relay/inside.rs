//! The relay inside an agent that cc-executor runs.
//!
//! A relay that stands in the user's own configuration is started by every agent. Inside an agent it serves what the
//! agent's session was given: our tools, or nothing. It never fails, because that could fail the agent.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rmcp::model::{Implementation, ServerCapabilities, ServerConfig};
use rmcp::{ServerHandler, ServiceExt};
use serde_json::Value;

use crate::agent::environment::GRANT_VARIABLE;
use crate::cli::client::Client;

/// What the session of an agent was given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AgentGrant {
    /// Our tools and resources.
    Tools,
    /// Nothing; the text tells the model why.
    Nothing(String),
}

/// Finds out what the session of the agent was given inside which this process runs. The daemon knows it, and refuses
/// the agent of a session that was given nothing.
pub(super) async fn grant(state_dir: &Path) -> AgentGrant {
    // Our own configuration for the agent says so, whether the daemon answers just now or not.
    if std::env::var_os(GRANT_VARIABLE).is_some() {
        return AgentGrant::Tools;
    }
    let Ok(client) = Client::find(state_dir) else {
        return AgentGrant::Nothing("no daemon of cc-executor runs, and an agent does not start one.".to_owned());
    };
    match client.get::<Value>("/api/info").await {
        Ok(_) => AgentGrant::Tools,
        Err(why) => AgentGrant::Nothing(why.to_string()),
    }
}

/// Serves nothing until the client closes its end.
pub(super) async fn serve_nothing(why: String) {
    let (Ok(input), Ok(output)) = (opened(io::stdin()), opened(io::stdout())) else {
        return;
    };
    // A client that leaves before it has introduced itself wants nothing more.
    if let Ok(served) = (Nothing { why }).serve((input, output)).await {
        let _ = served.waiting().await;
    }
}

/// A standard stream as a file that does not hold up the rest.
fn opened(stream: impl AsFd) -> io::Result<tokio::fs::File> {
    let own = stream.as_fd().try_clone_to_owned()?;
    Ok(tokio::fs::File::from_std(File::from(own)))
}

/// An MCP server without tools.
struct Nothing {
    why: String,
}

impl ServerHandler for Nothing {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("cc-executor", env!("CARGO_PKG_VERSION")))
            .with_instructions(format!("cc-executor serves no tools here: {}", self.why))
    }
}
