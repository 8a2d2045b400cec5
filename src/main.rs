//! The `cc-executor` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cc_executor::cli::main()
}
