//! `percept sft`: trains a new model, or a checkpoint, on reference responses or those of data, measures it, and writes a Hugging Face directory.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use percept_model::Model;

use super::arguments::load_settings;
use super::device::open_device_of;
use super::outcome::Outcome;
use super::place::checkpoint_of;
use super::ranks;
use super::resumed::{AcceptArgs, compare_beginning};
use super::session::{Course, Session, at_step, is_stop_requested, restore_last};
use super::sources::{Unseen, read};
use crate::config::{ConfigError, Reduce, RolloutConfig, Settings, SftRunConfig};
use crate::error::TrainError;
use crate::problems::data::Purpose;
use crate::problems::prompts::{Encoder, Problems};
use crate::problems::reading::Reader;
use crate::problems::tasks::Task;
use crate::records::run::{Beginning, Metrics, RunFolder};
use crate::training::evaluate::{Decoding, Measuring, evaluate_among};
use crate::training::policy::{directory, open_for_sft};
use crate::training::reduce::Rows;
use crate::training::sft::{SftTrainer, check_ranks};
use crate::training::world::World;

/// Arguments of `percept sft`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A TOML file, or one that is part of the program, as configs/sft-digits.toml. A file on disk comes first.
    #[arg(required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Override a field: `--set sft.steps=100`. The value is TOML; a bare word is text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Write the model here, in place of the file's `out`.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Replace what stands there.
    #[arg(long)]
    force: bool,
    /// Resume the run in this folder, from its last checkpoint, with its configuration.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "overrides", "out"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    accept: AcceptArgs,
}

/// Warm start, reference responses, evaluation, report, and the model.
pub(super) fn run(args: &Args, world: &World, out: &mut dyn Write) -> Result<Outcome> {
    let clock = Instant::now();
    let mut old = None;
    let config: SftRunConfig = match &args.resume {
        Some(path) => {
            let mut text = Vec::new();
            if world.is_first() {
                let folder = RunFolder::open(path)?;
                text = folder.config::<SftRunConfig>()?.to_toml().into_bytes();
                old = Some(folder);
            }
            let text = String::from_utf8(world.from_first("the configuration of the run", || text))?;
            SftRunConfig::parse(&text, &path.display().to_string(), &[])?
        }
        None => {
            let mut config = load(args)?;
            if let Some(model) = &mut config.model {
                model.path = checkpoint_of(&model.path, out)?;
            }
            if config.sft.reduce == Reduce::Auto && world.is_launched() {
                config.sft.reduce = Reduce::Exact;
            }
            config
        }
    };
    let of_ranks = |problem| ConfigError::Range { origin: format!("{} ranks", world.size()), problem };
    check_ranks(&config.sft, world.size()).map_err(of_ranks)?;
    if world.is_first() {
        check_out(&config.out, old.as_ref(), args.force)?;
    }
    let device = open_device_of(&config.run.device, world)?;
    let (mut model, encoder) = open_for_sft(&config, &device)?;
    model.lay_for_training();
    let reader = Reader { encoder: &encoder, model: model.config(), max_new_tokens: RolloutConfig::default().max_new_tokens };
    let (problems, unseen, beginning) = open_problems(&config, reader, out)?;
    let mut trainer = SftTrainer::new(&model, &encoder, &problems, &config.sft, &config.optim, config.run.seed, world)?;
    let model_directory = config.model.as_ref().map(|model| directory(&model.path)).transpose()?;
    let mut beginning = beginning.with_model(model_directory.as_deref())?;
    ranks::compare(world, &config.to_toml(), &beginning, &device)?;
    let (mut folder, mut notices) = (None, Vec::new());
    if world.is_first() {
        let run = match old {
            Some(run) => run,
            None => RunFolder::create(&config)?,
        };
        beginning.config = run.config_text()?;
        notices = compare_beginning::<SftRunConfig>(&run, &beginning, CHANGEABLE, args.accept)?;
        restore_last(&run, |checkpoint| trainer.restore(checkpoint))?;
        run.note_beginning(&beginning)?;
        folder = Some(run);
    }
    trainer.share_state()?;
    let of_ranks = ranks::lines(world, &device, clock);

    let course = Course {
        command: "sft",
        steps: config.sft.warm_start_steps + config.sft.steps,
        save_every: config.sft.save_every,
        keep_checkpoints: config.sft.keep_checkpoints,
        updates_per_step: 1,
    };
    let path = folder.as_ref().map_or_else(String::new, |folder| folder.path().display().to_string());
    let mut session = Session::new(folder, course, trainer.progress().step, &device, out)?;
    session.say(format_args!("sft on {device}; run folder {path}"));
    of_ranks.iter().for_each(|line| session.say(line));
    notices.iter().for_each(|notice| session.say(notice));
    train(&config, &mut trainer, (&model, &encoder, unseen.as_ref()), world, &mut session).map_err(|error| session.advise(error))
}

/// Steps between comparisons of the ranks' weights.
const COMPARED_EVERY: u64 = 50;

/// What does not change how a step is made from the one before.
const CHANGEABLE: &[&str] =
    &["sft.save_every", "sft.keep_checkpoints", "out", "eval_problems", "run.device", "run.folder", "run.name", "model.path", "data.path"];

/// What is learnt, what the model is measured on, and the beginning of a run on the data.
fn open_problems(config: &SftRunConfig, reader: Reader<'_>, out: &mut dyn Write) -> Result<(Problems, Option<Unseen>, Beginning)> {
    let mut beginning = Beginning::default();
    let task = || Ok::<_, anyhow::Error>(Box::new(Task::new(&config.task)?));
    let problems = match &config.data {
        None => Problems::Task(task()?),
        Some(data) => {
            let dataset = read(data, Purpose::Responses, reader, out)?;
            beginning.add_data("data", &dataset)?;
            Problems::Data(dataset)
        }
    };
    let unseen = match (&config.eval_data, &config.data) {
        (Some(data), _) => Some(Unseen::Data(read(data, Purpose::Measuring, reader, out)?, data.path.to_string())),
        (None, Some(_)) => None,
        (None, None) => Some(Unseen::Task(task()?)),
    };
    Ok((problems, unseen, beginning))
}

fn load(args: &Args) -> Result<SftRunConfig, ConfigError> {
    let path = args.config.as_deref().expect("clap asks for it where there is no --resume");
    let mut config: SftRunConfig = load_settings(path, &args.overrides)?;
    config.out = args.out.clone().unwrap_or(config.out);
    Ok(config)
}

/// The model replaces what stands at `out` as a whole, so that must be nothing, or a model that this run has written before; with `force`, any model. It is better known
/// before the training.
fn check_out(out: &Path, run: Option<&RunFolder>, force: bool) -> Result<()> {
    let is_nothing = !out.exists() || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if !is_nothing && !out.join("config.json").is_file() {
        let problem = format!("out: expected a model directory, an empty or a new one, got {}", out.display());
        return Err(TrainError::Unsupported(problem).into());
    }
    if !is_nothing && !force && !run.is_some_and(|run| is_written_by(run, out)) {
        let problem = format!("out: {}: not empty; --force replaces it, --out DIR writes elsewhere", out.display());
        return Err(TrainError::Unsupported(problem).into());
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writable = std::fs::create_dir_all(parent).and_then(|()| tempfile::tempfile_in(parent));
    writable.map(drop).with_context(|| out.display().to_string())
}

/// Whether the model at `out` has the weights of a checkpoint of this run.
fn is_written_by(run: &RunFolder, out: &Path) -> bool {
    let weights = |directory: &Path| std::fs::read(directory.join("model.safetensors")).ok();
    let there = weights(out);
    there.is_some() && run.checkpoints().is_ok_and(|steps| steps.iter().rev().any(|step| weights(&run.checkpoint(*step)) == there))
}

fn train(
    config: &SftRunConfig,
    trainer: &mut SftTrainer<'_>,
    (model, encoder, unseen): (&Model, &Encoder, Option<&Unseen>),
    world: &World,
    session: &mut Session<'_>,
) -> Result<Outcome> {
    let steps = config.sft.warm_start_steps + config.sft.steps;
    let rows = if config.sft.reduce == Reduce::Exact { Rows::Alike } else { Rows::Fastest };
    let mut stop = is_stop_requested(world);
    while !stop && trainer.progress().step < steps {
        world.note_step(trainer.progress().step + 1);
        let metrics = at_step(trainer.progress().step + 1, trainer.step())?;
        let step = trainer.progress().step;
        at_step(step, session.record(&metrics, &summary(&metrics)))?;
        if let Some(unseen) = unseen.filter(|_| step == steps && config.eval_problems > 0) {
            for decoding in [Decoding::Greedy, Decoding::Sampled { temperature: 1.0, samples: 1 }] {
                let prompts = unseen.prompts(config.eval_problems as usize)?;
                let how = Measuring { decoding, rollout: RolloutConfig::default(), step, seed: config.run.seed };
                let measured = at_step(step, evaluate_among(world, rows, model, encoder, prompts, how, |_, _| {}))?;
                session.evaluation(&measured)?;
            }
        }
        stop = is_stop_requested(world);
        if step == steps || step.is_multiple_of(COMPARED_EVERY) {
            at_step(step, trainer.compare_ranks())?;
        }
        if stop || session.is_save_due(step) {
            let trained = at_step(step, trainer.trained())?;
            session.save(step, None, |checkpoint| trainer.save(checkpoint, &trained))?;
        }
    }
    if trainer.progress().step == steps {
        session.check_learnt()?;
        if world.is_first() {
            model.save(&config.out, encoder.files())?;
        }
        session.say(format_args!("model: {}", config.out.display()));
    }
    session.finish(trainer.progress().step)
}

/// Losses, accuracies and entropy.
fn summary(metrics: &Metrics) -> String {
    let shown = |name: &str| name.ends_with("loss") || name.ends_with("accuracy") || name == "entropy";
    let values: Vec<String> =
        metrics.values().iter().filter(|(name, _)| shown(name)).map(|(name, value)| format!("{name} {value:.3}")).collect();
    values.join("  ")
}
