//! The program `percept`.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use commands::doctor;

/// Reinforcement learning for vision-language models on any GPU.
#[derive(Parser)]
#[command(name = "percept", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List devices, and check every kernel on each against the CPU in f64. Run this first on a new GPU.
    Doctor(doctor::Args),
}

/// Exit codes: 0 done, 1 failed, 2 bad usage or input.
fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Doctor(args) => doctor::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
