//! `percept inspect`: what a model sees in each token of a response.

use std::io::{IsTerminal, Write, stdout};
use std::path::PathBuf;

use anyhow::Result;
use percept_model::image;
use percept_model::{Model, Precision, atomic};

use super::arguments::ConfigArgs;
use super::device::open_device;
use super::outcome::Outcome;
use super::place;
use crate::config::{Config, wrapped};
use crate::methods::selection::Selection;
use crate::problems::data::DataConfig;
use crate::problems::prompts::Prompt;
use crate::studies::inspect::detectors::{DetectorReport, DetectorRow, evaluate};
use crate::studies::inspect::{self, ResponseSource, Style, own_question, test_problems};
use crate::terminal::Shown;
use crate::training::policy::load_encoder;

/// Arguments of `percept inspect`.
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
    /// The first problem, counted from 0: of the task's test split, or of the configured data.
    #[arg(long, value_name = "N", default_value_t = 0)]
    problem: u64,
    /// How many problems. Default: 1, with --evaluate 500.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    problems: Option<u64>,
    /// A picture of your own (PNG, JPEG, WebP, GIF, BMP, TIFF) in place of a problem's.
    #[arg(long, value_name = "FILE", requires = "prompt", conflicts_with_all = ["problem", "problems", "evaluate", "reference"])]
    image: Option<PathBuf>,
    /// The question about it.
    #[arg(long, value_name = "TEXT", requires = "image", allow_hyphen_values = true)]
    prompt: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    /// Measure instead how well each detector finds the tokens that truly name something seen: precision and recall of the configured
    /// selection, and AUC of its score, for each information-removing perturbation. Malformed responses are left out and counted.
    #[arg(long, conflicts_with = "html")]
    evaluate: bool,
    /// Also write a page with the three views, the coloured response and all numbers.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Colours and small pictures, or a plain table. By default colours on a terminal, if NO_COLOR is not set.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = ColorArg::Auto)]
    color: ColorArg,
}

/// Where the response comes from. By default it is sampled as in training: `rollout.temperature`, `run.seed`.
#[derive(clap::Args)]
#[group(multiple = false)]
struct SourceArgs {
    /// Take the most likely token each time, in place of sampling as in training.
    #[arg(long)]
    greedy: bool,
    /// Take the task's reference response.
    #[arg(long)]
    reference: bool,
    /// Take this response.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    response: Option<String>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ColorArg {
    Auto,
    Always,
    Never,
}

/// Inspections or a table of detectors go to `terminal`, which may get colours, the device to `errors`.
pub(super) fn run(args: &Args, terminal: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    let mut config = args.config.load()?;
    if let Some(path) = &args.model {
        config.model.path = path.clone();
    }
    let place = place::find(&config.model.path, args.base.as_deref(), errors)?;
    config.model.path = place.base.clone();
    let source = args.source.source();
    let prompts = prompts(args, &config)?;
    let encoder = load_encoder(&config.model)?;
    let device = open_device(&config.run.device)?;
    writeln!(errors, "on {device}")?;
    let mut model = Model::load_from(&place, &device, Precision::AsStored)?;
    model.suppress_tokens(encoder.never_said());
    if args.evaluate {
        let out = &mut Shown::new(terminal);
        let report = evaluate(&model, &encoder, prompts, &source, &config)?;
        match args.json {
            true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
            false => print_detectors(&report, out)?,
        }
        return Ok(Outcome::Done);
    }
    let inspections = inspect::inspect(&model, &encoder, prompts, &source, &config)?;
    match (args.json, args.color.style()) {
        (true, _) => writeln!(Shown::new(terminal), "{}", serde_json::to_string_pretty(&inspections)?)?,
        // what it draws is its own; what it quotes, it shows
        (false, Style::Colour) => inspect::print(&inspections, Style::Colour, terminal)?,
        (false, Style::Plain) => inspect::print(&inspections, Style::Plain, &mut Shown::new(terminal))?,
    }
    if let Some(path) = &args.html {
        atomic::write_file(path, inspect::page(&inspections, &about(args, &config)).as_bytes())?;
        writeln!(errors, "page: {}", path.display())?;
    }
    Ok(Outcome::Done)
}

fn prompts(args: &Args, config: &Config) -> Result<Vec<Prompt>> {
    match (&args.image, &args.prompt) {
        (Some(path), Some(text)) => {
            let decoding = config.eval.data.as_ref().or(config.data.as_ref()).map(DataConfig::decoding).unwrap_or_default();
            Ok(vec![own_question(image::open_with(path, decoding)?, text)])
        }
        _ => {
            let count = args.problems.unwrap_or(if args.evaluate { 500 } else { 1 });
            Ok(test_problems(config, args.problem, count)?)
        }
    }
}

impl SourceArgs {
    fn source(&self) -> ResponseSource {
        match (self.greedy, self.reference, &self.response) {
            (true, ..) => ResponseSource::Greedy,
            (_, true, _) => ResponseSource::Reference,
            (.., Some(text)) => ResponseSource::Given(text.clone()),
            _ => ResponseSource::Sampled,
        }
    }
}

impl ColorArg {
    fn style(self) -> Style {
        let no_color = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        match self {
            ColorArg::Always => Style::Colour,
            ColorArg::Auto if stdout().is_terminal() && !no_color() => Style::Colour,
            ColorArg::Auto | ColorArg::Never => Style::Plain,
        }
    }
}

/// What was inspected, for the head of the page.
fn about(args: &Args, config: &Config) -> Vec<(&'static str, String)> {
    let problems = match (&args.image, &config.data) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(data)) => data.path.to_string(),
        (None, None) => {
            let families: Vec<&str> = config.task.families.iter().map(|family| family.name()).collect();
            format!("{}, level {}, test split", families.join(" and "), config.task.level)
        }
    };
    let response = match args.source.source() {
        ResponseSource::Sampled => format!("sampled at temperature {}, seed {}", config.rollout.temperature, config.run.seed),
        ResponseSource::Greedy => "greedy".into(),
        ResponseSource::Reference => "reference".into(),
        ResponseSource::Given(_) => "given".into(),
    };
    let selection = config.method.selection();
    let floor = if selection.min_delta_entropy > 0.0 { format!(", above {}", selection.min_delta_entropy) } else { String::new() };
    let share = format!("{}, ρ = {}{floor}", selection.detector.name(), selection.perception_fraction);
    let chosen = match selection.selection {
        Selection::Floor | Selection::Ceil => share,
        Selection::All => "nothing: all tokens".into(),
        Selection::Random => format!("chance, as many as {share}"),
    };
    vec![("Model", config.model.path.display().to_string()), ("Problems", problems), ("Response", response), ("Chosen by", chosen)]
}

/// How well scores rank tokens, then what is chosen by them above each floor. No line is longer than 80 columns.
fn print_detectors(report: &DetectorReport, out: &mut dyn Write) -> Result<()> {
    let share = |tokens: usize| 100.0 * tokens as f64 / report.tokens.max(1) as f64;
    let about = format!(
        "{} responses, {} malformed ones left out; {} tokens, {:.1} % of them truly name something seen",
        report.problems,
        report.malformed,
        report.tokens,
        share(report.perception_tokens)
    );
    write!(out, "{}", wrapped("", "", &about))?;
    let names = |row: &DetectorRow| format!("{:<14} {:<18}", row.removing.map_or("as in training", |how| how.name()), row.detector.name());
    let heads = format!("{:<14} {:<18}", "removed by", "detector");
    writeln!(out, "\n{heads} {:>11} {:>8} {:>6} {:>6} {:>10}", "shift: seen", "others", "AUC", "AP", "at equal %")?;
    for of_detector in report.rows.chunk_by(|a, b| (a.removing, a.detector) == (b.removing, b.detector)) {
        let DetectorRow { shift_of_perception, shift_of_others, detection, .. } = &of_detector[0];
        let equal = 100.0 * detection.precision_at_equal;
        let (auc, precision) = (detection.auc, detection.average_precision);
        let named = names(&of_detector[0]);
        writeln!(out, "{named} {shift_of_perception:>+11.3} {shift_of_others:>+8.3} {auc:>6.3} {precision:>6.3} {equal:>10.1}")?;
    }
    writeln!(out, "\n{heads} {:>7} {:>11} {:>8} {:>8}", "floor", "precision %", "recall %", "chosen %")?;
    for row in &report.rows {
        let (precision, recall, chosen) = (100.0 * row.detection.precision, 100.0 * row.detection.recall, share(row.detection.chosen));
        writeln!(out, "{} {:>7} {precision:>11.1} {recall:>8.1} {chosen:>8.1}", names(row), row.min_delta_entropy)?;
    }
    let about = "shift and floor in nats; AUC of the score: 0.5 is chance; AP: average precision; at equal: precision, and recall, if as many tokens are chosen by \
                 score as truly name something; chosen: share of all tokens";
    write!(out, "\n{}", wrapped("", "", about))?;
    Ok(())
}
