//! `mcp-config`: the configuration that adds cc-executor to an MCP client.
//!
//! Nothing printed here holds the token, and neither does any command line that a shell makes of it: everybody on the
//! machine can read a command line, and a shell keeps it in its history. A client that calls the daemon by HTTP takes the
//! token from its environment, or asks a person for it.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::connection::{self, TOKEN_VARIABLE};
use super::exit::{Exit, Failure};
use super::screen::{eprint, print};

/// MCP clients with a known configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum McpClient {
    /// Claude Code
    Claude,
    /// Claude Desktop
    ClaudeDesktop,
    /// Cursor
    Cursor,
    /// Visual Studio Code
    Vscode,
    /// Codex
    Codex,
}

/// The way from a client to the daemon.
enum ClientReach {
    /// It starts this command.
    Command { program: String, arguments: Vec<String> },
    /// It calls this address with the token in this file.
    Http { url: String, token: PathBuf },
}

/// Prints a client's configuration. The place for it, and the way to its token, go to standard error.
pub(crate) fn mcp_config(state_dir: &Path, is_given: bool, client: McpClient, http: bool) -> Result<Exit, Failure> {
    let reach = if http {
        by_http(state_dir)?
    } else {
        by_command(state_dir, is_given)?
    };
    let text = text(client, &reach)?;
    eprint(place(client));
    print(&format!("{}\n", text.trim_end()))?;
    if let ClientReach::Http { token, .. } = &reach {
        eprint(&way_of_token(client, token));
    }
    Ok(Exit::Ok)
}

/// Tells where the configuration goes.
fn place(client: McpClient) -> &'static str {
    match client {
        McpClient::Claude => "run this:",
        McpClient::ClaudeDesktop => "put this into claude_desktop_config.json:",
        McpClient::Cursor => "put this into ~/.cursor/mcp.json:",
        McpClient::Vscode => "put this into .vscode/mcp.json:",
        McpClient::Codex => "put this into ~/.codex/config.toml:",
    }
}

/// The configuration itself.
fn text(client: McpClient, reach: &ClientReach) -> Result<String, Failure> {
    Ok(match client {
        McpClient::Claude => for_claude(reach),
        McpClient::ClaudeDesktop => for_claude_desktop(reach)?,
        McpClient::Cursor => for_cursor(reach),
        McpClient::Vscode => for_vscode(reach),
        McpClient::Codex => for_codex(reach),
    })
}

/// Tells how the token gets to a client that calls by HTTP. `export` belongs to the shell itself, so no process has the
/// token among its arguments.
fn way_of_token(client: McpClient, token: &Path) -> String {
    let file = quoted(&token.display().to_string());
    let name = match client {
        McpClient::Claude => "Claude Code",
        McpClient::ClaudeDesktop => "Claude Desktop",
        McpClient::Cursor => "Cursor",
        McpClient::Vscode => {
            return format!("VS Code asks for the token once and keeps it among its secrets: the token is in {file}");
        }
        McpClient::Codex => "Codex",
    };
    format!(
        "the token is not in there: {name} takes it from its environment. Before you start {name}, run this in the same \
         shell:\nexport {TOKEN_VARIABLE}=\"$(cat {file})\""
    )
}

fn by_command(state_dir: &Path, is_given: bool) -> Result<ClientReach, Failure> {
    let program = std::env::current_exe()?.display().to_string();
    let mut arguments = vec!["mcp".to_owned()];
    if is_given {
        arguments.extend(["--state-dir".to_owned(), state_dir.display().to_string()]);
    }
    Ok(ClientReach::Command { program, arguments })
}

fn by_http(state_dir: &Path) -> Result<ClientReach, Failure> {
    let daemon = actix_rt::System::new().block_on(async { connection::find_here(state_dir) })?;
    Ok(ClientReach::Http {
        url: format!("{}/mcp", daemon.base_url),
        token: state_dir.join("token"),
    })
}

/// Claude Code keeps the name of the variable, and puts its value in when it calls. So the shell must leave it as it is.
fn for_claude(reach: &ClientReach) -> String {
    match reach {
        ClientReach::Command { program, arguments } => {
            let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
            format!(
                "claude mcp add --scope user cc-executor -- {} {}",
                quoted(program),
                words.join(" ")
            )
        }
        ClientReach::Http { url, .. } => {
            let header = format!("Authorization: Bearer ${{{TOKEN_VARIABLE}}}");
            format!(
                "claude mcp add --scope user --transport http cc-executor {url} --header {}",
                quoted(&header)
            )
        }
    }
}

fn for_claude_desktop(reach: &ClientReach) -> Result<String, Failure> {
    match reach {
        ClientReach::Command { program, arguments } => Ok(pretty(
            &json!({"mcpServers": {"cc-executor": {"command": program, "args": arguments}}}),
        )),
        ClientReach::Http { .. } => Err(Failure::Usage(
            "Claude Desktop starts its servers itself: leave --http out".to_owned(),
        )),
    }
}

fn for_cursor(reach: &ClientReach) -> String {
    let server = match reach {
        ClientReach::Command { program, arguments } => json!({"command": program, "args": arguments}),
        ClientReach::Http { url, .. } => {
            json!({"url": url, "headers": {"Authorization": format!("Bearer ${{env:{TOKEN_VARIABLE}}}")}})
        }
    };
    pretty(&json!({"mcpServers": {"cc-executor": server}}))
}

fn for_vscode(reach: &ClientReach) -> String {
    match reach {
        ClientReach::Command { program, arguments } => {
            pretty(&json!({"servers": {"cc-executor": {"type": "stdio", "command": program, "args": arguments}}}))
        }
        ClientReach::Http { url, .. } => pretty(&json!({
            "inputs": [{"type": "promptString", "id": "cc-executor-token", "description": "cc-executor token", "password": true}],
            "servers": {"cc-executor": {"type": "http", "url": url,
                "headers": {"Authorization": "Bearer ${input:cc-executor-token}"}}},
        })),
    }
}

/// TOML strings in double quotes are written as those of JSON.
fn for_codex(reach: &ClientReach) -> String {
    match reach {
        ClientReach::Command { program, arguments } => {
            format!(
                "[mcp_servers.cc-executor]\ncommand = {}\nargs = {}",
                json!(program),
                json!(arguments)
            )
        }
        ClientReach::Http { url, .. } => {
            format!(
                "[mcp_servers.cc-executor]\nurl = {}\nbearer_token_env_var = {}",
                json!(url),
                json!(TOKEN_VARIABLE)
            )
        }
    }
}

fn pretty(value: &serde_json::Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.:=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> ClientReach {
        ClientReach::Command {
            program: "/opt/my tools/cc-executor".into(),
            arguments: vec!["mcp".into()],
        }
    }

    fn http() -> ClientReach {
        ClientReach::Http {
            url: "http://127.0.0.1:8005/mcp".into(),
            token: "/state/token".into(),
        }
    }

    #[test]
    fn a_client_that_calls_by_http_is_told_where_its_token_is() {
        assert_eq!(
            for_claude(&http()),
            "claude mcp add --scope user --transport http cc-executor http://127.0.0.1:8005/mcp \
             --header 'Authorization: Bearer ${CC_EXECUTOR_TOKEN}'"
        );
        let cursor: serde_json::Value = serde_json::from_str(&for_cursor(&http())).unwrap();
        assert_eq!(
            cursor["mcpServers"]["cc-executor"]["headers"]["Authorization"],
            "Bearer ${env:CC_EXECUTOR_TOKEN}"
        );
        let codex: toml::Table = for_codex(&http()).parse().unwrap();
        assert_eq!(
            codex["mcp_servers"]["cc-executor"]["bearer_token_env_var"].as_str(),
            Some("CC_EXECUTOR_TOKEN")
        );
        let file = Path::new("/my state/token");
        for client in [McpClient::Claude, McpClient::Cursor, McpClient::Codex] {
            let told = way_of_token(client, file);
            assert!(
                told.ends_with("\nexport CC_EXECUTOR_TOKEN=\"$(cat '/my state/token')\""),
                "{told}"
            );
        }
        let vscode = way_of_token(McpClient::Vscode, file);
        assert!(
            vscode.ends_with("'/my state/token'") && for_vscode(&http()).contains("promptString"),
            "{vscode}"
        );
        assert!(for_claude_desktop(&http()).is_err(), "it starts its servers itself");
    }

    #[test]
    fn each_client_gets_its_own_form() {
        assert_eq!(
            for_claude(&command()),
            "claude mcp add --scope user cc-executor -- '/opt/my tools/cc-executor' mcp"
        );
        let read = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
        assert_eq!(
            read(for_claude_desktop(&command()).unwrap())["mcpServers"]["cc-executor"]["args"][0],
            "mcp"
        );
        assert_eq!(read(for_vscode(&command()))["servers"]["cc-executor"]["type"], "stdio");
        assert_eq!(
            read(for_cursor(&command()))["mcpServers"]["cc-executor"]["command"],
            "/opt/my tools/cc-executor"
        );
        let codex: toml::Table = for_codex(&command()).parse().unwrap();
        assert_eq!(codex["mcp_servers"]["cc-executor"]["args"][0].as_str(), Some("mcp"));
    }
}
