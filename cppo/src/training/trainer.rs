//! The trainer: `rollout → advantages → views → scores → loss → backward → step`. [`Trainer::step`] is the whole of it.

mod metrics;

use std::path::Path;

use percept_model::Model;

use crate::config::Config;
use crate::error::TrainError;
use crate::methods::Method;
use crate::methods::view::{Moment, View, ViewGradient};
use crate::problems::prompts::{Encoder, Problems};
use crate::problems::reward::{RewardError, RewardFunction, Rewards};
use crate::random::Random;
use crate::records::run::Metrics;
use crate::training::checkpoint::{self, Best, Progress, Trained};
use crate::training::collect::collect;
use crate::training::group::{Group, draw_views, set_advantages};
use crate::training::optimise::{Applied, Optimizer, weight_groups};
use crate::training::reduce::Adding;
use crate::training::update::{Cut, UpdateConfig, launch_update, score, views_with};
use crate::training::world::World;
use metrics::{Times, metrics_of_step, set_own_rewards};

/// A policy in training.
pub struct Trainer {
    model: Model,
    /// The policy at the start: a copy, or with adapters the model beside them. None if `kl_coef` is 0.
    reference: Option<Model>,
    encoder: Encoder,
    problems: Problems,
    rewards: Rewards,
    config: Config,
    optimizer: Optimizer,
    progress: Progress,
    world: World,
}

/// What a step did.
pub struct StepOutput {
    /// Steps that are done, this one included.
    pub step: u64,
    /// The numbers of the step.
    pub metrics: Metrics,
    /// Every prompt and response of the step, of this rank.
    pub groups: Vec<Group>,
    /// Rewards that failed and count as 0.
    pub failed_rewards: Vec<RewardError>,
}

impl Trainer {
    /// Starts from `model`, which is also the reference policy if there is one. Tokens that only prompts have get no probability ([`Encoder::never_said`]).
    ///
    /// # Errors
    /// Those of the device, or a reward whose program does not exist.
    pub fn new(model: Model, encoder: Encoder, problems: Problems, config: Config) -> Result<Trainer, TrainError> {
        Trainer::of_rank(&World::alone(), model, encoder, problems, config)
    }

    /// The same as one of several ranks, each with its own part of a step's prompts.
    ///
    /// # Errors
    /// As [`Trainer::new`], or if ranks cannot share what is trained (`optim.shard`).
    pub fn of_rank(world: &World, mut model: Model, encoder: Encoder, problems: Problems, config: Config) -> Result<Trainer, TrainError> {
        model.suppress_tokens(encoder.never_said());
        model.lay_for_training();
        let reference = match () {
            () if config.method.policy.kl_coef == 0.0 => None,
            () if model.has_lora() => Some(model.without_lora()),
            () => Some(model.frozen_copy()?),
        };
        let rewards = Rewards::new(&config.reward)?;
        let groups = weight_groups(&model, config.optim.weight_decay);
        let optimizer = Optimizer::new(groups, &config.optim, world).map_err(TrainError::Unsupported)?;
        Ok(Trainer { model, reference, encoder, problems, rewards, config, optimizer, progress: Progress::default(), world: world.clone() })
    }

    /// The same trainer with one more reward, in code, besides those of the configuration; see [`Rewards::with`].
    ///
    /// # Panics
    /// If there is a reward of that name, or the weight is not finite.
    #[track_caller]
    pub fn with_reward(self, name: &str, weight: f32, function: impl RewardFunction + 'static) -> Trainer {
        Trainer { rewards: self.rewards.with(name, weight, function), ..self }
    }

    /// One step: samples responses to fresh prompts, and updates the weights.
    ///
    /// # Errors
    /// If a picture cannot be decoded, a prompt does not fit the model, a reward fails (then nothing has changed, and the step can be tried again), or the device fails.
    pub fn step(&mut self) -> Result<StepOutput, TrainError> {
        let step = self.progress.step + 1;
        self.world.note_step(step);
        let mut times = Times::start(&self.world);

        let first = self.progress.problems;
        let (model, encoder, problems) = (&self.model, &self.encoder, &self.problems);
        let mut collected =
            collect(model, encoder, problems, &self.config, self.method(), &self.rewards, self.adding(), &self.world, step, first)?;
        let groups = &mut collected.groups;
        times.rollout = times.lap();

        set_advantages(groups, self.method(), &self.config.method.policy);
        draw_views(groups, &self.method().views(self.moment(step)), &self.config.views, &self.encoder, self.config.run.seed);
        times.views = times.lap();

        self.score_before_updates(groups, self.moment(step))?;
        let mut updates = Vec::new();
        let learning_rate = self.config.optim.learning_rate_at(step, self.config.train.steps);
        for (number, groups) in collected.updates(self.config.train.updates_per_step).into_iter().enumerate() {
            // read once, when all is on its way: a GPU that is read stands still meanwhile
            let config = update_config(&self.config, &self.world, step, number as u64);
            let mut update = launch_update(&self.model, self.reference.as_ref(), groups, &config)?;
            let report = self.optimizer.launch(update.take_gradients(), config.adding, learning_rate)?;
            let (metrics, read) = update.read(groups, report.as_slice())?;
            updates.push((metrics, read.first().map_or_else(Applied::default, |numbers| Applied::of(numbers))));
        }
        times.update = times.lap();

        let every = self.config.train.compare_ranks_every;
        if every > 0 && step.is_multiple_of(every) {
            checkpoint::compare(&self.world, &self.optimizer, step)?;
        }
        self.progress.step = step;
        self.progress.problems += collected.problems;
        let groups = collected.groups;
        let counters = self.model.device().counters();
        let mut metrics = metrics_of_step(step, &groups, &updates, learning_rate, &times, &counters, &self.world);
        let failed_rewards = collected.failed_rewards;
        set_own_rewards(&mut metrics, &groups, &self.rewards, failed_rewards.len(), &self.world);
        Ok(StepOutput { step, metrics, groups, failed_rewards })
    }

    /// What has to be read under the policy that sampled the responses: log-probabilities if several updates move away from it, and pictures through
    /// which no gradient flows.
    fn score_before_updates(&self, groups: &mut [Group], moment: Moment) -> Result<(), TrainError> {
        let Config { train, rollout, .. } = &self.config;
        let constant = views_with(ViewGradient::Stops, self.method(), moment);
        let has_old_policy = train.updates_per_step > 1;
        if !has_old_policy && constant.is_empty() {
            return Ok(());
        }
        score(&self.model, groups, &constant, &[], rollout.temperature, Cut::of(self.adding(), train.micro_batch_tokens))?;
        for signal in groups.iter_mut().flat_map(|group| &mut group.responses).map(|response| &mut response.signal) {
            if has_old_policy {
                signal.old_log_probs = signal.on(View::Original).map(|reading| reading.log_probs.clone());
            }
            // an update reads the original again, as far as it needs it
            signal.readings.retain(|reading| reading.view != View::Original);
        }
        Ok(())
    }

    /// How gradients are added.
    pub fn adding(&self) -> Adding {
        Adding::of(&self.config)
    }

    /// The ranks that train together.
    pub fn world(&self) -> &World {
        &self.world
    }

    fn method(&self) -> &dyn Method {
        self.config.method.method()
    }

    fn moment(&self, step: u64) -> Moment {
        moment(&self.config, step)
    }

    /// What a checkpoint keeps besides the model. All ranks must ask for it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn trained(&self) -> Result<Trained, TrainError> {
        Trained::of(&self.optimizer)
    }

    /// Writes a checkpoint: a Hugging Face directory with the state of the trainer, see [`crate::training::checkpoint`]. For one rank; of several, all ask for [`trained`](Trainer::trained), and the
    /// first calls [`save_with`](Trainer::save_with).
    ///
    /// # Errors
    /// Those of the disk and the device.
    pub fn save(&self, directory: &Path) -> Result<(), TrainError> {
        self.save_with(directory, &self.trained()?)
    }

    /// [`save`](Trainer::save) with what was asked for before.
    ///
    /// # Errors
    /// Those of the disk and the device.
    pub fn save_with(&self, directory: &Path, trained: &Trained) -> Result<(), TrainError> {
        checkpoint::save(directory, &self.model, self.encoder.files(), trained, &self.progress)
    }

    /// Goes back to a checkpoint of the same configuration; what follows is the same as if training had never stopped.
    ///
    /// # Errors
    /// If the checkpoint is incomplete, damaged, or another model's; then nothing has changed.
    pub fn restore(&mut self, directory: &Path) -> Result<(), TrainError> {
        self.progress = checkpoint::restore(directory, &mut self.optimizer)?;
        Ok(())
    }

    /// Gives all ranks the state of the first, which alone has read a checkpoint.
    ///
    /// # Errors
    /// Those of the device.
    pub fn share_state(&mut self) -> Result<(), TrainError> {
        checkpoint::share(&self.world, &mut self.optimizer, &mut self.progress)
    }

    /// Notes an evaluation after the last step; true if it is the best so far.
    pub fn note_accuracy(&mut self, accuracy: f64) -> bool {
        let is_best = self.progress.best.is_none_or(|best| accuracy > best.accuracy);
        if is_best {
            self.progress.best = Some(Best { step: self.progress.step, accuracy });
        }
        is_best
    }

    /// How far the run has come.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The policy.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Where the prompts come from.
    pub fn problems(&self) -> &Problems {
        &self.problems
    }

    /// The rewards of the run.
    pub fn rewards(&self) -> &Rewards {
        &self.rewards
    }

    /// Tokenizer, chat template and image processor.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }
}

fn moment(config: &Config, step: u64) -> Moment {
    Moment { step, steps: config.train.steps }
}

/// That of an update of a step.
fn update_config<'a>(config: &'a Config, world: &'a World, step: u64, update: u64) -> UpdateConfig<'a> {
    UpdateConfig {
        method: config.method.method(),
        policy: &config.method.policy,
        temperature: config.rollout.temperature,
        micro_batch_tokens: config.train.micro_batch_tokens,
        moment: moment(config, step),
        seed: Random::new(Random::new(config.run.seed, "update", step).next_u64(), "number", update).next_u64(),
        adding: Adding::of(config),
        world,
    }
}
