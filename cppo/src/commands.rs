//! The program `percept`: one file per subcommand, with its arguments and what it prints. The work is done elsewhere.

mod data;
mod doctor;
mod eval;
mod generate;
mod question;
mod report;
mod score;
mod sft;
mod train;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use percept_model::ModelError;
use percept_model::image::ImageError;

use crate::config::{Config, ConfigError};
use crate::data::DataError;

/// Reinforcement learning for vision-language models on any GPU.
#[derive(Parser)]
#[command(name = "percept", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make, import and look at problems.
    #[command(subcommand)]
    Data(data::Command),
    /// List devices, and check every kernel on each against the CPU in f64. Run this first on a new GPU.
    Doctor(doctor::Args),
    /// Measure a model on problems it has not seen.
    Eval(eval::Args),
    /// Answer a question about a picture.
    Generate(generate::Args),
    /// Rebuild the report of a run.
    Report(report::Args),
    /// Log-probability and entropy of every token of a given answer to a question about a picture.
    Score(score::Args),
    /// Train a new model on reference responses: the start of reinforcement learning.
    Sft(sft::Args),
    /// Train a model by reinforcement learning. Without arguments: the shipped one, on pictures of handwritten digits.
    Train(train::Args),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should. Exit code 0.
    Done,
    /// It could not. Exit code 1.
    Failed,
    /// It was asked for something that cannot be: usage, configuration, data. Exit code 2.
    BadInput,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(match outcome {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::BadInput => 2,
        })
    }
}

/// Runs the command line `arguments`, the program's name first. Results go to `out`, errors to `errors`.
pub fn run(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write, errors: &mut dyn Write) -> Outcome {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let (written, outcome) = match error.use_stderr() {
                true => (write!(errors, "{error}"), Outcome::BadInput),
                false => (write!(out, "{error}"), Outcome::Done), // help, version
            };
            return written.map_or(Outcome::Failed, |()| outcome);
        }
    };
    let result = match cli.command {
        Command::Data(command) => data::run(&command, out),
        Command::Doctor(args) => doctor::run(&args),
        Command::Eval(args) => eval::run(&args, out),
        Command::Generate(args) => generate::run(&args, out, errors),
        Command::Report(args) => report::run(&args, out),
        Command::Score(args) => score::run(&args, out, errors),
        Command::Sft(args) => sft::run(&args, out),
        Command::Train(args) => train::run(&args, out),
    };
    result.unwrap_or_else(|error| {
        // an error that cannot be printed is told by the exit code alone
        let _ = writeln!(errors, "error: {error:#}");
        match is_bad_input(&error) {
            true => Outcome::BadInput,
            false => Outcome::Failed,
        }
    })
}

/// Whether the fault lies in what the program was given.
fn is_bad_input(error: &anyhow::Error) -> bool {
    use percept_engine::Error as EngineError;
    match error.downcast_ref::<ModelError>() {
        Some(ModelError::Engine(error)) => matches!(error, EngineError::File { .. } | EngineError::Content { .. }),
        Some(_) => true,
        None => error.is::<ConfigError>() || error.is::<DataError>() || error.is::<ImageError>(),
    }
}

/// The arguments of every command that has a configuration.
#[derive(clap::Args)]
struct ConfigArgs {
    /// A TOML file. Default: the default of every field.
    config: Option<PathBuf>,
    /// Override a field: `--set method.group_size=4`. The value is TOML; a bare word is text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref(), &self.overrides)
    }
}
