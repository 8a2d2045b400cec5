//! The command `cc-executor`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before any runtime or argument tree is built: a thousand simulators must start quickly.
    if args.next().is_some_and(|verb| verb == "simulate") {
        return cc_executor::simulator::main(args);
    }
    ExitCode::SUCCESS
}
