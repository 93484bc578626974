//! The optimiser of a run, and one step of it.

use std::collections::BTreeMap;
use std::path::Path;

use percept_engine::{AdamW, AdamWConfig, DType, Gradients, ParamGroup, Result, StepReport, Tensor};
use percept_model::Model;

use super::reduce::{Adding, over_ranks};
use super::shard::Sharded;
use super::tensors::{bytes_of, write_bytes};
use super::world::World;
use crate::config::OptimConfig;

/// What became of a step of the optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Applied {
    /// Norm of the gradient before it was clipped; 0 if there was none.
    pub gradient_norm: f64,
    /// Whether the step was left out because the gradient was not finite.
    pub is_skipped: bool,
}

/// The optimiser of a run, as one of its ranks has it.
pub enum Optimizer {
    /// Every rank has all of its state, and takes the same steps.
    Whole {
        /// The optimiser itself.
        adamw: AdamW,
        /// The ranks.
        world: World,
    },
    /// Every rank has a part of its state (`optim.shard`).
    Sharded(Sharded),
}

impl Optimizer {
    /// The optimiser of a configuration; the learning rate is set before each step. What `groups` has must be settled, and lie as it will.
    ///
    /// # Errors
    /// How many ranks are too many to share so few weights, in words.
    pub fn new(groups: Vec<ParamGroup>, optim: &OptimConfig, world: &World) -> std::result::Result<Optimizer, String> {
        Ok(match optim.shard {
            false => Optimizer::Whole { adamw: adamw(groups, optim), world: world.clone() },
            true => Optimizer::Sharded(Sharded::new(groups, optim, world)?),
        })
    }

    /// Adds the gradients of all ranks and moves the weights along the sum, if any rank has gradients, without waiting for the device. Returns the numbers from which [`Applied::of`] says what became
    /// of the step, unless there was none.
    ///
    /// # Errors
    /// Those of the device.
    pub fn launch(&mut self, gradients: Gradients, adding: Adding, learning_rate: f64) -> Result<Option<&Tensor>> {
        match self {
            Optimizer::Sharded(sharded) => sharded.step(gradients, learning_rate),
            Optimizer::Whole { adamw, world } => {
                let gradients = over_ranks(world, adding, gradients, &adamw.parameters())?;
                if gradients.is_empty() {
                    return Ok(None);
                }
                adamw.set_lr(learning_rate);
                adamw.step(&gradients);
                Ok(Some(adamw.unread_report()))
            }
        }
    }

    /// [`launch`](Optimizer::launch), read.
    ///
    /// # Errors
    /// Those of the device.
    pub fn apply(&mut self, gradients: Gradients, adding: Adding, learning_rate: f64) -> Result<Applied> {
        match self.launch(gradients, adding, learning_rate)? {
            Some(report) => Ok(Applied::of(&report.to_f64_vec()?)),
            None => Ok(Applied::default()),
        }
    }

    /// What is updated, by the names of the groups.
    pub fn parameters(&self) -> Vec<(String, Tensor)> {
        match self {
            Optimizer::Whole { adamw, .. } => adamw.parameters(),
            Optimizer::Sharded(sharded) => sharded.parameters(),
        }
    }

    /// The whole state, under the names of [`AdamW::state`]. All ranks must ask for it; the first is sure to get it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        match self {
            Optimizer::Whole { adamw, .. } => Ok(adamw.state()),
            Optimizer::Sharded(sharded) => sharded.whole_state(),
        }
    }

    /// The shapes and types of the whole state.
    pub fn state_shapes(&self) -> BTreeMap<String, (Vec<usize>, DType)> {
        match self {
            Optimizer::Whole { adamw, .. } => {
                adamw.state().into_iter().map(|(name, tensor)| (name, (tensor.shape().to_vec(), tensor.dtype()))).collect()
            }
            Optimizer::Sharded(sharded) => sharded.state_shapes(),
        }
    }

    /// Restores a whole state, which was read from `path`; other ranks have their part of it after [`share`](Optimizer::share).
    ///
    /// # Errors
    /// If a tensor is missing, left over or of another shape; then nothing has changed.
    pub fn load_state(&mut self, path: &Path, state: BTreeMap<String, Tensor>) -> Result<()> {
        match self {
            Optimizer::Whole { adamw, .. } => adamw.load_state(path, &state),
            Optimizer::Sharded(sharded) => sharded.load_state(path, state),
        }
    }

    /// Gives all ranks the weights and the state of the first, or their part of it.
    ///
    /// # Errors
    /// Those of the device.
    pub fn share(&mut self, world: &World) -> Result<()> {
        let send = |tensor: &Tensor| -> Result<()> {
            let own = if world.is_first() { bytes_of(tensor)? } else { Vec::new() };
            let first = world.from_first("the state of the run", || own);
            if !world.is_first() {
                write_bytes(tensor, &first);
            }
            Ok(())
        };
        if world.size() > 1 {
            self.parameters().iter().try_for_each(|(_, tensor)| send(tensor))?;
        }
        match self {
            Optimizer::Whole { adamw, .. } if world.size() > 1 => adamw.state().values().try_for_each(send),
            Optimizer::Whole { .. } => Ok(()),
            Optimizer::Sharded(sharded) => sharded.share(),
        }
    }

    /// What all ranks have alike.
    pub fn common(&self) -> Vec<(String, Tensor)> {
        match self {
            Optimizer::Whole { adamw, .. } => adamw.parameters().into_iter().chain(adamw.state()).collect(),
            Optimizer::Sharded(sharded) => sharded.parameters(),
        }
    }
}

impl Applied {
    /// From the numbers of [`Optimizer::launch`], read.
    pub fn of(numbers: &[f64]) -> Applied {
        let report = StepReport::of(numbers);
        if !report.taken {
            tracing::warn!(gradient_norm = report.gradient_norm, "the gradient is not finite: the update is skipped");
        }
        Applied { gradient_norm: report.gradient_norm, is_skipped: !report.taken }
    }
}

/// All trained weights of a model: matrices with weight decay, norms and biases without.
pub fn weight_groups(model: &Model, weight_decay: f64) -> Vec<ParamGroup> {
    let (matrices, vectors): (Vec<(String, Tensor)>, _) = model.trainable().into_iter().partition(|(_, tensor)| tensor.rank() > 1);
    vec![
        ParamGroup { parameters: matrices, lr_scale: 1.0, weight_decay },
        ParamGroup { parameters: vectors, lr_scale: 1.0, weight_decay: 0.0 },
    ]
}

/// AdamW of a configuration.
pub(super) fn adamw(groups: Vec<ParamGroup>, optim: &OptimConfig) -> AdamW {
    let OptimConfig { learning_rate, betas, epsilon, max_grad_norm, .. } = *optim;
    AdamW::new(groups, AdamWConfig { lr: learning_rate, betas, eps: epsilon, clip_norm: max_grad_norm })
}
