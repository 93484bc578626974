//! `percept sft`: trains a new model, or a checkpoint, on reference responses, measures it, and writes a Hugging Face directory.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use percept_model::Model;

use super::device::open_device;
use super::interrupt;
use super::outcome::Outcome;
use super::place::checkpoint_of;
use super::session::{Plan, Session, at_step, restore_last};
use crate::config::{ConfigError, RolloutConfig, Settings, SftRunConfig};
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, test_prompts};
use crate::problems::tasks::Task;
use crate::records::run::{Metrics, RunFolder};
use crate::training::evaluate::{Decoding, evaluate};
use crate::training::policy::open_for_sft;
use crate::training::sft::SftTrainer;

/// Arguments of `percept sft`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// A TOML file; see configs/sft-digits.toml.
    #[arg(required_unless_present = "resume")]
    config: Option<PathBuf>,
    /// Override a field: `--set sft.steps=100`. The value is TOML; a bare word is text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Write the model here, in place of the file's `out`.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Resume the run in this folder, from its last checkpoint, with its configuration.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "overrides", "out"])]
    resume: Option<PathBuf>,
}

/// Warm start, reference responses, evaluation, report, and the model.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let old = args.resume.as_deref().map(RunFolder::open).transpose()?;
    let config: SftRunConfig = match &old {
        Some(folder) => folder.config()?,
        None => {
            let mut config = load(args)?;
            if let Some(model) = &mut config.model {
                model.path = checkpoint_of(&model.path, out)?;
            }
            config
        }
    };
    check_out(&config.out)?;
    let task = Task::new(&config.task)?;
    let device = open_device(&config.run.device)?;
    let (model, encoder) = open_for_sft(&config, &device)?;
    let mut trainer = SftTrainer::new(&model, &encoder, &task, &config.sft, &config.optim, config.run.seed)?;
    let folder = match old {
        Some(folder) => folder,
        None => RunFolder::create(&config)?,
    };
    if let Some(model) = &config.model {
        folder.check_start(&model.path)?;
    }
    restore_last(&folder, |checkpoint| trainer.restore(checkpoint))?;

    let plan = Plan {
        command: "sft",
        steps: config.sft.warm_start_steps + config.sft.steps,
        save_every: config.sft.save_every,
        keep_checkpoints: config.sft.keep_checkpoints,
    };
    let path = folder.path().display().to_string();
    let mut session = Session::new(folder, plan, trainer.progress().step, out)?;
    session.say(format_args!("sft on {device}; run folder {path}"));
    train(&config, &mut trainer, (&model, &encoder, &task), &mut session).map_err(|error| session.advise(error))
}

fn load(args: &Args) -> Result<SftRunConfig, ConfigError> {
    let mut config = SftRunConfig::load(args.config.as_deref().expect("clap asks for it where there is no --resume"), &args.overrides)?;
    config.out = args.out.clone().unwrap_or(config.out);
    Ok(config)
}

/// The model replaces what stands at `out` as a whole: that must be a model, or nothing, and it is better known before the training.
fn check_out(out: &Path) -> Result<()> {
    let is_nothing = !out.exists() || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    if !is_nothing && !out.join("config.json").is_file() {
        let problem = format!("out: expected a model directory, an empty or a new one, got {}", out.display());
        return Err(TrainError::Unsupported(problem).into());
    }
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let writable = std::fs::create_dir_all(parent).and_then(|()| tempfile::tempfile_in(parent));
    writable.map(drop).with_context(|| out.display().to_string())
}

fn train(
    config: &SftRunConfig,
    trainer: &mut SftTrainer<'_>,
    (model, encoder, task): (&Model, &Encoder, &Task),
    session: &mut Session<'_>,
) -> Result<Outcome> {
    let steps = config.sft.warm_start_steps + config.sft.steps;
    let mut stop = interrupt::requested();
    while !stop && trainer.progress().step < steps {
        let metrics = at_step(trainer.progress().step + 1, trainer.step())?;
        let step = trainer.progress().step;
        at_step(step, session.record(&metrics, &summary(&metrics)))?;
        if step == steps && config.eval_problems > 0 {
            for decoding in [Decoding::Greedy, Decoding::Sampled { temperature: 1.0, samples: 1 }] {
                let prompts = test_prompts(task, 0..config.eval_problems);
                let max_new_tokens = RolloutConfig::default().max_new_tokens;
                let measured = at_step(step, evaluate(model, encoder, prompts, decoding, max_new_tokens, step, config.run.seed))?;
                session.evaluation(&measured)?;
            }
        }
        stop = interrupt::requested();
        if stop || session.is_save_due(step) {
            session.save(step, None, |checkpoint| trainer.save(checkpoint))?;
        }
    }
    if trainer.progress().step == steps {
        model.save(&config.out, encoder.files())?;
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
