//! `percept eval`: how good a model is on problems it has not seen.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use flate2::Crc;
use percept_model::{Model, Precision, atomic};
use serde::Serialize;

use super::arguments::ConfigArgs;
use super::device::open_device_of;
use super::outcome::Outcome;
use super::place;
use super::sources::{Sources, Unseen, read};
use crate::config::{CachePrecision, Config, ConfigError, RolloutConfig, wrapped};
use crate::problems::answer::final_answer;
use crate::problems::data::{Purpose, has_split_to_measure};
use crate::problems::prompts::Encoder;
use crate::problems::reading::Reader;
use crate::problems::tasks::Task;
use crate::records::predictions::{Comparison, Predicted, Prediction, accuracy_by_picture, compare, read_predictions};
use crate::records::run::CategoryResult;
use crate::records::statistics::{Estimate, average_at_n, pass_at_k};
use crate::studies::robustness::{Changed, Robustness, measure};
use crate::training::evaluate::{Decoding, Measuring, category_of, evaluate_among};
use crate::training::group::{Group, Response};
use crate::training::policy::load_encoder;
use crate::training::reduce::Rows;
use crate::training::world::World;

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
    /// Write what the model says to each problem to this file, as JSON lines: question, answer, every response, whether it is right.
    #[arg(long, value_name = "FILE", conflicts_with = "robustness")]
    log_samples: Option<PathBuf>,
    /// Compare two files of `--log-samples`, problem by problem, in place of measuring a model.
    #[arg(long, num_args = 2, value_names = ["FIRST", "SECOND"], conflicts_with_all = ["config", "model", "robustness", "log_samples", "csv"])]
    compare: Option<Vec<PathBuf>>,
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
    /// Half the width of a 95 % interval for which only different pictures are independent; none where no picture has several problems.
    half_by_picture: Option<f64>,
    /// pass@k for k = 1, 2, 4, ... and N.
    pass_at_k: BTreeMap<usize, f64>,
    /// maj@N: share of the problems whose most frequent answer is right.
    majority: f64,
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

/// What was measured, and how: the head of the JSON.
#[derive(Serialize)]
struct Measured<'a> {
    version: &'static str,
    model: String,
    device: String,
    /// Where the problems come from.
    data: String,
    problems: usize,
    seed: u64,
    max_new_tokens: usize,
    kv_cache: CachePrecision,
    instruction: &'a str,
    rows: Vec<Row>,
}

/// Measures greedy and sampled responses and prints a table, or JSON. What was left out of data, and which model it is if that is not a directory of its own, goes to `errors`.
pub(super) fn run(args: &Args, world: &World, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    if let Some(files) = &args.compare {
        return compare_files(&files[0], &files[1], args.json, out);
    }
    let mut config = args.config.load()?;
    if let Some(path) = &args.model {
        config.model.path = path.clone();
    }
    let name = config.model.path.display().to_string();
    let place = place::find(&config.model.path, args.base.as_deref(), errors)?;
    config.model.path = place.base.clone();
    let device = open_device_of(&config.run.device, world)?;
    let mut model = Model::load_from(&place, &device, Precision::AsStored)?;
    let encoder = load_encoder(&config.model)?;
    model.suppress_tokens(encoder.never_said());
    if args.robustness {
        return robustness(args, &config, &model, &encoder, out);
    }
    let is_text = !args.json && !args.csv;
    let reader = Reader { encoder: &encoder, model: model.config(), max_new_tokens: config.rollout.max_new_tokens };
    let unseen = open_unseen(&config, reader, errors)?;
    let prompts = unseen.prompts(config.eval.problems)?;
    let (data, problems) = (unseen.name(), prompts.len());
    if is_text {
        writeln!(out, "model {name} on {device}\n{problems} problems: {data}; seed {}\n", config.run.seed)?;
    }
    let sampled = Decoding::Sampled { temperature: config.eval.temperature, samples: config.eval.samples };
    // the same responses for any number of ranks
    let rows_of = if world.is_launched() { Rows::Alike } else { Rows::Fastest };
    let (mut rows, mut predictions) = (Vec::new(), Vec::new());
    for decoding in [Decoding::Greedy, sampled] {
        let first = predictions.len();
        let note = |number: usize, group: &Group| predictions.push(prediction(&name, decoding, number, group));
        let how = Measuring { decoding, rollout: config.rollout, step: 0, seed: config.run.seed };
        let measured = evaluate_among(world, rows_of, &model, &encoder, prompts.clone(), how, note)?;
        rows.extend(measured.distinct_categories().iter().map(|category| row(&measured.decoding, category, &predictions[first..])));
    }
    if let Some(path) = args.log_samples.as_ref().filter(|_| world.is_first()) {
        let lines: String =
            predictions.iter().map(|prediction| format!("{}\n", serde_json::to_string(prediction).expect("plain data"))).collect();
        atomic::write_file(path, lines.as_bytes())?;
    }
    let (version, RolloutConfig { max_new_tokens, kv_cache, .. }) = (env!("CARGO_PKG_VERSION"), config.rollout);
    match (args.json, args.csv) {
        (true, _) => {
            let (model, device, seed, instruction) = (name, device.to_string(), config.run.seed, config.model.instruction.as_str());
            let measured = Measured { version, model, device, data, problems, seed, max_new_tokens, kv_cache, instruction, rows };
            writeln!(out, "{}", serde_json::to_string_pretty(&measured)?)?;
        }
        (_, true) => print_csv(&rows, out)?,
        _ => print(&rows, out)?,
    }
    if let Some(path) = args.log_samples.as_ref().filter(|_| is_text) {
        writeln!(out, "\nwhat the model said: {}", path.display())?;
    }
    Ok(Outcome::Done)
}

/// The problems that the configuration keeps from training; if there are none, those that it trains on, with a loud word.
fn open_unseen(config: &Config, reader: Reader<'_>, out: &mut dyn Write) -> Result<Unseen> {
    let is_training = match &config.data {
        Some(data) if config.eval.data.is_none() && config.eval.holdout == 0 => !has_split_to_measure(data)?,
        _ => false,
    };
    match (is_training, &config.data) {
        (true, Some(data)) => {
            writeln!(
                out,
                "WARNING: these problems are trained on by this configuration (data.path), so this says little of new ones; eval.data or eval.holdout names others"
            )?;
            Ok(Unseen::Data(read(data, Purpose::Training, reader, out)?, format!("{} (training data)", data.path)))
        }
        _ => Ok(Sources::open(config, reader, out)?.unseen.expect("there are unseen problems unless data are trained on whole")),
    }
}

fn prediction(model: &str, decoding: Decoding, number: usize, group: &Group) -> Prediction {
    let prompt = &group.prompt;
    let mut crc = Crc::new();
    for picture in &prompt.pictures {
        crc.update(&[picture.width(), picture.height()].map(u32::to_le_bytes).concat());
        crc.update(picture.as_raw());
    }
    let said = |response: &Response| Predicted {
        text: response.text.clone(),
        answer: final_answer(&response.text).map(str::to_owned),
        correct: response.reward.accuracy > 0.0,
        well_formed: response.reward.format > 0.0,
        tokens: response.tokens().len(),
        clipped: response.is_clipped(),
    };
    Prediction {
        model: model.into(),
        decoding: decoding.name().into(),
        problem: number as u64,
        row: prompt.place.as_ref().map(ToString::to_string),
        category: prompt.problem.as_ref().map(category_of),
        pictures: crc.sum(),
        question: prompt.text.clone(),
        answer: prompt.answer.clone(),
        responses: group.responses.iter().map(said).collect(),
    }
}

/// Two models on the same problems, from what they said.
fn compare_files(first: &Path, second: &Path, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    let of = |problem: String| ConfigError::Range { origin: format!("{} and {}", first.display(), second.display()), problem };
    let comparisons = compare(&read_predictions(first)?, &read_predictions(second)?).map_err(of)?;
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&comparisons)?)?;
        return Ok(Outcome::Done);
    }
    writeln!(out, "first   {}\nsecond  {}\n", first.display(), second.display())?;
    writeln!(
        out,
        "{:<8} {:>8} {:>7} {:>7}  {:>19}  {:>6} {:>6}  {:>6}",
        "decoding", "problems", "first", "second", "difference [95 %]", "better", "worse", "p"
    )?;
    for Comparison { decoding, problems, accuracy: [a, b], difference, better_and_worse: [better, worse], p_value } in &comparisons {
        let points = format!("{:+.1} [{:+.1}, {:+.1}]", 100.0 * difference.mean, 100.0 * difference.low(), 100.0 * difference.high());
        let (a, b) = (100.0 * a, 100.0 * b);
        writeln!(out, "{decoding:<8} {problems:>8} {a:>6.1}% {b:>6.1}%  {points:>19}  {better:>6} {worse:>6}  {p_value:>6.3}")?;
    }
    writeln!(
        out,
        "\nBetter, worse: problems of which the second got more, or fewer, responses right. Only different pictures count as independent."
    )?;
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
    let measured = measure(model, encoder, &Task::new(&config.task)?, config.eval.problems as u64, &config.rollout)?;
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
    let about = format!(
        "{} problems, one greedy response each; per cent right [95 %], and in parentheses with the same answer as on the original picture",
        measured.problems
    );
    writeln!(out, "{}", wrapped("", "", &about))?;
    writeln!(out, "{:<16} {:>20}", "clean", rate(measured.clean.correct))?;
    writeln!(out, "{:<16} {:>20} {:>20} {:>20}", "change", "strength 1", "2", "3")?;
    for name in measured.change_names() {
        let cell = |strength| {
            let row = measured.at(name, strength).expect("every change has all strengths");
            let Estimate { rate, low, high } = measured.accuracy(row.correct);
            let same = 100.0 * row.consistent as f64 / measured.problems as f64;
            format!("{:.1} [{:.0}, {:.0}] ({same:.0})", 100.0 * rate, 100.0 * low, 100.0 * high)
        };
        writeln!(out, "{:<16} {:>20} {:>20} {:>20}", name.replace('_', " "), cell(1), cell(2), cell(3))?;
    }
    let (mean, consistency) = (100.0 * measured.robust_accuracy(), 100.0 * measured.consistency());
    writeln!(out, "{:<16} {mean:.1} right, {consistency:.1} with the same answer\n", "mean")?;
    writeln!(out, "{:<16} {:>20} {:>9} {:>22}", "picture", "right %", "sure %", "entropy of what is seen")?;
    for row in &measured.removed {
        let sure = 100.0 * row.sure as f64 / row.readable.max(1) as f64;
        writeln!(out, "{:<16} {:>20} {sure:>9.1} {:>17.2} nats", row.name, rate(row.correct), row.entropy)?;
    }
    let about = format!(
        "Always the most frequent answer: {:.1} % right. Sure: sampling, the model would name the same things with a probability above one half.",
        100.0 * measured.chance
    );
    write!(out, "\n{}", wrapped("", "", &about))?;
    Ok(())
}

/// One row per category.
fn row(decoding: &str, category: &CategoryResult, predictions: &[Prediction]) -> Row {
    let responses = (category.problems() * category.samples).max(1);
    let of_category = |prediction: &&Prediction| category.name == "all" || prediction.category.as_deref() == Some(category.name.as_str());
    let predictions: Vec<&Prediction> = predictions.iter().filter(of_category).collect();
    let by_picture = accuracy_by_picture(&predictions);
    let right = predictions.iter().filter(|prediction| prediction.majority_is_right()).count();
    Row {
        decoding: decoding.into(),
        category: category.name.clone(),
        problems: category.problems(),
        samples: category.samples,
        accuracy: average_at_n(&category.correct, category.samples),
        half_by_picture: (by_picture.count < predictions.len()).then_some(by_picture.half),
        majority: right as f64 / predictions.len().max(1) as f64,
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
    writeln!(
        out,
        "decoding,category,problems,samples,accuracy,accuracy_low,accuracy_high,{},majority,format,sound,{errors}",
        pass.join(",")
    )?;
    for row in rows {
        let Estimate { rate, low, high } = row.accuracy;
        // a cell is empty where there is nothing to tell
        let pass: Vec<String> = ks(most).map(|k| row.pass_at_k.get(&k).map_or(String::new(), f64::to_string)).collect();
        let errors = [row.perception_errors, row.reasoning_errors, row.both_errors, row.unreadable];
        let errors = errors.map(|count| count.map_or(String::new(), |count| count.to_string())).join(",");
        let sound = row.sound.map_or(String::new(), |share| share.to_string());
        let Row { decoding, category, problems, samples, majority, format, .. } = row;
        writeln!(
            out,
            "{decoding},{category},{problems},{samples},{rate},{low},{high},{},{majority},{format},{sound},{errors}",
            pass.join(",")
        )?;
    }
    Ok(())
}

/// Two tables, each within 80 columns: how good, and what went wrong where that is known.
fn print(rows: &[Row], out: &mut dyn Write) -> Result<()> {
    let per_cent = |share: f64| format!("{:.1}%", 100.0 * share);
    writeln!(
        out,
        "{:<8} {:<12} {:>8} {:>3}  {:>19}  {:>7} {:>6} {:>7}",
        "decoding", "category", "problems", "N", "avg@N % [95 %]", "pass@N", "maj@N", "format"
    )?;
    for row in rows {
        let Estimate { rate, low, high } = row.accuracy;
        let accuracy = format!("{:.1} [{:.1}, {:.1}]", 100.0 * rate, 100.0 * low, 100.0 * high);
        let (pass, majority, format) = (per_cent(row.pass_at_k[&row.samples]), per_cent(row.majority), per_cent(row.format));
        let Row { decoding, category, problems, samples, .. } = row;
        writeln!(out, "{decoding:<8} {category:<12} {problems:>8} {samples:>3}  {accuracy:>19}  {pass:>7} {majority:>6} {format:>7}")?;
    }
    for row in rows.iter().filter(|row| row.category == "all") {
        if let Some(half) = row.half_by_picture {
            writeln!(out, "{}: ± {:.1} points where only different pictures count as independent", row.decoding, 100.0 * half)?;
        }
    }
    if rows.iter().all(|row| row.sound.is_none()) {
        return Ok(());
    }
    let about = "Wrong responses by what went wrong; sound: share of the readable ones that conclude rightly from what they say they see";
    write!(out, "\n{}", wrapped("", "", about))?;
    writeln!(
        out,
        "{:<8} {:<12} {:>10} {:>10} {:>6} {:>11} {:>8}",
        "decoding", "category", "perception", "reasoning", "both", "unreadable", "sound"
    )?;
    for row in rows {
        let errors = |count: Option<u64>| count.map_or("-".to_string(), |count| count.to_string());
        let [perception, reasoning, both, unreadable] =
            [row.perception_errors, row.reasoning_errors, row.both_errors, row.unreadable].map(errors);
        let sound = row.sound.map_or("-".to_string(), per_cent);
        let Row { decoding, category, .. } = row;
        writeln!(out, "{decoding:<8} {category:<12} {perception:>10} {reasoning:>10} {both:>6} {unreadable:>11} {sound:>8}")?;
    }
    Ok(())
}
