//! `percept eval`: how good a model is on problems it has not seen.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use percept_model::{Model, Precision};
use serde::Serialize;

use super::arguments::ConfigArgs;
use super::device::open_device;
use super::outcome::Outcome;
use super::place;
use crate::config::{Config, ConfigError};
use crate::problems::data::import;
use crate::problems::prompts::{Encoder, Problems, Prompt, test_prompts};
use crate::problems::tasks::Task;
use crate::records::run::{CategoryResult, Evaluation};
use crate::records::statistics::{Estimate, average_at_n, pass_at_k};
use crate::studies::robustness::{Changed, Robustness, measure};
use crate::training::evaluate::{Decoding, evaluate};
use crate::training::policy::load_encoder;

/// Arguments of `percept eval`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The model: a Hugging Face directory, a run (its best checkpoint, else the last), or the directory of a PEFT adapter. Default: the configuration's `model.path`.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// The model on which the adapter was trained. Default: what `adapter_config.json` says.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// Measure on changed pictures, by kind and strength, and without the information, in place of the plain evaluation. One greedy response to each of `eval.problems` pictures.
    #[arg(long)]
    robustness: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Print comma-separated values.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
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
    /// pass@k for k = 1, 2, 4, ... and N.
    pass_at_k: BTreeMap<usize, f64>,
    /// Share of the responses of the right form.
    format: f64,
    /// Share of the readable responses whose reasoning is sound: not wrong beyond what was seen wrongly.
    sound: Option<f64>,
    /// Responses that name something else than there is, and then conclude rightly from it. Known for drawn problems only, as what follows.
    perception_errors: Option<u64>,
    /// Responses that name what there is, and then conclude wrongly.
    reasoning_errors: Option<u64>,
    both_errors: Option<u64>,
    unreadable: Option<u64>,
}

/// Measures greedy and sampled responses and prints a table, or JSON. Which model that is, if it is not a directory of its own, is said on `errors`.
pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    let mut config = args.config.load()?;
    if let Some(path) = &args.model {
        config.model.path = path.clone();
    }
    let place = place::find(&config.model.path, args.base.as_deref(), errors)?;
    config.model.path = place.base.clone();
    let device = open_device(&config.run.device)?;
    let model = Model::load_from(&place, &device, Precision::AsStored)?;
    let encoder = load_encoder(&config.model)?;
    if args.robustness {
        return robustness(args, &config, &model, &encoder, out);
    }
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
    match (args.json, args.csv) {
        (true, _) => writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?,
        (_, true) => print_csv(&rows, out)?,
        _ => print(&rows, out)?,
    }
    Ok(Outcome::Done)
}

/// Accuracy by change and strength, and what the model says without the information.
fn robustness(args: &Args, config: &Config, model: &Model, encoder: &Encoder, out: &mut dyn Write) -> Result<Outcome> {
    let of_problem = |problem: &str| ConfigError::Range { origin: "--robustness".into(), problem: problem.into() };
    if config.eval.data.is_some() || config.data.is_some() {
        return Err(of_problem("expected a task, got data: the right answers after a change are known for drawn problems").into());
    }
    if config.eval.problems < 2 {
        return Err(of_problem(&format!("eval.problems: expected at least 2, got {}", config.eval.problems)).into());
    }
    let measured = measure(model, encoder, &Task::new(&config.task)?, config.eval.problems as u64, config.rollout.max_new_tokens)?;
    match (args.json, args.csv) {
        (true, _) => writeln!(out, "{}", serde_json::to_string_pretty(&measured)?)?,
        (_, true) => print_changes_csv(&measured, out)?,
        _ => print_robustness(&measured, out)?,
    }
    Ok(Outcome::Done)
}

fn print_changes_csv(measured: &Robustness, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "change,strength,problems,correct,consistent,perception_errors,other_errors")?;
    for row in std::iter::once(&measured.clean).chain(&measured.changed) {
        let Changed { name, strength, correct, consistent, perception_errors, other_errors } = row;
        writeln!(out, "{name},{strength},{},{correct},{consistent},{perception_errors},{other_errors}", measured.problems)?;
    }
    Ok(())
}

fn print_robustness(measured: &Robustness, out: &mut dyn Write) -> Result<()> {
    let rate = |count: u64| {
        let Estimate { rate, low, high } = measured.accuracy(count);
        format!("{:.1} [{:.1}, {:.1}]", 100.0 * rate, 100.0 * low, 100.0 * high)
    };
    writeln!(
        out,
        "{} problems, one greedy response each; per cent right [95 %], and in parentheses with the same answer as on the original picture\n",
        measured.problems
    )?;
    writeln!(out, "{:<16} {:>20}", "clean", rate(measured.clean.correct))?;
    writeln!(out, "{:<16} {:>30} {:>30} {:>30}", "change", "strength 1", "2", "3")?;
    for name in measured.change_names() {
        let cell = |strength| {
            let row = measured.at(name, strength).expect("every change has all strengths");
            format!("{} ({:.0})", rate(row.correct), 100.0 * row.consistent as f64 / measured.problems as f64)
        };
        writeln!(out, "{:<16} {:>30} {:>30} {:>30}", name.replace('_', " "), cell(1), cell(2), cell(3))?;
    }
    let (mean, consistency) = (100.0 * measured.robust_accuracy(), 100.0 * measured.consistency());
    writeln!(out, "{:<16} {mean:.1} right, {consistency:.1} with the same answer\n", "mean")?;
    writeln!(out, "{:<16} {:>20} {:>9} {:>22}", "picture", "right %", "sure %", "entropy of what is seen")?;
    for row in &measured.removed {
        let sure = 100.0 * row.sure as f64 / row.readable.max(1) as f64;
        writeln!(out, "{:<16} {:>20} {sure:>9.1} {:>17.2} nats", row.name, rate(row.correct), row.entropy)?;
    }
    writeln!(
        out,
        "\nAlways the most frequent answer: {:.1} % right. Sure: sampling, the model would name the same things with a probability above one half.",
        100.0 * measured.chance
    )?;
    Ok(())
}

/// One row per category.
fn table(evaluation: &Evaluation) -> Vec<Row> {
    evaluation.distinct_categories().iter().map(|category| row(&evaluation.decoding, category)).collect()
}

fn row(decoding: &str, category: &CategoryResult) -> Row {
    let responses = (category.problems() * category.samples).max(1);
    Row {
        decoding: decoding.into(),
        category: category.name.clone(),
        problems: category.problems(),
        samples: category.samples,
        accuracy: average_at_n(&category.correct, category.samples),
        pass_at_k: ks(category.samples).map(|k| (k, pass_at_k(&category.correct, category.samples, k))).collect(),
        format: category.well_formed as f64 / responses as f64,
        sound: sound(category, responses as f64),
        perception_errors: category.perception_errors,
        reasoning_errors: category.reasoning_errors,
        both_errors: category.both_errors,
        unreadable: category.unreadable,
    }
}

fn sound(category: &CategoryResult, responses: f64) -> Option<f64> {
    let unsound = (category.reasoning_errors? + category.both_errors?) as f64;
    Some(1.0 - unsound / (responses - category.unreadable? as f64).max(1.0))
}

/// 1, 2, 4, ... below `samples`, and `samples`.
fn ks(samples: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(1), |k| Some(2 * k)).take_while(move |&k| k < samples).chain([samples])
}

fn print_csv(rows: &[Row], out: &mut dyn Write) -> Result<()> {
    let most = rows.iter().map(|row| row.samples).max().unwrap_or(1);
    let pass: Vec<String> = ks(most).map(|k| format!("pass@{k}")).collect();
    let errors = "perception_errors,reasoning_errors,both_errors,unreadable";
    writeln!(out, "decoding,category,problems,samples,accuracy,accuracy_low,accuracy_high,{},format,sound,{errors}", pass.join(","))?;
    for row in rows {
        let Estimate { rate, low, high } = row.accuracy;
        // a cell is empty where there is nothing to tell
        let pass: Vec<String> = ks(most).map(|k| row.pass_at_k.get(&k).map_or(String::new(), f64::to_string)).collect();
        let errors = [row.perception_errors, row.reasoning_errors, row.both_errors, row.unreadable];
        let errors = errors.map(|count| count.map_or(String::new(), |count| count.to_string())).join(",");
        let sound = row.sound.map_or(String::new(), |share| share.to_string());
        let Row { decoding, category, problems, samples, format, .. } = row;
        writeln!(out, "{decoding},{category},{problems},{samples},{rate},{low},{high},{},{format},{sound},{errors}", pass.join(","))?;
    }
    Ok(())
}

fn print(rows: &[Row], out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "{:<9} {:<12} {:>8} {:>3}  {:>20}  {:>7} {:>7} {:>7}  {:>10} {:>9} {:>5} {:>10}",
        "decoding",
        "category",
        "problems",
        "N",
        "avg@N % [95 %]",
        "pass@N",
        "format",
        "sound",
        "perception",
        "reasoning",
        "both",
        "unreadable"
    )?;
    for row in rows {
        let Estimate { rate, low, high } = row.accuracy;
        let accuracy = format!("{:.1} [{:.1}, {:.1}]", 100.0 * rate, 100.0 * low, 100.0 * high);
        let errors = |count: Option<u64>| count.map_or("-".to_string(), |count| count.to_string());
        writeln!(
            out,
            "{:<9} {:<12} {:>8} {:>3}  {accuracy:>20}  {:>6.1}% {:>6.1}% {:>7}  {:>10} {:>9} {:>5} {:>10}",
            row.decoding,
            row.category,
            row.problems,
            row.samples,
            100.0 * row.pass_at_k[&row.samples],
            100.0 * row.format,
            row.sound.map_or("-".to_string(), |share| format!("{:.1}%", 100.0 * share)),
            errors(row.perception_errors),
            errors(row.reasoning_errors),
            errors(row.both_errors),
            errors(row.unreadable)
        )?;
    }
    Ok(())
}
