//! Grants: rights that a permission question suggests to give for the rest of the session, each in plain words, and
//! which of them an answer takes.
//!
//! Only what is understood can be granted, so what a person reads is exactly what the agent is told.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::request::PermissionMode;

/// Maximum bytes of a rule or a directory that a next attempt is started with; a command line holds them all.
const CARRIED_BYTES_MAX: usize = 4096;

/// A right that holds for the rest of the session once the agent has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "grant", rename_all = "snake_case")]
pub enum Grant {
    /// Tool calls that need no permission any more.
    Rules {
        /// The rules.
        rules: Vec<Rule>,
    },
    /// Another permission mode.
    Mode {
        /// The mode.
        mode: PermissionMode,
    },
    /// Further directories that the agent may work in.
    Directories {
        /// The directories; absolute.
        #[schema(value_type = Vec<String>)]
        directories: Vec<PathBuf>,
    },
}

/// Tool calls that need no permission.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// The tool.
    pub tool: String,
    /// The calls of it, in the CLI's pattern syntax; all calls when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// A suggestion of a question, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// What is granted; none for a suggestion that is not understood, which cannot be granted.
    pub grant: Option<Grant>,
    /// One line that says what is granted.
    pub words: String,
}

/// Names a suggestion of a question in an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Pick {
    /// Its place in the question's `suggestions`, from 0.
    Place(usize),
    /// Its line in the question's `offers`. A question that is asked again may suggest something else in the same place.
    Words(String),
}

impl Suggestion {
    /// The offer of a suggestion of the CLI.
    pub fn of(suggestion: &Value) -> Self {
        let grant = Grant::read(suggestion);
        let words = match &grant {
            Some(grant) => grant.words(),
            None => format!("cannot be granted, since it is not understood: {suggestion}"),
        };
        Self { grant, words }
    }

    /// Returns true if `pick` names this offer, which stands in `place`.
    pub fn is_meant(&self, place: usize, pick: &Pick) -> bool {
        match pick {
            Pick::Place(picked) => *picked == place,
            Pick::Words(words) => *words == self.words,
        }
    }
}

impl Grant {
    /// Reads a suggestion in the CLI's own form.
    fn read(suggestion: &Value) -> Option<Self> {
        let text = |name: &str| suggestion.get(name)?.as_str();
        let list = |name: &str| suggestion.get(name)?.as_array().filter(|list| !list.is_empty());
        match text("type")? {
            "addRules" if text("behavior") == Some("allow") => {
                let rules = list("rules")?.iter().map(Rule::read).collect::<Option<_>>()?;
                Some(Self::Rules { rules })
            }
            "setMode" => {
                let mode = PermissionMode::named(text("mode")?)?;
                Some(Self::Mode { mode })
            }
            "addDirectories" => {
                let read = |directory: &Value| Some(PathBuf::from(directory.as_str()?)).filter(|path| is_sound(path));
                let directories = list("directories")?.iter().map(read).collect::<Option<_>>()?;
                Some(Self::Directories { directories })
            }
            _ => None,
        }
    }

    /// Returns true if the grant is about single tool calls, and not about the mode or directories.
    pub fn is_of_rules(&self) -> bool {
        matches!(self, Self::Rules { .. })
    }

    /// What is granted, in one line.
    pub fn words(&self) -> String {
        match self {
            Self::Rules { rules } => {
                let shown: Vec<_> = rules.iter().map(Rule::shown).collect();
                // A rule that no command line can name ends with the agent's process.
                let is_short = rules.iter().any(|rule| rule.flag().is_none());
                let until = if is_short {
                    " (until the agent is restarted)"
                } else {
                    ""
                };
                format!("do not ask again for {}{until}", shown.join(", "))
            }
            Self::Mode { mode } => format!("switch to the permission mode {}: {}", mode.name(), mode.meaning()),
            Self::Directories { directories } => {
                let shown: Vec<_> = directories.iter().map(|path| path.to_string_lossy()).collect();
                format!("let the agent work in {}", shown.join(", "))
            }
        }
    }
}

/// Several grants in one line.
pub fn in_words(grants: &[Grant]) -> String {
    grants.iter().map(Grant::words).collect::<Vec<_>>().join("; ")
}

impl Rule {
    fn read(rule: &Value) -> Option<Self> {
        let tool = rule
            .get("toolName")?
            .as_str()
            .filter(|tool| !tool.is_empty())?
            .to_owned();
        // The CLI takes an empty pattern for every call of the tool.
        let content = match rule.get("ruleContent") {
            None | Some(Value::Null) => None,
            Some(content) => Some(
                content
                    .as_str()
                    .filter(|content| !content.trim().is_empty())?
                    .to_owned(),
            ),
        };
        Some(Self { tool, content })
    }

    /// The rule as a person reads it.
    fn shown(&self) -> String {
        match &self.content {
            Some(content) => format!("{}({content})", self.tool),
            None => self.tool.clone(),
        }
    }

    /// The rule as the CLI's `--allowedTools` takes it; none where the flag would read it as something else.
    ///
    /// The CLI cuts the flag's value at commas and spaces outside of parentheses, and takes the first closing one for
    /// the end, escaped or not (measured with 2.1.332): `Bash(a ) Bash (b)` would allow every command.
    pub fn flag(&self) -> Option<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-*.:".contains(c);
        let content = self.content.as_deref().unwrap_or_default();
        let is_plain = self.tool.chars().all(is_name) && !content.contains(['(', ')', '\0']);
        let shown = Self {
            tool: self.tool.clone(),
            content: self.content.as_ref().map(|content| content.replace('\\', "\\\\")),
        };
        Some(shown.shown()).filter(|flag| is_plain && flag.len() <= CARRIED_BYTES_MAX)
    }
}

fn is_sound(directory: &Path) -> bool {
    let bytes = directory.as_os_str().as_encoded_bytes();
    directory.is_absolute() && !bytes.contains(&0) && bytes.len() <= CARRIED_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(tool: &str, content: Option<&str>) -> Rule {
        Rule {
            tool: tool.into(),
            content: content.map(str::to_owned),
        }
    }

    #[test]
    fn each_suggestion_is_a_line_in_plain_words() {
        let words = |suggestion: Value| Suggestion::of(&suggestion).words;
        let rules = json!({"type": "addRules", "behavior": "allow", "destination": "localSettings",
            "rules": [{"toolName": "Bash", "ruleContent": "touch a *"}, {"toolName": "WebSearch"}]});
        assert_eq!(words(rules), "do not ask again for Bash(touch a *), WebSearch");
        let mode = json!({"type": "setMode", "mode": "acceptEdits", "destination": "session"});
        assert_eq!(
            words(mode),
            "switch to the permission mode acceptEdits: file edits need no permission"
        );
        let directories = json!({"type": "addDirectories", "directories": ["/srv/a", "/srv/b"]});
        assert_eq!(words(directories), "let the agent work in /srv/a, /srv/b");
    }

    #[test]
    fn what_is_not_understood_cannot_be_granted_and_is_shown_whole() {
        let rules = |behavior: &str, rules: Value| json!({"type": "addRules", "behavior": behavior, "rules": rules});
        let bad = [
            json!({}),
            json!({"type": "new"}),
            json!({"type": "setMode", "mode": "everything"}),
            json!({"type": "addDirectories", "directories": ["here"]}),
            json!({"type": "addDirectories", "directories": []}),
            rules("deny", json!([{"toolName": "Bash"}])),
            rules("allow", json!([])),
            rules("allow", json!([{"toolName": "Bash", "ruleContent": ""}])),
            rules("allow", json!([{"toolName": "Bash", "ruleContent": 1}])),
            rules("allow", json!([{"ruleContent": "ls"}])),
        ];
        for suggestion in bad {
            let offer = Suggestion::of(&suggestion);
            assert_eq!(offer.grant, None, "{suggestion}");
            assert!(offer.words.contains(&suggestion.to_string()), "{}", offer.words);
        }
    }

    #[test]
    fn a_rule_that_a_flag_would_widen_is_not_given_to_a_flag() {
        assert_eq!(rule("Bash", Some("a, b *")).flag().as_deref(), Some("Bash(a, b *)"));
        assert_eq!(rule("Bash", Some(r"a\b")).flag().as_deref(), Some(r"Bash(a\\b)"));
        assert_eq!(rule("mcp__s__t", None).flag().as_deref(), Some("mcp__s__t"));
        for (tool, content) in [
            ("Bash", Some("a ) Bash (b")),
            ("Bash", Some("a(")),
            ("Bash", Some("a\0")),
            ("Bash Write", None),
            ("Bash,Write", Some("a")),
        ] {
            assert_eq!(rule(tool, content).flag(), None, "{tool} {content:?}");
        }
        assert_eq!(rule("Bash", Some(&"x".repeat(5000))).flag(), None);
        let grant = Grant::Rules {
            rules: vec![rule("Bash", Some("python3 -c \"print(1)\""))],
        };
        assert!(
            grant.words().ends_with("(until the agent is restarted)"),
            "{}",
            grant.words()
        );
    }
}
