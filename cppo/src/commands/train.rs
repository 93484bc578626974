//! `percept train`: reinforcement learning.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use percept_engine::trace::trace_table;
use percept_engine::{Device, GpuSelector};
use percept_model::{Model, ModelFiles, Precision};

use super::{ConfigArgs, Outcome};
use crate::config::Config;
use crate::data::import;
use crate::evaluate::{Decoding, evaluate};
use crate::prompts::{Encoder, Problems, Prompt, test_prompts};
use crate::report::write_report;
use crate::run::{Evaluation, Metrics, Recorder, RunFolder};
use crate::statistics::average_at_n;
use crate::tasks::Task;
use crate::trainer::{StepOutput, Trainer};

/// Arguments of `percept train`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Go on with the run in this folder, from its last checkpoint, with its configuration.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["config", "overrides"])]
    resume: Option<PathBuf>,
}

/// Trains, measures before, during and after, and writes the report.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let (config, folder, checkpoint) = match &args.resume {
        Some(path) => {
            let folder = RunFolder::open(path)?;
            let origin = path.join("config.toml").display().to_string();
            let config = Config::parse(&folder.config_text()?, &origin, &[])?;
            let last = folder.checkpoints()?.last().copied();
            (config, folder, last)
        }
        None => {
            let config = args.config.load()?;
            let folder = RunFolder::create(&config)?;
            (config, folder, None)
        }
    };
    let device = open_device(&config.run.device)?;
    writeln!(out, "{} on {device}; run folder {}", config.method.name.name(), folder.path().display())?;
    let mut session = Session::new(config, folder, &device, checkpoint)?;
    let outcome = session.train(out)?;
    let report = write_report(session.folder.path())?;
    writeln!(out, "report: {}", report.display())?;
    // under PERCEPT_TRACE=1
    let times = device.take_trace()?;
    if !times.is_empty() {
        write!(out, "{}", trace_table(&times))?;
    }
    Ok(outcome)
}

/// `auto`, `cpu`, `gpu`, or an adapter.
pub(super) fn open_device(name: &str) -> Result<Device> {
    let selector = match name {
        "auto" => return Ok(Device::best()),
        "cpu" => return Ok(Device::cpu()),
        "gpu" => GpuSelector::from_env_or_hardware(),
        adapter => adapter.parse().unwrap_or_else(|never| match never {}),
    };
    Ok(Device::gpu(&selector)?)
}

/// A run at work.
struct Session {
    config: Config,
    folder: RunFolder,
    recorder: Recorder,
    trainer: Trainer,
    evaluation_problems: Option<Problems>,
    /// Set by Ctrl-C: stop after this step.
    interrupted: Arc<AtomicBool>,
}

impl Session {
    fn new(config: Config, folder: RunFolder, device: &Device, checkpoint: Option<u64>) -> Result<Session> {
        let model = Model::load(&config.model.path, device, Precision::Float32)?;
        let encoder = Encoder::new(ModelFiles::read(&config.model.path)?)?;
        let problems = match &config.data {
            Some(data) => Problems::Data(import(data)?),
            None => Problems::Task(Box::new(Task::new(&config.task)?)),
        };
        let evaluation_problems = match (&config.eval.data, &problems) {
            (Some(data), _) => Some(Problems::Data(import(data)?)),
            (None, Problems::Task(task)) => Some(Problems::Task(task.clone())),
            (None, Problems::Data(_)) => None,
        };
        let mut trainer = Trainer::new(model, encoder, problems, config.clone())?;
        if let Some(step) = checkpoint {
            trainer.restore(&folder.checkpoint(step))?;
        }
        let recorder = folder.record_after(trainer.progress().step)?;
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        // a second Ctrl-C does what it always does
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        })
        .context("Ctrl-C cannot be handled")?;
        Ok(Session { config, folder, recorder, trainer, evaluation_problems, interrupted })
    }

    fn train(&mut self, out: &mut dyn Write) -> Result<Outcome> {
        let (steps, eval_every, save_every) = (self.config.train.steps, self.config.eval.every, self.config.train.save_every);
        if self.trainer.progress().step == 0 {
            self.evaluate(self.config.eval.problems, out)?;
        }
        let bar = ProgressBar::new(steps).with_position(self.trainer.progress().step);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed} of {duration}  {msg}").expect("a valid template"));
        while self.trainer.progress().step < steps {
            let output = self.trainer.step()?;
            let step = output.step;
            self.record(&output)?;
            bar.set_message(summary(&output));
            bar.inc(1);
            if bar.is_hidden() && (step.is_multiple_of(10) || step == steps) {
                writeln!(out, "step {step}/{steps}  {}", summary(&output))?;
            }
            if step < steps && eval_every > 0 && step.is_multiple_of(eval_every) {
                bar.suspend(|| self.evaluate(self.config.eval.problems_during_training, out))?;
            }
            let interrupted = self.interrupted.load(Ordering::SeqCst);
            if step == steps {
                bar.finish_and_clear();
                self.evaluate(self.config.eval.problems, out)?;
            }
            if interrupted || step == steps || (save_every > 0 && step.is_multiple_of(save_every)) {
                self.save()?;
            }
            if interrupted && step < steps {
                bar.abandon();
                writeln!(out, "stopped after step {step}; go on with: percept train --resume {}", self.folder.path().display())?;
                return Ok(Outcome::Done);
            }
        }
        Ok(Outcome::Done)
    }

    /// Writes what a step did. A loss that is not a number ends the run: the last checkpoint is from before it.
    fn record(&mut self, output: &StepOutput) -> Result<()> {
        self.recorder.metrics(&Metrics::of(output.step, &output.metrics))?;
        if let Some((name, value)) = output.metrics.iter().find(|(name, value)| *name == "loss" && !value.is_finite()) {
            let folder = self.folder.path().display();
            bail!("step {}: {name} is {value}. Lower optim.learning_rate; the checkpoints in {folder} are from before it", output.step);
        }
        let (every, steps) = (self.config.train.sample_every, self.config.train.steps);
        if every > 0 && (output.step == 1 || output.step == steps || output.step.is_multiple_of(every)) {
            for group in output.groups.iter().take(self.config.train.sample_prompts) {
                crate::samples::record(&mut self.recorder, self.trainer.encoder(), output.step, group)?;
            }
        }
        Ok(())
    }

    /// Greedy and sampled accuracy on the first `problems` of the test split; the same problems each time.
    fn evaluate(&mut self, problems: usize, out: &mut dyn Write) -> Result<()> {
        let Some(source) = &self.evaluation_problems else { return Ok(()) };
        let (config, step) = (&self.config, self.trainer.progress().step);
        let prompts: Vec<Prompt> = match source {
            Problems::Task(task) => test_prompts(task, 0..problems as u64),
            Problems::Data(data) => source.training(0..(problems.min(data.examples.len()) as u64), 0)?,
        };
        let sampled = Decoding::Sampled { temperature: config.eval.temperature, samples: config.eval.samples };
        let mut accuracy = 0.0;
        for decoding in [Decoding::Greedy, sampled] {
            let (model, encoder) = (self.trainer.model(), self.trainer.encoder());
            let measured = evaluate(model, encoder, prompts.clone(), decoding, config.rollout.max_new_tokens, step, config.run.seed)?;
            accuracy = print_evaluation(&measured, out)?;
            self.recorder.evaluation(&measured)?;
        }
        // the last is the sampled one, the headline
        self.trainer.note_accuracy(accuracy);
        Ok(())
    }

    /// Writes a checkpoint and removes those that are neither the best nor among the last.
    fn save(&mut self) -> Result<()> {
        // a checkpoint must not be ahead of its metrics
        self.recorder.sync()?;
        let progress = self.trainer.progress().clone();
        self.trainer.save(&self.folder.checkpoint(progress.step))?;
        let saved = self.folder.checkpoints()?;
        let keep_from = saved.len().saturating_sub(self.config.train.keep_checkpoints.max(1));
        let best = progress.best.map(|best| best.step);
        for step in saved[..keep_from].iter().filter(|step| Some(**step) != best) {
            let path = self.folder.checkpoint(*step);
            std::fs::remove_dir_all(&path).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn summary(output: &StepOutput) -> String {
    let value = |name: &str| output.metrics.iter().find(|(known, _)| *known == name).map_or(f64::NAN, |(_, value)| *value);
    format!("reward {:.3}  accuracy {:.2}  entropy {:.3}", value("reward"), value("rewards/accuracy"), value("entropy"))
}

/// Prints a line and returns the accuracy.
pub(super) fn print_evaluation(evaluation: &Evaluation, out: &mut dyn Write) -> Result<f64> {
    let all = &evaluation.categories[0];
    let estimate = average_at_n(&all.correct, all.samples);
    writeln!(
        out,
        "step {}: {} accuracy {:.1} % [{:.1}, {:.1}] on {} problems, {} response{} each",
        evaluation.step,
        evaluation.decoding,
        100.0 * estimate.rate,
        100.0 * estimate.low,
        100.0 * estimate.high,
        all.problems(),
        all.samples,
        if all.samples == 1 { "" } else { "s" }
    )?;
    Ok(estimate.rate)
}
