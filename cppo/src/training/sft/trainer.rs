//! The warm start and the reference responses as one run of steps, which can be saved and resumed at any step.

use std::path::Path;

use percept_model::Model;

use super::{Sft, SftConfig, WarmStart};
use crate::config::OptimConfig;
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Problems};
use crate::records::run::Metrics;
use crate::training::checkpoint::{self, Progress, Trained};
use crate::training::optimise::Optimizer;
use crate::training::world::World;

/// A new model in training. Steps are counted through both phases.
pub struct SftTrainer<'a> {
    setting: Setting<'a>,
    phase: Phase<'a>,
    progress: Progress,
}

#[derive(Clone, Copy)]
struct Setting<'a> {
    model: &'a Model,
    encoder: &'a Encoder,
    problems: &'a Problems,
    config: &'a SftConfig,
    optim: &'a OptimConfig,
    seed: u64,
    world: &'a World,
}

/// Each has an optimiser of its own; the warm start has its head, too.
enum Phase<'a> {
    WarmStart(WarmStart<'a>),
    Responses(Sft<'a>),
}

impl<'a> SftTrainer<'a> {
    /// Trains `model` in place, as one of the ranks of `world`, each with its own part of a step's problems. `seed` draws the head of the warm start, and the order of data.
    ///
    /// # Errors
    /// As [`WarmStart::new`], if there is a warm start; data have no labels for one.
    pub fn new(
        model: &'a Model,
        encoder: &'a Encoder,
        problems: &'a Problems,
        config: &'a SftConfig,
        optim: &'a OptimConfig,
        seed: u64,
        world: &'a World,
    ) -> Result<SftTrainer<'a>, TrainError> {
        let setting = Setting { model, encoder, problems, config, optim, seed, world };
        Ok(SftTrainer { setting, phase: setting.phase_after(0)?, progress: Progress::default() })
    }

    /// Gives all ranks the state of the first, which alone has read a checkpoint.
    ///
    /// # Errors
    /// Those of the device.
    pub fn share_state(&mut self) -> Result<(), TrainError> {
        let world = self.setting.world;
        let own = serde_json::to_vec(&self.progress).expect("plain data");
        let progress: Progress =
            serde_json::from_slice(&world.from_first("the progress of the run", || own)).expect("what a rank sends is whole");
        if progress != self.progress {
            self.phase = self.setting.phase_after(progress.step)?;
        }
        let (optimizer, step) = self.phase.state();
        *step = self.setting.step_of_phase(progress.step);
        self.progress = progress;
        checkpoint::share(world, optimizer, &mut self.progress)
    }

    /// Compares what the ranks have learnt.
    ///
    /// # Errors
    /// As [`checkpoint::compare`].
    pub fn compare_ranks(&mut self) -> Result<(), TrainError> {
        let world = self.setting.world;
        let step = self.progress.step;
        checkpoint::compare(world, self.phase.state().0, step)
    }

    /// One step of the phase at hand: [`WarmStart::step`] or [`Sft::step`].
    ///
    /// # Errors
    /// Those of the phase.
    pub fn step(&mut self) -> Result<Metrics, TrainError> {
        let SftConfig { warm_start_steps, warm_start_batch_size, batch_size, .. } = *self.setting.config;
        // the optimiser of the warm start is kept until it is no longer needed: a checkpoint in between has it
        if self.progress.step == warm_start_steps {
            self.phase = Phase::Responses(self.setting.responses()?);
        }
        let (numbers, problems) = match &mut self.phase {
            Phase::WarmStart(warm_start) => (warm_start.step()?, warm_start_batch_size),
            Phase::Responses(sft) => (sft.step()?, batch_size),
        };
        self.progress.step += 1;
        self.progress.problems += problems as u64;
        Ok(Metrics::of(self.progress.step, &numbers))
    }

    /// What a checkpoint keeps besides the model. All ranks must ask for it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn trained(&self) -> Result<Trained, TrainError> {
        Trained::of(match &self.phase {
            Phase::WarmStart(warm_start) => &warm_start.optimizer,
            Phase::Responses(sft) => &sft.optimizer,
        })
    }

    /// Writes a checkpoint, see [`crate::training::checkpoint`].
    ///
    /// # Errors
    /// Those of the disk and the device.
    pub fn save(&self, directory: &Path, trained: &Trained) -> Result<(), TrainError> {
        checkpoint::save(directory, self.setting.model, self.setting.encoder.files(), trained, &self.progress)
    }

    /// Goes back to a checkpoint of the same configuration; what follows is the same as if training had never stopped.
    ///
    /// # Errors
    /// If the checkpoint is incomplete, damaged, or another model's; then nothing has changed.
    pub fn restore(&mut self, directory: &Path) -> Result<(), TrainError> {
        let mut phase = self.setting.phase_after(checkpoint::read_progress(directory)?.step)?;
        let (optimizer, step) = phase.state();
        let progress = checkpoint::restore(directory, optimizer)?;
        *step = self.setting.step_of_phase(progress.step);
        (self.phase, self.progress) = (phase, progress);
        Ok(())
    }

    /// How far the run has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }
}

impl Phase<'_> {
    fn state(&mut self) -> (&mut Optimizer, &mut u64) {
        match self {
            Phase::WarmStart(warm_start) => (&mut warm_start.optimizer, &mut warm_start.step),
            Phase::Responses(sft) => (&mut sft.optimizer, &mut sft.step),
        }
    }
}

impl<'a> Setting<'a> {
    /// Steps of the phase at hand after `step` of all.
    fn step_of_phase(&self, step: u64) -> u64 {
        step.checked_sub(self.config.warm_start_steps).filter(|step| *step > 0).unwrap_or(step)
    }

    /// The phase whose optimiser was at work in `step`.
    fn phase_after(&self, step: u64) -> Result<Phase<'a>, TrainError> {
        if self.config.warm_start_steps == 0 || step > self.config.warm_start_steps {
            return Ok(Phase::Responses(self.responses()?));
        }
        let Setting { model, encoder, problems, config, optim, seed, world } = *self;
        let Problems::Task(task) = problems else {
            return Err(TrainError::Unsupported("sft.warm_start_steps: expected 0 with data, whose pictures have no labels".into()));
        };
        Ok(Phase::WarmStart(WarmStart::new(model, encoder, task, config, optim, seed, world)?))
    }

    fn responses(&self) -> Result<Sft<'a>, TrainError> {
        Sft::new(self.model, self.encoder, self.problems, self.config, self.optim, self.seed, self.world)
    }
}
