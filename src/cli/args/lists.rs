//! The flags of lists and exports.

use std::path::PathBuf;

use clap::Args;

use crate::cli::complete::{ListedSessions, sessions};

/// Which sessions are listed.
#[derive(Args, Debug, Default)]
pub(crate) struct Wanted {
    /// Only sessions in this state; live and ended mean several (repeatable)
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub(crate) state: Vec<String>,
    /// Only sessions that work in this directory or below
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Only sessions created since then: a time, a day such as 2027-01-31, or how long ago, such as 12h
    #[arg(long, value_name = "WHEN")]
    pub(crate) since: Option<String>,
    /// Only sessions created before that
    #[arg(long, value_name = "WHEN")]
    pub(crate) until: Option<String>,
    /// Only sessions with this text in their name, task or result
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
}

/// `history`
#[derive(Args, Debug)]
pub(crate) struct HistoryArgs {
    /// One day only, such as 2027-01-31
    #[arg(long, value_name = "DATE")]
    pub(crate) date: Option<jiff::civil::Date>,
    /// Only sessions with this text in their name, task or result
    #[arg(long, value_name = "TEXT")]
    pub(crate) search: Option<String>,
    /// Only sessions that work in this directory or below
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// How many sessions at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
    /// One object
    #[arg(long)]
    pub(crate) json: bool,
}

/// `export`
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// The session: its id, a unique prefix or suffix of the short one, or its name
    #[arg(value_parser = super::id(), add = sessions(ListedSessions::All))]
    pub(crate) id: String,
    /// The form: one record a line, one object, or a text for people
    #[arg(long, value_enum, default_value_t = ExportFormat::Jsonl)]
    pub(crate) format: ExportFormat,
}

/// The forms of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// One record a line, as JSON
    Jsonl,
    /// One object: the session and its records
    Json,
    /// The conversation, for people
    Markdown,
}
