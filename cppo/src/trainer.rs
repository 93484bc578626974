//! The trainer: `rollout → rewards → advantages → views → loss → backward → step`. [`Trainer::step`] is the whole of it.
//!
//! CPPO (arXiv 2601.00501), section by section: [`crate::rollout`] steps 2 and 3, [`crate::advantages`] 4, [`crate::views`] 1,
//! [`crate::step`] 5 to 9 with [`crate::losses`] and [`crate::selection`].

mod metrics;

use std::path::Path;

use percept_engine::{AdamW, AdamWConfig, ParamGroup, Tensor};
use percept_model::Model;
use rayon::prelude::*;

use crate::advantages::group_advantages;
use crate::checkpoint::{self, Best, Progress};
use crate::config::{Config, Method, OptimConfig};
use crate::error::TrainError;
use crate::prompts::{Encoder, Problems};
use crate::random::Random;
use crate::rollout::{RolloutGroup, Sampled, rollout};
use crate::selection::Gate;
use crate::step::{BatchForm, Contrast, Group, Response, ResponseTrace, StepConfig, StepMetrics, compute_gradients, log_probs};
use crate::views::{Views, draw_prompt_views};
pub use metrics::Metrics;
use metrics::{Times, metrics_of_step};

/// A policy in training.
pub struct Trainer {
    model: Model,
    /// The policy at the start: a copy, or with adapters the model beside them. None if `kl_coef` is 0.
    reference: Option<Model>,
    encoder: Encoder,
    problems: Problems,
    config: Config,
    optimizer: AdamW,
    progress: Progress,
}

/// What a step did.
pub struct StepOutput {
    /// Steps that are done, this one included.
    pub step: u64,
    /// Names and values, in order.
    pub metrics: Metrics,
    /// Every response of the step.
    pub groups: Vec<TrainedGroup>,
}

/// A prompt, its responses, and what became of them.
pub struct TrainedGroup {
    /// Prompt, responses, rewards.
    pub rollout: RolloutGroup,
    /// Â of each response.
    pub advantages: Vec<f32>,
    /// The perturbed pictures, one pair for each picture; empty if they were not looked at.
    pub views: Vec<Views>,
    /// Log-probabilities, entropies and perception tokens of each response.
    pub traces: Vec<ResponseTrace>,
}

impl Trainer {
    /// Starts from `model`, which is also the reference policy if there is one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn new(model: Model, encoder: Encoder, problems: Problems, config: Config) -> Result<Trainer, TrainError> {
        let reference = match () {
            () if config.method.policy.kl_coef == 0.0 => None,
            () if model.has_lora() => Some(model.without_lora()),
            () => Some(model.frozen_copy()?),
        };
        let optimizer = adamw(weight_groups(&model, config.optim.weight_decay), &config.optim);
        Ok(Trainer { model, reference, encoder, problems, config, optimizer, progress: Progress::default() })
    }

    /// One step: samples responses to fresh prompts, and updates the weights.
    ///
    /// # Errors
    /// If a picture cannot be decoded, a prompt does not fit the model, or the device fails.
    pub fn step(&mut self) -> Result<StepOutput, TrainError> {
        let (config, step) = (&self.config, self.progress.step + 1);
        let (group_size, seed) = (config.method.group_size, config.run.seed);
        let mut times = Times::start();

        let first = self.progress.problems;
        let prompts = self.problems.training(first..first + config.rollout.prompts_per_step as u64, seed)?;
        let rollout_seed = Random::new(seed, "rollout", step).next_u64();
        let rollouts = rollout(&self.model, &self.encoder, prompts, group_size, &config.rollout, rollout_seed)?;
        times.rollout = times.lap();

        let rewards: Vec<f32> = rollouts.iter().flat_map(|group| &group.responses).map(|response| response.reward.total).collect();
        let advantages = group_advantages(&rewards, group_size);

        let views: Vec<Vec<Views>> = rollouts.par_iter().zip(advantages.par_chunks(group_size)).map(|(r, a)| self.views(r, a)).collect();
        let mut groups = self.groups(&rollouts, &advantages, &views);
        times.views = times.lap();

        let (mut updates, mut traces, mut skipped) = (Vec::new(), Vec::new(), 0);
        let learning_rate = config.optim.learning_rate_at(step, config.train.steps);
        if config.train.updates_per_step > 1 {
            let old = log_probs(&self.model, &groups, &self.step_config(step, 0))?;
            set_old_log_probs(&mut groups, old);
        }
        let share = groups.len() / config.train.updates_per_step;
        for (number, groups) in groups.chunks(share).enumerate() {
            let update = compute_gradients(&self.model, self.reference.as_ref(), groups, &self.step_config(step, number as u64))?;
            let mut gradient_norm = 0.0;
            if !update.gradients.is_empty() {
                self.optimizer.set_lr(learning_rate);
                self.optimizer.step(&update.gradients);
                let report = self.optimizer.report()?;
                gradient_norm = report.gradient_norm;
                if !report.taken {
                    tracing::warn!(step, gradient_norm, "the gradient is not finite: the update is skipped");
                    skipped += 1;
                }
            }
            updates.push((update.metrics, gradient_norm));
            traces.extend(update.traces);
        }
        times.update = times.lap();

        self.progress.step = step;
        self.progress.problems += rollouts.len() as u64;
        let advantages = advantages.chunks(group_size).map(<[f32]>::to_vec);
        let groups: Vec<TrainedGroup> = rollouts
            .into_iter()
            .zip(advantages)
            .zip(views)
            .zip(traces)
            .map(|(((rollout, advantages), views), traces)| TrainedGroup { rollout, advantages, views, traces })
            .collect();
        let counters = self.model.device().counters();
        let metrics = metrics_of_step(&groups, &updates, learning_rate, skipped, &times, &counters);
        Ok(StepOutput { step, metrics, groups })
    }

    /// The perturbed pictures of a group; none if no response will be seen on them.
    fn views(&self, rollout: &RolloutGroup, advantages: &[f32]) -> Vec<Views> {
        let gate_is_open = self.config.method.selection.gate == Gate::None || advantages.iter().any(|&advantage| advantage > 0.0);
        if self.config.method.name != Method::Cppo || !gate_is_open {
            return Vec::new();
        }
        let prompt = &rollout.prompt;
        draw_prompt_views(&prompt.pictures, &self.config.views, self.config.run.seed, prompt.id, prompt.epoch)
    }

    /// The groups as the update takes them.
    fn groups(&self, rollouts: &[RolloutGroup], advantages: &[f32], views: &[Vec<Views>]) -> Vec<Group> {
        let advantages = advantages.par_chunks(self.config.method.group_size);
        let group = |((rollout, advantages), views): ((&RolloutGroup, &[f32]), &Vec<Views>)| Group {
            prompt: rollout.encoded.tokens.clone(),
            original: rollout.encoded.tiles.clone(),
            views: (!views.is_empty()).then(|| self.encoder.view_tiles(views)),
            responses: rollout.responses.iter().zip(advantages).map(|(sampled, &advantage)| response(sampled, advantage)).collect(),
        };
        rollouts.par_iter().zip(advantages).zip(views).map(group).collect()
    }

    fn step_config(&self, step: u64, update: u64) -> StepConfig<'_> {
        let method = &self.config.method;
        StepConfig {
            policy: &method.policy,
            contrast: match method.name {
                Method::Cppo => Some(Contrast { loss: &method.contrastive, selection: &method.selection }),
                Method::Grpo => None,
            },
            temperature: self.config.rollout.temperature,
            micro_batch_tokens: self.config.train.micro_batch_tokens,
            form: BatchForm::Packed,
            seed: Random::new(Random::new(self.config.run.seed, "update", step).next_u64(), "number", update).next_u64(),
        }
    }

    /// Writes a checkpoint: a Hugging Face directory with the state of the trainer, see [`crate::checkpoint`].
    ///
    /// # Errors
    /// Those of the disk and the device.
    pub fn save(&self, directory: &Path) -> Result<(), TrainError> {
        checkpoint::save(directory, &self.model, self.encoder.files(), &self.optimizer, &self.progress)
    }

    /// Goes back to a checkpoint of the same configuration; what follows is the same as if training had never stopped.
    ///
    /// # Errors
    /// If the checkpoint is incomplete, damaged, or another model's; then nothing has changed.
    pub fn restore(&mut self, directory: &Path) -> Result<(), TrainError> {
        self.progress = checkpoint::restore(directory, &mut self.optimizer)?;
        Ok(())
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

    /// Tokenizer, chat template and image processor.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }
}

fn response(sampled: &Sampled, advantage: f32) -> Response {
    Response { tokens: sampled.completion.tokens.clone(), old_log_probs: None, advantage }
}

fn set_old_log_probs(groups: &mut [Group], old: Vec<Vec<Vec<f32>>>) {
    let responses = groups.iter_mut().flat_map(|group| &mut group.responses);
    responses.zip(old.into_iter().flatten()).for_each(|(response, old)| response.old_log_probs = Some(old));
}

/// All trained weights of a model: matrices with weight decay, norms and biases without.
pub fn weight_groups(model: &Model, weight_decay: f64) -> Vec<ParamGroup> {
    let (matrices, vectors): (Vec<(String, Tensor)>, _) = model.trainable().into_iter().partition(|(_, tensor)| tensor.rank() > 1);
    vec![
        ParamGroup { parameters: matrices, lr_scale: 1.0, weight_decay },
        ParamGroup { parameters: vectors, lr_scale: 1.0, weight_decay: 0.0 },
    ]
}

/// The optimiser of a configuration; the learning rate is set before each step.
pub fn adamw(groups: Vec<ParamGroup>, optim: &OptimConfig) -> AdamW {
    let OptimConfig { learning_rate, betas, epsilon, max_grad_norm, .. } = *optim;
    AdamW::new(groups, AdamWConfig { lr: learning_rate, betas, eps: epsilon, clip_norm: max_grad_norm })
}
