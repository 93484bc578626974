//! `percept data`: problems are made, imported and looked at.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;
use serde_json::json;

use super::arguments::ConfigArgs;
use super::outcome::Outcome;
use crate::config::{Config, ModelConfig, Settings};
use crate::error::TrainError;
use crate::problems::data::{DataConfig, Dataset, Purpose, import, import_for, write_examples, write_problems};
use crate::problems::reading::Reader;
use crate::problems::tasks::{Split, Task};
use crate::problems::views::contact_sheet::write_contact_sheet;
use crate::problems::views::{ViewsConfig, draw_views};
use crate::training::policy::load_encoder;

/// Subcommands of `percept data`.
#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// Draw problems of the configured task and write them as JSONL with pictures, for any trainer.
    Make(MakeArgs),
    /// Read a JSONL or parquet data set (or a folder of them), say which rows are bad, and write the others as JSONL with pictures.
    Import(ImportArgs),
    /// Print problems, and write a sheet of their pictures, with --views beside their perturbed versions.
    Show(ShowArgs),
}

/// Arguments of `percept data make`.
#[derive(clap::Args)]
pub(super) struct MakeArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Folder to write to: data.jsonl and images/.
    #[arg(long)]
    to: PathBuf,
    /// Write into a folder that is not empty.
    #[arg(long)]
    force: bool,
    /// How many problems.
    #[arg(long, default_value_t = 1000)]
    problems: u64,
    /// Which problems: those that are trained on or those that are measured on.
    #[arg(long, value_enum, default_value_t = SplitArg::Train)]
    split: SplitArg,
}

/// Arguments of `percept data import`.
#[derive(clap::Args)]
pub(super) struct ImportArgs {
    /// .jsonl or .parquet files, folders of such files, or patterns. Of a folder whose files tell splits by name, `train` is read; `--set
    /// data.split=test` chooses another.
    #[arg(required = true)]
    path: Vec<PathBuf>,
    /// Folder to write to: data.jsonl and images/. Without it the data are only checked.
    #[arg(long)]
    to: Option<PathBuf>,
    /// Write into a folder that is not empty.
    #[arg(long, requires = "to")]
    force: bool,
    /// Override a field: `--set data.on_bad_row=refuse`, `--set data.answer_column=label`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Check the problems with the tokenizer and the context of this model, too: a prompt that leaves no room for `rollout.max_new_tokens` is bad.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of `percept data show`.
#[derive(clap::Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// The PNG file to write.
    #[arg(long, default_value = "sheet.png")]
    to: PathBuf,
    /// How many problems.
    #[arg(long, default_value_t = 8)]
    problems: u64,
    /// Which problems of a task, or of data whose files tell splits by name.
    #[arg(long, value_enum, default_value_t = SplitArg::Train)]
    split: SplitArg,
    /// A row of the sheet is the picture, its information-preserving view and its information-removing view.
    #[arg(long)]
    views: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SplitArg {
    Train,
    Test,
}

impl From<SplitArg> for Split {
    fn from(split: SplitArg) -> Split {
        match split {
            SplitArg::Train => Split::Train,
            SplitArg::Test => Split::Test,
        }
    }
}

/// Data that cannot be used end with exit code 2.
pub(super) fn run(command: &Command, out: &mut dyn Write) -> Result<Outcome> {
    match command {
        Command::Make(args) => make(args, out),
        Command::Import(args) => import_data(args, out),
        Command::Show(args) => show(args, out),
    }
}

fn make(args: &MakeArgs, out: &mut dyn Write) -> Result<Outcome> {
    let config = args.config.load()?;
    check_empty(&args.to, args.force)?;
    let problems = Task::new(&config.task)?.problems(args.split.into(), 0..args.problems);
    write_problems(&args.to, &problems)?;
    writeln!(out, "{} problems in {}", problems.len(), args.to.display())?;
    Ok(Outcome::Done)
}

fn import_data(args: &ImportArgs, out: &mut dyn Write) -> Result<Outcome> {
    args.to.iter().try_for_each(|folder| check_empty(folder, args.force))?;
    let config = Config::parse("", "defaults", &args.overrides)?;
    let data = DataConfig { path: args.path.clone().into(), ..config.data.unwrap_or_default() };
    let mut dataset = import(&data)?;
    if let Some(path) = &args.model {
        let encoder = load_encoder(&ModelConfig { path: path.clone(), ..config.model })?;
        let reader = Reader { encoder: &encoder, model: &encoder.files().config, max_new_tokens: config.rollout.max_new_tokens };
        dataset = reader.keep_readable(dataset, &data)?;
    }
    if let Some(folder) = &args.to {
        write_examples(folder, &dataset.examples)?;
    }
    if args.json {
        let bad: Vec<_> =
            dataset.bad_rows.iter().map(|bad| json!({ "path": bad.place.path, "row": bad.place.row, "reason": bad.reason })).collect();
        writeln!(out, "{}", json!({ "problems": dataset.examples.len(), "bad_rows": bad, "notes": dataset.notes, "folder": args.to }))?;
        return Ok(Outcome::Done);
    }
    print_dataset(&dataset, out)?;
    if let Some(folder) = &args.to {
        writeln!(out, "written to {}", folder.display())?;
    }
    Ok(Outcome::Done)
}

/// Nothing is written over without being asked for.
fn check_empty(folder: &Path, force: bool) -> Result<(), TrainError> {
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if is_empty || force {
        return Ok(());
    }
    Err(TrainError::Unsupported(format!("--to {}: not empty; --force writes into it", folder.display())))
}

/// Says what was left out of data, and what was chosen in reading.
pub(super) fn report(config: &DataConfig, dataset: &Dataset, out: &mut dyn Write) -> Result<()> {
    if dataset.bad_rows.is_empty() {
        return print_notes(dataset, out);
    }
    write!(out, "{}: ", config.path)?;
    print_dataset(dataset, out)
}

fn print_notes(dataset: &Dataset, out: &mut dyn Write) -> Result<()> {
    dataset.notes.iter().try_for_each(|note| writeln!(out, "{note}"))?;
    Ok(())
}

fn print_dataset(dataset: &Dataset, out: &mut dyn Write) -> Result<()> {
    const SHOWN: usize = 10;
    let Dataset { examples, bad_rows, .. } = dataset;
    writeln!(out, "{} problems, {} bad rows left out", examples.len(), bad_rows.len())?;
    print_notes(dataset, out)?;
    for bad in bad_rows.iter().take(SHOWN) {
        writeln!(out, "  {bad}")?;
    }
    if bad_rows.len() > SHOWN {
        writeln!(out, "  … and {} more (`percept data import --json` names them all)", bad_rows.len() - SHOWN)?;
    }
    Ok(())
}

fn show(args: &ShowArgs, out: &mut dyn Write) -> Result<Outcome> {
    let config = args.config.load()?;
    let shown = problems(args, &config, out)?;
    let rows: Vec<Vec<RgbImage>> = shown
        .iter()
        .enumerate()
        .map(|(number, shown)| with_views(&shown.picture, args, &config.views, config.run.seed, number as u64))
        .collect();
    for (number, Shown { text, answer, reference, .. }) in shown.iter().enumerate() {
        writeln!(out, "{}. {text}", number + 1)?;
        writeln!(out, "   answer {answer}{}", reference.as_ref().map(|text| format!("  {text}")).unwrap_or_default())?;
    }
    let pictures: Vec<Vec<&RgbImage>> = rows.iter().map(|row| row.iter().collect()).collect();
    let widest = shown.iter().map(|shown| shown.picture.width()).max().context("nothing to show: --problems is 0")?;
    // small pictures are enlarged to about 192 pixels
    write_contact_sheet(&args.to, &pictures, (192 / widest).max(1)).with_context(|| args.to.display().to_string())?;
    writeln!(out, "pictures in {}", args.to.display())?;
    Ok(Outcome::Done)
}

/// What is printed of a problem.
struct Shown {
    picture: RgbImage,
    text: String,
    answer: String,
    reference: Option<String>,
}

/// The first problems of the data, if there are any, else of the task.
fn problems(args: &ShowArgs, config: &Config, out: &mut dyn Write) -> Result<Vec<Shown>> {
    let Some(data) = &config.data else {
        let drawn = Task::new(&config.task)?.problems(args.split.into(), 0..args.problems);
        return Ok(drawn
            .into_iter()
            .map(|p| Shown { reference: Some(p.reference_text()), picture: p.picture, text: p.text, answer: p.answer })
            .collect());
    };
    let purpose = match args.split {
        SplitArg::Train => Purpose::Training,
        SplitArg::Test => Purpose::Measuring,
    };
    let dataset = import_for(data, purpose)?;
    report(data, &dataset, out)?;
    let examples = dataset.examples;
    let shown = examples.iter().take(args.problems as usize).map(|example| {
        let picture = example.pictures()?.swap_remove(0);
        Ok(Shown { picture, text: example.problem.clone(), answer: example.answer.clone(), reference: None })
    });
    shown.collect()
}

fn with_views(picture: &RgbImage, args: &ShowArgs, config: &ViewsConfig, seed: u64, prompt: u64) -> Vec<RgbImage> {
    let mut row = vec![picture.clone()];
    if args.views {
        let views = draw_views(picture, config, seed, prompt, 0);
        row.extend([views.preserved, views.removed]);
    }
    row
}
