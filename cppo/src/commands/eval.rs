//! `percept eval`: how good a model is on problems it has not seen.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use percept_model::{Model, Precision};
use serde::Serialize;

use super::train::open_device;
use super::{ConfigArgs, Outcome};
use crate::data::import;
use crate::evaluate::{Decoding, evaluate};
use crate::prompts::{Problems, Prompt, test_prompts};
use crate::run::{CategoryResult, Evaluation};
use crate::statistics::{Estimate, average_at_n, pass_at_k};
use crate::tasks::Task;

/// Arguments of `percept eval`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The model: a Hugging Face directory or a checkpoint of a run. Default: the configuration's `model.path`.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One row of the table.
#[derive(Serialize)]
struct Row {
    decoding: String,
    category: String,
    problems: usize,
    samples: usize,
    /// avg@N with its 95 % interval.
    accuracy: Estimate,
    /// pass@k at k = N.
    pass_at_n: f64,
    format: f64,
    perception_errors: Option<u64>,
    reasoning_errors: Option<u64>,
    both_errors: Option<u64>,
    unreadable: Option<u64>,
}

/// Measures greedy and sampled responses and prints a table, or JSON.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let mut config = args.config.load()?;
    if let Some(path) = &args.model {
        config.model.path = path.clone();
    }
    let device = open_device(&config.run.device)?;
    let model = Model::load(&config.model.path, &device, Precision::AsStored)?;
    let encoder = config.model.encoder()?;
    let prompts: Vec<Prompt> = match config.eval.data.as_ref().or(config.data.as_ref()) {
        Some(data) => {
            let data = import(data)?;
            let count = config.eval.problems.min(data.examples.len()) as u64;
            Problems::Data(data).training(0..count, 0)?
        }
        None => test_prompts(&Task::new(&config.task)?, 0..config.eval.problems as u64),
    };
    let sampled = Decoding::Sampled { temperature: config.eval.temperature, samples: config.eval.samples };
    let mut rows = Vec::new();
    for decoding in [Decoding::Greedy, sampled] {
        let measured = evaluate(&model, &encoder, prompts.clone(), decoding, config.rollout.max_new_tokens, 0, config.run.seed)?;
        rows.extend(table(&measured));
    }
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?,
        false => print(&rows, out)?,
    }
    Ok(Outcome::Done)
}

/// A row a category; the whole alone where there is only one.
fn table(evaluation: &Evaluation) -> Vec<Row> {
    let categories = if evaluation.categories.len() == 2 { &evaluation.categories[..1] } else { &evaluation.categories[..] };
    categories.iter().map(|category| row(&evaluation.decoding, category)).collect()
}

fn row(decoding: &str, category: &CategoryResult) -> Row {
    let responses = (category.problems() * category.samples).max(1);
    Row {
        decoding: decoding.into(),
        category: category.name.clone(),
        problems: category.problems(),
        samples: category.samples,
        accuracy: average_at_n(&category.correct, category.samples),
        pass_at_n: pass_at_k(&category.correct, category.samples, category.samples),
        format: category.well_formed as f64 / responses as f64,
        perception_errors: category.perception_errors,
        reasoning_errors: category.reasoning_errors,
        both_errors: category.both_errors,
        unreadable: category.unreadable,
    }
}

fn print(rows: &[Row], out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "{:<9} {:<12} {:>8} {:>3}  {:>20}  {:>7} {:>7}  {:>10} {:>9} {:>5} {:>10}",
        "decoding", "category", "problems", "N", "avg@N % [95 %]", "pass@N", "format", "perception", "reasoning", "both", "unreadable"
    )?;
    for row in rows {
        let Estimate { rate, low, high } = row.accuracy;
        let accuracy = format!("{:.1} [{:.1}, {:.1}]", 100.0 * rate, 100.0 * low, 100.0 * high);
        let errors = |count: Option<u64>| count.map_or("-".to_string(), |count| count.to_string());
        writeln!(
            out,
            "{:<9} {:<12} {:>8} {:>3}  {accuracy:>20}  {:>6.1}% {:>6.1}%  {:>10} {:>9} {:>5} {:>10}",
            row.decoding,
            row.category,
            row.problems,
            row.samples,
            100.0 * row.pass_at_n,
            100.0 * row.format,
            errors(row.perception_errors),
            errors(row.reasoning_errors),
            errors(row.both_errors),
            errors(row.unreadable)
        )?;
    }
    Ok(())
}
