//! The simulator: a scripted stand-in for the agent, for the demo, for tests and for scale.
//!
#![doc = include_str!("script.md")]
//!
//! How it is made: threads turn stdin, signals and ended children into events (`input`), and one thread plays:
//! turns and the queue (`session`, `player`), requests from the host (`control`), the steps (`speech`, `tools`,
//! `permission`, `tasks`, `trouble`). It looks for events between any two deltas and every few lines of a flood, so an
//! interrupt takes effect at once. No runtime is built and next to nothing held, since tests run a thousand of it.

mod args;
mod background;
mod children;
mod control;
mod frames;
mod ids;
mod input;
mod output;
mod permission;
mod player;
mod script;
mod session;
mod speech;
mod tasks;
mod tools;
mod transcript;
mod trouble;
mod turn;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use args::{Args, Environment};
use session::Simulator;

const HELP: &str = include_str!("script.md");

/// Exit code for a command line that cannot be meant.
const USAGE: u8 = 2;

/// Runs the simulator with the arguments that follow `simulate`, and ends the process with it: threads may
/// still be waiting for stdin or a child.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match Args::parse(args).and_then(Args::with_environment) {
        Ok(args) => args,
        Err(error) => return refuse(&error),
    };
    if args.help {
        print(HELP);
        return ExitCode::SUCCESS;
    }
    if args.version {
        print(&format!("{} (simulated)\n", frames::VERSION));
        return ExitCode::SUCCESS;
    }
    if let Err(error) = children::keep_files_from_children() {
        return refuse(&format!("failed to list the open files: {error}"));
    }
    match Simulator::start(args, Environment::read()) {
        Ok(simulator) => std::process::exit(simulator.run()),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &str) -> ExitCode {
    eprintln!("Error: {error}");
    ExitCode::from(USAGE)
}

/// Unlike `print!` it does not panic when the reader is gone.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
