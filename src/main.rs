//! The command `cc-executor`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before any runtime or argument tree is built: hosts and simulators must start quickly and stay small.
    match args.next().as_ref().and_then(|verb| verb.to_str()) {
        Some("agent-host") => cc_executor::cli::start("agent-host", || cc_executor::agent_host::main(args)),
        Some("simulate") => cc_executor::cli::start("simulate", || cc_executor::simulator::main(args)),
        _ => cc_executor::cli::main(),
    }
}
