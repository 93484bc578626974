//! The program `percept`; see [`percept_cppo::commands`].

use std::io::{stderr, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    percept_cppo::commands::run(std::env::args_os(), &mut stdout(), &mut stderr()).into()
}
