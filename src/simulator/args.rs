//! The command line and the environment: the flags that `claude` takes, most of which change nothing here, and our own.

use std::ffi::OsString;
use std::path::PathBuf;

/// What a run was asked to be.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Args {
    pub(super) script: Option<PathBuf>,
    pub(super) ledger: Option<PathBuf>,
    pub(super) fail_at: Option<u64>,
    pub(super) session: Option<String>,
    pub(super) resume: Option<String>,
    /// `--resume-session-at`: the uuid of the last entry to keep.
    pub(super) resume_at: Option<String>,
    pub(super) fork: bool,
    pub(super) model: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) max_turns: Option<u64>,
    pub(super) max_budget_usd: Option<f64>,
    pub(super) partial_messages: bool,
    pub(super) replay_user_messages: bool,
    /// Permission prompts go to the host; without that they are refused.
    pub(super) prompts: bool,
    pub(super) help: bool,
    pub(super) version: bool,
}

/// Flags of the CLI that take a value and mean nothing here; the value must not be read as a flag.
const IGNORED_WITH_VALUE: [&str; 15] = [
    "--output-format",
    "--input-format",
    "--add-dir",
    "--allowedTools",
    "--allowed-tools",
    "--disallowedTools",
    "--disallowed-tools",
    "--append-system-prompt",
    "--append-system-prompt-file",
    "--system-prompt",
    "--mcp-config",
    "--settings",
    "--json-schema",
    "--setting-sources",
    "--fallback-model",
];

impl Args {
    /// Reads the arguments after `simulate`.
    pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut parsed = Self::default();
        let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
        while let Some(arg) = args.next() {
            if arg == "--" {
                break;
            }
            let (flag, value) = match arg.split_once('=') {
                Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
                _ => (arg, None),
            };
            if parsed.switch(&flag) {
                continue;
            }
            let mut value = || {
                value
                    .clone()
                    .or_else(|| args.next())
                    .ok_or(format!("{flag} needs a value"))
            };
            parsed.with_value(&flag, &mut value)?;
        }
        Ok(parsed)
    }

    fn switch(&mut self, flag: &str) -> bool {
        let switch = match flag {
            "--fork-session" => &mut self.fork,
            "--include-partial-messages" => &mut self.partial_messages,
            "--replay-user-messages" => &mut self.replay_user_messages,
            "--help" | "-h" => &mut self.help,
            "--version" | "-v" => &mut self.version,
            _ => return false,
        };
        *switch = true;
        true
    }

    fn with_value(&mut self, flag: &str, value: &mut dyn FnMut() -> Result<String, String>) -> Result<(), String> {
        match flag {
            "--script" => self.script = Some(value()?.into()),
            "--ledger" => self.ledger = Some(value()?.into()),
            "--fail-at" => self.fail_at = Some(number(flag, &value()?)?),
            "--session-id" => self.session = Some(value()?),
            "--resume" | "-r" => self.resume = Some(value()?),
            "--resume-session-at" => self.resume_at = Some(value()?),
            "--model" => self.model = Some(value()?),
            "--permission-mode" => self.mode = Some(value()?),
            "--max-turns" => self.max_turns = Some(number(flag, &value()?)?),
            "--max-budget-usd" => self.max_budget_usd = Some(number(flag, &value()?)?),
            "--permission-prompt-tool" => self.prompts = value()? == "stdio",
            ignored if IGNORED_WITH_VALUE.contains(&ignored) => drop(value()?),
            // A switch we do not know, or the further values of a list.
            _ => {}
        }
        Ok(())
    }

    /// Our own flags have a variable each, for a simulator that is started by a daemon.
    pub(super) fn with_environment(mut self) -> Result<Self, String> {
        self.ledger = self
            .ledger
            .or_else(|| variable("CC_EXECUTOR_SIMULATOR_LEDGER").map(Into::into));
        if let (None, Some(line)) = (self.fail_at, variable("CC_EXECUTOR_SIMULATOR_FAIL_AT")) {
            self.fail_at = Some(number("CC_EXECUTOR_SIMULATOR_FAIL_AT", &line)?);
        }
        Ok(self)
    }
}

fn number<N: std::str::FromStr>(flag: &str, value: &str) -> Result<N, String> {
    value
        .parse()
        .map_err(|_| format!("{flag} needs a number, not {value:?}"))
}

/// The switches of the CLI's environment that matter here.
#[derive(Debug, Default, Clone)]
pub(super) struct Environment {
    /// Where session files lie, a directory for each working directory.
    pub(super) projects: PathBuf,
    pub(super) emits_state: bool,
    pub(super) resumes_interrupted_turn: bool,
    pub(super) resume_reason: String,
    /// Waits for a usage limit to end instead of giving up.
    pub(super) retry_watchdog: bool,
}

impl Environment {
    pub(super) fn read() -> Self {
        let on = |name| variable(name).is_some_and(|value| value == "1" || value == "true");
        let config = std::env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from);
        let home = || PathBuf::from(variable("HOME").unwrap_or_else(|| "/".to_owned())).join(".claude");
        Self {
            projects: config.unwrap_or_else(home).join("projects"),
            emits_state: on("CLAUDE_CODE_EMIT_SESSION_STATE_EVENTS"),
            resumes_interrupted_turn: on("CLAUDE_CODE_RESUME_INTERRUPTED_TURN"),
            resume_reason: variable("CLAUDE_CODE_RESUME_REASON").unwrap_or_else(|| "interrupted_turn".to_owned()),
            retry_watchdog: on("CLAUDE_CODE_RETRY_WATCHDOG"),
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, String> {
        Args::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_flags_of_a_daemon_are_accepted() {
        let args = parse(
            "-p --output-format stream-json --verbose --input-format stream-json --include-partial-messages \
             --permission-prompt-tool stdio --permission-mode plan --session-id s --model m --max-turns 3 \
             --max-budget-usd 1.5 --allowedTools Bash(ls) Read --settings {} --append-system-prompt --help",
        );
        let expected = Args {
            session: Some("s".into()),
            model: Some("m".into()),
            mode: Some("plan".into()),
            max_turns: Some(3),
            max_budget_usd: Some(1.5),
            partial_messages: true,
            prompts: true,
            ..Args::default()
        };
        assert_eq!(args, Ok(expected));
    }

    #[test]
    fn a_value_may_follow_an_equals_sign() {
        let both = Args {
            resume: Some("id".into()),
            ..Args::default()
        };
        assert_eq!(parse("--resume=id"), Ok(both));
        assert_eq!(parse("--resume id").unwrap().resume.as_deref(), Some("id"));
    }

    #[test]
    fn a_flag_without_its_value_is_refused() {
        assert_eq!(parse("--script"), Err("--script needs a value".into()));
        assert_eq!(parse("--fail-at x"), Err("--fail-at needs a number, not \"x\"".into()));
    }
}
