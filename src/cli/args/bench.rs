//! What `bench` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `bench`
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// What to measure
    #[command(subcommand)]
    pub(crate) what: BenchOf,
    /// Where the temporary state is put; its disk is measured too [default: the temporary directory]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// An array of objects
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What `bench` measures.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum BenchOf {
    /// From an agent's write to a client: lines a second, and the delay of partial text
    Stream {
        /// How many lines the agent writes
        #[arg(long, value_name = "N", default_value_t = BENCH_LINES, value_parser = at_least_one())]
        lines: u64,
        /// How many partial texts are timed
        #[arg(long, value_name = "N", default_value_t = 300, value_parser = at_least_one())]
        samples: u64,
    },
    /// The daemon's start with many past sessions, and memory
    Start {
        /// How many past sessions there are
        #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_one())]
        sessions: u64,
        /// How many starts are timed
        #[arg(long, value_name = "N", default_value_t = 7, value_parser = at_least_one())]
        samples: u64,
    },
    /// From the daemon's death until all sessions are watched again, and starts with long journals
    Recovery {
        /// How many sessions there are, one run each
        #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_values_t = [1, 100, 1000], value_parser = at_least_one())]
        sessions: Vec<u64>,
        /// How long the journals are, in records
        #[arg(long, value_name = "N,N,…", value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000],
            value_parser = at_least_one())]
        records: Vec<u64>,
    },
    /// Light calls of MCP clients, with sessions and without
    Mcp {
        /// How many clients call at once
        #[arg(long, value_name = "N", default_value_t = 16, value_parser = at_least_one())]
        clients: u64,
        /// How often each server is measured
        #[arg(long, value_name = "N", default_value_t = 5, value_parser = at_least_one())]
        rounds: u64,
        /// A program that serves the same answers with rmcp on axum: `cargo build --release --example mcp-reference`
        #[arg(long, value_name = "PATH")]
        reference: Option<PathBuf>,
    },
    /// Showing what an agent writes: each kind of text against half as much of it
    Render {
        /// How long the texts are, in KiB
        #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one())]
        kib: u64,
        /// How often each is rendered; the least time counts
        #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one())]
        samples: u64,
        /// Only the kinds of text whose names hold this, such as "code in Rust"
        #[arg(long, value_name = "TEXT", default_value = "")]
        only: String,
    },
}

/// Lines of `bench stream`: a debug build is some ten times slower.
const BENCH_LINES: u64 = if cfg!(debug_assertions) { 30_000 } else { 300_000 };

fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}
