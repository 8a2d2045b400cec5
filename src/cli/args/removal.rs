//! The flags of what removes.

use clap::Args;

use crate::cli::complete::{ListedSessions, sessions};

use super::parse_seconds;

/// What `rm --help` and `gc --help` say behind their flags.
const WHAT_STAYS: &str = "Transcripts that Claude itself keeps (under CLAUDE_CONFIG_DIR or ~/.claude) are not touched. \
    The room of files is free at once. The journal's file keeps its size: the room of removed records is used by later \
    ones.";

/// `rm`
#[derive(Args, Debug)]
#[command(after_help = WHAT_STAYS)]
pub(crate) struct RmArgs {
    /// The sessions: their ids, unique prefixes or suffixes of the short ones, or their names
    #[arg(required = true, value_name = "ID", value_parser = super::id(), add = sessions(ListedSessions::Ended))]
    pub(crate) ids: Vec<String>,
    /// One object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `gc`
#[derive(Args, Debug)]
#[command(after_help = WHAT_STAYS)]
pub(crate) struct GcArgs {
    /// Sessions that ended longer ago, such as 30d or 12h
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = parse_seconds)]
    pub(crate) older_than: u64,
    /// Only say what would go
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    /// Keep the sessions with their journals, and remove only the files that their agents wrote their output to
    #[arg(long)]
    pub(crate) spools_only: bool,
    /// One object
    #[arg(long)]
    pub(crate) json: bool,
}
