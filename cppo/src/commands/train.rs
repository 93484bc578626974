//! `percept train`: reinforcement learning.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use percept_engine::Device;
use percept_engine::trace::trace_table;

use super::arguments::ConfigArgs;
use super::data::import_and_report;
use super::device::open_device;
use super::interrupt;
use super::outcome::Outcome;
use super::place::checkpoint_of;
use super::session::{Plan, Session, at_step, restore_last};
use crate::config::Config;
use crate::problems::prompts::{Problems, Prompt, test_prompts};
use crate::problems::tasks::Task;
use crate::records::run::RunFolder;
use crate::training::evaluate::{Decoding, evaluate};
use crate::training::policy::{load_encoder, load_policy};
use crate::training::trainer::{StepOutput, Trainer};

/// Arguments of `percept train`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Resume the run in this folder, from its last checkpoint, with its configuration.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "overrides"])]
    resume: Option<PathBuf>,
}

/// Trains, measures before, during and after, and writes the report.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let old = args.resume.as_deref().map(RunFolder::open).transpose()?;
    let config: Config = match &old {
        Some(folder) => folder.config()?,
        None => {
            let mut config = args.config.load()?;
            config.model.path = checkpoint_of(&config.model.path, out)?;
            config
        }
    };
    train_run(&config, old, out)
}

/// Trains in the folder `old`, from its last checkpoint on, or in a new one.
pub(super) fn train_run(config: &Config, old: Option<RunFolder>, out: &mut dyn Write) -> Result<Outcome> {
    let device = open_device(&config.run.device)?;
    let mut trainer = new_trainer(config, &device, out)?;
    let evaluation = evaluation_problems(config, out)?;
    // a folder is made when there is something to put into it
    let folder = match old {
        Some(folder) => folder,
        None => RunFolder::create(config)?,
    };
    folder.check_start(&config.model.path)?;
    restore_last(&folder, |checkpoint| trainer.restore(checkpoint))?;

    let plan = Plan {
        command: "train",
        steps: config.train.steps,
        save_every: config.train.save_every,
        keep_checkpoints: config.train.keep_checkpoints,
    };
    let path = folder.path().display().to_string();
    let mut session = Session::new(folder, plan, trainer.progress().step, out)?;
    session.say(format_args!("{} on {device}; run folder {path}", config.method.own.name()));
    let outcome = train(config, &mut trainer, evaluation.as_ref(), &mut session).map_err(|error| session.advise(error))?;
    // under PERCEPT_TRACE=1
    let times = device.take_trace()?;
    if !times.is_empty() {
        session.say(trace_table(&times));
    }
    Ok(outcome)
}

pub(super) fn new_trainer(config: &Config, device: &Device, out: &mut dyn Write) -> Result<Trainer> {
    let model = load_policy(&config.model, device, config.run.seed)?;
    let encoder = load_encoder(&config.model)?;
    let problems = match &config.data {
        Some(data) => Problems::Data(import_and_report(data, out)?),
        None => Problems::Task(Box::new(Task::new(&config.task)?)),
    };
    Ok(Trainer::new(model, encoder, problems, config.clone())?)
}

/// None if the run learns from files and has no others to be measured on.
fn evaluation_problems(config: &Config, out: &mut dyn Write) -> Result<Option<Problems>> {
    Ok(match (&config.eval.data, &config.data) {
        (Some(data), _) => Some(Problems::Data(import_and_report(data, out)?)),
        (None, Some(_)) => None,
        (None, None) => Some(Problems::Task(Box::new(Task::new(&config.task)?))),
    })
}

fn train(config: &Config, trainer: &mut Trainer, evaluation: Option<&Problems>, session: &mut Session<'_>) -> Result<Outcome> {
    let (steps, every) = (config.train.steps, config.eval.every);
    if trainer.progress().step == 0 {
        measure(config, trainer, evaluation, config.eval.problems, session)?;
    }
    let mut stop = interrupt::requested();
    while !stop && trainer.progress().step < steps {
        let output = at_step(trainer.progress().step + 1, trainer.step())?;
        let step = output.step;
        at_step(step, session.record(&output.metrics, &summary(&output)))?;
        record_samples(config, trainer, &output, session)?;
        let is_best = if step == steps {
            measure(config, trainer, evaluation, config.eval.problems, session)?
        } else {
            let is_due = every > 0 && step.is_multiple_of(every);
            is_due && measure(config, trainer, evaluation, config.eval.problems_during_training, session)?
        };
        stop = interrupt::requested();
        if stop || is_best || session.is_save_due(step) {
            let best = trainer.progress().best.map(|best| best.step);
            session.save(step, best, |checkpoint| trainer.save(checkpoint))?;
        }
    }
    session.finish(trainer.progress().step)
}

/// The responses to some of the step's prompts, every so often.
fn record_samples(config: &Config, trainer: &Trainer, output: &StepOutput, session: &mut Session<'_>) -> Result<()> {
    let (step, every) = (output.step, config.train.sample_every);
    if every > 0 && (step == 1 || step == config.train.steps || step.is_multiple_of(every)) {
        for group in output.groups.iter().take(config.train.sample_prompts) {
            crate::training::samples::record(session.recorder(), trainer.encoder(), step, group)?;
        }
    }
    Ok(())
}

/// Greedy and sampled accuracy on the first `count` problems of the test split, the same each time; whether it is the best so far.
fn measure(config: &Config, trainer: &mut Trainer, source: Option<&Problems>, count: usize, session: &mut Session<'_>) -> Result<bool> {
    let Some(source) = source.filter(|_| count > 0) else { return Ok(false) };
    let step = trainer.progress().step;
    let prompts: Vec<Prompt> = match source {
        Problems::Task(task) => test_prompts(task, 0..count as u64),
        Problems::Data(data) => source.training(0..(count.min(data.examples.len()) as u64), 0)?,
    };
    let sampled = Decoding::Sampled { temperature: config.eval.temperature, samples: config.eval.samples };
    let mut accuracy = 0.0;
    for decoding in [Decoding::Greedy, sampled] {
        let (model, encoder) = (trainer.model(), trainer.encoder());
        let measured = evaluate(model, encoder, prompts.clone(), decoding, config.rollout.max_new_tokens, step, config.run.seed);
        let measured = measured.map_err(anyhow::Error::from).map_err(|error| error.context(format!("evaluation after step {step}")))?;
        accuracy = session.evaluation(&measured)?;
    }
    // the last is the sampled one, the headline
    Ok(trainer.note_accuracy(accuracy))
}

fn summary(output: &StepOutput) -> String {
    let value = |name: &str| output.metrics.get(name).unwrap_or(f64::NAN);
    format!("reward {:.3}  accuracy {:.2}  entropy {:.3}", value("reward"), value("rewards/accuracy"), value("entropy"))
}
