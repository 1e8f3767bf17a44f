//! The binary: parses the arguments, calls [`finkare_relay::cli`], turns the result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    finkare_relay::cli::main()
}
