//! `mcp-config`: what adds us to an MCP client.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::json;

use super::connection;
use super::exit::{Exit, Failure};
use super::screen::{eprint, print};

/// The clients that are known.
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

/// How a client reaches us.
enum Reach {
    /// It starts this command.
    Command { program: String, arguments: Vec<String> },
    /// It calls this address with the token in this file.
    Http { url: String, token: PathBuf },
}

/// Prints what is to be run, or put into the client's configuration; where it goes is said on standard error.
pub(crate) fn mcp_config(state_dir: &Path, is_given: bool, client: McpClient, http: bool) -> Result<Exit, Failure> {
    let reach = if http {
        by_http(state_dir)?
    } else {
        by_command(state_dir, is_given)?
    };
    let (place, text) = match client {
        McpClient::Claude => ("run this:", for_claude(&reach)),
        McpClient::ClaudeDesktop => ("put this into claude_desktop_config.json:", for_claude_desktop(&reach)?),
        McpClient::Cursor => ("put this into ~/.cursor/mcp.json:", for_cursor(&reach)),
        McpClient::Vscode => ("put this into .vscode/mcp.json:", for_vscode(&reach)),
        McpClient::Codex => ("put this into ~/.codex/config.toml:", for_codex(&reach)),
    };
    eprint(place);
    print(&format!("{}\n", text.trim_end()))?;
    Ok(Exit::Ok)
}

fn by_command(state_dir: &Path, is_given: bool) -> Result<Reach, Failure> {
    let program = std::env::current_exe()?.display().to_string();
    let mut arguments = vec!["mcp".to_owned()];
    if is_given {
        arguments.extend(["--state-dir".to_owned(), state_dir.display().to_string()]);
    }
    Ok(Reach::Command { program, arguments })
}

fn by_http(state_dir: &Path) -> Result<Reach, Failure> {
    let daemon = actix_rt::System::new().block_on(async { connection::find_here(state_dir) })?;
    Ok(Reach::Http {
        url: format!("{}/mcp", daemon.base_url),
        token: state_dir.join("token"),
    })
}

fn for_claude(reach: &Reach) -> String {
    match reach {
        Reach::Command { program, arguments } => {
            let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
            format!(
                "claude mcp add --scope user cc-executor -- {} {}",
                quoted(program),
                words.join(" ")
            )
        }
        Reach::Http { url, token } => format!(
            "claude mcp add --scope user --transport http cc-executor {url} --header \"Authorization: Bearer $(cat {})\"",
            quoted(&token.display().to_string())
        ),
    }
}

fn for_claude_desktop(reach: &Reach) -> Result<String, Failure> {
    match reach {
        Reach::Command { program, arguments } => Ok(pretty(
            &json!({"mcpServers": {"cc-executor": {"command": program, "args": arguments}}}),
        )),
        Reach::Http { .. } => Err(Failure::Usage(
            "Claude Desktop starts its servers itself: leave --http out".to_owned(),
        )),
    }
}

fn for_cursor(reach: &Reach) -> String {
    let server = match reach {
        Reach::Command { program, arguments } => json!({"command": program, "args": arguments}),
        Reach::Http { url, .. } => json!({"url": url, "headers": {"Authorization": "Bearer ${env:CC_EXECUTOR_TOKEN}"}}),
    };
    pretty(&json!({"mcpServers": {"cc-executor": server}}))
}

fn for_vscode(reach: &Reach) -> String {
    match reach {
        Reach::Command { program, arguments } => {
            pretty(&json!({"servers": {"cc-executor": {"type": "stdio", "command": program, "args": arguments}}}))
        }
        Reach::Http { url, .. } => pretty(&json!({
            "inputs": [{"type": "promptString", "id": "cc-executor-token", "description": "cc-executor token", "password": true}],
            "servers": {"cc-executor": {"type": "http", "url": url,
                "headers": {"Authorization": "Bearer ${input:cc-executor-token}"}}},
        })),
    }
}

/// TOML strings in double quotes are written as those of JSON.
fn for_codex(reach: &Reach) -> String {
    match reach {
        Reach::Command { program, arguments } => {
            format!(
                "[mcp_servers.cc-executor]\ncommand = {}\nargs = {}",
                json!(program),
                json!(arguments)
            )
        }
        Reach::Http { url, .. } => {
            format!(
                "[mcp_servers.cc-executor]\nurl = {}\nbearer_token_env_var = \"CC_EXECUTOR_TOKEN\"",
                json!(url)
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

    fn command() -> Reach {
        Reach::Command {
            program: "/opt/my tools/cc-executor".into(),
            arguments: vec!["mcp".into()],
        }
    }

    fn http() -> Reach {
        Reach::Http {
            url: "http://127.0.0.1:8005/mcp".into(),
            token: "/state/token".into(),
        }
    }

    #[test]
    fn no_configuration_holds_a_token() {
        for text in [
            for_claude(&http()),
            for_cursor(&http()),
            for_vscode(&http()),
            for_codex(&http()),
        ] {
            assert!(text.contains("http://127.0.0.1:8005/mcp"), "{text}");
        }
        assert!(for_claude(&http()).ends_with("--header \"Authorization: Bearer $(cat /state/token)\""));
        assert!(for_claude_desktop(&http()).is_err());
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
