//! `percept compare`: methods, seeds and variations beside each other.
//!
//! A cell is a run like any other, in the comparison's folder; when it is done, its policy is measured and `cell.json` written beside its checkpoints. So a comparison
//! that was stopped or killed goes on where it was, and cells can be made on several machines (`--cell`) that share the folder.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use percept_model::atomic;

use super::arguments::part_of_program;
use super::device::open_device_of;
use super::interrupt;
use super::outcome::{Advised, Outcome};
use super::place::checkpoint_of;
use super::ranks;
use super::resumed::AcceptArgs;
use super::session::is_stop_requested;
use super::train::{Planning, Start, train_run};
use crate::config::{Budget, CompareConfig, Config, ConfigError, Reduce, Row, Settings, cell_name};
use crate::records::files;
use crate::records::run::RunFolder;
use crate::studies::compare::cell::{Measured, open, weight_change};
use crate::studies::compare::{Cell, Comparison, Training, figure, measure, page, table};
use crate::training::reduce::{Adding, Rows};
use crate::training::world::World;

/// Arguments of `percept compare`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A TOML file, or one that is part of the program, as configs/compare-digits.toml. A file on disk comes first.
    config: PathBuf,
    /// Override a shared field: `--set train.steps=50`. The value is TOML; a bare word is text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Train this many cells at once, each in a process of its own with its share of the cores. On few cores, one thread each is the fastest way through many cells.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Make only this cell, as in `cppo-seed0`, and no report; `start` measures the policy before training.
    #[arg(long, value_name = "CELL", conflicts_with = "report")]
    cell: Option<String>,
    /// Train nothing: write the results of the cells that are done.
    #[arg(long)]
    report: bool,
}

const CELL: &str = "cell.json";
/// What was in force, as in the folder of every run.
const SETTINGS: &str = "config.toml";
const BUDGET: &str = "budget.json";
/// The measurement of the policy before training.
const START: &str = "start";

/// Trains what is missing, measures it, and writes the results.
pub(super) fn run(args: &Args, world: &World, out: &mut dyn Write) -> Result<Outcome> {
    let mut config = match part_of_program(&args.config) {
        Some(text) => {
            let name = args.config.file_stem().map_or("comparison".into(), |stem| stem.to_string_lossy().into_owned());
            CompareConfig::parse(text, &args.config.display().to_string(), &name, &args.overrides)?
        }
        None => CompareConfig::load(&args.config, &args.overrides)?,
    };
    config.replace_models(|path| checkpoint_of(path, out))?;
    if let Some(name) = &args.cell {
        return one_cell(&config, name, world, out);
    }
    let mut outcome = Outcome::Done;
    if !args.report {
        let missing = || names(&config).into_iter().filter(|name| !is_done(&config, name)).collect::<Vec<String>>();
        let missing = world.from_first("the cells to make", || serde_json::to_vec(&missing()).expect("plain data"));
        let missing: Vec<String> = serde_json::from_slice(&missing)?;
        let cells = config.cells().len() + 1;
        writeln!(out, "{}: {} of {cells} cells to make, in {}", config.compare.title, missing.len(), config.compare.folder.display())?;
        fs::create_dir_all(&config.compare.folder).with_context(|| config.compare.folder.display().to_string())?;
        steps_of(&config, world, out)?;
        interrupt::watch()?;
        outcome = match args.jobs {
            0 => return Err(input_error("--jobs", "expected at least 1, got 0")),
            1 => in_turn(&config, &missing, world, out)?,
            jobs if world.size() > 1 => {
                return Err(input_error(
                    "--jobs",
                    format!("expected 1 with {} ranks, which make each cell together, got {jobs}", world.size()),
                ));
            }
            jobs => side_by_side(args, &config, &missing, jobs, out)?,
        };
    }
    if !world.is_first() {
        return Ok(outcome);
    }
    let written = write_results(args, &config, out)?;
    Ok(if written { outcome } else { Outcome::Failed })
}

/// The start, then all cells.
fn names(config: &CompareConfig) -> Vec<String> {
    let cells = config.cells().into_iter().map(|(row, seed)| cell_name(row, seed));
    std::iter::once(START.to_owned()).chain(cells).collect()
}

fn folder_of(config: &CompareConfig, name: &str) -> PathBuf {
    config.compare.folder.join(name)
}

/// The row and seed of a cell; the policy before training is that of the base and the first seed.
fn row_and_seed<'a>(config: &'a CompareConfig, name: &str) -> Option<(&'a Row, u64)> {
    let start = || (config.row(&config.compare.base).expect("the base is a row"), config.compare.seeds[0]);
    let cell = config.cells().into_iter().find(|(row, seed)| cell_name(row, *seed) == name);
    cell.or_else(|| (name == START).then(start))
}

fn is_done(config: &CompareConfig, name: &str) -> bool {
    folder_of(config, name).join(CELL).exists()
}

fn in_turn(config: &CompareConfig, missing: &[String], world: &World, out: &mut dyn Write) -> Result<Outcome> {
    for (number, name) in missing.iter().enumerate() {
        let clock = Instant::now();
        let mut log: Box<dyn Write> = match world.is_first() {
            true => Box::new(fs::OpenOptions::new().create(true).append(true).open(log_of(config, name)).context("the log of a cell")?),
            false => Box::new(std::io::sink()),
        };
        let outcome = one_cell(config, name, world, &mut log).with_context(|| format!("cell {name}"))?;
        if outcome == Outcome::Interrupted {
            writeln!(out, "stopped in {name}; the same command goes on")?;
            return Ok(outcome);
        }
        writeln!(out, "{}/{} {name}: {:.0} s", number + 1, missing.len(), clock.elapsed().as_secs_f64())?;
        // asked for while the cell was measured: the next cell's session would not know of it
        if is_stop_requested(world) {
            writeln!(out, "stopped after {name}; the same command goes on")?;
            return Ok(Outcome::Interrupted);
        }
    }
    Ok(Outcome::Done)
}

fn log_of(config: &CompareConfig, name: &str) -> PathBuf {
    config.compare.folder.join(format!("{name}.log"))
}

/// Every cell in a process of its own. One that fails does not stop the others; it is told at the end.
fn side_by_side(args: &Args, config: &CompareConfig, missing: &[String], jobs: usize, out: &mut dyn Write) -> Result<Outcome> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let program = std::env::current_exe().context("this program")?;
    let mut waiting = missing.iter();
    let mut working: Vec<(&str, Child, Instant)> = Vec::new();
    let (mut done, mut failed) = (0, Vec::new());
    loop {
        while working.len() < jobs && !interrupt::requested() {
            let Some(name) = waiting.next() else { break };
            let log = fs::File::create(log_of(config, name)).context("the log of a cell")?;
            let mut command = Command::new(&program);
            command.arg("compare").arg(&args.config).args(["--cell", name.as_str()]);
            for assignment in &args.overrides {
                command.args(["--set", assignment]);
            }
            if std::env::var_os("RAYON_NUM_THREADS").is_none() {
                command.env("RAYON_NUM_THREADS", (cores / jobs).max(1).to_string());
            }
            let errors = log.try_clone().context("the log of a cell")?;
            let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().context("a process for a cell")?;
            working.push((name, child, Instant::now()));
        }
        if working.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
        let mut still = Vec::new();
        for (name, mut child, clock) in working {
            match child.try_wait().context("a process for a cell")? {
                None => still.push((name, child, clock)),
                Some(status) if status.success() => {
                    done += 1;
                    writeln!(out, "{done}/{} {name}: {:.0} s", missing.len(), clock.elapsed().as_secs_f64())?;
                }
                Some(status) if status.code() == Some(i32::from(interrupt::EXIT_CODE)) => {}
                Some(status) => {
                    writeln!(out, "{name}: {status}; see {}", log_of(config, name).display())?;
                    failed.push(name);
                }
            }
        }
        working = still;
    }
    if interrupt::requested() {
        writeln!(out, "stopped; the same command goes on")?;
        return Ok(Outcome::Interrupted);
    }
    Ok(if failed.is_empty() { Outcome::Done } else { Outcome::Failed })
}

/// Trains and measures a cell; nothing if it is done already.
fn one_cell(config: &CompareConfig, name: &str, world: &World, out: &mut dyn Write) -> Result<Outcome> {
    let Some((row, seed)) = row_and_seed(config, name) else {
        return Err(input_error("--cell", format!("expected one of {}, got {name}", names(config).join(", "))));
    };
    if world.from_first("whether the cell is done", || vec![u8::from(is_done(config, name))]) == [1] {
        return Ok(Outcome::Done);
    }
    let mut of_cell = settings(config, row, seed, world, out)?;
    if name == START {
        let path = folder_of(config, name);
        if world.is_first() {
            fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
            atomic::write_file(&path.join(SETTINGS), of_cell.to_toml().as_bytes())?;
        }
        return measure_cell(config, &of_cell, name, START, None, world);
    }
    let path = folder_of(config, name);
    // a folder without settings was killed before it began
    let old = if world.is_first() { RunFolder::open(&path).ok() } else { None };
    let mut reduce = ranks::resolved(of_cell.clone(), world).train.reduce;
    if let Some(folder) = &old {
        same_settings(folder, &of_cell)?;
        reduce = folder.config::<Config>()?.train.reduce;
    }
    of_cell.train.reduce =
        serde_json::from_slice(&world.from_first("how the cell began", || serde_json::to_vec(&reduce).expect("plain data")))?;
    match train_run(&of_cell, old, AcceptArgs::default(), Planning::None, world, out)? {
        Outcome::Done => measure_cell(config, &of_cell, name, &row.name, Some(&path), world),
        other => Ok(other),
    }
}

/// The settings of a cell, with the steps that the budget gives it.
fn settings(config: &CompareConfig, row: &Row, seed: u64, world: &World, out: &mut dyn Write) -> Result<Config> {
    let mut of_cell = config.cell(row, seed)?;
    if let Some(steps) = steps_of(config, world, out)?.iter().find(|(name, _)| *name == row.name).map(|(_, steps)| *steps) {
        of_cell.train.steps = steps;
    }
    Ok(of_cell)
}

/// A folder that was begun with other settings is another experiment's.
fn same_settings(folder: &RunFolder, expected: &Config) -> Result<()> {
    let (found, mut expected) = (folder.config::<Config>()?, Config::parse(&expected.to_toml(), "settings", &[])?);
    if expected.train.reduce == Reduce::Auto {
        expected.train.reduce = found.train.reduce;
    }
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (found.to_toml(), expected.to_toml());
    let other = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    let (found, expected) = other.unwrap_or(("other lines", "these"));
    let error = anyhow!("{}/config.toml: expected `{expected}`, got `{found}`", folder.path().display());
    let advice = "the cell was begun with other settings: remove its folder to make it anew, or give the comparison another compare.folder"
        .to_owned();
    Err(Advised { error, advice, outcome: Outcome::BadInput }.into())
}

/// All cells that are done began with the same weights.
fn same_start(config: &CompareConfig) -> Result<()> {
    let started = |(row, seed): (&Row, u64)| {
        let folder = folder_of(config, &cell_name(row, seed));
        let is_done = folder.join(CELL).exists();
        let run = RunFolder::open(&folder).ok().filter(|_| is_done)?;
        // one that is damaged is no model's
        let model = run.beginning().map_or_else(|_| Some(BTreeMap::new()), |beginning| beginning.map(|beginning| beginning.model))?;
        Some((folder, model))
    };
    // rows that start from different models on purpose are told apart by their settings
    let mut seen: Vec<(PathBuf, PathBuf, BTreeMap<String, u32>)> = Vec::new();
    for (row, seed) in config.cells() {
        let Some((folder, held)) = started((row, seed)) else { continue };
        let model = config.cell(row, seed)?.model.path;
        match seen.iter().find(|(known, ..)| *known == model) {
            Some((_, first, expected)) if *expected != held => {
                let problem = format!("{} held other weights than when {} began; remove one of the two", model.display(), first.display());
                return Err(input_error(folder.display().to_string(), problem));
            }
            Some(_) => {}
            None => seen.push((model, folder, held)),
        }
    }
    Ok(())
}

/// Measures what a cell has trained, or without a folder the policy it would start from, and writes `cell.json`.
fn measure_cell(config: &CompareConfig, of_cell: &Config, name: &str, row: &str, folder: Option<&Path>, world: &World) -> Result<Outcome> {
    // the first rank has written what all are to read
    world.gather("the end of the training", Vec::new());
    let folder = folder.map(RunFolder::open).transpose()?;
    let device = open_device_of(&of_cell.run.device, world)?;
    let (start, encoder) = open(of_cell, &of_cell.model.path, &device)?;
    let (model, metrics, change) = match &folder {
        None => (start, Vec::new(), 0.0),
        Some(folder) => {
            let (model, _) = open(of_cell, &folder.checkpoint(of_cell.train.steps), &device)?;
            let change = weight_change(&model, &start)?;
            (model, folder.metrics()?, change)
        }
    };
    let Measured { greedy, sampled, robustness, detectors } =
        measure((world, Rows::of(Adding::of(of_cell))), &model, &encoder, of_cell, &config.compare)?;
    let training = Training::of(&metrics, change);
    let cell = Cell { row: row.to_owned(), seed: of_cell.run.seed, training, greedy, sampled, robustness, detectors };
    let text = serde_json::to_string(&cell).context("the numbers of a cell")?;
    if world.is_first() {
        atomic::write_file(&folder_of(config, name).join(CELL), text.as_bytes())?;
    }
    Ok(Outcome::Done)
}

/// Steps to measure the time of a step by, after as many that are not counted.
const PROBE_STEPS: usize = 6;

/// Under a budget of time, the steps of every row; else nothing, and `train.steps` holds.
fn steps_of(config: &CompareConfig, world: &World, out: &mut dyn Write) -> Result<Vec<(String, u64)>> {
    if config.compare.budget == Budget::Updates {
        return Ok(Vec::new());
    }
    let path = config.compare.folder.join(BUDGET);
    let text = world.from_first("the budget", || fs::read_to_string(&path).unwrap_or_default().into_bytes());
    if !text.is_empty() {
        return serde_json::from_slice(&text)
            .map_err(|error| input_error(path.display().to_string(), format!("{error}; remove it to measure anew")));
    }
    writeln!(out, "measuring the time of a step of each row")?;
    let (mut times, mut steps) = (Vec::new(), 0);
    for row in &config.rows {
        let of_row = config.cell(row, config.compare.seeds[0])?;
        steps = if row.name == config.compare.base { of_row.train.steps } else { steps };
        ranks::check(&of_row, world)?;
        let device = open_device_of(&of_row.run.device, world)?;
        let Start { mut trainer, .. } = Start::new(&of_row, &device, Planning::None, world, out)?;
        let mut seconds = Vec::new();
        for step in 0..2 * PROBE_STEPS {
            let output = trainer.step()?;
            seconds.extend(output.metrics.get("time/step").filter(|_| step >= PROBE_STEPS));
        }
        seconds.sort_by(f64::total_cmp);
        times.push((row.name.clone(), seconds[seconds.len() / 2]));
    }
    let base = times.iter().find(|(name, _)| *name == config.compare.base).map_or(f64::NAN, |(_, seconds)| *seconds);
    let budget: Vec<(String, u64)> =
        times.into_iter().map(|(name, seconds)| (name, ((steps as f64 * base / seconds).round() as u64).max(1))).collect();
    let text = world.from_first("the budget", || serde_json::to_vec(&budget).expect("plain data"));
    if world.is_first() {
        fs::create_dir_all(&config.compare.folder).with_context(|| config.compare.folder.display().to_string())?;
        atomic::write_file(&path, &text)?;
    }
    Ok(serde_json::from_slice(&text)?)
}

/// Writes the results of the cells that are done, if there are any, and prints the table.
fn write_results(args: &Args, config: &CompareConfig, out: &mut dyn Write) -> Result<bool> {
    let mut cells = Vec::new();
    for name in names(config).iter().filter(|name| is_done(config, name)) {
        let path = folder_of(config, name).join(CELL);
        let text = files::read_to_string(&path).with_context(|| path.display().to_string())?;
        let anew = |problem: String| input_error(path.display().to_string(), format!("{problem}; remove it to measure the cell anew"));
        let cell: Cell = serde_json::from_str(&text).map_err(|error| anew(error.to_string()))?;
        let (row, seed) = row_and_seed(config, name).expect("it is one of the names");
        same_settings(&RunFolder::open(&folder_of(config, name))?, &settings(config, row, seed, &World::alone(), out)?)?;
        cell.is_measured_as(&config.compare).map_err(anew)?;
        cells.push(cell);
    }
    same_start(config)?;
    let start = cells.iter().position(|cell| cell.row == START).map(|at| cells.remove(at));
    if cells.is_empty() {
        writeln!(out, "no cell is done yet")?;
        return Ok(false);
    }
    let missing = config.cells().len() - cells.len();
    let comparison = Comparison {
        title: config.compare.title.clone(),
        budget: budget_in_words(config),
        base: config.compare.base.clone(),
        rows: config.rows.iter().map(|row| (row.name.clone(), row.about.clone())).collect(),
        seeds: config.compare.seeds.clone(),
        start,
        cells,
        facts: facts(args, config)?,
    };
    let files = [
        ("cells.csv", table::csv(&comparison)),
        ("results.json", table::json(&comparison)),
        ("table.md", table::markdown(&comparison)),
        ("table.tex", table::latex(&comparison)),
        ("figure.svg", figure::standalone(&comparison)),
        ("report.html", page::page(&comparison)),
    ];
    for (name, text) in &files {
        atomic::write_file(&config.compare.folder.join(name), text.as_bytes())?;
    }
    writeln!(out, "\n{}", table::terminal(&comparison))?;
    comparison.findings().iter().try_for_each(|finding| writeln!(out, "{finding}"))?;
    if missing > 0 {
        writeln!(out, "{missing} cells are missing")?;
    }
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    writeln!(out, "{}: {}", config.compare.folder.display(), names.join(", "))?;
    Ok(true)
}

fn budget_in_words(config: &CompareConfig) -> String {
    match config.compare.budget {
        Budget::Updates => "equal updates and prompts".into(),
        Budget::Time => "equal time of training".into(),
    }
}

fn facts(args: &Args, config: &CompareConfig) -> Result<Vec<(&'static str, String)>> {
    let row = config.row(&config.compare.base).expect("the base is a row");
    let of_base = config.cell(row, config.compare.seeds[0])?;
    let seeds: Vec<String> = config.compare.seeds.iter().map(u64::to_string).collect();
    Ok(vec![
        ("Task", of_base.task.name()),
        ("Start", of_base.model.path.display().to_string()),
        ("Budget", budget_in_words(config)),
        ("Steps of the base", of_base.train.steps.to_string()),
        ("Batch", format!("{} prompts × {} responses", of_base.rollout.prompts_per_step, of_base.method.group_size)),
        ("Learning rate", format!("{:e}", of_base.optim.learning_rate)),
        ("Seeds", seeds.join(", ")),
        (
            "Test problems",
            format!(
                "{}, {} responses each; {} for changes",
                config.compare.problems, config.compare.samples, config.compare.robustness_problems
            ),
        ),
        ("File", args.config.file_name().map_or(String::new(), |name| Path::new(name).display().to_string())),
    ])
}

fn input_error(origin: impl Into<String>, problem: impl Into<String>) -> anyhow::Error {
    ConfigError::Range { origin: origin.into(), problem: problem.into() }.into()
}
