//! Secrets in MCP configurations. The values of `env` and `headers` go to the agent by a file and are never shown: a
//! record has their names alone.

use std::borrow::Cow;

use serde_json::Value;

use super::request::{Request, is_inline};

/// Stands in place of a value that is not shown.
pub const MASK: &str = "***";

/// The members of a configuration whose values are secrets.
const SECRET: [&str; 2] = ["env", "headers"];

/// The text of an MCP configuration with the mask in place of each value of `env` and `headers`. Of a text that is no
/// JSON nothing is left.
pub fn masked(config: &str) -> String {
    masked_value(config).map_or_else(|| MASK.to_owned(), |value| value.to_string())
}

/// The same as a value; none of a text that is no JSON.
pub fn masked_value(config: &str) -> Option<Value> {
    let mut value = serde_json::from_str(config).ok()?;
    mask(&mut value);
    Some(value)
}

/// Returns true if a configuration was masked: its values are somewhere else.
pub fn is_masked(config: &str) -> bool {
    serde_json::from_str::<Value>(config).is_ok_and(|value| holds_mask(&value))
}

impl Request {
    /// The request as it is shown.
    pub fn without_secrets(&self) -> Cow<'_, Self> {
        if !self.mcp_config.iter().any(|config| is_inline(config)) {
            return Cow::Borrowed(self);
        }
        let mut shown = self.clone();
        for config in shown.mcp_config.iter_mut().filter(|config| is_inline(config)) {
            *config = masked(config);
        }
        Cow::Owned(shown)
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if SECRET.contains(&name.as_str()) {
                    mask_all(member);
                } else {
                    mask(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Masks everything but the names of an object.
fn mask_all(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(|member| *member = MASK.into()),
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => *value = MASK.into(),
    }
}

fn holds_mask(value: &Value) -> bool {
    let is_mask = |value: &Value| value.as_str() == Some(MASK);
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| {
            let is_secret = SECRET.contains(&name.as_str());
            let is_whole = is_secret && is_mask(member);
            let has_one = || is_secret && member.as_object().is_some_and(|names| names.values().any(is_mask));
            is_whole || has_one() || holds_mask(member)
        }),
        Value::Array(items) => items.iter().any(holds_mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::journal::shown_creation;

    const CONFIG: &str = r#"{"mcpServers": {"a": {"command": "x", "args": ["-v"], "env": {"KEY": "s1", "N": 5}},
        "b": {"type": "http", "url": "https://x", "headers": {"Authorization": "s2"}, "env": "s3"}}}"#;

    const MASKED: &str = concat!(
        r#"{"mcpServers":{"a":{"args":["-v"],"command":"x","env":{"KEY":"***","N":"***"}},"#,
        r#""b":{"env":"***","headers":{"Authorization":"***"},"type":"http","url":"https://x"}}}"#
    );

    fn same(left: &str, right: &str) {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read(left), read(right));
    }

    #[test]
    fn names_stay_and_values_of_env_and_headers_go() {
        same(&masked(CONFIG), MASKED);
        assert_eq!(masked(&masked(CONFIG)), masked(CONFIG));
        assert!(is_masked(MASKED) && !is_masked(CONFIG));
        // The first of two members of the same name is not seen, and not shown either.
        assert!(!masked(r#"{"env": {"A": "s1"}, "env": {"B": "s2"}}"#).contains("s1"));
        assert_eq!(masked("{no json: s1"), MASK);
    }

    #[test]
    fn an_old_record_is_shown_without_values_and_another_as_it_stands() {
        let plain = r#"{"request":{"task":"t","cwd":"/w"},"by":"cli"}"#;
        assert_eq!(shown_creation(plain), plain);
        let config = serde_json::to_string(CONFIG).unwrap();
        for (more, by) in [("", "cli"), (r#","of_a_newer_version":1"#, "rest")] {
            let data = format!(
                r#"{{"request":{{"task":"t","cwd":"/w","mcp_config":[{config},"a.json"]{more}}},"by":"{by}"}}"#
            );
            let shown: Value = serde_json::from_str(&shown_creation(&data)).unwrap();
            let configs = &shown["request"]["mcp_config"];
            same(configs[0].as_str().unwrap(), MASKED);
            assert_eq!((&configs[1], &shown["by"]), (&"a.json".into(), &by.into()));
        }
    }
}
