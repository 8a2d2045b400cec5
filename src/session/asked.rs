//! What an agent asks for that no permission of the new session holds: MCP servers, and variables of its environment. A
//! person is asked about it, and sees each program with all its arguments before anything starts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::id::SessionId;
use super::secrets::masked_value;

/// The most that a person is asked to read, in bytes: nothing of it is left out.
pub const ASKED_BYTES_MAX: usize = 16 * 1024;

/// What an agent asks for besides the terms of its own session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Asked)]
pub struct AskedExtras {
    /// The session whose agent asks.
    #[schema(value_type = String)]
    pub by: SessionId,
    /// Each MCP server, in a line: the program with its arguments, or the address, and all else but secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// The names of variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<String>,
}

impl AskedExtras {
    /// What these MCP configurations and variables bring; none if that is nothing.
    pub fn of(by: SessionId, configs: &[String], variables: Vec<String>) -> Option<Self> {
        let servers: Vec<String> = configs.iter().flat_map(|config| lines(config)).collect();
        (!servers.is_empty() || !variables.is_empty()).then_some(Self { by, servers, variables })
    }

    /// All of it, in lines.
    pub fn lines(&self) -> Vec<String> {
        let variables = (!self.variables.is_empty()).then(|| format!("env {}", words(&self.variables, ", ")));
        self.servers.iter().cloned().chain(variables).collect()
    }

    /// How much a person has to read, in bytes.
    pub fn bytes(&self) -> usize {
        self.lines().iter().map(String::len).sum()
    }
}

fn lines(config: &str) -> Vec<String> {
    let Some(Value::Object(members)) = masked_value(config) else {
        return vec!["MCP configuration that cannot be read".to_owned()];
    };
    let of_member = |(name, value): (&String, &Value)| match value {
        Value::Object(servers) if name == "mcpServers" => {
            servers.iter().map(|(name, value)| server(name, value)).collect()
        }
        _ => vec![format!("MCP configuration {}: {value}", word(name))],
    };
    members.iter().flat_map(of_member).collect()
}

/// A server whose secrets are masked, in a line: `MCP server db (stdio): npx -y db; env KEY`. What is not known is told as it
/// stands.
pub fn server(name: &str, server: &Value) -> String {
    let name = word(name);
    let Value::Object(members) = server else {
        return format!("MCP server {name}: {server}");
    };
    let mut members = members.clone();
    let transport = transport(&mut members);
    let mut parts = Vec::new();
    parts.extend(argv(&mut members));
    if let Some(Value::String(url)) = members.get("url") {
        parts.push(word(url));
        members.remove("url");
    }
    for secret in ["env", "headers"] {
        if let Some(Value::Object(values)) = members.get(secret) {
            let names: Vec<String> = values.keys().cloned().collect();
            parts.push(format!("{secret} {}", words(&names, ", ")));
            members.remove(secret);
        }
    }
    parts.extend(members.iter().map(|(name, value)| format!("{} {value}", word(name))));
    format!("MCP server {name}{transport}: {}", parts.join("; "))
}

fn transport(members: &mut Map<String, Value>) -> String {
    match members.remove("type") {
        Some(Value::String(kind)) => format!(" ({})", word(&kind)),
        Some(other) => format!(" ({other})"),
        None if members.get("command").is_some_and(Value::is_string) => " (stdio)".to_owned(),
        None => String::new(),
    }
}

fn argv(members: &mut Map<String, Value>) -> Option<String> {
    let program = members.get("command")?.as_str()?.to_owned();
    members.remove("command");
    let arguments = match members.remove("args") {
        Some(Value::Array(arguments)) => arguments,
        Some(other) => vec![other],
        None => Vec::new(),
    };
    let arguments = arguments.iter().map(|argument| match argument {
        Value::String(argument) => word(argument),
        other => other.to_string(),
    });
    let argv: Vec<String> = std::iter::once(word(&program)).chain(arguments).collect();
    Some(argv.join(" "))
}

fn words(words: &[String], between: &str) -> String {
    let words: Vec<String> = words.iter().map(|text| word(text)).collect();
    words.join(between)
}

/// A word as it is, or as a string of JSON where it would not stand out from what is around it. It holds no line break.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:./-?&*~".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => Value::from(text).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(config: &str) -> Vec<String> {
        let asked = AskedExtras::of(SessionId::new(), &[config.to_owned()], Vec::new());
        asked.map(|asked| asked.lines()).unwrap_or_default()
    }

    #[test]
    fn each_server_is_told_with_all_but_its_secrets() {
        let config = r#"{"mcpServers": {
            "db": {"command": "npx", "args": ["-y", "db tool", "a;b", 5], "env": {"KEY": "s1", "B,C": "s2"}},
            "far": {"type": "http", "url": "https://x/y?z=1", "headers": {"Authorization": "s3"},
                "headersHelper": "/bin/sh -c evil"},
            "odd\nname": 7, "bare": {"command": ["x"], "env": "s4"}}, "more": {"command": "y"}}"#;
        assert_eq!(
            lines_of(config),
            [
                r#"MCP server bare: command ["x"]; env "***""#,
                r#"MCP server db (stdio): npx -y "db tool" "a;b" 5; env "B,C", KEY"#,
                r#"MCP server far (http): https://x/y?z=1; headers Authorization; headersHelper "/bin/sh -c evil""#,
                r#"MCP server "odd\nname": 7"#,
                r#"MCP configuration more: {"command":"y"}"#,
            ]
        );
    }

    #[test]
    fn what_brings_nothing_is_not_asked_about() {
        assert_eq!(lines_of(r#"{"mcpServers": {}}"#), Vec::<String>::new());
        assert_eq!(lines_of("{}"), Vec::<String>::new());
        let asked = AskedExtras::of(SessionId::new(), &[], vec!["LD_PRELOAD".into(), "A\nB".into()]).unwrap();
        assert_eq!(asked.lines(), [r#"env LD_PRELOAD, "A\nB""#]);
        assert_eq!(asked.bytes(), asked.lines()[0].len());
    }

    proptest! {
        #[test]
        fn no_argument_is_left_out_or_forges_a_line(program in ".{1,8}", arguments in proptest::collection::vec(".{0,8}|\n|\"", 0..4)) {
            let config = serde_json::json!({"mcpServers": {"s": {"command": program, "args": arguments}}}).to_string();
            let lines = lines_of(&config);
            prop_assert_eq!(lines.len(), 1);
            prop_assert!(!lines[0].contains('\n'));
            let rest = lines[0].strip_prefix("MCP server s (stdio): ").expect("the beginning");
            let mut read = Vec::new();
            let mut rest = rest;
            while !rest.is_empty() {
                let length = if rest.starts_with('"') {
                    let mut words = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                    read.push(words.next().expect("a word").expect("a string"));
                    words.byte_offset()
                } else {
                    let end = rest.find(' ').unwrap_or(rest.len());
                    read.push(rest[..end].to_owned());
                    end
                };
                rest = rest[length..].strip_prefix(' ').unwrap_or(&rest[length..]);
            }
            prop_assert_eq!(read.remove(0), program);
            prop_assert_eq!(read, arguments);
        }
    }
}
