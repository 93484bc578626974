//! The command line: which subcommands there are, and what becomes of their errors.

use std::ffi::OsString;
use std::io::{Write, sink};

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

use super::outcome::{Outcome, in_words, is_broken_pipe, outcome_of};
use super::ranks::{self, together};
use super::{bench, compare, completions, config, data, doctor, eval, export, generate, inspect, plan, report, score, sft, train};
use crate::methods::AnyMethod;
use crate::terminal::{Shown, cut};

/// Reinforcement learning for vision-language models on any GPU.
#[derive(Parser)]
#[command(name = "percept", version, about, max_term_width = 80)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure this machine: products, generation and a training step, beside what the processor could do.
    Bench(bench::Args),
    /// Compare methods over several seeds: what each reaches, on what it fails, what it costs, with paired intervals.
    Compare(compare::Args),
    /// Print a script with which a shell completes commands and arguments.
    Completions(completions::Args),
    /// Explain every setting: default, range, meaning; also as a TOML file.
    Config(config::Args),
    /// Make, import and look at problems.
    #[command(subcommand)]
    Data(data::Command),
    /// List devices, and check every kernel on each against the CPU in f64. Run this first on a new GPU.
    Doctor(doctor::Args),
    /// Measure a model on problems it has not seen.
    Eval(eval::Args),
    /// Write a model as a directory of its own: an adapter merged into its base, or the best checkpoint of a run.
    Export(export::Args),
    /// Answer a question about a picture.
    Generate(generate::Args),
    /// See what a model sees: the tokens of a response, coloured by how much less certain they are without the picture's information.
    ///
    /// The picture is perturbed as in training, and the response, sampled on the original, is read again on all three views. Marked
    /// are the tokens that the configured selection takes as perception tokens, and those that truly name something seen. Training only
    /// selects tokens in responses that are better than their group; this gate does not apply to a single response.
    Inspect(inspect::Args),
    /// What a run will need: memory by kind and time by phase, before it starts and before any weight is read.
    Plan(plan::Args),
    /// Rebuild the report of a run.
    Report(report::Args),
    /// Log-probability and entropy of every token of a given answer to a question about a picture.
    Score(score::Args),
    /// Train a new model on reference responses: the start of reinforcement learning.
    Sft(sft::Args),
    /// Train a model by reinforcement learning. Without arguments: the shipped one, on pictures of handwritten digits.
    #[command(after_help = methods())]
    Train(train::Args),
}

/// The methods that `--set method.name=` takes.
fn methods() -> String {
    let width = AnyMethod::NAMES.iter().map(|name| name.len()).max().unwrap_or(0);
    let line = |(name, about): (&&str, &&str)| format!("  {name:<width$} {about}\n");
    let lines: String = AnyMethod::NAMES.iter().zip(AnyMethod::ABOUT).map(line).collect();
    format!("Methods (--set method.name=NAME):\n{lines}")
}

/// Runs the command line `arguments`, the program's name first. Results go to `out`, errors to `errors`; neither gets characters that command a terminal, but for the colours of `inspect`.
pub fn run(arguments: impl IntoIterator<Item = OsString>, out: &mut dyn Write, errors: &mut dyn Write) -> Outcome {
    let errors: &mut dyn Write = &mut Shown::new(errors);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // whoever has closed the pipe has read enough
            let text = error.render();
            let (errors, out): (&mut dyn Write, &mut dyn Write) = match ranks::is_first() {
                true => (errors, out),
                false => (&mut sink(), &mut sink()),
            };
            let (_, outcome) = match error.use_stderr() {
                true => (write!(errors, "{}", cut(&text.to_string())), Outcome::BadInput),
                false => (write!(out, "{text}"), Outcome::Done), // help, version
            };
            return outcome;
        }
    };
    let result = match cli.command {
        Command::Inspect(args) => inspect::run(&args, out, errors),
        command => run_shown(command, &mut Shown::new(out), errors),
    };
    result.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return Outcome::Done; // nobody reads what is left to say: `percept ... | head`
        }
        // an error that cannot be printed is told by the exit code alone
        let _ = writeln!(errors, "error: {}", cut(&in_words(&error)));
        outcome_of(&error)
    })
}

/// All commands but `inspect`, which draws on the terminal.
fn run_shown(command: Command, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    match command {
        Command::Bench(args) => bench::run(&args, out),
        Command::Compare(args) => together(out, errors, |world, out, _| compare::run(&args, world, out)),
        Command::Completions(args) => completions::run(&args, Cli::command(), out),
        Command::Config(args) => config::run(&args, out),
        Command::Data(command) => data::run(&command, out),
        Command::Doctor(args) => doctor::run(&args, out),
        Command::Eval(args) => together(out, errors, |world, out, errors| eval::run(&args, world, out, errors)),
        Command::Export(args) => export::run(&args, out, errors),
        Command::Generate(args) => generate::run(&args, out, errors),
        Command::Inspect(args) => inspect::run(&args, out, errors),
        Command::Plan(args) => plan::run(&args, out, errors),
        Command::Report(args) => report::run(&args, out),
        Command::Score(args) => score::run(&args, out, errors),
        Command::Sft(args) => together(out, errors, |world, out, _| sft::run(&args, world, out)),
        Command::Train(args) => together(out, errors, |world, out, _| train::run(&args, world, out)),
    }
}
