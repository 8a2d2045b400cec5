//! The command line: every verb and flag, and nothing about what they do.

use std::path::PathBuf;

use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::session::request::{Background, OnQuestion, PermissionMode};

use super::answer::AnswerFlags;
use super::complete::{ListedSessions, questions, sessions, tokens};
use super::mcp_config::McpClient;
use super::units::parse_seconds;

mod bench;
mod conversations;
mod lists;
mod removal;

pub(crate) use self::bench::{BenchArgs, BenchOf};
pub(crate) use self::conversations::{CheckpointsArgs, ForkArgs, HandoverArgs, ImportArgs, ResumeArgs};
pub(crate) use self::lists::{ExportArgs, ExportFormat, HistoryArgs, Wanted};
pub(crate) use self::removal::{GcArgs, RmArgs};

/// The end of the help text.
const AFTER_HELP: &str = "Exit codes: 0 completed or detached, 1 failed, 2 usage, 3 unknown id, 4 no daemon, 5 refused, \
                          124 timed out, 130 cancelled\n\n\
                          Environment: CC_EXECUTOR_URL and CC_EXECUTOR_TOKEN name a daemon elsewhere to call instead";

/// Runs Claude Code on this machine for hours without losing the work
#[derive(Debug, Parser)]
#[command(name = "cc-executor", version, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    /// The daemon's state directory [default: $XDG_STATE_HOME/cc-executor]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) state_dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The subcommand.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the daemon in the foreground
    Serve(ServeArgs),
    /// Run a task and follow it; starts the daemon if none runs
    Run(Box<RunArgs>),
    /// List sessions
    #[command(aliases = ["ps", "list"])]
    Ls(LsArgs),
    /// List sessions by the day of their creation
    History(HistoryArgs),
    /// Show one session
    Status(StatusArgs),
    /// Follow a session: its output so far, then live
    Attach(AttachArgs),
    /// Print a session's records, one per line
    Logs(LogsArgs),
    /// Export a whole session
    Export(ExportArgs),
    /// Wait until sessions have ended; the exit code is the worst of theirs
    Wait(WaitArgs),
    /// Answer a question of a session
    Answer(AnswerArgs),
    /// Cancel sessions
    #[command(alias = "kill")]
    Cancel(CancelArgs),
    /// Delete ended sessions, with their journals and files
    Rm(RmArgs),
    /// Delete sessions that ended long ago; nothing is deleted by itself
    Gc(GcArgs),
    /// Serve MCP on stdin and stdout, for a client that starts its servers itself; starts the daemon if none runs
    Mcp,
    /// Print the configuration that adds this program to an MCP client
    McpConfig(McpConfigArgs),
    /// Resume an ended session, from its last message or from a checkpoint
    Resume(ResumeArgs),
    /// Start a session in a copy of another session's conversation
    Fork(ForkArgs),
    /// List the checkpoints of a session, newest first
    Checkpoints(CheckpointsArgs),
    /// Take over a conversation that was started with `claude`
    Import(ImportArgs),
    /// Print the command that continues an ended session in `claude`
    Handover(HandoverArgs),
    /// Open the page in a browser, signed in; starts the daemon if none runs
    Open(OpenArgs),
    /// Print the daemon's own token, or manage tokens of others
    Token(TokenArgs),
    /// Replace the running daemon by this version; agents keep running
    Restart,
    /// Stop the daemon; agents keep running, and the next daemon attaches to them
    Stop,
    /// Find problems of the daemon's environment
    Doctor(DoctorArgs),
    /// Run a demo: the daemon is killed while an agent works, and nothing is lost
    Demo(DemoArgs),
    /// Run benchmarks on this machine
    Bench(BenchArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
    /// Asks one question at the terminal; `run` and `attach` start it
    #[command(hide = true)]
    Prompt,
}

/// `mcp-config`
#[derive(Args, Debug)]
pub(crate) struct McpConfigArgs {
    /// The client
    #[arg(value_enum, default_value_t = McpClient::Claude)]
    pub(crate) client: McpClient,
    /// Reach the daemon by HTTP, with its token, instead of by `cc-executor mcp`
    #[arg(long)]
    pub(crate) http: bool,
}

/// `serve`
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// The port on 127.0.0.1; 0 for any
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// A settings file instead of the user's own
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Change one setting: section.key=value (repeatable)
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_setting)]
    pub(crate) set: Vec<(String, String)>,
    /// Leave the terminal that started it: for a daemon in the background
    #[arg(long, hide = true)]
    pub(crate) new_session: bool,
}

/// `run`
#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The task. Use - to read it from stdin; in a pipe this is the default
    #[arg(conflicts_with = "file")]
    pub(crate) task: Option<String>,
    /// Read the task from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The directory the agent works in [default: this one]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// The model, as `claude --model` takes it
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// How permissions are decided before anybody is asked
    #[arg(long, value_name = "MODE", alias = "permissionMode", value_parser = permission_modes())]
    pub(crate) permission_mode: Option<PermissionMode>,
    /// Tools that need no permission, such as "Edit,Bash(git log:*)" (repeatable)
    #[arg(long, value_name = "RULES", alias = "allowedTools")]
    pub(crate) allowed_tools: Vec<String>,
    /// Tools that are refused (repeatable)
    #[arg(long, value_name = "RULES", alias = "disallowedTools")]
    pub(crate) disallowed_tools: Vec<String>,
    /// Text added to the system prompt
    #[arg(long, value_name = "TEXT")]
    pub(crate) append_system_prompt: Option<String>,
    /// Read the text added to the system prompt from a file
    #[arg(long, value_name = "FILE", conflicts_with = "append_system_prompt")]
    pub(crate) append_system_prompt_file: Option<PathBuf>,
    /// MCP servers for the agent: JSON, or a file holding it (repeatable)
    #[arg(long, value_name = "JSON|FILE")]
    pub(crate) mcp_config: Vec<String>,
    /// Maximum number of agent turns
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_turns: Option<u32>,
    /// Maximum cost, in US dollars
    #[arg(long, value_name = "USD")]
    pub(crate) max_budget_usd: Option<f64>,
    /// Another directory that the agent may work in (repeatable)
    #[arg(long, value_name = "DIR")]
    pub(crate) add_dir: Vec<PathBuf>,
    /// A JSON Schema the final answer must fit: JSON, or @FILE
    #[arg(long, value_name = "JSON|@FILE")]
    pub(crate) json_schema: Option<String>,
    /// Maximum active time, such as 30m or 10h
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub(crate) timeout: Option<u64>,
    /// Name of the session [default: the task's first words]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// An environment variable for the agent: K=V, or K for its value here. The whole environment is sent anyway;
    /// naming one that is not set is an error (repeatable)
    #[arg(long, value_name = "K[=V]")]
    pub(crate) env: Vec<String>,
    /// What happens to a question that nobody answers within --question-timeout
    #[arg(long, value_name = "WHAT", default_value = "wait", value_parser = on_question())]
    pub(crate) on_question: OnQuestion,
    /// How long a question waits before --on-question applies
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub(crate) question_timeout: Option<u64>,
    /// Write a checkpoint at least this often while anything happens [default: the daemon's setting]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds)]
    pub(crate) checkpoint_interval: Option<u64>,
    /// What happens to shells that the agent leaves in the background: end them after a grace, wait until they have
    /// ended (at most --timeout), or keep them running
    #[arg(long, value_name = "WHAT", default_value = "end", value_parser = background())]
    pub(crate) background: Background,
    /// The same as --background keep
    #[arg(long, conflicts_with = "background")]
    pub(crate) keep_background: bool,
    /// Find out first whether the task is ambiguous, and ask if it is; nothing is changed before that
    #[arg(long)]
    pub(crate) clarify: bool,
    /// Start what the project starts by itself (hooks, helpers, MCP servers of its own settings) without a question
    #[arg(long)]
    pub(crate) trust_project: bool,
    /// Give the agent the MCP tools and resources of this daemon
    #[arg(long)]
    pub(crate) with_executor: bool,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

/// How a session that goes on is shown.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Do not follow the session: print its id
    #[arg(long, short)]
    pub(crate) detach: bool,
    /// One record a line, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the result alone, once the session has ended
    #[arg(long, short, conflicts_with_all = ["detach", "json"])]
    pub(crate) quiet: bool,
}

/// `ls`
#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// All sessions, not only those that live and the latest fifty
    #[arg(long, short)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) wanted: Wanted,
    /// Only their short ids, one a line
    #[arg(long, short, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// An array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// `status`
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The session: its id, a unique prefix or suffix of the short one, or its name; not needed while only one is live
    #[arg(value_parser = id(), add = sessions(ListedSessions::All))]
    pub(crate) id: Option<String>,
    /// One object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `attach`
#[derive(Args, Debug)]
pub(crate) struct AttachArgs {
    /// The session: its id, a unique prefix or suffix of the short one, or its name; not needed while only one is live
    #[arg(value_parser = id(), add = sessions(ListedSessions::All))]
    pub(crate) id: Option<String>,
    /// Begin behind this record
    #[arg(long, value_name = "SEQ", conflicts_with = "tail")]
    pub(crate) after: Option<u64>,
    /// Begin with the last N records
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// One record a line, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `logs`
#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    /// The session: its id, a unique prefix or suffix of the short one, or its name; not needed while only one is live
    #[arg(value_parser = id(), add = sessions(ListedSessions::All))]
    pub(crate) id: Option<String>,
    /// Go on with what happens, until the session ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Begin behind this record
    #[arg(long, value_name = "SEQ", conflicts_with = "tail")]
    pub(crate) after: Option<u64>,
    /// Begin with the last N records
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) tail: Option<u64>,
    /// Whole records, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `wait`
#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// The sessions: their ids, unique prefixes or suffixes of the short ones, or their names
    #[arg(required = true, value_name = "ID", value_parser = id(), add = sessions(ListedSessions::Live))]
    pub(crate) ids: Vec<String>,
    /// For what: their end, or also a question that waits for somebody
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = WaitUntil::End)]
    pub(crate) until: WaitUntil,
    /// For how long in all, such as 30m; then exit with 124 [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub(crate) timeout: Option<u64>,
    /// One object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WaitUntil {
    /// The end of the session
    End,
    /// Its end, or a question that nobody has answered
    Question,
}

/// `answer`
#[derive(Args, Debug)]
pub(crate) struct AnswerArgs {
    /// The session: its id, digits of the short one, or its name; not needed while only one question is open
    #[arg(value_parser = id(), add = sessions(ListedSessions::Live))]
    pub(crate) id: Option<String>,
    /// The question, such as q1; not needed while the session has only one
    #[arg(add = questions())]
    pub(crate) question: Option<String>,
    #[command(flatten)]
    pub(crate) flags: AnswerFlags,
    /// Print the session as an object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `cancel`
#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    /// The sessions: their ids, unique prefixes or suffixes of the short ones, or their names
    #[arg(required = true, value_name = "ID", value_parser = id(), add = sessions(ListedSessions::Live))]
    pub(crate) ids: Vec<String>,
    /// Print each session as an object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `open`
#[derive(Args, Debug)]
pub(crate) struct OpenArgs {
    /// The session to show: its id, a unique prefix or suffix of the short one, or its name [default: all of them]
    #[arg(value_name = "SESSION", value_parser = id(), add = sessions(ListedSessions::All))]
    pub(crate) id: Option<String>,
    /// Only print the link, which can be used once
    #[arg(long)]
    pub(crate) print: bool,
    /// Print the link as an object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `token`
#[derive(Args, Debug)]
pub(crate) struct TokenArgs {
    /// What to do with tokens of others
    #[command(subcommand)]
    pub(crate) what: Option<TokenVerb>,
    /// One object or array
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What is done with tokens of others.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token and print it, once
    Create {
        /// What it is called
        name: String,
        /// What it may do: look; start, answer and cancel; or all, tokens included
        #[arg(long, value_parser = ["viewer", "operator", "admin"])]
        role: String,
        /// How long it lasts, such as 30d [default: until it is revoked]
        #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
        expires: Option<u64>,
    },
    /// List tokens
    Ls,
    /// Revoke a token; browsers that signed in with it are signed out
    Revoke {
        /// What it is called
        #[arg(add = tokens())]
        name: String,
    },
}

/// `doctor`
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Compute what is known of each session anew from its records, and save what can be read of a damaged journal; the
    /// daemon must not run
    #[arg(long)]
    pub(crate) rebuild: bool,
    /// One object or array
    #[arg(long)]
    pub(crate) json: bool,
}

/// `completions`
#[derive(Args, Debug)]
pub(crate) struct CompletionsArgs {
    /// The shell: put `source <(cc-executor completions bash)` into ~/.bashrc, the same with zsh into ~/.zshrc, or
    /// `cc-executor completions fish | source` into ~/.config/fish/config.fish
    pub(crate) shell: clap_complete::Shell,
}

/// `demo`
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Show nothing but the count, as an object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a person types for a session; never nothing, as from a variable that is not set.
fn id() -> impl TypedValueParser<Value = String> {
    NonEmptyStringValueParser::new()
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as section.key=value".to_owned()),
    }
}

fn permission_modes() -> impl TypedValueParser<Value = PermissionMode> {
    let names = PermissionMode::ALL.map(PermissionMode::name);
    PossibleValuesParser::new(names).try_map(|name| {
        let found = PermissionMode::ALL.into_iter().find(|mode| mode.name() == name);
        found.ok_or("not a permission mode")
    })
}

fn background() -> impl TypedValueParser<Value = Background> {
    let names = PossibleValuesParser::new(Background::ALL.map(Background::name));
    names.map(|name| {
        let found = Background::ALL.into_iter().find(|choice| choice.name() == name);
        found.unwrap_or_default()
    })
}

fn on_question() -> impl TypedValueParser<Value = OnQuestion> {
    PossibleValuesParser::new(["wait", "deny", "first_option", "allow"]).map(|name| match name.as_str() {
        "deny" => OnQuestion::Deny,
        "first_option" => OnQuestion::FirstOption,
        "allow" => OnQuestion::Allow,
        _ => OnQuestion::Wait,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::exit::Exit;
    use clap::CommandFactory;

    fn parse(line: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["cc-executor"], line].concat())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_exit_code() {
        for exit in Exit::ALL {
            assert!(
                AFTER_HELP.contains(&format!("{} ", exit.code())),
                "{exit:?}: {}",
                exit.meaning()
            );
        }
    }

    #[test]
    fn no_turns_at_all_are_refused_by_the_name_of_the_flag() {
        for line in [["run", "x", "--max-turns", "0"], ["resume", "x", "--max-turns", "0"]] {
            let refused = parse(&line).unwrap_err().to_string();
            assert!(refused.contains("--max-turns"), "{refused}");
        }
    }

    #[test]
    fn flags_as_claudes_users_know_them() {
        let line = [
            "run",
            "tidy up",
            "--allowedTools",
            "Edit",
            "--permission-mode",
            "acceptEdits",
            "--timeout",
            "10h",
            "--env",
            "A=b",
        ];
        let Verb::Run(run) = parse(&line).unwrap().verb else {
            panic!()
        };
        assert_eq!(run.task.as_deref(), Some("tidy up"));
        assert_eq!(
            (run.permission_mode, run.timeout),
            (Some(PermissionMode::AcceptEdits), Some(36_000))
        );
        assert_eq!(run.on_question, OnQuestion::Wait);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            &["run", "a", "--file", "b"][..],
            &["run", "a", "--permission-mode", "maybe"],
            &["run", "a", "--timeout", "soon"],
            &["run", "a", "--background", "maybe"],
            &["run", "a", "--background", "wait", "--keep-background"],
            &["answer", "ab12", "q1", "--allow", "--deny"],
            &["answer", "ab12", "q1", "--remember"],
            &["answer", "ab12", "q1", "--deny", "no", "--remember"],
            &["answer", "ab12", "q1", "--deny", "no", "--grant", "1"],
            &["answer", "ab12", "q1", "--choice", "a", "--grant", "1"],
            &["attach", "ab12", "--after", "1", "--tail", "2"],
            &["serve", "--set", "port"],
            &["wait"],
        ] {
            assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line:?}");
        }
    }

    #[test]
    fn background_shells_have_a_choice_and_its_older_name() {
        let choice = |line: &[&str]| {
            let Verb::Run(run) = parse(line).unwrap().verb else {
                panic!()
            };
            (run.background, run.keep_background)
        };
        assert_eq!(choice(&["run", "a"]), (Background::End, false));
        assert_eq!(choice(&["run", "a", "--background", "wait"]), (Background::Wait, false));
        assert_eq!(choice(&["run", "a", "--keep-background"]), (Background::End, true));
    }

    #[test]
    fn a_denial_may_have_a_reason() {
        let deny = |line: &[&str]| {
            let Verb::Answer(answer) = parse(line).unwrap().verb else {
                panic!()
            };
            answer.flags.deny
        };
        assert_eq!(deny(&["answer", "ab12", "--deny"]), Some(None));
        assert_eq!(
            deny(&["answer", "ab12", "--deny", "not now"]),
            Some(Some("not now".into()))
        );
        assert_eq!(deny(&["answer", "ab12", "--allow"]), None);
    }
}
