//! The program `percept`: one file per subcommand, with its arguments and what it prints. The work is done elsewhere.

mod data;
mod device;
mod doctor;
mod eval;
mod generate;
mod inspect;
mod interrupt;
mod question;
mod report;
mod score;
mod session;
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

use crate::config::{Config, ConfigError, Settings};
use crate::data::DataError;
use crate::error::TrainError;
use crate::inspect::InspectError;

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
    /// See what a model sees: the tokens of a response, coloured by how much less certain they are without the picture's information.
    ///
    /// The picture is perturbed as in training, and the response, sampled on the original, is read again on all three views. Marked
    /// are the tokens that the configured selection takes as perception tokens, and those that truly name something seen. The gate of
    /// training does not apply: Â > 0 is a matter of a group of responses, not of one.
    Inspect(inspect::Args),
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
    /// Somebody asked it to stop (Ctrl-C, SIGTERM, SIGHUP): it saved what it had, and can go on. Exit code 130, as shells report it.
    Interrupted,
}

impl Outcome {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Outcome::Done => 0,
            Outcome::Failed => 1,
            Outcome::BadInput => 2,
            Outcome::Interrupted => interrupt::EXIT_CODE,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        ExitCode::from(outcome.code())
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
        Command::Inspect(args) => inspect::run(&args, out, errors),
        Command::Report(args) => report::run(&args, out),
        Command::Score(args) => score::run(&args, out, errors),
        Command::Sft(args) => sft::run(&args, out),
        Command::Train(args) => train::run(&args, out),
    };
    result.unwrap_or_else(|error| {
        // an error that cannot be printed is told by the exit code alone
        let _ = writeln!(errors, "error: {error:#}");
        outcome_of(&error)
    })
}

/// An error, and below it what can be done about it.
#[derive(Debug, thiserror::Error)]
#[error("{error:#}\n{advice}")]
struct Advised {
    error: anyhow::Error,
    advice: String,
    outcome: Outcome,
}

/// Whether the fault lies in what the program was given.
fn outcome_of(error: &anyhow::Error) -> Outcome {
    use percept_engine::Error as EngineError;
    let is_file = |error: &EngineError| matches!(error, EngineError::File { .. } | EngineError::Content { .. });
    let is_input = |error: &ModelError| match error {
        ModelError::Engine(error) => is_file(error),
        _ => true,
    };
    if let Some(advised) = error.downcast_ref::<Advised>() {
        return advised.outcome;
    }
    let inspect = error.downcast_ref::<InspectError>();
    let train = match inspect {
        Some(InspectError::Train(error)) => Some(error),
        _ => error.downcast_ref::<TrainError>(),
    };
    let is_bad_input = match (error.downcast_ref::<ModelError>(), train) {
        (Some(error), _) | (_, Some(TrainError::Model(error))) => is_input(error),
        (_, Some(TrainError::Engine(error))) => is_file(error),
        (_, Some(TrainError::NotANumber { .. })) => false,
        (_, Some(_)) => true,
        (None, None) if inspect.is_some() => !matches!(inspect, Some(InspectError::NotFinite { .. })),
        (None, None) => error.is::<ConfigError>() || error.is::<DataError>() || error.is::<ImageError>(),
    };
    if is_bad_input { Outcome::BadInput } else { Outcome::Failed }
}

/// The arguments of every command that has a configuration.
#[derive(clap::Args)]
struct ConfigArgs {
    /// A TOML file. Default: configs/digits.toml, which is part of the program.
    config: Option<PathBuf>,
    /// Override a field: `--set method.group_size=4`. The value is TOML; a bare word is text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    fn load(&self) -> Result<Config, ConfigError> {
        match &self.config {
            Some(path) => Config::load(path, &self.overrides),
            None => Config::parse(include_str!("../../configs/digits.toml"), "configs/digits.toml", &self.overrides),
        }
    }
}
