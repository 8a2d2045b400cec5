//! The command line: a client of the daemon like any other, and the way to start one.
//!
//! Read `args` first (what can be typed), `texts` (which of it is text) and `complete` (what a shell is offered), then
//! `run` and `attach` (the main job), `follow` (a stream through daemons that come and go), `output` with `draft` and
//! `clean` (what is shown of it), `asking` and `prompt` (questions at the terminal); `demo` and `bench` run a daemon of
//! their own in a `sandbox`. Nothing else here knows more of the daemon than its REST interface and its streams.

mod answer;
mod answering;
mod args;
mod asking;
mod attach;
mod bench;
mod clean;
mod client;
mod columns;
mod complete;
mod connection;
mod conversations;
mod demo;
mod describe;
mod doctor;
mod draft;
mod exit;
mod export;
mod family;
mod follow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod history;
mod input;
mod launch;
mod logs;
mod mark;
mod mcp_config;
mod menu;
mod open;
mod output;
mod prompt;
mod relay;
mod removal;
mod restart;
mod run;
mod sandbox;
mod screen;
mod serve;
mod sessions;
mod sse;
mod suggest;
#[cfg(test)]
mod tests;
mod texts;
mod tokens;
mod unfold;
mod units;
mod view;
mod wait;
mod way;

use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Verb};
use client::Client;
use exit::Failure;
use screen::eprint;
use texts::Words;

pub use exit::Exit;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    complete::answer_a_shell(Cli::command);
    let mut command = Cli::command();
    command.build();
    let typed = Words::read(&command, std::env::args_os()).into_words();
    let cli = match Cli::try_parse_from(typed) {
        Ok(cli) => cli,
        Err(error) => {
            let error = suggest::with_tip(error);
            // Help and version end here too, with success. A reader that went away needs neither.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Ok.into()
            };
        }
    };
    match dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !matches!(failure, Failure::BrokenPipe) {
                eprint(&format!("error: {failure}"));
            }
            failure.exit().into()
        }
    }
}

/// Runs a command that no argument tree knows, unless an agent calls it: it starts programs, as `serve` does.
pub fn start(verb: &str, run: impl FnOnce() -> ExitCode) -> ExitCode {
    match family::check_start(verb) {
        Ok(()) => run(),
        Err(failure) => {
            eprint(&format!("error: {failure}"));
            failure.exit().into()
        }
    }
}

fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.verb {
        Verb::Serve(args) => {
            family::check_start("serve")?;
            serve::serve(given_state_dir(cli.state_dir.as_deref())?, args)
        }
        Verb::Completions(args) => complete::completions(args.shell),
        Verb::Prompt => prompt::main(),
        Verb::McpConfig(args) => {
            let state_dir = connection::state_dir(cli.state_dir.as_deref())?;
            mcp_config::mcp_config(&state_dir, cli.state_dir.is_some(), args.client, args.http)
        }
        Verb::Doctor(args) => doctor::doctor(given_state_dir(cli.state_dir.as_deref())?, &args),
        Verb::Demo(args) => actix_rt::System::new().block_on(demo::demo(&args)),
        Verb::Bench(args) => actix_rt::System::new().block_on(bench::bench(&args)),
        verb @ (Verb::Run(_)
        | Verb::Ls(_)
        | Verb::History(_)
        | Verb::Export(_)
        | Verb::Status(_)
        | Verb::Attach(_)
        | Verb::Logs(_)
        | Verb::Wait(_)
        | Verb::Answer(_)
        | Verb::Cancel(_)
        | Verb::Rm(_)
        | Verb::Gc(_)
        | Verb::Mcp
        | Verb::Resume(_)
        | Verb::Fork(_)
        | Verb::Checkpoints(_)
        | Verb::Import(_)
        | Verb::Handover(_)
        | Verb::Open(_)
        | Verb::Token(_)
        | Verb::Restart
        | Verb::Stop) => {
            let state_dir = connection::state_dir(cli.state_dir.as_deref())?;
            actix_rt::System::new().block_on(call_daemon(verb, &state_dir))
        }
    }
}

fn given_state_dir(given: Option<&Path>) -> Result<Option<std::path::PathBuf>, Failure> {
    given.map(|given| connection::state_dir(Some(given))).transpose()
}

async fn call_daemon(verb: Verb, state_dir: &Path) -> Result<Exit, Failure> {
    family::check(&verb)?;
    let client = || Client::find(state_dir);
    match verb {
        Verb::Run(args) => run::run(state_dir, &args).await,
        Verb::Ls(args) => sessions::ls(&client()?, &args).await,
        Verb::History(args) => history::history(&client()?, &args).await,
        Verb::Export(args) => export::export(&client()?, &args).await,
        Verb::Status(args) => sessions::status(&client()?, &args).await,
        Verb::Attach(args) => attach::attach(client()?, &args).await,
        Verb::Logs(args) => logs::logs(client()?, &args).await,
        Verb::Wait(args) => wait::wait(state_dir, &args).await,
        Verb::Answer(args) => answering::answer(&client()?, &args).await,
        Verb::Cancel(args) => sessions::cancel(&client()?, &args).await,
        Verb::Rm(args) => removal::rm(&client()?, &args).await,
        Verb::Gc(args) => removal::gc(&client()?, &args).await,
        Verb::Mcp => relay::relay(state_dir).await,
        Verb::Resume(args) => conversations::resume(client()?, &args).await,
        Verb::Fork(args) => conversations::fork(client()?, &args).await,
        Verb::Checkpoints(args) => conversations::checkpoints(&client()?, &args).await,
        Verb::Import(args) => conversations::import(state_dir, &args).await,
        Verb::Handover(args) => conversations::handover(&client()?, &args).await,
        Verb::Open(args) => open::open(state_dir, &args).await,
        Verb::Token(args) => tokens::token(state_dir, &args).await,
        Verb::Restart => restart::restart(state_dir).await,
        Verb::Stop => restart::stop(state_dir).await,
        Verb::Doctor(_)
        | Verb::Serve(_)
        | Verb::Completions(_)
        | Verb::Prompt
        | Verb::McpConfig(_)
        | Verb::Demo(_)
        | Verb::Bench(_) => Err(Failure::Usage("this verb needs no daemon".to_owned())),
    }
}
