//! The flags of what goes on with a conversation.

use std::path::PathBuf;

use clap::Args;

use super::{OutputArgs, id};
use crate::cli::complete::{ListedSessions, checkpoints, sessions};
use crate::cli::units::parse_seconds;

/// `resume`
#[derive(Args, Debug)]
pub(crate) struct ResumeArgs {
    /// The session: its id, a unique prefix or suffix of the short one, or its name
    #[arg(value_parser = id(), add = sessions(ListedSessions::Ended))]
    pub(crate) id: String,
    /// Instruction for the agent [default: to go on]
    pub(crate) instruction: Option<String>,
    /// Cut the conversation at this checkpoint; files stay as they are
    #[arg(long, value_name = "SEQ", add = checkpoints())]
    pub(crate) at: Option<u64>,
    /// Maximum number of agent turns from now on [default: as many as before]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_turns: Option<u32>,
    /// Maximum cost of the whole session, in US dollars; must be above the cost so far [default: as before]
    #[arg(long, value_name = "USD")]
    pub(crate) max_budget_usd: Option<f64>,
    /// Maximum active time from now on, such as 30m or 10h [default: as much as before]
    #[arg(long, value_name = "DURATION", value_parser = parse_seconds)]
    pub(crate) timeout: Option<u64>,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

/// `fork`
#[derive(Args, Debug)]
pub(crate) struct ForkArgs {
    /// The session to copy: its id, a unique prefix or suffix of the short one, or its name
    #[arg(value_parser = id(), add = sessions(ListedSessions::All))]
    pub(crate) id: String,
    /// Instruction for the agent [default: to go on]
    pub(crate) instruction: Option<String>,
    /// Copy the conversation up to this checkpoint only
    #[arg(long, value_name = "SEQ", add = checkpoints())]
    pub(crate) at: Option<u64>,
    /// What a person calls the copy
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

/// `checkpoints`
#[derive(Args, Debug)]
pub(crate) struct CheckpointsArgs {
    /// The session: its id, a unique prefix or suffix of the short one, or its name
    #[arg(value_parser = id(), add = sessions(ListedSessions::All))]
    pub(crate) id: String,
    /// An array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

/// `import`
#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// The id of the Claude session, as `claude --resume` takes it, or its first digits
    #[arg(value_parser = agent_session_id)]
    pub(crate) agent_session_id: String,
    /// Instruction for the agent [default: to go on]
    pub(crate) instruction: Option<String>,
    /// The directory the agent works in [default: that of the Claude session]
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// What a person calls the session
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) shown: OutputArgs,
}

/// `handover`
#[derive(Args, Debug)]
pub(crate) struct HandoverArgs {
    /// The session: its id, a unique prefix or suffix of the short one, or its name
    #[arg(value_parser = id(), add = sessions(ListedSessions::Ended))]
    pub(crate) id: String,
    /// One object
    #[arg(long)]
    pub(crate) json: bool,
}

fn agent_session_id(text: &str) -> Result<String, String> {
    crate::agent::transcript::is_prefix(text).then(|| text.to_lowercase()).ok_or_else(|| {
        "give the UUID that `claude --resume` shows and its transcript is named after, or its first 4 digits or more".to_owned()
    })
}
