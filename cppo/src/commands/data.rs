//! `percept data`: problems are made, imported and looked at.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;
use serde_json::json;

use super::arguments::ConfigArgs;
use super::outcome::Outcome;
use super::words::counted;
use crate::config::{Config, ModelConfig, Settings};
use crate::error::TrainError;
use crate::problems::data::{DataConfig, Dataset, Purpose, import, import_for, write_examples, write_problems};
use crate::problems::reading::Reader;
use crate::problems::tasks::{Split, Task};
use crate::problems::views::contact_sheet::{Tile, write_contact_sheet};
use crate::problems::views::draw_prompt_views;
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
    writeln!(out, "{} in {}", counted(problems.len(), "problem"), args.to.display())?;
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
    writeln!(out, "{}, {} left out", counted(examples.len(), "problem"), counted(bad_rows.len(), "bad row"))?;
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
    for (number, Shown { text, answer, reference, .. }) in shown.iter().enumerate() {
        writeln!(out, "{}. {text}", number + 1)?;
        writeln!(out, "   answer {answer}{}", reference.as_ref().map(|text| format!("  {text}")).unwrap_or_default())?;
    }
    let rows: Vec<Vec<(String, RgbImage)>> = match args.views {
        true => (0..).zip(&shown).flat_map(|(number, shown)| with_views(number, shown, &config)).collect(),
        false => (0..).zip(&shown).map(|(number, shown)| named(number, shown).collect()).collect(),
    };
    let tile = |(caption, picture)| Tile { caption: String::clone(caption), picture };
    let tiles: Vec<Vec<Tile<'_>>> = rows.iter().map(|row| row.iter().map(|(name, picture)| tile((name, picture))).collect()).collect();
    let widest = tiles.iter().flatten().map(|tile| tile.picture.width()).max().context("nothing to show: --problems is 0")?;
    // small pictures are enlarged to about 192 pixels
    write_contact_sheet(&args.to, &tiles, (192 / widest).max(1)).with_context(|| args.to.display().to_string())?;
    writeln!(out, "pictures in {}", args.to.display())?;
    Ok(Outcome::Done)
}

/// The pictures of a problem with its number and, if they are several, theirs.
fn named(number: u64, shown: &Shown) -> impl Iterator<Item = (String, RgbImage)> {
    let of_several = shown.pictures.len() > 1;
    let name = move |at: usize| if of_several { format!("{}.{}", number + 1, at + 1) } else { format!("{}", number + 1) };
    shown.pictures.iter().enumerate().map(move |(at, picture)| (name(at), picture.clone()))
}

/// A row for each picture of a problem: it and its views, by name.
fn with_views(number: u64, shown: &Shown, config: &Config) -> Vec<Vec<(String, RgbImage)>> {
    let views = draw_prompt_views(&shown.pictures, &config.views, config.run.seed, number, 0);
    let words = |name: &str| name.replace('_', " ");
    named(number, shown)
        .zip(views)
        .map(|(original, of)| vec![original, (words(of.preserving.name()), of.preserved), (words(of.removing.name()), of.removed)])
        .collect()
}

/// What is printed of a problem.
struct Shown {
    pictures: Vec<RgbImage>,
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
            .map(|p| Shown { reference: Some(p.reference_text()), pictures: vec![p.picture], text: p.text, answer: p.answer })
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
        let pictures = example.pictures()?;
        Ok(Shown { pictures, text: example.problem.clone(), answer: example.answer.clone(), reference: None })
    });
    shown.collect()
}
